//! In: TCP connections. Out: those on which a TLS handshake was done in time, within bounds for all and for one address.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::limits::Limits;

/// A connection; while it exists it counts.
#[derive(Debug)]
pub struct Peer {
    stream: TlsStream<TcpStream>,
    _counted: Counted,
}

/// Accepts until told to stop.
pub fn accept(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    limits: &Limits,
    stop: CancellationToken,
) -> ReceiverStream<io::Result<Peer>> {
    let (ready, peers) = mpsc::channel(16);
    let doors = Doors {
        tls: TlsAcceptor::from(tls),
        connections: Arc::new(Semaphore::new(limits.connections)),
        handshakes: Arc::new(Semaphore::new(limits.handshakes)),
        addresses: Arc::default(),
        per_address: limits.connections_per_address,
        within: limits.greet_within,
        ready,
    };
    tokio::spawn(async move {
        tokio::select! {
            () = doors.open(listener) => {}
            () = stop.cancelled() => {}
        }
    });
    ReceiverStream::new(peers)
}

struct Doors {
    tls: TlsAcceptor,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    addresses: Addresses,
    per_address: usize,
    within: Duration,
    ready: mpsc::Sender<io::Result<Peer>>,
}

impl Doors {
    async fn open(&self, listener: TcpListener) {
        loop {
            // Whoever waits for these waits in the kernel's queue.
            let Ok(connection) = self.connections.clone().acquire_owned().await else { return };
            let Ok(handshake) = self.handshakes.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, address)) => self.enter(stream, address, connection, handshake),
                Err(error) => {
                    // Such as too many open files: it does not help to try again at once.
                    tracing::warn!(%error, "accepting a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn enter(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        connection: OwnedSemaphorePermit,
        handshake: OwnedSemaphorePermit,
    ) {
        let Some(counted) = Counted::new(&self.addresses, address.ip(), self.per_address, connection) else {
            tracing::warn!(%address, limit = self.per_address, "too many connections from one address");
            return;
        };
        let (tls, ready, within) = (self.tls.clone(), self.ready.clone(), self.within);
        tokio::spawn(async move {
            // Messages are small and answers are waited for.
            let _ = stream.set_nodelay(true);
            let done = timeout(within, tls.accept(stream)).await;
            drop(handshake);
            match done {
                // If nobody takes it, serving has ended.
                Ok(Ok(stream)) => drop(ready.send(Ok(Peer { stream, _counted: counted })).await),
                Ok(Err(error)) => tracing::debug!(%address, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%address, "no TLS handshake in time"),
            }
        });
    }
}

type Addresses = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// One connection in the count of its address.
#[derive(Debug)]
struct Counted {
    addresses: Addresses,
    address: IpAddr,
    _connection: OwnedSemaphorePermit,
}

impl Counted {
    fn new(
        addresses: &Addresses,
        address: IpAddr,
        most: usize,
        connection: OwnedSemaphorePermit,
    ) -> Option<Counted> {
        let mut counts = addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Counted { addresses: addresses.clone(), address, _connection: connection })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

impl Connected for Peer {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
