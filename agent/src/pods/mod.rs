//! In: the pods of this node from the API server, the cgroups of this host. Out: for the loader, which cgroup is whose;
//! for events, the pod of a container.
//!
//! A pod's own cgroup is made before its containers are, and the API server tells the agent of the pod as it tells the
//! kubelet: so the containers of a known pod are its from their first exec on ([`workload::Workload`] is inherited by
//! what is below). What needs the container's name or image takes until the kubelet has reported its id. A pod that the
//! API server tells of later than its containers start is one of unknown name until then, and never part of the host.
//!
//! Bounded: [`PODS`] pods with [`CONTAINERS`] containers each, [`DELETED`] deleted ones, kept for late events.

mod cgroups;
mod convert;
mod directory;
mod name;
mod owner;
pub mod watch;
mod workload;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::event;

use cgroups::{Found, Kind};
use directory::Directory;

pub use cgroups::hierarchy;
pub use convert::pod;
pub use directory::{CONTAINERS, Container, DELETED, PODS, Pod, PodChange, PodUid};
pub(crate) use name::is_below_all_pods;
pub use workload::{CgroupId, ContainerLabels, Place, PodLabels, Workload};

/// How soon after a look at the cgroups the next one may be, whatever asks for it. One takes 3 ms with 100 pods.
const SOONEST: Duration = Duration::from_millis(20);
/// How long after a look the next one is while a pod has no cgroup yet.
const WAITING: Duration = Duration::from_millis(100);
/// How long a pod without a cgroup is waited for; afterwards an exec in it, or the next change, is what finds it.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long after a look the next one is if nothing asks for it.
const LATEST: Duration = Duration::from_secs(10);
/// Cgroups with a container's name that are no pod's, remembered so that they ask for no more looks; 8 bytes each.
const FOREIGN: usize = 4096;

/// The pods of this node.
#[derive(Debug, Default)]
pub struct Pods {
    directory: Directory,
    hierarchy: Option<PathBuf>,
    /// Somebody tells of pods.
    expected: bool,
    places: BTreeMap<CgroupId, Place>,
    /// Of containers' own cgroups, what events show of the id.
    containers: BTreeMap<CgroupId, String>,
    /// Found by a look between two that were asked for.
    unsaid: Vec<(CgroupId, Option<Place>)>,
    foreign: std::collections::HashSet<u64>,
    looked: Option<Instant>,
    /// Something has changed since.
    asked: bool,
    /// The last look, or what followed from it, failed.
    failed: bool,
    /// The last failure of a look, in words, until there is none.
    said: String,
    /// All pods have been told of.
    has_list: bool,
    /// A pod has no cgroup yet, and is waited for until then.
    waits_until: Option<Instant>,
}

impl Pods {
    /// No pods. `hierarchy`: where the unified cgroup hierarchy is mounted, see [`hierarchy`].
    pub fn new(hierarchy: Option<PathBuf>) -> Pods {
        Pods { hierarchy, asked: true, ..Pods::default() }
    }

    /// From now on somebody tells of pods.
    pub fn expect(&mut self) {
        self.expected = true;
        self.asked = true;
    }

    /// Whether there is a hierarchy that tells processes of pods from those of the host.
    pub fn has_hierarchy(&self) -> bool {
        self.hierarchy.is_some()
    }

    /// Takes in what the API server tells.
    pub fn apply(&mut self, change: PodChange, now: Instant) {
        self.has_list |= matches!(change, PodChange::Listed(_));
        self.directory.apply(change);
        self.asked = true;
        self.waits_until = Some(now + PATIENCE);
    }

    /// Whether all pods have been told of, at some time.
    pub fn has_list(&self) -> bool {
        self.has_list
    }

    /// What followed from the last look could not be put in force: there is to be another one soon.
    pub fn try_again(&mut self) {
        self.failed = true;
    }

    /// A process has executed something in this cgroup, whose directory has this name. If it may be the first of a
    /// container, and the last look was not just now, it is known afterwards.
    pub fn exec_in(&mut self, cgroup: CgroupId, name: &str, now: Instant) {
        let is_new = name::container_id(name).is_some() && !self.places.contains_key(&cgroup);
        if self.expected && is_new && !self.foreign.contains(&cgroup.0) {
            if self.foreign.len() >= FOREIGN {
                self.foreign.clear();
            }
            self.foreign.insert(cgroup.0);
            self.asked = true;
            if self.looked.is_none_or(|looked| looked + SOONEST <= now) {
                let changes = self.find(now);
                self.unsaid.extend(changes);
            }
        }
    }

    /// How long until [`Pods::look`] has something to do.
    pub fn due(&self, now: Instant) -> Duration {
        let Some(looked) = self.looked.filter(|_| self.unsaid.is_empty()) else { return Duration::ZERO };
        let waits = self.waits_until.is_some_and(|until| now < until);
        let pause = match (self.failed, self.asked, waits) {
            (true, ..) => WAITING,
            (false, true, _) => SOONEST,
            (false, false, true) => WAITING,
            (false, false, false) => LATEST,
        };
        (looked + pause).saturating_duration_since(now)
    }

    /// What events show of the id of the container whose own cgroup this is.
    pub fn container_in(&self, cgroup: CgroupId) -> Option<&str> {
        self.containers.get(&cgroup).map(String::as_str)
    }

    /// Looks at the cgroups, and says what has changed since the last look: nothing, if they cannot be read.
    pub fn look(&mut self, now: Instant) -> Vec<(CgroupId, Option<Place>)> {
        let mut changes = std::mem::take(&mut self.unsaid);
        changes.extend(self.find(now));
        changes
    }

    fn find(&mut self, now: Instant) -> Vec<(CgroupId, Option<Place>)> {
        self.looked = Some(now);
        self.asked = false;
        self.failed = false;
        let Some(hierarchy) = &self.hierarchy else { return Vec::new() };
        let found = match cgroups::find(hierarchy, self.expected) {
            Ok(found) => found,
            Err(error) => {
                self.unseen(&error);
                return Vec::new();
            }
        };
        self.said.clear();
        self.directory.meet(found.values().filter_map(Found::container));
        if !self.directory.lacks_cgroups(found.values().filter_map(Found::pod)) {
            self.waits_until = None;
        }
        let containers =
            found.iter().filter_map(|(id, found)| Some((*id, directory::shown(found.container()?.1))));
        self.containers = containers.map(|(cgroup, id)| (cgroup, id.to_owned())).collect();
        let mut places: BTreeMap<CgroupId, Place> = found
            .into_iter()
            .map(|(id, found)| (id, Place { workload: self.workload(&found.kind), path: found.path }))
            .collect();
        let changed = |(id, place): &(&CgroupId, &Place)| self.places.get(*id) != Some(*place);
        let mut changes: Vec<(CgroupId, Option<Place>)> =
            places.iter().filter(changed).map(|(id, place)| (*id, Some(place.clone()))).collect();
        std::mem::swap(&mut self.places, &mut places);
        changes.extend(places.into_keys().filter(|id| !self.places.contains_key(id)).map(|id| (id, None)));
        changes
    }

    /// What is known stays: a pod whose cgroup cannot be read is not gone.
    fn unseen(&mut self, error: &std::io::Error) {
        self.failed = true;
        let why = error.to_string();
        if self.said != why {
            tracing::warn!("the cgroups of this host cannot be read, what is known of them stays: {why}");
            self.said = why;
        }
    }

    fn workload(&self, kind: &Kind) -> Workload {
        let (uid, container) = match kind {
            Kind::Root => return Workload::Host,
            Kind::AllPods => return Workload::UnknownPod,
            Kind::Pod(uid) => (uid, None),
            Kind::Container(uid, container) => (uid, Some(container)),
        };
        match self.directory.find(uid) {
            Some(pod) => {
                let container = container.and_then(|container| pod.containers.get(container));
                let container = container.map(|container| Arc::clone(&container.labels));
                Workload::Pod { pod: Arc::clone(&pod.labels), container }
            }
            None => Workload::UnknownPod,
        }
    }

    /// The pod of a container, by the first characters of its id that events show.
    pub fn of_container(&self, docker: &str) -> Option<Arc<event::Pod>> {
        self.directory.of_container(docker)
    }

    /// Changes whenever [`Pods::of_container`] may answer better than before.
    pub fn version(&self) -> u64 {
        self.directory.version()
    }

    /// What is known to run in this cgroup.
    pub fn place(&self, cgroup: CgroupId) -> Option<&Place> {
        self.places.get(&cgroup)
    }

    /// Pods that are known and not deleted.
    pub fn len(&self) -> usize {
        self.directory.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.directory.len() == 0
    }
}

#[cfg(test)]
mod tests;
