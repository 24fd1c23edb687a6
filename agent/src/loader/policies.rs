//! In: the policies that artefacts name. Out: their indices in the map `policy_counters`, kept while any program counts
//! for them.

use std::collections::BTreeMap;

use api::artefact::HookSchema;

use super::indices::Indices;

/// Policies that can be counted at once. 88 bytes each on each CPU: 88 KiB per CPU.
pub const POLICIES: u32 = 1024;

/// A policy, as users name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyName {
    /// Empty for cluster policies.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl PolicyName {
    /// Of a hook entry.
    pub fn of(schema: &HookSchema) -> PolicyName {
        PolicyName { namespace: schema.policy_namespace.clone(), name: schema.policy_name.clone() }
    }
}

impl std::fmt::Display for PolicyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.namespace.as_str() {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// Indices by policy, counted by use.
#[derive(Debug)]
pub struct Policies {
    indices: Indices,
    uses: BTreeMap<PolicyName, Use>,
}

#[derive(Debug)]
struct Use {
    index: u32,
    programs: usize,
}

/// What [`Policies::acquire`] gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acquired {
    /// In `policy_counters`.
    pub index: u32,
    /// Nobody counts there yet: what an earlier policy left must be cleared.
    pub is_new: bool,
}

impl Policies {
    /// None.
    pub fn new() -> Policies {
        Policies { indices: Indices::new(POLICIES), uses: BTreeMap::new() }
    }

    /// One more program counts for a policy. `None` if there are too many policies.
    pub fn acquire(&mut self, policy: &PolicyName) -> Option<Acquired> {
        if let Some(known) = self.uses.get_mut(policy) {
            known.programs += 1;
            return Some(Acquired { index: known.index, is_new: false });
        }
        let index = self.indices.take()?;
        self.uses.insert(policy.clone(), Use { index, programs: 1 });
        Some(Acquired { index, is_new: true })
    }

    /// One program fewer counts for it; its index, if that was the last.
    pub fn release(&mut self, policy: &PolicyName) -> Option<u32> {
        let known = self.uses.get_mut(policy)?;
        known.programs -= 1;
        if known.programs > 0 {
            return None;
        }
        let index = known.index;
        self.indices.give_back(index);
        self.uses.remove(policy);
        Some(index)
    }

    /// Index of a policy that some program counts for.
    pub fn index(&self, policy: &PolicyName) -> Option<u32> {
        self.uses.get(policy).map(|known| known.index)
    }

    /// All policies and their indices, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&PolicyName, u32)> {
        self.uses.iter().map(|(policy, known)| (policy, known.index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_stays_while_a_program_uses_it() {
        let name = |name: &str| PolicyName { namespace: String::new(), name: name.into() };
        let mut policies = Policies::new();
        assert_eq!(policies.acquire(&name("a")), Some(Acquired { index: 0, is_new: true }));
        assert_eq!(policies.acquire(&name("b")), Some(Acquired { index: 1, is_new: true }));
        assert_eq!(policies.acquire(&name("a")), Some(Acquired { index: 0, is_new: false }));
        policies.release(&name("a"));
        assert_eq!(policies.acquire(&name("c")), Some(Acquired { index: 2, is_new: true }));
        policies.release(&name("a"));
        assert_eq!(policies.acquire(&name("d")), Some(Acquired { index: 0, is_new: true }));
        policies.release(&name("never there"));
        assert_eq!(policies.iter().count(), 3);
    }
}
