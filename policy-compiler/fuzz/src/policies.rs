//! In: the example policies, the file tests of `check` and `seeds/` as a corpus, and a seed. Out: whether a mutation of
//! them makes the compiler panic or contradict itself.
//!
//! Mutations with an outcome that was not seen before join the corpus.

mod judge;
mod mutate;

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use policy_compiler::Kernel;
use policy_compiler::typed::TypedPolicy;

use crate::kernels;
use crate::target::Target;
pub use judge::{guarded, judge, judge_result, note};
use mutate::{Corpus, Mutator};

/// Between the input and the one that was compiled beside it, in a file that is written for a failure.
const SEPARATOR: &str = "# --- compiled beside ---";

/// Policies through the whole compiler.
pub struct Policies {
    kernels: Vec<Kernel>,
    corpus: Corpus,
    mutator: Mutator,
    seen: HashSet<String>,
    /// The last input that led to programs; the next one is compiled beside it.
    beside: (String, Vec<TypedPolicy>),
    inputs: u64,
    accepted: u64,
    programs: usize,
}

impl Policies {
    /// Reads the corpus.
    ///
    /// # Errors
    /// It cannot be read, or has no valid policy.
    pub fn new(seed: u64) -> Result<Policies> {
        let kernels = kernels::all()?;
        let corpus = corpus(&kernels)?;
        Ok(Policies {
            kernels,
            corpus,
            mutator: Mutator::new(seed),
            seen: HashSet::new(),
            beside: (String::new(), Vec::new()),
            inputs: 0,
            accepted: 0,
            programs: 0,
        })
    }
}

impl Target for Policies {
    type Input = String;

    fn next(&mut self) -> String {
        self.mutator.mutate(&self.corpus)
    }

    fn bytes(&self, input: &String) -> Vec<u8> {
        format!("{input}\n{SEPARATOR}\n{}", self.beside.0).into_bytes()
    }

    fn read(&mut self, bytes: &[u8]) -> Result<String> {
        let text = String::from_utf8_lossy(bytes);
        let (input, beside) = text.split_once(SEPARATOR).unwrap_or((&text, ""));
        let policies = judge(beside, &[], &self.kernels).map_err(|reason| anyhow!("{reason}"))?.policies;
        self.beside = (beside.to_owned(), policies);
        Ok(input.to_owned())
    }

    fn judge(&mut self, input: String) -> Result<(), String> {
        let outcome = judge(&input, &self.beside.1, &self.kernels)?;
        self.inputs += 1;
        self.accepted += u64::from(outcome.accepted);
        self.programs += outcome.programs;
        if outcome.programs > 0 {
            self.beside = (input.clone(), outcome.policies);
        }
        if self.seen.insert(outcome.signature) {
            self.corpus.add(input, outcome.accepted);
        }
        Ok(())
    }

    fn told(&self) -> String {
        let Policies { inputs, accepted, programs, seen, .. } = self;
        format!("{inputs} policies, {accepted} valid, {programs} programs, {} outcomes", seen.len())
    }

    fn reached(&self) -> bool {
        self.programs > 0
    }
}

fn corpus(kernels: &[Kernel]) -> Result<Corpus> {
    let mut corpus = Corpus::default();
    for folder in ["../../examples/policies", "../filetests/check", "seeds"] {
        for document in documents(folder)? {
            let accepted = judge(&document, &[], kernels).is_ok_and(|outcome| outcome.accepted);
            corpus.add(document, accepted);
        }
    }
    ensure!(
        !corpus.accepted.is_empty(),
        "no valid policy in examples/policies and policy-compiler/filetests/check"
    );
    Ok(corpus)
}

/// The documents in the YAML files of a folder, one at a time, so that mutations of one are not drowned in the others.
///
/// # Errors
/// A file cannot be read.
pub fn documents(folder: &str) -> Result<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    // Folders have no order of their own, and the seed shall decide everything.
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        found.extend(text.split("\n---\n").map(|document| format!("{document}\n")));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_compile_for_some_kernel() {
        let kernels = kernels::all().unwrap();
        let documents = documents("seeds").unwrap();
        assert!(documents.len() > 5);
        for document in documents {
            let outcome = judge(&document, &[], &kernels).unwrap();
            assert!(outcome.accepted && outcome.programs > 0, "{}:\n{document}", outcome.signature);
        }
    }
}
