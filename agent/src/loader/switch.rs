//! In: programs that are attached but not active. Out: they are active, and what they replace is gone.

use std::collections::BTreeSet;
use std::time::Instant;

use api::artefact::{Artefact, OVERLAP, SharedMap};

use super::hook::HookKey;
use super::policies::PolicyName;
use super::report::{ApplyReport, FailureReason, HookReport, Leftover, Outcome};
use super::sets::RunningProcesses;
use super::stage::{Attached, Pin};
use super::{Loader, distinct, entry};
use crate::kernel::{Errno, Kernel};

/// An artefact and its program.
pub(super) type Staged<'a, K> = (&'a Artefact, Attached<K>);

impl<K: Kernel, P: RunningProcesses> Loader<K, P> {
    /// Makes the process sets of all staged programs true: at once if that works, else one by one, so that one that
    /// does not fit harms no other. Gives those whose sets are true.
    pub(super) fn settle<'a>(
        &mut self,
        staged: Vec<Staged<'a, K>>,
        report: &mut ApplyReport,
    ) -> Vec<Staged<'a, K>> {
        if self.shared.sets.settle(&self.shared.kernel, |_| true).is_ok() {
            return staged;
        }
        let mut settled = Vec::new();
        for (artefact, new) in staged {
            match self.shared.sets.settle(&self.shared.kernel, |set| artefact.process_sets.contains(set)) {
                Ok(()) => settled.push((artefact, new)),
                Err(error) => self.abandon(artefact, new, FailureReason::Sets(error), report),
            }
        }
        settled
    }

    /// Switches all staged programs on and all hooks that are no longer `desired` off, then detaches what is left.
    pub(super) fn switch_over(
        &mut self,
        staged: Vec<Staged<'_, K>>,
        desired: &BTreeSet<HookKey>,
        now: Instant,
        report: &mut ApplyReport,
    ) {
        let mut replaced = Vec::new();
        for ((artefact, new), overlapped) in self.overlap(staged, report) {
            let hook = HookKey::of(artefact);
            if let Err(errno) = self.switch_on(&new, overlapped) {
                self.abandon(artefact, new, FailureReason::Switch(errno), report);
                continue;
            }
            let digest = new.digest;
            if let Pin::Failed(errno) = new.pin {
                report.unpinned.push((hook.clone(), errno));
            }
            let old = self.hooks.insert(hook.clone(), new);
            let outcome = if old.is_some() { Outcome::Replaced } else { Outcome::Installed };
            report.hooks.push(entry(hook.clone(), artefact, digest, outcome));
            replaced.extend(old.map(|old| (hook, old)));
        }
        let removed = self.not_needed(desired, report);
        let removed: Vec<(HookKey, Attached<K>)> =
            removed.into_iter().filter_map(|hook| self.hooks.remove_entry(&hook)).collect();
        for (hook, old) in &removed {
            if let Err(errno) = self.store(old.held.slot, 0) {
                report.leftovers.push(Leftover::SwitchOff { hook: hook.clone(), errno });
            }
        }
        for (hook, old) in replaced {
            self.let_go(&hook, old, false, now, report);
        }
        for (hook, old) in removed {
            let policies = distinct(old.held.policies.iter().cloned());
            self.let_go(&hook, old, true, now, report);
            report.hooks.push(HookReport { hook, digest: None, policies, outcome: Outcome::Removed });
        }
    }

    /// Hooks that are not desired any more, and may go: a policy that has moved to a hook which failed stays on the one
    /// where it was, as long as that is so.
    fn not_needed(&self, desired: &BTreeSet<HookKey>, report: &mut ApplyReport) -> Vec<HookKey> {
        let failed: BTreeSet<PolicyName> =
            report.failures().flat_map(|(hook, _)| hook.policies.iter().cloned()).collect();
        let mut removed = Vec::new();
        for (hook, running) in self.hooks.iter().filter(|(hook, _)| !desired.contains(*hook)) {
            if !running.held.policies.iter().any(|policy| failed.contains(policy)) {
                removed.push(hook.clone());
                continue;
            }
            let policies = distinct(running.held.policies.iter().cloned());
            report.hooks.push(HookReport {
                hook: hook.clone(),
                digest: None,
                policies,
                outcome: Outcome::Kept,
            });
        }
        removed
    }

    /// Where the new program runs before the old one, a call that is between the two when the word changes would be seen by
    /// neither; so both run for a while, if both know how to, and leave to each other what the other has judged. Gives the
    /// old one's id for those.
    ///
    /// A call that began before the new program was attached reaches the old one alone, so none may be left when the word
    /// changes; nor one that has passed the new program before both run, when the old one ends.
    fn overlap<'a>(
        &mut self,
        staged: Vec<Staged<'a, K>>,
        report: &mut ApplyReport,
    ) -> Vec<(Staged<'a, K>, Option<u32>)> {
        if staged.iter().any(|(artefact, _)| self.hooks.contains_key(&HookKey::of(artefact))) {
            self.shared.kernel.await_calls();
        }
        let mut begun = Vec::new();
        for (artefact, new) in staged {
            let hook = HookKey::of(artefact);
            let both = |old: &&Attached<K>| hook.flavour.newest_runs_first() && new.overlaps && old.overlaps;
            let old = self.hooks.get(&hook).filter(both).map(|old| old.id.0);
            if old.is_some()
                && let Err(errno) = self.store(new.held.slot, OVERLAP | new.id.0)
            {
                self.abandon(artefact, new, FailureReason::Switch(errno), report);
                continue;
            }
            begun.push(((artefact, new), old));
        }
        if begun.iter().any(|(_, old)| old.is_some()) {
            self.shared.kernel.await_calls();
        }
        begun
    }

    /// One store.
    fn switch_on(&self, new: &Attached<K>, overlapped: Option<u32>) -> Result<(), Errno> {
        self.store(new.held.slot, new.id.0).inspect_err(|_| {
            // The old one stays, so the word must name it: the caller detaches the new one.
            if let Some(old) = overlapped {
                let _ = self.store(new.held.slot, old);
            }
        })
    }

    fn store(&self, slot: u32, program: u32) -> Result<(), Errno> {
        let active = self.shared.maps.existing(SharedMap::Active).ok_or(Errno::ENOENT)?;
        self.shared.kernel.map_update(active, &slot.to_ne_bytes(), &program.to_ne_bytes())
    }

    /// Takes a program that was never active away again.
    fn abandon(
        &mut self,
        artefact: &Artefact,
        new: Attached<K>,
        reason: FailureReason,
        report: &mut ApplyReport,
    ) {
        let hook = HookKey::of(artefact);
        report.hooks.push(self.failed(hook.clone(), artefact, new.digest, reason));
        let is_alone = !self.hooks.contains_key(&hook);
        self.schemas.forget(new.id.0);
        self.take_out(&hook, new, is_alone, report);
    }

    /// Takes a program that has been active away.
    fn let_go(
        &mut self,
        hook: &HookKey,
        old: Attached<K>,
        with_slot: bool,
        now: Instant,
        report: &mut ApplyReport,
    ) {
        let program = old.id.0;
        self.take_out(hook, old, with_slot, report);
        self.schemas.retire(program, now);
    }

    fn take_out(&mut self, hook: &HookKey, attached: Attached<K>, with_slot: bool, report: &mut ApplyReport) {
        let Attached { held, link, program, maps, pin, .. } = attached;
        if let Pin::At(path) = pin
            && let Err(error) = std::fs::remove_file(&path)
        {
            report.leftovers.push(Leftover::Unpin { hook: hook.clone(), errno: error.into() });
        }
        if let Err(errno) = self.shared.kernel.detach(link) {
            report.leftovers.push(Leftover::Detach { hook: hook.clone(), errno });
        }
        // After it was detached: nothing is added any more. What is not known cannot be added.
        if let Some(missed) = self.shared.kernel.program_missed(&program).ok().filter(|missed| *missed > 0) {
            *self.missed.entry(hook.clone()).or_default() += missed;
        }
        drop((program, maps));
        self.shared.give_back(held, with_slot);
    }

    /// Lets go of everything without detaching: what is pinned stays attached and active.
    pub fn leave(mut self) {
        self.hooks.clear();
    }

    /// Takes everything out of the kernel, and says what resisted.
    pub fn close(mut self) -> Vec<Leftover> {
        self.apply(&[]).leftovers
    }
}

impl<K: Kernel, P: RunningProcesses> Drop for Loader<K, P> {
    fn drop(&mut self) {
        // Whoever wants to know calls `close`, after which there is nothing left to do.
        // Programs with pins were to outlive this process, whatever ends it.
        if !self.hooks.is_empty() && self.shared.pins.is_none() {
            self.apply(&[]);
        }
    }
}
