//! In: agents that end and start again, disks that are damaged or full. Out: what is in force afterwards.

mod daemon_support;

use std::fs;
use std::path::Path;

use agent::daemon::simulated::{Options, Simulated};
use agent::kernel::fake::FakeKernel;
use api::artefact::Artefact;
use api::fleet::Refusal;
use daemon_support::{FakeOperator, Peer, artefact, eventually};

/// An agent with a disk.
fn on_disk(operator: &FakeOperator, kernel: &FakeKernel, state: &Path) -> Options {
    Options { store: Some(state.to_owned()), ..operator.agent(kernel) }
}

fn place(state: &Path, artefact: &Artefact) -> std::path::PathBuf {
    state.join("artefacts").join(artefact.digest().to_string())
}

async fn first_life(operator: &mut FakeOperator, state: &Path, artefacts: &[Artefact]) -> Peer {
    let kernel = FakeKernel::new();
    let agent = Simulated::start(on_disk(operator, &kernel, state)).unwrap();
    let mut peer = operator.call().await;
    let answer = peer.apply(&operator.set(9, artefacts)).await;
    assert_eq!((answer.refusal, answer.failures.len()), (0, 0), "{}", answer.refusal_text);
    drop(agent);
    operator.take_fetched();
    peer
}

#[tokio::test(flavor = "multi_thread")]
async fn distribute_restart_without_operator() {
    let (mut operator, state) = (FakeOperator::start().await, tempfile::tempdir().unwrap());
    let artefacts = [artefact("f", &["a"], 1), artefact("g", &["a", "b"], 1)];
    first_life(&mut operator, state.path(), &artefacts).await;
    operator.stop();

    let kernel = FakeKernel::new();
    let agent = Simulated::start(on_disk(&operator, &kernel, state.path())).unwrap();
    assert_eq!(agent.hooks(), ["fentry:f", "fentry:g"], "at once, before anybody is called");
    let calls = agent.connection();
    eventually("the operator is called, in vain", || calls.borrow().calls > 3).await;
    assert_eq!((kernel.attached().len(), calls.borrow().connected), (2, false));

    // The operator comes back, and finds what is in force.
    operator.restart().await;
    let mut peer = operator.call().await;
    let set = operator.set(9, &artefacts);
    assert_eq!((peer.hello.generation, &peer.hello.set_digest[..]), (9, &set.set_digest()[..]));
    let answer = peer.apply(&set).await;
    assert_eq!((answer.refusal, answer.failures.len(), operator.take_fetched()), (0, 0, 0));
    let answer = peer.apply(&operator.set(8, &[])).await;
    assert_eq!(answer.refusal, Refusal::OldGeneration as i32, "also of a generation before the restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_programs_are_left_out_and_fetched_again() {
    let (mut operator, state) = (FakeOperator::start().await, tempfile::tempdir().unwrap());
    let artefacts = [artefact("f", &["a"], 1), artefact("g", &["b"], 1), artefact("h", &["c"], 1)];
    first_life(&mut operator, state.path(), &artefacts).await;
    let [cut, changed, _] = artefacts.each_ref().map(|artefact| place(state.path(), artefact));
    let bytes = fs::read(&cut).unwrap();
    fs::write(&cut, &bytes[..bytes.len() - 3]).unwrap();
    let mut bytes = fs::read(&changed).unwrap();
    bytes[20] ^= 1;
    fs::write(&changed, bytes).unwrap();

    let kernel = FakeKernel::new();
    let agent = Simulated::start(on_disk(&operator, &kernel, state.path())).unwrap();
    assert_eq!(agent.hooks(), ["fentry:h"]);
    let mut peer = operator.call().await;
    let set = operator.set(9, &artefacts);
    assert_eq!(peer.hello.generation, 9);
    assert_ne!(peer.hello.set_digest, set.set_digest(), "so that the operator sends it again");
    let answer = peer.apply(&set).await;
    assert_eq!((answer.refusal, answer.failures.len(), operator.take_fetched()), (0, 0, 2));
    assert_eq!(agent.hooks().len(), 3);
    // And they are whole on disk again.
    drop(agent);
    let again = Simulated::start(on_disk(&operator, &FakeKernel::new(), state.path())).unwrap();
    assert_eq!(again.hooks().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_set_is_ignored() {
    let (mut operator, state) = (FakeOperator::start().await, tempfile::tempdir().unwrap());
    let artefacts = [artefact("f", &["a"], 1)];
    first_life(&mut operator, state.path(), &artefacts).await;
    let set = state.path().join("set");
    let mut bytes = fs::read(&set).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&set, bytes).unwrap();
    let agent = Simulated::start(on_disk(&operator, &FakeKernel::new(), state.path())).unwrap();
    assert!(agent.hooks().is_empty());
    let mut peer = operator.call().await;
    assert_eq!((peer.hello.generation, peer.hello.set_digest.len()), (0, 0));
    // Its artefacts are still there.
    let answer = peer.apply(&operator.set(10, &artefacts)).await;
    assert_eq!((answer.refusal, operator.take_fetched()), (0, 0));
}

/// The folder of artefacts is a file: nothing can be written, as on a full disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_cannot_be_stored_is_in_force() {
    let (mut operator, state) = (FakeOperator::start().await, tempfile::tempdir().unwrap());
    let old = [artefact("f", &["a"], 1)];
    first_life(&mut operator, state.path(), &old).await;
    let kernel = FakeKernel::new();
    let agent = Simulated::start(on_disk(&operator, &kernel, state.path())).unwrap();
    let mut peer = operator.call().await;
    let folder = state.path().join("artefacts");
    let away = state.path().join("away");
    fs::rename(&folder, &away).unwrap();
    fs::write(&folder, "").unwrap();

    let new = [artefact("f", &["a"], 2), artefact("g", &["b"], 1)];
    let answer = peer.apply(&operator.set(10, &new)).await;
    assert_eq!((answer.refusal, answer.failures.len()), (Refusal::NotStored as i32, 0));
    assert!(answer.refusal_text.contains("artefacts"), "{}", answer.refusal_text);
    assert_eq!((agent.hooks().len(), agent.in_force().borrow().generation), (2, 10));
    assert!(agent.in_force().borrow().unstored);

    // There is room again: what runs is fetched once more, to be stored.
    fs::remove_file(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    operator.take_fetched();
    let attached = kernel.attached();
    let answer = peer.apply(&operator.set(10, &new)).await;
    assert_eq!((answer.refusal, operator.take_fetched()), (0, 2));
    assert_eq!(kernel.attached(), attached);
    drop(agent);
    let again = Simulated::start(on_disk(&operator, &FakeKernel::new(), state.path())).unwrap();
    assert_eq!(again.hooks(), ["fentry:f", "fentry:g"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_no_set_names_leave_the_disk() {
    let (mut operator, state) = (FakeOperator::start().await, tempfile::tempdir().unwrap());
    let [f, g] = [artefact("f", &["a"], 1), artefact("g", &["a"], 1)];
    first_life(&mut operator, state.path(), &[f.clone(), g.clone()]).await;
    let _agent = Simulated::start(on_disk(&operator, &FakeKernel::new(), state.path())).unwrap();
    let mut peer = operator.call().await;
    peer.apply(&operator.set(10, std::slice::from_ref(&g))).await;
    assert!(!place(state.path(), &f).exists() && place(state.path(), &g).exists());
}

/// A hook's last good program outlives a restart, too.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_what_runs() {
    let (mut operator, state) = (FakeOperator::start().await, tempfile::tempdir().unwrap());
    let kernel = FakeKernel::new();
    let agent = Simulated::start(on_disk(&operator, &kernel, state.path())).unwrap();
    let mut peer = operator.call().await;
    let good = artefact("f", &["a"], 1);
    peer.apply(&operator.set(1, std::slice::from_ref(&good))).await;
    kernel.reject_insn(agent::kernel::insn::mov_imm(0, 2));
    let answer = peer.apply(&operator.set(2, &[artefact("f", &["a"], 2)])).await;
    assert_eq!((answer.failures.len(), answer.refusal), (1, 0));
    drop(agent);
    let again = Simulated::start(on_disk(&operator, &FakeKernel::new(), state.path())).unwrap();
    assert_eq!(again.hooks(), ["fentry:f"]);
    let state = again.in_force().borrow().clone();
    let runs = operator.set(2, &[good]);
    assert_eq!((state.generation, state.set_digest), (2, runs.set_digest().to_vec()));
}
