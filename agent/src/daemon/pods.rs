//! In: the configuration. Out: a thread that follows the pods of this node and tells the session's thread of them.
//!
//! The first list comes before the stored set is loaded, if the API server answers in time: so that policies for pods
//! are in force for them when a predecessor's programs go.

use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use futures::FutureExt;

use super::config::Config;
use super::node::{NodeGone, NodeHandle};
use crate::pods::{PodChange, watch};
use crate::session::Session;

/// How long the first list is waited for before what is stored is loaded without it.
const FIRST: Duration = Duration::from_secs(10);
/// How long after a failure another client is tried.
const AGAIN: Duration = Duration::from_secs(5);

/// The first list of pods, to come.
pub(super) struct FirstPods(Receiver<PodChange>);

impl FirstPods {
    /// Waits for it.
    pub(super) fn wait(self) -> Option<PodChange> {
        let first = self.0.recv_timeout(FIRST).ok();
        if first.is_none() {
            tracing::warn!("no list of this node's pods within {FIRST:?}: policies for pods wait for it");
        }
        first
    }
}

/// Starts the thread; `None` if pods are not to be followed. It ends with the session's thread.
pub(super) fn start(config: &Config, node: &NodeHandle<Session>) -> std::io::Result<Option<FirstPods>> {
    if !config.pods {
        tracing::info!("pods are not watched: policies for pods are refused, and events have none");
        return Ok(None);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Without room: what is sent has been taken, or is still here.
    let (first, wait) = sync_channel(0);
    let (name, node) = (config.node(), node.clone());
    let follow = move || runtime.block_on(follow(&name, &node, first));
    std::thread::Builder::new().name("pods".to_owned()).spawn(follow)?;
    Ok(Some(FirstPods(wait)))
}

/// Until the session's thread has ended; whatever else ends the watch, another one begins.
async fn follow(name: &str, node: &NodeHandle<Session>, first: SyncSender<PodChange>) {
    let mut first = Some(first);
    loop {
        match AssertUnwindSafe(watch(name, node, &mut first)).catch_unwind().await {
            Ok(NodeGone) => {
                return tracing::info!("pods are no longer watched, as the session's thread has ended");
            }
            Err(_) => tracing::error!("the watch of pods panicked; another one begins in {AGAIN:?}"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn watch(
    name: &str,
    node: &NodeHandle<Session>,
    first: &mut Option<SyncSender<PodChange>>,
) -> NodeGone {
    let client = loop {
        match kube::Client::try_default().await {
            Ok(client) => break client,
            Err(error) => {
                tracing::error!("pods cannot be watched, it is tried again every {AGAIN:?}: {error}");
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    watch::watch(client, name, |change| {
        // Whoever waits for the first list takes that alone; the queue is served only afterwards.
        let rest = match first.take() {
            Some(first) => first.send(change).err().map(|unsent| unsent.0),
            None => Some(change),
        };
        let node = node.clone();
        async move {
            match rest {
                Some(change) => node.run(move |session| session.pods_changed([change])).await,
                None => Ok(()),
            }
        }
    })
    .await
}
