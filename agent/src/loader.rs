//! In: the desired set of artefacts. Out: programs in the kernel, one on each hook, and a report of what became of each.
//!
//! Guarantees, on every path:
//! * a hook runs its old program until its new one is loaded, attached and its process sets are true; then one store
//!   switches over; then the old one goes (the one exception, which is the kernel's: [`HookKey::is_at_return`]). An artefact
//!   that fails leaves its hook as it was, and harms no other hook; what its policies ran elsewhere before stays;
//! * nothing half-loaded stays: what was made for a failed artefact is released;
//! * records of a replaced program can be decoded for a while ([`Schemas`]).

pub mod fake;
mod from_base;
mod hook;
mod indices;
mod memory;
mod past;
mod policies;
mod relocate;
mod report;
mod schemas;
pub mod sets;
mod shared;
mod stage;
mod switch;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use api::artefact::{Artefact, ArtefactDigest, POLICY_COUNTERS, SharedMap};
use api::event::Hook;

use self::indices::Indices;
use self::past::PastCounts;
use self::policies::Policies;
use self::sets::{ProcFs, ProcessSets, RunningProcesses, SetError, SetObjects, WorkloadChange};
use self::shared::{COUNTERS_SIZE, HOOKS, SharedMaps};
use self::stage::{Attached, Pin, Shared};
use crate::kernel::{Errno, Kernel, Linux};
use crate::pins::{PinDirectory, PinError};

pub use self::from_base::FromBaseError;
pub use self::hook::HookKey;
pub use self::memory::{HookMemory, MemoryReport};
pub use self::policies::{POLICIES as POLICY_LIMIT, PolicyName};
pub use self::report::{ApplyReport, Failure, FailureReason, HookReport, Leftover, Outcome};
pub use self::schemas::{ProgramSchema, Schemas};

/// The id of a program; never used twice by one loader. 0 is no program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgramId(pub u32);

/// What the fixed programs bring.
#[derive(Debug)]
pub struct BaseObjects<K: Kernel> {
    /// CPUs that may ever come online.
    pub possible_cpus: u32,
    /// The ring buffer of all records.
    pub events: K::Map,
    /// The map of processes.
    pub processes: K::Map,
    /// For process sets.
    pub sets: SetObjects<K>,
}

/// Counts of one policy since it was first loaded, over all CPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyCounts {
    /// Which.
    pub policy: PolicyName,
    /// By `PolicyCounter`.
    pub values: [u64; POLICY_COUNTERS as usize],
}

/// A hook that has a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledHook {
    /// Which.
    pub hook: HookKey,
    /// Content address of the artefact in force.
    pub digest: ArtefactDigest,
    /// Its program.
    pub program: ProgramId,
    /// Policies in it, sorted.
    pub policies: Vec<PolicyName>,
}

/// Keeps the kernel like the desired set.
#[derive(Debug)]
pub struct Loader<K: Kernel = Linux, P: RunningProcesses = ProcFs> {
    shared: Shared<K, P>,
    hooks: BTreeMap<HookKey, Attached<K>>,
    schemas: Schemas,
    last_program: u32,
    /// By programs that are gone.
    missed: BTreeMap<HookKey, u64>,
}

impl<K: Kernel, P: RunningProcesses> Loader<K, P> {
    /// Nothing loaded.
    pub fn new(kernel: K, base: BaseObjects<K>, running: P) -> Self {
        let shared = Shared {
            kernel,
            maps: SharedMaps::new(base.possible_cpus, base.events, base.processes),
            slots: Indices::new(HOOKS),
            policies: Policies::new(),
            past: PastCounts::default(),
            pins: None,
            counts: BTreeMap::new(),
            has_inherited: false,
            sets: ProcessSets::new(base.sets, running),
        };
        Loader {
            shared,
            hooks: BTreeMap::new(),
            schemas: Schemas::default(),
            last_program: 0,
            missed: BTreeMap::new(),
        }
    }

    /// From now on, programs stay attached when this process ends or [`Loader::leave`] is called, until their files in
    /// `pins` are removed. Programs that cannot stay are in [`Loader::unpinned`].
    pub fn pin_to(&mut self, pins: PinDirectory) {
        self.shared.pins = Some(pins);
    }

    /// Tells successors which set runs, if programs are pinned.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn mark(&self, generation: u64) -> Result<(), PinError> {
        self.shared.pins.as_ref().map_or(Ok(()), |pins| pins.mark(generation))
    }

    /// Hooks whose programs end with this process although they were to stay, and why.
    pub fn unpinned(&self) -> Vec<(HookKey, Errno)> {
        let hooks = self.hooks.iter();
        let unpinned = hooks.filter_map(|(hook, running)| match running.pin {
            Pin::Failed(errno) => Some((hook.clone(), errno)),
            Pin::None | Pin::At(_) => None,
        });
        unpinned.collect()
    }

    /// From now on somebody tells of the node's pods: sets of pods are refused before.
    pub fn expect_pods(&mut self) {
        self.shared.sets.expect_pods();
    }

    /// All pods of the node have been told of. See [`ProcessSets::pods_are_known`].
    pub fn pods_are_known(&mut self) {
        self.shared.sets.pods_are_known();
    }

    /// Whether some programs are for pods of which nobody has told yet.
    pub fn waits_for_pods(&self) -> bool {
        self.shared.sets.waits_for_pods()
    }

    /// Which workload is in which cgroup. See [`ProcessSets::workloads_changed`].
    ///
    /// # Errors
    /// The kernel's tables do not take it, or processes could not be changed.
    pub fn workloads_changed(&mut self, changes: Vec<WorkloadChange>) -> Result<(), SetError> {
        self.shared.sets.workloads_changed(&self.shared.kernel, changes)
    }

    /// For the decoder: what the program ids in records mean.
    pub fn schemas(&self) -> Schemas {
        self.schemas.clone()
    }

    /// Makes the kernel run this set and nothing else, as far as it can be done.
    pub fn apply(&mut self, desired: &[Artefact]) -> ApplyReport {
        self.apply_at(&BTreeSet::new(), desired, Instant::now())
    }

    /// As [`Loader::apply`], of a set of which `kept` runs already: so nobody needs to hold those artefacts.
    pub fn apply_beside(&mut self, kept: &BTreeSet<ArtefactDigest>, new: &[Artefact]) -> ApplyReport {
        self.apply_at(kept, new, Instant::now())
    }

    fn apply_at(
        &mut self,
        kept: &BTreeSet<ArtefactDigest>,
        desired: &[Artefact],
        now: Instant,
    ) -> ApplyReport {
        self.shared.inherit_counts();
        let mut report = ApplyReport::default();
        let mut seen = BTreeSet::new();
        let mut staged = Vec::new();
        for (hook, running) in self.hooks.iter().filter(|(_, running)| kept.contains(&running.digest)) {
            seen.insert(hook.clone());
            let policies = distinct(running.held.policies.iter().cloned());
            let (digest, outcome) = (Some(running.digest), Outcome::Unchanged);
            report.hooks.push(HookReport { hook: hook.clone(), digest, policies, outcome });
        }
        for artefact in desired {
            let (hook, digest) = (HookKey::of(artefact), artefact.digest());
            let result = if !seen.insert(hook.clone()) {
                Err(FailureReason::Duplicate)
            } else if self.hooks.get(&hook).is_some_and(|running| running.digest == digest) {
                Ok(None)
            } else {
                self.stage(&hook, artefact, digest).map(Some)
            };
            match result {
                Ok(Some(new)) => staged.push((artefact, new)),
                Ok(None) => report.hooks.push(entry(hook, artefact, digest, Outcome::Unchanged)),
                Err(reason) => report.hooks.push(self.failed(hook, artefact, digest, reason)),
            }
        }
        let settled = self.settle(staged, &mut report);
        self.switch_over(settled, &seen, now, &mut report);
        if let Err(error) = self.shared.sets.retract(&self.shared.kernel) {
            report.leftovers.push(Leftover::Sets(error));
        }
        report.hooks.sort_by(|a, b| a.hook.cmp(&b.hook));
        report
    }

    fn stage(
        &mut self,
        hook: &HookKey,
        artefact: &Artefact,
        digest: ArtefactDigest,
    ) -> Result<Attached<K>, FailureReason> {
        for entry in &artefact.hooks {
            Hook::from_schema(entry).map_err(FailureReason::Schema)?;
        }
        let next = self.last_program.checked_add(1).filter(|next| *next < api::artefact::OVERLAP);
        let id = ProgramId(
            next.ok_or(FailureReason::TooMany { what: "programs", limit: api::artefact::OVERLAP })?,
        );
        self.last_program = id.0;
        // Before the program can write its first record.
        self.schemas.add(id.0, ProgramSchema { hook: hook.clone(), entries: artefact.hooks.clone() });
        let slot = self.hooks.get(hook).map(|running| running.held.slot);
        let staged = self.shared.stage(artefact, digest, id, slot);
        staged.inspect_err(|_| self.schemas.forget(id.0))
    }

    fn failed(
        &self,
        hook: HookKey,
        artefact: &Artefact,
        digest: ArtefactDigest,
        reason: FailureReason,
    ) -> HookReport {
        let kept = self.hooks.get(&hook).map(|running| running.digest);
        entry(hook, artefact, digest, Outcome::Failed(Box::new(Failure { reason, kept })))
    }

    /// Hooks that have a program.
    pub fn installed(&self) -> Vec<InstalledHook> {
        let hooks = self.hooks.iter().map(|(hook, running)| InstalledHook {
            hook: hook.clone(),
            digest: running.digest,
            program: running.id,
            policies: distinct(running.held.policies.iter().cloned()),
        });
        hooks.collect()
    }

    /// Calls that the kernel ran no program for, by hook, where there were any: on that CPU another call was inside of the
    /// program. See [`Kernel::program_missed`].
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn missed(&self) -> Result<BTreeMap<HookKey, u64>, Errno> {
        let mut missed = self.missed.clone();
        for (hook, running) in &self.hooks {
            let now = self.shared.kernel.program_missed(&running.program)?;
            if now > 0 {
                *missed.entry(hook.clone()).or_default() += now;
            }
        }
        Ok(missed)
    }

    /// What each policy has counted, also while it was loaded earlier, and by predecessors whose pins were there.
    ///
    /// # Errors
    /// The map could not be read.
    pub fn counters(&self) -> Result<Vec<PolicyCounts>, Errno> {
        let map = self.shared.maps.existing(SharedMap::PolicyCounters);
        let mut counts = Vec::new();
        for (policy, index) in self.shared.policies.iter() {
            let cpus = match map {
                Some(map) => self.shared.kernel.map_lookup(map, &index.to_ne_bytes())?.unwrap_or_default(),
                None => Vec::new(),
            };
            counts.push(PolicyCounts { policy: policy.clone(), values: sum(&cpus) });
        }
        Ok(counts)
    }
}

/// Adds up the values of all CPUs.
fn sum(cpus: &[u8]) -> [u64; POLICY_COUNTERS as usize] {
    let mut values = [0u64; POLICY_COUNTERS as usize];
    for cpu in cpus.chunks_exact(COUNTERS_SIZE as usize) {
        for (value, bytes) in values.iter_mut().zip(cpu.as_chunks().0) {
            *value = value.wrapping_add(u64::from_ne_bytes(*bytes));
        }
    }
    values
}

fn entry(hook: HookKey, artefact: &Artefact, digest: ArtefactDigest, outcome: Outcome) -> HookReport {
    let policies = distinct(artefact.hooks.iter().map(PolicyName::of));
    HookReport { hook, digest: Some(digest), policies, outcome }
}

fn distinct(policies: impl Iterator<Item = PolicyName>) -> Vec<PolicyName> {
    policies.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests;
