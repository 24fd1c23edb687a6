//! In: what the watches and the fleet publish. Out: the status of every policy, the list of nodes, and Events; all by
//! one writer, the leader's.
//!
//! Guarantees: server-side apply under one name, only of this very object (`metadata.uid`), only if something changed,
//! at the [pace](super::pace) of each policy; nothing is written after the writer is dropped. What someone else wrote
//! over a status is put right. A leader that has just begun knows no agents yet: for [`WARM_UP`] it writes no status
//! by which a policy is less ready than it was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crds::status::{ConditionStatus, ConditionType, TracingPolicyStatus};
use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use policy_compiler::typed::PolicyKey;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::error;

use super::fleet_map::{self, FleetMap};
use super::pace::{News, Pace, news};
use super::write::write;
use super::{Counted, Pass, View, describe};
use crate::events::{Events, transitions};
use crate::lease::Role;
use crate::metrics::{Metrics, PolicyState, Written};
use crate::model::{AgentNodes, Fleet, Policies, PolicyVersion};
use crate::watch::{StoredStatuses, Watched};

/// Between two looks at everything, at least.
const INTERVAL: Duration = Duration::from_millis(500);
/// The same, at most: for what someone else wrote in the very moment of a write.
const REVIEW: Duration = Duration::from_secs(30);
/// How long after its start a leader waits for agents that it does not know yet. Agents dial within seconds; their
/// longest pause between two tries is 30 seconds.
pub const WARM_UP: Duration = Duration::from_secs(40);
/// Writes at the same time.
const PARALLEL: usize = 8;
/// The watch has brought back what was written after this time; from then on, the stored status is the truth.
const ECHO: Duration = Duration::from_secs(5);

/// Writes statuses.
pub struct Writer {
    client: kube::Client,
    watched: Watched,
    fleet: watch::Receiver<Arc<Fleet>>,
    metrics: Metrics,
    events: Events,
    fleet_map: FleetMap,
    role: Option<watch::Receiver<Role>>,
    agent_nodes: AgentNodes,
    written: BTreeMap<PolicyKey, Record>,
    /// What the statuses told of counters when they were first seen, with the policies' `metadata.uid`.
    seeds: BTreeMap<PolicyKey, (String, Option<Counted>)>,
    warm_up: Duration,
    started: Instant,
}

/// What was last written of one policy.
struct Record {
    uid: String,
    status: Option<TracingPolicyStatus>,
    at: Instant,
    pace: Pace,
}

/// A status that differs from the one before.
struct Change {
    version: Arc<PolicyVersion>,
    before: Option<TracingPolicyStatus>,
    status: TracingPolicyStatus,
    news: News,
}

impl Writer {
    /// For an operator in `namespace`, whose Events carry the name of this replica.
    pub fn new(
        client: kube::Client,
        namespace: &str,
        replica: &str,
        watched: Watched,
        fleet: watch::Receiver<Arc<Fleet>>,
        metrics: Metrics,
    ) -> Writer {
        Writer {
            events: Events::new(client.clone(), replica, metrics.clone()),
            fleet_map: FleetMap::new(client.clone(), namespace),
            client,
            watched,
            fleet,
            metrics,
            role: None,
            agent_nodes: AgentNodes::default(),
            written: BTreeMap::new(),
            seeds: BTreeMap::new(),
            warm_up: WARM_UP,
            started: Instant::now(),
        }
    }

    /// The same, which tells while the fleet is being drained.
    #[must_use]
    pub fn with_role(mut self, role: watch::Receiver<Role>) -> Writer {
        self.role = Some(role);
        self
    }

    /// The same, for a fleet that has agents only on some nodes.
    #[must_use]
    pub fn with_agent_nodes(mut self, agent_nodes: AgentNodes) -> Writer {
        self.agent_nodes = agent_nodes;
        self
    }

    /// The same with another [`WARM_UP`], for tests.
    #[must_use]
    pub fn with_warm_up(mut self, warm_up: Duration) -> Writer {
        self.warm_up = warm_up;
        self
    }

    /// Writes until it is dropped.
    pub async fn run(mut self) {
        self.watched.synced().await;
        self.started = Instant::now();
        loop {
            let due = self.round().await;
            tokio::time::sleep(INTERVAL).await;
            tokio::select! {
                changed = self.watched.policies.changed() => if changed.is_err() { return },
                changed = self.watched.statuses.changed() => if changed.is_err() { return },
                changed = self.watched.nodes.changed() => if changed.is_err() { return },
                changed = self.fleet.changed() => if changed.is_err() { return },
                () = turned(&mut self.role) => {}
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }

    /// Writes what is due; tells when the next is.
    async fn round(&mut self) -> Instant {
        let policies = self.watched.policies.borrow_and_update().clone();
        let statuses = self.watched.statuses.borrow_and_update().clone();
        self.written.retain(|key, record| policies.get(key).is_some_and(|it| it.uid == record.uid));
        let before = self.known(&policies, &statuses);
        self.seed(&policies, &before);
        let seeds = self.seeds.iter().filter_map(|(key, (_, seed))| Some((key.clone(), (*seed)?))).collect();
        let nodes = self.watched.nodes.borrow_and_update().clone();
        let fleet = self.fleet.borrow_and_update().clone();
        let warm = self.started.elapsed() >= self.warm_up;
        let draining = self.role.as_mut().is_some_and(|role| *role.borrow_and_update() == Role::Draining);
        let agents = self.agent_nodes.clone();
        let work = move || {
            let now = Time(Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default());
            let view = View { nodes: &nodes, fleet: &fleet, agents: &agents, seeds: &seeds, draining };
            let changes = changes(&policies, &before, view, warm, &now);
            (changes, fleet_map::data(&fleet))
        };
        let (changes, map) = match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(problem) => {
                error!(%problem, "statuses could not be made");
                return Instant::now() + INTERVAL;
            }
        };
        self.count(&changes);
        let mut due = Instant::now() + REVIEW;
        if !warm {
            due = due.min(self.started + self.warm_up);
        }
        let now = Instant::now();
        let mut ready = Vec::new();
        for change in changes.into_iter().filter(|change| change.news != News::None) {
            match self.written.get(&change.version.key).map(|record| record.pace.due(change.news)) {
                Some(at) if at > now => due = due.min(at),
                _ => ready.push(change),
            }
        }
        let again = self.write_all(ready).await;
        let map_again = self.fleet_map.update(map, warm).await;
        again.into_iter().chain(map_again).fold(due, Instant::min)
    }

    /// The newest status that is known of each policy.
    fn known(
        &self,
        policies: &Policies,
        statuses: &StoredStatuses,
    ) -> BTreeMap<PolicyKey, TracingPolicyStatus> {
        let newest = |version: &PolicyVersion| {
            let record = self.written.get(&version.key);
            if let Some(record) = record.filter(|record| record.at.elapsed() < ECHO) {
                return record.status.clone();
            }
            statuses.get(&version.key).filter(|stored| stored.uid == version.uid)?.status.clone()
        };
        policies.iter().filter_map(|(key, version)| Some((key.clone(), newest(version)?))).collect()
    }

    fn seed(&mut self, policies: &Policies, statuses: &BTreeMap<PolicyKey, TracingPolicyStatus>) {
        self.seeds.retain(|key, (uid, _)| policies.get(key).is_some_and(|it| it.uid == *uid));
        for (key, version) in
            policies.iter().filter(|(key, _)| !self.seeds.contains_key(*key)).collect::<Vec<_>>()
        {
            let seed = statuses.get(key).and_then(Counted::of);
            self.seeds.insert(key.clone(), (version.uid.clone(), seed));
        }
    }

    /// Writes; tells when to try those again that failed.
    async fn write_all(&mut self, changes: Vec<Change>) -> Option<Instant> {
        let writes = changes.into_iter().map(|change| {
            let client = self.client.clone();
            async move { (write(&client, &change.version, &change.status).await, change) }
        });
        let mut writes = futures::stream::iter(writes).buffer_unordered(PARALLEL);
        let mut done = Vec::new();
        while let Some(one) = writes.next().await {
            done.push(one);
        }
        drop(writes);
        let mut again = None;
        for (result, change) in done {
            self.metrics.status_write(result);
            self.record(result, &change);
            if result == Written::Ok {
                let told = transitions(change.before.as_ref(), &change.status);
                self.events.publish(&change.version, told).await;
            }
            if result == Written::Failed {
                let due = self.written.get(&change.version.key).map(|record| record.pace.due(change.news));
                again = again.into_iter().chain(due).min();
            }
        }
        again
    }

    fn record(&mut self, result: Written, change: &Change) {
        let now = Instant::now();
        let key = &change.version.key;
        let record = self.written.entry(key.clone()).or_insert_with(|| Record {
            uid: change.version.uid.clone(),
            status: change.before.clone(),
            at: now,
            pace: Pace::new(now),
        });
        match result {
            Written::Ok | Written::Gone => {
                record.status = Some(change.status.clone());
                record.at = now;
                record.pace.wrote(change.news, now);
            }
            Written::Failed => record.pace.failed(now),
        }
    }

    fn count(&self, changes: &[Change]) {
        for (state, kind) in [
            (PolicyState::Ready, ConditionType::Ready),
            (PolicyState::Reconciling, ConditionType::Reconciling),
            (PolicyState::Stalled, ConditionType::Stalled),
        ] {
            self.metrics.policies(state, changes.iter().filter(|change| holds(&change.status, kind)).count());
        }
    }
}

/// Waits for another role, if there is anyone to tell it.
async fn turned(role: &mut Option<watch::Receiver<Role>>) {
    if let Some(role) = role
        && role.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

fn holds(status: &TracingPolicyStatus, kind: ConditionType) -> bool {
    let mut all = status.conditions.iter();
    all.any(|condition| condition.kind == kind && condition.status == ConditionStatus::True)
}

/// The status of every policy, with what is new in it.
fn changes(
    policies: &Policies,
    before: &BTreeMap<PolicyKey, TracingPolicyStatus>,
    view: View<'_>,
    warm: bool,
    now: &Time,
) -> Vec<Change> {
    let pass = Pass::new(view);
    policies
        .values()
        .map(|version| {
            let before = before.get(&version.key).cloned();
            let status = describe(version, &pass, before.as_ref(), now);
            let told = before.as_ref().is_some_and(|it| it.observed_generation == Some(version.generation));
            // Of an edited policy it is said at once that it is being rolled out.
            let programmed =
                |status: &TracingPolicyStatus| status.nodes.as_ref().map_or(0, |nodes| nodes.programmed);
            let less = holds(&status, ConditionType::Reconciling)
                || before.as_ref().is_some_and(|before| programmed(&status) < programmed(before));
            let withheld = !warm && !view.draining && told && less;
            let news = if withheld { News::None } else { news(before.as_ref(), &status) };
            Change { version: version.clone(), before, status, news }
        })
        .collect()
}
