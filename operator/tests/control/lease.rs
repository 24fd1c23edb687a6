//! In: two replicas as processes. Out: that one of them leads, and the other when it does not.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::plane::{NAMESPACE, Plane, policy};
use crate::process::Replica;

const LEASE: [&str; 4] = ["lease", "ferragon-operator", "-n", NAMESPACE];

/// Pods of the replicas, with which the labels go.
fn add_pods(plane: &Plane, names: &[&str]) {
    for name in names {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"containers": [{"name": "c", "image": "x"}], "serviceAccountName": "ferragon-operator"}});
        plane.apply(&pod.to_string()).unwrap();
    }
}

fn labelled(plane: &Plane) -> Vec<String> {
    let names =
        plane.kubectl(&["get", "pods", "-n", NAMESPACE, "-l", "ferragon.io/leader=true", "-o", "name"]);
    names.unwrap().lines().map(|line| line.trim_start_matches("pod/").to_owned()).collect()
}

async fn until(what: &str, seconds: u64, is: impl AsyncFn() -> bool) -> Duration {
    let started = Instant::now();
    while !is().await {
        assert!(started.elapsed() < Duration::from_secs(seconds), "waited {seconds} s for {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn lease_a_replica_that_ends_hands_over_at_once() {
    let plane = Plane::start();
    add_pods(&plane, &["a", "b"]);
    let mut a = Replica::start(&plane, "a");
    a.answers("/readyz", 200, 30).await;
    until("a to lead", 20, async || a.leads().await && labelled(&plane) == ["a"]).await;
    let b = Replica::start(&plane, "b");
    b.answers("/readyz", 200, 30).await;
    assert!(!b.leads().await);
    plane.apply(&policy("p", "tcp_connect", "")).unwrap();
    plane.wait(&["tracingpolicy", "p"], 10, |it| it["status"].is_object()).await;
    assert!(
        tokio::net::TcpStream::connect(("127.0.0.1", b.fleet)).await.is_err(),
        "a standby serves no agents"
    );

    a.signal("TERM");
    let took = until("b to lead", 10, async || b.leads().await && labelled(&plane) == ["b"]).await;
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(a.wait().success());
    assert_eq!(plane.get(&LEASE)["spec"]["leaseTransitions"], 2);
    b.answers("/readyz", 200, 10).await;
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", b.fleet)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn lease_a_replica_that_hangs_is_replaced_and_steps_back() {
    let plane = Plane::start();
    add_pods(&plane, &["a", "b"]);
    let a = Replica::start(&plane, "a");
    until("a to lead", 20, async || a.leads().await).await;
    let b = Replica::start(&plane, "b");
    b.answers("/readyz", 200, 30).await;
    a.signal("STOP");
    let took = until("b to lead", 30, async || b.leads().await).await;
    assert!(took > Duration::from_secs(8), "it took over from a leader that could still write: {took:?}");
    assert!(took < Duration::from_secs(22), "{took:?}");
    until("the label to move", 5, async || labelled(&plane) == ["b"]).await;
    a.signal("CONT");
    until("a to step back", 15, async || !a.leads().await && a.ask("/readyz").await.is_some()).await;
    assert!(b.leads().await);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(labelled(&plane), ["b"]);
    assert_eq!(plane.get(&LEASE)["spec"]["holderIdentity"], "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn lease_draining_is_asked_for_and_answered() {
    let plane = Plane::start();
    let a = Replica::start(&plane, "a");
    until("a to lead", 20, async || a.leads().await).await;
    let drain = |timeout: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_ferragon-operator"))
            .args(["drain", "--timeout", timeout, "--namespace", NAMESPACE])
            .env("KUBECONFIG", plane.operator_kubeconfig())
            .output()
            .unwrap()
    };
    let done = drain("30");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // A leader that has just begun does not vouch for a node that it knows nothing of; the wish is withdrawn then.
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "silent"}});
    plane.apply(&node.to_string()).unwrap();
    let late = drain("4");
    let said = String::from_utf8_lossy(&late.stderr).into_owned();
    assert!(!late.status.success(), "{said}");
    for part in ["not taken off within 4 s on silent", "helm uninstall --no-hooks"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(plane.get(&LEASE)["metadata"]["annotations"]["ferragon.io/drain-until"].is_null());
    plane.kubectl(&["delete", "node", "silent"]).unwrap();
    drop(a);
    let late = drain("2");
    assert!(!late.status.success(), "nobody answers");
    assert!(String::from_utf8_lossy(&late.stderr).contains("is an operator running?"));
}
