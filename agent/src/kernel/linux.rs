//! In: calls of [`Kernel`]. Out: bpf(2) of the running kernel.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use api::artefact::Flavour;

use super::attr::{Attr, Command};
use super::perf::{PerfLink, attach_kprobe, attach_tracepoint};
use super::spec::{AttachError, AttachPoint, AttachStep, MapShape, MapType, ProgramMemory, ProgramSpec};
use super::{Errno, Kernel, Rejection, fdinfo, grace, load};

/// The running kernel.
#[derive(Debug, Clone, Copy)]
pub struct Linux {
    possible_cpus: u32,
}

/// A map with the sizes that the kernel goes by when it copies keys and values.
#[derive(Debug)]
pub struct LinuxMap {
    fd: OwnedFd,
    key_size: usize,
    /// Of a lookup or an update: per-CPU maps copy the values of all possible CPUs.
    copied_size: usize,
}

/// An attached program.
#[derive(Debug)]
pub enum LinuxLink {
    /// By a descriptor of its own.
    Direct(OwnedFd),
    /// On a perf event.
    Perf(PerfLink),
}

impl Linux {
    /// Reads the number of CPUs, and lifts the limit of locked memory, which kernels before 5.11 charge maps to.
    pub fn new() -> Result<Linux, Errno> {
        let no_limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        // Without the right to do so, newer kernels do not need it, and older ones refuse the first map.
        // SAFETY: `no_limit` is a valid rlimit, which the call only reads.
        let _ = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &no_limit) };
        Ok(Linux { possible_cpus: possible_cpus()? })
    }

    /// CPUs that may ever come online; the number of values in a per-CPU map.
    pub fn possible_cpus(self) -> u32 {
        self.possible_cpus
    }

    /// Takes over a map that was made elsewhere.
    pub fn adopt_map(&self, fd: OwnedFd) -> Result<LinuxMap, Errno> {
        let mut info = [0; 24];
        object_info(fd.as_fd(), &mut info)?;
        let word = |index: usize| {
            let bytes = info.get(index * 4..).and_then(|rest| rest.first_chunk::<4>());
            bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
        };
        // struct bpf_map_info: type, id, key_size, value_size, …
        Ok(self.map(fd, is_per_cpu(word(0)), word(2), word(3)))
    }

    /// Takes over a program that was loaded elsewhere.
    pub fn adopt_program(&self, fd: OwnedFd) -> OwnedFd {
        fd
    }

    fn map(&self, fd: OwnedFd, per_cpu: bool, key_size: u32, value_size: u32) -> LinuxMap {
        let value_size = value_size as usize;
        let copied_size =
            if per_cpu { value_size.next_multiple_of(8) * self.possible_cpus as usize } else { value_size };
        LinuxMap { fd, key_size: key_size as usize, copied_size }
    }
}

/// `enum bpf_map_type`: hash, array, LRU hash and cgroup storage, each per CPU.
fn is_per_cpu(kind: u32) -> bool {
    matches!(kind, 5 | 6 | 10 | 21)
}

fn possible_cpus() -> Result<u32, Errno> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    // `0-3` or `0-1,4`: the last number counts, since per-CPU values are indexed by it.
    let last = text.trim().rsplit(['-', ',']).next().and_then(|cpu| cpu.parse::<u32>().ok());
    last.and_then(|cpu| cpu.checked_add(1)).ok_or(Errno::EINVAL)
}

fn fd_of(fd: &impl AsRawFd) -> u32 {
    // An owned descriptor is never negative.
    u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX)
}

fn object_info(fd: BorrowedFd<'_>, info: &mut [u8]) -> Result<(), Errno> {
    let size = u32::try_from(info.len()).map_err(|_| Errno::EINVAL)?;
    let mut attr = Attr::new().u32(0, fd_of(&fd)).u32(4, size).output(8, info);
    // SAFETY: the kernel writes at most `info_len` bytes, the size of the buffer. It reads the buffer for addresses of
    // further buffers; it is zeroed, so there are none.
    unsafe { attr.call(Command::ObjectInfo) }.map(|_| ())
}

/// One member of `struct bpf_prog_info`.
fn program_info<const SIZE: usize>(program: BorrowedFd<'_>, at: usize) -> Result<[u8; SIZE], Errno> {
    let mut info = vec![0; at + SIZE];
    object_info(program, &mut info)?;
    info.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(Errno::EINVAL)
}

/// Calls in which the kernel skipped a program, as it ran already on that CPU: `recursion_misses` of `bpf_prog_info`, 0
/// before Linux 5.12.
///
/// # Errors
/// The descriptor is not a program's.
pub fn recursion_misses(program: BorrowedFd<'_>) -> Result<u64, Errno> {
    // …, run_time_ns, run_cnt, recursion_misses. A kernel that does not know the member leaves it zero.
    program_info::<8>(program, 208).map(u64::from_ne_bytes)
}

fn c_path(path: &Path) -> Result<std::ffi::CString, Errno> {
    std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
}

/// BPF_OBJ_PIN.
fn obj_pin(fd: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    let path = c_path(path)?;
    let mut attr = Attr::new().input(0, path.as_bytes_with_nul()).u32(8, fd_of(&fd)).u32(12, 0);
    // SAFETY: the path is a C string, of which the kernel reads no more than up to its zero.
    unsafe { attr.call(Command::ObjPin) }.map(|_| ())
}

/// BPF_LINK_CREATE on a perf event.
pub fn link_create(program: BorrowedFd<'_>, event: i32, attach_type: u32) -> Result<OwnedFd, Errno> {
    let event = u32::try_from(event).map_err(|_| Errno::EINVAL)?;
    let mut attr = Attr::new().u32(0, fd_of(&program)).u32(4, event).u32(8, attach_type).u32(12, 0);
    // SAFETY: no buffers; BPF_LINK_CREATE gives a new descriptor.
    unsafe { attr.open(Command::LinkCreate) }
}

/// BPF_RAW_TRACEPOINT_OPEN, which attaches trampolines and LSM programs, too: those know their target, and take no name.
fn raw_tracepoint_open(program: &OwnedFd, name: Option<&str>) -> Result<OwnedFd, Errno> {
    let name = name.map(std::ffi::CString::new).transpose().map_err(|_| Errno::EINVAL)?;
    let mut attr = Attr::new().u64(0, 0).u32(8, fd_of(program));
    if let Some(name) = &name {
        attr = attr.input(0, name.as_bytes_with_nul());
    }
    // SAFETY: the name is a C string, of which the kernel reads no more than up to its zero;
    // BPF_RAW_TRACEPOINT_OPEN gives a new descriptor.
    unsafe { attr.open(Command::RawTracepointOpen) }
}

impl LinuxMap {
    fn entry<'a>(&self, key: &'a [u8], value_len: usize) -> Result<Attr<'a>, Errno> {
        if key.len() != self.key_size || value_len != self.copied_size {
            return Err(Errno::EINVAL);
        }
        Ok(Attr::new().u32(0, fd_of(&self.fd)).input(8, key))
    }

    /// The descriptor, for readers that work on it themselves.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Kernel for Linux {
    type Map = LinuxMap;
    type Program = OwnedFd;
    type Link = LinuxLink;

    fn map_create(&self, shape: &MapShape) -> Result<LinuxMap, Errno> {
        // BPF_F_NO_PREALLOC: tries demand it. For hash tables, kernels before 6.1 warn of it in tracing programs.
        let flags = if shape.kind == MapType::LpmTrie { 1 } else { 0 };
        let mut attr = Attr::new()
            .u32(0, shape.kind as u32)
            .u32(4, shape.key_size)
            .u32(8, shape.value_size)
            .u32(12, shape.max_entries)
            .u32(16, flags)
            .name(28, shape.name);
        // SAFETY: no buffers; BPF_MAP_CREATE gives a new descriptor.
        let fd = unsafe { attr.open(Command::MapCreate) }?;
        Ok(self.map(fd, is_per_cpu(shape.kind as u32), shape.key_size, shape.value_size))
    }

    fn map_number(&self, map: &LinuxMap) -> i32 {
        map.fd.as_raw_fd()
    }

    fn map_update(&self, map: &LinuxMap, key: &[u8], value: &[u8]) -> Result<(), Errno> {
        let mut attr = map.entry(key, value.len())?.input(16, value).u64(24, 0);
        // SAFETY: key and value have the sizes of the map, as `entry` has checked.
        unsafe { attr.call(Command::MapUpdate) }.map(|_| ())
    }

    fn map_zero(&self, map: &LinuxMap, key: &[u8]) -> Result<(), Errno> {
        self.map_update(map, key, &vec![0; map.copied_size])
    }

    fn map_fill(&self, map: &LinuxMap, entries: &[(&[u8], &[u8])]) -> Result<(), Errno> {
        let (Some((key, value)), Ok(count)) = (entries.first(), u32::try_from(entries.len())) else {
            return Ok(());
        };
        entries.iter().try_for_each(|(key, value)| map.entry(key, value.len()).map(|_| ()))?;
        let mut keys = Vec::with_capacity(key.len() * entries.len());
        let mut values = Vec::with_capacity(value.len() * entries.len());
        for (key, value) in entries {
            keys.extend_from_slice(key);
            values.extend_from_slice(value);
        }
        let mut attr = Attr::new()
            .input(16, &keys)
            .input(24, &values)
            .u32(32, count)
            .u32(36, fd_of(&map.fd))
            .u64(40, 0)
            .u64(48, 0);
        // SAFETY: the kernel reads `count` keys and values of the map's sizes; `entry` has checked each.
        match unsafe { attr.call(Command::MapUpdateBatch) } {
            Ok(_) => Ok(()),
            // Tries take no batch before 5.11; anything else comes back from the single update.
            Err(_) => entries.iter().try_for_each(|(key, value)| self.map_update(map, key, value)),
        }
    }

    fn map_lookup(&self, map: &LinuxMap, key: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
        let mut value = vec![0; map.copied_size];
        let mut attr = map.entry(key, value.len())?.output(16, &mut value).u64(24, 0);
        // SAFETY: key and value have the sizes of the map, as `entry` has checked.
        match unsafe { attr.call(Command::MapLookup) } {
            Ok(_) => Ok(Some(value)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn map_delete(&self, map: &LinuxMap, key: &[u8]) -> Result<bool, Errno> {
        let mut attr = map.entry(key, map.copied_size)?;
        // SAFETY: the key has the size of the map's, as `entry` has checked.
        match unsafe { attr.call(Command::MapDelete) } {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn map_memory(&self, map: &LinuxMap) -> Result<u64, Errno> {
        fdinfo::memlock(map.fd.as_fd())
    }

    fn program_load(&self, spec: &ProgramSpec<'_>) -> Result<OwnedFd, Rejection> {
        load::load(spec)
    }

    fn program_memory(&self, program: &OwnedFd) -> Result<ProgramMemory, Errno> {
        // struct bpf_prog_info: type, id, tag[8], jited_prog_len, …
        let jited = program_info::<4>(program.as_fd(), 16)?;
        let jited = u64::from(u32::from_ne_bytes(jited));
        Ok(ProgramMemory { program: fdinfo::memlock(program.as_fd())?, jited })
    }

    fn program_missed(&self, program: &OwnedFd) -> Result<u64, Errno> {
        recursion_misses(program.as_fd())
    }

    fn await_calls(&self) {
        grace::wait(self);
    }

    fn test_run(&self, program: &OwnedFd, args: &[u64]) -> Result<u32, Errno> {
        let context: Vec<u8> = args.iter().flat_map(|arg| arg.to_ne_bytes()).collect();
        let size = u32::try_from(context.len()).map_err(|_| Errno::EINVAL)?;
        let mut attr = Attr::new().u32(0, fd_of(program)).u32(40, size).u32(64, 0).u32(68, 0);
        // An address without a size is refused.
        if !context.is_empty() {
            attr = attr.input(48, &context);
        }
        // SAFETY: the kernel reads `ctx_size_in` bytes of the context, and writes no buffer, as none is set.
        unsafe { attr.call(Command::ProgTestRun) }?;
        Ok(attr.read_u32(4))
    }

    fn attach(&self, program: &OwnedFd, point: &AttachPoint<'_>) -> Result<LinuxLink, AttachError> {
        let direct = |name| {
            let link = raw_tracepoint_open(program, name).map(LinuxLink::Direct);
            link.map_err(|errno| AttachError { step: AttachStep::Link, errno })
        };
        match point.flavour {
            Flavour::Unspecified => Err(AttachError { step: AttachStep::Link, errno: Errno::EINVAL }),
            Flavour::Fentry | Flavour::Fexit | Flavour::FmodRet | Flavour::Lsm | Flavour::TpBtf => {
                direct(None)
            }
            Flavour::RawTp => direct(Some(point.target)),
            Flavour::Kprobe => attach_kprobe(program.as_fd(), point.target, false).map(LinuxLink::Perf),
            Flavour::Kretprobe => attach_kprobe(program.as_fd(), point.target, true).map(LinuxLink::Perf),
            Flavour::Tracepoint => attach_tracepoint(program.as_fd(), point.target).map(LinuxLink::Perf),
        }
    }

    fn pin(&self, link: &LinuxLink, path: &Path) -> Result<(), Errno> {
        match link {
            LinuxLink::Direct(fd) => obj_pin(fd.as_fd(), path),
            LinuxLink::Perf(perf) => obj_pin(perf.link().ok_or(Errno::EOPNOTSUPP)?, path),
        }
    }

    fn pin_map(&self, map: &LinuxMap, path: &Path) -> Result<(), Errno> {
        obj_pin(map.fd(), path)
    }

    fn open_map(&self, path: &Path) -> Result<LinuxMap, Errno> {
        let path = c_path(path)?;
        let mut attr = Attr::new().input(0, path.as_bytes_with_nul()).u32(8, 0).u32(12, 0);
        // SAFETY: the path is a C string, of which the kernel reads no more than up to its zero; BPF_OBJ_GET gives a
        // new descriptor.
        self.adopt_map(unsafe { attr.open(Command::ObjGet) }?)
    }

    fn detach(&self, link: LinuxLink) -> Result<(), Errno> {
        match link {
            LinuxLink::Perf(link) => link.detach(),
            LinuxLink::Direct(fd) => {
                // SAFETY: the descriptor is ours alone, and not used after this call.
                let result = unsafe { libc::close(fd.into_raw_fd()) };
                if result < 0 { Err(Errno::last()) } else { Ok(()) }
            }
        }
    }
}
