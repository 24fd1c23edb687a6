//! In: a set of workloads and where a process runs. Out: whether it is in the set, as an agent would tell.

use api::artefact::{LabelOp, LabelTest, NAMESPACE_LABEL, WorkloadSet};
use policy_compiler::reference::Workload;

pub fn contains(set: &WorkloadSet, workload: &Workload) -> bool {
    let pod = match workload {
        Workload::Host => return set.host,
        Workload::Pod(pod) => pod,
    };
    let Some(pods) = &set.pods else { return false };
    let Some(pod) = pod else {
        return pods.namespace.is_empty() && pods.labels.is_empty() && pods.container.is_empty();
    };
    let label = |key: &str| match key {
        NAMESPACE_LABEL => Some(pod.namespace.as_str()),
        key => pod.labels.get(key).map(String::as_str),
    };
    let of_container = |test: &LabelTest| {
        pod.container
            .as_ref()
            .is_some_and(|container| passes(test, container.get(&test.key).map(String::as_str)))
    };
    (pods.namespace.is_empty() || pods.namespace == pod.namespace)
        && pods.labels.iter().all(|test| passes(test, label(&test.key)))
        && pods.container.iter().all(of_container)
}

fn passes(test: &LabelTest, label: Option<&str>) -> bool {
    let listed = label.is_some_and(|label| test.values.iter().any(|value| value == label));
    match test.op() {
        LabelOp::In => listed,
        LabelOp::NotIn => !listed,
        LabelOp::Exists => label.is_some(),
        LabelOp::DoesNotExist => label.is_none(),
        LabelOp::Unspecified => panic!("a label test without an operation"),
    }
}
