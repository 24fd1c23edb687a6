//! In: a condition on workloads and where the calling process runs. Out: whether it passes.

use std::collections::BTreeMap;

use api::artefact::NAMESPACE_LABEL;

use super::call::Process;
use crate::typed::{LabelIs, LabelTest, PodTest, WorkloadTest};

/// Where a process runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Workload {
    /// Outside of all pods.
    #[default]
    Host,
    /// In a pod; `None`: in one of which nothing is known yet.
    Pod(Option<Pod>),
}

/// What is known of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The container's `name` and `repo`; `None`: nothing is known of it yet.
    pub container: Option<BTreeMap<String, String>>,
}

/// A process that is not in the table of processes is in no workload. What is not known fails every condition on it.
pub(super) fn workload_passes(test: &WorkloadTest, process: &Process) -> bool {
    process.known
        && match &process.workload {
            Workload::Host => test.host,
            Workload::Pod(pod) => test.pods.as_ref().is_some_and(|test| pod_passes(test, pod.as_ref())),
        }
}

fn pod_passes(test: &PodTest, pod: Option<&Pod>) -> bool {
    let Some(pod) = pod else { return test.is_any() };
    let mut labels = pod.labels.clone();
    labels.insert(NAMESPACE_LABEL.to_owned(), pod.namespace.clone());
    let of_namespace = test.namespace.as_ref().is_none_or(|namespace| *namespace == pod.namespace);
    let of_container = match &pod.container {
        Some(container) => labels_pass(&test.container, container),
        None => test.container.is_empty(),
    };
    of_namespace && labels_pass(&test.labels, &labels) && of_container
}

fn labels_pass(tests: &[LabelTest], labels: &BTreeMap<String, String>) -> bool {
    tests.iter().all(|test| match (&test.is, labels.get(&test.key)) {
        (LabelIs::In(values), Some(label)) => values.contains(label),
        (LabelIs::In(_), None) => false,
        (LabelIs::NotIn(values), Some(label)) => !values.contains(label),
        (LabelIs::NotIn(_), None) => true,
        (LabelIs::Present, label) => label.is_some(),
        (LabelIs::Absent, label) => label.is_none(),
    })
}
