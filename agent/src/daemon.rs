//! In: the operator's sets, over gRPC; the set stored on disk. Out: this node's kernel running them, whether or not there
//! is an operator, and whether or not there is an agent.
//!
//! Two kinds of threads: one owns the session (kernel, records, processes) and does what the others ask between two looks
//! at the records; a small async runtime talks to the operator, to those who read events, and to those who look after
//! the agent's health.
//!
//! Guarantees:
//! * the stored set runs before anybody is called;
//! * programs are pinned: what a predecessor left goes only when a whole set runs (or when it runs nothing);
//! * when the agent ends, whatever ends it, what is in force goes on; if that is nothing, nothing stays.

pub mod answer;
pub mod applier;
pub mod backoff;
pub mod config;
pub mod dial;
pub mod engine;
pub mod fleet;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod node;
mod pods;
mod service;
mod session_thread;
pub mod simulated;
pub mod start;
pub mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::events::{BindError, Hub};
use crate::pins::{PinDirectory, PinError, check_bpf_file_system};
use crate::probe::ProbeError;
use crate::session::SessionError;
use config::Config;
use store::StoreError;

/// How long an agent waits for its predecessor to end.
const PREDECESSOR: Duration = Duration::from_secs(30);

/// The agent could not start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another one runs.
    #[error("another agent holds {}: this one has waited {} s for it to end", .0.display(), PREDECESSOR.as_secs())]
    Running(PathBuf),
    /// The lock.
    #[error("{} could not be locked: {error}", path.display())]
    Lock {
        /// Its file.
        path: PathBuf,
        /// How it failed.
        error: std::io::Error,
    },
    /// The state.
    #[error("the agent's state cannot be kept: {0}")]
    Store(#[from] StoreError),
    /// The kernel's side.
    #[error("{0}")]
    Session(#[from] SessionError),
    /// Its thread.
    #[error("the session's thread ended: {0}")]
    Thread(String),
    /// This kernel.
    #[error("this kernel cannot run policies: {0}")]
    Probe(#[from] ProbeError),
    /// The socket for those who read events.
    #[error("{0}")]
    Socket(#[from] BindError),
    /// Its address.
    #[error("`{0}` is not an address for those who read events: unix:///PATH is one")]
    Address(String),
    /// Threads, signals, sockets.
    #[error("{what} failed: {error}")]
    System {
        /// What was tried.
        what: String,
        /// How it failed.
        error: std::io::Error,
    },
}

impl DaemonError {
    fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> DaemonError {
        let what = what.into();
        move |error| DaemonError::System { what, error }
    }
}

/// Runs until a signal asks it to end.
///
/// # Errors
/// It cannot start or go on. What is pinned stays.
pub fn run(config: &Config) -> Result<(), DaemonError> {
    let _lock = lock(&config.state_dir)?;
    if let Err(errno) = open_more_files() {
        tracing::warn!("the limit of open files could not be raised: {errno}");
    }
    let pins = pins(&config.pin_dir);
    let store = Arc::new(store::Store::open(&config.state_dir)?);
    let events = Arc::new(metrics::EventCounts::default());
    let hub = Hub::new(&config.node());
    let (counts, watched) = (Arc::clone(&events), hub.clone());
    let sink: session_thread::Sink = Arc::new(move |event| {
        counts.count(event);
        watched.publish(event);
    });
    let session = session_thread::start(config, pins.clone(), &store, sink)?;
    service::run(config, session, service::Parts { store, pins, events, hub })
}

/// Removes everything that outlives agents; gives the number of programs.
///
/// # Errors
/// Something resisted.
pub fn cleanup(config: &Config) -> Result<usize, PinError> {
    if !config.pin_dir.exists() {
        return Ok(0);
    }
    check_bpf_file_system(&config.pin_dir)?;
    crate::pins::remove_all(&config.pin_dir)
}

/// Programs, maps and connections are open files: as many as this process may have.
fn open_more_files() -> Result<(), rustix::io::Errno> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)
}

fn pins(root: &Path) -> Option<PinDirectory> {
    let pins = check_bpf_file_system(root).and_then(|()| PinDirectory::create(root));
    pins.inspect_err(|error| tracing::error!("enforcement ends with the agent: {error}")).ok()
}

/// Held as long as the file is open: two agents would each take the other's programs away.
fn lock(state: &Path) -> Result<std::fs::File, DaemonError> {
    use rustix::fs::{FlockOperation, flock};
    let path = state.join("lock");
    let failed = |error: std::io::Error| DaemonError::Lock { path: path.clone(), error };
    std::fs::create_dir_all(state).map_err(failed)?;
    let file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    let begun = std::time::Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < PREDECESSOR => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(DaemonError::Running(path)),
            Err(errno) => return Err(failed(errno.into())),
        }
    }
}
