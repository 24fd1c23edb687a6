//! In: what the parts of the operator do. Out: counts of it, in the text form that Prometheus reads.
//!
//! Labels are closed sets: their number of values does not grow with the cluster.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// All metrics of the operator; clones count together.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    watch_errors: Family<ResourceLabel, Counter>,
    status_writes: Family<WriteLabel, Counter>,
    admission: Family<VerdictLabel, Counter>,
    admission_time: Histogram,
    leader: Gauge,
    renewals: Family<RenewalLabel, Counter>,
    policies: Family<PoliciesLabel, Gauge>,
    events: Family<EventLabel, Counter>,
}

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs)]
pub enum Resource {
    Policies,
    Nodes,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Written {
    /// The API server took it.
    Ok,
    /// The object has gone or is another one; nothing is left to write.
    Gone,
    /// It is tried again.
    Failed,
}

/// What admission said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Verdict {
    /// Allowed without a word.
    Allowed,
    /// Allowed, with warnings.
    Warned,
    /// Refused.
    Refused,
    /// No answer in time, or a request that is none.
    Failed,
}

/// State of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum PolicyState {
    /// `Ready`.
    Ready,
    /// `Reconciling`.
    Reconciling,
    /// `Stalled`.
    Stalled,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabel {
    resource: Resource,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabel {
    result: Written,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabel {
    result: Written,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabel {
    verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RenewalLabel {
    result: Written,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoliciesLabel {
    state: PolicyState,
}

impl Default for Metrics {
    fn default() -> Self {
        // Seconds; the API server gives up after ten.
        let times = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        let metrics = Metrics {
            registry: Arc::new(Mutex::new(Registry::with_prefix("ferragon_operator"))),
            watch_errors: Family::default(),
            status_writes: Family::default(),
            admission: Family::default(),
            admission_time: Histogram::new(times),
            leader: Gauge::default(),
            renewals: Family::default(),
            policies: Family::default(),
            events: Family::default(),
        };
        metrics.with_registry(|registry| {
            registry.register("watch_errors", "Watches that broke", metrics.watch_errors.clone());
            registry.register("status_writes", "Writes of a policy's status", metrics.status_writes.clone());
            registry.register("admission_reviews", "Policies judged at admission", metrics.admission.clone());
            let help = "Time to judge a policy at admission";
            registry.register("admission_seconds", help, metrics.admission_time.clone());
            registry.register("leader", "1 in the replica that writes", metrics.leader.clone());
            registry.register("lease_renewals", "Tries to hold the Lease", metrics.renewals.clone());
            registry.register("policies", "Policies by state; of the leader", metrics.policies.clone());
            registry.register("events_published", "Kubernetes Events", metrics.events.clone());
        });
        metrics
    }
}

impl Metrics {
    /// Registers metrics of another part, under the operator's prefix.
    pub fn with_registry<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// All of them as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = self.with_registry(|registry| prometheus_client::encoding::text::encode(&mut text, registry));
        text
    }

    /// A watch broke.
    pub fn watch_error(&self, resource: Resource) {
        self.watch_errors.get_or_create(&ResourceLabel { resource }).inc();
    }

    /// A status was written, or not.
    pub fn status_write(&self, result: Written) {
        self.status_writes.get_or_create(&WriteLabel { result }).inc();
    }

    /// Writes of statuses that the API server took.
    pub fn status_writes_taken(&self) -> u64 {
        self.status_writes.get_or_create(&WriteLabel { result: Written::Ok }).get()
    }

    /// A policy was judged.
    pub fn admission(&self, verdict: Verdict, took: Duration) {
        self.admission.get_or_create(&VerdictLabel { verdict }).inc();
        self.admission_time.observe(took.as_secs_f64());
    }

    /// Whether this replica is the leader.
    pub fn leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// The Lease was renewed, or not.
    pub fn renewal(&self, result: Written) {
        self.renewals.get_or_create(&RenewalLabel { result }).inc();
    }

    /// An Event was published, or not.
    pub fn event(&self, result: Written) {
        self.events.get_or_create(&EventLabel { result }).inc();
    }

    /// This replica does not count policies any more: the leader does.
    pub fn no_policies(&self) {
        self.policies.clear();
    }

    /// How many policies are in a state.
    pub fn policies(&self, state: PolicyState, count: usize) {
        let gauge = self.policies.get_or_create(&PoliciesLabel { state });
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_what_was_counted() {
        let metrics = Metrics::default();
        metrics.watch_error(Resource::Nodes);
        metrics.status_write(Written::Ok);
        metrics.clone().status_write(Written::Ok);
        metrics.policies(PolicyState::Stalled, 3);
        let text = metrics.text();
        for line in [
            "ferragon_operator_watch_errors_total{resource=\"Nodes\"} 1",
            "ferragon_operator_status_writes_total{result=\"Ok\"} 2",
            "ferragon_operator_policies{state=\"Stalled\"} 3",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert_eq!(metrics.status_writes_taken(), 2);
        metrics.no_policies();
        assert!(!metrics.text().contains("ferragon_operator_policies{"));
    }
}
