//! In: the API server. Out: the pods of this node, as they come, change and go.
//!
//! Assumes the right to get, list and watch pods. When the API server cannot be reached, nothing changes: what is known
//! stays, and the watch goes on by itself, later and later, at most every 30 seconds.

use futures::StreamExt;
use k8s_openapi::api::core::v1 as core;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};

use super::{PODS, Pod, PodChange, convert};

/// Follows the pods of a node until `each` does not take one, and gives the reason.
pub async fn watch<E, F: Future<Output = Result<(), E>>>(
    client: Client,
    node: &str,
    mut each: impl FnMut(PodChange) -> F,
) -> E {
    let config = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let events = watcher(Api::<core::Pod>::all(client), config).default_backoff().modify(slim);
    let mut events = std::pin::pin!(events);
    let mut listing: Option<Vec<Pod>> = None;
    loop {
        let change = match events.next().await {
            Some(Ok(event)) => change(event, &mut listing),
            Some(Err(error)) => {
                tracing::warn!(
                    "the pods of this node cannot be watched, what is known stays in force: {error}"
                );
                None
            }
            // It has no end; if it had one, a busy loop would be worse than a late pod.
            None => {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                None
            }
        };
        if let Some(change) = change
            && let Err(end) = each(change).await
        {
            return end;
        }
    }
}

/// What is never looked at takes no memory.
fn slim(object: &mut core::Pod) {
    object.metadata.managed_fields = None;
}

/// A list is one change, when it is complete.
fn change(event: watcher::Event<core::Pod>, listing: &mut Option<Vec<Pod>>) -> Option<PodChange> {
    match event {
        watcher::Event::Init => {
            *listing = Some(Vec::new());
            None
        }
        watcher::Event::InitApply(object) => {
            let listing = listing.as_mut()?;
            if listing.len() < PODS {
                listing.extend(convert::pod(&object));
            }
            None
        }
        watcher::Event::InitDone => listing.take().map(PodChange::Listed),
        watcher::Event::Apply(object) => convert::pod(&object).map(Box::new).map(PodChange::Applied),
        watcher::Event::Delete(object) => convert::pod(&object).map(|pod| PodChange::Deleted(pod.uid)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::PodUid;
    use super::*;

    fn object(name: &str) -> core::Pod {
        let mut object = core::Pod::default();
        object.metadata.name = Some(name.to_owned());
        object.metadata.namespace = Some("default".to_owned());
        object.metadata.uid = Some(format!("uid-{name}"));
        object
    }

    #[test]
    fn a_list_is_one_change() {
        let mut listing = None;
        assert_eq!(change(watcher::Event::Init, &mut listing), None);
        for name in ["a", "b"] {
            assert_eq!(change(watcher::Event::InitApply(object(name)), &mut listing), None);
        }
        let Some(PodChange::Listed(pods)) = change(watcher::Event::InitDone, &mut listing) else {
            panic!("a list")
        };
        assert_eq!(pods.iter().map(|pod| pod.shown.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(matches!(
            change(watcher::Event::Apply(object("c")), &mut listing),
            Some(PodChange::Applied(_))
        ));
        let gone = change(watcher::Event::Delete(object("c")), &mut listing);
        assert_eq!(gone, Some(PodChange::Deleted(PodUid("uid-c".into()))));
        assert_eq!(change(watcher::Event::Apply(core::Pod::default()), &mut listing), None);
    }
}
