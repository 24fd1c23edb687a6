//! In: counters of policies whose last program is gone, and those that a predecessor of this process left. Out: what
//! to add to the counters of policies that come back, so that no count ever falls.

use std::collections::BTreeMap;

use api::artefact::POLICY_COUNTERS;

use super::policies::PolicyName;

/// Policies remembered: four times as many as can be loaded, at about 200 bytes each 800 KiB. When it is full, policies
/// that come back later count from zero again.
const REMEMBERED: usize = 4096;

type Values = [u64; POLICY_COUNTERS as usize];

/// Sums by policy.
#[derive(Debug, Default)]
pub struct PastCounts {
    sums: BTreeMap<PolicyName, Values>,
}

impl PastCounts {
    /// Remembers counts on top of what is remembered.
    pub fn add(&mut self, policy: &PolicyName, values: Values) {
        if values == Values::default() {
            return;
        }
        let sum = plus(self.sums.get(policy), values);
        if self.sums.len() < REMEMBERED || self.sums.contains_key(policy) {
            self.sums.insert(policy.clone(), sum);
        }
    }

    /// What a policy has counted in all, if it has counted this much since it was last loaded.
    pub fn plus(&self, policy: &PolicyName, values: Values) -> Values {
        plus(self.sums.get(policy), values)
    }
}

fn plus(past: Option<&Values>, mut values: Values) -> Values {
    for (value, past) in values.iter_mut().zip(past.into_iter().flatten()) {
        *value = value.wrapping_add(*past);
    }
    values
}
