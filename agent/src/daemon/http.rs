//! In: requests of the kubelet and of Prometheus. Out: whether the agent lives, whether it is ready, what it counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::metrics::histogram::Histogram;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::applier::InForce;
use super::fleet::Connection;
use super::metrics::{EventCounts, Shown, render};
use super::node::{Node, NodeHandle};
use crate::events::Hub;
use crate::session::Session;

/// A session that did not come round for so long hangs. Loading a large set under emulation takes half a minute.
const HANGS: Duration = Duration::from_secs(120);
/// Longest wait for the loader's counters.
const PATIENCE: Duration = Duration::from_secs(5);
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is shown.
pub struct Watched {
    /// The loader's thread.
    pub node: NodeHandle<Session>,
    /// The stored set was applied.
    pub is_loaded: AtomicBool,
    /// Those who read events can connect, if they are to.
    pub is_open: AtomicBool,
    /// Events so far.
    pub events: Arc<EventCounts>,
    /// Those who read events.
    pub hub: Hub,
    /// The set in force.
    pub in_force: watch::Receiver<InForce>,
    /// Times that changes took.
    pub durations: Histogram,
    /// The call to the operator, once there is one.
    pub connection: OnceLock<watch::Receiver<Connection>>,
}

/// Serves for ever.
///
/// # Errors
/// The listener broke.
pub async fn serve(listener: TcpListener, watched: Arc<Watched>) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .with_state(watched);
    axum::serve(listener, router).await
}

async fn health(State(watched): State<Arc<Watched>>) -> (StatusCode, String) {
    match watched.node.silence() {
        silence if silence < HANGS => (StatusCode::OK, "ok\n".to_owned()),
        silence => {
            let text = format!("the session has not come round for {} s\n", silence.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

/// The operator is not needed.
async fn readiness(State(watched): State<Arc<Watched>>) -> (StatusCode, &'static str) {
    if !watched.is_loaded.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "the stored set is not loaded yet\n")
    } else if !watched.is_open.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "the socket for events is not open yet\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn metrics(State(watched): State<Arc<Watched>>) -> impl IntoResponse {
    let reading = tokio::time::timeout(PATIENCE, watched.node.with(|engine| engine.reading())).await;
    let reading = match reading {
        Ok(Ok(Ok(reading))) => Some(reading),
        Ok(Ok(Err(error))) => {
            tracing::warn!("{error}");
            None
        }
        Ok(Err(_)) | Err(_) => None,
    };
    let in_force = watched.in_force.borrow().clone();
    let connection = watched.connection.get().map(|connection| connection.borrow().clone());
    let text = render(&Shown {
        reading: reading.as_ref(),
        events: &watched.events,
        readers: &watched.hub.counters(),
        in_force: &in_force,
        durations: &watched.durations,
        connection: connection.as_ref(),
    });
    ([(header::CONTENT_TYPE, TEXT)], text)
}
