//! In: connections, with or without TLS. Out: HTTP answers of a router; [`probes`](crate::http::probes::router) is the
//! one for the kubelet and Prometheus.
//!
//! Guarantees: at most [`Bounds::connections`] at a time, further ones wait in the kernel or are closed; a handshake or a
//! request's head that does not come in time ends its connection; when told to stop, requests that were begun are answered.

pub mod probes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// After a failure to accept, such as too many open files.
const PAUSE: Duration = Duration::from_millis(200);
/// For requests that were begun, after the end was asked for.
const FAREWELL: Duration = Duration::from_secs(5);

/// What connections may cost.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// At a time; each takes up to 64 KiB, and what its request takes.
    pub connections: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// Between two requests, and for a request's head.
    pub idle: Duration,
    /// What becomes of those beyond.
    pub beyond: Beyond,
}

/// What becomes of a connection when there are as many as allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// It waits in the kernel for its turn.
    Waits,
    /// It is closed at once: who asks again and again does not wait behind connections that say nothing.
    Closed,
}

impl Bounds {
    /// For the kubelet and Prometheus.
    pub const PROBES: Bounds = Bounds {
        connections: 64,
        handshake: Duration::from_secs(5),
        idle: Duration::from_secs(3),
        beyond: Beyond::Closed,
    };
    /// For API servers; they keep connections for 90 seconds, and are to be the ones that close them.
    pub const WEBHOOK: Bounds = Bounds {
        connections: 128,
        handshake: Duration::from_secs(5),
        idle: Duration::from_secs(120),
        beyond: Beyond::Waits,
    };
}

/// Listens on an address; on the same port of IPv4 if this host has no IPv6.
///
/// # Errors
/// The address is in use, or not of this host.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() => {
            TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        done => done,
    }
}

/// Serves until told to stop.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    bounds: Bounds,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(bounds.connections));
    let acceptor = tls.map(TlsAcceptor::from);
    let tasks = TaskTracker::new();
    let accept = async {
        loop {
            let turn = match bounds.beyond {
                Beyond::Waits => room.clone().acquire_owned().await.ok(),
                Beyond::Closed => None,
            };
            match listener.accept().await {
                Ok((socket, peer)) => {
                    let Some(room) = turn.or_else(|| room.clone().try_acquire_owned().ok()) else {
                        debug!(%peer, limit = bounds.connections, "too many connections");
                        continue;
                    };
                    let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
                    tasks.spawn(async move {
                        let _room = room;
                        connection(socket, peer, acceptor, router, bounds, stop).await;
                    });
                }
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accept).await;
    drop(listener);
    tasks.close();
    if tokio::time::timeout(FAREWELL, tasks.wait()).await.is_err() {
        warn!("some requests were not answered in time");
    }
}

async fn connection(
    socket: TcpStream,
    peer: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    bounds: Bounds,
    stop: CancellationToken,
) {
    let Some(acceptor) = acceptor else { return answer(socket, router, bounds, stop).await };
    match tokio::time::timeout(bounds.handshake, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => answer(stream, router, bounds, stop).await,
        Ok(Err(error)) => debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => debug!(%peer, "no TLS handshake in time"),
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    router: Router,
    bounds: Bounds,
    stop: CancellationToken,
) {
    let service = TowerToHyperService::new(router);
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.idle).max_buf_size(64 << 10);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests;
