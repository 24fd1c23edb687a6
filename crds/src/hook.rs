//! In: the hook sections of the policy language. Out: the `spec` of both kinds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::argument::ArgSpec;
use crate::selector::SelectorSpec;

fn yes() -> bool {
    true
}

/// A kernel function, in `kprobes` and `fentries`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.return) || (!self.return || has(self.returnArg))",
    "message": "return needs returnArg"
}]))]
pub struct KprobeSpec {
    /// Name of the function, or `list:NAME`.
    pub call: String,
    /// The function is a system call, such as `sys_openat`.
    #[serde(default = "yes")]
    pub syscall: bool,
    /// Also observe the return of the function.
    #[serde(default, rename = "return")]
    pub returns: bool,
    /// Type of the return value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_arg: Option<ArgSpec>,
    /// Action on the returned value: `TrackSock` or `UntrackSock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_arg_action: Option<String>,
    /// Arguments to read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<ArgSpec>,
    /// Values to read that are not arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<ArgSpec>,
    /// Failures to tolerate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore: Option<KprobeIgnore>,
    /// Short text shown with each event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Tags shown with each event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tags: Vec<String>,
    /// Which calls matter and what to do; the first that matches acts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selectors: Vec<SelectorSpec>,
}

/// Failures of a kernel function hook that do not refuse the policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KprobeIgnore {
    /// Leave the hook out if the kernel has no such function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_not_found: Option<bool>,
}

/// A kernel tracepoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TracepointSpec {
    /// Subsystem, such as `raw_syscalls`.
    pub subsystem: String,
    /// Event, such as `sys_enter`.
    pub event: String,
    /// Read the tracepoint's own parameters in place of its formatted fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<bool>,
    /// Fields or parameters to read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<ArgSpec>,
    /// Short text shown with each event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Tags shown with each event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tags: Vec<String>,
    /// Which events matter and what to do; the first that matches acts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selectors: Vec<SelectorSpec>,
}

/// A function of a program or library.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!(has(self.symbols) && has(self.addrs)) && !(has(self.symbols) && has(self.offsets)) && !(has(self.addrs) && has(self.offsets))",
        "message": "only one of symbols, offsets and addrs may be set"
    },
    {
        "rule": "!has(self.return) || (!self.return || has(self.returnArg))",
        "message": "return needs returnArg"
    }
]))]
pub struct UprobeSpec {
    /// The ELF file.
    pub path: String,
    /// Functions by name, or `name+offset`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub symbols: Vec<String>,
    /// Functions by offset in the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offsets: Vec<i64>,
    /// Functions by virtual address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addrs: Vec<i64>,
    /// Offsets of reference counters, one per function.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ref_ctr_offsets: Vec<i64>,
    /// Accepted digests of the file, as `ALGORITHM:HEX`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub binary_digests: Vec<String>,
    /// File with the program's type information.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub btf_path: Option<String>,
    /// Also observe the return of the function.
    #[serde(default, rename = "return")]
    pub returns: bool,
    /// Type of the return value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_arg: Option<ArgSpec>,
    /// Arguments to read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<ArgSpec>,
    /// Values to read that are not arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<ArgSpec>,
    /// Failures to tolerate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore: Option<UprobeIgnore>,
    /// Short text shown with each event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Tags shown with each event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tags: Vec<String>,
    /// Which calls matter and what to do; the first that matches acts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selectors: Vec<SelectorSpec>,
}

/// Failures of a user function hook that do not refuse the policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UprobeIgnore {
    /// Leave the hook out if no digest fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_verification_failure: Option<bool>,
}

/// A static probe in a program or library.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsdtSpec {
    /// The ELF file.
    pub path: String,
    /// Provider of the probe.
    pub provider: String,
    /// Name of the probe.
    pub name: String,
    /// File with the program's type information.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub btf_path: Option<String>,
    /// Arguments to read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<ArgSpec>,
    /// Short text shown with each event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Tags shown with each event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tags: Vec<String>,
    /// Which hits matter and what to do; the first that matches acts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selectors: Vec<SelectorSpec>,
}

/// A hook of the Linux security module interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LsmHookSpec {
    /// Name without prefix, such as `file_open`.
    pub hook: String,
    /// Arguments to read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<ArgSpec>,
    /// Short text shown with each event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Tags shown with each event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tags: Vec<String>,
    /// Which calls matter and what to do; the first that matches acts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selectors: Vec<SelectorSpec>,
}
