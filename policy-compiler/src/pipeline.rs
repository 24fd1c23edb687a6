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

/// Selectors on one attach point. Each adds about 230 instructions to its program, and the verifier's time grows
/// faster than that: 300 take it 3 s, 800 take 28 s (6.18, 2 cores). 256 fill four candidate masks.
pub const SELECTORS_PER_HOOK: usize = 256;

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
/// the others. Of those that do not fit together the later ones by key are refused. The result does not depend on the
/// order of `policies`.
pub fn compile(policies: &[TypedPolicy], kernel: &Kernel) -> Compiled {
    compile_beside(policies, kernel, |_| false)
}

/// Like [`compile`], but policies for which `runs` is true, those that are in force already in this very version, do not
/// give way to others: one that does not fit beside them is refused.
pub fn compile_beside(
    policies: &[TypedPolicy],
    kernel: &Kernel,
    runs: impl Fn(&TypedPolicy) -> bool,
) -> Compiled {
    compile_ranked(policies, kernel, |policy| !runs(policy))
}

/// Like [`compile`], but of those that do not fit together the ones of higher rank are refused, and of equal rank the later
/// ones by key.
pub fn compile_ranked<R: Ord>(
    policies: &[TypedPolicy],
    kernel: &Kernel,
    rank: impl Fn(&TypedPolicy) -> R,
) -> Compiled {
    let mut sorted: Vec<(R, &TypedPolicy)> = policies.iter().map(|policy| (rank(policy), policy)).collect();
    sorted.sort_by(|(rank, policy), (other_rank, other)| (rank, &policy.key).cmp(&(other_rank, &other.key)));
    let mut out = Compiled::default();
    let mut alone_fine = Vec::new();
    for (_, policy) in sorted {
        let mut notes = Vec::new();
        match alone(policy, kernel, &mut notes) {
            Ok(resolved) => alone_fine.push(resolved),
            Err(problems) => notes.extend(problems),
        }
        out.tell(&policy.key, notes);
    }
    out.artefacts = fit(alone_fine, kernel, &mut out);
    out.accepted.sort();
    out
}

impl Compiled {
    fn tell(&mut self, key: &PolicyKey, notes: Vec<Diagnostic>) {
        if !notes.is_empty() {
            self.diagnostics.entry(key.clone()).or_default().extend(notes);
        }
    }
}

/// A policy and its hooks.
type Resolved<'a> = (&'a TypedPolicy, Vec<ResolvedHook<'a>>);

/// Takes in what fits together, earlier ones first.
fn fit(mut wanted: Vec<Resolved<'_>>, kernel: &Kernel, out: &mut Compiled) -> Vec<Artefact> {
    let mut room = Room::default();
    wanted.retain(|(policy, hooks)| match room.take(hooks) {
        Ok(()) => true,
        Err(problems) => {
            out.tell(&policy.key, problems);
            false
        }
    });
    loop {
        let problem = match together(&wanted, kernel) {
            Ok(artefacts) => {
                out.accepted = wanted.iter().map(|(policy, _)| policy.key.clone()).collect();
                return artefacts;
            }
            Err(problem) => problem,
        };
        // The first with which they are too much; those after it may fit.
        let (mut fits, mut too_many) = (0, wanted.len());
        let mut problem = problem;
        while too_many - fits > 1 {
            let middle = fits + (too_many - fits) / 2;
            match together(wanted.get(..middle).unwrap_or_default(), kernel) {
                Ok(_) => fits = middle,
                Err(found) => (too_many, problem) = (middle, found),
            }
        }
        if too_many == 0 {
            return Vec::new();
        }
        let (policy, _) = wanted.remove(too_many - 1);
        out.tell(&policy.key, vec![problem]);
    }
}

/// Selectors by attach point so far; a hook without counts as one.
#[derive(Default)]
struct Room(BTreeMap<Attach, usize>);

impl Room {
    /// Takes a policy's selectors in, all or none.
    fn take(&mut self, hooks: &[ResolvedHook<'_>]) -> Result<(), Vec<Diagnostic>> {
        let mut with = self.0.clone();
        let mut problems = Vec::new();
        for hook in hooks {
            let selectors = hook.hook.selectors.len().max(1);
            for point in hook.entry.iter().chain(&hook.exit).chain(&hook.save) {
                let taken = with.entry(point.attach.clone()).or_default();
                if *taken + selectors > SELECTORS_PER_HOOK {
                    let message = format!(
                        "`{}` has room for {SELECTORS_PER_HOOK} selectors; those of other policies take {taken}, \
                         this hook has {selectors}",
                        point.attach.target
                    );
                    let problem = Diagnostic::error(Code::Limit, hook.hook.path.clone(), message);
                    problems.push(problem.with_help("put several values into one selector"));
                }
                *taken += selectors;
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        self.0 = with;
        Ok(())
    }
}

/// Resolves a policy and emits it by itself, so that what only lowering finds is found for this policy.
fn alone<'a>(
    policy: &'a TypedPolicy,
    kernel: &Kernel,
    notes: &mut Vec<Diagnostic>,
) -> Result<Resolved<'a>, Vec<Diagnostic>> {
    let resolved = resolve(policy, kernel, notes)?;
    for program in plan(resolved.clone(), kernel)? {
        lower(&program, kernel).map_err(|problem| vec![problem])?;
    }
    Ok((policy, resolved))
}

/// The programs of all these policies, or why they are too much together.
fn together(policies: &[Resolved<'_>], kernel: &Kernel) -> Result<Vec<Artefact>, Diagnostic> {
    let mut sorted: Vec<&Resolved<'_>> = policies.iter().collect();
    sorted.sort_by_key(|(policy, _)| &policy.key);
    let hooks = sorted.into_iter().flat_map(|(_, hooks)| hooks.iter().cloned()).collect();
    let programs = plan(hooks, kernel).map_err(|problems| {
        let unknown = || Diagnostic::error(Code::Limit, "", "the policies do not fit together");
        problems.into_iter().next().unwrap_or_else(unknown)
    })?;
    let emit = |program| {
        let (finished, maps) = lower(program, kernel)?;
        Ok(artefact(program, finished, maps))
    };
    programs.iter().map(emit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::artefact::Flavour;
    use api::profile::KernelProfile;

    fn kernel() -> Kernel {
        let btf =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/kernel-6.btf")).expect("fixture");
        let flavours = vec![Flavour::Fentry as i32, Flavour::Tracepoint as i32];
        Kernel::new(KernelProfile { btf, flavours, ..KernelProfile::default() }).expect("BTF")
    }

    fn policies(text: &str) -> Vec<TypedPolicy> {
        let checked = crate::check::check_yaml(text).into_iter();
        checked.map(|checked| checked.policy.unwrap_or_else(|| panic!("{:?}", checked.diagnostics))).collect()
    }

    fn document(name: &str, hook: &str) -> String {
        format!(
            "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}}}\nspec:\n{hook}---\n"
        )
    }

    /// A hook with so many selectors, each of another process.
    fn connects(name: &str, selectors: usize) -> String {
        let selector = |i| format!("    - matchPIDs: [{{operator: In, values: [{}]}}]\n", i + 1);
        let selectors: String = (0..selectors).map(selector).collect();
        let list = if selectors.is_empty() { "" } else { "    selectors:\n" };
        document(name, &format!("  kprobes:\n  - call: tcp_connect\n    syscall: false\n{list}{selectors}"))
    }

    fn refused(compiled: &Compiled) -> Vec<String> {
        compiled.diagnostics.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn policies_beyond_a_hooks_room_are_refused_and_the_others_run() {
        let many = (0..SELECTORS_PER_HOOK + 2).map(|i| connects(&format!("p{i:03}"), 0));
        let compiled = compile(&policies(&many.collect::<String>()), &kernel());
        assert_eq!(compiled.accepted.len(), SELECTORS_PER_HOOK);
        assert_eq!(compiled.artefacts.first().map(|artefact| artefact.hooks.len()), Some(SELECTORS_PER_HOOK));
        assert_eq!(refused(&compiled), ["p256", "p257"]);
    }

    #[test]
    fn the_room_of_a_hook_is_counted_in_selectors() {
        let many = (0..SELECTORS_PER_HOOK / 5 + 1).map(|i| connects(&format!("p{i:03}"), 5));
        let text = many.chain([connects("q", 1), connects("r", 1)]).collect::<String>();
        let compiled = compile(&policies(&text), &kernel());
        assert_eq!(refused(&compiled), ["p051", "r"]);
    }

    #[test]
    fn a_new_policy_never_takes_the_room_of_one_that_runs() {
        let running: String = (0..SELECTORS_PER_HOOK).map(|i| connects(&format!("p{i:03}"), 0)).collect();
        let running = policies(&running);
        let mut all = policies(&connects("a-new-one", 0));
        all.extend(running.clone());
        let compiled = compile_beside(&all, &kernel(), |policy| running.contains(policy));
        assert_eq!(refused(&compiled), ["a-new-one"]);
        // A changed version is a new one.
        all.extend(policies(&connects("p007", 1)));
        all.retain(|policy| policy != &running[7]);
        let compiled = compile_beside(&all, &kernel(), |policy| running.contains(policy));
        assert_eq!(refused(&compiled), ["p007"], "`a-new-one` comes first by its key");
    }

    /// Two strings each; four distinct ones fit into a program.
    fn strings(name: &str, args: [u32; 2]) -> String {
        let args = args.map(|index| format!("    - {{index: {index}, type: string}}\n")).concat();
        let hook = format!("  kprobes:\n  - call: fixture_strings\n    syscall: false\n    args:\n{args}");
        document(name, &hook)
    }

    #[test]
    fn of_policies_that_do_not_fit_one_program_the_new_one_goes_and_bystanders_stay() {
        let text =
            [strings("b", [0, 1]), strings("c", [2, 3]), strings("a", [4, 0]), strings("d", [0, 1])].concat();
        let all = policies(&text);
        let compiled = compile(&all, &kernel());
        assert_eq!(refused(&compiled), ["c"], "by key, as none runs");
        let compiled =
            compile_beside(&all, &kernel(), |policy| ["b", "c"].contains(&policy.key.name.as_str()));
        assert_eq!(refused(&compiled), ["a"]);
        assert_eq!(compiled.accepted.len(), 3);
    }
}
