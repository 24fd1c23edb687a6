//! In: `/proc/PID`. Out: what the kernel side would have said of that process, had it been there.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bpf_programs::layout::{EXEC_DATA_RECORDS, EXEC_DATA_SIZE, EXEC_INLINE_ARGS};

/// Kernel thread, `PF_KTHREAD` of `flags` in `/proc/PID/stat`.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Unset login user.
const NO_AUID: u32 = u32::MAX;

/// Bytes of arguments that are kept of a process: as many as the kernel side sends of an exec.
const ARGUMENTS: usize = (EXEC_INLINE_ARGS + EXEC_DATA_RECORDS * EXEC_DATA_SIZE) as usize;
/// Bytes of arguments that all processes together may have before they are cut to [`FEW`]: all are held at once.
pub(super) const ROOM: usize = 16 << 20;
/// Bytes of arguments that are kept of each process when there is no more room.
const FEW: usize = 128;

/// A process that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) tgid: u32,
    pub(super) parent_tgid: u32,
    /// Boot time of its start, nanoseconds, to the kernel's clock tick (10 ms); never 0.
    pub(super) start: u64,
    pub(super) name: String,
    pub(super) kernel_thread: bool,
    pub(super) euid: u32,
    pub(super) auid: u32,
    /// Target of `exe`; `None` if unreadable.
    pub(super) exe: Option<String>,
    /// Target of `cwd`; `None` if unreadable.
    pub(super) cwd: Option<String>,
    /// Arguments, each with its NUL.
    pub(super) argv: Vec<u8>,
    /// It has more.
    pub(super) argv_cut: bool,
    /// It is process 1 of a pid namespace other than ours.
    pub(super) namespace_init: bool,
}

/// Process ids that there are now.
pub(super) fn list(root: &Path) -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(root)? {
        if let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Reads one process; `None` if it is gone, or was never there. Its arguments take of the room that all have.
pub(super) fn read(root: &Path, tgid: u32, ticks_per_second: u64, room: &mut usize) -> Option<Running> {
    let folder = root.join(tgid.to_string());
    let stat = Stat::read(&folder)?;
    if !stat.runs(&folder) {
        return None;
    }
    let status = fs::read(folder.join("status")).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let (argv, argv_cut) = arguments(&folder, ARGUMENTS.min(*room).max(FEW));
    *room = room.saturating_sub(argv.len());
    Some(Running {
        tgid,
        parent_tgid: stat.parent,
        start: stat.start(ticks_per_second),
        kernel_thread: stat.flags & KERNEL_THREAD != 0,
        name: stat.name,
        euid: column(&status, "Uid:", 1).unwrap_or(0),
        auid: fs::read_to_string(folder.join("loginuid"))
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(NO_AUID),
        exe: link(folder.join("exe")),
        cwd: link(folder.join("cwd")),
        argv,
        argv_cut,
        namespace_init: is_namespace_init(&status),
    })
}

/// At most so many bytes of the arguments, and whether there are more. They can be changed to be of any length.
fn arguments(folder: &Path, limit: usize) -> (Vec<u8>, bool) {
    let mut argv = Vec::new();
    if let Ok(file) = File::open(folder.join("cmdline")) {
        // What was read before an error is kept.
        let _ = file.take(limit as u64 + 1).read_to_end(&mut argv);
    }
    let is_cut = argv.len() > limit;
    argv.truncate(limit);
    (argv, is_cut)
}

/// Name of a process, while it runs.
pub(super) fn name(tgid: u32) -> Option<String> {
    let name = fs::read(format!("/proc/{tgid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end_matches('\n').to_string())
}

/// Whether the process that started at `start` still runs.
pub(super) fn still_runs(root: &Path, tgid: u32, start: u64, ticks_per_second: u64) -> bool {
    let folder = root.join(tgid.to_string());
    Stat::read(&folder).is_some_and(|stat| stat.start(ticks_per_second) == start && stat.runs(&folder))
}

/// The part of `/proc/PID/stat` that is used.
struct Stat {
    name: String,
    state: u8,
    parent: u32,
    flags: u64,
    start_ticks: u64,
}

impl Stat {
    fn read(folder: &Path) -> Option<Stat> {
        Stat::parse(&String::from_utf8_lossy(&fs::read(folder.join("stat")).ok()?))
    }

    /// `PID (NAME) STATE PPID …`; the name may hold anything, also parentheses and spaces.
    fn parse(text: &str) -> Option<Stat> {
        let (_, rest) = text.split_once('(')?;
        let (name, rest) = rest.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // proc(5) numbers the fields from 1; the third is the first here.
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Stat {
            name: name.to_string(),
            state: *field(3)?.as_bytes().first()?,
            parent: field(4)?.parse().ok()?,
            flags: field(9)?.parse().ok()?,
            start_ticks: field(22)?.parse().ok()?,
        })
    }

    fn start(&self, ticks_per_second: u64) -> u64 {
        // Process 1 may start within the first tick, and 0 means unknown.
        (self.start_ticks.saturating_mul(1_000_000_000 / ticks_per_second.max(1))).max(1)
    }

    /// Whether a thread is left: the leader may be a zombie while others run.
    fn runs(&self, folder: &Path) -> bool {
        let threads = || fs::read_dir(folder.join("task")).map_or(0, Iterator::count);
        match self.state {
            b'X' | b'x' => false,
            b'Z' => threads() > 1,
            _ => true,
        }
    }
}

/// A column of the line of `status` that starts with `key`; the columns after it count from 0.
fn column(status: &str, key: &str, index: usize) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().nth(index)?.parse().ok()
}

fn is_namespace_init(status: &str) -> bool {
    let Some(line) = status.lines().find_map(|line| line.strip_prefix("NSpid:")) else { return false };
    let ids: Vec<&str> = line.split_ascii_whitespace().collect();
    ids.len() > 1 && ids.last() == Some(&"1")
}

fn link(path: PathBuf) -> Option<String> {
    Some(fs::read_link(path).ok()?.into_os_string().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "730 (a) (b) S 156 730 156 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 2160 1 2\n";

    #[test]
    fn stat_is_read_with_any_name() {
        let stat = Stat::parse(STAT).unwrap();
        assert_eq!(
            (stat.name.as_str(), stat.state, stat.parent, stat.start_ticks),
            ("a) (b", b'S', 156, 2160)
        );
        assert_eq!(stat.start(100), 21_600_000_000);
        assert_eq!(Stat { start_ticks: 0, ..stat }.start(100), 1);
    }

    #[test]
    fn a_cut_stat_is_nothing() {
        for len in 0..STAT.find(" 2160").unwrap() {
            assert!(Stat::parse(&STAT[..len]).is_none(), "{len}");
        }
    }

    #[test]
    fn status_lines_are_found() {
        let status = "Name:\tx\nUid:\t1\t2\t3\t4\nNSpid:\t730\t1\n";
        assert_eq!(column(status, "Uid:", 1), Some(2));
        assert_eq!(column(status, "Gid:", 1), None);
        assert!(is_namespace_init(status));
        assert!(!is_namespace_init("NSpid:\t1\n"));
        assert!(!is_namespace_init("NSpid:\t730\t7\n"));
    }

    #[test]
    fn this_process_is_read() {
        let root = Path::new("/proc");
        let ticks = rustix::param::clock_ticks_per_second();
        let me = read(root, std::process::id(), ticks, &mut ROOM.clone()).unwrap();
        assert_eq!(me.exe.as_deref(), std::env::current_exe().unwrap().to_str());
        assert!(!me.kernel_thread && still_runs(root, me.tgid, me.start, ticks));
        assert!(!still_runs(root, me.tgid, me.start + 1, ticks));
        assert!(list(root).unwrap().contains(&me.tgid));
        assert!(read(root, 0, ticks, &mut 0).is_none());
    }

    #[test]
    fn arguments_are_bounded_each_and_together() {
        let root = tempfile::tempdir().unwrap();
        for tgid in 1..=200 {
            let folder = root.path().join(tgid.to_string());
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("stat"), STAT).unwrap();
            fs::write(folder.join("cmdline"), vec![b'a'; 2 * ARGUMENTS]).unwrap();
        }
        let mut room = ROOM;
        let all: Vec<_> = (1..=200).filter_map(|tgid| read(root.path(), tgid, 100, &mut room)).collect();
        assert_eq!((all.len(), all[0].argv.len(), all[199].argv.len()), (200, ARGUMENTS, FEW));
        assert!(all.iter().all(|one| one.argv_cut));
        assert!(all.iter().map(|one| one.argv.len()).sum::<usize>() <= ROOM + 200 * FEW);
    }
}
