//! In: YAML. Out: policies and nodes as the watch publishes them, and kernel profiles.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::artefact::Flavour;
use api::profile::KernelProfile;
use crds::workload::LabelSelector;
use operator::model::{Nodes, Policies, PolicyDigest, PolicyVersion};
use policy_compiler::check::check_yaml;
use policy_compiler::typed::PolicyKey;
use prost::Message;
use sha2::{Digest, Sha256};

pub fn key(name: &str) -> PolicyKey {
    PolicyKey { namespace: None, name: name.to_owned() }
}

/// A policy that watches a function.
pub fn policy(name: &str, function: &str) -> PolicyVersion {
    version(&format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}}}\nspec:\n  kprobes:\n  - {{call: {function}, syscall: false}}\n"
    ))
}

/// The same with a message, so that it is another version.
pub fn policy_with_message(name: &str, function: &str, message: &str) -> PolicyVersion {
    version(&format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}}}\nspec:\n  kprobes:\n  - {{call: {function}, syscall: false, message: {message}}}\n"
    ))
}

pub fn version(yaml: &str) -> PolicyVersion {
    let checked = check_yaml(yaml).remove(0);
    PolicyVersion {
        key: checked.key.expect("a name"),
        uid: "uid".to_owned(),
        generation: 1,
        created: 0,
        policy: Some(Arc::new(checked.policy.unwrap_or_else(|| panic!("{:?}", checked.diagnostics)))),
        diagnostics: checked.diagnostics,
        digest: PolicyDigest(Sha256::digest(yaml).into()),
        node_selector: None,
    }
}

pub fn for_nodes_with(mut version: PolicyVersion, label: &str, value: &str) -> PolicyVersion {
    let mut selector = LabelSelector::default();
    selector.match_labels.insert(label.to_owned(), crds::workload::LabelValue(value.to_owned()));
    version.node_selector = Some(selector);
    version
}

pub fn policies(versions: impl IntoIterator<Item = PolicyVersion>) -> Policies {
    Arc::new(versions.into_iter().map(|version| (version.key.clone(), Arc::new(version))).collect())
}

pub fn nodes(names: &[&str]) -> Nodes {
    labelled(&names.iter().map(|name| (*name, &[][..])).collect::<Vec<_>>())
}

pub fn labelled(nodes: &[(&str, &[(&str, &str)])]) -> Nodes {
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    Arc::new(nodes.iter().map(|(name, pairs)| ((*name).into(), labels(pairs))).collect())
}

/// Which fixture.
#[derive(Clone, Copy)]
pub enum Fixture {
    Six,
    Seven,
}

/// An encoded profile.
pub fn profile(fixture: Fixture) -> Vec<u8> {
    let (release, file) = match fixture {
        Fixture::Six => ("6.1.0-test", "kernel-6.btf"),
        Fixture::Seven => ("7.0.0-test", "kernel-7.btf"),
    };
    let path = format!("{}/../policy-compiler/fixtures/{file}", env!("CARGO_MANIFEST_DIR"));
    KernelProfile {
        release: release.to_owned(),
        arch: "x86_64".to_owned(),
        btf: std::fs::read(path).expect("fixture"),
        flavours: vec![Flavour::Fentry as i32, Flavour::Fexit as i32],
        cpus: 2,
        ..KernelProfile::default()
    }
    .encode_to_vec()
}

pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}
