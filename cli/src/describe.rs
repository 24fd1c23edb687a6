//! In: the name of a policy. Out: its status in full, for people.

use std::fmt::Write;
use std::process::ExitCode;

use crate::cluster::view::PolicyView;
use crate::cluster::{Cluster, block_on};
use crate::table::{clean, columns, or_nothing};
use crate::text;

/// `ferra describe`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// A policy: its conditions, kernels, failing nodes and counters.
    Policy(Args),
}

/// `ferra describe policy`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the policy.
    name: String,
    /// Its namespace; without it, the cluster-wide policy of that name.
    #[arg(short, long)]
    namespace: Option<String>,
}

/// Shows what was asked for.
pub fn run(command: &Command) -> ExitCode {
    let Command::Policy(args) = command;
    text::end(block_on(async {
        let policy = Cluster::connect().await?.policy(&args.name, args.namespace.as_deref()).await?;
        Ok(description(&PolicyView::of(&policy)))
    }))
}

fn description(policy: &PolicyView) -> String {
    let status = &policy.status;
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{:<13} {}", format!("{name}:"), clean(&value));
    };
    line("Name", policy.name.clone());
    if !policy.namespace.is_empty() {
        line("Namespace", policy.namespace.clone());
    }
    line("Kind", policy.kind.clone());
    line("Mode", or_nothing(status.mode.as_ref()));
    line("Generation", generation(policy));
    line("Hooks", or_nothing(status.hooks));
    line("Nodes", nodes(policy));
    line("Matches", or_nothing(status.matches));
    line("Enforced", or_nothing(status.enforced));
    if let Some(why) = &policy.unreadable {
        line("Status", why.clone());
    }
    conditions(policy, &mut out);
    kernels(policy, &mut out);
    failing_nodes(policy, &mut out);
    out
}

fn generation(policy: &PolicyView) -> String {
    match (policy.generation, policy.status.observed_generation) {
        (Some(now), Some(observed)) if now == observed => now.to_string(),
        (Some(now), Some(observed)) => format!("{now}; what follows is of generation {observed}"),
        (now, None) => format!("{}; the operator has not looked at it yet", or_nothing(now)),
        (None, Some(observed)) => observed.to_string(),
    }
}

fn nodes(policy: &PolicyView) -> String {
    match &policy.status.nodes {
        Some(nodes) if nodes.failed > 0 => {
            format!("{} run it, {} could not load it", nodes.summary, nodes.failed)
        }
        Some(nodes) => format!("{} run it", nodes.summary),
        None => or_nothing(None::<String>),
    }
}

fn conditions(policy: &PolicyView, out: &mut String) {
    let row = |condition: &crds::status::PolicyCondition| {
        vec![
            condition.kind.to_string(),
            condition.status.to_string(),
            condition.reason.to_string(),
            condition.message.clone(),
        ]
    };
    let rows: Vec<_> = policy.status.conditions.iter().map(row).collect();
    section("Conditions", &["TYPE", "STATUS", "REASON", "MESSAGE"], &rows, out);
}

fn kernels(policy: &PolicyView, out: &mut String) {
    let row = |kernel: &crds::status::KernelGroup| {
        let nodes = format!("{}/{}", kernel.programmed, kernel.nodes);
        vec![kernel.release.clone(), nodes, or_nothing(kernel.message.as_ref())]
    };
    let rows: Vec<_> = policy.status.kernels.iter().map(row).collect();
    section("Kernels", &["RELEASE", "NODES", "MESSAGE"], &rows, out);
}

fn failing_nodes(policy: &PolicyView, out: &mut String) {
    let failing = &policy.status.failing_nodes;
    let rows: Vec<_> = failing.iter().map(|node| vec![node.name.clone(), node.message.clone()]).collect();
    section("Failing nodes", &["NAME", "MESSAGE"], &rows, out);
    let failed = policy.status.nodes.as_ref().map_or(0, |nodes| nodes.failed);
    let more = failed.saturating_sub(i64::try_from(failing.len()).unwrap_or(i64::MAX));
    // Those whose kernel cannot run it are told of by kernel.
    if more > 0 && !failing.is_empty() {
        let _ = writeln!(out, "  and {more} more");
    }
}

fn section(title: &str, head: &[&str], rows: &[Vec<String>], out: &mut String) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}:");
    for line in columns(head, rows).lines() {
        let _ = writeln!(out, "  {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn view(object: serde_json::Value) -> PolicyView {
        PolicyView::of(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn everything_that_is_known_is_shown() {
        let condition = |kind: &str, status: &str, reason: &str, message: &str| {
            json!({"type": kind, "status": status, "reason": reason, "message": message,
                   "lastTransitionTime": "2026-11-23T21:25:01Z"})
        };
        let policy = view(json!({
            "apiVersion": "cilium.io/v1alpha1",
            "kind": "TracingPolicyNamespaced",
            "metadata": {"name": "p", "namespace": "team-a", "generation": 3},
            "status": {
                "observedGeneration": 2,
                "mode": "enforce",
                "hooks": 4,
                "matches": 7,
                "enforced": 1,
                "nodes": {"desired": 9, "programmed": 2, "failed": 7, "summary": "2/9"},
                "conditions": [
                    condition("Accepted", "True", "Valid", "the policy is valid"),
                    condition("Ready", "False", "NodeFailed", "7 of 9 nodes\ncould not load it")
                ],
                "kernels": [
                    {"release": "6.1.0-40-amd64", "nodes": 7, "programmed": 0, "message": "spec.kprobes[0].call: no"},
                    {"release": "6.12.48", "nodes": 2, "programmed": 2}
                ],
                "failingNodes": [{"name": "node-1", "message": "ENOMEM"}, {"name": "node-2", "message": "ENOMEM"}]
            }
        }));
        assert_eq!(
            description(&policy),
            "\
Name:         p
Namespace:    team-a
Kind:         TracingPolicyNamespaced
Mode:         enforce
Generation:   3; what follows is of generation 2
Hooks:        4
Nodes:        2/9 run it, 7 could not load it
Matches:      7
Enforced:     1

Conditions:
  TYPE       STATUS   REASON       MESSAGE
  Accepted   True     Valid        the policy is valid
  Ready      False    NodeFailed   7 of 9 nodes could not load it

Kernels:
  RELEASE          NODES   MESSAGE
  6.1.0-40-amd64   0/7     spec.kprobes[0].call: no
  6.12.48          2/2     -

Failing nodes:
  NAME     MESSAGE
  node-1   ENOMEM
  node-2   ENOMEM
  and 5 more
"
        );
    }

    #[test]
    fn nodes_that_fail_by_their_kernel_are_not_counted_below_an_empty_list() {
        let policy = view(json!({
            "apiVersion": "cilium.io/v1alpha1",
            "kind": "TracingPolicy",
            "metadata": {"name": "p", "generation": 1},
            "status": {
                "observedGeneration": 1,
                "nodes": {"desired": 3, "programmed": 0, "failed": 3, "summary": "0/3"},
                "kernels": [{"release": "5.10", "nodes": 3, "programmed": 0, "message": "no such function"}]
            }
        }));
        let text = description(&policy);
        assert!(
            text.contains("0/3 run it, 3 could not load it") && text.contains("no such function"),
            "{text}"
        );
        assert!(!text.contains("more"), "{text}");
    }

    #[test]
    fn a_new_policy_says_that_nothing_is_known() {
        let policy = view(json!({
            "apiVersion": "cilium.io/v1alpha1",
            "kind": "TracingPolicy",
            "metadata": {"name": "p", "generation": 1}
        }));
        assert_eq!(
            description(&policy),
            "\
Name:         p
Kind:         TracingPolicy
Mode:         -
Generation:   1; the operator has not looked at it yet
Hooks:        -
Nodes:        -
Matches:      -
Enforced:     -
"
        );
    }
}
