//! In: reviews and made-up fleets. Out: what is refused, with which words, and what passes.

use std::collections::BTreeMap;

use api::artefact::Flavour;
use serde_json::{Value, json};

use super::*;
use crate::model::{KernelDigest, KernelState, NodeState};

fn kernel(release: &str, fixture: &str) -> Arc<KernelState> {
    let path = format!("{}/../policy-compiler/fixtures/{fixture}", env!("CARGO_MANIFEST_DIR"));
    // By fentry, every function in BTF can be hooked; by kprobe, every symbol.
    let flavour = if fixture == "kernel-6.btf" { Flavour::Fentry } else { Flavour::Kprobe };
    let profile = api::profile::KernelProfile {
        btf: std::fs::read(path).unwrap(),
        release: release.to_owned(),
        flavours: vec![flavour as i32],
        symbols: vec!["tcp_connect".to_owned(), "only_in_7".to_owned()],
        ..Default::default()
    };
    Arc::new(KernelState {
        release: release.to_owned(),
        kernel: Arc::new(policy_compiler::Kernel::new(profile).unwrap()),
        verdicts: BTreeMap::new(),
    })
}

fn fleet(nodes: &[(&str, u8)]) -> Fleet {
    let state = |kernel: u8| NodeState {
        kernel: Some(KernelDigest([kernel; 32])),
        release: String::new(),
        agent_version: String::new(),
        connected: true,
        desired_generation: 0,
        applied_generation: 0,
        runs_nothing: false,
        policies: Arc::default(),
        failing_hooks: Vec::new(),
    };
    Fleet {
        nodes: nodes.iter().map(|(name, kernel)| ((*name).into(), Arc::new(state(*kernel)))).collect(),
        kernels: nodes
            .iter()
            .map(|(_, number)| {
                let made =
                    if *number == 6 { kernel("6.12", "kernel-6.btf") } else { kernel("7.0", "kernel-7.btf") };
                (KernelDigest([*number; 32]), made)
            })
            .collect(),
        ..Fleet::default()
    }
}

fn version(spec: Value) -> crate::model::PolicyVersion {
    let object = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap();
    version::read(PolicyKind::Cluster, version::key(PolicyKind::Cluster, &object).unwrap(), &object)
}

fn calling(function: &str) -> Value {
    json!({"kprobes": [{"call": function, "syscall": false}]})
}

fn judged(spec: Value, fleet: &Fleet, refuse_partly: bool) -> Judgement {
    judge(&version(spec), fleet, &Nodes::default(), &AgentNodes::default(), refuse_partly)
}

fn refused(judgement: Judgement) -> String {
    match judgement {
        Judgement::Refused { message } => message,
        Judgement::Allowed { warnings } => panic!("allowed: {warnings:?}"),
    }
}

fn warned(judgement: Judgement) -> Vec<String> {
    match judgement {
        Judgement::Allowed { warnings } => warnings,
        Judgement::Refused { message } => panic!("refused: {message}"),
    }
}

#[test]
fn each_wrong_field_is_a_line() {
    let spec = json!({"kprobes": [{"call": "tcp_connect", "syscall": false, "selectors": [{"matchActions": [{"action": "Sigkil"}]}]}, {"cal": "x"}]});
    let message = refused(judged(spec, &Fleet::default(), false));
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines[0], "the policy is not valid:");
    assert!(
        lines.iter().any(|line| line.contains("spec.kprobes[0].selectors[0].matchActions[0].action")
            && line.contains("did you mean `Sigkill`?")),
        "{message}"
    );
    assert!(lines.iter().any(|line| line.contains("spec.kprobes[1].cal")), "{message}");
}

#[test]
fn what_no_kernel_can_run_is_refused() {
    let both = fleet(&[("a", 6), ("b", 7)]);
    let message = refused(judged(calling("tcp_conect"), &both, false));
    assert!(
        message.starts_with("no kernel of the fleet can run the policy (6.12, 7.0):\nspec.kprobes[0].call: "),
        "{message}"
    );
    assert!(message.contains("did you mean `tcp_connect`?"), "{message}");
    assert_eq!(message.lines().count(), 2, "{message}");
    assert_eq!(warned(judged(calling("tcp_connect"), &both, true)), Vec::<String>::new());
}

#[test]
fn what_some_kernel_cannot_run_is_a_warning_or_refused() {
    let both = fleet(&[("a", 6), ("b", 7)]);
    let warnings = warned(judged(calling("vfs_read"), &both, false));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].starts_with("will not run on kernel 7.0: spec.kprobes[0]: the kernel cannot attach"),
        "{warnings:?}"
    );
    let message = refused(judged(calling("vfs_read"), &both, true));
    assert!(
        message.starts_with(
            "not every kernel of the fleet can run the policy, not 7.0:\nspec.kprobes[0]: the kernel"
        ),
        "{message}"
    );
}

#[test]
fn only_the_kernels_of_selected_nodes_count() {
    let both = fleet(&[("a", 6), ("b", 7)]);
    let label = |value: &str| BTreeMap::from([("pool".to_owned(), value.to_owned())]);
    let nodes: Nodes = Arc::new([("a".into(), label("old")), ("b".into(), label("new"))].into());
    let mut version = version(calling("vfs_read"));
    let select = |value: &str| serde_json::from_value(json!({"matchLabels": {"pool": value}})).unwrap();
    version.node_selector = Some(select("old"));
    assert_eq!(warned(judge(&version, &both, &nodes, &AgentNodes::default(), true)), Vec::<String>::new());
    version.node_selector = Some(select("new"));
    refused(judge(&version, &both, &nodes, &AgentNodes::default(), false));
    version.node_selector = Some(select("none"));
    assert_eq!(
        warned(judge(&version, &both, &nodes, &AgentNodes::default(), false)).len(),
        1,
        "judged by all"
    );
}

#[test]
fn without_agents_the_policy_itself_is_checked() {
    let warnings = warned(judged(calling("x"), &Fleet::default(), true));
    assert!(warnings[0].contains("no agent has reported"), "{warnings:?}");
}

fn update(old: Value, new: Value, annotations: Value) -> AdmissionRequest<DynamicObject> {
    let object = |spec: Value, annotations: Value| {
        json!({"apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy",
            "metadata": {"name": "p", "annotations": annotations}, "spec": spec})
    };
    let names = json!({"group": "cilium.io", "version": "v1alpha1", "kind": "TracingPolicy"});
    let resource = json!({"group": "cilium.io", "version": "v1alpha1", "resource": "tracingpolicies"});
    let review: AdmissionReview<DynamicObject> = serde_json::from_value(json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u", "kind": names, "resource": resource, "name": "p", "operation": "UPDATE",
            "userInfo": {}, "object": object(new, annotations), "oldObject": object(old, json!({}))},
    }))
    .unwrap();
    review.try_into().unwrap()
}

#[test]
fn what_does_not_change_the_policy_passes_at_once() {
    let bad = calling("");
    assert!(to_judge(&update(bad.clone(), bad.clone(), json!({"other": "x"}))).is_none());
    assert!(to_judge(&update(bad.clone(), calling("x"), json!({}))).is_some());
    assert!(
        to_judge(&update(bad.clone(), bad.clone(), json!({version::MODE_ANNOTATION: "monitor"}))).is_some()
    );
    let mut status = update(bad.clone(), calling("x"), json!({}));
    status.sub_resource = Some("status".to_owned());
    assert!(to_judge(&status).is_none());
    let mut going = update(bad.clone(), calling("x"), json!({}));
    going.object.as_mut().unwrap().metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Default::default()));
    assert!(to_judge(&going).is_none());
}

#[tokio::test]
async fn what_is_no_review_is_no_judgement() {
    let (_, fleet) = watch::channel(Arc::default());
    let (_, nodes) = watch::channel(Nodes::default());
    let metrics = Metrics::default();
    let judge = Judge::new(fleet, nodes, AgentNodes::default(), false, metrics.clone());
    let uri = Uri::from_static("/validate?timeout=10s");
    for body in ["", "{}", "[1]", r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#] {
        let answer = review(State(judge.clone()), uri.clone(), Body::from(body)).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{body}");
    }
    let huge = review(State(judge), uri, Body::from(vec![b' '; BODY_MAX + 1])).await;
    assert_eq!(huge.status(), StatusCode::BAD_REQUEST);
    assert!(metrics.text().contains("admission_reviews_total{verdict=\"Failed\"} 5"));
}

#[test]
fn a_review_ends_before_the_api_server_has_given_up() {
    for (query, seconds) in
        [("?timeout=10s", 8), ("?a=b&timeout=30s", 24), ("", 8), ("?timeout=1h", 8), ("?timeout=-1s", 8)]
    {
        let uri: Uri = format!("/validate{query}").parse().unwrap();
        assert_eq!(limit(&uri), Duration::from_secs(seconds), "{query}");
    }
}

#[test]
fn a_part_of_the_fleet_does_not_refuse_what_the_rest_may_run() {
    // `vfs_read` cannot be hooked on 7.0, the only kernel that is known so far.
    let part = fleet(&[("b", 7)]);
    let labels = |os: &str| BTreeMap::from([("kubernetes.io/os".to_owned(), os.to_owned())]);
    let nodes: Nodes = Arc::new(
        [("a".into(), labels("linux")), ("b".into(), labels("linux")), ("w".into(), labels("windows"))]
            .into(),
    );
    let agents = AgentNodes(labels("linux"));
    let warnings = warned(judge(&version(calling("vfs_read")), &part, &nodes, &agents, false));
    assert!(warnings[0].starts_with("will not run on kernel 7.0"), "{warnings:?}");
    assert_eq!(warnings[1], "not refused, as the kernels of some nodes are not known yet: a");
    // What no kernel could ever take is refused all the same, and what one kernel cannot run if that is asked for.
    refused(judge(&version(json!({"kprobes": [{"cal": "x"}]})), &part, &nodes, &agents, false));
    refused(judge(&version(calling("vfs_read")), &part, &nodes, &agents, true));
    // Once all are known: refused. Windows has no agent, so its kernel is not waited for.
    let whole = fleet(&[("a", 7), ("b", 7)]);
    refused(judge(&version(calling("vfs_read")), &whole, &nodes, &agents, false));
}

#[tokio::test]
async fn room_is_taken_before_a_review_is_read() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let (_, fleet) = watch::channel(Arc::default());
    let (_, nodes) = watch::channel(Nodes::default());
    let judge = Judge::new(fleet, nodes, AgentNodes::default(), false, Metrics::default());
    // Many large reviews of which nothing comes.
    let read = Arc::new(AtomicUsize::new(0));
    let slow = |judge: Arc<Judge>| {
        let read = read.clone();
        let body = futures::stream::once(async move {
            read.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<Result<Bytes, std::io::Error>>().await
        });
        tokio::spawn(review(State(judge), "/validate?timeout=5s".parse().unwrap(), Body::from_stream(body)))
    };
    let slow: Vec<_> = (0..20).map(|_| slow(judge.clone())).collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(read.load(Ordering::SeqCst), BODIES_MAX / BODY_MAX);
    // They lose their room; at last each has been answered in time.
    let codes = futures::future::join_all(slow).await;
    let late = |code| matches!(code, StatusCode::BAD_REQUEST | StatusCode::SERVICE_UNAVAILABLE);
    assert!(codes.into_iter().all(|answer| late(answer.unwrap().status())));
    assert!(read.load(Ordering::SeqCst) > BODIES_MAX / BODY_MAX);
    let empty = review(State(judge), "/validate".parse().unwrap(), Body::from("{}")).await;
    assert_eq!(empty.status(), StatusCode::BAD_REQUEST);
}
