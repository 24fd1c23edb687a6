//! In: the Lease `ferragon-operator`, which all replicas share. Out: which [`Role`] this one has.
//!
//! Guarantees: at most one replica is the leader. A replica stops being it at once when it could not renew for
//! [`Times::deadline`], also when the API server does not answer; another takes over no earlier than [`Times::duration`]
//! after it saw the last renewal, by its own clock, so clocks need not agree. Every write names the version that was
//! read.
//!
//! This is not the crate `kube-lease-manager`, because that one goes on to report leadership while renewals fail.

mod label;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::metrics::{Metrics, Written};

pub use label::{LABEL, Labels};

/// Name of the Lease.
pub const LEASE: &str = "ferragon-operator";
/// Its annotation that makes the leader send every node the empty set: a point of time (RFC 3339) until which to do so.
pub const DRAIN_UNTIL: &str = "ferragon.io/drain-until";
/// Its annotation in which the leader answers with the same value when all nodes have done so.
pub const DRAINED: &str = "ferragon.io/drained";

/// Its annotation in which the leader names the nodes that have not done so yet.
pub const NOT_DRAINED: &str = "ferragon.io/not-drained";

/// What this replica is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Watch, and be ready to take over.
    Standby,
    /// Serve agents and write.
    Leader,
    /// The same, but with no policy on any node.
    Draining,
}

/// The times of an election.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// After so long without a renewal the Lease is free.
    pub duration: Duration,
    /// After so long without a renewal the leader gives up.
    pub deadline: Duration,
    /// Pause between two tries.
    pub retry: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Times { duration: seconds(15), deadline: seconds(10), retry: seconds(2) }
    }
}

/// Takes part in the election.
pub struct Candidate {
    leases: Api<Lease>,
    identity: String,
    times: Times,
    metrics: Metrics,
    seen: Option<Seen>,
}

/// Someone's renewal, and when this replica learnt of it.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    holder: Option<String>,
    renewed: Option<MicroTime>,
    at: Instant,
}

/// What to do about the Lease.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Make one: there is none.
    Create,
    /// It is ours, or free.
    Hold,
    /// Another replica's.
    Wait,
}

impl Candidate {
    /// Under a name that no other replica has, such as that of its pod.
    pub fn new(
        client: kube::Client,
        namespace: &str,
        identity: &str,
        times: Times,
        metrics: Metrics,
    ) -> Self {
        let leases = Api::namespaced(client, namespace);
        Candidate { leases, identity: identity.to_owned(), times, metrics, seen: None }
    }

    /// Takes part until the token is cancelled; then lets go of the Lease, if it is ours. By then the role has been
    /// [`Role::Standby`] long enough for [`Candidate::run`]'s caller to have stopped writing: `quiet` resolves then.
    pub async fn run(
        mut self,
        role: watch::Sender<Role>,
        stop: CancellationToken,
        quiet: impl Future<Output = ()>,
    ) {
        let mut renewed = Instant::now();
        while !stop.is_cancelled() {
            let leads = *role.borrow() != Role::Standby;
            let started = Instant::now();
            let left = self.times.deadline.saturating_sub(started.duration_since(renewed));
            let limit = if leads { left.min(self.times.deadline / 2) } else { self.times.deadline };
            let tried = tokio::select! {
                tried = tokio::time::timeout(limit, self.attempt()) => tried,
                () = stop.cancelled() => break,
            };
            let now = match tried {
                Ok(Ok(now)) => {
                    self.metrics.renewal(Written::Ok);
                    if now != Role::Standby {
                        renewed = started;
                    }
                    now
                }
                Ok(Err(error)) => self.failed(&error, leads, renewed, *role.borrow()),
                Err(_) => self.failed(&"no answer in time", leads, renewed, *role.borrow()),
            };
            self.announce(&role, now);
            let pause = match now {
                Role::Standby => self.times.retry,
                _ => self.times.retry.min(self.times.deadline.saturating_sub(renewed.elapsed())),
            };
            let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
        let led = *role.borrow() != Role::Standby;
        self.announce(&role, Role::Standby);
        if led {
            quiet.await;
            match tokio::time::timeout(self.times.deadline / 2, self.release()).await {
                Ok(Ok(())) => info!("let go of the Lease"),
                Ok(Err(error)) => warn!(%error, "the Lease stays ours until it runs out"),
                Err(_) => warn!("the Lease stays ours until it runs out: no answer in time"),
            }
        }
    }

    /// The role after a try that failed: a leader stays one until its deadline.
    fn failed(&self, error: &dyn std::fmt::Display, leads: bool, renewed: Instant, role: Role) -> Role {
        self.metrics.renewal(Written::Failed);
        warn!(%error, leads, "the Lease could not be renewed");
        if leads && renewed.elapsed() < self.times.deadline { role } else { Role::Standby }
    }

    fn announce(&self, role: &watch::Sender<Role>, now: Role) {
        self.metrics.leader(now != Role::Standby);
        role.send_if_modified(|role| {
            let changed = *role != now;
            if changed {
                info!(before = ?role, ?now, identity = %self.identity, "role");
                *role = now;
            }
            changed
        });
    }

    /// One try to hold the Lease.
    async fn attempt(&mut self) -> Result<Role, kube::Error> {
        let lease = self.leases.get_opt(LEASE).await?;
        let spec = lease.as_ref().and_then(|lease| lease.spec.as_ref());
        let step = self.step(lease.is_some(), spec, Instant::now());
        debug!(?step, "the Lease");
        let role = match &lease {
            Some(lease) if drains(lease, Timestamp::now()) => Role::Draining,
            _ => Role::Leader,
        };
        let written = match (step, lease) {
            (Step::Wait, _) => return Ok(Role::Standby),
            (_, None) => {
                let mut lease = Lease { spec: Some(self.spec(None)), ..Lease::default() };
                lease.metadata.name = Some(LEASE.to_owned());
                self.leases.create(&PostParams::default(), &lease).await
            }
            (_, Some(mut lease)) => {
                lease.spec = Some(self.spec(lease.spec.as_ref()));
                self.leases.replace(LEASE, &PostParams::default(), &lease).await
            }
        };
        written.map(|_| role)
    }

    /// Decides, and remembers when a renewal was first seen.
    fn step(&mut self, exists: bool, spec: Option<&LeaseSpec>, now: Instant) -> Step {
        if !exists {
            return Step::Create;
        }
        let holder = spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty());
        let renewed = spec.and_then(|spec| spec.renew_time.clone());
        if holder.as_deref() == Some(self.identity.as_str()) || holder.is_none() {
            return Step::Hold;
        }
        let same = self.seen.as_ref().filter(|seen| seen.holder == holder && seen.renewed == renewed);
        let at = same.map_or(now, |seen| seen.at);
        self.seen = Some(Seen { holder, renewed, at });
        let theirs = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|it| u64::try_from(it).ok());
        let duration = theirs.map_or(self.times.duration, Duration::from_secs).min(self.times.duration * 4);
        if now.duration_since(at) >= duration { Step::Hold } else { Step::Wait }
    }

    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let ours = before.and_then(|spec| spec.holder_identity.as_deref()) == Some(self.identity.as_str());
        let now = MicroTime(Timestamp::now());
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.times.duration.as_secs().max(1)).ok(),
            acquire_time: before
                .filter(|_| ours)
                .and_then(|spec| spec.acquire_time.clone())
                .or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if ours { transitions } else { transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        }
    }

    async fn release(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.leases.get_opt(LEASE).await? else { return Ok(()) };
        let Some(spec) = lease.spec.as_mut() else { return Ok(()) };
        if spec.holder_identity.as_deref() == Some(self.identity.as_str()) {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
            self.leases.replace(LEASE, &PostParams::default(), &lease).await?;
        }
        Ok(())
    }
}

/// Whether the Lease asks for the empty set at this moment.
fn drains(lease: &Lease, now: Timestamp) -> bool {
    let until = lease.metadata.annotations.as_ref().and_then(|all| all.get(DRAIN_UNTIL));
    until.and_then(|until| until.parse::<Timestamp>().ok()).is_some_and(|until| now < until)
}

#[cfg(test)]
mod tests;
