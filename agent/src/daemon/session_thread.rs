//! In: the configuration, the stored set. Out: the thread that owns the session, with the stored set in force.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel as answers};
use std::thread::JoinHandle;

use api::event::Event;
use tokio::sync::oneshot;

use super::DaemonError;
use super::config::Config;
use super::node::{NodeHandle, NodeQueue, channel};
use super::pods::{self, FirstPods};
use super::start::{Loaded, load};
use super::store::Store;
use crate::base::BaseOptions;
use crate::pins::{PinDirectory, PinError};
use crate::session::{Session, SessionError};

/// Takes events.
pub(super) type Sink = Arc<dyn Fn(&Event) + Send + Sync>;

/// A session on its thread.
pub(super) struct SessionThread {
    /// The way to it.
    pub node: NodeHandle<Session>,
    /// What became of the stored set.
    pub loaded: Loaded,
    /// Comes when it ends by itself.
    pub ended: oneshot::Receiver<SessionError>,
    /// To be joined when it was told to end.
    pub thread: JoinHandle<()>,
}

/// Loads the fixed programs, then the stored set, then removes what a predecessor left, if all of the set runs.
pub(super) fn start(
    config: &Config,
    pins: Option<PinDirectory>,
    store: &Arc<Store>,
    sink: Sink,
) -> Result<SessionThread, DaemonError> {
    let (node, queue) = channel();
    let first_pods = pods::start(config, &node);
    let first_pods = first_pods.map_err(DaemonError::system("starting the thread that follows pods"))?;
    let (ready, wait) = answers();
    let (end, ended) = oneshot::channel();
    let beginning = Beginning { name: config.node(), ring_bytes: config.buffer << 20, pins, first_pods };
    let store = Arc::clone(store);
    let body = move || {
        if let Err(error) = live(beginning, &store, &sink, queue, &ready) {
            // Nobody waits for it when the agent ends anyway; if the session never began, that is where it is told.
            let _ = end.send(error);
        }
    };
    let thread = std::thread::Builder::new().name("session".to_owned()).spawn(body);
    let thread = thread.map_err(DaemonError::system("starting the session's thread"))?;
    match wait.recv() {
        Ok(loaded) => Ok(SessionThread { node, loaded, ended, thread }),
        Err(_) => Err(match ended.blocking_recv() {
            Ok(error) => error.into(),
            Err(_) => DaemonError::Thread("it panicked".to_owned()),
        }),
    }
}

/// What a session begins with.
struct Beginning {
    name: String,
    ring_bytes: u32,
    pins: Option<PinDirectory>,
    first_pods: Option<FirstPods>,
}

/// The thread's life.
fn live(
    beginning: Beginning,
    store: &Store,
    sink: &Sink,
    queue: NodeQueue<Session>,
    ready: &Sender<Loaded>,
) -> Result<(), SessionError> {
    let Beginning { name, ring_bytes, pins, first_pods } = beginning;
    let options = BaseOptions { ring_bytes, ..BaseOptions::default() };
    let (mut session, running) = Session::start_to_stay(&name, &options, pins.clone())?;
    for (program, why) in session.unpinned() {
        tracing::error!(program, "would not outlive the agent: {why}");
    }
    running.iter().for_each(|event| sink(event));
    drop(running);
    if let Some(first_pods) = first_pods {
        if !session.watch_pods() {
            tracing::error!(
                "this host's pods are not in a unified (version 2) cgroup hierarchy: policies for pods are refused"
            );
        }
        session.pods_changed(first_pods.wait());
    }
    let loaded = load(store, &mut session);
    if let Some(pins) = &pins {
        let generation = loaded.in_force.generation;
        let removed = if loaded.is_whole { pins.remove_older(generation) } else { pins.trim_others() };
        tell_removed(removed);
    }
    crate::kernel::give_back_memory();
    // Nobody waits if the agent ends already.
    let _ = ready.send(loaded);
    let ended = queue.serve(&mut session, |event| sink(event));
    leave(session, pins.as_ref());
    ended
}

/// What is in force stays; if that is nothing, nothing does.
fn leave(session: Session, pins: Option<&PinDirectory>) {
    let hooks = session.installed().len();
    session.leave();
    match pins {
        Some(pins) if hooks == 0 => tell_removed(pins.remove_own()),
        Some(_) => tracing::info!(hooks, "what is in force stays; events are lost until an agent runs again"),
        None => {}
    }
}

/// For the log.
pub(super) fn tell_removed(removed: Result<usize, PinError>) {
    match removed {
        Ok(0) => {}
        Ok(pins) => tracing::info!(pins, "removed pins of programs that are no longer needed"),
        Err(error) => tracing::warn!("{error}"),
    }
}
