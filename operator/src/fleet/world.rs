//! In: policies, nodes, and what agents say. Out: compilations to do, mail to the agents' streams, and the [`Fleet`].
//!
//! Knows neither sockets nor clocks; everything here happens in one task ([`super::hub`]), so nothing is locked.

mod agents;
mod publish;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::cache::{Cache, Job};
use super::compile::{CompiledSet, SetKey};
use super::counters::Sums;
use super::kernels::Kernels;
use super::limits::Limits;
use super::node::{Node, Now};
use super::selection::Selector;
use crate::model::{NodeName, NodeState, Nodes, Policies};

/// Everything that the fleet knows.
#[derive(Debug)]
pub struct World {
    limits: Limits,
    policies: Policies,
    labels: Nodes,
    selector: Selector,
    kernels: Kernels,
    cache: Cache,
    nodes: BTreeMap<NodeName, Node>,
    starts: HashMap<NodeName, agents::Starts>,
    sums: Sums,
    changed: BTreeSet<NodeName>,
    /// Verdicts or kernels may have changed.
    stale: bool,
    /// A sum has changed.
    counted: bool,
    published: BTreeMap<NodeName, Arc<NodeState>>,
    states: publish::States,
}

impl World {
    /// No node has said hello yet.
    pub fn new(limits: Limits, policies: Policies, labels: Nodes) -> World {
        World {
            kernels: Kernels::new(limits.kernel_bytes),
            limits,
            selector: Selector::new(&policies),
            policies,
            labels,
            cache: Cache::default(),
            nodes: BTreeMap::new(),
            starts: HashMap::new(),
            sums: Sums::default(),
            changed: BTreeSet::new(),
            stale: true,
            counted: false,
            published: BTreeMap::new(),
            states: HashMap::new(),
        }
    }

    /// Policies have changed.
    pub fn set_policies(&mut self, policies: Policies, now: Now) {
        self.selector = Selector::new(&policies);
        self.sums.keep_policies(|key| policies.contains_key(key));
        self.policies = policies;
        self.states.clear();
        self.cache.want_nothing();
        self.select_all(now);
    }

    /// Nodes or their labels have changed. Streams of nodes that are deleted end: their tokens are void by now.
    pub fn set_labels(&mut self, labels: Nodes, now: Now) {
        let old = std::mem::replace(&mut self.labels, labels);
        let deleted = |name: &NodeName| old.contains_key(name) && !self.labels.contains_key(name);
        for (_, node) in self.nodes.iter().filter(|(name, _)| deleted(name)) {
            node.tell(|mail| mail.end = Some(super::ended::Ended::NodeDeleted));
        }
        let nodes = &self.nodes;
        let labels = &self.labels;
        self.sums.keep_nodes(|name| labels.contains_key(name) || nodes.contains_key(name));
        self.select_all(now);
    }

    fn select_all(&mut self, now: Now) {
        let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
        for name in names {
            let selection = self.selector.select(self.labels.get(&name));
            let Some(node) = self.nodes.get_mut(&name) else { continue };
            if node.selection().id != selection.id {
                self.changed.insert(name.clone());
            }
            node.select(selection);
            self.plan(&name, now);
        }
        self.judge();
        self.stale = true;
    }

    /// Offers a node what it should run, or has it compiled.
    fn plan(&mut self, name: &NodeName, now: Now) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let Some(kernel) = self.kernels.get(&node.greeting.kernel) else { return };
        let wanted = node.wanted();
        let key = SetKey { kernel: node.greeting.kernel, selection: wanted.id };
        match self.cache.get(&key) {
            Some(set) => {
                if node.offer(set, wanted, now) {
                    self.changed.insert(name.clone());
                    self.stale = true;
                }
            }
            None => {
                node.pending = Some(key);
                self.cache.want(Job { key, kernel: kernel.clone(), selection: wanted });
            }
        }
    }

    /// What to compile now.
    pub fn start_compilation(&mut self) -> Option<Job> {
        self.cache.start()
    }

    /// A set has been compiled: the nodes that wait for it get it.
    pub fn compiled(&mut self, set: CompiledSet, now: Now) {
        let key = self.cache.insert(set).key;
        self.plan_waiting(key, now);
        // Before any node refuses a version of it, and the set is not in use any more.
        self.judge();
    }

    /// A compilation gave no result, which no policy can cause; it is done again.
    pub fn compilation_failed(&mut self, key: SetKey, now: Now) {
        self.cache.failed(&key);
        self.plan_waiting(key, now);
    }

    fn plan_waiting(&mut self, key: SetKey, now: Now) {
        let waits = |(_, node): &(&NodeName, &Node)| node.pending == Some(key);
        let waiting: Vec<NodeName> = self.nodes.iter().filter(waits).map(|(name, _)| name.clone()).collect();
        waiting.iter().for_each(|name| self.plan(name, now));
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Now) {
        let (forget, retry) = (self.limits.forget_after, self.limits.retry_after);
        let mut again = Vec::new();
        let mut gone = Vec::new();
        for (name, node) in &mut self.nodes {
            if node.is_late(now) {
                self.changed.insert(name.clone());
            }
            if node.gone_for(now).is_some_and(|time| time >= forget) {
                gone.push(name.clone());
            } else if node.tick(now, retry) {
                again.push(name.clone());
            }
        }
        for name in gone {
            self.nodes.remove(&name);
            self.changed.insert(name);
            self.stale = true;
        }
        for name in again {
            self.changed.insert(name.clone());
            self.plan(&name, now);
        }
        let used: BTreeSet<_> = self.nodes.values().map(|node| node.greeting.kernel).collect();
        self.kernels.tidy(|digest| used.contains(digest), now.instant, forget);
        self.starts.retain(|_, starts| starts.recent(now));
        self.ask();
    }
}
