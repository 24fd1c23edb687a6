//! In: what the API server tells of pods, what their cgroups show. Out: the loader and the process cache know of it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use super::Session;
use crate::loader::Loader;
use crate::loader::sets::WorkloadChange;
use crate::pods::{PodChange, Pods};

/// Changes that are not in force yet.
#[derive(Debug, Default)]
pub(super) struct Placing {
    /// To be tried again.
    left: Vec<WorkloadChange>,
    failures: u64,
    /// The last failure, in words, until there is none.
    said: String,
}

impl Placing {
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// The same again and again is said once.
    fn failed(&mut self, why: String) {
        self.failures += 1;
        if self.said != why {
            tracing::warn!(
                "policies do not follow a change of this node's pods yet, it is tried again: {why}"
            );
            self.said = why;
        }
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

    /// Whether policies in force are for pods of which the API server has not told yet.
    pub fn waits_for_pods(&self) -> bool {
        self.loader.as_ref().is_some_and(Loader::waits_for_pods)
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
        let Some(loader) = &mut self.loader else { return };
        if !changes.is_empty()
            && let Err(error) = loader.workloads_changed(changes.clone())
        {
            self.placing.failed(error.to_string());
            self.placing.left = changes;
            self.intake.cache.pods_mut().try_again();
            return;
        }
        self.placing.said.clear();
        if self.intake.cache.pods().has_list() {
            loader.pods_are_known();
        }
    }
}
