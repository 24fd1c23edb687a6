//! In: one parsed document. Out: its kind and identity, and its `spec` handed on to the structural and the
//! semantic pass.

use std::sync::OnceLock;

use crds::TracingPolicySpec;
use crds::manifest::{GROUP, PolicyKind, VERSION};
use serde_json::{Map, Value};

use super::document::Document;
use super::path::FieldPath;
use super::problems::{Problems, quoted, suggest};
use super::structure::Structure;
use super::{Checked, policy, repair};
use crate::diagnostic::{Code, Diagnostic};
use crate::typed::{PolicyKey, TypedPolicy};

/// Fields of every policy document; `status` is written by the operator and not looked at.
const TOP_FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// Fields of every object's `metadata`.
const METADATA_FIELDS: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Checks one document of a file.
pub(super) fn check_document(document: Document) -> Checked {
    let mut problems = Problems::default();
    let line = document.line;
    match document.content {
        Ok(Value::Object(fields)) => {
            let kind = kind_of(&fields, &mut problems);
            unknown_fields(&fields, &TOP_FIELDS, &FieldPath::document(), &mut problems);
            let key = key_of(kind, &fields, &mut problems);
            let policy = kind.and_then(|kind| check_fields(kind, key.as_ref(), fields, &mut problems));
            problems.conclude(line, kind, key, policy)
        }
        Ok(_) => {
            let message = "the document is not an object";
            let help = "a policy begins with `apiVersion` and `kind`";
            problems.error_help(Code::Malformed, &FieldPath::document(), message, help);
            problems.conclude(line, None, None, None)
        }
        Err(diagnostic) => {
            problems.extend([diagnostic]);
            problems.conclude(line, None, None, None)
        }
    }
}

fn kind_of(fields: &Map<String, Value>, problems: &mut Problems) -> Option<PolicyKind> {
    let api_version = format!("{GROUP}/{VERSION}");
    expect_word("apiVersion", fields, &[&api_version], problems);
    let names: Vec<&str> = PolicyKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let name = expect_word("kind", fields, &names, problems)?;
    PolicyKind::ALL.iter().copied().find(|kind| kind.as_str() == name)
}

/// The text of a top-level field that must be one of `words`.
fn expect_word<'a>(
    key: &str,
    fields: &'a Map<String, Value>,
    words: &[&str],
    problems: &mut Problems,
) -> Option<&'a str> {
    let path = FieldPath::root(key);
    match fields.get(key) {
        Some(Value::String(word)) if words.contains(&word.as_str()) => Some(word),
        Some(Value::String(word)) => {
            let message = format!("{} is not a policy", quoted(word));
            problems.error_help(Code::Malformed, &path, message, suggest(word, words));
            None
        }
        Some(_) => {
            problems.error_help(Code::WrongType, &path, "expected text", suggest("", words));
            None
        }
        None => {
            problems.error_help(
                Code::MissingField,
                &path,
                format!("`{key}` is required"),
                suggest("", words),
            );
            None
        }
    }
}

fn unknown_fields(fields: &Map<String, Value>, known: &[&str], path: &FieldPath, problems: &mut Problems) {
    for key in fields.keys().filter(|key| !known.contains(&key.as_str())) {
        let message = format!("there is no field {} here", quoted(key));
        problems.error_help(Code::UnknownField, &path.key(key), message, suggest(key, known));
    }
}

/// The document's identity; complains about `metadata`.
fn key_of(
    kind: Option<PolicyKind>,
    fields: &Map<String, Value>,
    problems: &mut Problems,
) -> Option<PolicyKey> {
    let path = FieldPath::root("metadata");
    let metadata = match fields.get("metadata") {
        Some(Value::Object(metadata)) => metadata,
        Some(Value::Null) | None => {
            problems.error(Code::MissingField, &path.key("name"), "`metadata.name` is required");
            return None;
        }
        Some(_) => {
            problems.error(Code::WrongType, &path, "expected an object");
            return None;
        }
    };
    unknown_fields(metadata, &METADATA_FIELDS, &path, problems);
    for key in ["labels", "annotations"] {
        string_map(metadata.get(key), &path.key(key), problems);
    }
    let namespace = string_field(metadata, "namespace", &path, problems);
    let Some(name) = string_field(metadata, "name", &path, problems) else {
        if metadata.get("name").is_none_or(Value::is_null) {
            problems.error(Code::MissingField, &path.key("name"), "`metadata.name` is required");
        }
        return None;
    };
    let namespace = if kind == Some(PolicyKind::Cluster) { None } else { namespace };
    let key = PolicyKey { namespace, name };
    if let Some(kind) = kind {
        check_key(kind, &key, problems);
    }
    Some(key)
}

fn string_field(
    fields: &Map<String, Value>,
    key: &str,
    path: &FieldPath,
    problems: &mut Problems,
) -> Option<String> {
    match fields.get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Null) | None => None,
        Some(value) => {
            let help = format!("quote it: \"{value}\"");
            problems.error_help(Code::WrongType, &path.key(key), "expected text", help);
            None
        }
    }
}

fn string_map(value: Option<&Value>, path: &FieldPath, problems: &mut Problems) {
    match value {
        Some(Value::Object(entries)) => {
            for (key, _) in entries.iter().filter(|(_, value)| !value.is_string()) {
                let help = "quote the value";
                problems.error_help(Code::WrongType, &path.key(key), "expected text", help);
            }
        }
        Some(Value::Null) | None => {}
        Some(_) => problems.error(Code::WrongType, path, "expected an object"),
    }
}

/// Complains about names that the API server would refuse, and about a missing namespace.
pub(super) fn check_key(kind: PolicyKind, key: &PolicyKey, problems: &mut Problems) {
    let path = FieldPath::root("metadata");
    if !is_dns_subdomain(&key.name) {
        let message = format!("{} is not a DNS name", quoted(&key.name));
        let help = "lower-case letters, digits, `-` and `.`; each part begins and ends with a letter or digit; \
                    at most 253 characters";
        problems.error_help(Code::OutOfRange, &path.key("name"), message, help);
    }
    match (kind, &key.namespace) {
        (PolicyKind::Namespaced, None) => {
            let message = "a TracingPolicyNamespaced needs a namespace";
            problems.error(Code::MissingField, &path.key("namespace"), message);
        }
        (PolicyKind::Namespaced, Some(namespace)) if !is_dns_label(namespace) => {
            let message = format!("{} is not the name of a namespace", quoted(namespace));
            problems.error(Code::OutOfRange, &path.key("namespace"), message);
        }
        _ => {}
    }
}

fn is_dns_subdomain(name: &str) -> bool {
    !name.is_empty() && name.len() <= 253 && name.split('.').all(is_dns_part)
}

fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && is_dns_part(name)
}

fn is_dns_part(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (first, last) = (part.bytes().next(), part.bytes().last());
    first.is_some_and(plain)
        && last.is_some_and(plain)
        && part.bytes().all(|byte| plain(byte) || byte == b'-')
}

/// The passes over `spec`.
fn check_fields(
    kind: PolicyKind,
    key: Option<&PolicyKey>,
    mut fields: Map<String, Value>,
    problems: &mut Problems,
) -> Option<TypedPolicy> {
    let path = FieldPath::root("spec");
    let mut spec = match fields.remove("spec") {
        Some(spec) if !spec.is_null() => spec,
        _ => {
            problems.error(Code::MissingField, &path, "`spec` is required");
            return None;
        }
    };
    let schema = spec_schema(kind);
    let mut structure = Structure::new("spec", problems);
    structure.walk(schema, &spec, &path);
    let (damaged, unknown) = (structure.damaged, structure.unknown);
    let hidden = repair::repair(&mut spec, schema, &damaged, &unknown);
    let spec: TracingPolicySpec = match serde_json::from_value(spec) {
        Ok(spec) => spec,
        Err(error) => {
            // What the schema accepts deserialises; should the two ever disagree, the policy is refused.
            problems.error(Code::Malformed, &path, error.to_string());
            return None;
        }
    };
    let unnamed = PolicyKey { namespace: None, name: String::new() };
    let mut semantic = Problems::default();
    let sound = damaged.is_empty() && unknown.is_empty();
    let policy = policy::check(kind, key.unwrap_or(&unnamed), &spec, sound, &mut semantic);
    let visible = |diagnostic: &Diagnostic| !hidden.covers(diagnostic);
    problems.extend(semantic.into_diagnostics().into_iter().filter(visible));
    key.map(|_| policy)
}

fn spec_schema(kind: PolicyKind) -> &'static Value {
    static CLUSTER: OnceLock<Value> = OnceLock::new();
    static NAMESPACED: OnceLock<Value> = OnceLock::new();
    let schema = match kind {
        PolicyKind::Cluster => &CLUSTER,
        PolicyKind::Namespaced => &NAMESPACED,
    };
    schema.get_or_init(|| kind.spec_schema())
}
