//! In: what a client asks the event service for. Out: its protobuf messages, with the protocol's field numbers.
//!
//! Filters have all fields of the protocol, those that this version does not implement too: a condition that is not
//! known would be a condition that is not applied. The check is in `crate::filter`.

use prost::{Enumeration, Message};

/// Which events to send, and what of them.
#[derive(Clone, PartialEq, Message)]
pub struct GetEventsRequest {
    /// An event passes if one of them matches, or if there are none.
    #[prost(message, repeated, tag = "1")]
    pub allow_list: Vec<Filter>,
    /// And if none of these matches.
    #[prost(message, repeated, tag = "2")]
    pub deny_list: Vec<Filter>,
    /// Not implemented.
    #[prost(message, optional, tag = "3")]
    pub aggregation_options: Option<AggregationOptions>,
    /// Not implemented.
    #[prost(message, repeated, tag = "4")]
    pub field_filters: Vec<FieldFilter>,
}

/// Conditions. All that are given must hold; of several values in one condition, one must.
#[derive(Clone, PartialEq, Message)]
pub struct Filter {
    /// Regular expressions for the binary.
    #[prost(string, repeated, tag = "1")]
    pub binary_regex: Vec<String>,
    /// Namespaces of pods; empty for events without a pod.
    #[prost(string, repeated, tag = "2")]
    pub namespace: Vec<String>,
    /// Whether the command equals one of its container's exec probes.
    #[prost(message, optional, tag = "3")]
    pub health_check: Option<bool>,
    /// Process ids.
    #[prost(uint32, repeated, tag = "4")]
    pub pid: Vec<u32>,
    /// Not implemented.
    #[prost(uint32, repeated, tag = "5")]
    pub pid_set: Vec<u32>,
    /// `EventType` numbers.
    #[prost(int32, repeated, tag = "6")]
    pub event_set: Vec<i32>,
    /// Regular expressions for the pod's name.
    #[prost(string, repeated, tag = "7")]
    pub pod_regex: Vec<String>,
    /// Regular expressions for the arguments.
    #[prost(string, repeated, tag = "8")]
    pub arguments_regex: Vec<String>,
    /// Label selectors for the pod.
    #[prost(string, repeated, tag = "9")]
    pub labels: Vec<String>,
    /// Policies.
    #[prost(string, repeated, tag = "10")]
    pub policy_names: Vec<String>,
    /// Capabilities of the process.
    #[prost(message, optional, tag = "11")]
    pub capabilities: Option<CapFilter>,
    /// Regular expressions for the parent's binary.
    #[prost(string, repeated, tag = "12")]
    pub parent_binary_regex: Vec<String>,
    /// Not implemented.
    #[prost(string, repeated, tag = "13")]
    pub cel_expression: Vec<String>,
    /// Regular expressions for the parent's arguments.
    #[prost(string, repeated, tag = "14")]
    pub parent_arguments_regex: Vec<String>,
    /// Regular expressions for the container's id.
    #[prost(string, repeated, tag = "15")]
    pub container_id: Vec<String>,
    /// Whether it descends from its container's first process.
    #[prost(message, optional, tag = "16")]
    pub in_init_tree: Option<bool>,
    /// Not implemented.
    #[prost(string, repeated, tag = "17")]
    pub ancestor_binary_regex: Vec<String>,
    /// Regular expressions for the container's name.
    #[prost(string, repeated, tag = "18")]
    pub container_name_regex: Vec<String>,
    /// Regular expressions for the pod's namespace.
    #[prost(string, repeated, tag = "19")]
    pub namespace_regex: Vec<String>,
}

/// Conditions on capability sets; all must hold.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CapFilter {
    /// Of the permitted set.
    #[prost(message, optional, tag = "1")]
    pub permitted: Option<CapFilterSet>,
    /// Of the effective set.
    #[prost(message, optional, tag = "2")]
    pub effective: Option<CapFilterSet>,
    /// Of the inheritable set.
    #[prost(message, optional, tag = "3")]
    pub inheritable: Option<CapFilterSet>,
}

/// Conditions on one capability set; all that are not empty must hold. Lists of `CapabilitiesType`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CapFilterSet {
    /// One of these is in it.
    #[prost(int32, repeated, tag = "1")]
    pub any: Vec<i32>,
    /// All of these are in it.
    #[prost(int32, repeated, tag = "2")]
    pub all: Vec<i32>,
    /// These are in it and no others.
    #[prost(int32, repeated, tag = "3")]
    pub exactly: Vec<i32>,
    /// None of these is in it.
    #[prost(int32, repeated, tag = "4")]
    pub none: Vec<i32>,
}

/// Which fields of events to send. Not implemented.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct FieldFilter {
    /// `EventType` numbers.
    #[prost(int32, repeated, tag = "1")]
    pub event_set: Vec<i32>,
}

/// How to put events together. Not implemented.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct AggregationOptions {
    /// Events to hold back.
    #[prost(uint64, tag = "2")]
    pub channel_buffer_size: u64,
}

/// Asks for the version.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct GetVersionRequest {}

/// The version of the agent.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetVersionResponse {
    /// E.g. `0.1.0`.
    #[prost(string, tag = "1")]
    pub version: String,
}

/// Asks for the state of the agent.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetHealthStatusRequest {
    /// Which aspects; empty for all.
    #[prost(enumeration = "HealthStatusType", repeated, tag = "1")]
    pub event_set: Vec<i32>,
}

/// The state of the agent.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetHealthStatusResponse {
    /// By aspect.
    #[prost(message, repeated, tag = "1")]
    pub health_status: Vec<HealthStatus>,
}

/// One aspect of the state.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct HealthStatus {
    /// Which.
    #[prost(enumeration = "HealthStatusType", tag = "1")]
    pub event: i32,
    /// How it is.
    #[prost(enumeration = "HealthStatusResult", tag = "2")]
    pub status: i32,
    /// In words.
    #[prost(string, tag = "3")]
    pub details: String,
}

/// Aspects of the agent's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum HealthStatusType {
    /// None.
    Undef = 0,
    /// Whether it runs.
    Status = 1,
}

/// How an aspect is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum HealthStatusResult {
    /// Not known.
    Undef = 0,
    /// It runs.
    Running = 1,
    /// It does not run.
    Stopped = 2,
    /// It does not work.
    Error = 3,
}
