//! In: policies and nodes. Out: an API server as the operator sees it, in this process: lists, watches, takes statuses,
//! reviews tokens after a while, and counts.

#![allow(dead_code, reason = "the tests and the bench each use a part of it")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use k8s_openapi::ByteString;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codegen::{Service, http};

const AGENT: &str = "system:serviceaccount:ferragon:ferragon-agent";

/// The API server; clones are the same one.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    objects: Mutex<Objects>,
    nodes: Vec<String>,
    review_takes: Duration,
    reviews: AtomicU64,
}

#[derive(Default)]
struct Objects {
    version: u64,
    policies: BTreeMap<String, Value>,
    watchers: Vec<mpsc::UnboundedSender<String>>,
    /// How often each path was written.
    written: BTreeMap<String, u64>,
}

/// A token of the agent on a node.
pub fn token(node: &str) -> String {
    let claims = json!({"sub": AGENT, "aud": [api::fleet::AUDIENCE], "exp": 4_000_000_000_u64, "jti": node});
    let payload = serde_json::to_value(ByteString(claims.to_string().into_bytes())).unwrap_or_default();
    let payload = payload.as_str().unwrap_or_default().replace('+', "-").replace('/', "_");
    format!("e30.{}.c2ln", payload.trim_end_matches('='))
}

fn node_of(token: &str) -> Option<Value> {
    let mut payload = token.split('.').nth(1)?.replace('-', "+").replace('_', "/");
    payload.extend(std::iter::repeat_n('=', (4 - payload.len() % 4) % 4));
    let ByteString(bytes) = serde_json::from_value(Value::String(payload)).ok()?;
    serde_json::from_slice::<Value>(&bytes).ok()?.get("jti").cloned()
}

impl Api {
    /// With these nodes; a TokenReview takes so long.
    pub fn new(nodes: Vec<String>, review_takes: Duration) -> Api {
        Api(Arc::new(Shared { objects: Mutex::default(), nodes, review_takes, reviews: AtomicU64::new(0) }))
    }

    /// As the operator uses it.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }

    /// Writes until now, TokenReviews aside.
    pub fn writes(&self) -> u64 {
        self.writes_to(|_| true)
    }

    /// Of these, to some paths.
    pub fn writes_to(&self, is: impl Fn(&str) -> bool) -> u64 {
        self.objects().written.iter().filter(|(path, _)| is(path)).map(|(_, count)| count).sum()
    }

    /// TokenReviews until now.
    pub fn reviews(&self) -> u64 {
        self.0.reviews.load(Ordering::SeqCst)
    }

    /// Stores a policy, as a user would.
    pub fn store(&self, name: &str, spec: Value) {
        let mut objects = self.objects();
        let before = objects.policies.get(name);
        let same = before.is_some_and(|before| before["spec"] == spec);
        let generation =
            before.map_or(0, |it| it["metadata"]["generation"].as_u64().unwrap_or(0)) + u64::from(!same);
        let policy = json!({
            "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy",
            "metadata": {"name": name, "uid": format!("uid-{name}"), "generation": generation},
            "spec": spec, "status": before.map_or(Value::Null, |before| before["status"].clone()),
        });
        objects.put(name, policy);
    }

    /// The status of a policy.
    pub fn status(&self, name: &str) -> Value {
        self.objects().policies.get(name).map_or(Value::Null, |policy| policy["status"].clone())
    }

    /// The statuses of all policies.
    pub fn statuses(&self) -> BTreeMap<String, Value> {
        let objects = self.objects();
        objects.policies.iter().map(|(name, policy)| (name.clone(), policy["status"].clone())).collect()
    }

    /// Takes statuses from before a restart.
    pub fn restore(&self, statuses: BTreeMap<String, Value>) {
        for (name, policy) in &mut self.objects().policies {
            policy["status"] = statuses.get(name).cloned().unwrap_or_default();
        }
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.0.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: http::Request<Body>) -> http::Response<axum::body::Body> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let watches = parts.uri.query().unwrap_or("").contains("watch=true");
        let kind = path.rsplit('/').next().unwrap_or_default();
        if parts.method == http::Method::GET {
            return match kind {
                "tracingpolicies" if watches => self.watch(),
                "tracingpolicies" => self.list(),
                _ if watches => stream(mpsc::unbounded_channel().1, None),
                "nodes" => {
                    let node = |name: &String| json!({"metadata": {"name": name, "labels": {}}});
                    list(1, self.0.nodes.iter().map(node).collect())
                }
                "tracingpoliciesnamespaced" => list(1, Vec::new()),
                _ => no_such(),
            };
        }
        let bytes = body.collect_bytes().await.unwrap_or_default();
        let mut body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if kind == "tokenreviews" {
            self.0.reviews.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(self.0.review_takes).await;
            let node = node_of(body["spec"]["token"].as_str().unwrap_or_default());
            body["status"] = json!({
                "authenticated": true, "audiences": [api::fleet::AUDIENCE],
                "user": {"username": AGENT, "extra": {"authentication.kubernetes.io/node-name": [node]}},
            });
            return json_body(201, &body);
        }
        *self.objects().written.entry(path.clone()).or_default() += 1;
        if let Some(name) = path.strip_suffix("/status").and_then(|path| path.rsplit('/').next()) {
            let mut objects = self.objects();
            let Some(mut policy) = objects.policies.get(name).cloned() else { return no_such() };
            policy["status"] = body["status"].take();
            let stored = objects.put(name, policy);
            return json_body(200, &stored);
        }
        json_body(if parts.method == http::Method::POST { 201 } else { 200 }, &body)
    }

    fn list(&self) -> http::Response<axum::body::Body> {
        let objects = self.objects();
        list(objects.version, objects.policies.values().cloned().collect())
    }

    /// From now on: nothing is stored while the operator begins.
    fn watch(&self) -> http::Response<axum::body::Body> {
        let (out, events) = mpsc::unbounded_channel();
        self.objects().watchers.push(out.clone());
        stream(events, Some(out))
    }
}

impl Objects {
    fn put(&mut self, name: &str, mut policy: Value) -> Value {
        self.version += 1;
        policy["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let known = self.policies.insert(name.to_owned(), policy.clone()).is_some();
        let event = json!({"type": if known { "MODIFIED" } else { "ADDED" }, "object": policy});
        let line = format!("{event}\n");
        self.watchers.retain(|watcher| watcher.send(line.clone()).is_ok());
        policy
    }
}

fn json_body(status: u16, body: &Value) -> http::Response<axum::body::Body> {
    let mut response = http::Response::new(axum::body::Body::from(body.to_string()));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response
}

fn list(version: u64, items: Vec<Value>) -> http::Response<axum::body::Body> {
    json_body(200, &json!({"metadata": {"resourceVersion": version.to_string()}, "items": items}))
}

fn no_such() -> http::Response<axum::body::Body> {
    let status = json!({"kind": "Status", "status": "Failure", "message": "no such object", "reason": "NotFound", "code": 404});
    json_body(404, &status)
}

/// A watch; it stays open as long as someone reads it.
fn stream(
    events: mpsc::UnboundedReceiver<String>,
    held: Option<mpsc::UnboundedSender<String>>,
) -> http::Response<axum::body::Body> {
    let lines = UnboundedReceiverStream::new(events).map(Ok::<String, std::io::Error>);
    let open = futures::stream::once(async move {
        let _held = held;
        std::future::pending::<Result<String, std::io::Error>>().await
    });
    let both = futures::stream::select(lines, open);
    http::Response::new(axum::body::Body::from_stream(both))
}

impl Service<http::Request<Body>> for Api {
    type Response = http::Response<axum::body::Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let api = self.clone();
        Box::pin(async move { Ok(api.answer(request).await) })
    }
}
