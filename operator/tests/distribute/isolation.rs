//! In: nodes that refuse what they are sent. Out: whether one bad policy harms no other, and what is said of it.

use std::collections::BTreeSet;
use std::time::Duration;

use api::fleet::{AgentBody, Applied, Desired, Refusal};
use operator::fleet::Limits;
use operator::model::Programming;

use crate::agent::{Agent, failure, hello};
use crate::operator::{ByName, Operator, limits, node, state};
use crate::policies::{Fixture, nodes, policies, policy, policy_with_message, profile};

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The artefact of a set that has this policy in it.
async fn artefact_with(agent: &mut Agent, desired: &Desired, policy: &str) -> Vec<u8> {
    for (digest, artefact) in desired.artefacts.iter().zip(agent.fetch_all(desired).await) {
        if artefact.hooks.iter().any(|hook| hook.policy_name == policy) {
            return digest.clone();
        }
    }
    panic!("{policy} is in no artefact")
}

fn failed(state: Option<&Programming>) -> Option<(String, bool)> {
    match state {
        Some(Programming::Failed { message, kept }) => Some((message.clone(), *kept)),
        _ => None,
    }
}

#[tokio::test]
async fn distribute_nack_isolates_the_policy() {
    // Both on one hook, so in one program.
    let both = [policy("bad", "tcp_connect"), policy("good", "tcp_connect")];
    let operator = Operator::start(policies(both), nodes(&["a"])).await;
    let six = profile(Fixture::Six);
    let (mut agent, desired) = Agent::join(&operator, "a", &six).await;
    let digest = artefact_with(&mut agent, &desired, "bad").await;
    let path = Some("bad: spec.kprobes[0].selectors[0]");
    agent.answer(&desired, vec![failure(&digest, path, false)]).await;
    let without = agent.desired().await;
    assert!(without.generation > desired.generation);
    assert_eq!(agent.policies_of(&without).await, names(&["good"]));
    agent.ack(&without).await;
    let fleet = operator.until_programmed("a", "good").await;
    let (message, kept) = failed(state(&fleet, "a", "bad")).expect("bad has failed");
    for part in
        ["fentry:function", "spec.kprobes[0].selectors[0]", "loading", "errno 22", "the verifier says no"]
    {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert!(!kept);
    // Another policy changes: the bad one stays out.
    operator.policies.send_replace(policies([
        policy("bad", "tcp_connect"),
        policy_with_message("good", "tcp_connect", "new"),
    ]));
    let next = agent.desired().await;
    assert_eq!(agent.policies_of(&next).await, names(&["good"]));
    agent.ack(&next).await;
    // The bad one changes: it is tried again.
    operator.policies.send_replace(policies([
        policy_with_message("bad", "tcp_connect", "mended"),
        policy_with_message("good", "tcp_connect", "new"),
    ]));
    let mended = agent.desired().await;
    assert_eq!(agent.policies_of(&mended).await, names(&["bad", "good"]));
    agent.ack(&mended).await;
    operator.until_programmed("a", "bad").await;
    operator.end().await;
}

#[tokio::test]
async fn distribute_nack_keeps_the_version_before() {
    let two = [policy("edited", "tcp_connect"), policy("other", "vfs_read")];
    let operator = Operator::start(policies(two), nodes(&["a"])).await;
    let six = profile(Fixture::Six);
    let (mut agent, first) = Agent::join(&operator, "a", &six).await;
    agent.ack(&first).await;
    operator.until_programmed("a", "edited").await;
    operator.policies.send_replace(policies([
        policy_with_message("edited", "tcp_connect", "worse"),
        policy_with_message("other", "vfs_read", "new"),
    ]));
    let second = agent.desired().await;
    let digest = artefact_with(&mut agent, &second, "edited").await;
    agent.answer(&second, vec![failure(&digest, Some("edited: spec.kprobes[0]"), true)]).await;
    let third = agent.desired().await;
    // The old program of `edited`, the new one of `other`.
    let old = first.artefacts.iter().filter(|digest| third.artefacts.contains(digest)).count();
    let new = second.artefacts.iter().filter(|digest| third.artefacts.contains(digest)).count();
    assert_eq!((old, new, third.artefacts.len()), (1, 1, 2));
    agent.ack(&third).await;
    let fleet = operator.until_answered("a", &third).await;
    assert!(matches!(state(&fleet, "a", "other"), Some(Programming::Programmed { .. })));
    assert!(
        failed(state(&fleet, "a", "edited")).expect("edited has failed").1,
        "the version before stays in force"
    );
    // Its kernel's verdict is still that of the version that should run.
    let kernel = fleet.kernels.values().next().expect("a kernel");
    let key = crate::policies::key("edited");
    assert_eq!(
        Some(kernel.verdicts[&key].0),
        fleet.nodes["a"].policies.get(&key).map(|policy| policy.digest)
    );
    operator.end().await;
}

#[tokio::test]
async fn distribute_nack_without_a_path_blames_what_is_new() {
    let operator = Operator::start(policies([policy("old", "tcp_connect")]), nodes(&["a"])).await;
    let six = profile(Fixture::Six);
    let (mut agent, first) = Agent::join(&operator, "a", &six).await;
    agent.ack(&first).await;
    operator.until_programmed("a", "old").await;
    let more = [policy("old", "tcp_connect"), policy("new", "tcp_connect"), policy("aside", "vfs_read")];
    operator.policies.send_replace(policies(more));
    let second = agent.desired().await;
    let digest = artefact_with(&mut agent, &second, "new").await;
    // Even if the instruction is one of `old`: it worked before `new` came.
    agent.answer(&second, vec![failure(&digest, Some("old: spec.kprobes[0]"), true)]).await;
    let third = agent.desired().await;
    assert_eq!(agent.policies_of(&third).await, names(&["old", "aside"]));
    assert!(third.artefacts.contains(&first.artefacts[0]));
    agent.ack(&third).await;
    let fleet = operator.until_answered("a", &third).await;
    assert!(matches!(state(&fleet, "a", "aside"), Some(Programming::Programmed { .. })));
    assert!(matches!(state(&fleet, "a", "old"), Some(Programming::Programmed { .. })));
    assert_eq!(failed(state(&fleet, "a", "new")).map(|(_, kept)| kept), Some(false));
    operator.end().await;
}

#[tokio::test]
async fn distribute_a_refused_policy_is_tried_again() {
    let retry = Limits { retry_after: Duration::from_millis(300), ..limits() };
    let two = policies([policy("bad", "tcp_connect"), policy("good", "vfs_read")]);
    let operator = Operator::with(two, nodes(&["a"]), retry, std::sync::Arc::new(ByName)).await;
    let six = profile(Fixture::Six);
    let (mut agent, first) = Agent::join(&operator, "a", &six).await;
    let digest = artefact_with(&mut agent, &first, "bad").await;
    agent.answer(&first, vec![failure(&digest, None, false)]).await;
    let second = agent.desired().await;
    assert_eq!(agent.policies_of(&second).await, names(&["good"]));
    agent.ack(&second).await;
    let third = agent.desired().await;
    assert_eq!(third.artefacts, first.artefacts);
    assert!(third.generation > second.generation);
    agent.ack(&third).await;
    operator.until_programmed("a", "bad").await;
    operator.end().await;
}

#[tokio::test]
async fn distribute_restarted_operator_takes_nothing_from_a_node_that_keeps_an_older_version() {
    // The node runs an earlier version, which this operator has never seen; it refuses the new one and keeps the old.
    let retry = Limits { retry_after: Duration::from_millis(400), ..limits() };
    let one = policies([policy("edited", "tcp_connect")]);
    let operator = Operator::with(one, nodes(&["a"]), retry, std::sync::Arc::new(ByName)).await;
    let six = profile(Fixture::Six);
    let mut greeting = hello(&six);
    (greeting.generation, greeting.set_digest) = (7, vec![7; 32]);
    let (mut agent, desired) = Agent::join_with(&operator, "a", &six, greeting).await;
    agent.answer(&desired, vec![failure(&desired.artefacts[0], Some("edited: spec.kprobes[0]"), true)]).await;
    let failed_and_kept =
        |fleet: &operator::model::Fleet| failed(state(fleet, "a", "edited")).is_some_and(|(_, kept)| kept);
    let fleet = operator.until("failed, but kept", failed_and_kept).await;
    assert_eq!(node(&fleet, "a").unwrap().failing_hooks, ["fentry:function"]);
    // No set without it comes; only the same again after a while.
    let again = agent.desired().await;
    assert_eq!(again.artefacts, desired.artefacts);
    assert!(again.generation > desired.generation);
    agent.answer(&again, vec![failure(&again.artefacts[0], Some("edited: spec.kprobes[0]"), true)]).await;
    let third = agent.desired().await;
    assert_eq!(third.artefacts, desired.artefacts, "also not after the second refusal");
    agent.ack(&third).await;
    operator.until_programmed("a", "edited").await;
    operator.end().await;
}

#[tokio::test]
async fn distribute_a_set_refused_as_a_whole_fails_and_says_why() {
    let operator = Operator::start(policies([policy("one", "tcp_connect")]), nodes(&["a"])).await;
    let six = profile(Fixture::Six);
    let (mut agent, desired) = Agent::join(&operator, "a", &six).await;
    let applied = |refusal: Refusal, text: &str| {
        AgentBody::Applied(Applied {
            generation: desired.generation,
            set_digest: desired.set_digest().to_vec(),
            failures: Vec::new(),
            refusal: refusal as i32,
            refusal_text: text.to_owned(),
        })
    };
    agent.say(applied(Refusal::Unfetched, "the connection broke")).await;
    let fleet = operator.until("failed", |fleet| failed(state(fleet, "a", "one")).is_some()).await;
    assert!(failed(state(&fleet, "a", "one")).unwrap().0.contains("the connection broke"));
    operator.end().await;

    // Not stored, but in force.
    let operator = Operator::start(policies([policy("one", "tcp_connect")]), nodes(&["a"])).await;
    let (mut agent, desired) = Agent::join(&operator, "a", &six).await;
    let set_digest = desired.set_digest().to_vec();
    let refusal = Refusal::NotStored as i32;
    let stored = Applied { generation: desired.generation, set_digest, refusal, ..Applied::default() };
    agent.say(AgentBody::Applied(stored)).await;
    operator.until_programmed("a", "one").await;
    // It runs a newer one than it was sent: it is asked to say hello again.
    operator.policies.send_replace(policies([policy("two", "tcp_connect")]));
    let next = agent.desired().await;
    let set_digest = next.set_digest().to_vec();
    let refusal = Refusal::OldGeneration as i32;
    let old = Applied { generation: next.generation, set_digest, refusal, ..Applied::default() };
    agent.say(AgentBody::Applied(old)).await;
    assert_eq!(agent.end().await.code(), tonic::Code::FailedPrecondition);
    let mut greeting = hello(&six);
    (greeting.generation, greeting.set_digest) = (next.generation + 1_000_000_000, vec![1; 32]);
    let above = greeting.generation;
    let (_agent, desired) = Agent::join_with(&operator, "a", &six, greeting).await;
    assert_eq!(desired.generation, above + 1);
    operator.end().await;
}
