//! In: typed policies and a kernel. Out: artefacts, and per policy what is wrong with it. The only list of stages.

use crate::artefact::artefact;
use crate::diagnostic::{Code, Diagnostic};
use crate::kernel::Kernel;
use crate::lower::lower;
use crate::plan::plan;
use crate::resolve::{ResolvedHook, resolve};
use crate::typed::{PolicyKey, TypedPolicy};
use api::artefact::{Artefact, Attach};
use std::collections::BTreeMap;

/// Hook entries on one attach point. Each adds about 230 instructions to its program, and the verifier's time grows
/// faster than that: 300 entries take it 3 s, 800 take 28 s (6.18, 2 cores). 256 fill four candidate masks.
pub const ENTRIES_PER_HOOK: usize = 256;

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
    let mut room = Room::default();
    for policy in sorted {
        let mut notes = Vec::new();
        match alone(policy, kernel, &mut notes).and_then(|resolved| room.take(resolved)) {
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

/// Entries by attach point so far.
#[derive(Default)]
struct Room(BTreeMap<Attach, usize>);

impl Room {
    /// Takes a policy's entries in, all or none.
    fn take<'a>(&mut self, hooks: Vec<ResolvedHook<'a>>) -> Result<Vec<ResolvedHook<'a>>, Vec<Diagnostic>> {
        let mut with = self.0.clone();
        let mut problems = Vec::new();
        for hook in &hooks {
            for point in hook.entry.iter().chain(&hook.exit).chain(&hook.save) {
                let entries = with.entry(point.attach.clone()).or_default();
                *entries += 1;
                if *entries > ENTRIES_PER_HOOK {
                    let message = format!(
                        "`{}` has {ENTRIES_PER_HOOK} hooks of other policies already",
                        point.attach.target
                    );
                    let problem = Diagnostic::error(Code::Limit, hook.hook.path.clone(), message);
                    problems.push(problem.with_help("put several values or selectors into one policy"));
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        self.0 = with;
        Ok(hooks)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use api::artefact::Flavour;
    use api::profile::KernelProfile;

    #[test]
    fn policies_beyond_a_hooks_room_are_refused_and_the_others_run() {
        let btf =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/kernel-6.btf")).expect("fixture");
        let profile =
            KernelProfile { btf, flavours: vec![Flavour::Fentry as i32], ..KernelProfile::default() };
        let kernel = Kernel::new(profile).expect("BTF");
        let text = |i: usize| {
            format!(
                "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: p{i:03}}}\nspec:\n  kprobes:\n  - {{call: tcp_connect, syscall: false}}\n"
            )
        };
        let policies: Vec<TypedPolicy> = (0..ENTRIES_PER_HOOK + 2)
            .flat_map(|i| crate::check::check_yaml(&text(i)))
            .filter_map(|checked| checked.policy)
            .collect();
        let compiled = compile(&policies, &kernel);
        assert_eq!(compiled.accepted.len(), ENTRIES_PER_HOOK);
        assert_eq!(compiled.artefacts.first().map(|artefact| artefact.hooks.len()), Some(ENTRIES_PER_HOOK));
        let refused: Vec<String> = compiled.diagnostics.keys().map(ToString::to_string).collect();
        assert_eq!(refused, ["p256", "p257"]);
    }
}
