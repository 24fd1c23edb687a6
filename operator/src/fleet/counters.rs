//! In: what each agent has counted since its start. Out: sums by policy that never fall while the operator runs; and of
//! these, what was counted since this operator first heard of each node, so that another operator's sums can be gone on with.

use std::collections::{BTreeMap, HashMap};

use api::artefact::POLICY_COUNTERS;
use api::fleet::Counters;
use policy_compiler::typed::PolicyKey;

use crate::model::NodeName;

/// Counts of one policy, by `api::artefact::PolicyCounter`.
pub type Values = [u64; POLICY_COUNTERS as usize];

/// A policy's number here: 5,000 nodes with 100 policies hold half a million of these, not of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Number(u32);

/// Sums, and what each node said last.
#[derive(Debug, Default)]
pub struct Sums {
    numbers: HashMap<PolicyKey, Number>,
    last_number: u32,
    sums: BTreeMap<PolicyKey, Values>,
    fresh: BTreeMap<PolicyKey, Values>,
    /// By node, sorted by policy; 96 bytes for each policy that has counted anything.
    last: HashMap<NodeName, Vec<(Number, Values)>>,
}

impl Sums {
    /// Policies that are gone are forgotten, with all that nodes have counted for them.
    pub fn keep_policies(&mut self, exists: impl Fn(&PolicyKey) -> bool) {
        let before = self.numbers.len();
        self.numbers.retain(|key, _| exists(key));
        if self.numbers.len() == before {
            return;
        }
        self.sums.retain(|key, _| exists(key));
        self.fresh.retain(|key, _| exists(key));
        let left: std::collections::BTreeSet<Number> = self.numbers.values().copied().collect();
        self.last.values_mut().for_each(|last| last.retain(|(number, _)| left.contains(number)));
    }

    /// Nodes that are gone: their share of the sums stays.
    pub fn keep_nodes(&mut self, exists: impl Fn(&NodeName) -> bool) {
        self.last.retain(|node, _| exists(node));
    }

    /// Adds what a node has counted since it said so last. If a count fell, its agent has started again: all that it
    /// says now is new. Policies that do not exist are ignored. Returns whether a sum changed.
    pub fn add(&mut self, node: &NodeName, counters: &Counters, exists: impl Fn(&PolicyKey) -> bool) -> bool {
        let mut changed = false;
        let first = !self.last.contains_key(node);
        self.last.entry(node.clone()).or_default();
        for counts in &counters.policies {
            let namespace = Some(counts.policy.namespace.clone()).filter(|namespace| !namespace.is_empty());
            let key = PolicyKey { namespace, name: counts.policy.name.clone() };
            let mut values = Values::default();
            // Of an older agent there are fewer, of a newer one more than are known here.
            values.iter_mut().zip(&counts.values).for_each(|(value, said)| *value = *said);
            if values == Values::default() && !self.numbers.contains_key(&key) || !exists(&key) {
                continue;
            }
            let number = self.number(&key);
            let last = self.last_of(node, number);
            let restarted = last.iter().zip(&values).any(|(last, value)| value < last);
            let base = if restarted { Values::default() } else { *last };
            changed |= values != base;
            *last = values;
            if !first {
                add_to(self.fresh.entry(key.clone()).or_default(), &values, &base);
            }
            add_to(self.sums.entry(key).or_default(), &values, &base);
        }
        changed
    }

    /// By policy.
    pub fn sums(&self) -> &BTreeMap<PolicyKey, Values> {
        &self.sums
    }

    /// Of these, what was not in the first word of a node.
    pub fn fresh(&self) -> &BTreeMap<PolicyKey, Values> {
        &self.fresh
    }

    fn number(&mut self, key: &PolicyKey) -> Number {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        self.last_number = self.last_number.wrapping_add(1);
        let number = Number(self.last_number);
        self.numbers.insert(key.clone(), number);
        number
    }

    fn last_of(&mut self, node: &NodeName, number: Number) -> &mut Values {
        let last = self.last.entry(node.clone()).or_default();
        let at = match last.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(at) => at,
            Err(at) => {
                last.insert(at, (number, Values::default()));
                at
            }
        };
        // `at` is the place of an element in both cases.
        &mut last[at].1
    }
}

fn add_to(sum: &mut Values, values: &Values, base: &Values) {
    for ((sum, value), base) in sum.iter_mut().zip(values).zip(base) {
        *sum = sum.saturating_add(value.saturating_sub(*base));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::fleet::{PolicyCounts, PolicyRef};

    fn counters(values: &[(&str, &[u64])]) -> Counters {
        let counts = |(name, values): &(&str, &[u64])| PolicyCounts {
            policy: PolicyRef { namespace: String::new(), name: (*name).to_owned() },
            values: values.to_vec(),
        };
        Counters { policies: values.iter().map(counts).collect(), lost: 0, missed: 0 }
    }

    fn first(sums: &Sums, name: &str) -> Option<u64> {
        sums.sums().get(&PolicyKey { namespace: None, name: name.to_owned() }).map(|values| values[0])
    }

    #[test]
    fn sums_add_up_over_nodes_and_restarts() {
        let (a, b): (NodeName, NodeName) = ("a".into(), "b".into());
        let mut sums = Sums::default();
        assert!(sums.add(&a, &counters(&[("p", &[5])]), |_| true));
        assert!(sums.add(&b, &counters(&[("p", &[7])]), |_| true));
        assert!(sums.add(&a, &counters(&[("p", &[6])]), |_| true));
        assert!(!sums.add(&a, &counters(&[("p", &[6])]), |_| true));
        assert_eq!(first(&sums, "p"), Some(13));
        assert!(sums.add(&a, &counters(&[("p", &[2])]), |_| true), "the agent has started again");
        assert_eq!(first(&sums, "p"), Some(15));
        let fresh = sums.fresh().values().next().unwrap()[0];
        assert_eq!(fresh, 3, "without the first words of both, 5 and 7");
        sums.keep_nodes(|node| *node == b);
        assert_eq!(first(&sums, "p"), Some(15), "what a node that is gone has counted stays");
        assert!(sums.add(&a, &counters(&[("p", &[u64::MAX])]), |_| true));
        assert_eq!(first(&sums, "p"), Some(u64::MAX), "no overflow");
    }

    #[test]
    fn policies_that_do_not_exist_take_no_memory() {
        let a: NodeName = "a".into();
        let mut sums = Sums::default();
        let many: Vec<String> = (0..100).map(|i| format!("made-up-{i}")).collect();
        let many: Vec<(&str, &[u64])> = many.iter().map(|name| (name.as_str(), &[1u64][..])).collect();
        assert!(!sums.add(&a, &counters(&many), |key| key.name == "p"));
        assert!(sums.last.values().all(Vec::is_empty) && sums.numbers.is_empty());
        sums.add(&a, &counters(&[("p", &[1, 2, 3])]), |_| true);
        sums.keep_policies(|_| false);
        assert!(sums.sums().is_empty() && sums.last[&a].is_empty());
    }
}
