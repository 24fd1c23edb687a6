//! In: the world. Out: the [`Fleet`] for status, admission and tables.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use policy_compiler::typed::PolicyKey;

use super::World;
use crate::fleet::compile::{CompiledSet, SetKey};
use crate::fleet::kernels::Wanted;
use crate::fleet::node::{Node, StateKey, states};
use crate::fleet::selection::SelectionId;
use crate::model::{Fleet, KernelDigest, NodeState, PolicyOnNode};

/// Distinct states of nodes that are kept for sharing; more than these come only while a change rolls out.
const STATES_MAX: usize = 1024;

/// States of policies, by what makes them the same on several nodes.
pub(super) type States = HashMap<StateKey, Arc<BTreeMap<PolicyKey, PolicyOnNode>>>;

impl World {
    /// The fleet, if it has changed since it was published last.
    pub fn publish(&mut self) -> Option<Fleet> {
        if self.changed.is_empty() && !self.stale && !self.counted {
            return None;
        }
        if self.stale {
            self.judge();
        }
        for name in std::mem::take(&mut self.changed) {
            match self.nodes.get(&name) {
                Some(node) => {
                    let known = self.kernels.get(&node.greeting.kernel).is_some();
                    let state = report(&mut self.states, node, known);
                    self.published.insert(name, Arc::new(state));
                }
                None => drop(self.published.remove(&name)),
            }
        }
        (self.stale, self.counted) = (false, false);
        Some(Fleet {
            nodes: self.published.clone(),
            kernels: self.kernels.states(),
            counters: self.sums.sums().clone(),
            fresh: self.sums.fresh().clone(),
        })
    }

    /// Puts together what the compiler said, see [`crate::fleet::kernels::Kernels::judge`].
    pub(super) fn judge(&mut self) {
        let (sets, wanted) = self.in_use();
        self.kernels.judge(&sets, &wanted);
    }

    /// The sets that nodes are to run, and the versions that nodes of each kernel should run.
    fn in_use(&self) -> (BTreeMap<SetKey, Arc<CompiledSet>>, BTreeMap<KernelDigest, Wanted>) {
        let mut sets = BTreeMap::new();
        let mut seen: BTreeMap<(KernelDigest, SelectionId), &Node> = BTreeMap::new();
        for node in self.nodes.values() {
            if let Some(set) = &node.set {
                sets.entry(set.key).or_insert_with(|| set.clone());
            }
            seen.entry((node.greeting.kernel, node.selection().id)).or_insert(node);
        }
        let mut wanted: BTreeMap<KernelDigest, Wanted> = BTreeMap::new();
        for ((kernel, _), node) in seen {
            let versions = node.selection().versions.iter();
            wanted
                .entry(kernel)
                .or_default()
                .extend(versions.map(|(key, version)| (key.clone(), version.digest)));
        }
        (sets, wanted)
    }
}

fn report(shared: &mut States, node: &Node, kernel_known: bool) -> NodeState {
    let policies = match node.state_key() {
        None => Arc::new(states(node)),
        Some(key) => {
            if shared.len() >= STATES_MAX {
                shared.clear();
            }
            shared.entry(key).or_insert_with(|| Arc::new(states(node))).clone()
        }
    };
    node.report(kernel_known, policies)
}
