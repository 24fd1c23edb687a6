//! In: the process sets that artefacts test. Out: one process bit for each distinct set, true in all processes that
//! run, and computed by each exec from then on.
//!
//! A program may test a bit only after [`ProcessSets::settle`]: by then bits of an earlier set with the same number
//! are gone, the exec-time tables hold the set, and the processes that already ran have been evaluated. In this order:
//! whatever is forked or executed in between is computed by the kernel, or is found by a later scan.

mod evaluate;
mod procfs;
mod tables;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};

use api::artefact::{ProcessSet, SetOp};
use bpf_programs::layout::{BINARY_POSTFIX_MAX, BINARY_PREFIX_MAX, PROCESS_WORDS};

use self::tables::Tables;
use super::indices::Indices;
use crate::kernel::{Errno, Kernel};
use crate::pods::{CgroupId, Place};

pub use self::procfs::{Cgroup, ProcFs, Running, RunningProcesses};
pub use self::workloads::WorkloadChange;

/// One bit of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessBit(u8);

/// One value of an exec-time table: a bit for each set.
pub type Words = [u64; PROCESS_WORDS];

impl ProcessBit {
    /// Sets that can be in force at once.
    pub const COUNT: u32 = 256;

    /// The bit with this number.
    pub fn new(number: u8) -> ProcessBit {
        ProcessBit(number)
    }

    /// Index of its word.
    pub fn word(self) -> usize {
        usize::from(self.0 / 64)
    }

    /// Bytes of the words before its word.
    pub fn word_offset(self) -> u32 {
        u32::from(self.0 / 64) * 8
    }

    /// Itself, in its word.
    pub fn mask(self) -> u64 {
        1 << (self.0 % 64)
    }

    /// Sets it.
    pub fn add_to(self, words: &mut Words) {
        if let Some(word) = words.get_mut(self.word()) {
            *word |= self.mask();
        }
    }
}

/// The kernel objects of the fixed programs that know of process sets. See `bpf-programs/c/records.h`.
#[derive(Debug)]
pub struct SetObjects<K: Kernel> {
    /// `binary_exact_prefix`.
    pub prefix: K::Map,
    /// `binary_postfix`.
    pub postfix: K::Map,
    /// `pid_sets`.
    pub pids: K::Map,
    /// `cgroup_sets`.
    pub cgroups: K::Map,
    /// `config`.
    pub config: K::Map,
    /// `processes`.
    pub processes: K::Map,
    /// `set_process_bits`.
    pub set_bits: K::Program,
}

/// Process sets could not be put in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Out of bits.
    #[error(
        "the policies of this node name more than 256 different sets of binaries, process ids and workloads; remove some"
    )]
    TooMany,
    /// The kernel compares a bounded number of bytes.
    #[error("the binary path {} is longer than the {limit} bytes that are compared", shown(path))]
    TooLong {
        /// Which.
        path: Vec<u8>,
        /// Bytes.
        limit: usize,
    },
    /// The artefact names a comparison that this agent does not know.
    #[error(
        "a set of processes is compared in a way that this agent does not know; it is older than the compiler"
    )]
    UnknownOp,
    /// Nobody tells of pods.
    #[error(
        "the policy selects pods, and this agent does not know the pods of its node: no API server is watched"
    )]
    NoPods,
    /// Nobody tells where processes are.
    #[error(
        "the policy selects pods or the host, and this host has no unified (version 2) cgroup hierarchy to tell them \
         apart by"
    )]
    NoCgroups,
    /// A table of the fixed programs.
    #[error("writing the exec-time table `{table}` failed with {errno}{}", full_hint(*errno))]
    Table {
        /// Which.
        table: &'static str,
        /// How.
        errno: Errno,
    },
    /// The processes that already run.
    #[error("the processes that already run could not be listed: {0}; is /proc mounted?")]
    List(Errno),
    /// The processes that already run.
    #[error("evaluating the process {tgid}, which already runs, failed with {errno}")]
    Process {
        /// Which.
        tgid: u32,
        /// How.
        errno: Errno,
    },
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path.get(..64).unwrap_or(path)).into_owned()
}

fn full_hint(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOSPC | Errno(libc::E2BIG) => {
            ": it is full, as the policies name too many binaries or process ids, or the node has too many containers"
        }
        _ => "",
    }
}

/// All sets in force.
#[derive(Debug)]
pub struct ProcessSets<K: Kernel, P> {
    objects: SetObjects<K>,
    running: P,
    bits: Indices,
    /// Bits that some set, perhaps an earlier one, may have given to processes.
    used_before: BTreeSet<ProcessBit>,
    sets: BTreeMap<ProcessSet, Use>,
    published: Tables,
    /// Where workloads are; empty: nobody tells.
    workloads: BTreeMap<CgroupId, Place>,
    knows_pods: bool,
    has_list: bool,
}

#[derive(Debug)]
struct Use {
    bit: ProcessBit,
    programs: usize,
    settled: bool,
}

impl<K: Kernel, P: RunningProcesses> ProcessSets<K, P> {
    /// No sets.
    pub fn new(objects: SetObjects<K>, running: P) -> Self {
        let bits = Indices::new(ProcessBit::COUNT);
        let (used_before, sets) = (BTreeSet::new(), BTreeMap::new());
        ProcessSets {
            objects,
            running,
            bits,
            used_before,
            sets,
            published: Tables::default(),
            workloads: BTreeMap::new(),
            knows_pods: false,
            has_list: false,
        }
    }

    /// One more program tests a set.
    pub fn acquire(&mut self, set: &ProcessSet) -> Result<ProcessBit, SetError> {
        if let Some(known) = self.sets.get_mut(set) {
            known.programs += 1;
            return Ok(known.bit);
        }
        check(set)?;
        self.check_workloads(set)?;
        let number = self.bits.take().ok_or(SetError::TooMany)?;
        let bit = ProcessBit(u8::try_from(number).map_err(|_| SetError::TooMany)?);
        self.sets.insert(set.clone(), Use { bit, programs: 1, settled: false });
        Ok(bit)
    }

    /// One program fewer tests it.
    pub fn release(&mut self, set: &ProcessSet) {
        if let Some(known) = self.sets.get_mut(set) {
            known.programs -= 1;
            if known.programs == 0 {
                self.bits.give_back(u32::from(known.bit.0));
                self.sets.remove(set);
            }
        }
    }

    /// Whether programs may test a set already.
    pub fn is_settled(&self, set: &ProcessSet) -> bool {
        self.sets.get(set).is_some_and(|known| known.settled)
    }

    /// Puts the wanted ones of the acquired sets in force, all or none.
    pub fn settle(&mut self, kernel: &K, wanted: impl Fn(&ProcessSet) -> bool) -> Result<(), SetError> {
        let is_new = |(set, known): &(&ProcessSet, &Use)| !known.settled && wanted(set);
        let new: Vec<(ProcessSet, ProcessBit)> =
            self.sets.iter().filter(is_new).map(|(set, known)| (set.clone(), known.bit)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut stale = Words::default();
        for (_, bit) in new.iter().filter(|(_, bit)| self.used_before.contains(bit)) {
            bit.add_to(&mut stale);
        }
        if stale != Words::default() {
            evaluate::clear(kernel, &self.objects, &self.running, &stale)?;
        }
        // From here on the bits are found in processes, whether or not the rest goes well.
        self.used_before.extend(new.iter().map(|(_, bit)| *bit));
        let in_force = self
            .publish(kernel, &wanted)
            .and_then(|()| evaluate::evaluate(kernel, &self.objects, &self.running, &self.workloads, &new));
        if let Err(error) = in_force {
            // Makes room for others. What resists is taken out by the next publication.
            let _ = self.retract(kernel);
            return Err(error);
        }
        for (set, _) in &new {
            if let Some(known) = self.sets.get_mut(set) {
                known.settled = true;
            }
        }
        Ok(())
    }

    /// Takes the sets that nobody tests any more out of the tables.
    pub fn retract(&mut self, kernel: &K) -> Result<(), SetError> {
        self.publish(kernel, |_| false)
    }

    fn publish(&mut self, kernel: &K, wanted: impl Fn(&ProcessSet) -> bool) -> Result<(), SetError> {
        let sets = self.sets.iter().filter(|(set, known)| known.settled || wanted(set));
        let desired = Tables::of(sets.map(|(set, known)| (set, known.bit)), &self.workloads);
        self.published.become_like(&desired, kernel, &self.objects)
    }
}

fn check(set: &ProcessSet) -> Result<(), SetError> {
    let limit = match set_op(set)? {
        SetOp::Unspecified => return Err(SetError::UnknownOp),
        SetOp::Pid => return Ok(()),
        SetOp::Workloads if set.workloads.is_none() => return Err(SetError::UnknownOp),
        SetOp::Workloads => return Ok(()),
        // One byte is for the NUL that tells a whole path from a prefix.
        SetOp::Equal | SetOp::Prefix => BINARY_PREFIX_MAX - 1,
        SetOp::Postfix => BINARY_POSTFIX_MAX - 1,
    };
    match set.paths.iter().find(|path| path.len() > limit) {
        Some(path) => Err(SetError::TooLong { path: path.clone(), limit }),
        None => Ok(()),
    }
}

fn set_op(set: &ProcessSet) -> Result<SetOp, SetError> {
    SetOp::try_from(set.op).map_err(|_| SetError::UnknownOp)
}

#[cfg(test)]
mod tests;
