//! In: cgroups of the node's workloads, as they come, change and go. Out: the table `cgroup_sets`, and the bits of the
//! processes that are in these cgroups already.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use api::artefact::{ProcessSet, SetOp};

use super::evaluate::{SCANS, entry, run};
use super::{ProcessSets, RunningProcesses, SetError, Words};
use crate::kernel::Kernel;
use crate::pods::{CgroupId, Place};

/// Workloads by their cgroup.
pub(super) type Workloads = BTreeMap<CgroupId, Place>;

/// Cgroups that are looked into below those of workloads at most: containers may make as many as they like.
const NESTED: usize = 16_384;

/// One change: where a workload is from now on, or that it is there no longer.
pub type WorkloadChange = (CgroupId, Option<Place>);

impl<K: Kernel, P: RunningProcesses> ProcessSets<K, P> {
    pub(super) fn check_workloads(&self, set: &ProcessSet) -> Result<(), SetError> {
        match (set.op() == SetOp::Workloads, set.needs_pods()) {
            (true, _) if self.workloads.is_empty() => Err(SetError::NoCgroups),
            (true, true) if !self.knows_pods => Err(SetError::NoPods),
            _ => Ok(()),
        }
    }

    /// From now on somebody tells of pods.
    pub fn expect_pods(&mut self) {
        self.knows_pods = true;
    }

    /// All pods of the node have been told of, and what follows from that is in force.
    pub fn pods_are_known(&mut self) {
        self.has_list = true;
    }

    /// Whether policies select pods of which nobody has told yet: to their processes they do not apply.
    pub fn waits_for_pods(&self) -> bool {
        !self.has_list && self.sets.keys().any(ProcessSet::needs_pods)
    }

    /// Takes in what changed: each exec from now on follows it, and all processes that are there already do when this
    /// returns. Costs as much as has changed. On error some changes may not be in force; [`ProcessSets::settle`] and the
    /// next change of the same cgroup try again.
    pub fn workloads_changed(&mut self, kernel: &K, changes: Vec<WorkloadChange>) -> Result<(), SetError> {
        let cgroups: Vec<CgroupId> = changes.iter().map(|(cgroup, _)| *cgroup).collect();
        for (cgroup, place) in changes {
            match place {
                Some(place) => drop(self.workloads.insert(cgroup, place)),
                None => drop(self.workloads.remove(&cgroup)),
            }
        }
        let in_force =
            |(set, known): &(&ProcessSet, &super::Use)| known.settled && set.op() == SetOp::Workloads;
        let sets: Vec<_> = self.sets.iter().filter(in_force).map(|(set, known)| (set, known.bit)).collect();
        if sets.is_empty() {
            return Ok(());
        }
        let mut all = Words::default();
        sets.iter().for_each(|(_, bit)| bit.add_to(&mut all));
        let mut failed = Ok(());
        let mut moved = BTreeMap::new();
        for cgroup in cgroups {
            let words = self.workloads.get(&cgroup).map(|place| {
                let mut words = Words::default();
                let holding = sets.iter().filter(|(set, _)| place.workload.is_in(set));
                holding.for_each(|(_, bit)| bit.add_to(&mut words));
                words
            });
            let written = self.published.set_cgroup(cgroup, words, kernel, &self.objects);
            failed = failed.and(written);
            // The root's are all others' processes, and change with sets only.
            moved.extend(words.filter(|_| !self.is_root(cgroup)).map(|words| (cgroup, words)));
        }
        failed.and(self.change_processes(kernel, &moved, &all))
    }

    fn is_root(&self, cgroup: CgroupId) -> bool {
        self.workloads.get(&cgroup).is_some_and(|place| place.is_root())
    }

    /// Gives the processes of these cgroups exactly these of `all` bits. More than once, as processes fork and execute
    /// meanwhile: one that is new was forked by one that has its bits by then, or has computed its own.
    fn change_processes(
        &self,
        kernel: &K,
        moved: &BTreeMap<CgroupId, Words>,
        all: &Words,
    ) -> Result<(), SetError> {
        let mut done = BTreeSet::new();
        for _ in 0..SCANS {
            let mut found_new = false;
            let members = members(&self.running, &self.workloads, moved.keys().copied())?;
            for (tgid, cgroup) in members {
                let Some(words) = moved.get(&cgroup) else { continue };
                let Some(process) = entry(kernel, &self.objects, tgid)? else { continue };
                if done.contains(&(tgid, process.start)) {
                    continue;
                }
                found_new = true;
                let mut same = true;
                for (word, (set, all)) in
                    (0u64..).zip(words.iter().zip(all)).filter(|(_, (_, all))| **all != 0)
                {
                    let bits = [*set, all & !set, 0, 0, 0, 0];
                    same &= run(kernel, &self.objects, tgid, process.start, word, bits)?;
                }
                if same {
                    done.insert((tgid, process.start));
                }
            }
            if !found_new {
                break;
            }
        }
        Ok(())
    }
}

/// All processes that are in the cgroup of a workload other than the host, with the nearest one.
pub(super) fn places(
    running: &impl RunningProcesses,
    workloads: &Workloads,
) -> Result<BTreeMap<u32, CgroupId>, SetError> {
    let cgroups = workloads.iter().filter(|(_, place)| !place.is_root()).map(|(cgroup, _)| *cgroup);
    members(running, workloads, cgroups)
}

/// Processes in these cgroups and in those below, but for those that are other workloads' own.
fn members(
    running: &impl RunningProcesses,
    workloads: &Workloads,
    of: impl Iterator<Item = CgroupId>,
) -> Result<BTreeMap<u32, CgroupId>, SetError> {
    let own: BTreeSet<&PathBuf> = workloads.values().map(|place| &place.path).collect();
    let mut members = BTreeMap::new();
    let mut nested = 0;
    for cgroup in of {
        let mut queue: VecDeque<PathBuf> =
            workloads.get(&cgroup).map(|place| place.path.clone()).into_iter().collect();
        while let Some(path) = queue.pop_front() {
            let found = running.cgroup(&path).map_err(|error| SetError::List(error.into()))?;
            members.extend(found.processes.into_iter().map(|tgid| (tgid, cgroup)));
            let below = found.below.into_iter().filter(|path| !own.contains(path));
            let room = NESTED.saturating_sub(nested);
            let before = queue.len();
            queue.extend(below.take(room));
            nested += queue.len() - before;
        }
    }
    Ok(members)
}
