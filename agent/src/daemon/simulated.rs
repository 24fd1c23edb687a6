//! In: an operator's address. Out: agents that behave as real ones do, on fake kernels, many in one process: for tests of
//! the operator.

use std::sync::Arc;
use std::time::Duration;

use api::profile::KernelProfile;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::applier::{Applier, InForce};
use super::backoff::Pace;
use super::dial::Operator;
use super::engine::{Engine, FakeEngine};
use super::fleet::{Caller, Connection, Profile};
use super::node::Inline;
use super::store::Store;
use crate::kernel::Errno;
use crate::kernel::fake::FakeKernel;
use crate::probe::ProfileBytes;

/// A kernel's profile that many agents share.
#[derive(Debug, Clone)]
pub struct SharedProfile {
    release: Arc<str>,
    bytes: Arc<ProfileBytes>,
}

impl SharedProfile {
    /// Encodes it once.
    pub fn new(profile: &KernelProfile) -> SharedProfile {
        let release = Arc::from(profile.release.as_str());
        SharedProfile { release, bytes: Arc::new(ProfileBytes::of(profile)) }
    }
}

impl Profile for SharedProfile {
    fn release(&self) -> String {
        self.release.to_string()
    }

    fn digest(&self) -> [u8; 32] {
        self.bytes.digest
    }

    fn encode(&self) -> Result<Arc<ProfileBytes>, String> {
        Ok(Arc::clone(&self.bytes))
    }
}

/// How a simulated agent is.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whom it calls, and with what.
    pub operator: Operator,
    /// Its kernel, as it tells the operator.
    pub profile: SharedProfile,
    /// Its kernel, as the loader sees it: can be told to fail. [`FakeKernel::forgetful`] takes least memory.
    pub kernel: FakeKernel,
    /// Where its set is stored; `None`: nowhere, so that a set is fetched anew after a restart.
    pub store: Option<std::path::PathBuf>,
    /// Waits between calls.
    pub pace: Pace,
    /// How often counters are sent.
    pub counters_every: Duration,
}

impl Options {
    /// As a real agent, on a kernel on which everything works, without a disk.
    pub fn new(operator: Operator, profile: SharedProfile) -> Options {
        Options {
            operator,
            profile,
            kernel: FakeKernel::forgetful(),
            store: None,
            pace: Pace::default(),
            counters_every: Duration::from_secs(api::fleet::COUNTERS_INTERVAL_SECONDS),
        }
    }
}

/// A simulated agent could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SimulatedError {
    /// The kernel was told to fail.
    #[error("the fake kernel failed with {0}")]
    Kernel(Errno),
    /// The store.
    #[error("{0}")]
    Store(#[from] super::store::StoreError),
}

/// An agent on a task of its own. Dropping it is as killing it.
#[derive(Debug)]
pub struct Simulated {
    task: JoinHandle<()>,
    in_force: watch::Receiver<InForce>,
    connection: watch::Receiver<Connection>,
    engine: Inline<FakeEngine>,
}

impl Simulated {
    /// Starts one on the current runtime: what is stored is loaded first, then the operator is called.
    ///
    /// # Errors
    /// It cannot be set up.
    pub fn start(options: Options) -> Result<Simulated, SimulatedError> {
        let mut engine = crate::loader::fake::loader(&options.kernel).map_err(SimulatedError::Kernel)?;
        let store = options.store.as_deref().map(Store::open).transpose()?.map(Arc::new);
        let in_force = match &store {
            Some(store) => super::start::load(store, &mut engine).in_force,
            None => InForce::default(),
        };
        let engine = Inline::new(engine);
        let applier = Arc::new(Applier::new(engine.clone(), store, in_force, |_| ()));
        let in_force = applier.in_force();
        let boot_id = "00000000-0000-0000-0000-000000000000".to_owned();
        let mut caller = Caller::new(options.operator, applier, Arc::new(options.profile), boot_id);
        caller.pace = options.pace;
        caller.counters_every = options.counters_every;
        let connection = caller.connection();
        let task = tokio::spawn(async move { caller.run().await });
        Ok(Simulated { task, in_force, connection, engine })
    }

    /// The set in force, with every change of it.
    pub fn in_force(&self) -> watch::Receiver<InForce> {
        self.in_force.clone()
    }

    /// The state of the call, with every change of it.
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.connection.clone()
    }

    /// Names of the hooks that have a program, sorted.
    pub fn hooks(&self) -> Vec<String> {
        self.engine.now(|engine| Engine::installed(engine).iter().map(|hook| hook.hook.to_string()).collect())
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.task.abort();
    }
}
