//! In: typed policies and a kernel. Out: artefacts, and per policy what is wrong with it. The only list of stages.

use crate::artefact::artefact;
use crate::diagnostic::{Code, Diagnostic};
use crate::kernel::Kernel;
use crate::lower::lower;
use crate::plan::plan;
use crate::resolve::{ResolvedHook, resolve};
use crate::typed::{PolicyKey, TypedPolicy};
use api::artefact::Artefact;
use std::collections::BTreeMap;

/// What came of a set of policies on one kernel.
#[derive(Debug, Default)]
pub struct Compiled {
    /// One per attach point, ordered by it.
    pub artefacts: Vec<Artefact>,
    /// Policies that run.
    pub accepted: Vec<PolicyKey>,
    /// Problems by policy; a policy with an error is in no artefact.
    pub diagnostics: BTreeMap<PolicyKey, Vec<Diagnostic>>,
}

/// Compiles policies for a kernel. Each policy is judged alone: one that this kernel cannot run changes nothing for
/// the others. The result does not depend on the order of `policies`.
pub fn compile(policies: &[TypedPolicy], kernel: &Kernel) -> Compiled {
    let mut sorted: Vec<&TypedPolicy> = policies.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let mut out = Compiled::default();
    let mut hooks = Vec::new();
    for policy in sorted {
        let mut notes = Vec::new();
        match alone(policy, kernel, &mut notes) {
            Ok(resolved) => {
                hooks.extend(resolved);
                out.accepted.push(policy.key.clone());
            }
            Err(problems) => notes.extend(problems),
        }
        if !notes.is_empty() {
            out.diagnostics.entry(policy.key.clone()).or_default().extend(notes);
        }
    }
    match together(hooks, kernel) {
        Ok(artefacts) => out.artefacts = artefacts,
        Err(misfit) => refuse(&mut out, policies, kernel, *misfit),
    }
    out
}

/// Resolves a policy and emits it by itself, so that what only lowering finds is found for this policy.
fn alone<'a>(
    policy: &'a TypedPolicy,
    kernel: &Kernel,
    notes: &mut Vec<Diagnostic>,
) -> Result<Vec<ResolvedHook<'a>>, Vec<Diagnostic>> {
    let resolved = resolve(policy, kernel, notes)?;
    for program in plan(resolved.clone(), kernel)? {
        lower(&program, kernel).map_err(|problem| vec![problem])?;
    }
    Ok(resolved)
}

/// Why the policies do not compile together, and which of them to leave out.
struct Misfit {
    policy: Option<PolicyKey>,
    problem: Diagnostic,
}

fn together(hooks: Vec<ResolvedHook<'_>>, kernel: &Kernel) -> Result<Vec<Artefact>, Box<Misfit>> {
    let last = hooks.last().map(|hook| hook.policy.key.clone());
    let programs = plan(hooks, kernel).map_err(|problems| {
        let unknown = || Diagnostic::error(Code::Limit, "", "the policies do not fit together");
        let problem = problems.into_iter().next().unwrap_or_else(unknown);
        Box::new(Misfit { policy: last.clone(), problem })
    })?;
    let mut artefacts = Vec::new();
    for program in &programs {
        let (finished, maps) = lower(program, kernel).map_err(|problem| {
            let key = program.entries.last().map(|entry| entry.hook.policy.key.clone());
            Box::new(Misfit { policy: key.or_else(|| last.clone()), problem })
        })?;
        artefacts.push(artefact(program, finished, maps));
    }
    Ok(artefacts)
}

/// Too much together: leaves out the last policy of the program that does not fit, and tries again.
fn refuse(out: &mut Compiled, policies: &[TypedPolicy], kernel: &Kernel, misfit: Misfit) {
    let Some(key) = misfit.policy else { return };
    let rest: Vec<TypedPolicy> = policies.iter().filter(|policy| policy.key != key).cloned().collect();
    if rest.len() == policies.len() {
        return;
    }
    let mut again = compile(&rest, kernel);
    again.diagnostics.entry(key).or_default().push(misfit.problem);
    *out = again;
}
