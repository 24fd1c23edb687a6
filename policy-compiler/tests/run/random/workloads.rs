//! In: nothing. Out: conditions on workloads, and places of processes that often meet them.

use std::collections::BTreeMap;

use api::artefact::NAMESPACE_LABEL;
use policy_compiler::reference::{Pod, Workload};
use policy_compiler::typed::{LabelIs, LabelTest, PodTest, WorkloadTest};

use crate::choices::Choices;

const NAMESPACES: [&str; 3] = ["default", "team", ""];
const VALUES: [&str; 4] = ["web", "db", "", "team"];

/// Any condition.
pub fn workload_test(choices: &mut Choices<'_>) -> WorkloadTest {
    let host = choices.flip();
    let pods = (!host || choices.flip()).then(|| PodTest {
        namespace: choices.rarely(3).then(|| choices.of(&NAMESPACES[..2]).to_owned()),
        labels: labels(choices, &["app", "tier", NAMESPACE_LABEL]),
        container: if choices.flip() { labels(choices, &["name", "repo"]) } else { Vec::new() },
    });
    WorkloadTest::new(host, pods).unwrap_or(WorkloadTest { host: true, pods: None })
}

fn labels(choices: &mut Choices<'_>, keys: &[&str]) -> Vec<LabelTest> {
    let mut tests = choices.list(0, 2, |c| {
        let mut values = c.list(1, 2, |c| c.of(&VALUES).to_owned());
        values.sort_unstable();
        values.dedup();
        let is = match c.below(4) {
            0 => LabelIs::NotIn(values),
            1 => LabelIs::Present,
            2 => LabelIs::Absent,
            _ => LabelIs::In(values),
        };
        LabelTest { key: c.of(keys).to_owned(), is }
    });
    tests.sort_unstable();
    tests.dedup();
    tests
}

/// Where a process may run.
pub fn workload(choices: &mut Choices<'_>) -> Workload {
    match choices.below(5) {
        0 | 1 => Workload::Host,
        2 => Workload::Pod(None),
        _ => Workload::Pod(Some(Pod {
            namespace: choices.of(&NAMESPACES).to_owned(),
            labels: some(choices, &["app", "tier"]),
            container: (!choices.rarely(3)).then(|| some(choices, &["name", "repo"])),
        })),
    }
}

fn some(choices: &mut Choices<'_>, keys: &[&str]) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for key in keys {
        if !choices.rarely(3) {
            labels.insert((*key).to_owned(), choices.of(&VALUES).to_owned());
        }
    }
    labels
}
