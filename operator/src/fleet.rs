//! In: the policies, the nodes' labels, and the agents' streams. Out: programs to the agents, and the [`Fleet`] to the
//! other parts of the operator.
//!
//! ```text
//! agents ⇄ listen (TLS) ⇄ gate (who is it?) ⇄ service ⇄ session, one per stream
//!                                                          │ commands   ▲ mail: the newest only
//!                                                          ▼            │
//!                              policies, labels ──▶ hub: world ──▶ compile (threads) ──▶ world
//!                                                          └──▶ Fleet
//! ```
//!
//! Everything that is known is rebuilt from the API server and from what agents say when they dial again; the generation
//! of a set rises over restarts because it is at least the time.

mod cache;
mod compile;
mod counters;
mod ended;
mod gate;
mod hub;
mod inbound;
mod kernels;
mod limits;
mod listen;
mod mail;
mod node;
mod selection;
mod selector;
mod service;
mod session;
mod world;

use std::sync::Arc;
use std::time::Duration;

use api::fleet::MESSAGE_MAX;
use api::fleet::fleet_server::FleetServer;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::auth::Authenticator;
use crate::model::{Fleet, Nodes, Policies};

pub use limits::Limits;
pub use selector::selects;

/// Streams on one connection: the agent's own, and what it fetches.
const STREAMS_PER_CONNECTION: u32 = 16;
/// For streams to end when this replica stops serving.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the fleet is served with.
pub struct Inputs {
    /// Where agents dial.
    pub listener: TcpListener,
    /// With the protocol `h2`; its certificate resolver is asked at each handshake, so certificates can change.
    pub tls: Arc<ServerConfig>,
    /// Knows agents.
    pub authenticator: Arc<dyn Authenticator>,
    /// All policies. Must be complete: what is missing is taken from the nodes.
    pub policies: watch::Receiver<Policies>,
    /// All nodes. Must be complete, as policies with a `nodeSelector` are taken from nodes without the labels.
    pub nodes: watch::Receiver<Nodes>,
    /// Where the fleet is published.
    pub fleet: watch::Sender<Arc<Fleet>>,
    /// Bounds.
    pub limits: Limits,
    /// Ends all streams, so that the agents go to another replica.
    pub stop: CancellationToken,
}

/// Serving has failed.
#[derive(Debug, thiserror::Error)]
#[error("serving the agents: {0}")]
pub struct ServeError(#[from] tonic::transport::Error);

/// Serves agents until told to stop.
///
/// # Errors
/// The listener is unusable.
pub async fn serve(inputs: Inputs) -> Result<(), ServeError> {
    let Inputs { listener, tls, authenticator, policies, nodes, fleet, limits, stop } = inputs;
    // Ends the hub and the sessions also if the listener fails.
    let stop = stop.child_token();
    let _stopped = stop.clone().drop_guard();
    let (hub, commands) = hub::Hub::new();
    let channels = hub::Channels { policies, nodes, fleet };
    let (run, ended) = (hub::run(commands, channels, limits.clone(), stop.clone()), stop.clone());
    tokio::spawn(async move {
        run.await;
        // An input has ended, or it was told to: without the hub nothing can be served.
        ended.cancel();
    });

    let parsing = Arc::new(Semaphore::new(1));
    let peers = listen::accept(listener, tls, &limits, stop.clone());
    let keepalive = limits.keepalive;
    let shared = Arc::new(session::Shared { hub, limits, parsing, stop: stop.clone() });
    let service = FleetServer::new(service::Service(shared)).max_decoding_message_size(MESSAGE_MAX);
    let serving = Server::builder()
        .http2_keepalive_interval(Some(keepalive))
        .http2_keepalive_timeout(Some(keepalive / 2))
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_max_header_list_size(32 << 10)
        .serve_with_incoming_shutdown(
            gate::Gate::new(service, authenticator),
            peers,
            stop.clone().cancelled_owned(),
        );
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        served = serving => served?,
        () = late => {}
    }
    Ok(())
}
