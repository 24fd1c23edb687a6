//! In: a kernel and the versions that go together on it. Out: the programs, encoded once for all nodes, and what the
//! compiler says of each version.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use api::artefact::{Artefact, ArtefactDigest};
use api::fleet::{ARTEFACT_MAX, Desired, HOOKS_MAX, POLICIES_MAX};
use policy_compiler::diagnostic::{Code, Diagnostic};
use policy_compiler::typed::{PolicyKey, TypedPolicy};
use policy_compiler::{Compiled, Kernel, compile_ranked};
use prost::Message;
use sha2::{Digest, Sha256};

use super::selection::{Selection, SelectionId};
use crate::model::{KernelDigest, PolicyDigest};

/// What a compiled set is compiled from: the same key gives the same programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetKey {
    /// For.
    pub kernel: KernelDigest,
    /// Of.
    pub selection: SelectionId,
}

/// One artefact as it is sent.
#[derive(Debug)]
pub struct Program {
    /// Its encoding.
    pub bytes: Arc<[u8]>,
    /// Policies in it.
    pub policies: BTreeSet<PolicyKey>,
}

/// What the compiler said of one version.
pub type Verdict = (PolicyDigest, Vec<Diagnostic>);

/// The programs of some versions on a kernel.
#[derive(Debug)]
pub struct CompiledSet {
    /// From what.
    pub key: SetKey,
    /// By digest.
    pub programs: BTreeMap<ArtefactDigest, Arc<Program>>,
    /// As the agent computes it.
    pub set_digest: [u8; 32],
    /// Of each version.
    pub verdicts: BTreeMap<PolicyKey, Verdict>,
    /// Hook entries by policy; those that are not in it run nothing.
    pub hooks: BTreeMap<PolicyKey, usize>,
    /// The versions that have programs.
    pub running: Arc<Selection>,
}

impl CompiledSet {
    /// As it is sent.
    pub fn desired(&self, generation: u64) -> Desired {
        Desired { generation, artefacts: self.programs.keys().map(|digest| digest.0.to_vec()).collect() }
    }

    /// Whether the compiler refused this policy.
    pub fn refuses(&self, key: &PolicyKey) -> bool {
        self.verdicts.get(key).is_some_and(|(_, found)| found.iter().any(Diagnostic::is_error))
    }
}

/// Compiles. Whatever is wrong with a policy, also a mistake of the compiler, is said of that policy alone.
pub fn compile_set(key: SetKey, kernel: &Kernel, selection: &Selection) -> CompiledSet {
    let mut refused = BTreeMap::new();
    let mut policies = Vec::new();
    for (index, version) in selection.by_age().into_iter().enumerate() {
        match &version.policy {
            Some(policy) if index < POLICIES_MAX => policies.push(TypedPolicy::clone(policy)),
            Some(_) => {
                refused.insert(
                    version.key.clone(),
                    limit(format!("a node holds {POLICIES_MAX} policies, and older ones come first")),
                );
            }
            None => {}
        }
    }
    let mut compiled = compile_safely(&mut policies, kernel, &mut refused);
    let beyond = too_much(&compiled, &policies);
    if !beyond.is_empty() {
        policies.retain(|policy| !beyond.contains_key(&policy.key));
        refused.extend(beyond);
        compiled = compile_safely(&mut policies, kernel, &mut refused);
    }
    refused.extend(std::mem::take(&mut compiled.diagnostics));
    finish(key, selection, compiled.artefacts, refused)
}

fn limit(message: String) -> Vec<Diagnostic> {
    vec![Diagnostic::error(Code::Limit, "", message)]
}

/// `policies` are the oldest first. Those that panic the compiler are found by compiling each alone, and left out.
fn compile_safely(
    policies: &mut Vec<TypedPolicy>,
    kernel: &Kernel,
    refused: &mut BTreeMap<PolicyKey, Vec<Diagnostic>>,
) -> Compiled {
    let age: BTreeMap<PolicyKey, usize> =
        policies.iter().enumerate().map(|(index, policy)| (policy.key.clone(), index)).collect();
    let guarded = |policies: &[TypedPolicy]| {
        let rank = |policy: &TypedPolicy| age.get(&policy.key).copied();
        catch_unwind(AssertUnwindSafe(|| compile_ranked(policies, kernel, rank)))
    };
    if let Ok(compiled) = guarded(policies) {
        return compiled;
    }
    policies.retain(|policy| {
        let fine = guarded(std::slice::from_ref(policy)).is_ok();
        if !fine {
            let problem = "the compiler failed on this policy; this is a bug, please report it".to_owned();
            refused.insert(policy.key.clone(), limit(problem));
        }
        fine
    });
    guarded(policies).unwrap_or_else(|_| {
        let problem = "the compiler failed on these policies together; this is a bug, please report it";
        refused.extend(policies.iter().map(|policy| (policy.key.clone(), limit(problem.to_owned()))));
        policies.clear();
        Compiled::default()
    })
}

fn policies_of(artefact: &Artefact) -> BTreeSet<PolicyKey> {
    let key = |hook: &api::artefact::HookSchema| PolicyKey {
        namespace: Some(hook.policy_namespace.clone()).filter(|namespace| !namespace.is_empty()),
        name: hook.policy_name.clone(),
    };
    artefact.hooks.iter().map(key).collect()
}

/// Policies of programs that are too large for the wire; and, in the order of `policies`, those that need a hook after all
/// places for hooks are taken.
fn too_much(compiled: &Compiled, policies: &[TypedPolicy]) -> BTreeMap<PolicyKey, Vec<Diagnostic>> {
    let mut found = BTreeMap::new();
    let mut hooks: BTreeMap<PolicyKey, BTreeSet<usize>> = BTreeMap::new();
    for (index, artefact) in compiled.artefacts.iter().enumerate() {
        let policies = policies_of(artefact);
        if artefact.encoded_len() > ARTEFACT_MAX {
            let target = &artefact.attach.target;
            let problem = limit(format!("the program for `{target}` is larger than {ARTEFACT_MAX} bytes"));
            found.extend(policies.iter().map(|key| (key.clone(), problem.clone())));
        }
        policies.into_iter().for_each(|key| {
            hooks.entry(key).or_default().insert(index);
        });
    }
    let mut taken: BTreeSet<usize> = BTreeSet::new();
    for policy in policies {
        let Some((key, wanted)) = hooks.remove_entry(&policy.key) else { continue };
        if taken.union(&wanted).count() <= HOOKS_MAX {
            taken.extend(wanted);
        } else {
            let problem = format!("a node has programs at {HOOKS_MAX} hooks, and older policies come first");
            found.insert(key, limit(problem));
        }
    }
    found
}

fn finish(
    key: SetKey,
    selection: &Selection,
    artefacts: Vec<Artefact>,
    mut said: BTreeMap<PolicyKey, Vec<Diagnostic>>,
) -> CompiledSet {
    let mut programs = BTreeMap::new();
    let mut hooks: BTreeMap<PolicyKey, usize> = BTreeMap::new();
    for artefact in artefacts {
        let (bytes, policies) = (artefact.encode_to_vec(), policies_of(&artefact));
        for hook in &artefact.hooks {
            let namespace = Some(hook.policy_namespace.clone()).filter(|namespace| !namespace.is_empty());
            *hooks.entry(PolicyKey { namespace, name: hook.policy_name.clone() }).or_default() += 1;
        }
        let digest = ArtefactDigest(Sha256::digest(&bytes).into());
        programs.insert(digest, Arc::new(Program { bytes: bytes.into(), policies }));
    }
    let mut set = Sha256::new();
    programs.keys().for_each(|digest| set.update(digest.0));
    let running = selection.versions.iter().filter(|(name, _)| hooks.contains_key(name));
    let running =
        Arc::new(Selection::new(running.map(|(key, version)| (key.clone(), version.clone())).collect()));
    let verdict = |(name, version): (&PolicyKey, &Arc<crate::model::PolicyVersion>)| {
        (name.clone(), (version.digest, said.remove(name).unwrap_or_default()))
    };
    let verdicts = selection.versions.iter().map(verdict).collect();
    CompiledSet { key, programs, set_digest: set.finalize().into(), verdicts, hooks, running }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::PolicyVersion;
    use crate::watch::version::read;

    fn kernel() -> Kernel {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy-compiler/fixtures/kernel-6.btf");
        let flavours = vec![api::artefact::Flavour::Fentry as i32];
        let btf = std::fs::read(path).unwrap();
        Kernel::new(api::profile::KernelProfile { btf, flavours, ..Default::default() }).unwrap()
    }

    /// A policy with that many hooks of five selectors each, all on one function.
    fn policy(name: &str, created: &str, hooks: usize) -> (PolicyKey, Arc<PolicyVersion>) {
        let selector = |pid: u32| json!({"matchPIDs": [{"operator": "In", "values": [pid]}]});
        let selectors: Vec<_> = (1..=5).map(selector).collect();
        let hook = json!({"call": "tcp_connect", "syscall": false, "selectors": selectors});
        let object = json!({
            "metadata": {"name": name, "creationTimestamp": created}, "spec": {"kprobes": vec![hook; hooks]},
        });
        let key = PolicyKey { namespace: None, name: name.to_owned() };
        let object = serde_json::from_value(object).unwrap();
        (key.clone(), Arc::new(read(crds::manifest::PolicyKind::Cluster, key, &object)))
    }

    #[test]
    fn a_new_policy_takes_no_room_from_an_older_one() {
        let (old, new) = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
        for (first, second) in [("a", "z"), ("z", "a")] {
            let versions = [policy(first, old, 40), policy(second, new, 20)].into();
            let selection = Selection::new(versions);
            let key = SetKey { kernel: KernelDigest([0; 32]), selection: selection.id };
            let set = compile_set(key, &kernel(), &selection);
            let running: Vec<&str> = set.running.versions.keys().map(|key| key.name.as_str()).collect();
            assert_eq!(running, [first]);
            assert!(set.refuses(&PolicyKey { namespace: None, name: second.to_owned() }));
        }
    }
}
