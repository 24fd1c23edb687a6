//! In: what one agent says. Out: what it is told, and what is known of its node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::artefact::ArtefactDigest;
use api::fleet::{Applied, Counters};
use policy_compiler::Kernel;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::World;
use crate::fleet::compile::Program;
use crate::fleet::ended::Ended;
use crate::fleet::kernels::Brought;
use crate::fleet::limits::NODES_MAX;
use crate::fleet::mail::{Mail, StreamId};
use crate::fleet::node::{Greeting, Node, Now};
use crate::model::{KernelDigest, NodeName};

/// How many streams a node has opened in this minute.
#[derive(Debug)]
pub struct Starts {
    since: Instant,
    count: u32,
}

impl Starts {
    /// Whether they still count.
    pub fn recent(&self, now: Now) -> bool {
        now.instant.saturating_duration_since(self.since) < Duration::from_secs(60)
    }
}

impl World {
    /// A new stream. Replaces an older one of the node.
    ///
    /// # Errors
    /// The node opens too many, or there are more nodes or kernels than the operator can hold.
    pub fn hello(
        &mut self,
        name: &NodeName,
        stream: StreamId,
        mailbox: watch::Sender<Mail>,
        greeting: Greeting,
        now: Now,
    ) -> Result<(), Ended> {
        self.count_start(name, now)?;
        if self.nodes.get(name).and_then(Node::stream).is_some_and(|current| current > stream) {
            return Err(Ended::Replaced);
        }
        if !self.nodes.contains_key(name) && self.nodes.len() >= NODES_MAX {
            return Err(Ended::TooManyNodes);
        }
        if !self.kernels.expect(greeting.kernel, name) {
            return Err(Ended::TooManyKernels);
        }
        let selection = self.selector.select(self.labels.get(name));
        let node = self.nodes.entry(name.clone()).or_insert_with(|| Node::new(greeting.clone(), selection));
        if let Some((old, mailbox)) = node.greet(greeting, stream, mailbox) {
            mailbox.send_modify(|mail| mail.end = Some(Ended::Replaced));
            self.kernels.gave_up(old);
        }
        self.changed.insert(name.clone());
        self.stale = true;
        self.ask();
        self.plan(name, now);
        Ok(())
    }

    fn count_start(&mut self, name: &NodeName, now: Now) -> Result<(), Ended> {
        let fresh = || Starts { since: now.instant, count: 0 };
        let starts = self.starts.entry(name.clone()).or_insert_with(fresh);
        if !starts.recent(now) {
            *starts = fresh();
        }
        starts.count = starts.count.saturating_add(1);
        if starts.count > self.limits.streams_per_minute { Err(Ended::TooManyStreams) } else { Ok(()) }
    }

    /// Asks one agent of each kernel that is not known.
    pub(super) fn ask(&mut self) {
        for digest in self.kernels.to_ask(self.limits.uploads) {
            let of_kernel = |node: &&Node| node.greeting.kernel == digest && node.stream().is_some();
            let Some(node) = self.nodes.values().find(of_kernel) else { continue };
            if let Some(stream) = node.stream() {
                self.kernels.asked(&digest, stream);
                node.tell(|mail| mail.ask = true);
            }
        }
    }

    /// An agent has sent the profile that it was asked for.
    pub fn learn(&mut self, digest: KernelDigest, kernel: Arc<Kernel>, brought: Brought, now: Now) {
        if self.kernels.get(&digest).is_some() || !self.kernels.expect(digest, &brought.by) {
            return;
        }
        let node = brought.by.clone();
        if !self.kernels.learn(digest, kernel, brought) {
            tracing::warn!(%node, "no room for one more kernel; its nodes are refused");
            let of_kernel = self.nodes.values().filter(|node| node.greeting.kernel == digest);
            of_kernel.for_each(|node| node.tell(|mail| mail.end = Some(Ended::TooManyKernels)));
            return;
        }
        let of_kernel = |(_, node): &(&NodeName, &Node)| node.greeting.kernel == digest;
        let names: Vec<NodeName> =
            self.nodes.iter().filter(of_kernel).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.changed.insert(name.clone());
            self.plan(&name, now);
        }
        self.stale = true;
        self.ask();
    }

    /// An answer.
    ///
    /// # Errors
    /// See [`Node::applied`]; or the stream is not the node's any more.
    pub fn applied(
        &mut self,
        name: &NodeName,
        stream: StreamId,
        applied: &Applied,
        now: Now,
    ) -> Result<(), Ended> {
        let retry = self.limits.retry_after;
        let node = self.nodes.get_mut(name).filter(|node| node.has_stream(stream)).ok_or(Ended::Replaced)?;
        let plan = node.applied(applied, now, retry)?;
        self.changed.insert(name.clone());
        if plan {
            self.plan(name, now);
        }
        Ok(())
    }

    /// Counts.
    ///
    /// # Errors
    /// The stream is not the node's any more.
    pub fn count(&mut self, name: &NodeName, stream: StreamId, counters: &Counters) -> Result<(), Ended> {
        self.nodes.get(name).filter(|node| node.has_stream(stream)).ok_or(Ended::Replaced)?;
        let policies = &self.policies;
        self.counted |= self.sums.add(name, counters, |key| policies.contains_key(key));
        Ok(())
    }

    /// A stream has ended; its agent dials again at once if it was ended only to be opened anew.
    pub fn left(&mut self, name: &NodeName, stream: StreamId, renews: bool, now: Now) {
        self.kernels.gave_up(stream);
        if let Some(node) = self.nodes.get_mut(name).filter(|node| node.has_stream(stream)) {
            node.left(now, renews.then_some(self.limits.renewal));
            self.changed.insert(name.clone());
        }
        self.ask();
    }

    /// An artefact that the node was sent.
    ///
    /// # Errors
    /// It was not, or the node fetches too many at a time.
    pub fn fetch(
        &self,
        name: &NodeName,
        digest: &ArtefactDigest,
    ) -> Result<(Arc<Program>, OwnedSemaphorePermit), Ended> {
        let node =
            self.nodes.get(name).filter(|node| node.stream().is_some()).ok_or(Ended::NotItsArtefact)?;
        let program = node.artefact(digest).ok_or(Ended::NotItsArtefact)?;
        let permit = node.fetches.clone().try_acquire_owned().map_err(|_| Ended::TooManyFetches)?;
        Ok((program, permit))
    }
}
