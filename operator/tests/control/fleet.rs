//! In: nothing but what a test says. Out: fleets as the fleet's server publishes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::artefact::Flavour;
use api::profile::KernelProfile;
use operator::model::{Fleet, KernelDigest, KernelState, NodeState, Policies, PolicyOnNode, Programming};

/// A kernel that hooks functions by one mechanism: by fentry every function of its BTF, by kprobe only `tcp_connect`.
pub fn kernel(release: &str, flavour: Flavour) -> Arc<KernelState> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy-compiler/fixtures/kernel-6.btf");
    let profile = KernelProfile {
        btf: std::fs::read(path).unwrap(),
        release: release.to_owned(),
        flavours: vec![flavour as i32],
        symbols: vec!["tcp_connect".to_owned()],
        ..KernelProfile::default()
    };
    let kernel = Arc::new(policy_compiler::Kernel::new(profile).unwrap());
    Arc::new(KernelState { release: release.to_owned(), kernel, verdicts: BTreeMap::new() })
}

/// One node of each kernel.
pub fn of_kernels(kernels: &[Arc<KernelState>]) -> Arc<Fleet> {
    let digest = |at: usize| KernelDigest([u8::try_from(at).unwrap(); 32]);
    let mut fleet = Fleet::default();
    for (at, kernel) in kernels.iter().enumerate() {
        let mut state = node(&Policies::default(), |_| true);
        state.kernel = Some(digest(at));
        state.release.clone_from(&kernel.release);
        fleet.nodes.insert(format!("node-{at}").into(), Arc::new(state));
        fleet.kernels.insert(digest(at), kernel.clone());
    }
    Arc::new(fleet)
}

/// A node that runs the policies of which `runs` holds, by name, and has not answered for the others.
pub fn node(policies: &Policies, runs: impl Fn(&str) -> bool) -> NodeState {
    let state = |name: &str| match runs(name) {
        true => Programming::Programmed { hooks: 1 },
        false => Programming::Pending,
    };
    let all = policies.iter().filter(|(_, version)| version.policy.is_some());
    NodeState {
        kernel: None,
        release: "6.12".to_owned(),
        agent_version: "0.1.0".to_owned(),
        connected: true,
        desired_generation: 2,
        applied_generation: 2,
        runs_nothing: false,
        policies: Arc::new(
            all.map(|(key, version)| {
                (key.clone(), PolicyOnNode { digest: version.digest, state: state(&key.name) })
            })
            .collect(),
        ),
        failing_hooks: Vec::new(),
    }
}
