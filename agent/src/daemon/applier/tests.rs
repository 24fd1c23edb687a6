//! In: sets, and fetches that do not come to an end. Out: the order of what an applier does.

use std::collections::BTreeMap;

use api::artefact::{Attach, EventKind, Flavour, HookSchema};
use prost::Message;

use super::*;
use crate::daemon::engine::FakeEngine;
use crate::daemon::node::Inline;
use crate::kernel::fake::FakeKernel;

fn artefact(target: &str) -> Artefact {
    let attach = Attach { flavour: Flavour::Fentry as i32, target: target.into(), ..Attach::default() };
    let event = EventKind::Kprobe as i32;
    let hooks = vec![HookSchema { policy_name: "p".into(), event, ..HookSchema::default() }];
    let insns = [crate::kernel::insn::mov_imm(0, 0), crate::kernel::insn::exit()].concat();
    Artefact { attach, hooks, insns, ..Artefact::default() }
}

fn set(generation: u64, artefacts: &[Artefact]) -> Desired {
    let digests: BTreeSet<_> = artefacts.iter().map(Artefact::digest).collect();
    Desired { generation, artefacts: digests.iter().map(|digest| digest.0.to_vec()).collect() }
}

/// Gives these, and nothing else ever.
struct These(BTreeMap<ArtefactDigest, Artefact>);

impl These {
    fn of(artefacts: &[Artefact]) -> These {
        These(artefacts.iter().map(|artefact| (artefact.digest(), artefact.clone())).collect())
    }
}

impl Fetch for These {
    async fn fetch(&self, digest: ArtefactDigest) -> Result<Vec<u8>, Refused> {
        match self.0.get(&digest) {
            Some(found) => Ok(found.encode_to_vec()),
            None => std::future::pending().await,
        }
    }
}

type TestApplier = Applier<Inline<FakeEngine>>;

fn applier(store: Option<Arc<Store>>, when_whole: impl Fn(Whole) + Send + Sync + 'static) -> TestApplier {
    let engine = crate::loader::fake::loader(&FakeKernel::new()).unwrap();
    Applier::new(Inline::new(engine), store, InForce::default(), when_whole)
}

#[tokio::test]
async fn a_fetch_that_hangs_holds_up_no_other_set() {
    let applier = Arc::new(applier(None, |_| ()));
    let hanging = Arc::clone(&applier);
    let hanging = tokio::spawn(async move {
        let nothing = These::of(&[]);
        hanging.apply(&set(1, &[artefact("f")]), &nothing).await
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let both = [artefact("f"), artefact("g")];
    let (set, fetch) = (set(2, &both), These::of(&both));
    let applying = applier.apply(&set, &fetch);
    let answer = tokio::time::timeout(Duration::from_secs(20), applying).await.unwrap();
    assert_eq!((answer.refusal, answer.failures.len()), (0, 0), "{}", answer.refusal_text);
    assert!(!hanging.is_finished());
    hanging.abort();
}

/// A set that is fetched for long is not applied after a newer one.
#[tokio::test]
async fn an_older_set_whose_fetch_ends_late_is_refused() {
    struct Late(Artefact, Arc<tokio::sync::Notify>);
    impl Fetch for Late {
        async fn fetch(&self, _: ArtefactDigest) -> Result<Vec<u8>, Refused> {
            self.1.notified().await;
            Ok(self.0.encode_to_vec())
        }
    }
    let applier = Arc::new(applier(None, |_| ()));
    let (goes, late) = (Arc::new(tokio::sync::Notify::new()), Arc::clone(&applier));
    let fetch = Late(artefact("f"), Arc::clone(&goes));
    let late = tokio::spawn(async move { late.apply(&set(1, &[artefact("f")]), &fetch).await });
    let newer = [artefact("g")];
    applier.apply(&set(2, &newer), &These::of(&newer)).await;
    goes.notify_one();
    assert_eq!(late.await.unwrap().refusal, Refusal::OldGeneration as i32);
    assert_eq!(applier.in_force().borrow().generation, 2);
}

#[tokio::test]
async fn a_set_is_stored_before_what_ran_before_goes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path()).unwrap());
    let (stored, seen) = (Arc::clone(&store), Arc::new(std::sync::Mutex::new(Vec::new())));
    let calls = Arc::clone(&seen);
    let applier = applier(Some(store), move |whole| {
        let generation = stored.load().desired.map(|desired| desired.generation);
        calls.lock().unwrap().push((whole, generation));
    });
    let artefacts = [artefact("f")];
    applier.apply(&set(7, &artefacts), &These::of(&artefacts)).await;
    assert_eq!(*seen.lock().unwrap(), [(Whole::Desired, Some(7))]);
}

#[tokio::test]
async fn what_could_not_be_stored_is_stored_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path()).unwrap());
    let applier = applier(Some(Arc::clone(&store)), |_| ());
    let (programs, away) = (folder.path().join("artefacts"), folder.path().join("away"));
    std::fs::rename(&programs, &away).unwrap();
    std::fs::write(&programs, "").unwrap();
    let artefacts = [artefact("f")];
    let answer = applier.apply(&set(7, &artefacts), &These::of(&artefacts)).await;
    assert_eq!(answer.refusal, Refusal::NotStored as i32);
    applier.save_again().await;
    assert!(applier.in_force().borrow().unstored && store.load().desired.is_none());
    std::fs::remove_file(&programs).unwrap();
    std::fs::rename(&away, &programs).unwrap();
    applier.save_again().await;
    assert!(!applier.in_force().borrow().unstored);
    assert_eq!(store.load().desired, Some(set(7, &artefacts)));
}
