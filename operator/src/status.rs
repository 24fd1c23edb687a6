//! In: a policy version, the nodes, the fleet, the status before, and the time. Out: its [`TracingPolicyStatus`], as a
//! pure function; [`writer`] writes it.
//!
//! Guarantees: the result has at most [`STATUS_MAX`] bytes of JSON whatever the number of nodes; equal input gives an
//! equal result; `lastTransitionTime` changes only when a condition's status does; at most one of `Reconciling` and
//! `Stalled` is true, and `Ready` is true only if neither is, which is what kstatus reads.

mod conditions;
mod fleet_map;
mod pace;
mod tally;
pub(crate) mod text;
mod write;
pub mod writer;

use std::collections::BTreeMap;

use crds::status::{
    ConditionStatus, ConditionType, FailingNode, KernelGroup, NodeCounts, PolicyCondition,
    TracingPolicyStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use policy_compiler::typed::{Mode, PolicyKey};

use crate::model::{AgentNodes, Fleet, Nodes, PolicyVersion};

pub use tally::Pass;

/// Bytes of a status as JSON. Seven conditions of [`MESSAGE_MAX`], [`KERNELS_MAX`] kernels and five nodes of
/// [`DETAIL_MAX`], names of 253: 7 × 1.2 + 17 × 0.9 + 5 × 0.8 KiB, and up to twice of that where JSON escapes.
pub const STATUS_MAX: usize = 56 << 10;
/// Bytes of a condition's message.
pub const MESSAGE_MAX: usize = 1024;
/// Bytes of the message of a kernel or a node.
pub const DETAIL_MAX: usize = 512;
/// Kernels listed; the others are one entry together.
pub const KERNELS_MAX: usize = 16;

/// What the status of a policy should be.
pub fn describe(
    version: &PolicyVersion,
    pass: &Pass<'_>,
    before: Option<&TracingPolicyStatus>,
    now: &Time,
) -> TracingPolicyStatus {
    let tally = pass.tally(version);
    let stated = conditions::state(version, &tally, pass.draining());
    let policy = version.policy.as_deref();
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let counted = policy.and_then(|_| pass.counted(&version.key, before));
    TracingPolicyStatus {
        observed_generation: Some(version.generation),
        conditions: stated
            .into_iter()
            .map(|stated| PolicyCondition {
                kind: stated.kind,
                status: stated.status,
                reason: stated.reason,
                message: text::clip(&stated.message, MESSAGE_MAX),
                observed_generation: Some(version.generation),
                last_transition_time: since(before, stated.kind, stated.status, now),
            })
            .collect(),
        mode: policy.map(|policy| mode_word(policy.mode).to_owned()),
        hooks: policy.map(|policy| number(policy.hooks.len())),
        nodes: Some(NodeCounts {
            desired: number(tally.desired),
            programmed: number(tally.programmed),
            failed: number(tally.failed.count + tally.incompatible),
            summary: format!("{}/{}", tally.programmed, tally.desired),
        }),
        kernels: kernels(&tally),
        failing_nodes: tally
            .failed
            .first
            .iter()
            .map(|(node, why)| FailingNode { name: (*node).to_owned(), message: text::clip(why, DETAIL_MAX) })
            .collect(),
        matches: counted.map(|counted| counted.matches),
        enforced: counted.map(|counted| counted.enforced),
    }
}

/// As users write it.
pub(crate) fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Monitor => "monitor",
    }
}

/// Since when a condition has this status.
fn since(
    before: Option<&TracingPolicyStatus>,
    kind: ConditionType,
    status: ConditionStatus,
    now: &Time,
) -> Time {
    let before = before.and_then(|before| before.conditions.iter().find(|condition| condition.kind == kind));
    match before {
        Some(condition) if condition.status == status => condition.last_transition_time.clone(),
        _ => now.clone(),
    }
}

fn kernels(tally: &tally::Tally<'_>) -> Vec<KernelGroup> {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let mut groups: Vec<KernelGroup> = tally
        .kernels
        .iter()
        .take(KERNELS_MAX)
        .map(|(release, kernel)| KernelGroup {
            release: text::clip(release, 64),
            nodes: number(kernel.nodes.count),
            programmed: number(kernel.programmed),
            message: kernel.note.as_ref().map(|note| text::clip(note, DETAIL_MAX)),
        })
        .collect();
    let rest = tally.kernels.values().skip(KERNELS_MAX);
    let more = tally.kernels.len().saturating_sub(KERNELS_MAX);
    if more > 0 {
        let (nodes, programmed) =
            rest.fold((0, 0), |(nodes, done), kernel| (nodes + kernel.nodes.count, done + kernel.programmed));
        let (nodes, programmed) = (number(nodes), number(programmed));
        groups.push(KernelGroup { release: format!("{more} others"), nodes, programmed, message: None });
    }
    groups
}

/// What a status tells of counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Calls that matched a selector.
    pub matches: i64,
    /// Actions that were taken.
    pub enforced: i64,
}

impl Counted {
    /// As a status has it; `None` if it has not.
    pub fn of(status: &TracingPolicyStatus) -> Option<Counted> {
        Some(Counted { matches: status.matches?, enforced: status.enforced? })
    }
}

/// Everything that a pass over all policies reads.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// All nodes.
    pub nodes: &'a Nodes,
    /// What is known of them.
    pub fleet: &'a Fleet,
    /// Which of them are to have agents; policies are for no others.
    pub agents: &'a AgentNodes,
    /// What the statuses said when this leader began.
    pub seeds: &'a BTreeMap<PolicyKey, Counted>,
    /// Whether all policies are being taken off all nodes.
    pub draining: bool,
}

#[cfg(test)]
mod argocd;
#[cfg(test)]
mod kstatus;
#[cfg(test)]
mod tests;
