//! In: a typed condition on workloads. Out: the same for artefacts, to be evaluated by whoever knows the pods.

use crate::typed::{LabelIs, LabelTest, PodTest, WorkloadTest};
use api::artefact::{self, LabelOp, PodSet, WorkloadSet};

pub(super) fn set(test: &WorkloadTest) -> WorkloadSet {
    WorkloadSet { host: test.host, pods: test.pods.as_ref().map(pods) }
}

fn pods(test: &PodTest) -> PodSet {
    PodSet {
        namespace: test.namespace.clone().unwrap_or_default(),
        labels: test.labels.iter().map(label).collect(),
        container: test.container.iter().map(label).collect(),
    }
}

fn label(test: &LabelTest) -> artefact::LabelTest {
    let (op, values) = match &test.is {
        LabelIs::In(values) => (LabelOp::In, values.clone()),
        LabelIs::NotIn(values) => (LabelOp::NotIn, values.clone()),
        LabelIs::Present => (LabelOp::Exists, Vec::new()),
        LabelIs::Absent => (LabelOp::DoesNotExist, Vec::new()),
    };
    artefact::LabelTest { key: test.key.clone(), op: op as i32, values }
}
