//! In: a checked policy, the fleet and the nodes. Out: whether it may be stored, and what to say.
//!
//! A policy is judged by the kernels of the nodes that it selects, as it will be once it is stored; if it selects none
//! at the moment, by all of them. What no kernel can run is refused only if every one of these kernels is known: a leader
//! that has just begun knows a part of the fleet, and a policy that is good for the rest must not be refused by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use policy_compiler::compile;
use policy_compiler::diagnostic::Diagnostic;

use super::render;
use crate::fleet::selects;
use crate::model::{AgentNodes, Fleet, KernelDigest, KernelState, Nodes, PolicyVersion};
use crate::status::text::Some5;

/// What becomes of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It may be stored.
    Allowed {
        /// What its author should know; one line each.
        warnings: Vec<String>,
    },
    /// It may not.
    Refused {
        /// Why: a line for each problem.
        message: String,
    },
}

impl Judgement {
    /// Nothing to say.
    pub(super) fn silent() -> Judgement {
        Judgement::Allowed { warnings: Vec::new() }
    }
}

/// What kernels say of a policy: text of one problem or warning, and the releases that it is true of.
type Said = BTreeMap<String, BTreeSet<String>>;

/// Judges a policy.
pub fn judge(
    version: &PolicyVersion,
    fleet: &Fleet,
    nodes: &Nodes,
    agents: &AgentNodes,
    refuse_partly: bool,
) -> Judgement {
    let Some(policy) = version.policy.as_deref() else {
        let errors: Vec<&Diagnostic> = version.diagnostics.iter().filter(|it| it.is_error()).collect();
        return Judgement::Refused { message: render::refusal(&errors) };
    };
    let mut warnings: Vec<String> = version.diagnostics.iter().map(crate::status::text::line).collect();
    let kernels = kernels(version, fleet, nodes);
    if kernels.is_empty() {
        let message =
            "no agent has reported its kernel yet; the policy was not compiled, see its status later";
        warnings.push(message.to_owned());
        return Judgement::Allowed { warnings: render::warnings(warnings) };
    }
    let (mut problems, mut hints) = (Said::new(), Said::new());
    let mut unable: BTreeSet<&str> = BTreeSet::new();
    let mut able = 0;
    for kernel in &kernels {
        let compiled = compile(std::slice::from_ref(policy), &kernel.kernel);
        let found = compiled.diagnostics.get(&version.key).map(Vec::as_slice).unwrap_or_default();
        if found.iter().any(Diagnostic::is_error) {
            unable.insert(&kernel.release);
        } else {
            able += 1;
        }
        for diagnostic in found {
            let said = if diagnostic.is_error() { &mut problems } else { &mut hints };
            // Which kernels it is true of is told beside it.
            let text = crate::status::text::line(diagnostic);
            let text = text.replace(&format!("kernel {}", kernel.release), "the kernel");
            said.entry(text).or_default().insert(kernel.release.clone());
        }
    }
    let unknown = unknown(version, fleet, nodes, agents);
    if !unable.is_empty() && (refuse_partly || (able == 0 && unknown.count == 0)) {
        let unable = unable.into_iter().collect::<Vec<_>>();
        return Judgement::Refused { message: render::incompatible(&problems, &unable, able) };
    }
    warnings
        .extend(problems.iter().map(|(text, releases)| render::on_kernels("will not run", releases, text)));
    if !unable.is_empty() && unknown.count > 0 {
        let names = unknown.names();
        warnings.push(format!("not refused, as the kernels of some nodes are not known yet: {names}"));
    }
    let everywhere = |releases: &BTreeSet<String>| releases.len() == kernels.len();
    warnings.extend(hints.iter().map(|(text, releases)| match everywhere(releases) {
        true => text.clone(),
        false => render::on_kernels("note", releases, text),
    }));
    Judgement::Allowed { warnings: render::warnings(warnings) }
}

/// Selected nodes that are to have an agent and whose kernel is not known yet.
fn unknown<'a>(
    version: &PolicyVersion,
    fleet: &Fleet,
    nodes: &'a Nodes,
    agents: &AgentNodes,
) -> Some5<&'a str> {
    let mut unknown = Some5::default();
    let selected = |labels| agents.include(labels) && selects(version.node_selector.as_ref(), Some(labels));
    for (name, _) in nodes.iter().filter(|(_, labels)| selected(*labels)) {
        let kernel = fleet.nodes.get(name).and_then(|state| state.kernel);
        if !kernel.is_some_and(|kernel| fleet.kernels.contains_key(&kernel)) {
            unknown.push(&**name);
        }
    }
    unknown
}

/// The kernels to judge by.
fn kernels(version: &PolicyVersion, fleet: &Fleet, nodes: &Nodes) -> Vec<Arc<KernelState>> {
    let selected: BTreeSet<KernelDigest> = fleet
        .nodes
        .iter()
        .filter(|(name, _)| selects(version.node_selector.as_ref(), nodes.get(*name)))
        .filter_map(|(_, state)| state.kernel)
        .collect();
    let some: Vec<_> = selected.iter().filter_map(|digest| fleet.kernels.get(digest).cloned()).collect();
    if some.is_empty() { fleet.kernels.values().cloned().collect() } else { some }
}
