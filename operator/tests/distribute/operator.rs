//! In: policies and nodes of a test. Out: the fleet's server on a port of its own, with TLS, and what it publishes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::fleet::Desired;
use futures::future::BoxFuture;
use operator::auth::{AuthError, Authenticator};
use operator::certs::{CertStore, Names, renew};
use operator::fleet::{Inputs, Limits, serve};
use operator::model::{Fleet, NodeName, NodeState, Nodes, Policies, Programming};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::policies::key;

/// Knows the token `agent-of-NODE`.
pub struct ByName;

impl Authenticator for ByName {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<NodeName, AuthError>> {
        let node = token.strip_prefix("agent-of-").map(Into::into);
        Box::pin(async move { node.ok_or_else(|| AuthError::Refused("not of a test".to_owned())) })
    }
}

pub struct Operator {
    pub address: SocketAddr,
    pub ca: String,
    pub policies: watch::Sender<Policies>,
    pub nodes: watch::Sender<Nodes>,
    pub fleet: watch::Receiver<Arc<Fleet>>,
    pub stop: CancellationToken,
    store: Arc<CertStore>,
    done: tokio::task::JoinHandle<()>,
}

/// Short enough for tests, with the margins that a loaded machine needs.
pub fn limits() -> Limits {
    Limits {
        gather: Duration::from_millis(5),
        publish_every: Duration::from_millis(20),
        greet_within: Duration::from_secs(2),
        streams_per_minute: 100,
        ..Limits::default()
    }
}

impl Operator {
    pub async fn start(policies: Policies, nodes: Nodes) -> Operator {
        Operator::with(policies, nodes, limits(), Arc::new(ByName)).await
    }

    pub async fn with(
        policies: Policies,
        nodes: Nodes,
        limits: Limits,
        authenticator: Arc<dyn Authenticator>,
    ) -> Operator {
        let (policies, policies_in) = watch::channel(policies);
        let (nodes, nodes_in) = watch::channel(nodes);
        let operator = Operator::watching(policies_in, nodes_in, limits, authenticator).await;
        Operator { policies, nodes, ..operator }
    }

    /// With policies and nodes that something else publishes.
    pub async fn watching(
        policies_in: watch::Receiver<Policies>,
        nodes_in: watch::Receiver<Nodes>,
        limits: Limits,
        authenticator: Arc<dyn Authenticator>,
    ) -> Operator {
        let names = Names::of_service("ferragon");
        let material = renew(None, &names, time::OffsetDateTime::now_utc()).expect("rcgen").expect("new");
        let store = CertStore::new();
        store.set(&material.certificate, &material.key, &material.authorities()).expect("certificate");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let (policies, nodes) = (watch::Sender::default(), watch::Sender::default());
        let (fleet_out, fleet) = watch::channel(Arc::default());
        let stop = CancellationToken::new();
        let inputs = Inputs {
            listener,
            tls: store.server_config(&[b"h2"]).expect("TLS"),
            authenticator,
            policies: policies_in,
            nodes: nodes_in,
            fleet: fleet_out,
            limits,
            stop: stop.clone(),
        };
        let done = tokio::spawn(async move { serve(inputs).await.expect("serving") });
        Operator { address, ca: material.authorities(), policies, nodes, fleet, stop, store, done }
    }

    /// A new certificate of a new authority, as after a rotation.
    pub fn rotate(&mut self) {
        let names = Names::of_service("ferragon");
        let material = renew(None, &names, time::OffsetDateTime::now_utc()).expect("rcgen").expect("new");
        self.ca = material.authorities();
        self.store.set(&material.certificate, &material.key, &self.ca).expect("certificate");
    }

    pub async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(8), self.done)
            .await
            .expect("ends in time")
            .expect("no panic");
    }

    /// Waits until the fleet is so, and gives it.
    pub async fn until(&self, what: &str, holds: impl Fn(&Fleet) -> bool) -> Arc<Fleet> {
        let mut fleet = self.fleet.clone();
        let found = tokio::time::timeout(Duration::from_secs(10), fleet.wait_for(|fleet| holds(fleet))).await;
        match found {
            Ok(found) => found.expect("the fleet is published").clone(),
            Err(_) => panic!("never: {what}; the fleet is {:#?}", self.fleet.borrow().nodes),
        }
    }

    /// Waits until the answer to a set is published.
    pub async fn until_answered(&self, name: &str, desired: &Desired) -> Arc<Fleet> {
        let answered = |fleet: &Fleet| {
            node(fleet, name).is_some_and(|node| node.applied_generation == desired.generation)
        };
        self.until(&format!("{} answered by {name}", desired.generation), answered).await
    }

    pub async fn until_programmed(&self, node: &str, policy: &str) -> Arc<Fleet> {
        let programmed =
            |fleet: &Fleet| matches!(state(fleet, node, policy), Some(Programming::Programmed { .. }));
        self.until(&format!("{policy} programmed on {node}"), programmed).await
    }
}

pub fn node<'a>(fleet: &'a Fleet, node: &str) -> Option<&'a NodeState> {
    fleet.nodes.get(node).map(|state| &**state)
}

pub fn state<'a>(fleet: &'a Fleet, name: &str, policy: &str) -> Option<&'a Programming> {
    node(fleet, name)?.policies.get(&key(policy)).map(|policy| &policy.state)
}
