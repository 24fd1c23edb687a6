//! In: pods as the API server tells of them, containers as cgroups show them. Out: the pod with some uid, and the pod of
//! a container as events show it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use api::event;

use super::{ContainerLabels, PodLabels};

/// Pods known at once, deleted ones aside. A node has at most some hundred; more are not taken in. At about 4 KiB each,
/// 16 MiB.
pub const PODS: usize = 4096;
/// Containers of one pod that are known, those that ended among them.
pub const CONTAINERS: usize = 64;
/// Deleted pods that are kept, for events that come late and processes that go late.
pub const DELETED: usize = 1024;
/// Characters of a container's id that events show.
const SHOWN: usize = 31;

/// Uid of a pod, as its cgroup has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodUid(pub Arc<str>);

/// One pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// Uid in the name of its cgroup. That of a pod from a file is not its uid in the API.
    pub uid: PodUid,
    /// What events show of it; without a container.
    pub shown: event::Pod,
    /// What selectors see of it.
    pub labels: Arc<PodLabels>,
    /// Containers by their id without the runtime's prefix; at most [`CONTAINERS`].
    pub containers: BTreeMap<String, Container>,
    /// Its containers have ended and will not start again.
    pub has_ended: bool,
}

/// One container.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// What events show of it.
    pub shown: event::Container,
    /// What selectors see of it.
    pub labels: Arc<ContainerLabels>,
}

/// What the API server tells.
#[derive(Debug, Clone, PartialEq)]
pub enum PodChange {
    /// These are all pods of the node.
    Listed(Vec<Pod>),
    /// A pod is new, or has changed.
    Applied(Box<Pod>),
    /// A pod is no longer there.
    Deleted(PodUid),
}

#[derive(Debug, Default)]
pub(super) struct Directory {
    pods: HashMap<PodUid, Entry>,
    /// Oldest first; those that came back are in `pods` as not deleted.
    deleted: VecDeque<PodUid>,
    /// By what events show of the container's id.
    by_container: HashMap<String, Arc<event::Pod>>,
    live: usize,
    version: u64,
}

#[derive(Debug)]
struct Entry {
    pod: Pod,
    deleted: bool,
    /// Keys in `by_container`, oldest first.
    containers: VecDeque<String>,
}

impl Directory {
    pub(super) fn apply(&mut self, change: PodChange) {
        self.version += 1;
        match change {
            PodChange::Applied(pod) => self.insert(*pod),
            PodChange::Deleted(uid) => self.delete(&uid),
            PodChange::Listed(pods) => {
                let there: HashSet<PodUid> = pods.iter().map(|pod| pod.uid.clone()).collect();
                let gone = |(uid, entry): &(&PodUid, &Entry)| !entry.deleted && !there.contains(*uid);
                let gone: Vec<PodUid> = self.pods.iter().filter(gone).map(|(uid, _)| uid.clone()).collect();
                gone.iter().for_each(|uid| self.delete(uid));
                pods.into_iter().for_each(|pod| self.insert(pod));
            }
        }
    }

    fn insert(&mut self, pod: Pod) {
        let uid = pod.uid.clone();
        let known = self.pods.get(&uid);
        if known.is_none_or(|entry| entry.deleted) {
            if self.live >= PODS {
                return;
            }
            self.live += 1;
            self.deleted.retain(|other| *other != uid);
        }
        let containers = known.map(|entry| entry.containers.clone()).unwrap_or_default();
        self.pods.insert(uid.clone(), Entry { pod, deleted: false, containers });
        self.show(&uid, None);
    }

    fn delete(&mut self, uid: &PodUid) {
        let Some(entry) = self.pods.get_mut(uid).filter(|entry| !entry.deleted) else { return };
        entry.deleted = true;
        self.live -= 1;
        self.deleted.push_back(uid.clone());
        if self.deleted.len() > DELETED
            && let Some(oldest) = self.deleted.pop_front()
            && let Some(entry) = self.pods.remove(&oldest)
        {
            entry.containers.iter().for_each(|container| drop(self.by_container.remove(container)));
        }
    }

    /// Cgroups show these containers; the API may not tell of them yet.
    pub(super) fn meet<'a>(&mut self, containers: impl Iterator<Item = (&'a PodUid, &'a str)>) {
        let new: Vec<(PodUid, String)> = containers
            .filter(|(uid, id)| !self.by_container.contains_key(shown(id)) && self.pods.contains_key(*uid))
            .map(|(uid, id)| (uid.clone(), id.to_owned()))
            .collect();
        for (uid, id) in new {
            self.version += 1;
            self.show(&uid, Some(&id));
        }
    }

    /// Makes anew what events show of a pod's containers: those of its status, those known before, and `new`.
    fn show(&mut self, uid: &PodUid, new: Option<&str>) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let known: BTreeSet<String> = entry.containers.iter().cloned().collect();
        let ids = entry.pod.containers.keys().map(String::as_str).chain(new);
        let added: Vec<String> =
            ids.map(|id| shown(id).to_owned()).filter(|id| !known.contains(id)).collect();
        entry.containers.extend(added);
        let by_shown: HashMap<&str, &Container> =
            entry.pod.containers.iter().map(|(id, container)| (shown(id), container)).collect();
        while entry.containers.len() > CONTAINERS {
            // A container that starts over and over must not push out one that runs beside it.
            let ended = entry.containers.iter().position(|id| !by_shown.contains_key(id.as_str()));
            let oldest = entry.containers.remove(ended.unwrap_or(0));
            oldest.map(|oldest| self.by_container.remove(&oldest));
        }
        for id in &entry.containers {
            let container = by_shown.get(id.as_str()).map(|container| container.shown.clone());
            // A container that has ended is no longer in the status; what was known of it stays.
            let before = || self.by_container.get(id).and_then(|pod| pod.container.clone());
            let container = container.or_else(before);
            let pod = event::Pod { container, ..entry.pod.shown.clone() };
            if self.by_container.get(id).is_none_or(|before| **before != pod) {
                self.by_container.insert(id.clone(), Arc::new(pod));
            }
        }
    }

    pub(super) fn find(&self, uid: &PodUid) -> Option<&Pod> {
        self.pods.get(uid).map(|entry| &entry.pod)
    }

    /// Whether a pod that is to run has no cgroup among these.
    pub(super) fn lacks_cgroups<'a>(&self, cgroups: impl Iterator<Item = &'a PodUid>) -> bool {
        let there: HashSet<&PodUid> = cgroups.collect();
        let runs = |entry: &&Entry| !entry.deleted && !entry.pod.has_ended;
        self.pods.values().filter(runs).any(|entry| !there.contains(&entry.pod.uid))
    }

    pub(super) fn of_container(&self, id: &str) -> Option<Arc<event::Pod>> {
        self.by_container.get(shown(id)).cloned()
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn len(&self) -> usize {
        self.live
    }
}

/// What events show of a container's id.
pub(super) fn shown(id: &str) -> &str {
    id.get(..SHOWN).unwrap_or(id)
}
