//! In: one input. Out: what the compiler made of it, or what it did wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use api::artefact::Artefact;
use policy_compiler::check::{Checked, check_yaml};
use policy_compiler::typed::TypedPolicy;
use policy_compiler::{Compiled, Kernel, compile};

/// Longest time for one input. Inputs are of a few kilobytes and take milliseconds without optimisation; the rest
/// is room for a busy machine.
const SLOWEST: Duration = Duration::from_secs(10);

/// Most instructions that kernels accept in a program.
const INSTRUCTIONS: usize = 1_000_000;

/// Bytes of an instruction.
const INSTRUCTION: usize = 8;

/// What an input led to.
pub struct Outcome {
    /// The policies in it.
    pub policies: Vec<TypedPolicy>,
    /// Every document in it is a valid policy.
    pub accepted: bool,
    /// Programs made of them, on all kernels.
    pub programs: usize,
    /// What was seen, to tell new outcomes from known ones.
    pub signature: String,
}

/// Runs the compiler on one input, together with `beside`, policies of an earlier input.
///
/// # Errors
///
/// What the compiler did wrong.
pub fn judge(input: &str, beside: &[TypedPolicy], kernels: &[Kernel]) -> Result<Outcome, String> {
    let started = Instant::now();
    let checked = guarded("the check", || check_yaml(input))?;
    if checked.is_empty() {
        return Err("the check said nothing".to_owned());
    }
    let mut outcome = Outcome { policies: Vec::new(), accepted: true, programs: 0, signature: String::new() };
    for checked in checked {
        judge_document(checked, &mut outcome)?;
    }
    if !outcome.policies.is_empty() {
        for kernel in kernels {
            judge_compile(beside, kernel, &mut outcome)?;
        }
    }
    let took = started.elapsed();
    if took > SLOWEST {
        return Err(format!("it took {} ms", took.as_millis()));
    }
    Ok(outcome)
}

/// Runs a stage; a panic is a failure like others.
///
/// # Errors
///
/// It panicked.
pub fn guarded<T>(stage: &str, work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| format!("{stage} panicked; its message is above"))
}

fn judge_document(checked: Checked, outcome: &mut Outcome) -> Result<(), String> {
    let refused = checked.diagnostics.iter().any(|found| found.is_error());
    if checked.policy.is_some() == refused {
        return Err("a policy must be there exactly if nothing is an error".to_owned());
    }
    outcome.accepted &= !refused;
    for found in &checked.diagnostics {
        note(found.code.as_str(), &found.path, &mut outcome.signature);
    }
    outcome.policies.extend(checked.policy);
    Ok(())
}

/// Fields without their positions: `spec.kprobes[3].args[0]` and `spec.kprobes[0].args[1]` are one place.
pub fn note(code: &str, path: &str, signature: &mut String) {
    let place: String = path.chars().filter(|c| !c.is_ascii_digit()).take(120).collect();
    signature.push_str(&format!("{code} {place};"));
}

fn judge_compile(beside: &[TypedPolicy], kernel: &Kernel, outcome: &mut Outcome) -> Result<(), String> {
    let alone = guarded("compiling", || compile(&outcome.policies, kernel))?;
    judge_result(&outcome.policies, &alone)?;
    for found in alone.diagnostics.values().flatten() {
        note(found.code.as_str(), &found.path, &mut outcome.signature);
    }
    for artefact in &alone.artefacts {
        let size = artefact.insns.len() / INSTRUCTION;
        outcome.signature.push_str(&format!("{:?} {};", artefact.attach.flavour, size.next_power_of_two()));
    }
    outcome.programs += alone.artefacts.len();
    let mut both = outcome.policies.clone();
    both.extend(
        beside
            .iter()
            .filter(|other| both.iter().all(|own| own.key != other.key))
            .cloned()
            .collect::<Vec<_>>(),
    );
    let together = guarded("compiling two policies together", || compile(&both, kernel))?;
    judge_result(&both, &together)?;
    both.reverse();
    let reversed = guarded("compiling two policies together", || compile(&both, kernel))?;
    let digests = |compiled: &Compiled| compiled.artefacts.iter().map(Artefact::digest).collect::<Vec<_>>();
    if digests(&together) != digests(&reversed) {
        return Err("the order of the policies changes the programs".to_owned());
    }
    Ok(())
}

/// Whether what came of policies is consistent.
///
/// # Errors
///
/// What the compiler did wrong.
pub fn judge_result(policies: &[TypedPolicy], compiled: &Compiled) -> Result<(), String> {
    for policy in policies {
        let accepted = compiled.accepted.contains(&policy.key);
        let notes = compiled.diagnostics.get(&policy.key);
        let refused = notes.is_some_and(|notes| notes.iter().any(|found| found.is_error()));
        if accepted == refused {
            return Err(format!("policy {} is neither accepted nor refused, or both", policy.key));
        }
    }
    for artefact in &compiled.artefacts {
        let size = artefact.insns.len();
        if size == 0 || !size.is_multiple_of(INSTRUCTION) || size / INSTRUCTION > INSTRUCTIONS {
            return Err(format!("a program of {size} bytes"));
        }
    }
    Ok(())
}
