//! In: events. Out: their protobuf messages, with the protocol's field numbers.

use prost::{Message, Oneof};

use super::argument::KprobeArgument;
use super::process::{Process, Timestamp};

/// One event, as the stream of `GetEvents` carries it.
#[derive(Clone, PartialEq, Message)]
pub struct GetEventsResponse {
    /// What happened; `None` if it is an event that this version does not know.
    #[prost(oneof = "EventBody", tags = "1, 5, 9, 10, 28, 40001")]
    pub event: Option<EventBody>,
    /// Node that saw it.
    #[prost(string, tag = "1000")]
    pub node_name: String,
    /// When the kernel saw it.
    #[prost(message, optional, tag = "1001")]
    pub time: Option<Timestamp>,
}

/// What happened.
#[derive(Clone, PartialEq, Oneof)]
pub enum EventBody {
    /// A process image started.
    #[prost(message, tag = "1")]
    ProcessExec(ProcessExec),
    /// A process ended.
    #[prost(message, tag = "5")]
    ProcessExit(ProcessExit),
    /// A function was called.
    #[prost(message, tag = "9")]
    ProcessKprobe(ProcessKprobe),
    /// A tracepoint was hit.
    #[prost(message, tag = "10")]
    ProcessTracepoint(ProcessTracepoint),
    /// An LSM hook was called.
    #[prost(message, tag = "28")]
    ProcessLsm(ProcessLsm),
    /// Events are missing here.
    #[prost(message, tag = "40001")]
    RateLimitInfo(RateLimitInfo),
}

/// A process image started.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ProcessExec {
    /// The new image.
    #[prost(message, optional, tag = "1")]
    pub process: Option<Process>,
    /// Its parent.
    #[prost(message, optional, tag = "2")]
    pub parent: Option<Process>,
    /// The parent's parent and so on.
    #[prost(message, repeated, tag = "3")]
    pub ancestors: Vec<Process>,
}

/// A process ended.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ProcessExit {
    /// The image that ended.
    #[prost(message, optional, tag = "1")]
    pub process: Option<Process>,
    /// Its parent.
    #[prost(message, optional, tag = "2")]
    pub parent: Option<Process>,
    /// Name of the signal that terminated it.
    #[prost(string, tag = "3")]
    pub signal: String,
    /// Exit code.
    #[prost(uint32, tag = "4")]
    pub status: u32,
    /// When it ended.
    #[prost(message, optional, tag = "5")]
    pub time: Option<Timestamp>,
    /// The parent's parent and so on.
    #[prost(message, repeated, tag = "6")]
    pub ancestors: Vec<Process>,
}

/// A function was called. Actions are `KprobeAction`.
#[derive(Clone, PartialEq, Message)]
pub struct ProcessKprobe {
    /// The calling process.
    #[prost(message, optional, tag = "1")]
    pub process: Option<Process>,
    /// Its parent.
    #[prost(message, optional, tag = "2")]
    pub parent: Option<Process>,
    /// The function.
    #[prost(string, tag = "3")]
    pub function_name: String,
    /// Arguments.
    #[prost(message, repeated, tag = "4")]
    pub args: Vec<KprobeArgument>,
    /// Return value.
    #[prost(message, optional, tag = "5")]
    pub r#return: Option<KprobeArgument>,
    /// Last action.
    #[prost(uint32, tag = "6")]
    pub action: u32,
    /// Policy.
    #[prost(string, tag = "8")]
    pub policy_name: String,
    /// Last action at return.
    #[prost(uint32, tag = "9")]
    pub return_action: u32,
    /// `message` of the policy.
    #[prost(string, tag = "10")]
    pub message: String,
    /// `tags` of the policy.
    #[prost(string, repeated, tag = "11")]
    pub tags: Vec<String>,
    /// The parent's parent and so on.
    #[prost(message, repeated, tag = "13")]
    pub ancestors: Vec<Process>,
}

/// A tracepoint was hit.
#[derive(Clone, PartialEq, Message)]
pub struct ProcessTracepoint {
    /// The calling process.
    #[prost(message, optional, tag = "1")]
    pub process: Option<Process>,
    /// Its parent.
    #[prost(message, optional, tag = "2")]
    pub parent: Option<Process>,
    /// Subsystem.
    #[prost(string, tag = "4")]
    pub subsys: String,
    /// Tracepoint.
    #[prost(string, tag = "5")]
    pub event: String,
    /// Arguments.
    #[prost(message, repeated, tag = "6")]
    pub args: Vec<KprobeArgument>,
    /// Policy.
    #[prost(string, tag = "7")]
    pub policy_name: String,
    /// Last action.
    #[prost(uint32, tag = "8")]
    pub action: u32,
    /// `message` of the policy.
    #[prost(string, tag = "9")]
    pub message: String,
    /// `tags` of the policy.
    #[prost(string, repeated, tag = "10")]
    pub tags: Vec<String>,
    /// The parent's parent and so on.
    #[prost(message, repeated, tag = "11")]
    pub ancestors: Vec<Process>,
}

/// An LSM hook was called.
#[derive(Clone, PartialEq, Message)]
pub struct ProcessLsm {
    /// The calling process.
    #[prost(message, optional, tag = "1")]
    pub process: Option<Process>,
    /// Its parent.
    #[prost(message, optional, tag = "2")]
    pub parent: Option<Process>,
    /// The hook.
    #[prost(string, tag = "3")]
    pub function_name: String,
    /// Policy.
    #[prost(string, tag = "5")]
    pub policy_name: String,
    /// `message` of the policy.
    #[prost(string, tag = "6")]
    pub message: String,
    /// Arguments.
    #[prost(message, repeated, tag = "7")]
    pub args: Vec<KprobeArgument>,
    /// Last action.
    #[prost(uint32, tag = "8")]
    pub action: u32,
    /// `tags` of the policy.
    #[prost(string, repeated, tag = "9")]
    pub tags: Vec<String>,
    /// The parent's parent and so on.
    #[prost(message, repeated, tag = "10")]
    pub ancestors: Vec<Process>,
}

/// Events are missing here, because the reader is slower than they come.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RateLimitInfo {
    /// How many.
    #[prost(uint64, tag = "1")]
    pub number_of_dropped_process_events: u64,
}
