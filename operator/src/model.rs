//! In: each part of the operator. Out: the others, over `tokio::sync::watch` channels that hold the newest value.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::artefact::POLICY_COUNTERS;
use policy_compiler::Kernel;
use policy_compiler::diagnostic::Diagnostic;
use policy_compiler::typed::{PolicyKey, TypedPolicy};

/// SHA-256 of a policy's content: two versions with the same digest compile to the same programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyDigest(pub [u8; 32]);

/// SHA-256 of an encoded kernel profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelDigest(pub [u8; 32]);

/// Name of a Kubernetes node.
pub type NodeName = Arc<str>;

/// One version of one policy object, as the API server holds it.
#[derive(Debug, Clone)]
pub struct PolicyVersion {
    /// Identity.
    pub key: PolicyKey,
    /// `metadata.uid`: an object of the same name that was deleted and made again is another.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.creationTimestamp`, seconds since 1970; the latest time if there is none. Where policies do not fit
    /// together, older ones stay.
    pub created: i64,
    /// What the check stage found, warnings included. Of an object that does not decode: one error that says so.
    pub diagnostics: Vec<Diagnostic>,
    /// The checked policy, if it has no error. `policy.mode` is the mode in force (option, then annotation).
    pub policy: Option<Arc<TypedPolicy>>,
    /// Of its content and mode; zero if there is no policy.
    pub digest: PolicyDigest,
    /// `spec.nodeSelector`; `None` selects all.
    pub node_selector: Option<crds::workload::LabelSelector>,
}

/// All policies. Published by the watch.
pub type Policies = Arc<BTreeMap<PolicyKey, Arc<PolicyVersion>>>;

/// Labels of all nodes. Published by the watch.
pub type Nodes = Arc<BTreeMap<NodeName, BTreeMap<String, String>>>;

/// The labels that a node must have for the DaemonSet of the agents to put one there; none for all nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentNodes(pub BTreeMap<String, String>);

impl AgentNodes {
    /// Whether a node with these labels is to have an agent.
    pub fn include(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// What is known of all nodes and kernels. Published by the fleet, at most a few times per second.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    /// Nodes whose agent is connected, or was within the last minutes.
    pub nodes: BTreeMap<NodeName, Arc<NodeState>>,
    /// Kernels of these nodes.
    pub kernels: BTreeMap<KernelDigest, Arc<KernelState>>,
    /// Sum of the counters of all nodes, by policy; those of nodes that have gone are kept.
    pub counters: BTreeMap<PolicyKey, [u64; POLICY_COUNTERS as usize]>,
    /// Of these, what was counted since this operator first heard of each node.
    pub fresh: BTreeMap<PolicyKey, [u64; POLICY_COUNTERS as usize]>,
}

/// A kernel of the fleet.
#[derive(Debug)]
pub struct KernelState {
    /// `uname -r`.
    pub release: String,
    /// For admission: what policies are judged against. Behind a lock of its own only because compilation adds nothing
    /// to it: it is read-only.
    pub kernel: Arc<Kernel>,
    /// What the compiler said of each policy version on this kernel, warnings included; a version with an error in it
    /// is in no program. Only versions that some node of this kernel should run.
    pub verdicts: BTreeMap<PolicyKey, (PolicyDigest, Vec<Diagnostic>)>,
}

/// A node of the fleet.
#[derive(Debug, Clone)]
pub struct NodeState {
    /// Its kernel; `None` until its profile is here.
    pub kernel: Option<KernelDigest>,
    /// `uname -r`.
    pub release: String,
    /// Version of its agent.
    pub agent_version: String,
    /// Whether its stream is open.
    pub connected: bool,
    /// Generation that it was last sent.
    pub desired_generation: u64,
    /// Generation that it last answered.
    pub applied_generation: u64,
    /// It was sent the empty set and has said that it runs it, with no hook left over.
    pub runs_nothing: bool,
    /// Each valid policy that the node selects, with what became of it there. Nodes in the same state share one map:
    /// 5,000 nodes with 100 policies each would take 100 MB otherwise.
    pub policies: Arc<BTreeMap<PolicyKey, PolicyOnNode>>,
    /// What does not run as it was asked, and why: policies that the node refused, hooks that it could not take away, or
    /// the whole set; at most `api::fleet::FAILURES_MAX`.
    pub failing_hooks: Vec<String>,
}

/// What became of one policy on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyOnNode {
    /// The version that should run.
    pub digest: PolicyDigest,
    /// How far it is.
    pub state: Programming,
}

/// How far a policy version is on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Programming {
    /// Sent or about to be, not answered yet.
    Pending,
    /// All its hooks run.
    Programmed {
        /// How many hooks.
        hooks: usize,
    },
    /// The compiler refused it for this kernel.
    Incompatible,
    /// The node refused it; an earlier version of it runs if `kept`.
    Failed {
        /// Stage, hook, errno, the end of the verifier's log, the policy's field.
        message: String,
        /// An earlier version stays in force.
        kept: bool,
    },
}
