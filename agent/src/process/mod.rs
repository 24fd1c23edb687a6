//! In: exec, fork and exit records of the fixed programs, `/proc` for what ran before them. Out: `process_exec` and
//! `process_exit` events, and the process and parent of every other event.
//!
//! Guarantees: one event per exec and per exit record; a bounded number of images, forgotten 30 seconds after they
//! ended, so that late events still find theirs. Records must come in ring-buffer order.

mod arguments;
mod clock;
mod container;
mod exec;
mod images;
mod life;
mod pending;
mod procfs;
mod scan;
mod texts;

use std::collections::HashMap;
use std::sync::Arc;

use api::event::{ExecId, Process, ProcessFlags, ProcessInfo, Timestamp};

pub use clock::BootClock;
pub use scan::ScanError;

use container::Containers;
use images::Images;
use pending::PendingArguments;

use crate::pods::{Pods, hierarchy};

/// Identity of a process image on this node: process id and boot time of its start, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageKey {
    /// Thread group id in the initial pid namespace.
    pub tgid: u32,
    /// Boot time of the exec or fork that made it, nanoseconds; 0 unknown.
    pub start: u64,
}

/// The process of an event with its parent.
#[derive(Debug, Clone)]
pub struct Known {
    /// The image.
    pub process: Arc<Process>,
    /// Its parent, or the image that it replaced without a fork.
    pub parent: Option<Arc<Process>>,
    /// References that the cache holds for debugging: 1, or 0 if the process is not in it.
    pub refcnt: u32,
}

/// What the cache could not do as it should; each count since start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheCounters {
    /// Images forgotten while they still ran, because the cache was full.
    pub evicted: u64,
    /// Images that hold the beginnings of their texts alone, because all texts together took too much memory.
    pub cut: u64,
    /// Processes that ran before the agent and found no room in the kernel's map: not followed.
    pub unfollowed: u64,
    /// Images asked for that were not there.
    pub missed: u64,
    /// Records that are not what `records.h` says.
    pub malformed: u64,
    /// Arguments of execs whose record never came.
    pub orphaned_arguments: u64,
}

/// What the agent knows of processes.
pub struct ProcessCache {
    node: Arc<str>,
    clock: BootClock,
    /// Boot time at which the wall clock is to be looked at again.
    clock_due: u64,
    /// Boot time of the newest record.
    newest: u64,
    images: Images,
    pending: PendingArguments,
    containers: Containers,
    pods: Pods,
    /// Starts of the processes that the scan found: one that forked while it was being entered has left 0 in the fork's
    /// record.
    scanned: HashMap<u32, u64>,
    /// Parent of all processes whose parent is unknown.
    kernel: Arc<Process>,
    counters: CacheCounters,
}

impl ProcessCache {
    /// An empty cache. `node` is the first part of every `exec_id`.
    pub fn new(node: &str) -> ProcessCache {
        let clock = BootClock::new();
        ProcessCache {
            node: node.into(),
            clock,
            clock_due: 0,
            newest: 0,
            images: Images::new(),
            pending: PendingArguments::default(),
            containers: Containers::new(),
            pods: Pods::new(hierarchy()),
            scanned: HashMap::new(),
            kernel: Arc::new(kernel_process(node, clock.at(1))),
            counters: CacheCounters::default(),
        }
    }

    /// The image of a hook record. One that is not known comes with its ids alone and the flag `unknown`.
    pub fn find(&mut self, key: ImageKey) -> Known {
        match self.images.get(key) {
            Some(image) => {
                let process = image.process(&self.node, &self.clock, &self.pods, key);
                Known { process, parent: image.parent.clone(), refcnt: 1 }
            }
            None => {
                self.counters.missed += 1;
                Known {
                    process: Arc::new(images::unknown(&self.node, &self.clock, key)),
                    parent: None,
                    refcnt: 0,
                }
            }
        }
    }

    /// The same at this boot time, also if the kernel side does not know its start (0): a process that is on its way out
    /// is not in its map any more.
    pub fn find_at(&mut self, key: ImageKey, time: u64) -> Known {
        let newest = (key.start == 0).then(|| self.images.newest(key.tgid, time)).flatten();
        self.find(newest.unwrap_or(key))
    }

    /// The clock that turns the records' boot time into wall-clock time.
    pub fn clock(&self) -> &BootClock {
        &self.clock
    }

    /// The pods of the node.
    pub fn pods(&self) -> &Pods {
        &self.pods
    }

    /// The same, to tell of changes.
    pub fn pods_mut(&mut self) -> &mut Pods {
        &mut self.pods
    }

    /// Name of the node.
    pub fn node(&self) -> &Arc<str> {
        &self.node
    }

    /// Images in the cache.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.images.len() == 0
    }

    /// What went wrong so far.
    pub fn counters(&self) -> CacheCounters {
        CacheCounters {
            evicted: self.images.evicted(),
            cut: self.images.cut(),
            orphaned_arguments: self.pending.orphaned(),
            ..self.counters
        }
    }
}

/// The pseudo process 0.
fn kernel_process(node: &str, start: Timestamp) -> Process {
    Process::new(ProcessInfo {
        exec_id: ExecId::new(node, 1, 0),
        binary: "<kernel>".into(),
        uid: Some(0),
        start_time: Some(start),
        flags: ProcessFlags::PROC_FS,
        in_init_tree: Some(false),
        ..ProcessInfo::default()
    })
}
