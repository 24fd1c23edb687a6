//! In: an operator that does what each test tells it. Out: what the agent makes of its sets.

mod daemon_support;

use std::time::Duration;

use agent::daemon::simulated::Simulated;
use agent::kernel::fake::{Call, FakeKernel};
use agent::kernel::{Errno, insn};
use api::fleet::{AgentBody, Desired, FailureStage, OperatorBody, PolicyRef, ProfileRequest, Refusal};
use daemon_support::{FakeOperator, NEVER, artefact, eventually};
use prost::Message;
use sha2::{Digest, Sha256};

fn policy(name: &str) -> PolicyRef {
    PolicyRef { namespace: String::new(), name: name.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn distribute_ack() {
    let (mut operator, kernel) = (FakeOperator::start().await, FakeKernel::new());
    let agent = Simulated::start(operator.agent(&kernel)).unwrap();
    let mut peer = operator.call().await;
    assert_eq!(peer.authorization, "Bearer a-token");
    assert_eq!((peer.hello.generation, peer.hello.set_digest.len()), (0, 0));
    assert_eq!(peer.hello.kernel_release, "6.12.0-test");

    let set = operator.set(1, &[artefact("f", &["a", "b"], 1), artefact("g", &["b"], 1)]);
    let answer = peer.apply(&set).await;
    assert_eq!((answer.generation, answer.refusal, answer.failures.len()), (1, 0, 0));
    assert_eq!(answer.set_digest, set.set_digest());
    assert_eq!(agent.hooks(), ["fentry:f", "fentry:g"]);
    assert_eq!(operator.take_fetched(), 2);

    // What runs already is not fetched again.
    let set = operator.set(2, &[artefact("f", &["a", "b"], 1), artefact("h", &["c"], 1)]);
    assert_eq!(peer.apply(&set).await.failures.len(), 0);
    assert_eq!(operator.take_fetched(), 1);
    assert_eq!(agent.hooks(), ["fentry:f", "fentry:h"]);
    assert_eq!(agent.in_force().borrow().set_digest, set.set_digest());

    let answer = peer.apply(&operator.set(3, &[])).await;
    assert_eq!((answer.generation, answer.failures.len(), agent.hooks().len()), (3, 0, 0));
    assert!(kernel.attached().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn distribute_profile_is_sent_when_asked_for() {
    let (mut operator, kernel) = (FakeOperator::start().await, FakeKernel::new());
    let _agent = Simulated::start(operator.agent(&kernel)).unwrap();
    let mut peer = operator.call().await;
    peer.send(OperatorBody::ProfileRequest(ProfileRequest {})).await;
    let mut bytes = Vec::new();
    let mut pieces = 0;
    loop {
        let AgentBody::Profile(chunk) = peer.next().await else { panic!("something else") };
        bytes.extend(chunk.data);
        pieces += 1;
        if chunk.last {
            break;
        }
    }
    assert_eq!((pieces, Sha256::digest(&bytes).to_vec()), (2, peer.hello.kernel_digest.clone()));
    // Once in a call.
    peer.send(OperatorBody::ProfileRequest(ProfileRequest {})).await;
    peer.ended().await;
    operator.call().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn distribute_nack_names_the_policy() {
    let (mut operator, kernel) = (FakeOperator::start().await, FakeKernel::new());
    let agent = Simulated::start(operator.agent(&kernel)).unwrap();
    let mut peer = operator.call().await;
    let good = artefact("f", &["good"], 1);
    peer.apply(&operator.set(1, std::slice::from_ref(&good))).await;

    kernel.reject_insn(insn::mov_imm(0, 666));
    let mut bad = artefact("f", &["bad", "good"], 666);
    bad.source_map = vec![api::artefact::SourceSpan { insn: 2, path: "bad: spec.kprobes[0]".into() }];
    let set = operator.set(2, &[bad.clone(), artefact("g", &["other"], 1)]);
    let answer = peer.apply(&set).await;
    let [failure] = answer.failures.as_slice() else { panic!("{answer:?}") };
    assert_eq!((failure.hook.as_str(), failure.stage), ("fentry:f", FailureStage::Load as i32));
    assert_eq!(failure.policies, [policy("bad"), policy("good")]);
    assert_eq!((failure.errno, failure.kept), (Errno::EINVAL.0, true));
    assert_eq!(failure.path.as_deref(), Some("bad: spec.kprobes[0]"));
    assert_eq!(failure.digest, bad.digest().0);
    assert!(failure.text.ends_with("not in this kernel"), "{}", failure.text);
    // The other hook has the new set, this one its last good program.
    assert_eq!(agent.hooks(), ["fentry:f", "fentry:g"]);
    let runs = operator.set(2, &[good, artefact("g", &["other"], 1)]);
    let state = agent.in_force().borrow().clone();
    assert_eq!((state.generation, state.set_digest, state.failing), (2, runs.set_digest().to_vec(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn distribute_digest_mismatch_is_refused() {
    let (mut operator, kernel) = (FakeOperator::start().await, FakeKernel::new());
    let agent = Simulated::start(operator.agent(&kernel)).unwrap();
    let mut peer = operator.call().await;
    peer.apply(&operator.set(1, &[artefact("f", &["a"], 1)])).await;
    let wanted = artefact("f", &["a"], 2);
    let other = artefact("f", &["a"], 3).encode_to_vec();
    // Unknown fields decode to the same artefact.
    let padded = [wanted.encode_to_vec(), vec![0xf8, 0x7f, 1]].concat();
    for (bytes, why) in
        [(other, "has another digest"), (padded, "has another digest"), (vec![0xff; 9], "does not decode")]
    {
        let set = operator.set(2, std::slice::from_ref(&wanted));
        operator.shelve(wanted.digest().0.to_vec(), bytes);
        let answer = peer.apply(&set).await;
        assert_eq!(answer.refusal, Refusal::BadArtefact as i32);
        assert!(answer.refusal_text.contains(why), "{}", answer.refusal_text);
        assert_eq!((agent.hooks().len(), agent.in_force().borrow().generation), (1, 1));
    }
    // The right bytes are taken after all that.
    let answer = peer.apply(&operator.set(2, &[wanted])).await;
    assert_eq!((answer.refusal, answer.failures.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn distribute_older_generation_is_refused() {
    let (mut operator, kernel) = (FakeOperator::start().await, FakeKernel::new());
    let agent = Simulated::start(operator.agent(&kernel)).unwrap();
    let mut peer = operator.call().await;
    peer.apply(&operator.set(7, &[artefact("f", &["a"], 1)])).await;
    let answer = peer.apply(&operator.set(6, &[])).await;
    assert_eq!(answer.refusal, Refusal::OldGeneration as i32);
    assert!(answer.refusal_text.contains('6') && answer.refusal_text.contains('7'));
    assert_eq!(agent.hooks(), ["fentry:f"]);
    // The same again is no change.
    let attached = kernel.attached();
    let answer = peer.apply(&operator.set(7, &[artefact("f", &["a"], 1)])).await;
    assert_eq!((answer.refusal, answer.failures.len()), (0, 0));
    assert_eq!(kernel.attached(), attached);
}

#[tokio::test(flavor = "multi_thread")]
async fn distribute_nonsense_harms_nothing() {
    let (mut operator, kernel) = (FakeOperator::start().await, FakeKernel::new());
    let agent = Simulated::start(operator.agent(&kernel)).unwrap();
    let mut peer = operator.call().await;
    peer.apply(&operator.set(1, &[artefact("f", &["a"], 1)])).await;
    let [low, high] = [vec![1; 32], vec![2; 32]];
    for (artefacts, refusal) in [
        (vec![vec![1; 31]], Refusal::BadArtefact),
        (vec![vec![]], Refusal::BadArtefact),
        (vec![high.clone(), low.clone()], Refusal::BadArtefact),
        (vec![low.clone(), low.clone()], Refusal::BadArtefact),
        (vec![low], Refusal::Unfetched),
    ] {
        let answer = peer.apply(&Desired { generation: 2, artefacts }).await;
        assert_eq!(answer.refusal, refusal as i32, "{}", answer.refusal_text);
        assert_eq!(agent.hooks(), ["fentry:f"]);
    }
    // One hook twice: the second fails alone.
    let twice = [artefact("g", &["a"], 1), artefact("g", &["b"], 2)];
    let answer = peer.apply(&operator.set(2, &twice)).await;
    assert_eq!(answer.failures.first().map(|failure| failure.stage), Some(FailureStage::Artefact as i32));
    // More than a node holds does not even decode, and no message at all ends the call; both calls are made again.
    let artefacts = (0..1025u32).map(|n| [n.to_be_bytes(); 8].concat()).collect();
    peer.send(OperatorBody::Desired(Desired { generation: 3, artefacts })).await;
    let mut peer = match tokio::time::timeout(Duration::from_secs(3), operator.call()).await {
        Ok(again) => again,
        Err(_) => {
            let AgentBody::Applied(answer) = peer.next().await else { panic!("no answer") };
            assert_eq!(answer.refusal, Refusal::TooMany as i32);
            peer
        }
    };
    peer.send_nothing().await;
    while peer.any().await.is_some() {}
    let peer = operator.call().await;
    assert_eq!((agent.hooks().len(), peer.hello.generation), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn distribute_the_newest_of_many_sets_is_applied_next() {
    let (mut operator, kernel) = (FakeOperator::start().await, FakeKernel::new());
    let agent = Simulated::start(operator.agent(&kernel)).unwrap();
    let mut peer = operator.call().await;
    for generation in 1..=200 {
        let set = operator.set(generation, &[artefact("f", &["a"], i32::try_from(generation).unwrap())]);
        peer.send(OperatorBody::Desired(set)).await;
    }
    let mut answers = Vec::new();
    while answers.last() != Some(&200) {
        let AgentBody::Applied(answer) = peer.next().await else { panic!("something else") };
        assert_eq!((answer.refusal, answer.failures.len()), (0, 0));
        answers.push(answer.generation);
    }
    assert!(answers.is_sorted() && answers.len() < 200, "{answers:?}");
    assert_eq!((agent.hooks().len(), kernel.attached().len()), (1, 1));
}

/// The program may be known by then, or not be wanted.
#[tokio::test(flavor = "multi_thread")]
async fn distribute_a_fetch_ends_with_its_call() {
    let mut operator = FakeOperator::start().await;
    let agent = Simulated::start(operator.agent(&FakeKernel::new())).unwrap();
    let peer = operator.call().await;
    let wanted = artefact("f", &["a"], 1);
    let set = operator.set(1, std::slice::from_ref(&wanted));
    operator.shelve(wanted.digest().0.to_vec(), NEVER.to_vec());
    peer.send(OperatorBody::Desired(set.clone())).await;
    while operator.take_fetched() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    peer.close(None).await;
    let state = agent.in_force();
    eventually("the fetch ends", || state.borrow().refused == 1).await;
    operator.shelve(wanted.digest().0.to_vec(), wanted.encode_to_vec());
    let answer = operator.call().await.apply(&set).await;
    assert_eq!((answer.refusal, agent.hooks().len()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn distribute_reconnects_and_keeps_enforcing() {
    let (mut operator, kernel) = (FakeOperator::start().await, FakeKernel::new());
    let agent = Simulated::start(operator.agent(&kernel)).unwrap();
    let mut peer = operator.call().await;
    let set = operator.set(4, &[artefact("f", &["a"], 1)]);
    peer.apply(&set).await;
    let attached = kernel.attached();
    for _ in 0..2 {
        operator.stop();
        let state = agent.connection();
        eventually("the agent sees that the operator has gone", || !state.borrow().connected).await;
        assert_eq!(kernel.attached(), attached);
        operator.restart().await;
        peer = operator.call().await;
        assert_eq!((peer.hello.generation, &peer.hello.set_digest[..]), (4, &set.set_digest()[..]));
    }
    let answer = peer.apply(&operator.set(5, &[artefact("f", &["a"], 2)])).await;
    assert_eq!((answer.generation, answer.refusal), (5, 0));
    assert_ne!(kernel.attached(), attached);
}

#[tokio::test(flavor = "multi_thread")]
async fn distribute_counters_come_by_themselves_and_never_fall() {
    let (mut operator, kernel) = (FakeOperator::start().await, FakeKernel::new());
    let _agent = Simulated::start(operator.agent(&kernel)).unwrap();
    let mut peer = operator.call().await;
    peer.apply(&operator.set(1, &[artefact("f", &["a"], 1)])).await;
    kernel.skip_calls(3);
    loop {
        let Some(AgentBody::Counters(counters)) = peer.any().await else { panic!("something else") };
        let names: Vec<_> = counters.policies.iter().map(|counts| counts.policy.clone()).collect();
        if counters.missed == 3 {
            assert_eq!(names, [policy("a")]);
            break;
        }
    }
    // The program goes, and what it missed stays.
    peer.apply(&operator.set(2, &[])).await;
    let Some(AgentBody::Counters(counters)) = peer.any().await else { panic!("something else") };
    assert_eq!(counters.missed, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn distribute_failures_of_each_step_are_told_apart() {
    let (mut operator, kernel) = (FakeOperator::start().await, FakeKernel::new());
    let _agent = Simulated::start(operator.agent(&kernel)).unwrap();
    let mut peer = operator.call().await;
    for (generation, call, nth, stage) in [
        (1, Call::MapCreate, 1, FailureStage::Maps),
        (2, Call::ProgramLoad, 1, FailureStage::Load),
        (3, Call::Attach, 1, FailureStage::Attach),
        // The first clears the policy's counters.
        (4, Call::MapUpdate, 2, FailureStage::Switch),
    ] {
        kernel.fail(call, nth, Errno::ENOMEM);
        let answer = peer.apply(&operator.set(generation, &[artefact("f", &["a"], 1)])).await;
        let failure = answer.failures.first().unwrap_or_else(|| panic!("{call:?} does no harm"));
        assert_eq!((failure.stage, failure.errno, failure.kept), (stage as i32, Errno::ENOMEM.0, false));
        assert!(kernel.attached().is_empty());
    }
}
