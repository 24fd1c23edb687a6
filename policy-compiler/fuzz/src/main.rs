//! In: the example policies, the file tests of `check` and `seeds/` as a corpus, and a seed. Out: whether any
//! mutation of them makes the compiler panic, take too long, or contradict itself; the input that does is written
//! to a file.
//!
//! Mutations with an outcome that was not seen before join the corpus.

mod judge;
mod kernels;
mod mutate;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use policy_compiler::Kernel;

use judge::judge;
use mutate::{Corpus, Mutator};

/// Mutate policies and see that the compiler answers each with programs or with errors
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
    let kernels = kernels::all()?;
    if let Some(path) = &args.input {
        let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        return Ok(judge_pair(&String::from_utf8_lossy(&text), &kernels, path));
    }
    let mut corpus = corpus(&kernels)?;
    let mut mutator = Mutator::new(args.seed);
    let (mut seen, mut count, mut previous) = (HashSet::new(), Count::default(), Vec::new());
    let (started, limit) = (Instant::now(), Duration::from_secs(args.seconds));
    let mut reported = started;
    let mut beside_text = String::new();
    while started.elapsed() < limit {
        let input = mutator.mutate(&corpus);
        match judge(&input, &previous, &kernels) {
            Ok(outcome) => {
                count.add(outcome.accepted, outcome.programs);
                if outcome.programs > 0 {
                    previous = outcome.policies;
                    beside_text.clone_from(&input);
                }
                if seen.insert(outcome.signature) {
                    corpus.add(input, outcome.accepted);
                }
            }
            Err(reason) => {
                let text = format!("{input}\n{SEPARATOR}\n{beside_text}");
                fs::write(&args.output, text)
                    .with_context(|| format!("writing {}", args.output.display()))?;
                return Ok(fail(&reason, &args.output));
            }
        }
        if reported.elapsed() > Duration::from_secs(10) {
            eprintln!("fuzz: {} s, {count}, {} outcomes", started.elapsed().as_secs(), seen.len());
            reported = Instant::now();
        }
    }
    ensure!(count.programs > 0, "no mutation led to a program: they are too coarse to test much ({count})");
    println!("fuzz: {count}, {} outcomes, no failure (seed {})", seen.len(), args.seed);
    Ok(ExitCode::SUCCESS)
}

/// Between the input and the one that was compiled beside it, in a file that is written for a failure.
const SEPARATOR: &str = "# --- compiled beside ---";

fn judge_pair(text: &str, kernels: &[Kernel], path: &Path) -> ExitCode {
    let (input, beside) = text.split_once(SEPARATOR).unwrap_or((text, ""));
    let beside = match judge(beside, &[], kernels) {
        Ok(outcome) => outcome.policies,
        Err(reason) => return fail(&reason, path),
    };
    match judge(input, &beside, kernels) {
        Ok(_) => ExitCode::SUCCESS,
        Err(reason) => fail(&reason, path),
    }
}

fn fail(reason: &str, path: &Path) -> ExitCode {
    eprintln!("fuzz: {reason}\nfuzz: repeat with `cargo xtask fuzz --input {}`", path.display());
    ExitCode::FAILURE
}

/// What was done so far.
#[derive(Debug, Default)]
struct Count {
    inputs: u64,
    accepted: u64,
    programs: usize,
}

impl Count {
    fn add(&mut self, accepted: bool, programs: usize) {
        self.inputs += 1;
        self.accepted += u64::from(accepted);
        self.programs += programs;
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} inputs, {} valid, {} programs", self.inputs, self.accepted, self.programs)
    }
}

fn corpus(kernels: &[Kernel]) -> Result<Corpus> {
    let mut corpus = Corpus::default();
    for folder in ["../../examples/policies", "../filetests/check", "seeds"] {
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
                let accepted = judge(document, &[], kernels).is_ok_and(|outcome| outcome.accepted);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_compile_for_some_kernel() {
        let kernels = kernels::all().unwrap();
        for file in ["seeds/functions.yaml", "seeds/others.yaml"] {
            let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
            for document in text.split("\n---\n") {
                let outcome = judge(document, &[], &kernels).unwrap();
                assert!(outcome.accepted && outcome.programs > 0, "{}:\n{document}", outcome.signature);
            }
        }
    }
}
