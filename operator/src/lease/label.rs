//! In: whether this replica leads. Out: the label [`LABEL`] on its pod and on no other, by which the Service finds it.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::patience::within;

/// The label of the leader's pod; its value is `true`.
pub const LABEL: &str = "ferragon.io/leader";
/// How often the leader looks whether the labels are still right.
const INTERVAL: std::time::Duration = std::time::Duration::from_secs(30);
/// Pause after a try that failed.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// The labels of the operator's pods.
#[derive(Clone)]
pub struct Labels {
    pods: Api<Pod>,
    own: String,
}

impl Labels {
    /// `own` is the name of this replica's pod.
    pub fn new(client: kube::Client, namespace: &str, own: &str) -> Labels {
        Labels { pods: Api::namespaced(client, namespace), own: own.to_owned() }
    }

    /// Has the label on this pod and on no other until the token is cancelled.
    pub async fn lead(self, stop: CancellationToken) {
        loop {
            let Some(done) = stop.run_until_cancelled(self.take()).await else { return };
            let pause = match done {
                Ok(()) => INTERVAL,
                Err(error) => {
                    warn!(%error, label = LABEL, "agents may not find this replica; tried again soon");
                    RETRY
                }
            };
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Takes the label off this pod: it may be left from before its container was started again.
    ///
    /// # Errors
    /// The API server refused.
    pub async fn step_back(&self) -> Result<(), kube::Error> {
        self.set(&self.own, false).await
    }

    async fn take(&self) -> Result<(), kube::Error> {
        let labelled =
            within(self.pods.list_metadata(&ListParams::default().labels(&format!("{LABEL}=true")))).await?;
        let names: Vec<String> = labelled.items.into_iter().filter_map(|pod| pod.metadata.name).collect();
        for name in names.iter().filter(|name| **name != self.own) {
            self.set(name, false).await?;
        }
        if !names.contains(&self.own) {
            self.set(&self.own, true).await?;
        }
        Ok(())
    }

    async fn set(&self, name: &str, leads: bool) -> Result<(), kube::Error> {
        let patch = json!({"metadata": {"labels": {LABEL: leads.then_some("true")}}});
        match within(self.pods.patch_metadata(name, &PatchParams::default(), &Patch::Merge(patch))).await {
            // It has gone: nobody finds it any more.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            done => done.map(|_| ()),
        }
    }
}
