//! In: the watches of both kinds of policies. Out: [`Policies`] and [`StoredStatuses`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::manifest::{GROUP, PolicyKind, VERSION};
use futures::{Stream, StreamExt};
use kube::Api;
use kube::api::ApiResource;
use kube::core::{DynamicObject, GroupVersionKind};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use policy_compiler::typed::PolicyKey;
use tokio::sync::watch;
use tracing::{debug, error, warn};

use super::index::Index;
use super::{BURST, StoredStatus, StoredStatuses, version};
use crate::metrics::{Metrics, Resource};
use crate::model::{Policies, PolicyVersion};

/// Where the results go.
pub(super) struct Out {
    pub(super) policies: watch::Sender<Policies>,
    pub(super) statuses: watch::Sender<StoredStatuses>,
    pub(super) synced: watch::Sender<bool>,
}

/// One object.
#[derive(Debug, Clone)]
struct Entry {
    version: Arc<PolicyVersion>,
    stored: Arc<StoredStatus>,
    annotation: Option<String>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.version, &other.version) && self.stored == other.stored
    }
}

/// What an object becomes.
type Check = fn(PolicyKind, PolicyKey, &DynamicObject) -> PolicyVersion;

type Change = Event<(PolicyKey, Option<Entry>)>;

/// The API of one kind.
pub fn resource(kind: PolicyKind) -> ApiResource {
    let plural = match kind {
        PolicyKind::Cluster => "tracingpolicies",
        PolicyKind::Namespaced => "tracingpoliciesnamespaced",
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, kind.as_str()), plural)
}

/// Watches until the end of the program.
pub(super) async fn run(client: kube::Client, metrics: Metrics, out: Out) {
    let events = |kind: PolicyKind| {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource(kind));
        let events = watcher(api, watcher::Config::default()).default_backoff();
        events.map(move |event| (kind, event))
    };
    let both = futures::stream::select(events(PolicyKind::Cluster), events(PolicyKind::Namespaced));
    take_in(both, &metrics, version::read, out).await;
}

async fn take_in(
    events: impl Stream<Item = (PolicyKind, Result<Event<DynamicObject>, watcher::Error>)>,
    metrics: &Metrics,
    check: Check,
    out: Out,
) {
    let (mut cluster, mut namespaced) = (Index::new(), Index::new());
    let mut bursts = Box::pin(events.ready_chunks(BURST));
    while let Some(burst) = bursts.next().await {
        let mut changed = false;
        for (kind, event) in burst {
            let index = match kind {
                PolicyKind::Cluster => &mut cluster,
                PolicyKind::Namespaced => &mut namespaced,
            };
            match event {
                Ok(event) => {
                    if let Some(change) = read(kind, event, index.objects(), check).await {
                        changed |= index.apply(change);
                    }
                }
                Err(error) => {
                    metrics.watch_error(Resource::Policies);
                    warn!(%error, %kind, "the watch broke; tried again after a pause");
                }
            }
        }
        if changed && cluster.is_complete() && namespaced.is_complete() {
            publish(&out, [cluster.objects(), namespaced.objects()]);
        }
    }
}

/// Checks what an event brings, unless it was checked before.
async fn read(
    kind: PolicyKind,
    event: Event<DynamicObject>,
    known: &BTreeMap<PolicyKey, Entry>,
    check: Check,
) -> Option<Change> {
    match event {
        Event::Init => Some(Event::Init),
        Event::InitDone => Some(Event::InitDone),
        Event::Apply(object) => entry(kind, object, known, check).await.map(Event::Apply),
        Event::InitApply(object) => entry(kind, object, known, check).await.map(Event::InitApply),
        Event::Delete(object) => Some(Event::Delete((version::key(kind, &object)?, None))),
    }
}

async fn entry(
    kind: PolicyKind,
    object: DynamicObject,
    known: &BTreeMap<PolicyKey, Entry>,
    check: Check,
) -> Option<(PolicyKey, Option<Entry>)> {
    let key = version::key(kind, &object)?;
    let stored = Arc::new(version::status(&object));
    let annotation = version::mode_annotation(&object).map(str::to_owned);
    let same = known.get(&key).filter(|entry| {
        entry.version.uid == stored.uid
            && Some(entry.version.generation) == object.metadata.generation
            && entry.annotation == annotation
    });
    let version = match same {
        Some(entry) => entry.version.clone(),
        None => {
            debug!(%kind, policy = %key, "checking");
            let (of, object) = (key.clone(), Arc::new(object));
            let checked = object.clone();
            let checked = tokio::task::spawn_blocking(move || check(kind, of, &checked)).await;
            Arc::new(checked.unwrap_or_else(|error| {
                // A defect of the checker, which this policy has met: it says so, and no node loses the others.
                error!(%error, policy = %key, "the check broke off");
                version::unchecked(key.clone(), &object)
            }))
        }
    };
    Some((key, Some(Entry { version, stored, annotation })))
}

fn publish(out: &Out, kinds: [&BTreeMap<PolicyKey, Entry>; 2]) {
    let all = || kinds.into_iter().flatten();
    let policies: BTreeMap<_, _> = all().map(|(key, entry)| (key.clone(), entry.version.clone())).collect();
    let statuses: BTreeMap<_, _> = all().map(|(key, entry)| (key.clone(), entry.stored.clone())).collect();
    out.statuses.send_if_modified(|current| {
        let modified = **current != statuses;
        if modified {
            *current = Arc::new(statuses);
        }
        modified
    });
    let unchanged = |current: &Policies| {
        current.len() == policies.len()
            && current.iter().zip(&policies).all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(a.1, b.1))
    };
    out.policies.send_if_modified(|current| {
        let modified = !unchanged(current);
        if modified {
            *current = Arc::new(policies.clone());
        }
        modified
    });
    out.synced.send_if_modified(|synced| !std::mem::replace(synced, true));
}

#[cfg(test)]
mod tests;
