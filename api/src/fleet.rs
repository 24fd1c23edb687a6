//! In: the operator and the agents, over one gRPC stream per node. Out: each other's messages.
//!
//! The agent dials, over TLS, with its ServiceAccount token in the `authorization` metadata; the operator knows the node
//! from the token, never from a message. Then:
//!
//! 1. agent: [`Hello`] (once, first);
//! 2. operator: [`ProfileRequest`], if it does not have the kernel of that digest; agent: [`ProfileChunk`]s;
//! 3. operator: [`Desired`], at once and after each change; agent: fetches the artefacts that it lacks by `Fetch`, verifies
//!    their digests, loads, switches over, and answers each with one [`Applied`];
//! 4. agent: [`Counters`] every [`COUNTERS_INTERVAL_SECONDS`].
//!
//! Both sides end the stream on anything that is out of order. Every bound is checked by the receiver.

use prost::Message;

mod bounds;

pub use bounds::{FAILURE_POLICIES_MAX, VALUES_MAX};

#[cfg(feature = "grpc")]
include!(concat!(env!("OUT_DIR"), "/ferragon.fleet.v1.Fleet.rs"));

/// The audience of the agents' ServiceAccount tokens.
pub const AUDIENCE: &str = "ferragon-operator";
/// The name that the operator's certificate is for, whatever address it is dialled at.
pub const SERVER_NAME: &str = "ferragon-operator";
/// Bytes of one message, either way. Artefacts and profiles are cut into chunks.
pub const MESSAGE_MAX: usize = 2 << 20;
/// Bytes of data in one chunk.
pub const CHUNK: usize = 1 << 20;
/// Bytes of a kernel profile: BTF of a distribution kernel with everything in it is 6 to 10 MB, its symbols 5 MB.
pub const PROFILE_MAX: usize = 64 << 20;
/// Bytes of one artefact: a million instructions, the verifier's limit, are 8 MB; maps come on top.
pub const ARTEFACT_MAX: usize = 32 << 20;
/// Hooks of one node; what the agent's `active` map holds.
pub const HOOKS_MAX: usize = 1024;
/// Policies of one node; what the agent's `policy_counters` map holds.
pub const POLICIES_MAX: usize = 1024;
/// Bytes of the message of one failure, such as the end of a verifier's log.
pub const FAILURE_TEXT_MAX: usize = 4096;
/// Failures in one answer; further ones are only counted.
pub const FAILURES_MAX: usize = 64;
/// How often an agent sends its counters.
pub const COUNTERS_INTERVAL_SECONDS: u64 = 10;

/// From an agent.
#[derive(Clone, PartialEq, Message)]
pub struct AgentMessage {
    /// One of them.
    #[prost(oneof = "AgentBody", tags = "1, 2, 3, 4")]
    pub body: Option<AgentBody>,
}

/// What an agent says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum AgentBody {
    /// First, once.
    #[prost(message, tag = "1")]
    Hello(Hello),
    /// Part of the kernel profile, when asked for.
    #[prost(message, tag = "2")]
    Profile(ProfileChunk),
    /// What became of a desired set.
    #[prost(message, tag = "3")]
    Applied(Applied),
    /// Counts since the agent's start.
    #[prost(message, tag = "4")]
    Counters(Counters),
}

/// Who calls.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Hello {
    /// Version of the agent.
    #[prost(string, tag = "1")]
    pub agent_version: String,
    /// `uname -r`.
    #[prost(string, tag = "2")]
    pub kernel_release: String,
    /// SHA-256 of the encoded `KernelProfile`.
    #[prost(bytes = "vec", tag = "3")]
    pub kernel_digest: Vec<u8>,
    /// `/proc/sys/kernel/random/boot_id`.
    #[prost(string, tag = "4")]
    pub boot_id: String,
    /// Generation of the set in force, 0 if there is none.
    #[prost(uint64, tag = "5")]
    pub generation: u64,
    /// Digest of the set in force, empty if there is none.
    #[prost(bytes = "vec", tag = "6")]
    pub set_digest: Vec<u8>,
}

/// Part of an encoded `KernelProfile`, in order.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ProfileChunk {
    /// At most [`CHUNK`] bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub data: Vec<u8>,
    /// Nothing follows.
    #[prost(bool, tag = "2")]
    pub last: bool,
}

/// The answer to one [`Desired`]: an ACK if there are no failures. Hooks that failed run what they ran before.
#[derive(Clone, PartialEq, Message)]
pub struct Applied {
    /// Of the desired set.
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// Of the desired set.
    #[prost(bytes = "vec", tag = "2")]
    pub set_digest: Vec<u8>,
    /// Hooks that do not run what was asked, at most [`FAILURES_MAX`].
    #[prost(message, repeated, tag = "3")]
    pub failures: Vec<HookFailure>,
    /// The set was refused as a whole, and why; nothing of it was applied.
    #[prost(enumeration = "Refusal", tag = "4")]
    pub refusal: i32,
    /// The same in words.
    #[prost(string, tag = "5")]
    pub refusal_text: String,
}

/// Why a whole set was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Refusal {
    /// It was not.
    None = 0,
    /// Its generation is lower than that of the set in force.
    OldGeneration = 1,
    /// An artefact's bytes have another digest than its name says, or do not decode.
    BadArtefact = 2,
    /// An artefact could not be fetched.
    Unfetched = 3,
    /// More hooks or policies than a node holds.
    TooMany = 4,
    /// It could not be written to disk; it is in force all the same.
    NotStored = 5,
}

/// One hook that does not run what was asked.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct HookFailure {
    /// As the agent shows it, e.g. `lsm:bpf_lsm_file_open`.
    #[prost(string, tag = "1")]
    pub hook: String,
    /// Digest of the artefact that failed.
    #[prost(bytes = "vec", tag = "2")]
    pub digest: Vec<u8>,
    /// Policies in it.
    #[prost(message, repeated, tag = "3")]
    pub policies: Vec<PolicyRef>,
    /// The step that failed.
    #[prost(enumeration = "FailureStage", tag = "4")]
    pub stage: i32,
    /// Linux error number, 0 if there is none.
    #[prost(int32, tag = "5")]
    pub errno: i32,
    /// In words, at most [`FAILURE_TEXT_MAX`] bytes; ends with the end of the verifier's log, if there is one.
    #[prost(string, tag = "6")]
    pub text: String,
    /// Policy and field that the failing instruction came from (`namespace/name: spec.kprobes[0]…`), if known.
    #[prost(string, optional, tag = "7")]
    pub path: Option<String>,
    /// Whether an earlier artefact of this hook stays in force.
    #[prost(bool, tag = "8")]
    pub kept: bool,
}

/// The step at which a hook failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum FailureStage {
    /// Not set; never valid.
    Unspecified = 0,
    /// The artefact contradicts itself or another one.
    Artefact = 1,
    /// The node holds no more.
    Limit = 2,
    /// Maps or process sets.
    Maps = 3,
    /// The verifier.
    Load = 4,
    /// The hook.
    Attach = 5,
    /// The store that makes the program the active one.
    Switch = 6,
}

/// A policy, as users name it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Message)]
pub struct PolicyRef {
    /// Empty for cluster policies.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// Counts since the agent first loaded each policy; they never fall while the agent runs.
#[derive(Clone, PartialEq, Message)]
pub struct Counters {
    /// By policy, at most [`POLICIES_MAX`].
    #[prost(message, repeated, tag = "1")]
    pub policies: Vec<PolicyCounts>,
    /// Records of processes that were lost.
    #[prost(uint64, tag = "2")]
    pub lost: u64,
    /// Calls that the kernel ran no program for.
    #[prost(uint64, tag = "3")]
    pub missed: u64,
}

/// Counts of one policy.
#[derive(Clone, PartialEq, Message)]
pub struct PolicyCounts {
    /// Which.
    #[prost(message, required, tag = "1")]
    pub policy: PolicyRef,
    /// By `PolicyCounter`.
    #[prost(uint64, repeated, tag = "2")]
    pub values: Vec<u64>,
}

/// From the operator.
#[derive(Clone, PartialEq, Message)]
pub struct OperatorMessage {
    /// One of them.
    #[prost(oneof = "OperatorBody", tags = "1, 2")]
    pub body: Option<OperatorBody>,
}

/// What the operator says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum OperatorBody {
    /// It does not know this kernel.
    #[prost(message, tag = "1")]
    ProfileRequest(ProfileRequest),
    /// What the node should run.
    #[prost(message, tag = "2")]
    Desired(Desired),
}

/// Asks for the profile of the kernel that the agent has said hello with.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ProfileRequest {}

/// The whole set that a node should run.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Desired {
    /// Rises with each change, also over restarts of the operator. An agent refuses a lower one than it runs.
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// Digests of the artefacts, 32 bytes each, ascending; at most [`HOOKS_MAX`].
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub artefacts: Vec<Vec<u8>>,
}

impl Desired {
    /// SHA-256 over the artefacts' digests: the content address of the set.
    pub fn set_digest(&self) -> [u8; 32] {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        self.artefacts.iter().for_each(|digest| hash.update(digest));
        hash.finalize().into()
    }
}

/// Asks for one artefact of the set that the node was last sent.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct FetchRequest {
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub digest: Vec<u8>,
}

/// Part of an encoded `Artefact`, in order; the stream ends after the last one.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct FetchReply {
    /// At most [`CHUNK`] bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub data: Vec<u8>,
}
