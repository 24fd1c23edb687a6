//! In: the embedded object of the fixed programs. Out: its maps for the loader of policies, a reader of its
//! records, counters of what was lost.
//!
//! Guarantees: when [`Base::load`] returns, all its programs run; when the [`Base`] is dropped, none does, but for
//! those that were pinned.

mod bits;
mod error;
mod reader;
mod readiness;
mod types;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tp_btf::BtfTracePointLinkId;
use aya::programs::{BtfTracePoint, ProgramError, RawTracePoint};
use aya::{Btf, Ebpf, EbpfLoader, Endianness};
use bpf_programs::BASE_OBJECT;
use bpf_programs::layout::{BaseConfig, EXEC_COPIES, Loss, ProcessEntry, RecordKind, bytes_of, take};

use crate::kernel::btf::VMLINUX;
use crate::kernel::recursion_misses;
use crate::pins::PinDirectory;

pub use bits::{BitsChange, WordChange};
pub use error::BaseError;
pub use reader::RecordReader;

/// Sizes of the shared maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseOptions {
    /// Ring buffer of records, bytes: a power of two, at least a page. The default of 8 MiB holds 4,000 records of
    /// 300 bytes six times over.
    pub ring_bytes: u32,
    /// Processes followed at once. 32,768 take 32,768 x 184 bytes (key, value, the kernel's own) = 5.8 MiB.
    pub processes: u32,
}

impl Default for BaseOptions {
    fn default() -> Self {
        BaseOptions { ring_bytes: 8 << 20, processes: 32_768 }
    }
}

/// Maps that others need: see `bpf-programs/c/records.h` for keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BaseMap {
    /// Ring buffer of records.
    Events,
    /// Hash: tgid → [`ProcessEntry`].
    Processes,
    /// LPM trie: path → sets.
    BinaryExactPrefix,
    /// LPM trie: reversed end of a path → sets.
    BinaryPostfix,
    /// Hash: tgid → sets.
    PidSets,
    /// Hash: cgroup id → sets.
    CgroupSets,
    /// One-element array: [`BaseConfig`].
    Config,
}

/// The fixed programs, loaded and attached.
pub struct Base {
    /// Holds the programs and their links; what is left of its maps.
    ebpf: Ebpf,
    /// Whether the copies are attached, too.
    copies: bool,
    events: RecordReader,
    processes: HashMap<MapData, u32, [u8; size_of::<ProcessEntry>()]>,
    lost: PerCpuArray<MapData, u64>,
    config: Array<MapData, [u8; size_of::<BaseConfig>()]>,
    shared: SharedFds,
    /// Closed with this; attached as long as their files are there.
    pinned: Vec<PinnedLink>,
    unpinned: Vec<(&'static str, String)>,
}

/// Descriptors of their own, because the typed maps do not show theirs.
struct SharedFds {
    events: OwnedFd,
    processes: OwnedFd,
    binary_exact_prefix: OwnedFd,
    binary_postfix: OwnedFd,
    pid_sets: OwnedFd,
    cgroup_sets: OwnedFd,
    config: OwnedFd,
}

/// Programs with the tracepoint each is for, copies last. An exit is followed before anything can be born, so that no entry
/// outlives its process.
const TRACEPOINTS: [(&str, &str, &[&str]); 3] = [
    ("process_exit", "sched_process_exit", &["process_exit_2"]),
    ("process_exec", "sched_process_exec", &["process_exec_2", "process_exec_3"]),
    ("process_fork", "sched_wakeup_new", &[]),
];

/// Programs to attach, in this order, with their tracepoints.
fn programs(copies: bool) -> impl Iterator<Item = (&'static str, &'static str)> {
    TRACEPOINTS.into_iter().flat_map(move |(first, tracepoint, others)| {
        let others = if copies { others } else { &[] };
        std::iter::once(first).chain(others.iter().copied()).map(move |program| (program, tracepoint))
    })
}

/// Those that are skipped last.
fn last_copies(copies: bool) -> impl Iterator<Item = &'static str> {
    let last = move |(first, _, others): (_, _, &[&'static str])| {
        others.last().copied().filter(|_| copies).unwrap_or(first)
    };
    TRACEPOINTS.into_iter().map(last)
}

const SET_PROCESS_BITS: &str = "set_process_bits";

impl Base {
    /// Loads the programs and attaches them.
    pub fn load(options: &BaseOptions) -> Result<Base, BaseError> {
        Base::load_to_stay(options, None)
    }

    /// Loads the programs and attaches them; with `pins` they stay attached beyond this process, until their files
    /// there are removed. Those that cannot stay are in [`Base::unpinned`].
    pub fn load_to_stay(options: &BaseOptions, pins: Option<&PinDirectory>) -> Result<Base, BaseError> {
        readiness::check(options)?;
        let copies = readiness::tracepoints_are_preemptible();
        let btf = kernel_types()?;
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&btf))
            .map_max_entries("events", options.ring_bytes)
            .map_max_entries("processes", options.processes)
            .map_max_entries("scratch", if copies { EXEC_COPIES } else { 1 })
            .load(BASE_OBJECT)
            .map_err(|error| error::object(error, options.ring_bytes))?;
        for (program, tracepoint) in programs(copies) {
            let loaded: &mut BtfTracePoint = program_of(&mut ebpf, program)?;
            loaded.load(tracepoint, &btf).map_err(|error| error::load(program, error))?;
        }
        let setter: &mut RawTracePoint = program_of(&mut ebpf, SET_PROCESS_BITS)?;
        setter.load().map_err(|error| error::load(SET_PROCESS_BITS, error))?;
        let mut base = Base::with_maps(ebpf, copies)?;
        base.attach(pins)?;
        Ok(base)
    }

    fn with_maps(mut ebpf: Ebpf, copies: bool) -> Result<Base, BaseError> {
        let shared = SharedFds {
            events: fd_of(&ebpf, "events")?,
            processes: fd_of(&ebpf, "processes")?,
            binary_exact_prefix: fd_of(&ebpf, "binary_exact_prefix")?,
            binary_postfix: fd_of(&ebpf, "binary_postfix")?,
            pid_sets: fd_of(&ebpf, "pid_sets")?,
            cgroup_sets: fd_of(&ebpf, "cgroup_sets")?,
            config: fd_of(&ebpf, "config")?,
        };
        let events = RecordReader::new(take_map(&mut ebpf, "events")?);
        let processes = take_map(&mut ebpf, "processes")?;
        let lost = take_map(&mut ebpf, "lost")?;
        let config = take_map(&mut ebpf, "config")?;
        Ok(Base {
            ebpf,
            copies,
            events,
            processes,
            lost,
            config,
            shared,
            pinned: Vec::new(),
            unpinned: Vec::new(),
        })
    }

    fn attach(&mut self, pins: Option<&PinDirectory>) -> Result<(), BaseError> {
        for (program, tracepoint) in programs(self.copies) {
            let link = self.attach_one(program, tracepoint)?;
            if let Some(pins) = pins {
                self.pin(program, tracepoint, link, pins)?;
            }
        }
        Ok(())
    }

    fn attach_one(
        &mut self,
        program: &'static str,
        tracepoint: &'static str,
    ) -> Result<BtfTracePointLinkId, BaseError> {
        let loaded: &mut BtfTracePoint = program_of(&mut self.ebpf, program)?;
        let link = loaded.attach();
        link.map_err(|source| BaseError::Attach { program, tracepoint, source: Box::new(source) })
    }

    /// Lets a link outlive this process; one that cannot is made anew, as pinning takes it.
    fn pin(
        &mut self,
        program: &'static str,
        tracepoint: &'static str,
        link: BtfTracePointLinkId,
        pins: &PinDirectory,
    ) -> Result<(), BaseError> {
        let loaded: &mut BtfTracePoint = program_of(&mut self.ebpf, program)?;
        let link = loaded.take_link(link).map_err(|error| error::load(program, error))?;
        match FdLink::from(link).pin(pins.place_of_fixed(program)) {
            Ok(pinned) => self.pinned.push(pinned),
            Err(error) => {
                self.unpinned.push((program, error.to_string()));
                self.attach_one(program, tracepoint)?;
            }
        }
        Ok(())
    }

    /// Programs that end with this process although they were to stay, and why.
    pub fn unpinned(&self) -> &[(&'static str, String)] {
        &self.unpinned
    }

    /// A shared map, to put into programs or to fill.
    pub fn map(&self, map: BaseMap) -> BorrowedFd<'_> {
        let fd = match map {
            BaseMap::Events => &self.shared.events,
            BaseMap::Processes => &self.shared.processes,
            BaseMap::BinaryExactPrefix => &self.shared.binary_exact_prefix,
            BaseMap::BinaryPostfix => &self.shared.binary_postfix,
            BaseMap::PidSets => &self.shared.pid_sets,
            BaseMap::CgroupSets => &self.shared.cgroup_sets,
            BaseMap::Config => &self.shared.config,
        };
        fd.as_fd()
    }

    /// The records of all programs, these and the policies'.
    pub fn reader(&mut self) -> &mut RecordReader {
        &mut self.events
    }

    /// What the map `processes` says of a process.
    pub fn process(&self, tgid: u32) -> Result<Option<ProcessEntry>, BaseError> {
        match self.processes.get(&tgid, 0) {
            Ok(bytes) => Ok(take(&bytes).map(|(entry, _)| entry)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(source) => Err(error::map("processes", source)),
        }
    }

    /// Enters a process that ran before the programs did.
    pub fn insert_process(&mut self, tgid: u32, entry: &ProcessEntry) -> Result<Inserted, BaseError> {
        const NO_EXIST: u64 = 1; // BPF_NOEXIST
        let mut value = [0; size_of::<ProcessEntry>()];
        value.copy_from_slice(bytes_of(entry));
        match self.processes.insert(tgid, value, NO_EXIST) {
            Ok(()) => Ok(Inserted::New),
            Err(source) => match errno(&source) {
                Some(libc::EEXIST) => Ok(Inserted::Known),
                Some(libc::E2BIG) => Ok(Inserted::NoRoom),
                _ => Err(error::map("processes", source)),
            },
        }
    }

    /// Forgets a process, if its image is still the one that started at `start`: for one that ended while it was
    /// being entered. False if there was nothing to forget.
    pub fn remove_process(&mut self, tgid: u32, start: u64) -> Result<bool, BaseError> {
        if self.process(tgid)?.is_none_or(|entry| entry.start != start) {
            return Ok(false);
        }
        match self.processes.remove(&tgid) {
            Ok(()) => Ok(true),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(source) if errno(&source) == Some(libc::ENOENT) => Ok(false),
            Err(source) => Err(error::map("processes", source)),
        }
    }

    /// Which exec-time tables the programs look into (`TABLE_*`). Entries go into a table before it is switched
    /// on, and stay until it is switched off.
    pub fn use_tables(&mut self, tables: u32) -> Result<(), BaseError> {
        let mut value = [0; size_of::<BaseConfig>()];
        value.copy_from_slice(bytes_of(&BaseConfig { tables, zero: 0 }));
        self.config.set(0, value, 0).map_err(|source| error::map("config", source))
    }

    /// Changes the bits of one running process. False if it is no longer the image that was meant.
    pub fn change_bits(&self, change: &BitsChange) -> Result<bool, BaseError> {
        let program =
            self.ebpf.program(SET_PROCESS_BITS).ok_or(BaseError::Missing { what: SET_PROCESS_BITS })?;
        let program: &RawTracePoint =
            program.try_into().map_err(|source: ProgramError| error::load(SET_PROCESS_BITS, source))?;
        bits::apply(program, change)
    }

    /// The program that changes the bits of a running process, for whoever runs it by itself.
    pub fn bit_setter(&self) -> Result<BorrowedFd<'_>, BaseError> {
        let program =
            self.ebpf.program(SET_PROCESS_BITS).ok_or(BaseError::Missing { what: SET_PROCESS_BITS })?;
        let fd = program.fd().map_err(|source| error::load(SET_PROCESS_BITS, source))?;
        Ok(fd.as_fd())
    }

    /// What was lost since the programs were loaded.
    pub fn losses(&self) -> Result<Losses, BaseError> {
        let read = |index: u32| -> Result<u64, BaseError> {
            let values = self.lost.get(&index, 0).map_err(|source| error::map("lost", source))?;
            Ok(values.iter().sum())
        };
        Ok(Losses {
            exec: read(RecordKind::Exec as u32)?,
            exec_data: read(RecordKind::ExecData as u32)?,
            fork: read(RecordKind::Fork as u32)?,
            exit: read(RecordKind::Exit as u32)?,
            process: read(Loss::Process as u32)?,
            skipped: self.skipped()?,
        })
    }

    fn skipped(&self) -> Result<u64, BaseError> {
        let mut sum = 0;
        for name in last_copies(self.copies) {
            let program = self.ebpf.program(name).ok_or(BaseError::Missing { what: name })?;
            let fd = program.fd().map_err(|source| error::load(name, source))?;
            sum += recursion_misses(fd.as_fd())
                .map_err(|source| BaseError::Skipped { program: name, source })?;
        }
        Ok(sum)
    }
}

/// What became of a process that ran before the programs did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It is in the map now.
    New,
    /// It was there already: a fork or an exec has just made its entry, which knows better.
    Known,
    /// The map is full.
    NoRoom,
}

fn errno(error: &MapError) -> Option<i32> {
    match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

/// Records that were not written, by reason, summed over the CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    /// Exec records: the ring buffer was full.
    pub exec: u64,
    /// Pieces of long arguments: the ring buffer was full.
    pub exec_data: u64,
    /// Fork records: the ring buffer was full.
    pub fork: u64,
    /// Exit records: the ring buffer was full.
    pub exit: u64,
    /// Processes not followed: the map `processes` was full.
    pub process: u64,
    /// Execs, exits and births that the kernel did not show, as tasks were preempted inside of the programs for them
    /// (`recursion_misses` of `bpf_prog_info`, Linux 5.12): the process is taken for its former image, or for alive.
    pub skipped: u64,
}

impl Losses {
    /// Those that leave a process in the cache which is there no more: the end of an image was in them, or its process
    /// is not followed.
    pub fn ends(&self) -> u64 {
        self.exit + self.exec + self.process + self.skipped
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.exec + self.exec_data + self.fork + self.exit + self.process + self.skipped
    }
}

/// The types that the fixed programs can mean.
fn kernel_types() -> Result<Btf, BaseError> {
    let all = std::fs::read(VMLINUX).map_err(error::no_btf)?;
    let thin = types::thin(&all, BASE_OBJECT).map_err(error::no_btf)?;
    drop(all);
    Btf::parse(&thin, Endianness::default()).map_err(error::no_btf)
}

fn program_of<'a, Kind>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Kind, BaseError>
where
    &'a mut Kind: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or(BaseError::Missing { what: name })?;
    program.try_into().map_err(|source| error::load(name, source))
}

/// Takes a map out of the object, as the type that its value and its kind make it.
fn take_map<Kind>(ebpf: &mut Ebpf, name: &'static str) -> Result<Kind, BaseError>
where
    Kind: TryFrom<Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or(BaseError::Missing { what: name })?;
    map.try_into().map_err(|source| error::map(name, source))
}

fn fd_of(ebpf: &Ebpf, name: &'static str) -> Result<OwnedFd, BaseError> {
    let map = ebpf.map(name).ok_or(BaseError::Missing { what: name })?;
    let data = match map {
        Map::RingBuf(data) | Map::HashMap(data) | Map::LpmTrie(data) | Map::Array(data) => data,
        _ => return Err(BaseError::Missing { what: name }),
    };
    data.fd().as_fd().try_clone_to_owned().map_err(BaseError::Descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_images_behind_is_told_apart() {
        let losses = Losses { exec: 1, exec_data: 2, fork: 4, exit: 8, process: 16, skipped: 32 };
        assert_eq!((losses.ends(), losses.total()), (1 + 8 + 16 + 32, 63));
    }
}
