//! In: an object as GitOps tools see it. Out: what kstatus computes of it, by the rules for kinds that it does not know:
//! an old generation and `Reconciling` are in progress, `Stalled` is a failure, then `Ready` decides.

use crds::status::{ConditionStatus, ConditionType, TracingPolicyStatus};

/// What kstatus says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KStatus {
    InProgress,
    Failed,
    Current,
}

/// Of an object with this `metadata.generation` and this status.
pub(super) fn compute(generation: i64, status: &TracingPolicyStatus) -> KStatus {
    if status.observed_generation.is_some_and(|observed| observed != generation) {
        return KStatus::InProgress;
    }
    // In the order of the list: the first that holds decides.
    for condition in status.conditions.iter().filter(|it| it.status == ConditionStatus::True) {
        match condition.kind {
            ConditionType::Reconciling => return KStatus::InProgress,
            ConditionType::Stalled => return KStatus::Failed,
            _ => {}
        }
    }
    let ready = status.conditions.iter().find(|condition| condition.kind == ConditionType::Ready);
    match ready.map(|ready| ready.status) {
        // Without `Ready` it would be current; a status that we wrote always has it.
        None | Some(ConditionStatus::True) => KStatus::Current,
        Some(ConditionStatus::False | ConditionStatus::Unknown) => KStatus::InProgress,
    }
}
