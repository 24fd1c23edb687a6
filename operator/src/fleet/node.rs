//! In: what a node should run, and what it answers. Out: what it is sent, and what is known of each policy there.
//!
//! A version that the node refuses is left out there, or replaced by the version that ran before, so that it holds up no
//! other. It is tried again when it changes, or after a while.

mod blame;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::artefact::ArtefactDigest;
use policy_compiler::typed::PolicyKey;
use tokio::sync::{Semaphore, watch};

use super::compile::{CompiledSet, SetKey};
use super::limits::FETCHES_PER_NODE;
use super::mail::{Mail, Offer, StreamId};
use super::selection::Selection;
use crate::model::{KernelDigest, PolicyDigest};

pub use report::{StateKey, states};

/// Now, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For intervals.
    pub instant: Instant,
    /// For generations: milliseconds since 1970.
    pub unix_ms: u64,
}

/// A checked hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Its kernel.
    pub kernel: KernelDigest,
    /// `uname -r`.
    pub release: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Generation in force, 0 if there is none.
    pub generation: u64,
    /// Set in force.
    pub set_digest: Option<[u8; 32]>,
}

/// Why a version is not run on this node.
#[derive(Debug, Clone)]
struct Exclusion {
    version: PolicyDigest,
    until: Instant,
    message: String,
    /// An earlier version runs instead.
    kept: bool,
    /// The node runs an earlier version, but this operator does not know it (it has restarted since): the version stays
    /// in the set, so that the node keeps what it has.
    hold: bool,
    /// One of several of which some are to blame, left out to find out which: not judged yet.
    suspect: bool,
}

/// What was sent last.
#[derive(Debug)]
struct Sent {
    generation: u64,
    set: Arc<CompiledSet>,
    versions: Arc<Selection>,
    answer: Option<Answer>,
    /// No answer has come since it was sent on this stream.
    due: bool,
}

/// Why a set is sent though it is the one that was sent last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// On a new stream, so that the agent says where it is.
    Greeted,
    /// Something failed that may work now.
    Retry,
}

/// What the node answered.
#[derive(Debug, Default)]
struct Answer {
    failed: BTreeSet<ArtefactDigest>,
    /// Why the whole set was refused.
    refused: Option<String>,
    /// Hooks that are in no set any more and could not be taken away.
    left_over: Vec<String>,
}

impl Answer {
    fn is_good(&self) -> bool {
        self.failed.is_empty() && self.refused.is_none()
    }
}

/// One node.
#[derive(Debug)]
pub struct Node {
    /// The newest.
    pub greeting: Greeting,
    /// Generation that it last answered.
    pub applied_generation: u64,
    /// The set that is compiled for it.
    pub set: Option<Arc<CompiledSet>>,
    /// What it waits for.
    pub pending: Option<SetKey>,
    /// Bounds what it fetches at a time.
    pub fetches: Arc<Semaphore>,
    stream: Option<(StreamId, watch::Sender<Mail>)>,
    gone_since: Option<Instant>,
    /// Until then its agent is expected to dial again.
    back_until: Option<Instant>,
    selection: Arc<Selection>,
    exclusions: BTreeMap<PolicyKey, Exclusion>,
    /// Versions that the node has said to run; `None` until it has said so to this operator.
    good: Option<Arc<Selection>>,
    /// Generation and set with which it said so; `None` if it has said hello with others since.
    good_at: Option<(u64, [u8; 32])>,
    sent: Option<Sent>,
    before: Option<Arc<CompiledSet>>,
    last_generation: u64,
    /// The same set is to be tried again.
    retry: Option<Instant>,
    retries: u32,
    again: Option<Again>,
}

impl Node {
    /// A node that has said hello.
    pub fn new(greeting: Greeting, selection: Arc<Selection>) -> Node {
        Node {
            applied_generation: greeting.generation,
            greeting,
            set: None,
            pending: None,
            fetches: Arc::new(Semaphore::new(FETCHES_PER_NODE)),
            stream: None,
            gone_since: None,
            back_until: None,
            selection,
            exclusions: BTreeMap::new(),
            good: None,
            good_at: None,
            sent: None,
            before: None,
            last_generation: 0,
            retry: None,
            retries: 0,
            again: Some(Again::Greeted),
        }
    }

    /// Takes a new stream; gives back the mailbox of the one that it replaces.
    pub fn greet(
        &mut self,
        greeting: Greeting,
        stream: StreamId,
        mailbox: watch::Sender<Mail>,
    ) -> Option<(StreamId, watch::Sender<Mail>)> {
        if greeting.kernel != self.greeting.kernel {
            // Another kernel: what the old one ran or refused says nothing.
            let old = std::mem::replace(self, Node::new(greeting, self.selection.clone()));
            self.last_generation = old.last_generation;
            self.stream = Some((stream, mailbox));
            return old.stream;
        }
        // What it has answered before holds while it runs the same.
        let runs = greeting.set_digest.map(|set| (greeting.generation, set));
        let sent = self.sent.as_ref().map(|sent| (sent.generation, sent.set.set_digest));
        if let Some(sent) = self.sent.as_mut().filter(|_| runs != sent) {
            sent.answer = None;
        }
        if runs.is_none() || (runs != sent && runs != self.good_at) {
            self.good_at = None;
        }
        self.greeting = greeting;
        self.gone_since = None;
        self.back_until = None;
        self.pending = None;
        self.again = Some(Again::Greeted);
        self.stream.replace((stream, mailbox))
    }

    /// The stream, if this is it.
    pub fn has_stream(&self, stream: StreamId) -> bool {
        self.stream.as_ref().is_some_and(|(current, _)| *current == stream)
    }

    /// Number of the stream, if one is open.
    pub fn stream(&self) -> Option<StreamId> {
        self.stream.as_ref().map(|(stream, _)| *stream)
    }

    /// Tells the stream's task something.
    pub fn tell(&self, change: impl FnOnce(&mut Mail)) {
        if let Some((_, mailbox)) = &self.stream {
            mailbox.send_modify(change);
        }
    }

    /// The stream has ended; its agent is expected back within this time, if any.
    pub fn left(&mut self, now: Now, back_within: Option<Duration>) {
        self.stream = None;
        self.gone_since = Some(now.instant);
        self.back_until = back_within.map(|within| now.instant + within);
    }

    /// Whether its agent can be told something now, or in a moment.
    pub fn is_connected(&self) -> bool {
        self.stream.is_some() || self.back_until.is_some()
    }

    /// Whether its agent was expected back by now.
    pub fn is_late(&mut self, now: Now) -> bool {
        self.back_until.take_if(|until| *until <= now.instant).is_some()
    }

    /// For how long the node has had no stream.
    pub fn gone_for(&self, now: Now) -> Option<Duration> {
        self.gone_since.map(|since| now.instant.saturating_duration_since(since))
    }

    /// Whether the node runs this version, as far as it has said, whatever it was sent since.
    fn runs(&self, key: &PolicyKey, version: PolicyDigest) -> bool {
        self.running().is_some_and(|good| good.digest(key) == Some(version))
    }

    fn running(&self) -> Option<&Arc<Selection>> {
        self.good.as_ref().filter(|_| self.good_at.is_some())
    }

    /// Whether it has said that it runs the empty set.
    fn runs_nothing(&self) -> bool {
        let Some(sent) = self.sent.as_ref().filter(|sent| sent.set.programs.is_empty()) else { return false };
        sent.answer.as_ref().is_some_and(|answer| answer.is_good() && answer.left_over.is_empty())
    }

    /// What it should run.
    pub fn selection(&self) -> &Arc<Selection> {
        &self.selection
    }

    /// Policies or labels have changed. An exclusion ends with the version that it is of.
    pub fn select(&mut self, selection: Arc<Selection>) {
        self.exclusions.retain(|key, exclusion| selection.digest(key) == Some(exclusion.version));
        self.selection = selection;
    }

    /// What can be asked of it: the selected versions, without those that it refused.
    pub fn wanted(&self) -> Arc<Selection> {
        if self.exclusions.is_empty() {
            return self.selection.clone();
        }
        let good = |key: &PolicyKey| self.good.as_ref().and_then(|good| good.versions.get(key)).cloned();
        let versions = self.selection.versions.iter().filter_map(|(key, version)| {
            let version = match self.exclusions.get(key) {
                Some(exclusion) if exclusion.hold => version.clone(),
                Some(exclusion) => good(key).filter(|good| good.digest != exclusion.version)?,
                None => version.clone(),
            };
            Some((key.clone(), version))
        });
        Arc::new(Selection::new(versions.collect()))
    }

    /// Sends a set, if it is another one than was sent last; a set of the same programs only takes its place. Returns
    /// whether anything has changed.
    pub fn offer(&mut self, set: Arc<CompiledSet>, versions: Arc<Selection>, now: Now) -> bool {
        self.pending = None;
        let before = self.set.replace(set.clone());
        let new = before.is_none_or(|before| !Arc::ptr_eq(&before, &set));
        if self.stream.is_none() {
            return new;
        }
        let same = self.sent.as_ref().is_some_and(|sent| sent.set.set_digest == set.set_digest);
        if same && self.again.is_none() {
            if let Some(sent) = &mut self.sent {
                (sent.set, sent.versions) = (set, versions);
                if sent.answer.as_ref().is_some_and(Answer::is_good) {
                    self.good = Some(sent.set.running.clone());
                }
            }
            return new;
        }
        let generation = self.generation_for(&set, same, now);
        self.again = None;
        self.retry = None;
        self.last_generation = generation;
        let old = self.sent.take();
        let answer = old.filter(|old| {
            let unchanged = old.generation == generation;
            if !unchanged {
                self.before = Some(old.set.clone());
            }
            unchanged
        });
        let answer = answer.and_then(|old| old.answer);
        self.sent = Some(Sent { generation, set: set.clone(), versions, answer, due: true });
        self.tell(|mail| mail.offer = Some(Offer { generation, set }));
        true
    }

    /// What the node runs or was sent already keeps its generation; everything else gets a higher one.
    fn generation_for(&self, set: &CompiledSet, same: bool, now: Now) -> u64 {
        let running = self.greeting.generation;
        if self.again == Some(Again::Greeted) {
            let runs = running > 0 && self.greeting.set_digest == Some(set.set_digest);
            if runs && running >= self.last_generation {
                return running;
            }
            if same && running < self.last_generation {
                return self.last_generation;
            }
        }
        now.unix_ms.max(running.saturating_add(1)).max(self.last_generation.saturating_add(1))
    }

    /// An artefact that the node was sent, last or just before.
    pub fn artefact(&self, digest: &ArtefactDigest) -> Option<Arc<super::compile::Program>> {
        let last = self.sent.as_ref().map(|sent| &sent.set);
        last.into_iter().chain(&self.before).find_map(|set| set.programs.get(digest)).cloned()
    }

    /// Whether something is to be tried again now.
    pub fn tick(&mut self, now: Now, retry_after: Duration) -> bool {
        let excluded = self.exclusions.len();
        self.exclusions.retain(|_, exclusion| exclusion.hold || exclusion.until > now.instant);
        let mut again = self.retry.is_some_and(|at| at <= now.instant);
        for held in self.exclusions.values_mut().filter(|exclusion| exclusion.until <= now.instant) {
            held.until = now.instant + retry_after;
            again = true;
        }
        if again {
            self.retry = None;
            self.retries = self.retries.saturating_add(1);
            self.again = Some(Again::Retry);
        }
        again || self.exclusions.len() != excluded
    }
}
