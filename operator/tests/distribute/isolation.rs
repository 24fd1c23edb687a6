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
    // The node runs all that it was sent, and still is not told as good.
    let failing = &node(&fleet, "a").unwrap().failing_hooks;
    assert!(failing.len() == 1 && failing[0].starts_with("bad: fentry:function"), "{failing:?}");
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
    let failing = &node(&fleet, "a").unwrap().failing_hooks;
    assert!(failing.len() == 1 && failing[0].starts_with("edited: fentry:function"), "{failing:?}");
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

#[tokio::test]
async fn distribute_nack_without_a_path_finds_the_bad_one_of_many() {
    let all: Vec<String> = (0..8).map(|at| format!("p{at}")).collect();
    let eight = all.iter().map(|name| policy(name, "tcp_connect"));
    let operator = Operator::start(policies(eight), nodes(&["a"])).await;
    let six = profile(Fixture::Six);
    let (mut agent, mut desired) = Agent::join(&operator, "a", &six).await;
    let mut answers = 0;
    // All on one hook; the kernel refuses every program that has `p5` in it, and does not say why.
    let runs = loop {
        answers += 1;
        assert!(answers <= 12, "it goes on and on");
        let runs = agent.policies_of(&desired).await;
        if runs.contains("p5") {
            agent.answer(&desired, vec![failure(&desired.artefacts[0], None, false)]).await;
        } else {
            agent.ack(&desired).await;
            let fleet = operator.until_answered("a", &desired).await;
            let good =
                |name: &&String| matches!(state(&fleet, "a", name), Some(Programming::Programmed { .. }));
            if all.iter().filter(good).count() == 7 {
                assert!(failed(state(&fleet, "a", "p5")).is_some(), "{:?}", state(&fleet, "a", "p5"));
                break runs;
            }
        }
        desired = agent.desired().await;
    };
    assert_eq!(runs.len(), 7);
    agent.quiet().await;
    operator.end().await;
}

#[tokio::test]
async fn distribute_what_does_not_change_stays_programmed() {
    let fifty = |edit: &str| {
        let functions = ["tcp_connect", "vfs_read"];
        policies((0..50).map(|at| match at {
            7 => policy_with_message("p07", "tcp_connect", edit),
            at => policy(&format!("p{at:02}"), functions[at % 2]),
        }))
    };
    let programmed = |fleet: &operator::model::Fleet| {
        // The node may not have been told of yet.
        let policies = node(fleet, "a").into_iter().flat_map(|node| node.policies.values());
        policies.filter(|on| matches!(on.state, Programming::Programmed { hooks: 1 })).count()
    };
    let operator = Operator::start(fifty("one"), nodes(&["a"])).await;
    let six = profile(Fixture::Six);
    let (mut agent, first) = Agent::join(&operator, "a", &six).await;
    agent.ack(&first).await;
    operator.until("all run", |fleet| programmed(fleet) == 50).await;

    // Sent and not answered: only the edited one is on its way, at each moment.
    operator.policies.send_replace(fifty("two"));
    let second = agent.desired().await;
    let fleet = operator.until("p07 is pending", |fleet| programmed(fleet) < 50).await;
    assert_eq!((programmed(&fleet), state(&fleet, "a", "p07")), (49, Some(&Programming::Pending)));
    // Refused as a whole: the others run on.
    agent
        .say(AgentBody::Applied(Applied {
            generation: second.generation,
            set_digest: second.set_digest().to_vec(),
            refusal: Refusal::Unfetched as i32,
            refusal_text: "the connection broke".to_owned(),
            ..Applied::default()
        }))
        .await;
    let fleet = operator.until("p07 has failed", |fleet| failed(state(fleet, "a", "p07")).is_some()).await;
    assert_eq!(programmed(&fleet), 49);
    assert_eq!(node(&fleet, "a").unwrap().failing_hooks.len(), 1);

    // A node that comes back with the set before still runs it; one that has lost it does not.
    drop(agent);
    let mut greeting = hello(&six);
    (greeting.generation, greeting.set_digest) = (first.generation, first.set_digest().to_vec());
    let (agent, _) = Agent::join_with(&operator, "a", &six, greeting).await;
    operator.until("p07 is pending", |fleet| state(fleet, "a", "p07") == Some(&Programming::Pending)).await;
    assert_eq!(programmed(&operator.fleet.borrow()), 49);
    drop(agent);
    let (mut agent, third) = Agent::join(&operator, "a", &six).await;
    operator.until("all are pending", |fleet| programmed(fleet) == 0).await;
    agent.ack(&third).await;
    operator.until("all run", |fleet| programmed(fleet) == 50).await;
    operator.end().await;
}
