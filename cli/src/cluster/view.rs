//! In: a policy object, of any shape. Out: what people are shown of it.

use crds::status::{ConditionType, PolicyCondition, TracingPolicyStatus};
use kube::core::DynamicObject;

/// A policy with its status.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyView {
    /// `TracingPolicy` or `TracingPolicyNamespaced`.
    pub kind: String,
    /// Empty for cluster-wide policies.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// When it was made, in seconds since 1970.
    pub created: Option<i64>,
    /// Empty if the operator has not written one yet.
    pub status: TracingPolicyStatus,
    /// Why the status could not be read, if so.
    pub unreadable: Option<String>,
}

impl PolicyView {
    /// Reads an object.
    pub fn of(object: &DynamicObject) -> PolicyView {
        let read = match object.data.get("status") {
            None => Ok(TracingPolicyStatus::default()),
            Some(status) => serde_json::from_value(status.clone()),
        };
        let (status, unreadable) = match read {
            Ok(status) => (status, None),
            Err(error) => {
                (TracingPolicyStatus::default(), Some(format!("its status cannot be read: {error}")))
            }
        };
        let metadata = &object.metadata;
        PolicyView {
            kind: object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            generation: metadata.generation,
            created: metadata.creation_timestamp.as_ref().map(|time| time.0.as_second()),
            status,
            unreadable,
        }
    }

    /// The summary of its conditions.
    pub fn ready(&self) -> Option<&PolicyCondition> {
        self.status.conditions.iter().find(|condition| condition.kind == ConditionType::Ready)
    }
}
