//! In: typed policies and a kernel. Out: artefacts, and per policy what is wrong with it. The only list of stages.

use crate::artefact::artefact;
use crate::diagnostic::Diagnostic;
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
        Err((path, problem)) => refuse(&mut out, policies, kernel, &path, problem),
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

fn together(
    hooks: Vec<ResolvedHook<'_>>,
    kernel: &Kernel,
) -> Result<Vec<Artefact>, (Option<PolicyKey>, Diagnostic)> {
    let last_of = |hooks: &[ResolvedHook<'_>]| hooks.last().map(|hook| hook.policy.key.clone());
    let last = last_of(&hooks);
    let first = |problems: Vec<Diagnostic>| problems.into_iter().next();
    let programs = match plan(hooks, kernel) {
        Ok(programs) => programs,
        Err(problems) => {
            let unknown =
                || Diagnostic::error(crate::diagnostic::Code::Limit, "", "the policies do not fit together");
            return Err((last, first(problems).unwrap_or_else(unknown)));
        }
    };
    let mut artefacts = Vec::new();
    for program in &programs {
        match lower(program, kernel) {
            Ok((finished, maps)) => artefacts.push(artefact(program, finished, maps)),
            Err(problem) => {
                let key = program.entries.last().map(|entry| entry.hook.policy.key.clone());
                return Err((key.or(last), problem));
            }
        }
    }
    Ok(artefacts)
}

/// Too much together: leaves out the last policy of the program that does not fit, and tries again.
fn refuse(
    out: &mut Compiled,
    policies: &[TypedPolicy],
    kernel: &Kernel,
    key: &Option<PolicyKey>,
    problem: Diagnostic,
) {
    let Some(key) = key else { return };
    let rest: Vec<TypedPolicy> = policies.iter().filter(|policy| policy.key != *key).cloned().collect();
    if rest.len() == policies.len() {
        return;
    }
    let mut again = compile(&rest, kernel);
    again.diagnostics.entry(key.clone()).or_default().push(problem);
    *out = again;
}
