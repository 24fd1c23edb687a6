//! In: all policies. Out: for each node the versions that it should run, one value for all nodes that run the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use policy_compiler::typed::PolicyKey;
use sha2::{Digest, Sha256};

use super::selector::selects;
use crate::model::{Policies, PolicyDigest, PolicyVersion};

/// Versions of policies that go together.
#[derive(Debug, Default)]
pub struct Selection {
    /// By policy; each has a typed policy.
    pub versions: BTreeMap<PolicyKey, Arc<PolicyVersion>>,
    /// Of the content.
    pub id: SelectionId,
}

/// SHA-256 over the digests and ages of the versions in the order of their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SelectionId([u8; 32]);

impl Selection {
    /// A selection of these versions.
    pub fn new(versions: BTreeMap<PolicyKey, Arc<PolicyVersion>>) -> Selection {
        let mut hash = Sha256::new();
        for version in versions.values() {
            hash.update(version.digest.0);
            hash.update(version.created.to_be_bytes());
        }
        Selection { id: SelectionId(hash.finalize().into()), versions }
    }

    /// The versions, the oldest policies first: where there is no room for all, the first ones have it, so that nobody
    /// takes away what runs by adding to it.
    pub fn by_age(&self) -> Vec<&Arc<PolicyVersion>> {
        let mut versions: Vec<_> = self.versions.values().collect();
        versions.sort_by_key(|version| version.created);
        versions
    }

    /// Digest of the version of a policy.
    pub fn digest(&self, key: &PolicyKey) -> Option<PolicyDigest> {
        self.versions.get(key).map(|version| version.digest)
    }
}

/// Selects for one state of all policies.
#[derive(Debug, Default)]
pub struct Selector {
    always: Vec<Arc<PolicyVersion>>,
    conditional: Vec<Arc<PolicyVersion>>,
    /// By the conditional policies that apply.
    known: HashMap<Vec<usize>, Arc<Selection>>,
}

impl Selector {
    /// For these policies; those that are not valid are for no node.
    pub fn new(policies: &Policies) -> Selector {
        let valid = policies.values().filter(|version| version.policy.is_some());
        let (always, conditional) = valid.cloned().partition(|version| version.node_selector.is_none());
        Selector { always, conditional, known: HashMap::new() }
    }

    /// What a node with these labels should run.
    pub fn select(&mut self, labels: Option<&BTreeMap<String, String>>) -> Arc<Selection> {
        let applies =
            |(_, version): &(usize, &Arc<PolicyVersion>)| selects(version.node_selector.as_ref(), labels);
        let found: Vec<usize> =
            self.conditional.iter().enumerate().filter(applies).map(|(index, _)| index).collect();
        if let Some(selection) = self.known.get(&found) {
            return selection.clone();
        }
        let chosen = found.iter().filter_map(|index| self.conditional.get(*index));
        let versions = self.always.iter().chain(chosen).map(|version| (version.key.clone(), version.clone()));
        let selection = Arc::new(Selection::new(versions.collect()));
        self.known.insert(found, selection.clone());
        selection
    }
}
