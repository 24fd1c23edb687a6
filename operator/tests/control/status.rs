//! In: policies in a real API server and simulated answers of nodes. Out: what is written into their status, how often,
//! and which Events.

use std::sync::Arc;
use std::time::Duration;

use operator::metrics::Metrics;
use operator::model::{Fleet, NodeName};
use operator::status::writer::Writer;
use operator::watch::Watched;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::fleet::node;
use crate::plane::{NAMESPACE, Plane, condition, policy};

/// The watches and the writer, with a fleet in the test's hands.
pub struct Writing {
    pub plane: Plane,
    pub watched: Watched,
    pub metrics: Metrics,
    pub fleet: watch::Sender<Arc<Fleet>>,
    stop: CancellationToken,
}

impl Writing {
    pub async fn start(plane: Plane, warm_up: Duration) -> Writing {
        let client = plane.client().await;
        let (metrics, stop, tasks) = (Metrics::default(), CancellationToken::new(), TaskTracker::new());
        let watched = Watched::start(&client, &metrics, &tasks, &stop);
        let (fleet, seen) = watch::channel(Arc::<Fleet>::default());
        let writer = Writer::new(client, NAMESPACE, "replica", watched.clone(), seen, metrics.clone());
        let ended = stop.clone();
        tokio::spawn(async move { ended.run_until_cancelled(writer.with_warm_up(warm_up).run()).await });
        watched.synced().await;
        Writing { plane, watched, metrics, fleet, stop }
    }

    /// As long as the watches need to see what was applied.
    pub async fn sees(&self, policies: usize) {
        let mut seen = self.watched.policies.clone();
        let wait = seen.wait_for(|all| all.len() == policies);
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the watch").unwrap();
    }

    /// The nodes run, or wait for, all policies.
    pub fn nodes(&self, running: usize, all: usize) {
        let policies = self.watched.policies.borrow().clone();
        let done = Arc::new(node(&policies, |_| true));
        let waiting = Arc::new(node(&policies, |_| false));
        let state = |at: usize| if at < running { done.clone() } else { waiting.clone() };
        let nodes = (0..all).map(|at| (NodeName::from(format!("node-{at:04}")), state(at))).collect();
        self.fleet.send_replace(Arc::new(Fleet { nodes, ..Fleet::default() }));
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Nodes as the API server lists them.
pub fn add_nodes(plane: &Plane, count: usize) {
    let node = |at: usize| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("node-{at:04}")}});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": (0..count).map(node).collect::<Vec<_>>()});
    plane.apply(&list.to_string()).unwrap();
}

fn is(object: &Value, kind: &str, status: &str, reason: &str) -> bool {
    let (found, why, _) = condition(object, kind);
    found == status && why == reason
}

#[tokio::test(flavor = "multi_thread")]
async fn status_follows_a_policy_from_apply_to_ready_and_tells_events() {
    let writing = Writing::start(Plane::start(), Duration::ZERO).await;
    let plane = &writing.plane;
    add_nodes(plane, 2);
    plane.apply(&policy("p", "tcp_connect", "")).unwrap();
    let p = ["tracingpolicy", "p"];
    writing.sees(1).await;
    plane.wait(&p, 10, |it| is(it, "Reconciling", "True", "Pending")).await;
    writing.nodes(1, 2);
    plane.wait(&p, 10, |it| it["status"]["nodes"]["summary"] == "1/2").await;
    writing.nodes(2, 2);
    let ready = plane.wait(&p, 10, |it| is(it, "Ready", "True", "Ready")).await;
    assert_eq!(ready["status"]["observedGeneration"], 1);
    let columns = plane.kubectl(&["get", "tracingpolicies"]).unwrap();
    let words: Vec<&str> = columns.lines().flat_map(str::split_whitespace).collect();
    assert_eq!(
        words[..9],
        ["NAME", "MODE", "READY", "NODES", "HOOKS", "AGE", "p", "enforce", "True"],
        "{columns}"
    );
    let wide = plane.kubectl(&["get", "tracingpolicies", "-o", "wide"]).unwrap();
    assert!(wide.contains("1 hook on 2 nodes, mode enforce"), "{wide}");
    plane.kubectl(&["wait", "--for=condition=Ready", "tracingpolicy/p", "--timeout=5s"]).unwrap();

    // An edit is rolled out from the start; the mode by annotation is another version, of the same generation.
    plane.apply(&policy("p", "tcp_close", "")).unwrap();
    plane
        .wait(&p, 10, |it| it["status"]["observedGeneration"] == 2 && is(it, "Ready", "False", "Pending"))
        .await;
    writing.nodes(2, 2);
    plane.wait(&p, 10, |it| is(it, "Ready", "True", "Ready")).await;
    plane.kubectl(&["annotate", "tracingpolicy", "p", "ferragon.io/policy-mode=monitor"]).unwrap();
    let monitored = plane.wait(&p, 10, |it| it["status"]["mode"] == "monitor").await;
    assert!(is(&monitored, "Ready", "False", "Pending"), "the nodes run the other mode: {monitored:#}");

    let events = plane
        .kubectl(&["get", "events.events.k8s.io", "-n", "default", "-o", "jsonpath={.items[*].reason}"])
        .unwrap();
    let mut reasons: Vec<&str> = events.split_whitespace().collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["Ready", "Ready"]);
    let map = plane.wait(&["configmap", "ferragon-fleet", "-n", NAMESPACE], 15, |it| !it.is_null()).await;
    assert!(map["data"]["nodes.json"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn status_a_thousand_answers_cost_few_writes() {
    let writing = Writing::start(Plane::start(), Duration::ZERO).await;
    let plane = &writing.plane;
    add_nodes(plane, 1000);
    let mut nodes = writing.watched.nodes.clone();
    nodes.wait_for(|nodes| nodes.len() == 1000).await.unwrap();
    plane.apply(&policy("p", "tcp_connect", "")).unwrap();
    writing.sees(1).await;
    let p = ["tracingpolicy", "p"];
    plane.wait(&p, 10, |it| is(it, "Reconciling", "True", "Pending")).await;
    let before = writing.metrics.status_writes_taken();
    let started = std::time::Instant::now();
    for running in 1..=1000 {
        writing.nodes(running, 1000);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    plane
        .wait(&p, 10, |it| {
            it["status"]["nodes"]["summary"] == "1000/1000" && is(it, "Ready", "True", "Ready")
        })
        .await;
    let writes = writing.metrics.status_writes_taken() - before;
    assert!(writes <= 8, "{writes} writes in {:?}", started.elapsed());
    let size = plane.get(&p)["status"].to_string().len();
    assert!(size < 8 << 10, "{size}");
    // Then nothing is written any more.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(writing.metrics.status_writes_taken() - before, writes);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_of_an_object_of_the_wrong_shape_tells_so_and_stops_nothing() {
    let plane = Plane::start();
    // The definition of some other version took anything.
    for name in ["tracingpolicies.cilium.io", "tracingpoliciesnamespaced.cilium.io"] {
        let mut definition = plane.get(&["crd", name]);
        let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = anything;
        plane
            .kubectl(&[
                "patch",
                "crd",
                name,
                "--type=merge",
                "-p",
                &json!({"spec": definition["spec"]}).to_string(),
            ])
            .unwrap();
    }
    let odd =
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: odd}\nspec: [1, {a: b}]\n";
    let mut stored = Err(String::new());
    for _ in 0..100 {
        stored = plane.apply(odd);
        if stored.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stored.unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/generated/cilium.io_tracingpolicies.yaml");
    plane
        .apply_with(&std::fs::read_to_string(path).unwrap(), &["--server-side", "--force-conflicts"])
        .unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;

    let writing = Writing::start(plane, Duration::ZERO).await;
    let plane = &writing.plane;
    plane.apply(&policy("p", "tcp_connect", "")).unwrap();
    writing.sees(2).await;
    let odd = plane.wait(&["tracingpolicy", "odd"], 10, |it| is(it, "Accepted", "False", "Invalid")).await;
    assert!(condition(&odd, "Accepted").2.contains("spec"), "{odd:#}");
    plane.wait(&["tracingpolicy", "p"], 10, |it| is(it, "Accepted", "True", "Valid")).await;
    plane.kubectl(&["delete", "tracingpolicy", "odd", "--timeout=20s"]).unwrap();
    writing.sees(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_of_another_object_of_the_same_name_is_its_own() {
    let writing = Writing::start(Plane::start(), Duration::ZERO).await;
    let plane = &writing.plane;
    let p = ["tracingpolicy", "p"];
    plane.apply(&policy("p", "tcp_connect", "")).unwrap();
    writing.sees(1).await;
    let first = plane.wait(&p, 10, |it| it["status"].is_object()).await;
    plane.kubectl(&["delete", "tracingpolicy", "p"]).unwrap();
    plane.apply(&policy("p", "tcp_close", "")).unwrap();
    let second = plane.wait(&p, 10, |it| it["status"].is_object()).await;
    assert_ne!(first["metadata"]["uid"], second["metadata"]["uid"]);
    let namespaced =
        policy("p", "tcp_connect", "").replace("kind: TracingPolicy", "kind: TracingPolicyNamespaced");
    for namespace in ["default", NAMESPACE] {
        plane.apply_with(&namespaced, &["-n", namespace]).unwrap();
    }
    writing.sees(3).await;
    for namespace in ["default", NAMESPACE] {
        plane
            .wait(&["tracingpolicynamespaced", "p", "-n", namespace], 10, |it| {
                is(it, "Accepted", "True", "Valid")
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_does_not_flap_when_another_replica_takes_over() {
    let first = Writing::start(Plane::start(), Duration::ZERO).await;
    add_nodes(&first.plane, 3);
    first.plane.apply(&policy("p", "tcp_connect", "")).unwrap();
    first.sees(1).await;
    first.nodes(3, 3);
    let p = ["tracingpolicy", "p"];
    let ready = first.plane.wait(&p, 10, |it| is(it, "Ready", "True", "Ready")).await;
    let map = ["configmap", "ferragon-fleet", "-n", NAMESPACE];
    let all = |it: &Value| it["data"]["nodes.json"].as_str().is_some_and(|nodes| nodes.contains("node-0002"));
    first.plane.wait(&map, 15, all).await;
    first.stop.cancel();
    tokio::time::sleep(Duration::from_millis(600)).await;

    // A new leader knows no agents at first.
    let client = first.plane.client().await;
    let (metrics, stop, tasks) = (Metrics::default(), CancellationToken::new(), TaskTracker::new());
    let watched = Watched::start(&client, &metrics, &tasks, &stop);
    let (fleet, seen) = watch::channel(Arc::<Fleet>::default());
    let writer = Writer::new(client, NAMESPACE, "other", watched.clone(), seen, metrics.clone());
    tokio::spawn(
        async move { stop.run_until_cancelled(writer.with_warm_up(Duration::from_secs(8)).run()).await },
    );
    watched.synced().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(all(&first.plane.get(&map)), "a list of fewer nodes is not written yet");
    let state = Arc::new(node(&watched.policies.borrow().clone(), |_| true));
    let nodes = |count: usize| {
        (0..count).map(|at| (NodeName::from(format!("node-{at:04}")), state.clone())).collect()
    };
    fleet.send_replace(Arc::new(Fleet { nodes: nodes(3), ..Fleet::default() }));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(first.plane.get(&p)["metadata"]["resourceVersion"], ready["metadata"]["resourceVersion"]);
    assert_eq!(metrics.status_writes_taken(), 0);
    // A node whose agent does not come back is told of in the end.
    fleet.send_replace(Arc::new(Fleet { nodes: nodes(2), ..Fleet::default() }));
    let waiting = first.plane.wait(&p, 20, |it| is(it, "Ready", "False", "Pending")).await;
    assert!(condition(&waiting, "Ready").2.contains("no agent on node-0002"), "{waiting:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_of_a_misspelt_filter_without_a_webhook_names_it() {
    let writing = Writing::start(Plane::start(), Duration::ZERO).await;
    let misspelt = "    selectors:\n    - matchBinarys: [{operator: In, values: [/x]}]\n      matchActions: [{action: Sigkill}]\n";
    writing.plane.apply_with(&policy("p", "tcp_connect", misspelt), &["--validate=false"]).unwrap();
    writing.sees(1).await;
    let p = ["tracingpolicy", "p"];
    let refused = writing.plane.wait(&p, 10, |it| is(it, "Accepted", "False", "Invalid")).await;
    let message = condition(&refused, "Accepted").2;
    assert!(
        message.contains("matchBinarys") && message.contains("did you mean `matchBinaries`?"),
        "{message}"
    );
    assert!(
        writing.watched.policies.borrow().values().all(|version| version.policy.is_none()),
        "it runs nowhere"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn status_without_its_subresource_is_a_failure_and_not_a_deletion() {
    let writing = Writing::start(Plane::start(), Duration::ZERO).await;
    let plane = &writing.plane;
    let definition = "tracingpolicies.cilium.io";
    let patch = r#"[{"op": "remove", "path": "/spec/versions/0/subresources"}]"#;
    plane.kubectl(&["patch", "crd", definition, "--type=json", "-p", patch]).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    plane.apply(&policy("p", "tcp_connect", "")).unwrap();
    writing.sees(1).await;
    let text = |result: &str| format!("ferragon_operator_status_writes_total{{result=\"{result}\"}}");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !writing.metrics.text().contains(&text("Failed")) {
        assert!(std::time::Instant::now() < deadline, "{}", writing.metrics.text());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(!writing.metrics.text().contains(&text("Gone")));
    // Once the definition is right, the status is written.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/generated/cilium.io_tracingpolicies.yaml");
    plane
        .apply_with(&std::fs::read_to_string(path).unwrap(), &["--server-side", "--force-conflicts"])
        .unwrap();
    plane.wait(&["tracingpolicy", "p"], 20, |it| it["status"].is_object()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_fields_that_a_merge_has_left_behind_are_taken_away() {
    let writing = Writing::start(Plane::start(), Duration::ZERO).await;
    let plane = &writing.plane;
    add_nodes(plane, 1);
    plane.apply(&policy("p", "tcp_connect", "")).unwrap();
    writing.sees(1).await;
    let p = ["tracingpolicy", "p"];
    plane.wait(&p, 10, |it| is(it, "Reconciling", "True", "Pending")).await;
    let merged = r#"{"status": {"failingNodes": [{"name": "node-0000", "message": "old"}]}}"#;
    plane
        .kubectl(&[
            "patch",
            "tracingpolicy",
            "p",
            "--subresource=status",
            "--type=merge",
            "--field-manager=ferragon-operator",
            "-p",
            merged,
        ])
        .unwrap();
    writing.nodes(1, 1);
    let done = plane
        .wait(&p, 15, |it| is(it, "Ready", "True", "Ready") && it["status"]["failingNodes"].is_null())
        .await;
    assert_eq!(done["status"]["nodes"]["summary"], "1/1");
}
