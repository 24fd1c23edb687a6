//! In: the operator's messages. Out: sets for the applier, and to the operator what became of them, the kernel's profile
//! and the counters.
//!
//! Guarantees: nothing that an operator says or does not say changes what is in force, but for a set that is whole and
//! newer; while one set is applied, of those that come only the newest is kept; a call that ends is made again.

mod fetch;
mod stream;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::fleet::{Applied, Hello};
use tokio::sync::watch;

use super::applier::Applier;
use super::backoff::{Backoff, Pace};
use super::dial::{DialError, Operator};
use super::node::Node;
use crate::probe::{FleetProfile, ProfileBytes};

/// The running kernel, for the operator.
pub trait Profile: Send + Sync + 'static {
    /// `uname -r`.
    fn release(&self) -> String;
    /// SHA-256 of the encoding.
    fn digest(&self) -> [u8; 32];
    /// The encoding. May take a while.
    ///
    /// # Errors
    /// It cannot be read any more; in words.
    fn encode(&self) -> Result<Arc<ProfileBytes>, String>;
}

impl Profile for FleetProfile {
    fn release(&self) -> String {
        FleetProfile::release(self).to_owned()
    }

    fn digest(&self) -> [u8; 32] {
        FleetProfile::digest(self)
    }

    fn encode(&self) -> Result<Arc<ProfileBytes>, String> {
        FleetProfile::encode(self).map(Arc::new).map_err(|error| error.to_string())
    }
}

/// The state of the call, as others may know it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connection {
    /// A call is open.
    pub connected: bool,
    /// Calls begun.
    pub calls: u64,
    /// Calls that came through.
    pub established: u64,
    /// Why the last one ended.
    pub ended: Option<String>,
}

/// A call ended, or was not begun.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// No connection.
    #[error("{0}")]
    Dial(#[from] DialError),
    /// The operator, or the way to it, ended it.
    #[error("the operator ended the call: {} ({})", .0.message(), .0.code())]
    Status(#[from] tonic::Status),
    /// Without a reason.
    #[error("the operator ended the call")]
    Closed,
    /// The token has become too old.
    #[error("the operator does not know this agent any more, so that nothing could be fetched")]
    Stranger,
    /// It does not keep to the protocol.
    #[error("the operator sent {0}")]
    Nonsense(&'static str),
    /// No answer.
    #[error("the operator did not {0} in time")]
    Late(&'static str),
    /// This side.
    #[error("{0}")]
    Own(String),
}

impl Ended {
    /// Whether operators end calls so without anything being wrong: when another one leads, and from time to time, so
    /// that each agent shows anew who it is.
    fn is_usual(&self) -> bool {
        match self {
            Ended::Closed => true,
            Ended::Status(status) => status.code() == tonic::Code::Unavailable,
            Ended::Dial(_) | Ended::Stranger | Ended::Nonsense(_) | Ended::Late(_) | Ended::Own(_) => false,
        }
    }
}

/// What a call needs to know.
pub struct Caller<N, P> {
    /// Whom to call.
    pub operator: Operator,
    /// What applies sets.
    pub applier: Arc<Applier<N>>,
    /// The kernel.
    pub profile: Arc<P>,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Waits between calls.
    pub pace: Pace,
    /// How often counters are sent.
    pub counters_every: Duration,
    connection: watch::Sender<Connection>,
    digest: ReadDigest,
}

/// Digest of the profile as it was last read.
#[derive(Debug, Clone)]
struct ReadDigest(Arc<Mutex<[u8; 32]>>);

impl ReadDigest {
    fn get(&self) -> [u8; 32] {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, digest: [u8; 32]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = digest;
    }
}

impl<N: Node, P: Profile> Caller<N, P> {
    /// Calls nobody yet.
    pub fn new(operator: Operator, applier: Arc<Applier<N>>, profile: Arc<P>, boot_id: String) -> Self {
        let digest = ReadDigest(Arc::new(Mutex::new(profile.digest())));
        let counters_every = Duration::from_secs(api::fleet::COUNTERS_INTERVAL_SECONDS);
        let connection = watch::Sender::default();
        Caller {
            operator,
            applier,
            profile,
            boot_id,
            pace: Pace::default(),
            counters_every,
            connection,
            digest,
        }
    }

    /// The state of the call, with every change of it.
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.connection.subscribe()
    }

    /// Calls, and calls again, for ever.
    pub async fn run(&self) {
        let mut backoff = Backoff::new(self.pace);
        let mut said = String::new();
        loop {
            let begun = Instant::now();
            self.connection.send_modify(|state| state.calls += 1);
            let ended = match stream::follow(self).await {
                Ok(never) => match never {},
                Err(ended) => ended,
            };
            let lasted = begun.elapsed();
            let is_usual = ended.is_usual() && lasted >= self.pace.good;
            let ended = ended.to_string();
            // The same again and again is said once.
            if is_usual {
                tracing::info!("{ended}; it is called again");
            } else if said != ended || lasted >= self.pace.good {
                tracing::warn!("{ended}; what is in force stays, and the operator is called again");
            }
            said.clone_from(&ended);
            self.connection.send_modify(|state| {
                state.connected = false;
                state.ended = Some(ended);
            });
            let wait = if is_usual { backoff.at_once() } else { backoff.wait_after(lasted) };
            tokio::time::sleep(wait).await;
        }
    }

    fn established(&self) {
        tracing::info!(operator = self.operator.address, "connected to the operator");
        self.connection.send_modify(|state| {
            state.connected = true;
            state.established += 1;
        });
    }

    fn hello(&self) -> Hello {
        let state = self.applier.in_force().borrow().clone();
        Hello {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel_release: self.profile.release(),
            kernel_digest: self.digest.get().to_vec(),
            boot_id: self.boot_id.clone(),
            generation: state.generation,
            set_digest: state.set_digest,
        }
    }
}

/// One set that is being applied, on a task of its own, so that the end of a call does not stop it half-way.
type Applying = tokio::task::JoinHandle<Applied>;
