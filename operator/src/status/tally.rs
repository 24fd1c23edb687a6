//! In: the nodes that a policy selects and what became of it there. Out: counts, and the few names that are told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::artefact::{POLICY_COUNTERS, PolicyCounter};
use crds::status::TracingPolicyStatus;
use policy_compiler::diagnostic::Diagnostic;
use policy_compiler::typed::PolicyKey;

use super::text::{Some5, line};
use super::{Counted, View};
use crate::fleet::selects;
use crate::model::{Fleet, NodeState, PolicyOnNode, PolicyVersion, Programming};

/// One look at all nodes, for the statuses of all policies.
pub struct Pass<'a> {
    fleet: &'a Fleet,
    seeds: &'a BTreeMap<PolicyKey, Counted>,
    draining: bool,
    nodes: Vec<Seen<'a>>,
    /// The maps of policies that nodes share, once each.
    sets: Vec<&'a BTreeMap<PolicyKey, PolicyOnNode>>,
}

/// A node of the cluster.
struct Seen<'a> {
    name: &'a str,
    labels: &'a BTreeMap<String, String>,
    /// Its agent's state with the position in `sets`; `None` without an agent.
    agent: Option<(&'a NodeState, usize)>,
}

/// What became of one policy.
#[derive(Debug, Default)]
pub(super) struct Tally<'a> {
    /// Nodes that it selects.
    pub(super) desired: usize,
    /// Of these, nodes that run this version.
    pub(super) programmed: usize,
    /// Of the programmed, nodes whose agent is not connected.
    pub(super) silent: Some5<&'a str>,
    /// Nodes that have not answered yet.
    pub(super) pending: Some5<&'a str>,
    /// Nodes without an agent.
    pub(super) absent: Some5<&'a str>,
    /// Nodes that refused it, and why.
    pub(super) failed: Some5<(&'a str, &'a str)>,
    /// Of these, nodes on which an earlier version stays in force.
    pub(super) kept: usize,
    /// Nodes whose kernel cannot run it.
    pub(super) incompatible: usize,
    /// By release.
    pub(super) kernels: BTreeMap<&'a str, OnKernel<'a>>,
}

/// What became of one policy on the nodes of one kernel.
#[derive(Debug, Default)]
pub(super) struct OnKernel<'a> {
    pub(super) nodes: Some5<&'a str>,
    pub(super) programmed: usize,
    /// Nodes for which the compiler has not judged it yet.
    pub(super) unjudged: usize,
    /// Why it cannot run there.
    pub(super) problem: Option<String>,
    /// The same, or why a node refused it, or the compiler's warnings.
    pub(super) note: Option<String>,
}

impl<'a> Pass<'a> {
    /// Looks at the nodes.
    pub fn new(view: View<'a>) -> Pass<'a> {
        let mut known: HashMap<*const (), usize> = HashMap::new();
        let mut sets = Vec::new();
        let mut place = |state: &'a NodeState| {
            *known.entry(Arc::as_ptr(&state.policies).cast()).or_insert_with(|| {
                sets.push(&*state.policies);
                sets.len() - 1
            })
        };
        let nodes = view.nodes.iter().filter_map(|(name, labels)| {
            let agent = view.fleet.nodes.get(name).map(|state| (&**state, place(state)));
            // Such as one of Windows: no policy is for it.
            let counts = agent.is_some() || view.agents.include(labels);
            counts.then_some(Seen { name, labels, agent })
        });
        Pass { nodes: nodes.collect(), fleet: view.fleet, seeds: view.seeds, draining: view.draining, sets }
    }

    /// Whether all policies are being taken off all nodes.
    pub(super) fn draining(&self) -> bool {
        self.draining
    }

    /// What was counted for a policy: never less than the leader before has told, and that again with what was counted
    /// since. Until a node has said something, it is what the status says.
    pub(super) fn counted(&self, key: &PolicyKey, before: Option<&TracingPolicyStatus>) -> Option<Counted> {
        let Some(sums) = self.fleet.counters.get(key) else { return before.and_then(Counted::of) };
        let fresh = self.fleet.fresh.get(key).map(counted).unwrap_or_default();
        let (sums, seed) = (counted(sums), self.seeds.get(key).copied().unwrap_or_default());
        Some(Counted {
            matches: sums.matches.max(seed.matches.saturating_add(fresh.matches)),
            enforced: sums.enforced.max(seed.enforced.saturating_add(fresh.enforced)),
        })
    }

    /// Counts for one policy.
    pub(super) fn tally(&self, version: &PolicyVersion) -> Tally<'a> {
        let mut tally = Tally::default();
        let on: Vec<Option<&PolicyOnNode>> = self
            .sets
            .iter()
            .map(|set| {
                set.get(&version.key).filter(|on| version.policy.is_some() && on.digest == version.digest)
            })
            .collect();
        for node in &self.nodes {
            if !selects(version.node_selector.as_ref(), Some(node.labels)) {
                continue;
            }
            tally.desired += 1;
            let Some((state, set)) = node.agent else {
                tally.absent.push(node.name);
                continue;
            };
            tally.count(node.name, state, on.get(set).copied().flatten());
        }
        if version.policy.is_some() {
            self.judge(version, &mut tally);
        }
        tally
    }

    /// Adds what the compiler said, by kernel.
    fn judge(&self, version: &PolicyVersion, tally: &mut Tally<'a>) {
        for kernel in self.fleet.kernels.values() {
            let Some(on) = tally.kernels.get_mut(kernel.release.as_str()) else { continue };
            let verdict = kernel.verdicts.get(&version.key).filter(|(digest, _)| *digest == version.digest);
            let Some((_, diagnostics)) = verdict else { continue };
            let lines = |errors: bool| {
                let some: Vec<String> =
                    diagnostics.iter().filter(|found| found.is_error() == errors).map(line).collect();
                (!some.is_empty()).then(|| some.join("; "))
            };
            if let Some(problem) = lines(true) {
                on.note = Some(problem.clone());
                on.problem = Some(problem);
            } else if on.note.is_none() {
                on.note = lines(false).map(|warnings| format!("warning: {warnings}"));
            }
        }
    }
}

impl<'a> Tally<'a> {
    fn count(&mut self, name: &'a str, state: &'a NodeState, on: Option<&'a PolicyOnNode>) {
        let kernel = self.kernels.entry(state.release.as_str()).or_default();
        kernel.nodes.push(name);
        match on.map(|on| &on.state) {
            Some(Programming::Programmed { .. }) => {
                self.programmed += 1;
                kernel.programmed += 1;
                if !state.connected {
                    self.silent.push(name);
                }
            }
            Some(Programming::Incompatible) => {
                self.incompatible += 1;
                let unknown = || "the compiler refused it".to_owned();
                kernel.problem.get_or_insert_with(unknown);
            }
            Some(Programming::Failed { message, kept }) => {
                self.failed.push((name, message));
                self.kept += usize::from(*kept);
                kernel.note.get_or_insert_with(|| format!("{name}: {message}"));
            }
            // Sent means compiled.
            Some(Programming::Pending) => self.pending.push(name),
            None => {
                kernel.unjudged += 1;
                self.pending.push(name);
            }
        }
    }

    /// Releases that cannot run it, and why.
    pub(super) fn problems(&self) -> impl Iterator<Item = (&'a str, &OnKernel<'a>, &str)> {
        self.kernels
            .iter()
            .filter_map(|(release, kernel)| Some((*release, kernel, kernel.problem.as_deref()?)))
    }
}

type Counters = [u64; POLICY_COUNTERS as usize];

fn sum(counters: &Counters, of: &[PolicyCounter]) -> i64 {
    let values = of.iter().filter_map(|counter| counters.get(*counter as usize));
    i64::try_from(values.fold(0, |sum: u64, value| sum.saturating_add(*value))).unwrap_or(i64::MAX)
}

fn counted(counters: &Counters) -> Counted {
    Counted {
        matches: sum(counters, &[PolicyCounter::Match]),
        enforced: sum(counters, &[PolicyCounter::Signal, PolicyCounter::Override]),
    }
}

/// The first error of a policy, and how many there are.
pub(super) fn errors(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().filter(|found| found.is_error()).map(line).collect()
}
