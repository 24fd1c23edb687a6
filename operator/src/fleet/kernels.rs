//! In: what agents say their kernel is, and profiles. Out: kernels to compile for; whom to ask for a profile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policy_compiler::Kernel;
use policy_compiler::typed::PolicyKey;

use super::compile::{CompiledSet, SetKey, Verdict};
use super::limits::{IDLE_KERNELS_MAX, KERNELS_MAX};
use super::mail::StreamId;
use crate::model::{KernelDigest, KernelState, NodeName, PolicyDigest};

/// Versions that nodes of a kernel should run.
pub type Wanted = BTreeMap<PolicyKey, PolicyDigest>;

/// Kernels by digest.
#[derive(Debug)]
pub struct Kernels {
    by_digest: BTreeMap<KernelDigest, Entry>,
    /// See [`super::limits::Limits::kernel_bytes`].
    bytes_max: usize,
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
    brought: Brought,
    idle_since: Option<Instant>,
}

/// Where a kernel comes from.
#[derive(Debug, Clone)]
pub struct Brought {
    /// The node whose agent has sent it.
    pub by: NodeName,
    /// Of its encoded profile.
    pub bytes: usize,
}

impl Kernels {
    /// None yet; their profiles may have so many bytes.
    pub fn new(bytes_max: usize) -> Kernels {
        Kernels { by_digest: BTreeMap::new(), bytes_max }
    }

    /// The kernel, if its profile is here.
    pub fn get(&self, digest: &KernelDigest) -> Option<&Arc<Kernel>> {
        match self.by_digest.get(digest)? {
            Entry::Known(known) => Some(&known.state.kernel),
            Entry::Missing { .. } => None,
        }
    }

    /// Makes room for the kernel of a node; `false` if there are too many that have nodes.
    pub fn expect(&mut self, digest: KernelDigest, node: &NodeName) -> bool {
        if self.by_digest.contains_key(&digest) {
            return true;
        }
        let full = self.by_digest.len() >= KERNELS_MAX && !self.drop_idle(node);
        if full || self.bytes(|known| known.idle_since.is_none()) >= self.bytes_max {
            return false;
        }
        self.by_digest.insert(digest, Entry::Missing { asked: None });
        true
    }

    fn known(&self) -> impl Iterator<Item = (&KernelDigest, &Known)> {
        self.by_digest.iter().filter_map(|(digest, entry)| match entry {
            Entry::Known(known) => Some((digest, known)),
            Entry::Missing { .. } => None,
        })
    }

    fn bytes(&self, of: impl Fn(&Known) -> bool) -> usize {
        let counted = self.known().filter(|(_, known)| of(known));
        counted.fold(0, |sum: usize, (_, known)| sum.saturating_add(known.brought.bytes))
    }

    /// Forgets a kernel without nodes, if there is one: first those that this node has brought, so that no node pushes out
    /// what others need.
    fn drop_idle(&mut self, node: &NodeName) -> bool {
        let idle = self
            .known()
            .filter_map(|(digest, known)| Some((known.brought.by != *node, known.idle_since?, *digest)));
        let Some((_, _, first)) = idle.min() else { return false };
        self.by_digest.remove(&first).is_some()
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

    /// A profile has been verified and parsed. `false` if it does not fit beside those that have nodes.
    pub fn learn(&mut self, digest: KernelDigest, kernel: Arc<Kernel>, brought: Brought) -> bool {
        while self.bytes(|_| true).saturating_add(brought.bytes) > self.bytes_max {
            if !self.drop_idle(&brought.by) {
                self.by_digest.remove(&digest);
                return false;
            }
        }
        let release = kernel.release().to_owned();
        let state = Arc::new(KernelState { release, kernel, verdicts: BTreeMap::new() });
        self.by_digest.insert(digest, Entry::Known(Known { state, brought, idle_since: None }));
        true
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

    /// Forgets kernels that have had no node for a while, and the oldest of more than a few; those that are only expected,
    /// at once.
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
        let mut idle: Vec<_> =
            self.known().filter_map(|(digest, known)| Some((known.idle_since?, *digest))).collect();
        idle.sort_unstable();
        let surplus = idle.len().saturating_sub(IDLE_KERNELS_MAX);
        idle.iter().take(surplus).for_each(|(_, digest)| drop(self.by_digest.remove(digest)));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> Arc<Kernel> {
        let btf =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../policy-compiler/fixtures/kernel-6.btf"));
        let profile = api::profile::KernelProfile { btf: btf.unwrap(), ..Default::default() };
        Arc::new(Kernel::new(profile).unwrap())
    }

    fn brought(by: &str, mib: usize) -> Brought {
        Brought { by: by.into(), bytes: mib << 20 }
    }

    const fn digest(number: u8) -> KernelDigest {
        KernelDigest([number; 32])
    }

    #[test]
    fn the_bytes_of_all_kernels_are_bounded() {
        let (kernel, node) = (kernel(), "other".into());
        let mut kernels = Kernels::new(112 << 20);
        assert!(
            kernels.expect(digest(1), &node) && kernels.learn(digest(1), kernel.clone(), brought("a", 60))
        );
        assert!(
            kernels.expect(digest(2), &node) && kernels.learn(digest(2), kernel.clone(), brought("b", 50))
        );
        // Both have nodes: there is no room for a third.
        assert!(kernels.expect(digest(3), &node));
        assert!(!kernels.learn(digest(3), kernel.clone(), brought("c", 10)));
        assert!(kernels.get(&digest(3)).is_none() && kernels.to_ask(4).is_empty());
        // One has none any more, and gives way.
        kernels.tidy(|it| *it == digest(2), Instant::now(), Duration::from_secs(600));
        assert!(kernels.learn(digest(3), kernel.clone(), brought("c", 10)));
        assert!(kernels.get(&digest(1)).is_none() && kernels.get(&digest(2)).is_some());
        assert!(kernels.learn(digest(4), kernel, brought("d", 52)));
        assert!(!kernels.expect(digest(5), &node), "nothing more is asked for");
        assert!(kernels.expect(digest(2), &node), "what is known is");
    }

    #[test]
    fn a_larger_bound_takes_more_kernels() {
        let kernel = kernel();
        for (mib, taken) in [(112, 14), (400, 50)] {
            let mut kernels = Kernels::new(mib << 20);
            let learnt = |number: &u8| kernels.learn(digest(*number), kernel.clone(), brought("a", 8));
            assert_eq!((0..60).filter(learnt).count(), taken);
        }
    }

    #[test]
    fn a_node_pushes_out_its_own_kernels_first_and_few_stay_idle() {
        let (kernel, now) = (kernel(), Instant::now());
        let mut kernels = Kernels::new(112 << 20);
        let at = |second| now + Duration::from_secs(second);
        kernels.learn(digest(1), kernel.clone(), brought("good", 30));
        kernels.tidy(|_| false, at(0), Duration::from_secs(600));
        kernels.learn(digest(2), kernel.clone(), brought("bad", 30));
        kernels.tidy(|_| false, at(1), Duration::from_secs(600));
        assert!(kernels.learn(digest(3), kernel.clone(), brought("bad", 60)));
        assert!(kernels.get(&digest(1)).is_some() && kernels.get(&digest(2)).is_none());
        let mut kernels = Kernels::new(112 << 20);
        for number in 0..20 {
            kernels.learn(digest(number), kernel.clone(), brought("a", 1));
            kernels.tidy(|_| false, at(u64::from(number)), Duration::from_secs(600));
        }
        assert_eq!(kernels.states().len(), IDLE_KERNELS_MAX);
        assert!(kernels.get(&digest(19)).is_some());
    }
}
