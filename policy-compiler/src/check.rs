//! In: the text of policy files, or policies as the API server hands them out. Out: typed policies and
//! diagnostics.
//!
//! Guarantees: every problem of a document is reported, each with the path of its field; nothing that this
//! version does not implement is ignored; no input makes it panic or take memory beyond a small multiple of its
//! bounded size. A field that is wrong by the schema hides only what cannot be judged without it: its selector,
//! or else its hook.

mod action;
mod address;
mod argument;
mod capability;
mod document;
mod field;
mod filter;
mod hook;
mod integer;
mod kind;
mod lint;
mod operator;
mod options;
mod path;
mod policy;
mod problems;
mod process;
mod repair;
mod selector;
mod socket;
mod structure;
mod text;
mod tree;
mod workload;

pub use field::fits_field;
pub(crate) use integer::merge;

use crds::TracingPolicySpec;
use crds::manifest::PolicyKind;

use crate::diagnostic::Diagnostic;
use crate::typed::{PolicyKey, TypedPolicy};

/// Largest input in bytes. API servers refuse objects of more than about 1.5 MiB.
pub const INPUT_LIMIT: usize = 1 << 20;

/// What is known of one document of a policy file.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// Line in the file, counted from 1, at which the document begins.
    pub line: usize,
    /// Kind, if the document tells a known one.
    pub kind: Option<PolicyKind>,
    /// Identity, if the document has a usable name.
    pub key: Option<PolicyKey>,
    /// The policy; present exactly when no diagnostic is an error.
    pub policy: Option<TypedPolicy>,
    /// Errors and warnings, in the order of the fields.
    pub diagnostics: Vec<Diagnostic>,
}

/// Checks all documents of a YAML text. The result has at least one element: a text without any document is an
/// error.
pub fn check_yaml(text: &str) -> Vec<Checked> {
    document::split(text).into_iter().map(kind::check_document).collect()
}

/// Checks a document that is parsed already, such as an object from the API server or from its admission review.
pub fn check_object(object: serde_json::Value) -> Checked {
    kind::check_document(document::Document { line: 1, content: Ok(object) })
}

/// Checks a specification that is already deserialised, such as one from the API server.
///
/// The namespace in `key` must be present exactly for [`PolicyKind::Namespaced`].
pub fn check_spec(kind: PolicyKind, key: PolicyKey, spec: &TracingPolicySpec) -> Checked {
    let mut problems = problems::Problems::default();
    kind::check_key(kind, &key, &mut problems);
    let policy = policy::check(kind, &key, spec, true, &mut problems);
    problems.conclude(1, Some(kind), Some(key), Some(policy))
}
