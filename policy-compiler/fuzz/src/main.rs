//! In: the example policies and the file tests of `check` as a corpus, and a seed. Out: whether any mutation of
//! them makes the compiler panic, take too long, or contradict itself; the input that does is written to a file.
//!
//! Mutations that reach a combination of diagnostic codes and hook sections not seen before join the corpus.

mod mutate;

use std::collections::HashSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use policy_compiler::check::{Checked, check_yaml};

use mutate::{Corpus, Mutator};

/// Longest time for one input. Inputs are of a few kilobytes and take about a millisecond without optimisation;
/// the rest is room for a busy machine.
const SLOWEST: Duration = Duration::from_secs(5);

/// Mutate policies and see that the compiler answers each with a policy or with errors
#[derive(Parser)]
struct Args {
    /// How long to run
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seed of the mutations; the same seed gives the same inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to write an input that fails
    #[arg(long, default_value = "fuzz-failure.yaml")]
    output: PathBuf,
    /// Judge this one file, such as one that an earlier run has written
    #[arg(long)]
    input: Option<PathBuf>,
}

fn main() -> ExitCode {
    run(&Args::parse()).unwrap_or_else(|error| {
        eprintln!("fuzz: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(args: &Args) -> Result<ExitCode> {
    if let Some(path) = &args.input {
        let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        return Ok(match judge(&String::from_utf8_lossy(&text)) {
            Ok(_) => ExitCode::SUCCESS,
            Err(reason) => fail(&reason, path),
        });
    }
    let mut corpus = corpus()?;
    let mut mutator = Mutator::new(args.seed);
    let mut seen = HashSet::new();
    let (started, limit) = (Instant::now(), Duration::from_secs(args.seconds));
    let (mut inputs, mut accepted, mut reported) = (0_u64, 0_u64, Instant::now());
    while started.elapsed() < limit {
        let input = mutator.mutate(&corpus);
        inputs += 1;
        match judge(&input) {
            Ok(outcome) => {
                accepted += u64::from(outcome.accepted);
                if seen.insert(outcome.signature) {
                    corpus.add(input, outcome.accepted);
                }
            }
            Err(reason) => {
                let path = &args.output;
                fs::write(path, &input).with_context(|| format!("writing {}", path.display()))?;
                return Ok(fail(&reason, path));
            }
        }
        if reported.elapsed() > Duration::from_secs(10) {
            eprintln!("fuzz: {} s, {inputs} inputs, {} outcomes", started.elapsed().as_secs(), seen.len());
            reported = Instant::now();
        }
    }
    ensure!(
        accepted > 0,
        "no mutation was accepted in {inputs} inputs: the mutations are too coarse to test much"
    );
    println!(
        "fuzz: {inputs} inputs, {accepted} accepted, {} outcomes, no failure (seed {})",
        seen.len(),
        args.seed
    );
    Ok(ExitCode::SUCCESS)
}

fn fail(reason: &str, path: &Path) -> ExitCode {
    eprintln!("fuzz: {reason}\nfuzz: repeat with `cargo xtask fuzz --input {}`", path.display());
    ExitCode::FAILURE
}

fn corpus() -> Result<Corpus> {
    let mut corpus = Corpus::default();
    for folder in ["../../examples/policies", "../filetests/check"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let entries = fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))?;
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
        // Folders have no order of their own, and the seed shall decide everything.
        paths.sort();
        for path in paths {
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            // One document at a time, so that mutations of one are not drowned in the others.
            for document in text.split("\n---\n") {
                let accepted = judge(document).is_ok_and(|outcome| outcome.accepted);
                corpus.add(format!("{document}\n"), accepted);
            }
        }
    }
    ensure!(
        !corpus.accepted.is_empty(),
        "no valid policy in examples/policies and policy-compiler/filetests/check"
    );
    Ok(corpus)
}

struct Outcome {
    accepted: bool,
    /// What was seen, to tell new outcomes from known ones.
    signature: String,
}

/// Runs the compiler on one input; `Err` says what it did wrong.
fn judge(input: &str) -> Result<Outcome, String> {
    let started = Instant::now();
    let checked = catch_unwind(AssertUnwindSafe(|| check_yaml(input)))
        .map_err(|_| "the check panicked; its message is above".to_owned())?;
    let took = started.elapsed();
    if took > SLOWEST {
        return Err(format!("the check took {} ms", took.as_millis()));
    }
    if checked.is_empty() {
        return Err("the check said nothing".to_owned());
    }
    let mut outcome = Outcome { accepted: false, signature: String::new() };
    for checked in &checked {
        judge_document(checked, &mut outcome)?;
    }
    Ok(outcome)
}

fn judge_document(checked: &Checked, outcome: &mut Outcome) -> Result<(), String> {
    let refused = checked.diagnostics.iter().any(|found| found.is_error());
    if checked.policy.is_some() == refused {
        return Err("a policy must be there exactly if nothing is an error".to_owned());
    }
    outcome.accepted |= checked.policy.is_some();
    for found in &checked.diagnostics {
        // Fields without their positions: `spec.kprobes[3].args[0]` and `spec.kprobes[0].args[1]` are one place.
        let place: String = found.path.chars().filter(|c| !c.is_ascii_digit()).take(120).collect();
        outcome.signature.push_str(&format!("{} {place};", found.code.as_str()));
    }
    if let Some(policy) = &checked.policy {
        for hook in &policy.hooks {
            let types: Vec<String> = hook.args.iter().map(|arg| format!("{:?}", arg.ty)).collect();
            outcome.signature.push_str(&format!("{} {};", types.join(","), hook.selectors.len()));
        }
    }
    Ok(())
}
