//! In: operators that are not who they should be, files that are not there yet. Out: whom the agent calls, and with what.

mod daemon_support;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use agent::daemon::backoff::Pace;
use agent::daemon::dial::{Credentials, Operator};
use agent::daemon::simulated::{Options, Simulated};
use agent::kernel::fake::FakeKernel;
use api::fleet::{OperatorBody, SERVER_NAME};
use daemon_support::{Certificates, FakeOperator, artefact, eventually};

fn with(options: Options, credentials: Credentials) -> Options {
    let operator = Operator { credentials, ..options.operator.clone() };
    Options { operator, ..options }
}

async fn fails(agent: &Simulated, why: &str) {
    let state = agent.connection();
    eventually(why, || state.borrow().ended.as_ref().is_some_and(|ended| ended.contains(why))).await;
    assert_eq!(state.borrow().established, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn auth_an_operator_with_another_certificate_is_not_called() {
    let operator = FakeOperator::start().await;
    let ca: Arc<str> = Certificates::new(SERVER_NAME).ca;
    let credentials = Credentials::Fixed { ca, token: "t".into() };
    let agent = Simulated::start(with(operator.agent(&FakeKernel::new()), credentials)).unwrap();
    fails(&agent, "could not be reached").await;

    let stranger = FakeOperator::start_with(Certificates::new("somebody-else")).await;
    let agent = Simulated::start(stranger.agent(&FakeKernel::new())).unwrap();
    fails(&agent, "could not be reached").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn auth_an_agent_that_is_not_let_in_keeps_what_it_runs_and_tries_again() {
    let operator = FakeOperator::start().await;
    let credentials = Credentials::Fixed { ca: operator.certificates.ca.clone(), token: "wrong".into() };
    let agent = Simulated::start(with(operator.agent(&FakeKernel::new()), credentials)).unwrap();
    fails(&agent, "the token is for somebody else").await;
    let state = agent.connection();
    eventually("it calls again", || state.borrow().calls > 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn auth_files_are_waited_for_and_read_at_each_call() {
    let mut operator = FakeOperator::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (ca, token) = (folder.path().join("ca.crt"), folder.path().join("token"));
    let credentials = Credentials::Files { ca: ca.clone(), token: token.clone() };
    let agent = Simulated::start(with(operator.agent(&FakeKernel::new()), credentials)).unwrap();
    fails(&agent, "waiting for the operator to publish its certificate").await;
    fs::write(&ca, operator.certificates.ca.as_bytes()).unwrap();
    fails(&agent, "token").await;
    fs::write(&token, "first\n").unwrap();
    assert_eq!(operator.call().await.authorization, "Bearer first");
    // Both are replaced while the operator is away.
    operator.stop();
    fs::write(&token, "second\n").unwrap();
    operator.certificates = Certificates::new(SERVER_NAME);
    fs::write(&ca, operator.certificates.ca.as_bytes()).unwrap();
    operator.restart().await;
    assert_eq!(operator.call().await.authorization, "Bearer second");
}

/// A token lasts an hour, a call longer.
#[tokio::test(flavor = "multi_thread")]
async fn auth_a_token_that_expires_during_a_call_is_replaced() {
    let mut operator = FakeOperator::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (ca, token) = (folder.path().join("ca.crt"), folder.path().join("token"));
    fs::write(&ca, operator.certificates.ca.as_bytes()).unwrap();
    fs::write(&token, "first").unwrap();
    let credentials = Credentials::Files { ca, token: token.clone() };
    let agent = Simulated::start(with(operator.agent(&FakeKernel::new()), credentials)).unwrap();
    let mut peer = operator.call().await;
    peer.apply(&operator.set(1, &[artefact("f", &["a"], 1)])).await;

    fs::write(&token, "second").unwrap();
    operator.expire("first");
    let set = operator.set(2, &[artefact("f", &["a"], 2)]);
    peer.send(OperatorBody::Desired(set.clone())).await;
    let mut again = operator.call().await;
    assert_eq!((again.authorization.as_str(), again.hello.generation), ("Bearer second", 1));
    let answer = again.apply(&set).await;
    assert_eq!((answer.refusal, answer.generation), (0, 2), "{}", answer.refusal_text);
    assert_eq!(agent.hooks(), ["fentry:f"]);
    peer.ended().await;
}

/// The operator ends calls from time to time, to see anew who calls.
#[tokio::test(flavor = "multi_thread")]
async fn auth_a_long_call_that_the_operator_ends_is_made_again_at_once() {
    let mut operator = FakeOperator::start().await;
    let options = operator.agent(&FakeKernel::new());
    // A wait would be longer than the test's patience.
    let (hour, good) = (Duration::from_secs(3600), Duration::from_millis(300));
    let pace = Pace { shortest: hour, longest: hour, good };
    let _agent = Simulated::start(Options { pace, ..options }).unwrap();
    for why in [None, Some(tonic::Status::unavailable("dial again"))] {
        let peer = operator.call().await;
        tokio::time::sleep(2 * good).await;
        peer.close(why).await;
    }
    operator.call().await;
}

/// Thousands of agents in one process share all that is large.
#[tokio::test(flavor = "multi_thread")]
async fn many_agents_call_and_apply() {
    const AGENTS: usize = 50;
    let mut operator = FakeOperator::start().await;
    let set = operator.set(1, &[artefact("f", &["a"], 1)]);
    let options = operator.agent(&FakeKernel::new());
    let agents: Vec<Simulated> = (0..AGENTS)
        .map(|_| Simulated::start(Options { kernel: FakeKernel::forgetful(), ..options.clone() }).unwrap())
        .collect();
    for _ in 0..AGENTS {
        let mut peer = operator.call().await;
        let answer = peer.apply(&set).await;
        assert_eq!((answer.refusal, answer.failures.len()), (0, 0));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(agents.iter().all(|agent| agent.hooks() == ["fentry:f"]));
}
