//! In: the pod, container and host selectors of policies. Out: the agent, which knows the node's pods and decides which
//! processes are meant.

use prost::Message;

/// The label by which `podSelector` tests a pod's namespace. All other keys are the pod's own labels.
pub const NAMESPACE_LABEL: &str = "k8s:io.kubernetes.pod.namespace";

/// Which workloads a policy or a selector applies to: those of the host, those of some pods, or both.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Message)]
pub struct WorkloadSet {
    /// Processes outside of all pods.
    #[prost(bool, tag = "1")]
    pub host: bool,
    /// Processes in these pods; absent: in none.
    #[prost(message, optional, tag = "2")]
    pub pods: Option<PodSet>,
}

/// Containers of pods. All conditions must hold; without any, all containers of all pods.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Message)]
pub struct PodSet {
    /// Namespace of the pods; empty: any.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Tests of the pod's labels and of [`NAMESPACE_LABEL`], sorted and distinct.
    #[prost(message, repeated, tag = "2")]
    pub labels: Vec<LabelTest>,
    /// Tests of the container's `name` and `repo`, sorted and distinct.
    #[prost(message, repeated, tag = "3")]
    pub container: Vec<LabelTest>,
}

/// One test of one label.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Message)]
pub struct LabelTest {
    /// Which label.
    #[prost(string, tag = "1")]
    pub key: String,
    /// How.
    #[prost(enumeration = "LabelOp", tag = "2")]
    pub op: i32,
    /// Values, sorted and distinct; empty for [`LabelOp::Exists`] and [`LabelOp::DoesNotExist`].
    #[prost(string, repeated, tag = "3")]
    pub values: Vec<String>,
}

/// How a label is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum LabelOp {
    /// Not set; never valid.
    Unspecified = 0,
    /// It is there, with one of the values.
    In = 1,
    /// It is not there, or has none of the values.
    NotIn = 2,
    /// It is there.
    Exists = 3,
    /// It is not there.
    DoesNotExist = 4,
}
