//! In: an artefact. Out: its program, loaded and attached beside what runs, but not active: it compares its hook's word
//! with its own id first, and that word still names another.
//!
//! Guarantee: on failure everything that was acquired for it is given back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use api::artefact::{Artefact, ArtefactDigest, MapKind, MapSpec, SharedMap};

use super::hook::HookKey;
use super::indices::Indices;
use super::past::{Counts, PastCounts};
use super::policies::{Policies, PolicyName};
use super::relocate::{Values, relocate, shared_maps};
use super::report::FailureReason;
use super::sets::{ProcessBit, ProcessSets, RunningProcesses};
use super::shared::{self, HOOKS, SharedMaps};
use super::{POLICY_LIMIT, ProgramId, sum};
use crate::kernel::insn::INSN_SIZE;
use crate::kernel::{AttachPoint, Errno, Kernel, MapShape, MapType, ProgramSpec, Rejection};
use crate::pins::PinDirectory;

/// A program on a hook, with all that it holds.
#[derive(Debug)]
pub struct Attached<K: Kernel> {
    pub digest: ArtefactDigest,
    pub id: ProgramId,
    pub held: Held,
    /// Knows how to overlap with another: see [`Artefact::overlaps`].
    pub overlaps: bool,
    pub program: K::Program,
    pub maps: Vec<K::Map>,
    pub link: K::Link,
    pub pin: Pin,
}

/// What keeps a program attached beyond this process.
#[derive(Debug)]
pub enum Pin {
    /// Nothing is to.
    None,
    /// This file.
    At(PathBuf),
    /// Nothing, although something was to.
    Failed(Errno),
}

/// Places in shared maps that a program holds.
#[derive(Debug, Default)]
pub struct Held {
    /// In `active`.
    pub slot: u32,
    /// One entry for each time that the policy was acquired.
    pub policies: Vec<PolicyName>,
    /// Acquired process sets.
    pub sets: Vec<api::artefact::ProcessSet>,
}

/// Everything that programs share.
#[derive(Debug)]
pub struct Shared<K: Kernel, P> {
    pub kernel: K,
    pub maps: SharedMaps<K>,
    pub slots: Indices,
    pub policies: Policies,
    pub past: PastCounts,
    pub pins: Option<PinDirectory>,
    /// Files that keep the counters of policies.
    pub counts: BTreeMap<PolicyName, PathBuf>,
    pub has_inherited: bool,
    pub sets: ProcessSets<K, P>,
}

impl<K: Kernel, P: RunningProcesses> Shared<K, P> {
    /// Loads and attaches. `slot` is the hook's, if it has one already.
    pub fn stage(
        &mut self,
        artefact: &Artefact,
        digest: ArtefactDigest,
        id: ProgramId,
        slot: Option<u32>,
    ) -> Result<Attached<K>, FailureReason> {
        let slot_is_new = slot.is_none();
        let slot = slot.or_else(|| self.slots.take());
        let slot = slot.ok_or(FailureReason::TooMany { what: "hooks", limit: HOOKS })?;
        let mut held = Held { slot, ..Held::default() };
        match self.load(artefact, id, &mut held) {
            Ok((program, maps, link)) => {
                let pin = self.pin(&HookKey::of(artefact), id, &link);
                held.policies.iter().for_each(|policy| self.pin_counts(policy));
                Ok(Attached { digest, id, held, overlaps: artefact.overlaps, program, maps, link, pin })
            }
            Err(reason) => {
                self.give_back(held, slot_is_new);
                Err(reason)
            }
        }
    }

    /// Before the program is active, so that no active one is ever without.
    fn pin(&self, hook: &HookKey, id: ProgramId, link: &K::Link) -> Pin {
        let Some(pins) = &self.pins else { return Pin::None };
        let place = pins.place_of_hook(id.0, &hook.to_string());
        self.kernel.pin(link, &place).map_or_else(Pin::Failed, |()| Pin::At(place))
    }

    /// So that a successor goes on counting where this process ends. One that cannot be kept begins anew.
    fn pin_counts(&mut self, policy: &PolicyName) {
        let Some(pins) = self.pins.as_ref().filter(|_| !self.counts.contains_key(policy)) else { return };
        let place = self.policies.index(policy).and_then(|index| pins.place_of_counts(index, policy));
        let map = self.maps.existing(SharedMap::PolicyCounters);
        if let (Some(map), Some(place)) = (map, place)
            && self.kernel.pin_map(map, &place).is_ok()
        {
            self.counts.insert(policy.clone(), place);
        }
    }

    /// Once, before the first policy: where predecessors, which left their counters with their pins, are now. What they
    /// count from here on, until their programs are gone, is counted by nobody.
    pub fn inherit_counts(&mut self) {
        if std::mem::replace(&mut self.has_inherited, true) {
            return;
        }
        let left = self.pins.as_ref().map(PinDirectory::counts_of_others).unwrap_or_default();
        for (pin, index, policy) in left {
            let counted = self.kernel.open_map(&pin);
            let counted = counted.and_then(|map| self.kernel.map_lookup(&map, &index.to_ne_bytes()));
            if let Ok(Some(cpus)) = counted {
                self.past.remember(&policy, sum(&cpus));
            }
        }
    }

    /// Gives back what a program held, after it was detached; the slot only if no other program is on the hook.
    pub fn give_back(&mut self, held: Held, with_slot: bool) {
        for policy in &held.policies {
            if let Some(index) = self.policies.release(policy) {
                self.remember_counts(policy, index);
            }
        }
        held.sets.iter().for_each(|set| self.sets.release(set));
        if with_slot {
            self.slots.give_back(held.slot);
        }
    }

    #[allow(clippy::type_complexity, reason = "three objects with three owners-to-be")]
    fn load(
        &mut self,
        artefact: &Artefact,
        id: ProgramId,
        held: &mut Held,
    ) -> Result<(K::Program, Vec<K::Map>, K::Link), FailureReason> {
        let hook = HookKey::of(artefact);
        if artefact.insns.is_empty() || !artefact.insns.len().is_multiple_of(INSN_SIZE) {
            return Err(FailureReason::Malformed("it has no whole instructions"));
        }
        let policies = self.acquire_policies(artefact, held)?;
        let bits = self.acquire_sets(artefact, held)?;
        let shared = self.shared_numbers(artefact)?;
        let maps = artefact.maps.iter().map(|spec| self.private_map(spec)).collect::<Result<Vec<_>, _>>()?;
        let private: Vec<i32> = maps.iter().map(|map| self.kernel.map_number(map)).collect();
        let values = Values {
            shared: &shared,
            private: &private,
            program: id.0,
            slot: held.slot,
            policies: &policies,
            bits: &bits,
        };
        let insns = relocate(artefact, &values).map_err(FailureReason::Malformed)?;
        let spec = ProgramSpec {
            flavour: hook.flavour,
            btf_id: artefact.attach.btf_id,
            insns: &insns,
            name: hook.target.rsplit('/').next().unwrap_or_default(),
        };
        let program = self.kernel.program_load(&spec).map_err(|rejection| rejected(artefact, rejection))?;
        let point = AttachPoint { flavour: hook.flavour, target: &hook.target };
        let link = self.kernel.attach(&program, &point).map_err(|error| FailureReason::Attach { error })?;
        Ok((program, maps, link))
    }

    /// Index of each hook entry's policy.
    fn acquire_policies(&mut self, artefact: &Artefact, held: &mut Held) -> Result<Vec<u32>, FailureReason> {
        let mut indices = Vec::with_capacity(artefact.hooks.len());
        for schema in &artefact.hooks {
            let policy = PolicyName::of(schema);
            let acquired = self.policies.acquire(&policy);
            let acquired =
                acquired.ok_or(FailureReason::TooMany { what: "policies", limit: POLICY_LIMIT })?;
            if acquired.is_new
                && let Err(reason) = self.begin_counters(acquired.index, &policy)
            {
                // What is there is another policy's.
                self.policies.release(&policy);
                return Err(reason);
            }
            held.policies.push(policy);
            indices.push(acquired.index);
        }
        Ok(indices)
    }

    /// A policy that comes back goes on counting where it ended.
    fn remember_counts(&mut self, policy: &PolicyName, index: u32) {
        if let Some(pin) = self.counts.remove(policy) {
            // A pin that resists goes with the others of this process.
            let _ = std::fs::remove_file(pin);
        }
        let map = self.maps.existing(SharedMap::PolicyCounters);
        // What cannot be read is not remembered; the policy then begins anew.
        let cpus = map.and_then(|map| self.kernel.map_lookup(map, &index.to_ne_bytes()).ok().flatten());
        if let Some(cpus) = cpus {
            self.past.remember(policy, sum(&cpus));
        }
    }

    fn begin_counters(&mut self, index: u32, policy: &PolicyName) -> Result<(), FailureReason> {
        let name = shared::name(SharedMap::PolicyCounters);
        let past = self.past.of(policy);
        let begins = past != Counts::default();
        // If the map does not exist yet, it starts with zeros.
        if !begins && self.maps.existing(SharedMap::PolicyCounters).is_none() {
            return Ok(());
        }
        let map = self.maps.get(&self.kernel, SharedMap::PolicyCounters);
        let map = map.map_err(|errno| FailureReason::MapCreate { map: name, errno })?;
        let key = index.to_ne_bytes();
        let written = self.kernel.map_zero(map, &key).and_then(|()| match begins {
            true => begin_at(&self.kernel, map, &key, past),
            false => Ok(()),
        });
        written.map_err(|errno| FailureReason::MapFill { map: name, errno })?;
        self.past.forget(policy);
        Ok(())
    }

    fn acquire_sets(
        &mut self,
        artefact: &Artefact,
        held: &mut Held,
    ) -> Result<Vec<ProcessBit>, FailureReason> {
        let mut bits = Vec::with_capacity(artefact.process_sets.len());
        for set in &artefact.process_sets {
            bits.push(self.sets.acquire(set).map_err(FailureReason::Sets)?);
            held.sets.push(set.clone());
        }
        Ok(bits)
    }

    /// Numbers of the shared maps; the one of slots is made in any case, as the loader itself writes it.
    fn shared_numbers(&mut self, artefact: &Artefact) -> Result<Vec<(SharedMap, i32)>, FailureReason> {
        let mut maps: BTreeSet<SharedMap> =
            shared_maps(artefact).map_err(FailureReason::Malformed)?.into_iter().collect();
        maps.insert(SharedMap::Active);
        let mut numbers = Vec::new();
        for map in maps {
            let object = self.maps.get(&self.kernel, map);
            let object =
                object.map_err(|errno| FailureReason::MapCreate { map: shared::name(map), errno })?;
            numbers.push((map, self.kernel.map_number(object)));
        }
        Ok(numbers)
    }

    fn private_map(&self, spec: &MapSpec) -> Result<K::Map, FailureReason> {
        let (kind, name) = match MapKind::try_from(spec.kind).unwrap_or(MapKind::Unspecified) {
            MapKind::Unspecified => return Err(FailureReason::Malformed("it has a map of an unknown kind")),
            MapKind::Hash => (MapType::Hash, "policy_values"),
            MapKind::LpmTrie => (MapType::LpmTrie, "policy_prefixes"),
        };
        let fits = |entry: &&api::artefact::MapEntry| {
            entry.key.len() == spec.key_size as usize && entry.value.len() == spec.value_size as usize
        };
        if !spec.entries.iter().all(|entry| fits(&entry)) {
            return Err(FailureReason::Malformed("an entry of a map has another size than the map"));
        }
        let MapSpec { key_size, value_size, max_entries, .. } = *spec;
        let map = self.kernel.map_create(&MapShape { kind, key_size, value_size, max_entries, name });
        let map = map.map_err(|errno| FailureReason::MapCreate { map: name, errno })?;
        let entries: Vec<(&[u8], &[u8])> =
            spec.entries.iter().map(|entry| (entry.key.as_slice(), entry.value.as_slice())).collect();
        let filled = self.kernel.map_fill(&map, &entries);
        filled.map_err(|errno| FailureReason::MapFill { map: name, errno })?;
        Ok(map)
    }
}

/// Sets the counters of the first CPU; those of the others are zero.
fn begin_at<K: Kernel>(kernel: &K, map: &K::Map, key: &[u8], values: Counts) -> Result<(), Errno> {
    let mut cpus = kernel.map_lookup(map, key)?.ok_or(Errno::ENOENT)?;
    for (place, value) in cpus.as_chunks_mut().0.iter_mut().zip(values) {
        *place = value.to_ne_bytes();
    }
    kernel.map_update(map, key, &cpus)
}

/// Finds the policy field of the instruction that the verifier stopped at.
fn rejected(artefact: &Artefact, rejection: Rejection) -> FailureReason {
    let spans = || artefact.source_map.iter();
    let path = rejection.insn.and_then(|insn| spans().take_while(|span| span.insn <= insn).last());
    FailureReason::Load { path: path.map(|span| span.path.clone()), rejection }
}
