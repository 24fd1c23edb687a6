//! In: a policy version and its tally. Out: its seven conditions, without their times.

use crds::status::{ConditionReason as Reason, ConditionStatus as Status, ConditionType as Kind};
use policy_compiler::diagnostic::{Code, Diagnostic};
use policy_compiler::typed::{Action, Mode, TypedPolicy};

use super::tally::{Tally, errors};
use super::text::{NAMES, counted, line};
use crate::model::PolicyVersion;

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stated {
    pub(super) kind: Kind,
    pub(super) status: Status,
    pub(super) reason: Reason,
    pub(super) message: String,
}

fn stated(kind: Kind, status: Status, reason: Reason, message: impl Into<String>) -> Stated {
    Stated { kind, status, reason, message: message.into() }
}

/// All conditions, in the order of [`Kind`].
pub(super) fn state(version: &PolicyVersion, tally: &Tally<'_>, draining: bool) -> Vec<Stated> {
    let accepted = accepted(version);
    let Some(policy) = version.policy.as_deref() else { return refused(accepted, tally) };
    if draining {
        return drained(accepted, policy, tally);
    }
    let compatible = compatible(tally);
    let programmed = programmed(tally);
    let enforcing = enforcing(policy, tally, &programmed);
    let (ready, reconciling, stalled) = summary(policy, tally, &compatible, &programmed);
    vec![accepted, compatible, programmed, enforcing, ready, reconciling, stalled]
}

fn accepted(version: &PolicyVersion) -> Stated {
    if version.policy.is_some() {
        let warnings: Vec<String> = version.diagnostics.iter().map(line).collect();
        let message = match warnings.len() {
            0 => "the policy is valid".to_owned(),
            count => format!("the policy is valid; {}: {}", counted(count, "warning"), warnings.join("; ")),
        };
        return stated(Kind::Accepted, Status::True, Reason::Valid, message);
    }
    let mut found = version.diagnostics.iter().filter(|found| found.is_error()).peekable();
    let unsupported =
        found.peek().is_some() && found.all(|found: &Diagnostic| found.code == Code::Unsupported);
    let reason = if unsupported { Reason::Unsupported } else { Reason::Invalid };
    stated(Kind::Accepted, Status::False, reason, errors(&version.diagnostics).join("; "))
}

/// The conditions of a policy that is not accepted: nothing else is known of it.
fn refused(accepted: Stated, tally: &Tally<'_>) -> Vec<Stated> {
    let reason = accepted.reason;
    let why = accepted.message.clone();
    let unknown = |kind| stated(kind, Status::Unknown, reason, "the policy is not accepted");
    let none = format!("0 of {} run it: the policy is not accepted", counted(tally.desired, "node"));
    let compatible = unknown(Kind::Compatible);
    let enforcing = stated(Kind::Enforcing, Status::False, reason, "the policy is not accepted");
    vec![
        accepted,
        compatible,
        stated(Kind::Programmed, Status::False, reason, none),
        enforcing,
        stated(Kind::Ready, Status::False, reason, why.clone()),
        stated(Kind::Reconciling, Status::False, reason, "nothing happens until the policy is changed"),
        stated(Kind::Stalled, Status::True, reason, why),
    ]
}

/// The conditions while all policies are taken off all nodes, which says nothing of this one.
fn drained(accepted: Stated, policy: &TypedPolicy, tally: &Tally<'_>) -> Vec<Stated> {
    let why = "all policies are being taken off all nodes, for an uninstallation";
    let compatible = stated(Kind::Compatible, Status::Unknown, Reason::Pending, why);
    let programmed = stated(Kind::Programmed, Status::False, Reason::Pending, why);
    let enforcing = enforcing(policy, tally, &programmed);
    let (ready, reconciling, stalled) = summary(policy, tally, &compatible, &programmed);
    vec![accepted, compatible, programmed, enforcing, ready, reconciling, stalled]
}

fn compatible(tally: &Tally<'_>) -> Stated {
    let problems: Vec<String> = tally
        .problems()
        .take(NAMES)
        .map(|(release, kernel, why)| {
            let nodes = counted(kernel.nodes.count, "node");
            format!("kernel {release} ({nodes}: {}) cannot run it: {why}", kernel.nodes.names())
        })
        .collect();
    if !problems.is_empty() {
        let more = tally.problems().count().saturating_sub(NAMES);
        let mut message = problems.join("; ");
        if more > 0 {
            message = format!("{} cannot run it: {message}", counted(more + NAMES, "kernel"));
        }
        return stated(Kind::Compatible, Status::False, Reason::KernelIncompatible, message);
    }
    let unjudged: usize = tally.kernels.values().map(|kernel| kernel.unjudged).sum();
    if unjudged > 0 {
        let message = format!("not yet compiled for the kernels of {}", counted(unjudged, "node"));
        return stated(Kind::Compatible, Status::Unknown, Reason::Pending, message);
    }
    if tally.kernels.is_empty() {
        let (reason, message) = match tally.desired {
            0 => (Reason::NoNodes, "no node is selected, so there is no kernel to judge by".to_owned()),
            nodes => {
                (Reason::Pending, format!("the kernels of {} are not known yet", counted(nodes, "node")))
            }
        };
        return stated(Kind::Compatible, Status::Unknown, reason, message);
    }
    let releases: Vec<&str> = tally.kernels.keys().take(NAMES).copied().collect();
    let more = tally.kernels.len().saturating_sub(NAMES);
    let rest = if more > 0 { format!(" and {}", counted(more, "other")) } else { String::new() };
    let message = format!("compiles for kernel {}{rest}", releases.join(", "));
    stated(Kind::Compatible, Status::True, Reason::AllKernels, message)
}

fn programmed(tally: &Tally<'_>) -> Stated {
    let count = format!("{} of {} run this version", tally.programmed, counted(tally.desired, "node"));
    let mut parts = vec![count];
    let mut reason = Reason::AllNodes;
    if tally.desired == 0 {
        return stated(Kind::Programmed, Status::True, Reason::NoNodes, "no node is selected");
    }
    if tally.absent.count > 0 {
        reason = Reason::Pending;
        parts.push(format!("no agent on {}", tally.absent.names()));
    }
    if tally.pending.count > 0 {
        reason = Reason::Pending;
        parts.push(format!("waiting for {}", tally.pending.names()));
    }
    if tally.incompatible > 0 {
        reason = Reason::KernelIncompatible;
        let nodes = counted(tally.incompatible, "node");
        parts.push(format!("the kernel of {nodes} cannot run it"));
    }
    if tally.failed.count > 0 {
        reason = Reason::NodeFailed;
        let first: Vec<String> =
            tally.failed.first.iter().map(|(node, why)| format!("{node}: {why}")).collect();
        let kept = match tally.kept {
            0 => String::new(),
            kept => format!(", of which {kept} keep an earlier version"),
        };
        parts.push(format!("{} refused it{kept}: {}", counted(tally.failed.count, "node"), first.join("; ")));
    }
    if tally.silent.count > 0 {
        parts.push(format!("not connected at the moment: {}", tally.silent.names()));
    }
    let status = if reason == Reason::AllNodes { Status::True } else { Status::False };
    stated(Kind::Programmed, status, reason, parts.join("; "))
}

fn enforcing(policy: &TypedPolicy, tally: &Tally<'_>, programmed: &Stated) -> Stated {
    let actions = policy.hooks.iter().flat_map(|hook| &hook.selectors);
    let mut actions = actions.flat_map(|selector| selector.actions.iter().chain(&selector.return_actions));
    let (status, reason, message) = if !actions.any(acts) {
        let message = "the policy has no enforcement action; it only reports".to_owned();
        (Status::False, Reason::ObserveOnly, message)
    } else if policy.mode == Mode::Monitor {
        let message = "monitor mode: enforcement actions are counted and do not act".to_owned();
        (Status::False, Reason::MonitorMode, message)
    } else {
        let on = format!("{} of {}", tally.programmed, counted(tally.desired, "node"));
        match (programmed.status, programmed.reason) {
            (_, Reason::NoNodes) => (Status::False, Reason::NoNodes, "no node is selected".to_owned()),
            (Status::True, _) => {
                (Status::True, Reason::EnforceMode, format!("enforcement actions act on {on}"))
            }
            // While nodes answer, an earlier version may enforce.
            (_, Reason::Pending) => {
                (Status::Unknown, Reason::Pending, format!("enforcement actions of this version act on {on}"))
            }
            (_, reason) => (Status::False, reason, format!("enforcement actions act only on {on}")),
        }
    };
    stated(Kind::Enforcing, status, reason, message)
}

fn acts(action: &Action) -> bool {
    match action {
        Action::Signal { .. } | Action::Override { .. } => true,
        Action::Post { .. } | Action::NoPost => false,
    }
}

/// `Ready`, `Reconciling` and `Stalled`. Who must act is told before who must wait.
fn summary(
    policy: &TypedPolicy,
    tally: &Tally<'_>,
    compatible: &Stated,
    programmed: &Stated,
) -> (Stated, Stated, Stated) {
    let stuck = [compatible, programmed]
        .into_iter()
        .find(|part| matches!(part.reason, Reason::KernelIncompatible | Reason::NodeFailed));
    let waiting = [programmed, compatible].into_iter().find(|part| part.reason == Reason::Pending);
    if let Some(stuck) = stuck {
        let (reason, why) = (stuck.reason, &stuck.message);
        return (
            stated(Kind::Ready, Status::False, reason, why),
            stated(Kind::Reconciling, Status::False, reason, "someone must act; see Stalled"),
            stated(Kind::Stalled, Status::True, reason, why),
        );
    }
    if let Some(waiting) = waiting {
        let why = &waiting.message;
        return (
            stated(Kind::Ready, Status::False, Reason::Pending, why),
            stated(Kind::Reconciling, Status::True, Reason::Pending, why),
            stated(Kind::Stalled, Status::False, Reason::Pending, "nothing failed so far"),
        );
    }
    let (reason, message) = match tally.desired {
        0 => (Reason::NoNodes, "valid; no node matches spec.nodeSelector at the moment".to_owned()),
        _ => {
            let hooks = counted(policy.hooks.len(), "hook");
            let mode = super::mode_word(policy.mode);
            (Reason::Ready, format!("{hooks} on {}, mode {mode}", counted(tally.desired, "node")))
        }
    };
    (
        stated(Kind::Ready, Status::True, reason, message),
        stated(Kind::Reconciling, Status::False, Reason::Settled, "nothing is left to do"),
        stated(Kind::Stalled, Status::False, Reason::Settled, "nothing failed"),
    )
}
