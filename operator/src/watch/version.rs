//! In: one policy object, as plain JSON. Out: its [`PolicyVersion`], for the watch and for admission alike.

use std::fmt::Write;
use std::sync::Arc;

use crds::manifest::{GROUP, PolicyKind, VERSION};
use crds::status::TracingPolicyStatus;
use crds::workload::LabelSelector;
use kube::core::DynamicObject;
use policy_compiler::check::{INPUT_LIMIT, check_object};
use policy_compiler::diagnostic::{Code, Diagnostic, did_you_mean};
use policy_compiler::typed::{Mode, PolicyKey, TypedPolicy};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::StoredStatus;
use crate::model::{PolicyDigest, PolicyVersion};

/// The annotation that overrides the option `policy-mode`.
pub const MODE_ANNOTATION: &str = "ferragon.io/policy-mode";
/// Where a diagnostic about it points.
const MODE_PATH: &str = "metadata.annotations[ferragon.io/policy-mode]";

/// Identity of an object; `None` without a name, which the API server never lets pass.
pub fn key(kind: PolicyKind, object: &DynamicObject) -> Option<PolicyKey> {
    let namespace = match kind {
        PolicyKind::Cluster => None,
        PolicyKind::Namespaced => Some(object.metadata.namespace.clone()?),
    };
    Some(PolicyKey { namespace, name: object.metadata.name.clone()? })
}

/// The value of [`MODE_ANNOTATION`].
pub fn mode_annotation(object: &DynamicObject) -> Option<&str> {
    object.metadata.annotations.as_ref()?.get(MODE_ANNOTATION).map(String::as_str)
}

/// The status that an object has.
pub(super) fn status(object: &DynamicObject) -> StoredStatus {
    let status = object.data.get("status");
    StoredStatus {
        uid: object.metadata.uid.clone().unwrap_or_default(),
        status: status.and_then(|status| serde_json::from_value::<TracingPolicyStatus>(status.clone()).ok()),
    }
}

/// Checks an object. Takes a time that grows with its size, some milliseconds.
pub fn read(kind: PolicyKind, key: PolicyKey, object: &DynamicObject) -> PolicyVersion {
    let spec = object.data.get("spec").cloned().unwrap_or(Value::Null);
    let selector = spec.get("nodeSelector").filter(|selector| !selector.is_null());
    let node_selector =
        selector.and_then(|selector| serde_json::from_value::<LabelSelector>(selector.clone()).ok());
    let (policy, mut diagnostics) = check(kind, &key, spec);
    let policy = policy.map(|mut policy| {
        match mode_annotation(object).map(mode) {
            Some(Ok(mode)) => policy.mode = mode,
            Some(Err(warning)) => diagnostics.push(warning),
            None => {}
        }
        Arc::new(policy)
    });
    PolicyVersion {
        key,
        uid: object.metadata.uid.clone().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        created: created(object),
        diagnostics,
        digest: policy.as_deref().map_or(PolicyDigest([0; 32]), digest),
        policy,
        node_selector,
    }
}

fn created(object: &DynamicObject) -> i64 {
    object.metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second())
}

/// An object at which the check broke off. Refused rather than forgotten: an earlier version may have been in force.
pub(super) fn unchecked(key: PolicyKey, object: &DynamicObject) -> PolicyVersion {
    let message = "the check failed on this policy; this is a bug, please report it";
    PolicyVersion {
        key,
        uid: object.metadata.uid.clone().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        created: created(object),
        diagnostics: vec![Diagnostic::error(Code::Limit, "spec", message)],
        digest: PolicyDigest([0; 32]),
        policy: None,
        node_selector: None,
    }
}

fn check(kind: PolicyKind, key: &PolicyKey, spec: Value) -> (Option<TypedPolicy>, Vec<Diagnostic>) {
    let size = serde_json::to_vec(&spec).map_or(usize::MAX, |bytes| bytes.len());
    if size > INPUT_LIMIT {
        let message = format!("{size} bytes are more than the limit of {INPUT_LIMIT}");
        let problem = Diagnostic::error(Code::Malformed, "spec", message);
        return (None, vec![problem.with_help("split the policy into several")]);
    }
    let mut metadata = json!({"name": key.name});
    if let Some(namespace) = &key.namespace {
        metadata["namespace"] = json!(namespace);
    }
    let checked = check_object(json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": kind.as_str(),
        "metadata": metadata,
        "spec": spec,
    }));
    (checked.policy, checked.diagnostics)
}

fn mode(word: &str) -> Result<Mode, Diagnostic> {
    match word {
        "enforce" => Ok(Mode::Enforce),
        "monitor" => Ok(Mode::Monitor),
        _ => {
            let shown: String = word.chars().take(60).flat_map(char::escape_default).collect();
            let message = format!("`{shown}` is not a mode; the annotation has no effect");
            let help = did_you_mean(word, ["enforce", "monitor"]).map_or_else(
                || "one of: enforce, monitor".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            Err(Diagnostic::warning(Code::Suspicious, MODE_PATH, message).with_help(help))
        }
    }
}

/// Of all that the compiler sees of a policy: not of which nodes run it.
fn digest(policy: &TypedPolicy) -> PolicyDigest {
    let TypedPolicy { key, mode, workloads, nodes: _, hooks } = policy;
    struct Hash(Sha256);
    impl Write for Hash {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.update(text);
            Ok(())
        }
    }
    let mut hash = Hash(Sha256::new());
    // The form for debugging names every field and value in order. It differs between versions of the operator, which
    // costs a compilation: digests are not stored. Writing into a hash does not fail.
    let _ = write!(hash, "{:?}", (key, mode, workloads, hooks));
    PolicyDigest(hash.0.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(annotations: Value, spec: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy",
            "metadata": {"name": "p", "uid": "u", "generation": 3, "annotations": annotations,
                "managedFields": [{"manager": "kubectl"}]},
            "spec": spec,
        }))
        .unwrap()
    }

    fn version(annotations: Value, spec: Value) -> PolicyVersion {
        let object = object(annotations, spec);
        read(PolicyKind::Cluster, key(PolicyKind::Cluster, &object).unwrap(), &object)
    }

    fn spec() -> Value {
        json!({"kprobes": [{"call": "tcp_connect", "syscall": false}], "nodeSelector": {"matchLabels": {"a": "b"}}})
    }

    #[test]
    fn a_good_object_is_a_policy() {
        let read = version(json!({}), spec());
        assert_eq!((read.uid.as_str(), read.generation), ("u", 3));
        assert_eq!(read.diagnostics, []);
        assert_eq!(read.policy.unwrap().mode, Mode::Enforce);
        assert_eq!(read.node_selector.unwrap().match_labels.len(), 1);
    }

    #[test]
    fn an_object_of_any_shape_is_a_version_with_errors() {
        for spec in
            [json!(null), json!([]), json!("x"), json!({"kprobes": {"call": 1}}), json!({"nodeSelector": 1})]
        {
            let read = version(json!({}), spec.clone());
            assert!(read.policy.is_none() && read.diagnostics.iter().any(Diagnostic::is_error), "{spec}");
            assert_eq!(read.digest, PolicyDigest([0; 32]));
        }
        let huge = version(json!({}), json!({"x": "y".repeat(INPUT_LIMIT)}));
        assert_eq!(huge.diagnostics.len(), 1);
        assert!(huge.diagnostics[0].message.contains("limit"));
    }

    #[test]
    fn the_annotation_decides_over_the_option() {
        let mut monitor = spec();
        monitor["options"] = json!([{"name": "policy-mode", "value": "monitor"}]);
        let mode = |annotations, spec| version(annotations, spec).policy.unwrap().mode;
        assert_eq!(mode(json!({}), monitor.clone()), Mode::Monitor);
        assert_eq!(mode(json!({MODE_ANNOTATION: "enforce"}), monitor), Mode::Enforce);
        assert_eq!(mode(json!({MODE_ANNOTATION: "monitor"}), spec()), Mode::Monitor);
        let wrong = version(json!({MODE_ANNOTATION: "enforced"}), spec());
        assert_eq!(wrong.policy.unwrap().mode, Mode::Enforce);
        assert_eq!(
            wrong.diagnostics[0].to_string(),
            "warning[suspicious] metadata.annotations[ferragon.io/policy-mode]: `enforced` is not a mode; the \
             annotation has no effect\n  help: did you mean `enforce`?"
        );
    }

    #[test]
    fn the_digest_is_of_what_is_compiled() {
        let digest = |annotations, spec| version(annotations, spec).digest;
        let base = digest(json!({}), spec());
        assert_eq!(base, digest(json!({"other": "x"}), spec()));
        assert_ne!(base, digest(json!({MODE_ANNOTATION: "monitor"}), spec()));
        let mut elsewhere = spec();
        elsewhere["nodeSelector"] = json!({});
        assert_eq!(base, digest(json!({}), elsewhere), "which nodes run it changes no program");
        let mut other = spec();
        other["kprobes"][0]["message"] = json!("m");
        assert_ne!(base, digest(json!({}), other));
    }

    #[test]
    fn a_status_that_is_not_ours_is_none() {
        let with = |status: Value| {
            let mut object = object(json!({}), spec());
            object.data["status"] = status;
            super::status(&object).status
        };
        assert_eq!(with(json!(null)), None);
        assert_eq!(with(json!({"conditions": [{"type": "Odd"}]})), None);
        assert_eq!(with(json!({"hooks": 2})).unwrap().hooks, Some(2));
    }
}
