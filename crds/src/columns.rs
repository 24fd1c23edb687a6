//! In: the fields of the `status` subresource. Out: what `kubectl get` shows of a policy.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition,
};

/// Columns: name, type, where the value is, and whether only `-o wide` shows it.
const COLUMNS: [(&str, &str, &str, bool); 8] = [
    ("Mode", "string", ".status.mode", false),
    ("Ready", "string", ".status.conditions[?(@.type=='Ready')].status", false),
    ("Nodes", "string", ".status.nodes.summary", false),
    ("Hooks", "integer", ".status.hooks", false),
    ("Matches", "integer", ".status.matches", true),
    ("Enforced", "integer", ".status.enforced", true),
    ("Message", "string", ".status.conditions[?(@.type=='Ready')].message", true),
    ("Age", "date", ".metadata.creationTimestamp", false),
];

/// The definition with the columns.
pub(crate) fn with_columns(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let column = |(name, kind, json_path, wide): (&str, &str, &str, bool)| CustomResourceColumnDefinition {
        name: name.to_owned(),
        type_: kind.to_owned(),
        json_path: json_path.to_owned(),
        priority: wide.then_some(1),
        ..Default::default()
    };
    for version in &mut definition.spec.versions {
        version.additional_printer_columns = Some(COLUMNS.into_iter().map(column).collect());
    }
    definition
}
