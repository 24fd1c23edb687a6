//! In: operators that are not who they should be, files that are not there yet. Out: whom the agent calls, and with what.

mod daemon_support;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use agent::daemon::dial::{Credentials, Operator};
use agent::daemon::simulated::{Options, Simulated};
use agent::kernel::fake::FakeKernel;
use api::fleet::SERVER_NAME;
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
