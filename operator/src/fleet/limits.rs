//! In: what the fleet may cost. Out: every part of it that waits, keeps or counts.
//!
//! Memory of one stream: tonic buffers one message of [`api::fleet::MESSAGE_MAX`] (2 MiB) and it is decoded into at most
//! 3 MiB (see `api::fleet`'s shapes); one message waits to be sent, at most 1,024 digests of 64 bytes. A profile of up to
//! [`api::fleet::PROFILE_MAX`] is put together on at most [`Limits::uploads`] streams at a time. A stream that does
//! nothing costs what its connection costs, some 50 KiB (measured by `benches/scale`).

use std::time::Duration;

/// Distinct kernels that are known at a time, or asked for. If there are more, one without nodes gives way; if there is
/// none, the node is refused. More than [`Limits::kernel_bytes`] mostly lets be.
pub const KERNELS_MAX: usize = 128;
/// Kernels without nodes that are kept for a while, for nodes that start again.
pub const IDLE_KERNELS_MAX: usize = 4;
/// Nodes that are remembered: twice what Kubernetes supports in one cluster.
pub const NODES_MAX: usize = 10_000;
/// Compiled sets that are kept though no node is to run them; 100 policies make some 5 MB.
pub const SPARE_SETS_MAX: usize = 16;
/// Compilations at a time; each takes one thread.
pub const COMPILES_MAX: usize = 2;
/// Bytes of one chunk of an artefact. Small, so that 5,000 slow readers hold 160 MB at most.
pub const FETCH_CHUNK: usize = 32 << 10;
/// Artefacts that one node fetches at a time.
pub const FETCHES_PER_NODE: usize = 8;
/// Bytes of a name that an agent gives (release, version, hook).
pub const NAME_MAX: usize = 256;
/// Bytes of a failure's message as it is kept; one for each policy that a node refuses.
pub const FAILURE_KEPT_MAX: usize = 1024;
/// Generations beyond are refused: unix milliseconds reach 2^42 in the year 2109.
pub const GENERATION_MAX: u64 = 1 << 62;

/// What can be set, for tests and for large fleets.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections in all. At 50 KiB each: 1 GB.
    pub connections: usize,
    /// Connections from one address; nodes have one each, unless something translates addresses.
    pub connections_per_address: usize,
    /// Handshakes at a time.
    pub handshakes: usize,
    /// From the connection to the end of its handshake, and from the stream's start to the hello.
    pub greet_within: Duration,
    /// From the request for a profile to its last chunk.
    pub upload_within: Duration,
    /// Profiles that are put together or parsed at a time: 4 x 64 MiB as bytes, and 100 MB for the one that is parsed.
    pub uploads: usize,
    /// For a message to leave, and for an artefact to be read.
    pub send_within: Duration,
    /// Streams that one node may open per minute; an agent that cannot stay connected waits longer each time.
    pub streams_per_minute: u32,
    /// A stream ends after this and up to half as much again, so that its agent calls with a current token: the token is
    /// looked at only when a call begins.
    pub stream_life: Duration,
    /// After its stream has ended so, a node counts as connected for as long as its agent needs to dial again.
    pub renewal: Duration,
    /// Bytes of the encoded profiles of the kernels that are known. A distribution's kernel has 5 to 9 MB, and takes about
    /// twice of that when parsed: 14 such kernels take some 220 MB. Beyond, kernels without nodes give way, then nodes are
    /// refused.
    pub kernel_bytes: usize,
    /// Messages at once on one stream, besides chunks of profiles; two per second come back.
    pub messages: u32,
    /// Nodes that have gone, and kernels without nodes, are forgotten after.
    pub forget_after: Duration,
    /// A policy that a node refused is tried again after, unless it changes before.
    pub retry_after: Duration,
    /// Changes of policies are gathered for this long.
    pub gather: Duration,
    /// The fleet is published at most once in.
    pub publish_every: Duration,
    /// Quiet connections are asked whether they live after.
    pub keepalive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 20_000,
            connections_per_address: 256,
            handshakes: 256,
            greet_within: Duration::from_secs(10),
            upload_within: Duration::from_secs(60),
            uploads: 4,
            send_within: Duration::from_secs(60),
            streams_per_minute: 30,
            stream_life: Duration::from_secs(30 * 60),
            renewal: Duration::from_secs(60),
            kernel_bytes: 112 << 20,
            messages: 64,
            forget_after: Duration::from_secs(600),
            retry_after: Duration::from_secs(600),
            gather: Duration::from_millis(100),
            publish_every: Duration::from_millis(250),
            keepalive: Duration::from_secs(20),
        }
    }
}
