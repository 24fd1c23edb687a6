//! In: the agent's pods of its node. Out: the encoders, as part of a process.

use std::collections::BTreeMap;

use super::Timestamp;

/// The pod of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Container of the process.
    pub container: Option<Container>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Name of the controlling workload.
    pub workload: String,
    /// Its kind, e.g. `Deployment`.
    pub workload_kind: String,
    /// Annotations, if asked for.
    pub annotations: BTreeMap<String, String>,
}

/// A container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// Id with its runtime's prefix, e.g. `containerd://…`.
    pub id: String,
    /// Name in the pod's specification.
    pub name: String,
    /// Image.
    pub image: Option<Image>,
    /// When it started to run.
    pub start_time: Option<Timestamp>,
    /// Process id inside of the container, if known.
    pub pid: Option<u32>,
    /// The command equals one of the container's exec probes.
    pub maybe_exec_probe: bool,
    /// It runs privileged.
    pub privileged: bool,
}

/// A container image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// Registry path with digest.
    pub id: String,
    /// Registry path with tag.
    pub name: String,
}
