//! In: the state of this replica. Out: `/healthz`, `/readyz` and `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::sync::watch;

use crate::certs::CertStore;
use crate::lease::Role;
use crate::metrics::Metrics;
use crate::watch::Watched;

/// What is looked at.
#[derive(Clone)]
pub struct Health {
    /// Whether everything that exists has been seen.
    pub watched: Watched,
    /// Whether there is a certificate.
    pub certs: Arc<CertStore>,
    /// Whether this is the leader.
    pub role: watch::Receiver<Role>,
    /// Whether agents are served.
    pub serving: watch::Receiver<bool>,
    /// What is counted.
    pub metrics: Metrics,
}

impl Health {
    /// What this replica still waits for. A standby is ready too: it can take over.
    fn missing(&self) -> Option<&'static str> {
        if !self.watched.is_synced() {
            return Some("waiting for the first list of policies and nodes");
        }
        if !self.certs.is_filled() {
            return Some("waiting for the certificate");
        }
        let leads = *self.role.borrow() != Role::Standby;
        (leads && !*self.serving.borrow()).then_some("leading, but not yet serving agents")
    }
}

/// The routes.
pub fn router(health: Health) -> Router {
    // That it answers is what the kubelet wants to know: waiting for others is no reason to start it again.
    let alive = || async { "ok\n" };
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    match health.missing() {
        None => (StatusCode::OK, "ok\n"),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, missing),
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], health.metrics.text())
}
