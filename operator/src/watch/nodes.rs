//! In: the metadata of nodes. Out: their labels, as [`Nodes`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;
use tracing::warn;

use super::BURST;
use super::index::Index;
use crate::metrics::{Metrics, Resource};
use crate::model::{NodeName, Nodes};

/// Each publication copies the labels of all nodes, 5 MB for 5,000 of them.
const PAUSE: Duration = Duration::from_millis(100);

type Labels = BTreeMap<String, String>;

/// Watches until the end of the program.
pub(super) async fn run(
    client: kube::Client,
    metrics: Metrics,
    out: watch::Sender<Nodes>,
    synced: watch::Sender<bool>,
) {
    let api: Api<PartialObjectMeta<Node>> = Api::all(client);
    let mut bursts = Box::pin(watcher(api, watcher::Config::default()).default_backoff().ready_chunks(BURST));
    let mut index: Index<NodeName, Labels> = Index::new();
    while let Some(burst) = bursts.next().await {
        let mut changed = false;
        for event in burst {
            match event {
                Ok(event) => changed |= read(event).is_some_and(|event| index.apply(event)),
                Err(error) => {
                    metrics.watch_error(Resource::Nodes);
                    warn!(%error, "the watch of nodes broke; tried again after a pause");
                }
            }
        }
        if changed && index.is_complete() {
            out.send_replace(Arc::new(index.objects().clone()));
            synced.send_if_modified(|synced| !std::mem::replace(synced, true));
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn read(event: Event<PartialObjectMeta<Node>>) -> Option<Event<(NodeName, Option<Labels>)>> {
    let name = |node: &PartialObjectMeta<Node>| node.metadata.name.as_deref().map(NodeName::from);
    let both =
        |node: PartialObjectMeta<Node>| Some((name(&node)?, Some(node.metadata.labels.unwrap_or_default())));
    Some(match event {
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
        Event::Apply(node) => Event::Apply(both(node)?),
        Event::InitApply(node) => Event::InitApply(both(node)?),
        Event::Delete(node) => Event::Delete((name(&node)?, None)),
    })
}
