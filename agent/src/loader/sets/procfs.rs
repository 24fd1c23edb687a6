//! In: /proc. Out: the processes that run, with what process sets are evaluated on.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A process that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Thread group.
    pub tgid: u32,
    /// Thread group of the parent; 0 if it has none.
    pub parent: u32,
    /// Its executable as it sees it itself; `None` for kernel threads.
    pub exe: Option<Vec<u8>>,
}

/// Whoever knows the processes that run.
pub trait RunningProcesses {
    /// All that run now. Those that come and go meanwhile may be there or not. Calls `before` with each thread group
    /// before it looks at it: what was read there is no newer than what is given here.
    fn running(&self, before: &mut dyn FnMut(u32)) -> io::Result<Vec<Running>>;

    /// Thread groups in this cgroup itself, and the cgroups right below it. One that is gone is empty.
    fn cgroup(&self, path: &Path) -> io::Result<Cgroup>;
}

/// What is in a cgroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// Thread groups.
    pub processes: Vec<u32>,
    /// Paths of the cgroups below.
    pub below: Vec<PathBuf>,
}

/// A mounted proc file system.
#[derive(Debug, Clone)]
pub struct ProcFs {
    root: PathBuf,
}

impl ProcFs {
    /// Mounted here: `/proc`, or the host's where a container sees it.
    pub fn at(root: impl Into<PathBuf>) -> ProcFs {
        ProcFs { root: root.into() }
    }
}

impl RunningProcesses for ProcFs {
    fn running(&self, before: &mut dyn FnMut(u32)) -> io::Result<Vec<Running>> {
        let mut processes = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let Some(tgid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            before(tgid);
            // A process that is gone by now needs no bits.
            processes.extend(read(&entry.path(), tgid)?);
        }
        Ok(processes)
    }

    fn cgroup(&self, path: &Path) -> io::Result<Cgroup> {
        let processes = match fs::read_to_string(path.join("cgroup.procs")) {
            Ok(list) => list.lines().filter_map(|line| line.parse().ok()).collect(),
            // A threaded cgroup: its processes are listed above it.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Vec::new(),
            Err(error) if is_gone(&error) => return Ok(Cgroup::default()),
            Err(error) => return Err(error),
        };
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => return Ok(Cgroup { processes, below: Vec::new() }),
            Err(error) => return Err(error),
        };
        let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        Ok(Cgroup { processes, below: folders.map(|entry| entry.path()).collect() })
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::ESRCH))
}

/// `None` if it is gone. That there are too many open files, say, does not mean that.
fn read(directory: &Path, tgid: u32) -> io::Result<Option<Running>> {
    let stat = match fs::read(directory.join("stat")) {
        Ok(stat) => stat,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(parent(&stat).map(|parent| Running { tgid, parent, exe: executable(directory) }))
}

/// Fourth field. The second is the command in parentheses, which may hold anything, also parentheses and blanks.
fn parent(stat: &[u8]) -> Option<u32> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    fields.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The link's text, below the root directory of the process: the path that it was executed by, which is what the kernel
/// side has compared, also if there is another file by now, or none (a file of that very name is still there).
fn executable(directory: &Path) -> Option<Vec<u8>> {
    let exe = directory.join("exe");
    let path = fs::read_link(&exe).ok()?;
    let path = path.as_os_str().as_bytes();
    let path = match path.strip_suffix(b" (deleted)") {
        Some(before) if fs::metadata(&exe).is_ok_and(|file| file.nlink() == 0) => before,
        _ => path,
    };
    let root = fs::read_link(directory.join("root")).unwrap_or_default();
    Some(below(path, root.as_os_str().as_bytes()).to_vec())
}

/// `path` as seen from the root directory `root`, if it lies in it.
fn below<'a>(path: &'a [u8], root: &[u8]) -> &'a [u8] {
    match path.strip_prefix(root) {
        Some(rest) if rest.starts_with(b"/") => rest,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_command() {
        assert_eq!(parent(b"12 (cat) S 7 12 12 0"), Some(7));
        assert_eq!(parent(b"12 (a) b) R 1 (c) S 7 12"), Some(7));
        assert_eq!(parent(b"12 (cat"), None);
        assert_eq!(parent(b"12 (cat) S"), None);
    }

    #[test]
    fn a_path_is_taken_below_the_root_of_its_process() {
        assert_eq!(below(b"/srv/jail/bin/sh", b"/srv/jail"), b"/bin/sh");
        assert_eq!(below(b"/srv/jailed/bin/sh", b"/srv/jail"), b"/srv/jailed/bin/sh");
        assert_eq!(below(b"/bin/sh", b"/"), b"/bin/sh");
        assert_eq!(below(b"/bin/sh", b""), b"/bin/sh");
    }

    #[test]
    fn an_executable_that_is_deleted_is_the_one_that_was_executed() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["sleeper", "sleeper (deleted)"] {
            let path = folder.path().canonicalize().unwrap().join(name);
            let source = ["/usr/bin/sleep", "/bin/sleep"].into_iter().find(|path| Path::new(path).exists());
            fs::copy(source.unwrap(), &path).unwrap();
            let mut child = std::process::Command::new(&path).arg("60").spawn().unwrap();
            let directory = Path::new("/proc").join(child.id().to_string());
            let before = executable(&directory);
            fs::remove_file(&path).unwrap();
            let after = executable(&directory);
            child.kill().unwrap();
            child.wait().unwrap();
            let path = Some(path.as_os_str().as_bytes().to_vec());
            assert_eq!((before, after), (path.clone(), path));
        }
    }

    #[test]
    fn this_process_runs() {
        let processes = ProcFs::at("/proc").running(&mut |_| ()).unwrap();
        let this = processes.iter().find(|process| process.tgid == std::process::id()).unwrap();
        assert_eq!(this.parent, std::os::unix::process::parent_id());
        let exe = std::env::current_exe().unwrap();
        assert_eq!(this.exe.as_deref(), Some(exe.as_os_str().as_bytes()));
        assert!(ProcFs::at("/nowhere").running(&mut |_| ()).is_err());
    }
}
