//! In: the policy language's named lists, enforcers and options. Out: the `spec` of both kinds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

closed_set! {
    /// What a list holds.
    ListKind {
        /// System calls named in `values`.
        Syscalls = "syscalls",
        /// All system calls of the kernel.
        GeneratedSyscalls = "generated_syscalls",
        /// All traceable functions that match `pattern`.
        GeneratedFtrace = "generated_ftrace",
    }
}

/// A named list of functions, referred to as `list:NAME`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListSpec {
    /// Name of the list.
    pub name: String,
    /// What it holds; plain function names if absent.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<ListKind>,
    /// Its members, for lists that are not generated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Regular expression that selects the members of a `generated_ftrace` list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// The members are known to exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validated: Option<bool>,
}

/// Functions on which `NotifyEnforcer` acts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnforcerSpec {
    /// System calls, `security_` functions or `list:NAME`.
    pub calls: Vec<String>,
}

/// One option of a policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OptionSpec {
    /// Name of the option, such as `policy-mode`.
    pub name: String,
    /// Its value.
    pub value: String,
}
