//! In: compiled sets. Out: the same again when asked for, and which compilations are still to do.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};

use api::artefact::ArtefactDigest;
use policy_compiler::Kernel;

use super::compile::{CompiledSet, Program, SetKey};
use super::limits::{COMPILES_MAX, SPARE_SETS_MAX};
use super::selection::Selection;

/// One compilation to do.
#[derive(Debug, Clone)]
pub struct Job {
    /// What.
    pub key: SetKey,
    /// For.
    pub kernel: Arc<Kernel>,
    /// Of.
    pub selection: Arc<Selection>,
}

/// Sets by key. Those that no node uses are bounded, the oldest go first; those in use are at most as many as nodes.
#[derive(Debug, Default)]
pub struct Cache {
    sets: HashMap<SetKey, (Arc<CompiledSet>, u64)>,
    programs: HashMap<ArtefactDigest, Weak<Program>>,
    waiting: BTreeMap<SetKey, Job>,
    running: HashSet<SetKey>,
    clock: u64,
}

impl Cache {
    /// A set, if it has been compiled.
    pub fn get(&mut self, key: &SetKey) -> Option<Arc<CompiledSet>> {
        self.clock += 1;
        let (set, used) = self.sets.get_mut(key)?;
        *used = self.clock;
        Some(set.clone())
    }

    /// Asks for a set that [`Cache::get`] does not have.
    pub fn want(&mut self, job: Job) {
        if !self.running.contains(&job.key) {
            self.waiting.insert(job.key, job);
        }
    }

    /// Forgets what is asked for; who still wants it asks again.
    pub fn want_nothing(&mut self) {
        self.waiting.clear();
    }

    /// What to compile now: never two of the same key.
    pub fn start(&mut self) -> Option<Job> {
        if self.running.len() >= COMPILES_MAX {
            return None;
        }
        let (key, job) = self.waiting.pop_first()?;
        self.running.insert(key);
        Some(job)
    }

    /// Takes the result of a compilation. Programs that other sets have too are shared with them.
    pub fn insert(&mut self, mut set: CompiledSet) -> Arc<CompiledSet> {
        self.running.remove(&set.key);
        self.waiting.remove(&set.key);
        for (digest, program) in &mut set.programs {
            match self.programs.get(digest).and_then(Weak::upgrade) {
                Some(same) => *program = same,
                None => drop(self.programs.insert(*digest, Arc::downgrade(program))),
            }
        }
        self.clock += 1;
        let set = Arc::new(set);
        self.sets.insert(set.key, (set.clone(), self.clock));
        self.tidy();
        set
    }

    /// A compilation that gave no result may be asked for again.
    pub fn failed(&mut self, key: &SetKey) {
        self.running.remove(key);
    }

    fn tidy(&mut self) {
        let spare = |(set, _): &&(Arc<CompiledSet>, u64)| Arc::strong_count(set) == 1;
        let mut spares: Vec<(u64, SetKey)> =
            self.sets.values().filter(spare).map(|(set, used)| (*used, set.key)).collect();
        spares.sort_unstable();
        let surplus = spares.len().saturating_sub(SPARE_SETS_MAX);
        spares.iter().take(surplus).for_each(|(_, key)| drop(self.sets.remove(key)));
        self.programs.retain(|_, program| program.strong_count() > 0);
    }
}
