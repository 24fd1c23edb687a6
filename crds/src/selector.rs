//! In: the filters of the policy language. Out: `selectors` of hooks and `selectorsMacros`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::action::ActionSpec;
use crate::operator::{ArgOperator, BinaryOperator, SetOperator};
use crate::workload::WorkloadSelector;

closed_set! {
    /// Kinds of namespaces.
    NamespaceKind {
        /// Host name.
        Uts = "Uts",
        /// Inter-process communication.
        Ipc = "Ipc",
        /// Mounts.
        Mnt = "Mnt",
        /// Process ids.
        Pid = "Pid",
        /// Process ids that children get.
        PidForChildren = "PidForChildren",
        /// Network.
        Net = "Net",
        /// Clocks.
        Time = "Time",
        /// Clocks that children get.
        TimeForChildren = "TimeForChildren",
        /// Control groups.
        Cgroup = "Cgroup",
        /// Users.
        User = "User",
    }
}

closed_set! {
    /// A set of capabilities of a process.
    #[derive(Default)]
    CapabilitySetKind {
        /// The capabilities in force.
        #[default]
        Effective = "Effective",
        /// Those kept over an exec.
        Inheritable = "Inheritable",
        /// Those that may be put in force.
        Permitted = "Permitted",
    }
}

/// Filters, all of which must pass, and what to do then. The first matching selector of a hook is the one
/// that acts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SelectorSpec {
    /// Name shown in statistics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Names in `spec.selectorsMacros` whose filters are added to this selector.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macros: Vec<String>,
    /// Conditions on arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_args: Vec<ArgFilter>,
    /// Conditions on entries of the hook's `data`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_data: Vec<ArgFilter>,
    /// Conditions on the return value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_return_args: Vec<ArgFilter>,
    /// What to do; `Post` if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_actions: Vec<ActionSpec>,
    /// What to do when the function returns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_return_actions: Vec<ActionSpec>,
    /// Condition on the process's executable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1))]
    pub match_binaries: Vec<BinaryFilter>,
    /// Condition on the parent process's executable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1))]
    pub match_parent_binaries: Vec<BinaryFilter>,
    /// Conditions on the process id.
    #[serde(default, rename = "matchPIDs", skip_serializing_if = "Vec::is_empty")]
    pub match_pids: Vec<PidFilter>,
    /// Conditions on the process's namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_namespaces: Vec<NamespaceFilter>,
    /// Namespaces that changed since the process was executed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_namespace_changes: Vec<NamespaceChangeFilter>,
    /// Conditions on the process's capabilities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_capabilities: Vec<CapabilityFilter>,
    /// Capabilities that changed since the process was executed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_capability_changes: Vec<CapabilityFilter>,
    /// Workloads to which this selector applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_workloads: Option<WorkloadSelector>,
}

/// Condition on one argument.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArgFilter {
    /// Positions in the hook's `args`; used in place of `index` when not empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(range(min = 0)))]
    pub args: Vec<i32>,
    /// The argument whose `index` is this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub index: Option<i32>,
    /// How the values are compared.
    pub operator: ArgOperator,
    /// What the argument is compared with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// Condition on an executable's path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BinaryFilter {
    /// How the path is compared.
    pub operator: BinaryOperator,
    /// Absolute paths, or parts of paths.
    pub values: Vec<String>,
    /// Descendants of a matching process match too.
    #[serde(default)]
    pub follow_children: bool,
}

/// Condition on the process id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PidFilter {
    /// How the id is compared.
    pub operator: SetOperator,
    /// Process ids.
    pub values: Vec<i32>,
    /// Descendants of a listed process count as listed.
    #[serde(default)]
    pub follow_forks: bool,
    /// Compare the id inside the process's own pid namespace.
    #[serde(default, rename = "isNamespacePID")]
    pub is_namespace_pid: bool,
}

/// Condition on one namespace of the process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceFilter {
    /// Kind of namespace.
    pub namespace: NamespaceKind,
    /// How it is compared.
    pub operator: SetOperator,
    /// Inode numbers, or `host_ns`.
    pub values: Vec<String>,
}

/// Condition on namespaces that changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceChangeFilter {
    /// Which of the kinds are looked at.
    pub operator: SetOperator,
    /// Kinds of namespaces.
    pub values: Vec<String>,
}

/// Condition on a capability set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapabilityFilter {
    /// Which set.
    #[serde(default, rename = "type")]
    pub set: CapabilitySetKind,
    /// Has any, or none, of the listed capabilities.
    pub operator: SetOperator,
    /// Only for processes outside the host's user namespace.
    #[serde(default)]
    pub is_namespace_capability: bool,
    /// Names of capabilities.
    pub values: Vec<String>,
}
