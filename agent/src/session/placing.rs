//! In: what the API server tells of pods, what their cgroups show. Out: the loader and the process cache know of it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use super::Session;
use crate::loader::sets::WorkloadChange;
use crate::pods::{PodChange, Pods};

/// Changes that are not in force yet.
#[derive(Debug, Default)]
pub(super) struct Placing {
    /// To be tried again.
    left: Vec<WorkloadChange>,
    failed: u64,
}

impl Placing {
    pub(super) fn failed(&self) -> u64 {
        self.failed
    }
}

impl Session {
    /// From now on pods are told of by [`Session::pods_changed`]: policies that select pods are taken. Before, they are
    /// refused. Whether this host can tell pods apart; if not, they still are.
    pub fn watch_pods(&mut self) -> bool {
        self.intake.cache.pods_mut().expect();
        if let Some(loader) = &mut self.loader {
            loader.expect_pods();
        }
        self.place_workloads(Instant::now());
        self.intake.cache.pods().has_hierarchy()
    }

    /// The same, with the unified cgroup hierarchy mounted here.
    pub fn watch_pods_in(&mut self, hierarchy: PathBuf) -> bool {
        *self.intake.cache.pods_mut() = Pods::new(Some(hierarchy));
        self.watch_pods()
    }

    /// Takes in what the API server tells. When this returns, it is in force for all processes of pods whose cgroups are
    /// there; for those to come it is when they execute something.
    pub fn pods_changed(&mut self, changes: impl IntoIterator<Item = PodChange>) {
        let now = Instant::now();
        changes.into_iter().for_each(|change| self.intake.cache.pods_mut().apply(change, now));
        self.look(now);
    }

    /// The pods of the node.
    pub fn pods(&self) -> &Pods {
        self.intake.cache.pods()
    }

    /// Looks at the cgroups, if it is time to.
    pub(super) fn place_workloads(&mut self, now: Instant) {
        if self.intake.cache.pods().due(now).is_zero() {
            self.look(now);
        }
    }

    fn look(&mut self, now: Instant) {
        let mut changes = self.intake.cache.pods_mut().look(now);
        if !self.placing.left.is_empty() {
            let newer: BTreeSet<_> = changes.iter().map(|(cgroup, _)| *cgroup).collect();
            let left = std::mem::take(&mut self.placing.left).into_iter();
            changes.extend(left.filter(|(cgroup, _)| !newer.contains(cgroup)));
        }
        if changes.is_empty() {
            return;
        }
        let Some(loader) = &mut self.loader else { return };
        if let Err(error) = loader.workloads_changed(changes.clone()) {
            tracing::warn!(
                "policies do not follow a change of this node's pods yet, it is tried again: {error}"
            );
            self.placing.failed += 1;
            self.placing.left = changes;
        }
    }
}
