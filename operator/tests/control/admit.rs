//! In: policies, as users apply them. Out: which the webhook lets pass, and with which words.

use std::sync::Arc;

use api::artefact::Flavour;
use operator::admission::Judge;
use operator::certs::{CertStore, Keeper, Publisher};
use operator::http::{self, Bounds};
use operator::metrics::Metrics;
use operator::model::{AgentNodes, Fleet, Nodes};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::fleet::{kernel, of_kernels};
use crate::plane::{NAMESPACE, Plane, policy};

/// The webhook behind a real API server.
struct Webhook {
    plane: Plane,
    stop: CancellationToken,
}

impl Webhook {
    async fn start(fleet: Arc<Fleet>, refuse_partly: bool) -> Webhook {
        let plane = Plane::start();
        let client = plane.client().await;
        let (certs, stop, metrics) = (CertStore::new(), CancellationToken::new(), Metrics::default());
        Keeper::new(client.clone(), NAMESPACE, certs.clone()).ensure().await.unwrap();
        let listener = http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // As in the chart, but found by an address: without nodes there are no Services.
        plane
            .apply(
                &json!({
                    "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                    "metadata": {"name": "ferragon"},
                    "webhooks": [{
                        "name": "tracingpolicies.ferragon.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                        "failurePolicy": "Fail", "timeoutSeconds": 10,
                        "rules": [{"apiGroups": ["cilium.io"], "apiVersions": ["v1alpha1"],
                            "operations": ["CREATE", "UPDATE"], "scope": "*",
                            "resources": ["tracingpolicies", "tracingpoliciesnamespaced"]}],
                        "clientConfig": {"url": format!("https://localhost:{port}/validate")},
                    }],
                })
                .to_string(),
            )
            .unwrap();
        // `localhost` is not a name of the certificate, so this webhook has one of its own.
        let names = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = names.self_signed(&key).unwrap().pem();
        certs.set(&certificate, &key.serialize_pem(), &certificate).unwrap();
        tokio::spawn(Publisher::new(client, NAMESPACE, certs.authorities()).run(stop.clone()));
        let (_, fleet) = watch::channel(fleet);
        let (_, nodes) = watch::channel(Nodes::default());
        let judge = Judge::new(fleet, nodes, AgentNodes::default(), refuse_partly, metrics);
        let tls = certs.server_config(&[b"http/1.1"]).unwrap();
        tokio::spawn(http::serve(listener, Some(tls), judge.router(), Bounds::WEBHOOK, stop.clone()));
        plane
            .wait(&["validatingwebhookconfiguration", "ferragon"], 20, |it| {
                it["webhooks"][0]["clientConfig"]["caBundle"].is_string()
            })
            .await;
        let webhook = Webhook { plane, stop };
        webhook.asked().await;
        webhook
    }

    /// Waits until the API server knows the authority.
    async fn asked(&self) {
        let dry = &["--dry-run=server"];
        let mut last = Ok(String::new());
        for _ in 0..100 {
            last = self.plane.apply_with(&policy("probe", "tcp_connect", ""), dry);
            if last.is_ok() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("the webhook is not asked: {last:?}");
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

const TYPO: &str =
    "    selectors:\n    - matchActions:\n      - action: Post\n        rateLimit: sometimes\n";

#[tokio::test(flavor = "multi_thread")]
async fn admit_what_no_kernel_runs_is_refused_also_on_dry_run() {
    let webhook =
        Webhook::start(of_kernels(&[kernel("6.1", Flavour::Fentry), kernel("6.12", Flavour::Fentry)]), false)
            .await;
    let plane = &webhook.plane;
    for flags in [&["--dry-run=server"][..], &[]] {
        let refused = plane.apply_with(&policy("p", "tcp_conect", ""), flags).unwrap_err();
        assert!(refused.contains("no kernel of the fleet can run the policy (6.1, 6.12)"), "{refused}");
        assert!(
            refused.contains(
                "spec.kprobes[0].call: the kernel has no function `tcp_conect`; did you mean `tcp_connect`?"
            ),
            "{refused}"
        );
        let refused = plane.apply_with(&policy("p", "tcp_connect", TYPO), flags).unwrap_err();
        assert!(refused.contains("spec.kprobes[0].selectors[0].matchActions[0].rateLimit"), "{refused}");
        let accepted = plane.apply_with(&policy("good", "tcp_connect", ""), flags).unwrap();
        assert!(accepted.contains("created") && !accepted.contains("Warning"), "{accepted}");
        let namespaced =
            policy("good", "tcp_conect", "").replace("kind: TracingPolicy", "kind: TracingPolicyNamespaced");
        let flags = &[flags, &["-n", "default"]].concat();
        let refused = plane.apply_with(&namespaced, flags).unwrap_err();
        assert!(refused.contains("did you mean `tcp_connect`?"), "{refused}");
    }
    assert_eq!(
        plane.kubectl(&["get", "tracingpolicies", "-o", "name"]).unwrap().trim(),
        "tracingpolicy.cilium.io/good"
    );
    // An edit is judged as well, and what was stored stays.
    let refused = plane.apply(&policy("good", "tcp_conect", "")).unwrap_err();
    assert!(refused.contains("denied the request"), "{refused}");
    assert_eq!(plane.get(&["tracingpolicy", "good"])["metadata"]["generation"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn admit_what_some_kernels_cannot_run_warns_or_is_refused() {
    let fleet = of_kernels(&[kernel("6.12", Flavour::Fentry), kernel("5.10", Flavour::Kprobe)]);
    let webhook = Webhook::start(fleet.clone(), false).await;
    let said = webhook.plane.apply(&policy("p", "vfs_read", "")).unwrap();
    assert!(said.contains("Warning: will not run on kernel 5.10: spec.kprobes[0]"), "{said}");
    drop(webhook);
    let webhook = Webhook::start(fleet, true).await;
    let refused = webhook.plane.apply(&policy("p", "vfs_read", "")).unwrap_err();
    assert!(refused.contains("not every kernel of the fleet can run the policy, not 5.10"), "{refused}");
    webhook.plane.apply(&policy("q", "tcp_connect", "")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn admit_what_was_bad_already_can_be_labelled_and_deleted() {
    let webhook = Webhook::start(of_kernels(&[kernel("6.12", Flavour::Fentry)]), false).await;
    let plane = &webhook.plane;
    // Stored before there was a webhook.
    let hook = plane.get(&["validatingwebhookconfiguration", "ferragon"]);
    plane.kubectl(&["delete", "validatingwebhookconfiguration", "ferragon"]).unwrap();
    let mut last = Err(String::new());
    for _ in 0..50 {
        last = plane.apply(&policy("old", "tcp_conect", ""));
        if last.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    last.unwrap();
    let mut again = hook.clone();
    for field in ["resourceVersion", "uid", "managedFields", "creationTimestamp", "generation"] {
        again["metadata"].as_object_mut().unwrap().remove(field);
    }
    plane.apply(&again.to_string()).unwrap();
    let mut refused = Ok(String::new());
    for _ in 0..50 {
        refused = plane.apply_with(&policy("new", "tcp_conect", ""), &["--dry-run=server"]);
        if refused.is_err() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    refused.unwrap_err();
    plane.kubectl(&["label", "tracingpolicy", "old", "a=b"]).unwrap();
    plane.kubectl(&["annotate", "tracingpolicy", "old", "note=x"]).unwrap();
    plane.kubectl(&["delete", "tracingpolicy", "old", "--timeout=20s"]).unwrap();
}

/// As the chart has them.
fn match_conditions() -> serde_json::Value {
    let text = include_str!("../../../charts/ferragon/files/match-conditions.yaml");
    serde_yaml::from_str(text).unwrap()
}

/// Whether an operator that is down, with failurePolicy Fail, refuses a change; the rule is taken over within seconds.
async fn asks(plane: &Plane, change: impl Fn() -> Result<String, String>, expected: bool) {
    let mut last = Ok(String::new());
    for _ in 0..50 {
        last = change();
        if last.is_err() == expected {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("asked or not: {last:?}; {:#}", plane.get(&["tracingpolicies"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn admit_without_an_operator_only_what_could_become_bad_waits_for_it() {
    let plane = Plane::start();
    let policy = policy("p", "tcp_connect", "")
        .replace("{name: p}", "{name: p, finalizers: [example.com/hold], annotations: {a: b}}");
    plane.apply(&policy).unwrap();
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "ferragon"},
        "webhooks": [{
            "name": "tracingpolicies.ferragon.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Fail", "timeoutSeconds": 1, "matchConditions": match_conditions(),
            "rules": [{"apiGroups": ["cilium.io"], "apiVersions": ["v1alpha1"], "scope": "*",
                "operations": ["CREATE", "UPDATE"], "resources": ["tracingpolicies"]}],
            "clientConfig": {"url": "https://localhost:1/validate"},
        }],
    });
    plane.apply(&webhook.to_string()).unwrap();
    let annotate =
        |what: &'static str| plane.kubectl(&["annotate", "--overwrite", "tracingpolicy", "p", what]);
    asks(&plane, || annotate("ferragon.io/policy-mode=monitor"), true).await;
    let other = policy.replace("name: p,", "name: q,");
    asks(&plane, || plane.apply_with(&other, &["--dry-run=server"]), true).await;
    asks(&plane, || plane.apply(&policy.replace("tcp_connect", "tcp_close")), true).await;
    asks(&plane, || annotate("a=c"), false).await;
    asks(&plane, || plane.kubectl(&["label", "tracingpolicy", "p", "x=y"]), false).await;
    plane.kubectl(&["delete", "tracingpolicy", "p", "--wait=false"]).unwrap();
    let release = r#"[{"op": "remove", "path": "/metadata/finalizers"}]"#;
    plane.kubectl(&["patch", "tracingpolicy", "p", "--type=json", "-p", release]).unwrap();
    plane.wait(&["tracingpolicy", "p"], 5, serde_json::Value::is_null).await;
}

/// A filter that is misspelt beside an action: without it, everything that connects would be killed.
const MISSPELT: &str = "    selectors:\n    - matchBinarys:\n      - {operator: In, values: [/usr/bin/x]}\n      \
                        matchActions:\n      - action: Sigkill\n";

#[tokio::test(flavor = "multi_thread")]
async fn admit_a_misspelt_filter_is_refused_and_never_dropped() {
    let webhook = Webhook::start(of_kernels(&[kernel("6.12", Flavour::Fentry)]), false).await;
    let plane = &webhook.plane;
    let policy = policy("p", "tcp_connect", MISSPELT);
    // Whatever the client asks the API server to do about fields that it does not know.
    for flags in
        [&[][..], &["--validate=false"], &["--validate=warn"], &["--dry-run=server"], &["--server-side"]]
    {
        let refused = plane.apply_with(&policy, flags).unwrap_err();
        assert!(refused.contains("spec.kprobes[0].selectors[0].matchBinarys"), "{flags:?}: {refused}");
        assert!(refused.contains("did you mean `matchBinaries`?"), "{flags:?}: {refused}");
    }
    let wrong = policy.replace("spec:", "spec:\n  podSelecter: {}");
    let refused = plane.apply_with(&wrong, &["--validate=false"]).unwrap_err();
    assert!(refused.contains("did you mean `podSelector`?"), "{refused}");
    let good = policy.replace("matchBinarys", "matchBinaries");
    plane.apply(&good).unwrap();
    // Two managers, field by field, as before.
    plane.apply_with(&good, &["--server-side", "--force-conflicts", "--field-manager=other"]).unwrap();
    plane.apply(&good).unwrap();
    assert_eq!(plane.get(&["tracingpolicy", "p"])["metadata"]["generation"], 1);
}
