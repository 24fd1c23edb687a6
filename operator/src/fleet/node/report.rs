//! In: what is known of a node. Out: its [`NodeState`], for status and tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::fleet::FAILURES_MAX;
use policy_compiler::typed::PolicyKey;

use super::{Answer, Exclusion, Node};
use crate::fleet::compile::SetKey;
use crate::fleet::selection::SelectionId;
use crate::model::{NodeState, PolicyDigest, PolicyOnNode, Programming};

/// Nodes of the same key have the same states of their policies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StateKey {
    selection: SelectionId,
    compiled: Option<SetKey>,
    sent: Option<(SetKey, SelectionId)>,
    answered: bool,
    runs: Option<SelectionId>,
}

impl Node {
    /// The key, if the node is like others: it has refused nothing.
    pub fn state_key(&self) -> Option<StateKey> {
        let answer = self.sent.as_ref().and_then(|sent| sent.answer.as_ref());
        if !self.exclusions.is_empty() || answer.is_some_and(|answer| !answer.is_good()) {
            return None;
        }
        Some(StateKey {
            selection: self.selection.id,
            compiled: self.set.as_ref().map(|set| set.key),
            sent: self.sent.as_ref().map(|sent| (sent.set.key, sent.versions.id)),
            answered: answer.is_some(),
            runs: self.running().map(|good| good.id),
        })
    }

    /// All that is known, with the states of the policies as [`states`] found them.
    pub fn report(&self, kernel_known: bool, policies: Arc<BTreeMap<PolicyKey, PolicyOnNode>>) -> NodeState {
        NodeState {
            kernel: kernel_known.then_some(self.greeting.kernel),
            release: self.greeting.release.clone(),
            agent_version: self.greeting.agent_version.clone(),
            connected: self.is_connected(),
            desired_generation: self.sent.as_ref().map_or(0, |sent| sent.generation),
            applied_generation: self.applied_generation,
            runs_nothing: self.runs_nothing(),
            policies,
            failing_hooks: failing(self),
        }
    }
}

/// What became of each policy that a node selects.
pub fn states(node: &Node) -> BTreeMap<PolicyKey, PolicyOnNode> {
    let failed = failed_policies(node);
    let state = |(key, version): (&PolicyKey, &Arc<crate::model::PolicyVersion>)| {
        let state = state(node, key, version.digest, &failed);
        (key.clone(), PolicyOnNode { digest: version.digest, state })
    };
    node.selection.versions.iter().map(state).collect()
}

/// What does not run as it was asked, for people: also while the node runs a good set without it.
fn failing(node: &Node) -> Vec<String> {
    let refused = node.exclusions.iter().filter(|(_, exclusion)| !exclusion.suspect);
    let refused = refused.map(|(key, exclusion)| format!("{key}: {}", exclusion.message));
    let answer = node.sent.iter().filter_map(|sent| sent.answer.as_ref());
    let answer = answer.flat_map(|answer| answer.refused.iter().chain(&answer.left_over).cloned());
    answer.chain(refused).take(FAILURES_MAX).collect()
}

fn failed_policies(node: &Node) -> BTreeSet<&PolicyKey> {
    let Some(sent) = &node.sent else { return BTreeSet::new() };
    let failed = sent.answer.iter().flat_map(|answer| &answer.failed);
    failed.filter_map(|digest| sent.set.programs.get(digest)).flat_map(|program| &program.policies).collect()
}

fn state(node: &Node, key: &PolicyKey, version: PolicyDigest, failed: &BTreeSet<&PolicyKey>) -> Programming {
    match node.exclusions.get(key) {
        Some(Exclusion { suspect: true, .. }) => return Programming::Pending,
        Some(Exclusion { message, kept, .. }) => {
            return Programming::Failed { message: message.clone(), kept: *kept };
        }
        None => {}
    }
    let compiled = node.set.as_ref().and_then(|set| set.verdicts.get(key).map(|verdict| (set, verdict.0)));
    if compiled.is_some_and(|(set, digest)| digest == version && set.refuses(key)) {
        return Programming::Incompatible;
    }
    // Another set is on its way, or was refused as a whole: what it has in common with the one before runs on.
    let runs = || {
        let hooks = node.sent.as_ref().and_then(|sent| sent.set.hooks.get(key)).copied();
        node.runs(key, version).then(|| Programming::Programmed { hooks: hooks.unwrap_or(0) })
    };
    let Some(sent) = node.sent.as_ref().filter(|sent| sent.versions.digest(key) == Some(version)) else {
        return runs().unwrap_or(Programming::Pending);
    };
    match &sent.answer {
        None => runs().unwrap_or(Programming::Pending),
        Some(Answer { refused: Some(message), .. }) => runs().unwrap_or_else(|| {
            let kept = node.good.as_ref().is_some_and(|good| good.versions.contains_key(key));
            Programming::Failed { message: message.clone(), kept }
        }),
        // Another policy in the same program is to blame; the set without it is on its way.
        Some(_) if failed.contains(key) => Programming::Pending,
        Some(_) => Programming::Programmed { hooks: sent.set.hooks.get(key).copied().unwrap_or(0) },
    }
}
