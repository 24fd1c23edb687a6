//! In: what is known of the workload in a cgroup. Out: whether it is in a set of workloads.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use api::artefact::{LabelOp, LabelTest, NAMESPACE_LABEL, PodSet, ProcessSet};

/// Id of a cgroup in the unified hierarchy: the inode of its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupId(pub u64);

impl CgroupId {
    /// As the kernel's tables have it.
    pub fn key(self) -> Vec<u8> {
        self.0.to_ne_bytes().to_vec()
    }
}

/// A workload and the directory of its cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Directory.
    pub path: PathBuf,
    /// What runs in it, and below it where nothing else is known.
    pub workload: Workload,
}

impl Place {
    /// Whether it is the root of the hierarchy, the place of the host.
    pub fn is_root(&self) -> bool {
        self.workload == Workload::Host
    }
}

/// What runs in a cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workload {
    /// Processes outside of all pods.
    Host,
    /// A pod of which nothing is known.
    UnknownPod,
    /// A pod.
    Pod {
        /// What selectors see of it.
        pod: Arc<PodLabels>,
        /// What selectors see of the container; `None` in the pod's own cgroup, and before the container is known.
        container: Option<Arc<ContainerLabels>>,
    },
}

/// What selectors see of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodLabels {
    /// Namespace.
    pub namespace: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// What selectors see of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerLabels {
    /// Name in the pod's specification.
    pub name: String,
    /// Image without tag and digest.
    pub repo: String,
}

impl Workload {
    /// Whether it is in this set. What is not known is in no set that asks for it.
    pub fn is_in(&self, set: &ProcessSet) -> bool {
        let Some(set) = &set.workloads else { return false };
        match self {
            Workload::Host => set.host,
            Workload::UnknownPod => set.pods.as_ref().is_some_and(is_any),
            Workload::Pod { pod, container } => {
                set.pods.as_ref().is_some_and(|set| is_of(set, pod, container.as_deref()))
            }
        }
    }
}

fn is_any(set: &PodSet) -> bool {
    set.namespace.is_empty() && set.labels.is_empty() && set.container.is_empty()
}

fn is_of(set: &PodSet, pod: &PodLabels, container: Option<&ContainerLabels>) -> bool {
    let label = |key: &str| match key {
        NAMESPACE_LABEL => Some(pod.namespace.as_str()),
        key => pod.labels.get(key).map(String::as_str),
    };
    let of_container = |test: &LabelTest| {
        container.is_some_and(|container| match test.key.as_str() {
            "name" => holds(test, Some(&container.name)),
            "repo" => holds(test, Some(&container.repo)),
            _ => false,
        })
    };
    (set.namespace.is_empty() || set.namespace == pod.namespace)
        && set.labels.iter().all(|test| holds(test, label(&test.key)))
        && set.container.iter().all(of_container)
}

fn holds(test: &LabelTest, label: Option<&str>) -> bool {
    let is_listed = || label.is_some_and(|label| test.values.iter().any(|value| value == label));
    match test.op() {
        LabelOp::In => is_listed(),
        LabelOp::NotIn => !is_listed(),
        LabelOp::Exists => label.is_some(),
        LabelOp::DoesNotExist => label.is_none(),
        // From a compiler that is newer than this agent: narrower than meant, never wider.
        LabelOp::Unspecified => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::artefact::{SetOp, WorkloadSet};

    fn set(host: bool, pods: Option<PodSet>) -> ProcessSet {
        let workloads = Some(WorkloadSet { host, pods });
        ProcessSet { op: SetOp::Workloads as i32, workloads, ..ProcessSet::default() }
    }

    fn test(key: &str, op: LabelOp, values: &[&str]) -> LabelTest {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        LabelTest { key: key.to_owned(), op: op as i32, values }
    }

    fn pod(namespace: &str, app: &str, container: Option<(&str, &str)>) -> Workload {
        let labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
        let container = container
            .map(|(name, repo)| Arc::new(ContainerLabels { name: name.to_owned(), repo: repo.to_owned() }));
        Workload::Pod { pod: Arc::new(PodLabels { namespace: namespace.to_owned(), labels }), container }
    }

    #[test]
    fn what_is_not_known_is_in_no_set_that_asks_for_it() {
        let of = |namespace: &str, labels: Vec<LabelTest>, container: Vec<LabelTest>| {
            set(false, Some(PodSet { namespace: namespace.to_owned(), labels, container }))
        };
        let web = pod("default", "web", Some(("main", "docker.io/library/nginx")));
        let starting = pod("default", "web", None);
        let is_in = |set: &ProcessSet| {
            [Workload::Host, Workload::UnknownPod, starting.clone(), web.clone()]
                .map(|workload| workload.is_in(set))
        };
        assert_eq!(is_in(&set(true, None)), [true, false, false, false]);
        assert_eq!(is_in(&of("", vec![], vec![])), [false, true, true, true]);
        assert_eq!(is_in(&of("default", vec![], vec![])), [false, false, true, true]);
        assert_eq!(is_in(&of("other", vec![], vec![])), [false; 4]);
        let app = |op, values| of("", vec![test("app", op, values)], vec![]);
        assert_eq!(is_in(&app(LabelOp::In, &["db", "web"])), [false, false, true, true]);
        assert_eq!(is_in(&app(LabelOp::NotIn, &["web"])), [false; 4]);
        assert_eq!(is_in(&app(LabelOp::NotIn, &["db"])), [false, false, true, true]);
        assert_eq!(is_in(&app(LabelOp::DoesNotExist, &[])), [false; 4]);
        assert_eq!(is_in(&app(LabelOp::Unspecified, &[])), [false; 4]);
        let by_namespace = of("", vec![test(NAMESPACE_LABEL, LabelOp::In, &["default"])], vec![]);
        assert_eq!(is_in(&by_namespace), [false, false, true, true]);
        let container = |op, values| of("", vec![], vec![test("name", op, values)]);
        assert_eq!(is_in(&container(LabelOp::In, &["main"])), [false, false, false, true]);
        assert_eq!(is_in(&container(LabelOp::NotIn, &["proxy"])), [false, false, false, true]);
        let repo = of("", vec![], vec![test("repo", LabelOp::In, &["docker.io/library/nginx"])]);
        assert_eq!(is_in(&repo), [false, false, false, true]);
    }
}
