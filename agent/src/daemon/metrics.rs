//! In: counters of all parts at one moment. Out: text for Prometheus.
//!
//! Label values are closed sets, or bounded by what a node holds: 1,024 policies and as many hooks.

use std::sync::atomic::{AtomicU64, Ordering};

use api::artefact::PolicyCounter;
use api::event::{Event, EventType};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::applier::InForce;
use super::engine::Reading;
use super::fleet::Connection;
use crate::events::HubCounters;

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;

/// Events by kind.
#[derive(Debug, Default)]
pub struct EventCounts([AtomicU64; EventType::ALL.len()]);

impl EventCounts {
    /// One more.
    pub fn count(&self, event: &Event) {
        let kind = event.kind();
        let index = EventType::ALL.iter().position(|known| *known == kind);
        if let Some(count) = index.and_then(|index| self.0.get(index)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn iter(&self) -> impl Iterator<Item = (EventType, u64)> {
        EventType::ALL.into_iter().zip(self.0.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

/// Everything that is shown.
pub struct Shown<'a> {
    /// Of the loader; `None` if it could not be read.
    pub reading: Option<&'a Reading>,
    /// Events so far.
    pub events: &'a EventCounts,
    /// Those who read them.
    pub readers: &'a HubCounters,
    /// The set in force.
    pub in_force: &'a InForce,
    /// Times that changes took.
    pub durations: &'a Histogram,
    /// The call to the operator; `None` if there is none to call.
    pub connection: Option<&'a Connection>,
}

/// The text.
pub fn render(shown: &Shown<'_>) -> String {
    let mut registry = Registry::with_prefix("ferragon");
    events(&mut registry, shown.events);
    readers(&mut registry, shown.readers);
    set(&mut registry, shown.in_force, shown.durations);
    if let Some(connection) = shown.connection {
        call(&mut registry, connection);
    }
    if let Some(reading) = shown.reading {
        policies(&mut registry, reading);
        losses(&mut registry, reading);
    }
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, &registry);
    text
}

fn events(registry: &mut Registry, events: &EventCounts) {
    let family = Counters::default();
    for (kind, count) in events.iter() {
        family.get_or_create(&vec![("type", kind.name().to_owned())]).inc_by(count);
    }
    registry.register("events", "Events seen", family);
}

fn readers(registry: &mut Registry, counts: &HubCounters) {
    let subscribers: Gauge = Gauge::default();
    subscribers.set(i64::try_from(counts.subscribers).unwrap_or(i64::MAX));
    registry.register("event_readers", "Clients that read events", subscribers);
    for (name, help, count) in [
        ("events_sent", "Events sent to clients, each client's counted", counts.sent),
        ("events_unread", "Events that clients were too slow for", counts.lost),
        ("event_readers_refused", "Clients refused, as there were too many", counts.refused),
    ] {
        let counter: Counter = Counter::default();
        counter.inc_by(count);
        registry.register(name, help, counter);
    }
}

fn set(registry: &mut Registry, in_force: &InForce, durations: &Histogram) {
    let mut gauge = |name, help, value: u64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    };
    gauge("generation", "Generation of the set in force", in_force.generation);
    gauge("failing_hooks", "Hooks that do not run what the set asks", in_force.failing as u64);
    gauge("set_unstored", "Whether the set in force would not outlive a restart", in_force.unstored.into());
    gauge(
        "set_waits_for_pods",
        "Whether policies in force are for pods of which the API server has not told yet",
        in_force.waits_for_pods.into(),
    );
    let refused: Counter = Counter::default();
    refused.inc_by(in_force.refused);
    registry.register("refused_sets", "Sets refused as a whole", refused);
    registry.register("apply_seconds", "Time from a set's arrival to its being in force", durations.clone());
}

fn call(registry: &mut Registry, connection: &Connection) {
    let connected: Gauge = Gauge::default();
    connected.set(connection.connected.into());
    registry.register("operator_connected", "Whether the operator is connected", connected);
    for (name, help, count) in [
        ("operator_calls", "Calls to the operator begun", connection.calls),
        ("operator_connections", "Calls to the operator that came through", connection.established),
    ] {
        let counter: Counter = Counter::default();
        counter.inc_by(count);
        registry.register(name, help, counter);
    }
}

fn policies(registry: &mut Registry, reading: &Reading) {
    let family = Counters::default();
    for counts in &reading.policies {
        for (counter, value) in COUNTERS.iter().zip(counts.values) {
            let labels = vec![
                ("namespace", counts.policy.namespace.clone()),
                ("policy", counts.policy.name.clone()),
                ("counter", counter_name(*counter).to_owned()),
            ];
            family.get_or_create(&labels).inc_by(value);
        }
    }
    registry.register("policy_actions", "What policies did, also while no agent ran", family);
}

fn losses(registry: &mut Registry, reading: &Reading) {
    let losses = reading.totals.losses;
    let family = Counters::default();
    for (reason, count) in [
        ("exec", losses.exec),
        ("exec_data", losses.exec_data),
        ("fork", losses.fork),
        ("exit", losses.exit),
        ("process", losses.process),
        ("skipped", losses.skipped),
        ("undecodable", reading.totals.undecodable),
        ("malformed", reading.totals.cache.malformed),
    ] {
        family.get_or_create(&vec![("reason", reason.to_owned())]).inc_by(count);
    }
    registry.register("lost_records", "Records of processes lost, and records not understood", family);
    let cache = reading.totals.cache;
    for (name, help, count) in [
        ("processes_evicted", "Processes forgotten while they ran, as too many did", cache.evicted),
        ("processes_missed", "Processes of events that were not known", cache.missed),
        (
            "processes_unfollowed",
            "Processes older than the agent for which the kernel's map had no room",
            cache.unfollowed,
        ),
        (
            "process_texts_cut",
            "Processes of which only the beginnings of paths and arguments are kept",
            cache.cut,
        ),
        ("orphaned_arguments", "Arguments of execs whose record never came", cache.orphaned_arguments),
        ("misplaced_pods", "Changes of pods that were not in force at once", reading.totals.misplaced),
    ] {
        let counter: Counter = Counter::default();
        counter.inc_by(count);
        registry.register(name, help, counter);
    }
    let family = Counters::default();
    for (hook, count) in &reading.missed {
        family.get_or_create(&vec![("hook", hook.to_string())]).inc_by(*count);
    }
    registry.register("missed_calls", "Calls that the kernel ran no program for", family);
    let memory = Family::<Labels, Gauge>::default();
    for (part, bytes) in
        reading.memory.into_iter().flat_map(|(hooks, shared)| [("hooks", hooks), ("shared", shared)])
    {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        memory.get_or_create(&vec![("part", part.to_owned())]).set(bytes);
    }
    registry.register("kernel_memory_bytes", "Kernel memory of policies' programs and maps", memory);
    let unpinned: Gauge = Gauge::default();
    unpinned.set(i64::try_from(reading.unpinned.len()).unwrap_or(i64::MAX));
    registry.register("unpinned_programs", "Programs that would not outlive the agent", unpinned);
}

/// In the order of their values.
const COUNTERS: [PolicyCounter; api::artefact::POLICY_COUNTERS as usize] = [
    PolicyCounter::Match,
    PolicyCounter::Post,
    PolicyCounter::NoPost,
    PolicyCounter::RateLimited,
    PolicyCounter::Signal,
    PolicyCounter::Override,
    PolicyCounter::MonitorSignal,
    PolicyCounter::MonitorOverride,
    PolicyCounter::LostRing,
    PolicyCounter::LostScratch,
    PolicyCounter::SignalFailed,
];

fn counter_name(counter: PolicyCounter) -> &'static str {
    match counter {
        PolicyCounter::Match => "match",
        PolicyCounter::Post => "post",
        PolicyCounter::NoPost => "no_post",
        PolicyCounter::RateLimited => "rate_limited",
        PolicyCounter::Signal => "signal",
        PolicyCounter::Override => "override",
        PolicyCounter::MonitorSignal => "monitor_signal",
        PolicyCounter::MonitorOverride => "monitor_override",
        PolicyCounter::LostRing => "lost_ring",
        PolicyCounter::LostScratch => "lost_scratch",
        PolicyCounter::SignalFailed => "signal_failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loader::{PolicyCounts, PolicyName};
    use crate::process::CacheCounters;
    use crate::session::Totals;
    use prometheus_client::metrics::histogram::exponential_buckets;

    #[test]
    fn counters_are_in_the_order_of_their_values() {
        assert!(COUNTERS.iter().enumerate().all(|(index, counter)| *counter as usize == index));
    }

    #[test]
    fn the_text_has_what_was_counted() {
        let policy = PolicyName { namespace: "web".into(), name: "files".into() };
        let mut values = [0; api::artefact::POLICY_COUNTERS as usize];
        values[PolicyCounter::Override as usize] = 7;
        let cache = CacheCounters { evicted: 3, ..CacheCounters::default() };
        let totals = Totals { misplaced: 2, cache, ..Totals::default() };
        let policies = vec![PolicyCounts { policy, values }];
        let reading = Reading { policies, totals, memory: Some((7, 9)), ..Reading::default() };
        let connection = Connection { connected: true, calls: 3, ..Connection::default() };
        let text = render(&Shown {
            reading: Some(&reading),
            events: &EventCounts::default(),
            readers: &HubCounters::default(),
            in_force: &InForce { generation: 5, failing: 1, waits_for_pods: true, ..InForce::default() },
            durations: &Histogram::new(exponential_buckets(0.01, 2.0, 3)),
            connection: Some(&connection),
        });
        for line in [
            r#"ferragon_policy_actions_total{namespace="web",policy="files",counter="override"} 7"#,
            "ferragon_generation 5",
            "ferragon_failing_hooks 1",
            "ferragon_operator_connected 1",
            "ferragon_operator_calls_total 3",
            r#"ferragon_events_total{type="PROCESS_EXEC"} 0"#,
            r#"ferragon_lost_records_total{reason="exec"} 0"#,
            "ferragon_processes_evicted_total 3",
            "ferragon_misplaced_pods_total 2",
            r#"ferragon_kernel_memory_bytes{part="shared"} 9"#,
            "ferragon_set_waits_for_pods 1",
            "ferragon_apply_seconds_count 0",
        ] {
            assert!(text.lines().any(|found| found == line), "no line {line} in\n{text}");
        }
    }
}
