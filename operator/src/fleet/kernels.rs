//! In: what agents say their kernel is, and profiles. Out: kernels to compile for; whom to ask for a profile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policy_compiler::Kernel;
use policy_compiler::typed::PolicyKey;

use super::compile::{CompiledSet, SetKey, Verdict};
use super::limits::KERNELS_MAX;
use super::mail::StreamId;
use crate::model::{KernelDigest, KernelState, PolicyDigest};

/// Versions that nodes of a kernel should run.
pub type Wanted = BTreeMap<PolicyKey, PolicyDigest>;

/// Kernels by digest.
#[derive(Debug, Default)]
pub struct Kernels {
    by_digest: BTreeMap<KernelDigest, Entry>,
}

#[derive(Debug)]
enum Entry {
    /// One stream is asked at a time.
    Missing {
        asked: Option<StreamId>,
    },
    Known(Known),
}

#[derive(Debug)]
struct Known {
    state: Arc<KernelState>,
    idle_since: Option<Instant>,
}

impl Kernels {
    /// The kernel, if its profile is here.
    pub fn get(&self, digest: &KernelDigest) -> Option<&Arc<Kernel>> {
        match self.by_digest.get(digest)? {
            Entry::Known(known) => Some(&known.state.kernel),
            Entry::Missing { .. } => None,
        }
    }

    /// Makes room for a kernel; `false` if there are too many that have nodes.
    pub fn expect(&mut self, digest: KernelDigest) -> bool {
        if self.by_digest.contains_key(&digest) {
            return true;
        }
        if self.by_digest.len() >= KERNELS_MAX {
            let idle = |(digest, entry): (&KernelDigest, &Entry)| match entry {
                Entry::Known(known) => known.idle_since.map(|since| (since, *digest)),
                Entry::Missing { .. } => None,
            };
            let Some((_, longest)) = self.by_digest.iter().filter_map(idle).min() else { return false };
            self.by_digest.remove(&longest);
        }
        self.by_digest.insert(digest, Entry::Missing { asked: None });
        true
    }

    /// Kernels that nobody has been asked for, if so many may be asked at a time.
    pub fn to_ask(&self, at_once: usize) -> Vec<KernelDigest> {
        let asked = |entry: &&Entry| matches!(entry, Entry::Missing { asked: Some(_) });
        let room = at_once.saturating_sub(self.by_digest.values().filter(asked).count());
        let open = |(digest, entry): (&KernelDigest, &Entry)| {
            matches!(entry, Entry::Missing { asked: None }).then_some(*digest)
        };
        self.by_digest.iter().filter_map(open).take(room).collect()
    }

    /// This stream has been asked.
    pub fn asked(&mut self, digest: &KernelDigest, stream: StreamId) {
        if let Some(Entry::Missing { asked }) = self.by_digest.get_mut(digest) {
            *asked = Some(stream);
        }
    }

    /// This stream gives no profile any more; another one may be asked.
    pub fn gave_up(&mut self, stream: StreamId) {
        for entry in self.by_digest.values_mut() {
            if let Entry::Missing { asked } = entry
                && *asked == Some(stream)
            {
                *asked = None;
            }
        }
    }

    /// A profile has been verified and parsed.
    pub fn learn(&mut self, digest: KernelDigest, kernel: Arc<Kernel>) {
        let release = kernel.release().to_owned();
        let state = Arc::new(KernelState { release, kernel, verdicts: BTreeMap::new() });
        self.by_digest.insert(digest, Entry::Known(Known { state, idle_since: None }));
    }

    /// Puts together what the compiler said of the versions that nodes should run: from the sets that they are to run, an
    /// error counting more than none. A version that its nodes have refused is in none of them and keeps its verdict.
    pub fn judge(
        &mut self,
        sets: &BTreeMap<SetKey, Arc<CompiledSet>>,
        wanted: &BTreeMap<KernelDigest, Wanted>,
    ) {
        for (digest, entry) in &mut self.by_digest {
            let Entry::Known(known) = entry else { continue };
            let mut verdicts: BTreeMap<PolicyKey, Verdict> = BTreeMap::new();
            for (key, version) in wanted.get(digest).into_iter().flatten() {
                let of_kernel = sets.iter().filter(|(key, _)| key.kernel == *digest);
                let said =
                    of_kernel.filter_map(|(_, set)| set.verdicts.get(key)).filter(|said| said.0 == *version);
                let worst = said.max_by_key(|said| said.1.iter().map(|found| found.severity).max());
                let before = || known.state.verdicts.get(key).filter(|said| said.0 == *version);
                if let Some(verdict) = worst.or_else(before) {
                    verdicts.insert(key.clone(), verdict.clone());
                }
            }
            known.replace(verdicts);
        }
    }

    /// Forgets kernels that have had no node for a while; those that are only expected, at once.
    pub fn tidy(&mut self, has_nodes: impl Fn(&KernelDigest) -> bool, now: Instant, after: Duration) {
        self.by_digest.retain(|digest, entry| match entry {
            Entry::Missing { .. } => has_nodes(digest),
            Entry::Known(known) if has_nodes(digest) => {
                known.idle_since = None;
                true
            }
            Entry::Known(known) => {
                now.saturating_duration_since(*known.idle_since.get_or_insert(now)) < after
            }
        });
    }

    /// For the other parts of the operator.
    pub fn states(&self) -> BTreeMap<KernelDigest, Arc<KernelState>> {
        let known = |(digest, entry): (&KernelDigest, &Entry)| match entry {
            Entry::Known(known) => Some((*digest, known.state.clone())),
            Entry::Missing { .. } => None,
        };
        self.by_digest.iter().filter_map(known).collect()
    }
}

impl Known {
    fn replace(&mut self, verdicts: BTreeMap<PolicyKey, Verdict>) {
        if verdicts != self.state.verdicts {
            let KernelState { release, kernel, .. } = &*self.state;
            let state = KernelState { release: release.clone(), kernel: kernel.clone(), verdicts };
            self.state = Arc::new(state);
        }
    }
}
