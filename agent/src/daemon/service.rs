//! In: a session on its thread. Out: the agent's services around it, until a signal.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::DaemonError;
use super::applier::{Applier, Whole};
use super::config::Config;
use super::dial::{Credentials, Operator};
use super::fleet::Caller;
use super::http::{self, Readings, Watched};
use super::metrics::EventCounts;
use super::node::NodeHandle;
use super::session_thread::{SessionThread, tell_removed};
use super::store::Store;
use crate::events::{Hub, bind};
use crate::kernel::{Linux, give_back_memory, tracefs};
use crate::pins::PinDirectory;
use crate::probe::{FleetProfile, Places};
use crate::session::{Session, SessionError};

/// Longest wait for tasks when the agent ends.
const END: Duration = Duration::from_secs(2);

/// What the services share.
pub(super) struct Parts {
    pub store: Arc<Store>,
    pub pins: Option<PinDirectory>,
    pub events: Arc<EventCounts>,
    pub hub: Hub,
}

type Call = Arc<Caller<NodeHandle<Session>, FleetProfile>>;

/// Serves until a signal, or until something fails.
pub(super) fn run(config: &Config, session: SessionThread, parts: Parts) -> Result<(), DaemonError> {
    let SessionThread { node, loaded, ended, thread } = session;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(DaemonError::system("starting the async runtime"))?;
    let pins = parts.pins.clone();
    let when_whole = move |whole| {
        let Some(pins) = &pins else { return };
        tell_removed(match whole {
            Whole::Stored(generation) => pins.remove_older(generation),
            Whole::Desired => pins.remove_others(),
        });
    };
    let applier = Applier::new(node.clone(), Some(parts.store), loaded.in_force, when_whole);
    let served = runtime.block_on(serve(config, Arc::new(applier), parts.events, parts.hub, ended));
    runtime.shutdown_timeout(END);
    node.end();
    if thread.join().is_err() {
        tracing::error!("the session's thread panicked; what is pinned stays");
    }
    served
}

async fn serve(
    config: &Config,
    applier: Arc<Applier<NodeHandle<Session>>>,
    events: Arc<EventCounts>,
    hub: Hub,
    ended: oneshot::Receiver<SessionError>,
) -> Result<(), DaemonError> {
    let signals = || Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?));
    let (mut term, mut int) = signals().map_err(DaemonError::system("setting signal handlers"))?;
    let watched = Arc::new(Watched {
        node: applier.node().clone(),
        is_loaded: AtomicBool::new(true),
        is_open: AtomicBool::new(false),
        events,
        hub: hub.clone(),
        in_force: applier.in_force(),
        durations: applier.durations(),
        connection: OnceLock::new(),
        readings: Readings::default(),
    });
    if !config.health_address.is_empty() {
        let listener = TcpListener::bind(&config.health_address).await;
        let what = format!("listening on {}", config.health_address);
        let listener = listener.map_err(DaemonError::system(what))?;
        tokio::spawn(http::serve(listener, Arc::clone(&watched)));
    }
    let upkeep = Arc::clone(&applier);
    tokio::spawn(async move { upkeep.keep_up().await });
    let socket = socket(config, hub)?;
    watched.is_open.store(true, Ordering::Relaxed);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
    // Last, as to know the kernel takes a while.
    let calling = async {
        match call(config, &applier).await? {
            Some(call) => {
                // Set once, here.
                let _ = watched.connection.set(call.connection());
                call.run().await;
                Ok(())
            }
            None => std::future::pending().await,
        }
    };
    let served = tokio::select! {
        result = calling => result,
        _ = term.recv() => Ok(()),
        _ = int.recv() => Ok(()),
        error = ended => Err(error.map_or_else(
            |_| DaemonError::Thread("it panicked".to_owned()),
            DaemonError::Session,
        )),
    };
    if let Some((stop, socket)) = socket {
        drop(stop);
        // Those who read events get what they have not read yet, if they are quick.
        let _ = tokio::time::timeout(END, socket).await;
    }
    served
}

/// The socket for those who read events, with what ends it when it is dropped; `None` if there is to be none.
#[allow(clippy::type_complexity, reason = "two ends of one task")]
fn socket(
    config: &Config,
    hub: Hub,
) -> Result<Option<(oneshot::Sender<()>, tokio::task::JoinHandle<()>)>, DaemonError> {
    if config.server_address.is_empty() {
        return Ok(None);
    }
    let path = config.server_address.strip_prefix("unix://").filter(|path| path.starts_with('/'));
    let path = path.ok_or_else(|| DaemonError::Address(config.server_address.clone()))?;
    let listener = bind(Path::new(path))?;
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let served = crate::events::serve(hub, listener, async move { drop(stopped.await) }).await;
        if let Err(error) = served {
            tracing::error!("{error}");
        }
    });
    Ok(Some((stop, task)))
}

/// The call to the operator, not begun; `None` if there is none to call.
async fn call(
    config: &Config,
    applier: &Arc<Applier<NodeHandle<Session>>>,
) -> Result<Option<Call>, DaemonError> {
    if config.operator.is_empty() {
        tracing::warn!("no operator is configured: the node runs what is stored");
        return Ok(None);
    }
    let places = Places { proc: config.procfs.clone(), sys: "/sys".into(), tracefs: tracefs() };
    let boot_id = std::fs::read_to_string(places.proc.join("sys/kernel/random/boot_id"));
    let boot_id = boot_id.map_err(DaemonError::system("reading sys/kernel/random/boot_id of procfs"))?;
    let without: Vec<_> = config.without.iter().map(|mechanism| mechanism.flavour()).collect();
    let probing = tokio::task::spawn_blocking(move || {
        let kernel = Linux::new().map_err(SessionError::Kernel)?;
        let probed = FleetProfile::probe(&kernel, &places, &without)?;
        give_back_memory();
        Ok::<_, DaemonError>(probed)
    });
    let probed = probing.await.map_err(|error| DaemonError::Thread(error.to_string()))?;
    let (profile, notes) = probed?;
    for note in notes {
        tracing::warn!("{note}");
    }
    let credentials =
        Credentials::Files { ca: config.operator_ca.clone(), token: config.operator_token.clone() };
    let operator = Operator { address: config.operator.clone(), credentials };
    let caller = Caller::new(operator, Arc::clone(applier), Arc::new(profile), boot_id.trim().to_owned());
    Ok(Some(Arc::new(caller)))
}
