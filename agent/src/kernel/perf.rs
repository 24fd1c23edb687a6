//! In: a loaded program and a kprobe's symbol or a tracepoint's name. Out: a perf event with the program on it.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::Errno;
use super::spec::{AttachError, AttachStep};

/// `BPF_PERF_EVENT` of `enum bpf_attach_type`.
const BPF_PERF_EVENT: u32 = 41;
const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
const PERF_EVENT_IOC_ENABLE: libc::Ioctl = 0x2400;
const PERF_EVENT_IOC_DISABLE: libc::Ioctl = 0x2401;
const PERF_EVENT_IOC_SET_BPF: libc::Ioctl = 0x4004_2408;
/// `struct perf_event_attr` up to its second version's end, which every kernel since 2.6.33 takes: 72 bytes.
const PERF_ATTR_SIZE: u32 = 72;
/// Bit `disabled` of the flags at offset 40.
const PERF_DISABLED: u64 = 1;

/// `struct perf_event_attr` with the fields used here.
#[repr(C)]
#[derive(Default)]
struct PerfAttr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    /// kprobes: address of the symbol's name.
    config1: u64,
    /// kprobes: offset in the function.
    config2: u64,
}

/// A perf event that runs a program.
#[derive(Debug)]
pub struct PerfLink {
    /// Binds program and event from 5.15 on; before, the event holds the program itself.
    link: Option<OwnedFd>,
    event: OwnedFd,
}

impl PerfLink {
    /// The link, where the kernel has them for perf events. It holds the event, too.
    pub fn link(&self) -> Option<BorrowedFd<'_>> {
        self.link.as_ref().map(AsFd::as_fd)
    }

    /// Stops the event, then lets go of link and event.
    pub fn detach(self) -> Result<(), Errno> {
        let stopped = event_ioctl(&self.event, PERF_EVENT_IOC_DISABLE, 0);
        drop(self.link);
        stopped
    }
}

/// Puts a program on a function's entry, or its return.
pub fn attach_kprobe(
    program: BorrowedFd<'_>,
    symbol: &str,
    on_return: bool,
) -> Result<PerfLink, AttachError> {
    let source = |errno| AttachError { step: AttachStep::KprobeSource, errno };
    let device = Path::new("/sys/bus/event_source/devices/kprobe");
    let kind = read_number(&device.join("type")).map_err(source)?;
    let config = if on_return { 1 << return_bit(device).map_err(source)? } else { 0 };
    let name = CString::new(symbol).map_err(|_| source(Errno::EINVAL))?;
    let attr = PerfAttr {
        kind: u32::try_from(kind).map_err(|_| source(Errno::EINVAL))?,
        config,
        config1: name.as_ptr() as u64,
        ..PerfAttr::default()
    };
    bind(program, open(attr)?)
}

/// Puts a program on a tracepoint, `subsystem/event`.
pub fn attach_tracepoint(program: BorrowedFd<'_>, target: &str) -> Result<PerfLink, AttachError> {
    let no_id = |errno| AttachError { step: AttachStep::TracepointId, errno };
    let well_formed = target.split('/').count() == 2 && !target.contains("..");
    let events = tracefs().filter(|_| well_formed).ok_or(no_id(Errno::ENOENT))?;
    let id = read_number(&events.join("events").join(target).join("id")).map_err(no_id)?;
    bind(program, open(PerfAttr { kind: PERF_TYPE_TRACEPOINT, config: id, ..PerfAttr::default() })?)
}

/// Where tracefs is mounted, if it is.
pub fn tracefs() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let is_tracefs = after.split(' ').next() == Some("tracefs");
        let target = before.split(' ').nth(4)?;
        // A target with blanks is written with octal escapes; nobody mounts tracefs there.
        (is_tracefs && !target.contains('\\')).then(|| PathBuf::from(target))
    })
}

/// Bit of `config` that makes a kprobe a kretprobe, from a text like `config:0`.
fn return_bit(device: &Path) -> Result<u32, Errno> {
    let text = fs::read_to_string(device.join("format/retprobe"))?;
    let bit = text.trim().strip_prefix("config:").and_then(|bit| bit.parse().ok());
    bit.filter(|bit| *bit < 64).ok_or(Errno::EINVAL)
}

fn read_number(path: &Path) -> Result<u64, Errno> {
    fs::read_to_string(path)?.trim().parse().map_err(|_| Errno::EINVAL)
}

fn open(attr: PerfAttr) -> Result<OwnedFd, AttachError> {
    let attr =
        PerfAttr { size: PERF_ATTR_SIZE, sample_period: 1, wakeup_events: 1, flags: PERF_DISABLED, ..attr };
    // One CPU must be named, yet a program on a probe runs on all of them.
    let (pid, cpu, group) = (-1, 0, -1);
    // SAFETY: `attr` is a perf_event_attr of `size` bytes; the name that `config1` may point to is a C string that
    // the caller of this function keeps until it returns.
    let fd =
        unsafe { libc::syscall(libc::SYS_perf_event_open, &attr, pid, cpu, group, PERF_FLAG_FD_CLOEXEC) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just opened `fd` for us, and nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(AttachError { step: AttachStep::PerfEvent, errno: Errno::last() }),
    }
}

/// Binds and starts. A link is preferred since it can be inspected; kernels before 5.15 do not know it (EINVAL).
fn bind(program: BorrowedFd<'_>, event: OwnedFd) -> Result<PerfLink, AttachError> {
    let failed = |errno| AttachError { step: AttachStep::Link, errno };
    let link = match super::linux::link_create(program, event.as_raw_fd(), BPF_PERF_EVENT) {
        Ok(link) => Some(link),
        Err(Errno::EINVAL) => {
            event_ioctl(&event, PERF_EVENT_IOC_SET_BPF, program.as_raw_fd()).map_err(failed)?;
            None
        }
        Err(errno) => return Err(failed(errno)),
    };
    event_ioctl(&event, PERF_EVENT_IOC_ENABLE, 0).map_err(failed)?;
    Ok(PerfLink { link, event })
}

fn event_ioctl(event: &OwnedFd, request: libc::Ioctl, argument: i32) -> Result<(), Errno> {
    // SAFETY: these requests take an integer, not an address.
    let result = unsafe { libc::ioctl(event.as_raw_fd(), request, argument) };
    if result < 0 { Err(Errno::last()) } else { Ok(()) }
}
