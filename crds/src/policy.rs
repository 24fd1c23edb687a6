//! In: hooks, selectors and lists. Out: the two kinds, `TracingPolicy` and `TracingPolicyNamespaced`.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hook::{KprobeSpec, LsmHookSpec, TracepointSpec, UprobeSpec, UsdtSpec};
use crate::list::{EnforcerSpec, ListSpec, OptionSpec};
use crate::selector::SelectorSpec;
use crate::status::TracingPolicyStatus;
use crate::workload::LabelSelector;

/// What to observe, on which workloads, and what to do about it. Exactly one hook section may be used.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cilium.io",
    version = "v1alpha1",
    kind = "TracingPolicy",
    plural = "tracingpolicies",
    singular = "tracingpolicy",
    shortname = "tgtp",
    category = "tetragon",
    status = "TracingPolicyStatus",
    derive = "PartialEq",
    doc = "A policy for the host and the pods of all namespaces."
)]
#[serde(rename_all = "camelCase")]
pub struct TracingPolicySpec {
    /// Kernel functions, observed by kprobes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kprobes: Vec<KprobeSpec>,
    /// Kernel functions, observed by trampolines; no enforcement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fentries: Vec<KprobeSpec>,
    /// Kernel tracepoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tracepoints: Vec<TracepointSpec>,
    /// Functions of programs and libraries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uprobes: Vec<UprobeSpec>,
    /// Static probes of programs and libraries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usdts: Vec<UsdtSpec>,
    /// Hooks of the Linux security module interface.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lsmhooks: Vec<LsmHookSpec>,
    /// Report executable files that processes map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader: Option<bool>,
    /// Named lists of functions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<ListSpec>,
    /// Functions on which `NotifyEnforcer` acts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enforcers: Vec<EnforcerSpec>,
    /// Options of this policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<OptionSpec>,
    /// Pods to which the policy applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// Containers to which the policy applies, by the keys `name` and `repo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_selector: Option<LabelSelector>,
    /// `{}` makes the policy apply to processes of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "!has(self.matchLabels) && !has(self.matchExpressions)",
        "message": "hostSelector may only be {}"
    }]))]
    pub host_selector: Option<LabelSelector>,
    /// Nodes to which the policy applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
    /// Parts of selectors, to be used by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selectors_macros: BTreeMap<String, SelectorSpec>,
}

/// The same specification for the pods of one namespace.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cilium.io",
    version = "v1alpha1",
    kind = "TracingPolicyNamespaced",
    namespaced,
    plural = "tracingpoliciesnamespaced",
    singular = "tracingpolicynamespaced",
    shortname = "tgtpn",
    category = "tetragon",
    status = "TracingPolicyStatus",
    derive = "PartialEq",
    doc = "A policy for the pods of its own namespace."
)]
#[serde(transparent)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.hostSelector)",
    "message": "a namespaced policy never applies to the host"
}]))]
pub struct TracingPolicyNamespacedSpec(pub TracingPolicySpec);
