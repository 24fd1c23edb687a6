//! In: requests of the kubelet and of Prometheus. Out: whether the agent lives, whether it is ready, what it counted.
//!
//! Guarantees: at most [`CONNECTIONS`] at a time, further ones wait in the kernel; one whose request does not come in time
//! ends; however many ask for the counters, the loader is asked by one at a time, and the others get its last answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::histogram::Histogram;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::applier::InForce;
use super::engine::Reading;
use super::fleet::Connection;
use super::metrics::{EventCounts, Shown, render};
use super::node::{Node, NodeHandle};
use crate::accept::accept;
use crate::events::Hub;
use crate::session::Session;

/// A session that did not come round for so long hangs. Loading a large set under emulation takes half a minute.
const HANGS: Duration = Duration::from_secs(120);
/// Longest wait for the loader's counters.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer of the loader that is older is not shown any more.
const STALE: Duration = Duration::from_secs(60);
/// At a time: the kubelet and a few scrapers. Each takes up to 64 KiB.
const CONNECTIONS: usize = 64;
/// For a request's head, and between two requests.
const IDLE: Duration = Duration::from_secs(30);
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
    /// What the loader counted.
    pub readings: Readings,
}

/// The last answer of the loader.
#[derive(Debug, Default)]
pub struct Readings {
    /// Held while it is asked.
    turn: Arc<tokio::sync::Mutex<()>>,
    last: Arc<Mutex<Option<Answer>>>,
}

/// What was read, and when.
type Answer = (Instant, Arc<Reading>);

impl Readings {
    /// Of now, if the loader answers in time and nobody else is asking; else the last one.
    pub async fn read(&self, node: &(impl Node + Clone)) -> Option<Arc<Reading>> {
        if let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() {
            let (node, last) = (node.clone(), Arc::clone(&self.last));
            // On a task of its own: the turn ends with the loader's answer, not with the asker's patience.
            let asking = tokio::spawn(async move {
                match node.with(|engine| engine.reading()).await {
                    Ok(Ok(reading)) => *locked(&last) = Some((Instant::now(), Arc::new(reading))),
                    Ok(Err(error)) => tracing::warn!("{error}"),
                    Err(gone) => tracing::warn!("{gone}"),
                }
                drop(turn);
            });
            let _ = tokio::time::timeout(PATIENCE, asking).await;
        }
        let last = locked(&self.last);
        last.as_ref().filter(|(read, _)| read.elapsed() < STALE).map(|(_, reading)| Arc::clone(reading))
    }
}

/// One value is stored or read: a panic leaves it whole.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves for ever.
pub async fn serve(listener: TcpListener, watched: Arc<Watched>) {
    let router = Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .with_state(watched);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(room) = Arc::clone(&room).acquire_owned().await {
        let next = || async { listener.accept().await.map(|(stream, _)| stream) };
        let stream = accept("a connection for health or metrics", next).await;
        let router = router.clone();
        tokio::spawn(async move {
            answer(stream, router, IDLE).await;
            drop(room);
        });
    }
}

async fn answer(stream: TcpStream, router: Router, idle: Duration) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(idle).max_buf_size(64 << 10);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await {
        tracing::debug!("a connection for health or metrics ended early: {error}");
    }
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
    let reading = watched.readings.read(&watched.node).await;
    let in_force = watched.in_force.borrow().clone();
    let connection = watched.connection.get().map(|connection| connection.borrow().clone());
    let text = render(&Shown {
        reading: reading.as_deref(),
        events: &watched.events,
        readers: &watched.hub.counters(),
        in_force: &in_force,
        durations: &watched.durations,
        connection: connection.as_ref(),
    });
    ([(header::CONTENT_TYPE, TEXT)], text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::engine::Engine;
    use crate::daemon::node::NodeGone;
    use std::sync::atomic::AtomicUsize;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A loader that answers when it is told to.
    #[derive(Clone)]
    struct Slow {
        asked: Arc<AtomicUsize>,
        goes: Arc<Semaphore>,
    }

    impl Node for Slow {
        async fn with<R: Send + 'static>(
            &self,
            work: impl FnOnce(&mut dyn Engine) -> R + Send + 'static,
        ) -> Result<R, NodeGone> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            drop(self.goes.acquire().await);
            let kernel = crate::kernel::fake::FakeKernel::new();
            Ok(work(&mut crate::loader::fake::loader(&kernel).unwrap()))
        }
    }

    #[tokio::test]
    async fn the_loader_is_asked_by_one_at_a_time() {
        let readings = Arc::new(Readings::default());
        let node = Slow { asked: Arc::default(), goes: Arc::new(Semaphore::new(0)) };
        let ask = || {
            let (readings, node) = (Arc::clone(&readings), node.clone());
            tokio::spawn(async move { readings.read(&node).await.is_some() })
        };
        let first = ask();
        while node.asked.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..100 {
            assert!(!ask().await.unwrap(), "there is no last answer yet");
        }
        assert_eq!(node.asked.load(Ordering::Relaxed), 1);
        node.goes.add_permits(10);
        assert!(first.await.unwrap());
        assert!(ask().await.unwrap());
        assert_eq!(node.asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_request_that_does_not_come_ends_its_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let router = Router::new().route("/healthz", get(|| async { "ok" }));
        let served = tokio::spawn(answer(stream, router, Duration::from_millis(50)));
        client.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), served).await.unwrap().unwrap();
        let mut rest = Vec::new();
        // Closed, or reset: what was sent was not read to its end.
        let _ = client.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
}
