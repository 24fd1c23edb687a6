//! In: what GitOps tools do all day. Out: that nothing happens when nothing changes, and that everything ends.

use std::time::Duration;

use crate::plane::{Plane, policy};
use crate::status::{Writing, add_nodes};

#[tokio::test(flavor = "multi_thread")]
async fn gitops_applying_twice_is_a_no_op() {
    let writing = Writing::start(Plane::start(), Duration::ZERO).await;
    let plane = &writing.plane;
    add_nodes(plane, 1);
    let text = policy("p", "tcp_connect", "    message: seen\n    args: [{index: 0, type: sock}]\n");
    let p = ["tracingpolicy", "p"];
    plane.apply(&text).unwrap();
    writing.sees(1).await;
    writing.nodes(1, 1);
    let before = plane.wait(&p, 10, |it| it["status"]["nodes"]["summary"] == "1/1").await;
    // What was only gathered for a later write is written by now.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let settled = plane.get(&p);
    let digest = writing.watched.policies.borrow().values().next().unwrap().digest;
    let writes = writing.metrics.status_writes_taken();
    // The API server has added nothing: kubectl has nothing to send.
    let said = plane.apply(&text).unwrap();
    assert!(said.contains("unchanged"), "{said}");
    assert_eq!(plane.get(&p)["metadata"]["resourceVersion"], settled["metadata"]["resourceVersion"]);
    // One manager takes the specification over, another has a label.
    let label =
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: p, labels: {team: t}}\n";
    let server_side = |text: &str, manager: &str, flags: &[&str]| {
        plane.apply_with(text, &[&["--server-side", "--field-manager", manager], flags].concat())
    };
    server_side(&text, "flux", &["--force-conflicts"]).unwrap();
    server_side(label, "argo", &[]).unwrap();
    let applied = plane.get(&p);
    server_side(&text, "flux", &[]).unwrap();
    server_side(label, "argo", &[]).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = plane.get(&p);
    assert_eq!(after["metadata"]["resourceVersion"], applied["metadata"]["resourceVersion"]);
    assert_eq!(after["metadata"]["generation"], before["metadata"]["generation"]);
    assert_eq!(after["status"], settled["status"]);
    assert_eq!(writing.metrics.status_writes_taken(), writes, "a status was written");
    assert_eq!(
        writing.watched.policies.borrow().values().next().unwrap().digest,
        digest,
        "it would be loaded again"
    );
    assert_eq!(after["spec"], before["spec"]);
    // Two managers that want different things are told so.
    let other = text.replace("message: seen", "message: other");
    let conflict = server_side(&other, "argo", &[]).unwrap_err();
    assert!(conflict.contains("conflict"), "{conflict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gitops_fifty_policies_are_applied_and_pruned() {
    let writing = Writing::start(Plane::start(), Duration::ZERO).await;
    let plane = &writing.plane;
    add_nodes(plane, 3);
    let set = |count: usize| {
        let one = |at: usize| {
            policy(&format!("p{at:02}"), "tcp_connect", "")
                .replace("metadata: {", "metadata: {labels: {set: s}, ")
        };
        (0..count).map(one).collect::<Vec<_>>().join("---\n")
    };
    let prune = ["--prune", "-l", "set=s", "--prune-allowlist=cilium.io/v1alpha1/TracingPolicy"];
    plane.apply_with(&set(50), &prune).unwrap();
    writing.sees(50).await;
    writing.nodes(3, 3);
    let all = ["tracingpolicies", "-l", "set=s"];
    plane
        .wait(&all, 20, |list| {
            let items = list["items"].as_array().unwrap();
            items.len() == 50 && items.iter().all(|it| it["status"]["nodes"]["summary"] == "3/3")
        })
        .await;
    // The API server shows a write before its answer has arrived and is counted.
    let mut before = 0;
    while before != writing.metrics.status_writes_taken() {
        before = writing.metrics.status_writes_taken();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(before <= 150, "{before} writes for 50 policies");
    plane.apply_with(&set(10), &prune).unwrap();
    writing.sees(10).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(writing.metrics.status_writes_taken(), before, "those that stay did not change");
}
