//! In: `/proc`, after the fixed programs were attached. Out: the processes that ran before them, in the cache, in the
//! map `processes`, and as events.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use api::event::{Body, Event, ExecId, Process, ProcessExec, ProcessFlags, ProcessInfo, Subject};
use bpf_programs::layout::{PROCESS_EXECVE, PROCESS_IN_INIT_TREE, PROCESS_WORDS, ProcessEntry};

use super::procfs::{self, Running};
use super::{ImageKey, ProcessCache, arguments};
use crate::base::{Base, BaseError, Inserted};
use crate::pods::CgroupId;

/// Why the running processes could not be taken in.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// No `/proc`.
    #[error("cannot list the running processes in /proc: mount it (with the host's processes)")]
    List(#[source] io::Error),
    /// The map `processes` does not take them.
    #[error("cannot enter process {tgid} into the kernel's map of processes")]
    Enter {
        /// The process.
        tgid: u32,
        /// The reason.
        #[source]
        source: BaseError,
    },
}

/// Longest chain of parents that is followed: more can only be a loop of reused ids.
const DEEPEST: usize = 4096;

impl ProcessCache {
    /// Takes in the processes that run already, parents first, and gives one event for each that is no kernel
    /// thread. The programs must be attached and no record read yet: what starts or ends meanwhile is in the records.
    pub fn scan(&mut self, base: &mut Base) -> Result<Vec<Event>, ScanError> {
        let root = Path::new("/proc");
        let ticks = rustix::param::clock_ticks_per_second();
        self.clock.refresh();
        let mut room = procfs::ROOM;
        let found: HashMap<u32, Running> = procfs::list(root)
            .map_err(ScanError::List)?
            .into_iter()
            .filter_map(|tgid| procfs::read(root, tgid, ticks, &mut room))
            .map(|running| (running.tgid, running))
            .collect();
        let mut events = Vec::new();
        for running in parents_first(&found) {
            let in_init_tree = descends_from_namespace_init(&found, running);
            let still_runs = |start| procfs::still_runs(root, running.tgid, start, ticks);
            match enter(base, &found, running, in_init_tree, still_runs)? {
                Entered::Followed => events.extend(self.take_in(&found, running, in_init_tree)),
                // Its events are attributed nevertheless; policies for some processes do not see it as one of these.
                Entered::NoRoom => {
                    self.counters.unfollowed += 1;
                    events.extend(self.take_in(&found, running, in_init_tree));
                }
                Entered::Elsewhere => {}
            }
        }
        Ok(events)
    }

    /// Ends the images of which the kernel side knows no longer: for after exit records were lost. Returns how many.
    pub fn reconcile(&mut self, base: &Base) -> Result<usize, BaseError> {
        let mut ended = 0;
        for key in self.images.running() {
            if base.process(key.tgid)?.is_none_or(|entry| entry.start != key.start) {
                self.images.end(key, self.newest);
                ended += 1;
            }
        }
        Ok(ended)
    }

    /// Keeps a process that was found; its event, unless it is a kernel thread.
    fn take_in(
        &mut self,
        found: &HashMap<u32, Running>,
        running: &Running,
        in_init_tree: bool,
    ) -> Option<Event> {
        let key = ImageKey { tgid: running.tgid, start: running.start };
        let parent = found
            .get(&running.parent_tgid)
            .and_then(|parent| self.known(ImageKey { tgid: parent.tgid, start: parent.start }));
        let parent = parent.unwrap_or_else(|| self.kernel.clone());
        // That of no cgroup: what its place does not show is never shown.
        let (docker, belongs) = self.believe(self.containers.of_process(running.tgid), CgroupId(0));
        let info = ProcessInfo {
            exec_id: ExecId::new(&self.node, key.start, key.tgid),
            parent_exec_id: parent.exec_id.clone(),
            start_time: Some(self.clock.at(key.start)),
            docker,
            ..describe(running, in_init_tree)
        };
        let process = Arc::new(Process::new(info));
        self.images.keep(key, process.clone(), Some(parent.clone()), belongs);
        self.scanned.insert(key.tgid, key.start);
        if running.kernel_thread {
            return None;
        }
        let process = Subject { process, tid: running.tgid, refcnt: 0 };
        Some(self.event(
            Body::Exec(ProcessExec { process, parent: Some(parent), ancestors: Vec::new() }),
            key.start,
        ))
    }
}

/// What became of a process that was found.
enum Entered {
    /// It is in the kernel's map.
    Followed,
    /// It is not, as the map is full.
    NoRoom,
    /// It is not to be followed from here: a fork or an exec has entered it meanwhile (and its record will tell), or it
    /// ended before it was in the map (and no record will).
    Elsewhere,
}

/// Enters a process into the kernel's map.
fn enter(
    base: &mut Base,
    found: &HashMap<u32, Running>,
    running: &Running,
    in_init_tree: bool,
    still_runs: impl Fn(u64) -> bool,
) -> Result<Entered, ScanError> {
    let tgid = running.tgid;
    let failed = |source| ScanError::Enter { tgid, source };
    let mut flags = 0;
    if !running.kernel_thread {
        flags |= PROCESS_EXECVE;
    }
    if in_init_tree {
        flags |= PROCESS_IN_INIT_TREE;
    }
    let entry = ProcessEntry {
        start: running.start,
        parent_start: found.get(&running.parent_tgid).map_or(0, |parent| parent.start),
        parent_tgid: running.parent_tgid,
        flags,
        own: [0; PROCESS_WORDS],
        parent: [0; PROCESS_WORDS],
        inherited: [0; PROCESS_WORDS],
    };
    match base.insert_process(tgid, &entry).map_err(failed)? {
        Inserted::New => {}
        Inserted::Known => return Ok(Entered::Elsewhere),
        Inserted::NoRoom => return Ok(Entered::NoRoom),
    }
    if still_runs(running.start) {
        return Ok(Entered::Followed);
    }
    // If it ended after it was entered, its exit has removed the entry, and is in the records.
    let ended_before = base.remove_process(tgid, running.start).map_err(failed)?;
    Ok(if ended_before { Entered::Elsewhere } else { Entered::Followed })
}

/// Each after its parent; in order of ids otherwise.
fn parents_first(found: &HashMap<u32, Running>) -> Vec<&Running> {
    let mut order: Vec<(usize, &Running)> =
        found.values().map(|one| (ancestors(found, one).count(), one)).collect();
    order.sort_by_key(|(depth, running)| (*depth, running.tgid));
    order.into_iter().map(|(_, running)| running).collect()
}

fn ancestors<'a>(found: &'a HashMap<u32, Running>, of: &'a Running) -> impl Iterator<Item = &'a Running> {
    std::iter::successors(found.get(&of.parent_tgid), |one| found.get(&one.parent_tgid)).take(DEEPEST)
}

fn descends_from_namespace_init(found: &HashMap<u32, Running>, running: &Running) -> bool {
    running.namespace_init || ancestors(found, running).any(|ancestor| ancestor.namespace_init)
}

fn describe(running: &Running, in_init_tree: bool) -> ProcessInfo {
    let mut flags = ProcessFlags::PROC_FS;
    if in_init_tree {
        flags |= ProcessFlags::IN_INIT_TREE;
    }
    if running.cwd.as_deref() == Some("/") && !running.kernel_thread {
        flags |= ProcessFlags::ROOT_CWD;
    }
    if running.argv_cut {
        flags |= ProcessFlags::TRUNC_ARGS;
    }
    let cwd = running.cwd.clone().unwrap_or_default();
    let binary = match (&running.exe, running.kernel_thread) {
        (_, true) => format!("[{}]", running.name),
        (Some(exe), false) => exe.clone(),
        (None, false) => match arguments::first(&running.argv) {
            Some(first) => arguments::absolute(&cwd, &first),
            None => running.name.clone(),
        },
    };
    ProcessInfo {
        pid: running.tgid,
        uid: Some(running.euid),
        auid: Some(running.auid),
        cwd: cwd.into(),
        binary: binary.into(),
        arguments: arguments::join(&running.argv).into(),
        flags,
        in_init_tree: Some(in_init_tree),
        ..ProcessInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(tgid: u32, parent_tgid: u32) -> Running {
        Running {
            tgid,
            parent_tgid,
            start: 1,
            name: "n".into(),
            kernel_thread: false,
            euid: 0,
            auid: 0,
            exe: Some("/bin/n".into()),
            cwd: Some("/".into()),
            argv: b"n\0x\0".to_vec(),
            argv_cut: false,
            namespace_init: false,
        }
    }

    fn world(list: Vec<Running>) -> HashMap<u32, Running> {
        list.into_iter().map(|one| (one.tgid, one)).collect()
    }

    #[test]
    fn parents_come_first_even_with_higher_ids() {
        let found = world(vec![running(5, 900), running(900, 1), running(1, 0), running(7, 5)]);
        let order: Vec<u32> = parents_first(&found).iter().map(|one| one.tgid).collect();
        assert_eq!(order, [1, 900, 5, 7]);
    }

    #[test]
    fn a_loop_of_parents_ends() {
        let found = world(vec![running(5, 6), running(6, 5)]);
        assert_eq!(parents_first(&found).len(), 2);
    }

    #[test]
    fn descendants_of_a_namespaces_init_are_in_its_tree() {
        let mut init = running(10, 1);
        init.namespace_init = true;
        let found = world(vec![running(1, 0), init, running(11, 10), running(12, 1)]);
        let inside: Vec<u32> = parents_first(&found)
            .into_iter()
            .filter(|one| descends_from_namespace_init(&found, one))
            .map(|one| one.tgid)
            .collect();
        assert_eq!(inside, [10, 11]);
    }

    #[test]
    fn processes_are_described_by_what_is_readable() {
        let info = describe(&running(1, 0), false);
        assert_eq!((info.binary.as_str(), info.arguments.as_str()), ("/bin/n", "x"));
        assert_eq!(info.flags, ProcessFlags::PROC_FS | ProcessFlags::ROOT_CWD);
        let info = describe(&Running { argv_cut: true, ..running(1, 0) }, false);
        assert!(info.flags.contains(ProcessFlags::TRUNC_ARGS));
        let info = describe(&Running { exe: None, cwd: Some("/job".into()), ..running(1, 0) }, true);
        assert_eq!((info.binary.as_str(), info.in_init_tree), ("/job/n", Some(true)));
        let info =
            describe(&Running { kernel_thread: true, exe: None, argv: vec![], ..running(2, 0) }, false);
        assert_eq!((info.binary.as_str(), info.flags), ("[n]", ProcessFlags::PROC_FS));
    }
}
