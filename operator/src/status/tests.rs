//! In: made-up fleets. Out: what the status says of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::status::{ConditionReason as Reason, ConditionStatus as Status, ConditionType as Kind};
use k8s_openapi::jiff::Timestamp;
use policy_compiler::diagnostic::{Code, Diagnostic};
use policy_compiler::typed::PolicyKey;
use serde_json::{Value, json};

use super::argocd::{Health, health, word};
use super::kstatus::{KStatus, compute};
use super::*;
use crate::model::{KernelDigest, KernelState, NodeState, PolicyDigest, PolicyOnNode, Programming};

const POLICY: &str = "p";

fn version_of(spec: Value, generation: i64) -> PolicyVersion {
    let object = serde_json::from_value(json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy",
        "metadata": {"name": POLICY, "uid": "u", "generation": generation}, "spec": spec,
    }));
    let key = PolicyKey { namespace: None, name: POLICY.to_owned() };
    crate::watch::version::read(crds::manifest::PolicyKind::Cluster, key, &object.unwrap())
}

fn observing() -> Value {
    json!({"kprobes": [{"call": "tcp_connect", "syscall": false}]})
}

fn killing() -> Value {
    json!({"kprobes": [{"call": "tcp_connect", "syscall": false,
        "selectors": [{"matchActions": [{"action": "Sigkill"}]}]}]})
}

/// A fleet that is put together node by node.
#[derive(Default)]
struct World {
    nodes: BTreeMap<crate::model::NodeName, BTreeMap<String, String>>,
    fleet: Fleet,
    agents: crate::model::AgentNodes,
    seeds: BTreeMap<PolicyKey, Counted>,
    draining: bool,
}

impl World {
    fn node(&mut self, name: &str, release: &str, state: Option<(PolicyDigest, Programming)>) -> &mut Self {
        self.nodes.insert(name.into(), BTreeMap::new());
        let policies = state
            .map(|(digest, state)| {
                (PolicyKey { namespace: None, name: POLICY.to_owned() }, PolicyOnNode { digest, state })
            })
            .into_iter()
            .collect();
        let node = NodeState {
            kernel: None,
            release: release.to_owned(),
            agent_version: "0".to_owned(),
            connected: true,
            desired_generation: 1,
            applied_generation: 1,
            runs_nothing: false,
            policies: Arc::new(policies),
            failing_hooks: Vec::new(),
        };
        self.fleet.nodes.insert(name.into(), Arc::new(node));
        self
    }

    fn runs(&mut self, name: &str, version: &PolicyVersion) -> &mut Self {
        self.node(name, "6.12", Some((version.digest, Programming::Programmed { hooks: 1 })))
    }

    fn without_agent(&mut self, name: &str) -> &mut Self {
        self.nodes.insert(name.into(), BTreeMap::new());
        self
    }

    fn verdict(&mut self, release: &str, version: &PolicyVersion, diagnostics: Vec<Diagnostic>) -> &mut Self {
        let btf =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../policy-compiler/fixtures/kernel-6.btf"));
        let profile = api::profile::KernelProfile { btf: btf.unwrap(), ..Default::default() };
        let kernel = KernelState {
            release: release.to_owned(),
            kernel: Arc::new(policy_compiler::Kernel::new(profile).unwrap()),
            verdicts: [(version.key.clone(), (version.digest, diagnostics))].into(),
        };
        let digest = KernelDigest([u8::try_from(self.fleet.kernels.len()).unwrap(); 32]);
        self.fleet.kernels.insert(digest, Arc::new(kernel));
        self
    }

    fn status(&self, version: &PolicyVersion) -> TracingPolicyStatus {
        self.status_after(version, None, 0)
    }

    fn status_after(
        &self,
        version: &PolicyVersion,
        before: Option<&TracingPolicyStatus>,
        second: i64,
    ) -> TracingPolicyStatus {
        let nodes = Arc::new(self.nodes.clone());
        let agents = &self.agents;
        let pass = Pass::new(View {
            nodes: &nodes,
            fleet: &self.fleet,
            agents,
            seeds: &self.seeds,
            draining: self.draining,
        });
        describe(version, &pass, before, &Time(Timestamp::from_second(second).unwrap()))
    }
}

fn condition(status: &TracingPolicyStatus, kind: Kind) -> &PolicyCondition {
    status.conditions.iter().find(|condition| condition.kind == kind).unwrap()
}

/// Kind by kind, as status and reason; also what must hold of every status.
fn all(version: &PolicyVersion, status: &TracingPolicyStatus) -> Vec<(Status, Reason)> {
    let kinds: Vec<Kind> = status.conditions.iter().map(|condition| condition.kind).collect();
    assert_eq!(kinds, Kind::ALL);
    assert!(status.conditions.iter().all(|it| it.observed_generation == Some(version.generation)));
    assert!(status.conditions.iter().all(|it| !it.message.is_empty()));
    let is = |kind| condition(status, kind).status == Status::True;
    assert!(!(is(Kind::Reconciling) && is(Kind::Stalled)));
    assert_eq!(is(Kind::Ready), !is(Kind::Reconciling) && !is(Kind::Stalled));
    let (expected, decides) = match (is(Kind::Reconciling), is(Kind::Stalled)) {
        (true, _) => (KStatus::InProgress, Kind::Reconciling),
        (_, true) => (KStatus::Failed, Kind::Stalled),
        _ => (KStatus::Current, Kind::Ready),
    };
    assert_eq!(compute(version.generation, status), expected);
    assert_eq!(compute(version.generation + 1, status), KStatus::InProgress);
    let message = condition(status, decides).message.clone();
    let shown = Health { status: word(expected).to_owned(), message };
    assert_eq!(health(version.generation, Some(status)), shown);
    assert_eq!(health(version.generation + 1, Some(status)).status, word(KStatus::InProgress));
    status.conditions.iter().map(|condition| (condition.status, condition.reason)).collect()
}

#[test]
fn a_policy_that_runs_everywhere_is_ready() {
    let version = version_of(observing(), 2);
    let mut world = World::default();
    world.runs("a", &version).runs("b", &version).verdict("6.12", &version, vec![]);
    world.fleet.counters.insert(version.key.clone(), [7, 6, 0, 0, 2, 3, 9, 9, 0, 0, 0]);
    let status = world.status(&version);
    let expected = [
        (Status::True, Reason::Valid),
        (Status::True, Reason::AllKernels),
        (Status::True, Reason::AllNodes),
        (Status::False, Reason::ObserveOnly),
        (Status::True, Reason::Ready),
        (Status::False, Reason::Settled),
        (Status::False, Reason::Settled),
    ];
    assert_eq!(all(&version, &status), expected);
    assert_eq!(status.nodes.as_ref().unwrap().summary, "2/2");
    assert_eq!((status.matches, status.enforced, status.hooks), (Some(7), Some(5), Some(1)));
    assert_eq!(condition(&status, Kind::Ready).message, "1 hook on 2 nodes, mode enforce");
    assert_eq!(status.kernels.len(), 1);
}

#[test]
fn an_invalid_policy_names_its_fields() {
    let version = version_of(json!({"kprobes": [{"syscall": false}, {"call": 1}]}), 1);
    let mut world = World::default();
    world.node("a", "6.12", None);
    let status = world.status(&version);
    let expected = [
        (Status::False, Reason::Invalid),
        (Status::Unknown, Reason::Invalid),
        (Status::False, Reason::Invalid),
        (Status::False, Reason::Invalid),
        (Status::False, Reason::Invalid),
        (Status::False, Reason::Invalid),
        (Status::True, Reason::Invalid),
    ];
    assert_eq!(all(&version, &status), expected);
    let message = &condition(&status, Kind::Accepted).message;
    assert!(
        message.contains("spec.kprobes[0].call") && message.contains("spec.kprobes[1].call"),
        "{message}"
    );
    assert_eq!((status.hooks, status.mode.clone()), (None, None));
    assert_eq!(status.nodes.unwrap().summary, "0/1");
}

#[test]
fn what_is_not_implemented_is_unsupported() {
    let version = version_of(
        json!({"kprobes": [{"call": "tcp_connect", "syscall": false}], "usdts": [{"path": "/bin/x", "provider": "a", "name": "b"}]}),
        1,
    );
    if version.diagnostics.iter().filter(|it| it.is_error()).all(|it| it.code == Code::Unsupported) {
        assert_eq!(
            all(&version, &World::default().status(&version))[0],
            (Status::False, Reason::Unsupported)
        );
    }
    let mut made = version_of(observing(), 1);
    made.policy = None;
    made.diagnostics = vec![Diagnostic::error(Code::Unsupported, "spec.usdts", "`usdts` is not implemented")];
    assert_eq!(all(&made, &World::default().status(&made))[0], (Status::False, Reason::Unsupported));
    made.diagnostics.push(Diagnostic::error(Code::MissingField, "spec.x", "missing"));
    assert_eq!(all(&made, &World::default().status(&made))[0], (Status::False, Reason::Invalid));
}

#[test]
fn a_kernel_that_lacks_a_function_is_named() {
    let version = version_of(killing(), 1);
    let problem =
        Diagnostic::error(Code::UnknownFunction, "spec.kprobes[0].call", "kernel 5.10 has no function `x`")
            .with_help("did you mean `y`?");
    let mut world = World::default();
    world.runs("b", &version).verdict("6.12", &version, vec![]);
    world.node("a", "5.10", Some((version.digest, Programming::Incompatible)));
    world.verdict("5.10", &version, vec![problem]);
    let status = world.status(&version);
    let states = all(&version, &status);
    assert_eq!(states[1], (Status::False, Reason::KernelIncompatible));
    assert_eq!(states[2], (Status::False, Reason::KernelIncompatible));
    assert_eq!(
        states[3],
        (Status::False, Reason::KernelIncompatible),
        "not enforced as written on some node"
    );
    assert_eq!(states[6], (Status::True, Reason::KernelIncompatible));
    assert_eq!(
        condition(&status, Kind::Ready).message,
        "kernel 5.10 (1 node: a) cannot run it: spec.kprobes[0].call: kernel 5.10 has no function `x`; did you mean `y`?"
    );
    assert_eq!(status.nodes.as_ref().map(|nodes| (nodes.programmed, nodes.failed)), Some((1, 1)));
    assert!(status.kernels[0].message.as_ref().unwrap().starts_with("spec.kprobes[0].call"));
    assert_eq!(status.kernels[1].message, None);
}

#[test]
fn a_node_that_refuses_is_named_and_only_five() {
    let version = version_of(killing(), 1);
    let mut world = World::default();
    world.runs("z", &version);
    for node in ["g", "f", "e", "d", "c", "b", "a"] {
        let message = format!("load kprobe:x on {node}: Invalid argument (22)\nR1 invalid mem access");
        world.node(node, "6.12", Some((version.digest, Programming::Failed { message, kept: node < "c" })));
    }
    let status = world.status(&version);
    let states = all(&version, &status);
    assert_eq!(states[2], (Status::False, Reason::NodeFailed));
    assert_eq!(states[3], (Status::False, Reason::NodeFailed));
    assert_eq!(states[6], (Status::True, Reason::NodeFailed));
    let names: Vec<&str> = status.failing_nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    assert!(!status.failing_nodes[0].message.contains('\n'));
    let message = &condition(&status, Kind::Programmed).message;
    assert!(
        message.starts_with(
            "1 of 8 nodes run this version; 7 nodes refused it, of which 2 keep an earlier version: a: load"
        ),
        "{message}"
    );
}

#[test]
fn an_edit_is_rolled_out_and_times_move_only_with_the_status() {
    let old = version_of(observing(), 1);
    let mut world = World::default();
    world.runs("a", &old).runs("b", &old).verdict("6.12", &old, vec![]);
    let ready = world.status_after(&old, None, 100);
    assert_eq!(world.status_after(&old, Some(&ready), 200), ready, "nothing moves by itself");

    let new = version_of(killing(), 2);
    let rolling = world.status_after(&new, Some(&ready), 300);
    let states = all(&new, &rolling);
    assert_eq!(states[1], (Status::Unknown, Reason::Pending));
    assert_eq!(states[2], (Status::False, Reason::Pending));
    assert_eq!(states[3], (Status::Unknown, Reason::Pending));
    assert_eq!(states[5], (Status::True, Reason::Pending));
    let since =
        |status: &TracingPolicyStatus, kind| condition(status, kind).last_transition_time.0.as_second();
    assert_eq!(since(&rolling, Kind::Accepted), 100);
    assert_eq!(since(&rolling, Kind::Ready), 300);

    world.runs("a", &new).verdict("6.12", &new, vec![]);
    let half = world.status_after(&new, Some(&rolling), 400);
    assert_eq!(half.nodes.as_ref().unwrap().summary, "1/2");
    assert_eq!(since(&half, Kind::Ready), 300);
    world.runs("b", &new);
    let done = world.status_after(&new, Some(&half), 500);
    assert_eq!(all(&new, &done)[3], (Status::True, Reason::EnforceMode));
    assert_eq!(since(&done, Kind::Ready), 500);
}

#[test]
fn nodes_come_and_go() {
    let version = version_of(observing(), 1);
    let mut world = World::default();
    let nobody = world.status(&version);
    let states = all(&version, &nobody);
    assert_eq!((states[1], states[2]), ((Status::Unknown, Reason::NoNodes), (Status::True, Reason::NoNodes)));
    assert_eq!(states[4], (Status::True, Reason::NoNodes));
    assert_eq!(nobody.nodes.unwrap().summary, "0/0");

    world.runs("a", &version).without_agent("b").without_agent("c");
    let status = world.status(&version);
    assert_eq!(all(&version, &status)[2], (Status::False, Reason::Pending));
    assert_eq!(
        condition(&status, Kind::Programmed).message,
        "1 of 3 nodes run this version; no agent on b, c"
    );

    // An agent that is silent left its programs in force; a node that was deleted is nobody's.
    world.runs("b", &version);
    let silent = NodeState { connected: false, ..(**world.fleet.nodes.get("b").unwrap()).clone() };
    world.fleet.nodes.insert("b".into(), Arc::new(silent));
    world.nodes.remove("c");
    let status = world.status(&version);
    assert_eq!(all(&version, &status)[2], (Status::True, Reason::AllNodes));
    assert!(condition(&status, Kind::Programmed).message.contains("not connected at the moment: b"));
}

#[test]
fn nodes_that_have_no_agent_by_design_do_not_count() {
    let version = version_of(observing(), 1);
    let mut world = World::default();
    let os = |os: &str| [("kubernetes.io/os".to_owned(), os.to_owned())];
    world.agents = crate::model::AgentNodes(os("linux").into());
    world.runs("a", &version).without_agent("w").without_agent("new").verdict("6.12", &version, vec![]);
    for (node, label) in [("a", "linux"), ("w", "windows"), ("new", "linux")] {
        world.nodes.insert(node.into(), os(label).into());
    }
    let waiting = world.status(&version);
    assert_eq!(condition(&waiting, Kind::Ready).message, "1 of 2 nodes run this version; no agent on new");
    world.runs("new", &version).nodes.insert("new".into(), os("linux").into());
    let ready = world.status(&version);
    assert_eq!(all(&version, &ready)[4], (Status::True, Reason::Ready));
    assert_eq!(ready.nodes.unwrap().summary, "2/2");
}

#[test]
fn counters_go_on_where_the_leader_before_was() {
    let version = version_of(observing(), 1);
    let mut world = World::default();
    world.runs("a", &version).verdict("6.12", &version, vec![]);
    let key = || version.key.clone();
    let counted = |status: &TracingPolicyStatus| (status.matches, status.enforced);
    assert_eq!(counted(&world.status(&version)), (None, None));
    world.fleet.counters.insert(key(), [1000, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0]);
    let before = world.status(&version);
    assert_eq!(counted(&before), (Some(1000), Some(7)));
    // Another leader: nobody has said anything yet, then one agent that was started again, then it goes on.
    world.fleet.counters.clear();
    world.seeds.insert(key(), Counted::of(&before).unwrap());
    assert_eq!(counted(&world.status_after(&version, Some(&before), 1)), (Some(1000), Some(7)));
    world.fleet.counters.insert(key(), [20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(counted(&world.status_after(&version, Some(&before), 1)), (Some(1000), Some(7)));
    world.fleet.counters.insert(key(), [25, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    world.fleet.fresh.insert(key(), [5, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    assert_eq!(counted(&world.status_after(&version, Some(&before), 1)), (Some(1005), Some(8)));
    // Agents that were not started again have counted all of it themselves.
    world.fleet.counters.insert(key(), [2000, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    assert_eq!(counted(&world.status_after(&version, Some(&before), 1)), (Some(2000), Some(8)));
}

#[test]
fn a_fleet_that_is_drained_is_told_of() {
    let version = version_of(killing(), 1);
    let mut world = World { draining: true, ..World::default() };
    world.node("a", "6.12", None);
    let status = world.status(&version);
    let states = all(&version, &status);
    assert_eq!((states[2], states[4]), ((Status::False, Reason::Pending), (Status::False, Reason::Pending)));
    assert_eq!(
        condition(&status, Kind::Ready).message,
        "all policies are being taken off all nodes, for an uninstallation"
    );
}

#[test]
fn a_node_selector_narrows() {
    let mut spec = observing();
    spec["nodeSelector"] = json!({"matchLabels": {"kubernetes.io/os": "linux"}});
    let version = version_of(spec, 1);
    let mut world = World::default();
    world.runs("a", &version).without_agent("windows").verdict("6.12", &version, vec![]);
    world.nodes.insert("a".into(), [("kubernetes.io/os".to_owned(), "linux".to_owned())].into());
    let status = world.status(&version);
    assert_eq!(all(&version, &status)[4], (Status::True, Reason::Ready));
    assert_eq!(status.nodes.unwrap().desired, 1);
}

#[test]
fn monitor_mode_does_not_enforce() {
    let mut spec = killing();
    spec["options"] = json!([{"name": "policy-mode", "value": "monitor"}]);
    let version = version_of(spec, 1);
    let mut world = World::default();
    world.runs("a", &version);
    let status = world.status(&version);
    assert_eq!(all(&version, &status)[3], (Status::False, Reason::MonitorMode));
    assert_eq!(status.mode.as_deref(), Some("monitor"));
}

#[test]
fn the_size_is_bounded_whatever_the_fleet() {
    let version = version_of(killing(), 1);
    let mut world = World::default();
    for at in 0..5000 {
        let message = "\"\\".repeat(2000);
        let name = format!("{at:04}-{}", "n".repeat(240));
        let release = format!("{}-{}", at % 200, "r".repeat(200));
        world.node(&name, &release, Some((version.digest, Programming::Failed { message, kept: true })));
    }
    for at in 0..200 {
        let problem = || Diagnostic::error(Code::Limit, "spec.".repeat(50), "\"".repeat(500));
        let release = format!("{at}-{}", "r".repeat(200));
        world.verdict(&release, &version, (0..20).map(|_| problem()).collect());
    }
    let status = world.status(&version);
    all(&version, &status);
    let size = serde_json::to_vec(&status).unwrap().len();
    assert!(size <= STATUS_MAX, "{size}");
    assert_eq!(status.kernels.len(), KERNELS_MAX + 1);
    assert_eq!(status.kernels[KERNELS_MAX].release, "184 others");
    assert_eq!(status.kernels.iter().map(|kernel| kernel.nodes).sum::<i64>(), 5000);
    assert_eq!(status.failing_nodes.len(), 5);
}
