//! In: what the loader and the probe want from the kernel. Out: bpf(2), perf_event_open(2) and their errors.
//!
//! The one seam to the kernel's BPF interface. [`Linux`] is the real thing; [`fake::FakeKernel`] keeps the same
//! objects in memory, counts what is alive, and fails where a test tells it to. All `unsafe` of the agent is
//! below this module.
//!
//! Guarantees: an object lives as long as its handle; dropping a handle releases it. A failed call leaves nothing.

mod attr;
pub mod btf;
mod errno;
pub mod fake;
mod fdinfo;
mod grace;
pub mod insn;
mod linux;
mod load;
mod memory;
mod perf;
mod spec;
pub mod trivial;

use std::path::Path;

pub use errno::Errno;
pub use linux::{Linux, LinuxLink, LinuxMap, recursion_misses};
pub use load::Rejection;
pub use memory::give_back_memory;
pub use perf::tracefs;
pub use spec::{AttachError, AttachPoint, AttachStep, MapShape, MapType, ProgramMemory, ProgramSpec};

/// What the agent asks of a kernel.
pub trait Kernel {
    /// A map; dropping it gives it up.
    type Map: std::fmt::Debug;
    /// A loaded program; dropping it gives it up.
    type Program: std::fmt::Debug;
    /// A program attached to its hook; dropping it detaches without telling of errors.
    type Link: std::fmt::Debug;

    /// Creates a map.
    fn map_create(&self, shape: &MapShape) -> Result<Self::Map, Errno>;
    /// The number that an instruction refers to the map by.
    fn map_number(&self, map: &Self::Map) -> i32;
    /// Sets one entry. Per-CPU maps take one 8-byte-aligned value per possible CPU.
    fn map_update(&self, map: &Self::Map, key: &[u8], value: &[u8]) -> Result<(), Errno>;
    /// Sets one entry to zeros, for all CPUs.
    fn map_zero(&self, map: &Self::Map, key: &[u8]) -> Result<(), Errno>;
    /// Sets many entries, as fast as the kernel can. Not atomic: on error some may be set.
    fn map_fill(&self, map: &Self::Map, entries: &[(&[u8], &[u8])]) -> Result<(), Errno> {
        entries.iter().try_for_each(|(key, value)| self.map_update(map, key, value))
    }
    /// Reads one entry (per-CPU maps: the values of all possible CPUs in a row), or `None` if there is none.
    fn map_lookup(&self, map: &Self::Map, key: &[u8]) -> Result<Option<Vec<u8>>, Errno>;
    /// Removes one entry; whether it was there.
    fn map_delete(&self, map: &Self::Map, key: &[u8]) -> Result<bool, Errno>;
    /// Kernel memory of a map, bytes, as the kernel tells it.
    fn map_memory(&self, map: &Self::Map) -> Result<u64, Errno>;

    /// Verifies and loads a program.
    fn program_load(&self, spec: &ProgramSpec<'_>) -> Result<Self::Program, Rejection>;
    /// Kernel memory of a program.
    fn program_memory(&self, program: &Self::Program) -> Result<ProgramMemory, Errno>;
    /// Calls that the kernel did not run the program for since it was loaded, because on that CPU another call was inside
    /// of it (`recursion_misses` of `bpf_prog_info`; 0 before Linux 5.12, which does not count).
    fn program_missed(&self, program: &Self::Program) -> Result<u64, Errno>;
    /// Runs a raw tracepoint program once with these arguments, on this CPU, and gives its return value.
    fn test_run(&self, program: &Self::Program, args: &[u64]) -> Result<u32, Errno>;

    /// Attaches a program to the hook that it was loaded for.
    fn attach(&self, program: &Self::Program, point: &AttachPoint<'_>) -> Result<Self::Link, AttachError>;
    /// Detaches, and tells whether that went well. In either case this process holds the link no longer. A child
    /// between fork and exec still does, and with it the program runs on: until then, nothing that detaches may rely on
    /// silence.
    fn detach(&self, link: Self::Link) -> Result<(), Errno>;
    /// Returns when calls that had begun before have left the programs which were attached then: after a grace period of RCU,
    /// and of RCU tasks where calls can be preempted between programs. Some 10 ms, some 100 ms on such kernels.
    fn await_calls(&self);
    /// Keeps a link attached beyond this process, until the file at `path` (on a BPF file system, not there yet) is
    /// removed. [`Errno::EOPNOTSUPP`]: this kernel has no link for this kind of hook, as before Linux 5.15 for those on
    /// perf events.
    fn pin(&self, link: &Self::Link, path: &Path) -> Result<(), Errno>;
    /// Keeps a map beyond this process, in the same way.
    fn pin_map(&self, map: &Self::Map, path: &Path) -> Result<(), Errno>;
    /// A map that a process has pinned.
    fn open_map(&self, path: &Path) -> Result<Self::Map, Errno>;
}
