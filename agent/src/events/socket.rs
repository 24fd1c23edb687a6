//! In: a path. Out: a unix socket there, and its connections, of which there are never too many.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::stream::{self, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::{Connected, UdsConnectInfo};

use crate::accept::accept;

/// Connections at a time; further ones wait in the kernel's queue until one ends.
const CONNECTIONS_MAX: usize = 128;
/// Owner and group: events hold the arguments of all processes.
const MODE: u32 = 0o660;

/// The socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the event socket {} cannot be made, {what} failed: {source}", path.display())]
pub struct BindError {
    /// Where.
    path: PathBuf,
    /// What was tried.
    what: &'static str,
    source: io::Error,
}

/// Listens at `path`, in the place of whatever socket a predecessor left there. Needs an async runtime.
///
/// # Errors
/// The directory, the socket or its mode cannot be made.
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |what| move |source| BindError { path: path.to_owned(), what, source };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed("making its directory"))?;
    }
    // Under another name until it has its mode: nobody can connect before, and there is always one under its name.
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("removing a left-over")(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&new).map_err(failed("binding"))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(MODE)).map_err(failed("setting its mode"))?;
    fs::rename(&new, path).map_err(failed("renaming it"))?;
    Ok(listener)
}

/// Connections as they come, as long as there is room for them.
pub(super) fn connections(listener: UnixListener) -> impl Stream<Item = io::Result<Connection>> {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    stream::unfold((listener, room), |(listener, room)| async move {
        // The semaphore is never closed.
        let permit = Arc::clone(&room).acquire_owned().await.ok()?;
        let from = &listener;
        let next = move || async move { from.accept().await.map(|(stream, _)| stream) };
        let stream = accept("a client that reads events", next).await;
        Some((Ok(Connection { stream, _permit: permit }), (listener, room)))
    })
}

/// A connection, with the room that it takes.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> UdsConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
