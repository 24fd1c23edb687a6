//! In: a condition on workloads. Out: it in words.

use policy_compiler::typed::{LabelIs, LabelTest, PodTest, WorkloadTest};

/// "processes of the host, or of …".
pub fn workloads(test: &WorkloadTest) -> String {
    let host = test.host.then(|| "processes of the host".to_owned());
    let pods = test.pods.as_ref().map(pods);
    host.into_iter().chain(pods).collect::<Vec<_>>().join(", and ")
}

fn pods(test: &PodTest) -> String {
    let mut words = match &test.namespace {
        Some(namespace) => format!("pods of namespace {namespace}"),
        None => "pods".to_owned(),
    };
    if !test.labels.is_empty() {
        words.push_str(&format!(" with {}", labels(&test.labels)));
    }
    if !test.container.is_empty() {
        words.push_str(&format!(", containers with {}", labels(&test.container)));
    }
    words
}

/// Conditions on labels.
pub fn labels(tests: &[LabelTest]) -> String {
    tests.iter().map(label).collect::<Vec<_>>().join(" and ")
}

fn label(test: &LabelTest) -> String {
    let key = &test.key;
    match &test.is {
        LabelIs::In(values) => format!("{key} {}", values.join(" or ")),
        LabelIs::NotIn(values) => format!("{key} missing or other than {}", values.join(" or ")),
        LabelIs::Present => format!("a label {key}"),
        LabelIs::Absent => format!("no label {key}"),
    }
}
