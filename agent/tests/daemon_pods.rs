//! In: sets for pods, before and after all pods are known. Out: when what a predecessor left may go.

mod daemon_support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agent::daemon::answer::Refused;
use agent::daemon::applier::{Applier, Fetch};
use agent::daemon::engine::FakeEngine;
use agent::daemon::node::Inline;
use agent::daemon::start::load;
use agent::daemon::store::Store;
use agent::kernel::fake::FakeKernel;
use agent::loader::fake::loader;
use agent::pods::{CgroupId, Place, Workload};
use api::artefact::{Artefact, ArtefactDigest, PodSet, ProcessSet, SetOp, WorkloadSet};
use api::fleet::Desired;
use daemon_support::{artefact, eventually};

/// A program for all pods.
fn for_pods() -> Artefact {
    let workloads = Some(WorkloadSet { host: false, pods: Some(PodSet::default()) });
    let set = ProcessSet { op: SetOp::Workloads as i32, workloads, ..ProcessSet::default() };
    Artefact { process_sets: vec![set], ..artefact("f", &["p"], 1) }
}

/// An engine to which somebody will tell of pods.
fn engine() -> FakeEngine {
    let mut engine = loader(&FakeKernel::new()).unwrap();
    engine.expect_pods();
    let root = Place { path: "/".into(), workload: Workload::Host };
    engine.workloads_changed(vec![(CgroupId(1), Some(root))]).unwrap();
    engine
}

fn set(generation: u64, artefacts: &[Artefact]) -> Desired {
    let digests: BTreeSet<_> = artefacts.iter().map(Artefact::digest).collect();
    Desired { generation, artefacts: digests.iter().map(|digest| digest.0.to_vec()).collect() }
}

/// Gives these.
struct These(Vec<Artefact>);

impl Fetch for These {
    async fn fetch(&self, digest: ArtefactDigest) -> Result<Vec<u8>, Refused> {
        let found = self.0.iter().find(|artefact| artefact.digest() == digest).unwrap();
        Ok(prost::Message::encode_to_vec(found))
    }
}

/// As after a restart while the API server is away.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_predecessor_left_stays_until_pods_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.save(&set(3, &[for_pods()]), &[for_pods()]).unwrap();
    let mut engine = engine();
    let loaded = load(&store, &mut engine);
    assert_eq!((loaded.in_force.failing, loaded.is_whole, loaded.in_force.waits_for_pods), (0, false, true));

    let (engine, removed) = (Inline::new(engine), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&removed);
    let when_whole = move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    };
    let applier = Arc::new(Applier::new(engine.clone(), None, loaded.in_force, when_whole));
    let upkeep = Arc::clone(&applier);
    let upkeep = tokio::spawn(async move { upkeep.keep_up().await });
    // The operator is there, and its set is in force for pods as little.
    let new = [for_pods(), artefact("g", &["q"], 1)];
    let answer = applier.apply(&set(4, &new), &These(new.to_vec())).await;
    assert_eq!((answer.refusal, answer.failures.len()), (0, 0));
    assert_eq!((removed.load(Ordering::Relaxed), applier.in_force().borrow().waits_for_pods), (0, true));

    engine.now(|engine| engine.pods_are_known());
    eventually("what a predecessor left goes", || removed.load(Ordering::Relaxed) == 1).await;
    assert!(!applier.in_force().borrow().waits_for_pods);
    upkeep.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_for_no_pods_does_not_wait_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let artefacts = [artefact("g", &["q"], 1)];
    store.save(&set(3, &artefacts), &artefacts).unwrap();
    assert!(load(&store, &mut engine()).is_whole);
}
