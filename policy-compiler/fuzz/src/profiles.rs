//! In: the kernels that policies are compiled for, and a seed. Out: whether a mutated profile, such as a hostile node may
//! upload, makes decoder, BTF reader or compiler panic or contradict itself.
//!
//! Mutations with an outcome that was not seen before join the corpus.

mod judge;
mod mutate;
mod types;

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use api::profile::KernelProfile;
use policy_compiler::check::check_yaml;
use policy_compiler::typed::TypedPolicy;

use crate::kernels;
use crate::policies::documents;
use crate::target::Target;
use judge::{Stage, judge};
use mutate::Mutator;

/// Profiles of at most [`mutate::INPUT_LIMIT`] that are mutated further: 128 MiB.
const CORPUS: usize = 512;

/// Kernel profiles through decoder, BTF reader and compiler.
pub struct Profiles {
    /// Small sets of policies, of which each profile is judged by one.
    policies: Vec<Vec<TypedPolicy>>,
    corpus: Vec<KernelProfile>,
    mutator: Mutator,
    seen: HashSet<String>,
    /// How many inputs came so far, in the order of [`Stage`].
    stages: [u64; 4],
}

impl Profiles {
    /// Reads profiles and policies.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn new(seed: u64) -> Result<Profiles> {
        let checked = documents("seeds")?.into_iter().flat_map(|document| check_yaml(&document));
        let policies = checked
            .map(|checked| checked.policy.context("a seed is no valid policy"))
            .collect::<Result<Vec<TypedPolicy>>>()?;
        ensure!(!policies.is_empty(), "no policy in policy-compiler/fuzz/seeds");
        Ok(Profiles {
            policies: policies.chunks(2).map(<[TypedPolicy]>::to_vec).collect(),
            corpus: kernels::profiles()?,
            mutator: Mutator::new(seed),
            seen: HashSet::new(),
            stages: [0; 4],
        })
    }
}

impl Target for Profiles {
    type Input = Vec<u8>;

    fn next(&mut self) -> Vec<u8> {
        self.mutator.mutate(&self.corpus)
    }

    fn bytes(&self, input: &Vec<u8>) -> Vec<u8> {
        input.clone()
    }

    fn read(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        Ok(bytes.to_vec())
    }

    fn judge(&mut self, input: Vec<u8>) -> Result<(), String> {
        // The input decides by which policies, so that it can be judged again.
        let sum = input.iter().fold(0usize, |sum, byte| sum.wrapping_add(usize::from(*byte)));
        let policies = self.policies.get(sum % self.policies.len()).map_or(&[][..], Vec::as_slice);
        let outcome = judge(&input, policies)?;
        for stage in self.stages.iter_mut().take(outcome.stage as usize + 1) {
            *stage += 1;
        }
        if self.seen.insert(outcome.signature)
            && self.corpus.len() < CORPUS
            && let Some(profile) = outcome.profile
        {
            self.corpus.push(profile);
        }
        Ok(())
    }

    fn told(&self) -> String {
        let [inputs, decoded, parsed, compiled] = self.stages;
        let outcomes = self.seen.len();
        format!(
            "{inputs} profiles, {decoded} decoded, {parsed} with types, {compiled} with programs, {outcomes} outcomes"
        )
    }

    fn reached(&self) -> bool {
        self.stages[Stage::Compiled as usize] > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_profiles_are_answered_and_some_lead_to_programs() {
        let mut profiles = Profiles::new(1).unwrap();
        for _ in 0..100 {
            let input = profiles.next();
            profiles.judge(input).unwrap();
        }
        let [inputs, decoded, parsed, compiled] = profiles.stages;
        assert_eq!(inputs, 100);
        assert!(decoded > 80 && parsed > 60 && compiled > 20, "{}", profiles.told());
        assert!(profiles.seen.len() > 20, "{}", profiles.told());
    }

    #[test]
    fn a_seed_decides_everything() {
        let run = |seed| {
            let mut profiles = Profiles::new(seed).unwrap();
            (0..20).map(|_| profiles.next()).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }
}
