//! Input: programs of the cluster, which outlive us.
//! Output: they run, and a file for each says which process it is, so that exactly those are ended.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Time to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often is looked.
const POLL: Duration = Duration::from_millis(20);

/// A process that one of us has started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub name: String,
    pid: i32,
    /// When it started, in the kernel's clock ticks: a later process of the same id differs.
    started: u64,
}

impl Process {
    /// Starts a program in a session of its own, with its output in `log`, and writes its id into `folder`.
    pub fn start(name: &str, command: &Command, log: &Path, folder: &Path) -> Result<()> {
        let tell = || format!("starting {name}");
        let output = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        // setsid becomes the program: we start it in no process group of its own.
        let mut session = Command::new("setsid");
        session.arg(command.get_program()).args(command.get_args());
        for (variable, value) in command.get_envs() {
            if let Some(value) = value {
                session.env(variable, value);
            }
        }
        session.stdin(Stdio::null()).stdout(output.try_clone().with_context(tell)?).stderr(output);
        session.current_dir("/");
        let child = session.spawn().with_context(tell)?;
        let pid = i32::try_from(child.id()).with_context(tell)?;
        let process = Process { name: name.to_owned(), pid, started: started(pid).with_context(tell)? };
        fs::create_dir_all(folder).with_context(tell)?;
        fs::write(folder.join(name), format!("{pid} {}\n", process.started)).with_context(tell)
    }

    /// All that are written in a folder, by name.
    pub fn all(folder: &Path) -> Result<Vec<Process>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let text =
                fs::read_to_string(entry.path()).with_context(|| format!("reading {:?}", entry.path()))?;
            let mut numbers = text.split_whitespace();
            let process = || -> Option<Process> {
                let pid = numbers.next()?.parse().ok()?;
                let name = entry.file_name().to_string_lossy().into_owned();
                Some(Process { name, pid, started: numbers.next()?.parse().ok()? })
            };
            // A file without content: we were killed between creating and writing it.
            found.extend({ process }());
        }
        found.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(found)
    }

    /// Whether it still runs.
    pub fn runs(&self) -> bool {
        started(self.pid).is_ok_and(|started| started == self.started)
    }

    /// Ends processes: asks them, waits, and then does not ask.
    pub fn end(processes: &[Process]) -> Result<()> {
        for signal in [Signal::TERM, Signal::KILL] {
            for process in processes.iter().filter(|process| process.runs()) {
                if let Some(pid) = Pid::from_raw(process.pid) {
                    // It may have ended since.
                    let _ = kill_process(pid, signal);
                }
            }
            let deadline = Instant::now() + PATIENCE;
            while processes.iter().any(Process::runs) && Instant::now() < deadline {
                thread::sleep(POLL);
            }
        }
        let left: Vec<&str> =
            processes.iter().filter(|process| process.runs()).map(|process| process.name.as_str()).collect();
        if !left.is_empty() {
            bail!("{} did not end within {} s of SIGKILL", left.join(", "), PATIENCE.as_secs());
        }
        Ok(())
    }
}

/// When a process started. An ended one whose parent has not asked for its status counts as gone.
fn started(pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    parse(&text).with_context(|| format!("{path} has another form than expected, or the process has ended"))
}

/// The 22nd field; the second, the name, may have spaces and parentheses in it.
fn parse(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(started)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::{Process, parse};

    #[test]
    fn the_start_is_found_behind_any_name() {
        let line = |state| format!("7 (a) b) {state} 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20\n");
        assert_eq!(parse(&line("S")), Some(4711));
        assert_eq!(parse(&line("Z")), None);
        assert_eq!(parse("7 (a"), None);
    }

    #[test]
    fn only_what_was_started_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("processes");
        let mut sleep = Command::new("sleep");
        sleep.arg("60");
        Process::start("one", &sleep, &dir.path().join("log"), &folder).unwrap();
        let all = Process::all(&folder).unwrap();
        assert!(all.len() == 1 && all[0].runs());
        // The same process id, of a process that ended long ago.
        let mut other = all.clone();
        other[0].started += 1;
        Process::end(&other).unwrap();
        assert!(all[0].runs());
        Process::end(&all).unwrap();
        assert!(!all[0].runs());
        fs::write(folder.join("two"), "").unwrap();
        assert_eq!(Process::all(&folder).unwrap(), all);
    }
}
