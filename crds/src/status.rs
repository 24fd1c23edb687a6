//! In: what the operator knows about a policy on all nodes. Out: the `status` subresource of both kinds.
//!
//! Its size does not grow with the number of nodes: counts, groups by kernel, and a few failing nodes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// At most this many failing nodes are listed.
pub const FAILING_NODES: usize = 5;

closed_set! {
    /// What a condition is about.
    ConditionType {
        /// The policy parses, is well-typed and within the limits.
        Accepted = "Accepted",
        /// The policy compiles for every kernel of the selected nodes.
        Compatible = "Compatible",
        /// The selected nodes run this generation.
        Programmed = "Programmed",
        /// Enforcement actions act.
        Enforcing = "Enforcing",
        /// Summary of all.
        Ready = "Ready",
        /// Work is going on.
        Reconciling = "Reconciling",
        /// Work stopped and someone must act.
        Stalled = "Stalled",
    }
}

closed_set! {
    /// Whether a condition holds.
    ConditionStatus {
        /// It holds.
        True = "True",
        /// It does not hold.
        False = "False",
        /// Not known yet.
        Unknown = "Unknown",
    }
}

closed_set! {
    /// Why a condition is as it is.
    ConditionReason {
        /// The policy is valid.
        Valid = "Valid",
        /// The policy has errors; the message names them.
        Invalid = "Invalid",
        /// The policy asks for something that this version does not implement.
        Unsupported = "Unsupported",
        /// Every kernel can run it.
        AllKernels = "AllKernels",
        /// Some kernel cannot run it; the message names which and why.
        KernelIncompatible = "KernelIncompatible",
        /// All selected nodes run this generation.
        AllNodes = "AllNodes",
        /// Some node could not load it.
        NodeFailed = "NodeFailed",
        /// Nodes have not answered yet.
        Pending = "Pending",
        /// No node is selected.
        NoNodes = "NoNodes",
        /// Enforcement actions act.
        EnforceMode = "EnforceMode",
        /// Enforcement actions are only counted.
        MonitorMode = "MonitorMode",
        /// The policy has no enforcement action.
        ObserveOnly = "ObserveOnly",
        /// Everything is as asked.
        Ready = "Ready",
        /// Nothing is left to do.
        Settled = "Settled",
    }
}

/// One aspect of the state of a policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyCondition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why.
    pub reason: ConditionReason,
    /// The same in words that tell what to do.
    pub message: String,
    /// The `metadata.generation` that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When `status` last changed.
    #[schemars(schema_with = "date_time")]
    pub last_transition_time: Time,
}

fn date_time(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "format": "date-time" })
}

/// How many nodes are in which state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeCounts {
    /// Nodes that the policy selects.
    pub desired: i64,
    /// Of these, nodes that run this generation.
    pub programmed: i64,
    /// Of these, nodes that could not load it.
    pub failed: i64,
    /// `programmed/desired`, for display.
    pub summary: String,
}

/// State on all nodes of one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KernelGroup {
    /// Kernel release.
    pub release: String,
    /// Nodes with this kernel that the policy selects.
    pub nodes: i64,
    /// Of these, nodes that run this generation.
    pub programmed: i64,
    /// How each hook is attached there, or why it cannot be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A node that could not load the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailingNode {
    /// Name of the node.
    pub name: String,
    /// What failed there.
    pub message: String,
}

/// What is known about a policy on all nodes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TracingPolicyStatus {
    /// The `metadata.generation` that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One entry per type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<PolicyCondition>,
    /// Mode in force: `enforce` or `monitor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Number of hooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<i64>,
    /// How many nodes are in which state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,
    /// State by kernel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<KernelGroup>,
    /// The first failing nodes by name, at most five.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub failing_nodes: Vec<FailingNode>,
    /// Calls that matched a selector, on all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<i64>,
    /// Enforcement actions taken, on all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforced: Option<i64>,
}
