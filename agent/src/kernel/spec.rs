//! In: the wishes of loader and probe, in their words. Out: [`super::Kernel`] implementations.

use api::artefact::Flavour;

use super::Errno;

/// Kinds of maps that the agent creates itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum MapType {
    /// Hash table.
    Hash = 1,
    /// Array.
    Array = 2,
    /// Array with one value per CPU.
    PerCpuArray = 6,
    /// Hash table that drops what was not used for long.
    LruHash = 9,
    /// Longest-prefix-match trie.
    LpmTrie = 11,
}

/// A map to create. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapShape {
    /// Kind.
    pub kind: MapType,
    /// Key.
    pub key_size: u32,
    /// Value; of one CPU in per-CPU maps.
    pub value_size: u32,
    /// Capacity.
    pub max_entries: u32,
    /// Shown by inspection tools; the kernel keeps 15 characters.
    pub name: &'static str,
}

/// A program to load.
#[derive(Debug, Clone, Copy)]
pub struct ProgramSpec<'a> {
    /// Mechanism, which decides the program type.
    pub flavour: Flavour,
    /// BTF id of the hook, for the flavours that have one; else 0.
    pub btf_id: u32,
    /// Whole instructions, 8 bytes each, maps already filled in.
    pub insns: &'a [u8],
    /// Shown by inspection tools; the kernel keeps 15 characters of letters, digits, `_` and `.`.
    pub name: &'a str,
}

/// Where to attach a program.
#[derive(Debug, Clone, Copy)]
pub struct AttachPoint<'a> {
    /// Mechanism; the one that the program was loaded with.
    pub flavour: Flavour,
    /// Kprobes: the symbol. Tracepoints: `subsystem/event`. Raw tracepoints: the name. Others: not used, as the
    /// program knows its target.
    pub target: &'a str,
}

/// What failed while a program was attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachStep {
    /// The kernel offers no kprobes to perf_event_open.
    KprobeSource,
    /// The tracepoint's id could not be read.
    TracepointId,
    /// The perf event could not be opened.
    PerfEvent,
    /// The program could not be bound to its hook.
    Link,
}

impl AttachStep {
    /// What was tried, as a phrase that follows "could not".
    pub fn attempt(self) -> &'static str {
        match self {
            AttachStep::KprobeSource => "find the kernel's kprobe event source",
            AttachStep::TracepointId => "read the tracepoint's id from tracefs",
            AttachStep::PerfEvent => "open the perf event of the hook",
            AttachStep::Link => "bind the program to the hook",
        }
    }
}

/// A program could not be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("could not {}: {errno}", step.attempt())]
pub struct AttachError {
    /// What failed.
    pub step: AttachStep,
    /// How.
    pub errno: Errno,
}

/// Kernel memory of a program, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProgramMemory {
    /// Instructions and bookkeeping, in whole pages.
    pub program: u64,
    /// Machine code.
    pub jited: u64,
}

impl ProgramMemory {
    /// All of it.
    pub fn total(self) -> u64 {
        self.program.saturating_add(self.jited)
    }
}
