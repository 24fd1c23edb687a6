//! In: counters of policies whose last program is gone, and those that a predecessor of this process left. Out: where the
//! counters of policies that come back begin, so that no count ever falls.

use std::collections::BTreeMap;

use api::artefact::POLICY_COUNTERS;

use super::policies::PolicyName;

/// Policies remembered: four times as many as can be loaded, at about 200 bytes each 800 KiB. When it is full, policies
/// that come back later count from zero again.
const REMEMBERED: usize = 4096;

/// Counters of one policy.
pub type Counts = [u64; POLICY_COUNTERS as usize];

/// Counts by policy.
#[derive(Debug, Default)]
pub struct PastCounts {
    counts: BTreeMap<PolicyName, Counts>,
}

impl PastCounts {
    /// Remembers counts; of several the greatest, as each process goes on from those of its predecessor.
    pub fn remember(&mut self, policy: &PolicyName, values: Counts) {
        if let Some(known) = self.counts.get_mut(policy) {
            known.iter_mut().zip(values).for_each(|(known, value)| *known = value.max(*known));
        } else if self.counts.len() < REMEMBERED && values != Counts::default() {
            self.counts.insert(policy.clone(), values);
        }
    }

    /// Where a policy begins.
    pub fn of(&self, policy: &PolicyName) -> Counts {
        self.counts.get(policy).copied().unwrap_or_default()
    }

    /// Forgets a policy, when it counts again.
    pub fn forget(&mut self, policy: &PolicyName) {
        self.counts.remove(policy);
    }
}
