//! In: this replica's role. Out: while it leads, agents that are served and everything that only one may write; when it
//! no longer leads, none of it, at once.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::auth::TokenReviews;
use crate::certs::{CertStore, Publisher};
use crate::drain;
use crate::fleet::{self, Limits};
use crate::lease::{Labels, Role};
use crate::metrics::Metrics;
use crate::model::{AgentNodes, Fleet, Policies};
use crate::status::writer::Writer;
use crate::watch::Watched;

/// What a leader works with.
#[derive(Clone)]
pub struct Leading {
    /// Acts under the operator's ServiceAccount.
    pub client: kube::Client,
    /// Of the operator.
    pub namespace: String,
    /// Name of this replica.
    pub replica: String,
    /// Labels to have on the leader's pod, if this is a pod.
    pub labels: Option<Labels>,
    /// Policies and nodes.
    pub watched: Watched,
    /// The certificate that agents see.
    pub certs: Arc<CertStore>,
    /// Where the fleet is published; admission reads it.
    pub fleet: watch::Sender<Arc<Fleet>>,
    /// Where agents dial.
    pub fleet_address: SocketAddr,
    /// ServiceAccount of the agents.
    pub agent_service_account: String,
    /// See [`Limits::kernel_bytes`].
    pub kernel_bytes: usize,
    /// Nodes that are to have agents.
    pub agent_nodes: AgentNodes,
    /// What is counted.
    pub metrics: Metrics,
    /// Told whether agents are served.
    pub serving: watch::Sender<bool>,
}

/// A leader that cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum LeadError {
    /// The address of the fleet.
    #[error("listening for agents on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Serving agents ended.
    #[error(transparent)]
    Serve(#[from] fleet::ServeError),
    /// The certificate.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl Leading {
    /// Leads whenever the role says so, until the token is cancelled.
    ///
    /// # Errors
    /// Agents cannot be served; another replica should take over.
    pub async fn run(
        self,
        mut role: watch::Receiver<Role>,
        stop: CancellationToken,
    ) -> Result<(), LeadError> {
        let now = role.clone();
        let mut leads = async || {
            let wait = role.wait_for(|role| *role != Role::Standby);
            matches!(stop.run_until_cancelled(wait).await, Some(Ok(_)))
        };
        while leads().await {
            let term = stop.child_token();
            let mut over = now.clone();
            let work = self.term(now.clone(), term.clone());
            let watch = async {
                // An error means that nobody will say any more; then there is no leading either.
                let _ = over.wait_for(|role| *role == Role::Standby).await;
                term.cancel();
            };
            let (done, ()) = tokio::join!(work, watch_until(&term, watch));
            self.serving.send_replace(false);
            self.fleet.send_replace(Arc::default());
            self.metrics.no_policies();
            done?;
        }
        Ok(())
    }

    /// One time of leading.
    async fn term(&self, role: watch::Receiver<Role>, term: CancellationToken) -> Result<(), LeadError> {
        // Ends the others whichever way it ends.
        let _over = term.clone().drop_guard();
        if term.run_until_cancelled(self.watched.synced()).await.is_none() {
            return Ok(());
        }
        let address = self.fleet_address;
        let listener =
            crate::http::bind(address).await.map_err(|source| LeadError::Listen { address, source })?;
        info!(%address, "serving agents");
        self.serving.send_replace(true);
        let (policies_out, policies) = watch::channel(first(&self.watched.policies, &role));
        let serve = fleet::serve(fleet::Inputs {
            listener,
            tls: self.certs.server_config(&[b"h2"])?,
            authenticator: Arc::new(TokenReviews::new(
                self.client.clone(),
                api::fleet::AUDIENCE,
                &self.namespace,
                &self.agent_service_account,
            )),
            policies,
            nodes: self.watched.nodes.clone(),
            fleet: self.fleet.clone(),
            limits: Limits { kernel_bytes: self.kernel_bytes, ..Limits::default() },
            stop: term.clone(),
        });
        let gate = drain::gate(self.watched.policies.clone(), role.clone(), policies_out);
        let served = async {
            let served = serve.await;
            term.cancel();
            served
        };
        let writing = self.writing(role, &term);
        let (served, _, ()) = tokio::join!(served, term.run_until_cancelled(gate), writing);
        served.inspect_err(|error| error!(%error, "agents are not served any more"))?;
        Ok(())
    }

    /// Everything that only one replica may write. Each part is dropped, mid-write if need be, when the term is over.
    async fn writing(&self, role: watch::Receiver<Role>, term: &CancellationToken) {
        let writer = Writer::new(
            self.client.clone(),
            &self.namespace,
            &self.replica,
            self.watched.clone(),
            self.fleet.subscribe(),
            self.metrics.clone(),
        )
        .with_role(role.clone())
        .with_agent_nodes(self.agent_nodes.clone());
        let publisher = Publisher::new(self.client.clone(), &self.namespace, self.certs.authorities());
        let labels = async {
            if let Some(labels) = self.labels.clone() {
                labels.lead(term.clone()).await;
            }
        };
        let known = drain::Known {
            role: role.clone(),
            fleet: self.fleet.subscribe(),
            nodes: self.watched.nodes.clone(),
            agents: self.agent_nodes.clone(),
        };
        let drained = drain::answer(self.client.clone(), &self.namespace, known);
        tokio::join!(
            term.run_until_cancelled(writer.run()),
            term.run_until_cancelled(drained),
            publisher.run(term.clone()),
            labels,
        );
    }
}

/// What the fleet is to begin with: complete, or empty if it is being drained.
fn first(policies: &watch::Receiver<Policies>, role: &watch::Receiver<Role>) -> Policies {
    if *role.borrow() == Role::Draining { Policies::default() } else { policies.borrow().clone() }
}

async fn watch_until(term: &CancellationToken, watch: impl Future<Output = ()>) {
    term.run_until_cancelled(watch).await;
}
