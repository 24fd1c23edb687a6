//! In: what a hostile agent could send. Out: whether it is refused with a clear status, and harms nobody else.

use std::time::Duration;

use api::fleet::{
    AgentBody, AgentMessage, Applied, Counters, Hello, HookFailure, PolicyCounts, PolicyRef, ProfileChunk,
};
use api::profile::KernelProfile;
use operator::fleet::Limits;
use prost::Message;
use tonic::Code;

use crate::agent::{Agent, failure, hello, with_token};
use crate::operator::{ByName, Operator, limits};
use crate::policies::{Fixture, nodes, policies, policy, profile, sha256};

async fn start() -> Operator {
    Operator::start(policies([policy("one", "tcp_connect")]), nodes(&["a", "good"])).await
}

/// Another node is served as if nothing had been.
async fn others_are_served(operator: &Operator) {
    let six = profile(Fixture::Six);
    let (mut good, desired) = Agent::join(operator, "good", &six).await;
    good.ack(&desired).await;
    operator.until_programmed("good", "one").await;
}

/// Says something on a stream that has said hello and has the kernel; gives the status that it ends with.
async fn refused(body: AgentBody) -> tonic::Status {
    let operator = start().await;
    let (mut agent, _) = Agent::join(&operator, "a", &profile(Fixture::Six)).await;
    agent.say(body).await;
    let status = agent.end().await;
    others_are_served(&operator).await;
    operator.end().await;
    status
}

#[tokio::test]
async fn hostile_hellos_are_refused() {
    let operator = start().await;
    let six = profile(Fixture::Six);
    let good = || hello(&six);
    let long = || "x".repeat(300);
    let table: [(Hello, &str); 6] = [
        (Hello { kernel_digest: vec![1; 31], ..good() }, "Hello.kernel_digest"),
        (Hello { kernel_digest: Vec::new(), ..good() }, "Hello.kernel_digest"),
        (Hello { set_digest: vec![1; 33], ..good() }, "Hello.set_digest"),
        (Hello { agent_version: long(), ..good() }, "Hello.agent_version"),
        (Hello { kernel_release: long(), ..good() }, "Hello.kernel_release"),
        (Hello { generation: u64::MAX, ..good() }, "Hello.generation"),
    ];
    for (hello, field) in table {
        let mut agent = Agent::open(&operator, "a").await.expect("a stream");
        agent.say(AgentBody::Hello(hello)).await;
        let status = agent.end().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(field), "{status}");
    }
    // Silence, and something else first.
    let mut silent = Agent::open(&operator, "a").await.expect("a stream");
    assert_eq!(silent.end().await.code(), Code::DeadlineExceeded);
    let mut eager = Agent::open(&operator, "a").await.expect("a stream");
    eager.say(AgentBody::Applied(Applied::default())).await;
    assert_eq!(eager.end().await.code(), Code::FailedPrecondition);
    others_are_served(&operator).await;
    operator.end().await;
}

#[tokio::test]
async fn hostile_messages_out_of_order_end_the_stream() {
    let six = profile(Fixture::Six);
    assert_eq!(refused(AgentBody::Hello(hello(&six))).await.code(), Code::FailedPrecondition);
    let chunk = ProfileChunk { data: vec![1], last: true };
    assert_eq!(refused(AgentBody::Profile(chunk)).await.code(), Code::FailedPrecondition);
    let unsent = Applied { generation: u64::MAX, ..Applied::default() };
    assert_eq!(refused(AgentBody::Applied(unsent)).await.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn hostile_answers_are_refused() {
    let operator = start().await;
    let six = profile(Fixture::Six);
    let mut statuses = Vec::new();
    for case in 0..4 {
        let (mut agent, desired) = Agent::join(&operator, "a", &six).await;
        match case {
            0 => {
                let set_digest = vec![0; 32];
                let wrong = Applied { generation: desired.generation, set_digest, ..Applied::default() };
                agent.say(AgentBody::Applied(wrong)).await;
            }
            1 => agent.answer(&desired, vec![failure(&[9; 32], None, false)]).await,
            2 => agent.answer(&desired, vec![failure(&[9; 5], None, false)]).await,
            _ => {
                agent.ack(&desired).await;
                agent.ack(&desired).await;
            }
        }
        statuses.push(agent.end().await.code());
    }
    let invalid = Code::InvalidArgument;
    assert_eq!(statuses, [invalid, invalid, invalid, Code::FailedPrecondition]);
    others_are_served(&operator).await;
    operator.end().await;
}

#[tokio::test]
async fn hostile_oversized_messages_are_refused() {
    let large = "x".repeat(3 << 20);
    let counts =
        |name: String, values| PolicyCounts { policy: PolicyRef { namespace: String::new(), name }, values };
    let counters = |policies| AgentBody::Counters(Counters { policies, lost: 0, missed: 0 });
    // Larger than any message.
    let status = refused(counters(vec![counts(large, Vec::new())])).await;
    assert!(matches!(status.code(), Code::InvalidArgument), "{status}");
    // Within the size, but with more elements than there can be: counted before they are decoded.
    let many = vec![counts(String::new(), Vec::new()); 200_000];
    assert_eq!(refused(counters(many)).await.code(), Code::InvalidArgument);
    let failures = vec![HookFailure::default(); 500_000];
    let applied = Applied { failures, ..Applied::default() };
    assert_eq!(refused(AgentBody::Applied(applied)).await.code(), Code::InvalidArgument);
    // Names and numbers beyond their bounds.
    let status = refused(counters(vec![counts("x".repeat(300), Vec::new())])).await;
    assert!(status.message().contains("PolicyRef.name"), "{status}");
    assert_eq!(refused(counters(vec![counts("x".into(), vec![1; 60])])).await.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn hostile_profiles_are_refused_and_another_node_is_asked() {
    let operator = start().await;
    let six = profile(Fixture::Six);
    let ask = async |profile: &[u8]| {
        let mut agent = Agent::open(&operator, "a").await.expect("a stream");
        agent.say(AgentBody::Hello(hello(profile))).await;
        assert!(matches!(agent.next().await, api::fleet::OperatorBody::ProfileRequest(_)));
        agent
    };
    // The digest is of something else.
    let mut agent = ask(&six).await;
    agent.upload(&six[1..]).await;
    let status = agent.end().await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("SHA-256"), "{status}");
    // Garbage with the right digest: not a message, a message without BTF, BTF that is cut off, too many elements.
    let cut = KernelProfile { btf: vec![0x9f, 0xeb, 1, 0, 24], ..KernelProfile::default() };
    let symbols = KernelProfile { symbols: vec![String::new(); (1 << 19) + 1], ..KernelProfile::default() };
    for garbage in
        [vec![0xff; 5000], b"\x0a".to_vec(), vec![1; 1], cut.encode_to_vec(), symbols.encode_to_vec()]
    {
        let mut agent = ask(&garbage).await;
        agent.upload(&garbage).await;
        let status = agent.end().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains("profile"), "{status}");
    }
    // Chunks that are empty, or too large.
    let mut agent = ask(&six).await;
    agent.say(AgentBody::Profile(ProfileChunk { data: Vec::new(), last: false })).await;
    assert_eq!(agent.end().await.code(), Code::InvalidArgument);
    let mut agent = ask(&six).await;
    agent.say(AgentBody::Profile(ProfileChunk { data: vec![0; (1 << 20) + 1], last: false })).await;
    assert_eq!(agent.end().await.code(), Code::InvalidArgument);
    others_are_served(&operator).await;
    operator.end().await;
}

#[tokio::test]
async fn hostile_profile_without_end_is_cut_off() {
    let short = Limits { upload_within: Duration::from_millis(300), ..limits() };
    let one = policies([policy("one", "tcp_connect")]);
    let operator = Operator::with(one, nodes(&["a", "good"]), short, std::sync::Arc::new(ByName)).await;
    let six = profile(Fixture::Six);
    let mut agent = Agent::open(&operator, "a").await.expect("a stream");
    agent.say(AgentBody::Hello(hello(&six))).await;
    agent.next().await;
    agent.say(AgentBody::Profile(ProfileChunk { data: vec![1], last: false })).await;
    let mut good = Agent::open(&operator, "good").await.expect("a stream");
    good.say(AgentBody::Hello(hello(&six))).await;
    assert_eq!(agent.end().await.code(), Code::DeadlineExceeded);
    // Of the same kernel, and asked as soon as the first one is given up.
    assert!(matches!(good.next().await, api::fleet::OperatorBody::ProfileRequest(_)));
    good.upload(&six).await;
    good.desired().await;
    // Larger than any profile.
    let mut agent = Agent::open(&operator, "a").await.expect("a stream");
    agent.say(AgentBody::Hello(Hello { kernel_digest: sha256(b"none"), ..hello(&six) })).await;
    agent.next().await;
    for _ in 0..70 {
        agent.say(AgentBody::Profile(ProfileChunk { data: vec![0; 1 << 20], last: false })).await;
    }
    assert!(matches!(agent.end().await.code(), Code::InvalidArgument | Code::DeadlineExceeded));
    operator.end().await;
}

#[tokio::test]
async fn hostile_floods_end_the_stream() {
    let operator = start().await;
    let six = profile(Fixture::Six);
    let (mut agent, _) = Agent::join(&operator, "a", &six).await;
    for i in 0..500 {
        agent.count("one", i).await;
    }
    assert_eq!(agent.end().await.code(), Code::ResourceExhausted);
    // Streams: more than an agent with its growing waits ever opens.
    let mut refused = 0;
    for _ in 0..150 {
        let mut agent = Agent::open(&operator, "a").await.expect("a stream");
        agent.say(AgentBody::Hello(hello(&six))).await;
        let first =
            tokio::time::timeout(Duration::from_millis(2000), agent.try_next()).await.expect("an answer");
        refused += usize::from(first.is_err_and(|status| status.code() == Code::ResourceExhausted));
    }
    assert!(refused >= 50, "{refused}");
    others_are_served(&operator).await;
    operator.end().await;
}

#[tokio::test]
async fn hostile_fetches_are_refused() {
    let operator = start().await;
    let (mut agent, desired) = Agent::join(&operator, "a", &profile(Fixture::Six)).await;
    assert_eq!(agent.fetch(&[1; 32]).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(agent.fetch(&[1; 3]).await.unwrap_err().code(), Code::InvalidArgument);
    // A node that has not been sent anything.
    let request =
        with_token(api::fleet::FetchRequest { digest: desired.artefacts[0].clone() }, "agent-of-other");
    assert_eq!(agent.client.fetch(request).await.unwrap_err().code(), Code::NotFound);
    let request = tonic::Request::new(api::fleet::FetchRequest { digest: desired.artefacts[0].clone() });
    assert_eq!(agent.client.fetch(request).await.unwrap_err().code(), Code::Unauthenticated);
    agent.fetch(&desired.artefacts[0]).await.expect("its own");
    operator.end().await;
}

#[tokio::test]
async fn hostile_connections_are_bounded() {
    let few = Limits { connections_per_address: 3, greet_within: Duration::from_millis(500), ..limits() };
    let one = policies([policy("one", "tcp_connect")]);
    let operator = Operator::with(one, nodes(&["a"]), few, std::sync::Arc::new(ByName)).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(tokio::net::TcpStream::connect(operator.address).await.expect("connect"));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(crate::agent::dial(&operator).await.is_err(), "a fourth connection from one address");
    // Those that do not greet are closed, and there is room again.
    tokio::time::sleep(Duration::from_millis(900)).await;
    let (_agent, _) = Agent::join(&operator, "a", &profile(Fixture::Six)).await;
    operator.end().await;
}

#[test]
fn hostile_message_is_really_small_on_the_wire() {
    // What the test above relies on: it passes the limit of bytes, so that it is the count that refuses it.
    let applied = Applied { failures: vec![HookFailure::default(); 500_000], ..Applied::default() };
    let message = AgentMessage { body: Some(AgentBody::Applied(applied)) };
    assert!(message.encoded_len() < api::fleet::MESSAGE_MAX);
}
