//! In: policies and nodes, as the API server lists and changes them. Out: [`Policies`], [`Nodes`] and the stored
//! statuses, each complete or not at all.
//!
//! Guarantees: nothing is published before the first list of its kind is complete, and a later list replaces what was
//! known in one step, so that a restart or a resync never looks like the deletion of a policy. What an object holds
//! stops nothing: it is read as plain JSON, and what is wrong with it is in its own [`PolicyVersion`]. A deletion needs
//! only the object's name. An object whose specification did not change is not checked again.
//!
//! [`PolicyVersion`]: crate::model::PolicyVersion

mod index;
mod nodes;
mod policies;
pub mod version;

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::status::TracingPolicyStatus;
use policy_compiler::typed::PolicyKey;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use policies::resource;

use crate::metrics::Metrics;
use crate::model::{Nodes, Policies};

/// Events that are taken in before the result is published: a burst is one publication.
const BURST: usize = 512;

/// The status of a policy, as the API server holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredStatus {
    /// `metadata.uid` of its policy.
    pub uid: String,
    /// `None` if there is none, or one that this version does not understand.
    pub status: Option<TracingPolicyStatus>,
}

/// The statuses of all policies.
pub type StoredStatuses = Arc<BTreeMap<PolicyKey, Arc<StoredStatus>>>;

/// What the watches publish.
#[derive(Debug, Clone)]
pub struct Watched {
    /// All policies; empty until synced.
    pub policies: watch::Receiver<Policies>,
    /// Their statuses.
    pub statuses: watch::Receiver<StoredStatuses>,
    /// Labels of all nodes; empty until synced.
    pub nodes: watch::Receiver<Nodes>,
    policies_synced: watch::Receiver<bool>,
    nodes_synced: watch::Receiver<bool>,
}

impl Watched {
    /// Starts the watches; they go on until the token is cancelled.
    pub fn start(
        client: &kube::Client,
        metrics: &Metrics,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Watched {
        let (policies_done, policies_synced) = watch::channel(false);
        let (nodes_done, nodes_synced) = watch::channel(false);
        let (policies_out, policies) = watch::channel(Policies::default());
        let (statuses_out, statuses) = watch::channel(StoredStatuses::default());
        let (nodes_out, nodes) = watch::channel(Nodes::default());
        let out = policies::Out { policies: policies_out, statuses: statuses_out, synced: policies_done };
        let work = policies::run(client.clone(), metrics.clone(), out);
        tasks.spawn(stop.clone().run_until_cancelled_owned(work));
        let work = nodes::run(client.clone(), metrics.clone(), nodes_out, nodes_done);
        tasks.spawn(stop.clone().run_until_cancelled_owned(work));
        Watched { policies, statuses, nodes, policies_synced, nodes_synced }
    }

    /// Whether everything that exists has been seen.
    pub fn is_synced(&self) -> bool {
        *self.policies_synced.borrow() && *self.nodes_synced.borrow()
    }

    /// Waits until everything that exists has been seen; forever, if the watches have ended before.
    pub async fn synced(&self) {
        for mut synced in [self.policies_synced.clone(), self.nodes_synced.clone()] {
            if synced.wait_for(|synced| *synced).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
