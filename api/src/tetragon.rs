//! In: events on the agent's side, requests and events on the client's. Out: the gRPC service that existing clients
//! of this event API know, and the way from [`Event`](crate::event::Event) to its messages and back.
//!
//! Package and names are those of that API, because they are part of the paths that its clients call.

mod argument;
#[cfg(feature = "grpc")]
mod codec;
mod decode;
mod encode;
mod event;
mod process;
mod request;

pub use argument::{
    Arg, KprobeArgument, KprobeCapability, KprobeError, KprobeLinuxBinprm, KprobePath, KprobeSkb, KprobeSock,
    KprobeSockaddr, KprobeTruncatedBytes, SyscallId,
};
#[cfg(feature = "grpc")]
pub use codec::{EncodedEvent, EventCodec};
pub use decode::{Received, UnknownPart};
pub use encode::{encode, loss};
pub use event::{
    EventBody, GetEventsResponse, ProcessExec, ProcessExit, ProcessKprobe, ProcessLsm, ProcessTracepoint,
    RateLimitInfo,
};
pub use process::{
    Capabilities, Container, EnvVar, Image, Namespace, Namespaces, Pod, Process, ProcessCredentials,
    SecurityContext, Timestamp, UserNamespace, UserRecord,
};
pub use request::{
    AggregationOptions, CapFilter, CapFilterSet, FieldFilter, Filter, GetEventsRequest,
    GetHealthStatusRequest, GetHealthStatusResponse, GetVersionRequest, GetVersionResponse, HealthStatus,
    HealthStatusResult, HealthStatusType,
};

#[cfg(feature = "grpc")]
include!(concat!(env!("OUT_DIR"), "/tetragon.client.rs"));
#[cfg(feature = "grpc")]
include!(concat!(env!("OUT_DIR"), "/tetragon.server.rs"));

/// Where the agent serves its events, if nothing else is said.
pub const SOCKET: &str = "/var/run/ferragon/ferragon.sock";
/// Bytes of a request: filters are a few strings.
pub const REQUEST_MAX: usize = 256 * 1024;
