//! In: the checked pod, container, host and node selectors. Out: conditions of policies and selectors.

/// Which workloads are meant. Neither `host` nor `pods` never happens; all of both is no condition and is not
/// represented.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkloadTest {
    /// Processes outside of all pods.
    pub host: bool,
    /// Processes of these pods.
    pub pods: Option<PodTest>,
}

impl WorkloadTest {
    /// What these selectors mean; `None`: everything, as no condition is left.
    pub fn new(host: bool, pods: Option<PodTest>) -> Option<WorkloadTest> {
        match &pods {
            None if !host => None,
            Some(pods) if host && pods.is_any() => None,
            _ => Some(WorkloadTest { host, pods }),
        }
    }
}

/// Containers of pods; all conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct PodTest {
    /// Namespace of the pods; `None`: any.
    pub namespace: Option<String>,
    /// On the pod's labels, and its namespace under [`api::artefact::NAMESPACE_LABEL`]; sorted and distinct.
    pub labels: Vec<LabelTest>,
    /// On the container's `name` and `repo`; sorted and distinct.
    pub container: Vec<LabelTest>,
}

impl PodTest {
    /// Whether it holds for every container of every pod.
    pub fn is_any(&self) -> bool {
        self.namespace.is_none() && self.labels.is_empty() && self.container.is_empty()
    }
}

/// A condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelTest {
    /// Which label.
    pub key: String,
    /// What it must be.
    pub is: LabelIs,
}

/// What a label must be. Values are sorted and distinct, and at least one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LabelIs {
    /// There, with one of these values.
    In(Vec<String>),
    /// Not there, or there with none of these values.
    NotIn(Vec<String>),
    /// There.
    Present,
    /// Not there.
    Absent,
}
