//! In: the actions of the policy language. Out: `matchActions` and `matchReturnActions`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

closed_set! {
    /// What to do when a selector matches.
    ActionKind {
        /// Emit an event.
        Post = "Post",
        /// Kill the current process.
        Sigkill = "Sigkill",
        /// Replace the function's result, or redirect a user function.
        Override = "Override",
        /// Fetch a URL from the agent.
        GetUrl = "GetUrl",
        /// Resolve a name from the agent.
        DnsLookup = "DnsLookup",
        /// Do not emit an event.
        NoPost = "NoPost",
        /// Send a signal to the current process.
        Signal = "Signal",
        /// Remember which process owns a socket.
        TrackSock = "TrackSock",
        /// Forget which process owns a socket.
        UntrackSock = "UntrackSock",
        /// Let an enforcer act on the current system call.
        NotifyEnforcer = "NotifyEnforcer",
        /// Withdraw what an enforcer was told.
        CleanupEnforcerNotification = "CleanupEnforcerNotification",
        /// Write a value to a static probe's argument.
        Set = "Set",
    }
}

/// One action with its parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!(has(self.argNewSymbol) && has(self.argNewAddr)) && !(has(self.argNewSymbol) && has(self.argNewOffset)) && !(has(self.argNewAddr) && has(self.argNewOffset))",
    "message": "only one of argNewSymbol, argNewAddr and argNewOffset may be set"
}]))]
pub struct ActionSpec {
    /// What to do.
    pub action: ActionKind,
    /// Override, NotifyEnforcer: the value to return, a negative errno.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_error: Option<i32>,
    /// DnsLookup: the name to resolve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_fqdn: Option<String>,
    /// Set: index of the argument to write to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_index: Option<i32>,
    /// Override of a user function: address to continue at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_new_addr: Option<i64>,
    /// Override of a user function: file offset to continue at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_new_offset: Option<i64>,
    /// Override of a user function: symbol to continue at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_new_symbol: Option<String>,
    /// Override of a user function: register assignments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arg_regs: Vec<String>,
    /// Signal, NotifyEnforcer: signal number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_sig: Option<i32>,
    /// TrackSock, UntrackSock: index of the socket argument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_sock: Option<i32>,
    /// GetUrl: the URL to fetch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_url: Option<String>,
    /// Set: the value to write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg_value: Option<i32>,
    /// Post from an LSM hook: add the file's measured hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ima_hash: Option<bool>,
    /// Post: add the kernel stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_stack_trace: Option<bool>,
    /// Post: at most one event per this interval, such as `5s`, `1m` or `2h`; seconds if without a unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<String>,
    /// Post: what shares one rate limit: `thread` (default), `process` or `global`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit_scope: Option<String>,
    /// Post: add the user stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_stack_trace: Option<bool>,
}
