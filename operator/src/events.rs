//! In: the status of a policy before and after a write. Out: Kubernetes Events about what turned, and only then.

use crds::manifest::{GROUP, PolicyKind, VERSION};
use crds::status::{ConditionReason, ConditionStatus, ConditionType, PolicyCondition, TracingPolicyStatus};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tracing::warn;

use crate::FIELD_MANAGER;
use crate::metrics::{Metrics, Written};
use crate::model::PolicyVersion;
use crate::patience::within;
use crate::status::text::clip;

/// Bytes of an Event's note; the API server takes 1 KiB.
const NOTE_MAX: usize = 1000;

/// Something that turned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Whether someone must act.
    pub bad: bool,
    /// Why the condition is as it is now.
    pub reason: ConditionReason,
    /// The condition's message.
    pub note: String,
}

/// What is worth an Event: a policy became ready, or is refused, or some kernel or node cannot run it.
pub fn transitions(before: Option<&TracingPolicyStatus>, now: &TracingPolicyStatus) -> Vec<Transition> {
    let turned = |condition: &&PolicyCondition| {
        let before = before
            .and_then(|before| before.conditions.iter().find(|it| it.kind == condition.kind))
            .map(|before| (before.status, before.reason));
        before != Some((condition.status, condition.reason))
    };
    let told = |condition: &PolicyCondition| match (condition.kind, condition.status) {
        (ConditionType::Ready, ConditionStatus::True) => Some(false),
        // It says what is wrong, whatever condition that is in.
        (ConditionType::Stalled, ConditionStatus::True) => Some(true),
        _ => None,
    };
    now.conditions
        .iter()
        .filter(turned)
        .filter_map(|condition| {
            let bad = told(condition)?;
            Some(Transition { bad, reason: condition.reason, note: condition.message.clone() })
        })
        .collect()
}

/// Publishes Events.
pub struct Events {
    recorder: Recorder,
    metrics: Metrics,
}

impl Events {
    /// In the name of this replica.
    pub fn new(client: kube::Client, replica: &str, metrics: Metrics) -> Events {
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(replica.to_owned()) };
        Events { recorder: Recorder::new(client, reporter), metrics }
    }

    /// Publishes all; one that cannot be published is lost, and counted.
    pub async fn publish(&self, version: &PolicyVersion, transitions: Vec<Transition>) {
        let kind = match version.key.namespace {
            None => PolicyKind::Cluster,
            Some(_) => PolicyKind::Namespaced,
        };
        let policy = ObjectReference {
            api_version: Some(format!("{GROUP}/{VERSION}")),
            kind: Some(kind.as_str().to_owned()),
            name: Some(version.key.name.clone()),
            namespace: version.key.namespace.clone(),
            uid: Some(version.uid.clone()),
            ..ObjectReference::default()
        };
        for Transition { bad, reason, note } in transitions {
            let event = Event {
                type_: if bad { EventType::Warning } else { EventType::Normal },
                reason: reason.as_str().to_owned(),
                note: Some(clip(&note, NOTE_MAX)),
                // Events that agree in this are counted as one; each generation has a note of its own.
                action: format!("Generation{}", version.generation),
                secondary: None,
            };
            let result = match within(self.recorder.publish(&event, &policy)).await {
                Ok(()) => Written::Ok,
                Err(error) => {
                    warn!(%error, policy = %version.key, "an Event could not be published");
                    Written::Failed
                }
            };
            self.metrics.event(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn status(
        ready: ConditionStatus,
        stalled: ConditionStatus,
        reason: ConditionReason,
    ) -> TracingPolicyStatus {
        let condition = |kind, status| PolicyCondition {
            kind,
            status,
            reason,
            message: format!("{kind} {reason}"),
            observed_generation: None,
            last_transition_time: Time(Default::default()),
        };
        TracingPolicyStatus {
            conditions: vec![
                condition(ConditionType::Ready, ready),
                condition(ConditionType::Stalled, stalled),
            ],
            ..TracingPolicyStatus::default()
        }
    }

    #[test]
    fn only_what_turned_is_told() {
        use ConditionStatus::{False, True};
        let waiting = status(False, False, ConditionReason::Pending);
        let ready = status(True, False, ConditionReason::Ready);
        let failed = status(False, True, ConditionReason::NodeFailed);
        let reasons = |before: Option<&TracingPolicyStatus>, now| {
            let told = transitions(before, now).into_iter();
            told.map(|it| (it.bad, it.reason)).collect::<Vec<_>>()
        };
        assert_eq!(reasons(None, &waiting), []);
        assert_eq!(reasons(Some(&waiting), &ready), [(false, ConditionReason::Ready)]);
        assert_eq!(reasons(Some(&ready), &ready), []);
        assert_eq!(reasons(Some(&ready), &failed), [(true, ConditionReason::NodeFailed)]);
        let other = status(False, True, ConditionReason::Invalid);
        assert_eq!(reasons(Some(&failed), &other), [(true, ConditionReason::Invalid)]);
    }
}
