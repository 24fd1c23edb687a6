//! In: agents and operators that come and go. Out: whether nothing is sent needlessly, and nothing is forgotten.

use std::time::Duration;

use operator::fleet::Limits;
use operator::model::Programming;

use crate::agent::{Agent, hello};
use crate::operator::{ByName, Operator, limits, node, state};
use crate::policies::{Fixture, key, nodes, policies, policy, profile};

#[tokio::test]
async fn distribute_reconnect_same_set() {
    let operator = Operator::start(policies([policy("one", "tcp_connect")]), nodes(&["a"])).await;
    let six = profile(Fixture::Six);
    let (mut agent, desired) = Agent::join(&operator, "a", &six).await;
    agent.ack(&desired).await;
    operator.until_programmed("a", "one").await;
    drop(agent);
    let fleet =
        operator.until("it is gone", |fleet| node(fleet, "a").is_some_and(|node| !node.connected)).await;
    assert!(matches!(state(&fleet, "a", "one"), Some(Programming::Programmed { .. })), "it enforces on");

    let mut greeting = hello(&six);
    (greeting.generation, greeting.set_digest) = (desired.generation, desired.set_digest().to_vec());
    let (mut agent, again) = Agent::join_with(&operator, "a", &six, greeting.clone()).await;
    assert_eq!(again, desired);
    let fleet =
        operator.until("it is back", |fleet| node(fleet, "a").is_some_and(|node| node.connected)).await;
    assert!(matches!(state(&fleet, "a", "one"), Some(Programming::Programmed { .. })), "nothing has changed");
    agent.ack(&again).await;
    agent.quiet().await;

    // A change while it is away.
    drop(agent);
    operator.until("it is gone", |fleet| node(fleet, "a").is_some_and(|node| !node.connected)).await;
    operator.policies.send_replace(policies([policy("two", "vfs_read")]));
    operator.until("two is pending", |fleet| state(fleet, "a", "two") == Some(&Programming::Pending)).await;
    let (mut agent, next) = Agent::join_with(&operator, "a", &six, greeting).await;
    assert!(next.generation > desired.generation && next.artefacts != desired.artefacts);
    agent.ack(&next).await;
    operator.until_programmed("a", "two").await;
    operator.end().await;
}

#[tokio::test]
async fn distribute_operator_restart_mid_rollout() {
    let six = profile(Fixture::Six);
    let before = Operator::start(policies([policy("one", "tcp_connect")]), nodes(&["a", "b"])).await;
    let (mut a, first) = Agent::join(&before, "a", &six).await;
    let (mut b, _) = Agent::join(&before, "b", &six).await;
    a.ack(&first).await;
    before.until_programmed("a", "one").await;
    let changed = || policies([policy("one", "tcp_connect"), policy("two", "vfs_read")]);
    before.policies.send_replace(changed());
    let second = a.desired().await;
    a.ack(&second).await;
    before.until_programmed("a", "two").await;
    // `a` runs the new set, `b` nothing yet; the leader ends.
    before.stop.cancel();
    assert_eq!(a.end().await.code(), tonic::Code::Unavailable);
    assert_eq!(b.end().await.code(), tonic::Code::Unavailable);
    before.end().await;

    let after = Operator::start(changed(), nodes(&["a", "b"])).await;
    let mut greeting = hello(&six);
    (greeting.generation, greeting.set_digest) = (second.generation, second.set_digest().to_vec());
    let (mut a, again) = Agent::join_with(&after, "a", &six, greeting).await;
    assert_eq!(again, second, "the same programs have the same digests, so the set keeps its generation");
    let (mut b, for_b) = Agent::join(&after, "b", &six).await;
    assert_eq!(for_b.artefacts, second.artefacts);
    a.ack(&again).await;
    b.ack(&for_b).await;
    after.until_programmed("a", "two").await;
    after.until_programmed("b", "two").await;
    after.end().await;
}

#[tokio::test]
async fn distribute_a_newer_stream_replaces_the_older() {
    let operator = Operator::start(policies([policy("one", "tcp_connect")]), nodes(&["a"])).await;
    let six = profile(Fixture::Six);
    let (mut old, _) = Agent::join(&operator, "a", &six).await;
    let (mut new, desired) = Agent::join(&operator, "a", &six).await;
    assert_eq!(old.end().await.code(), tonic::Code::Aborted);
    new.ack(&desired).await;
    let fleet = operator.until_programmed("a", "one").await;
    assert!(node(&fleet, "a").unwrap().connected, "the end of the old one says nothing of the new one");
    operator.end().await;
}

#[tokio::test]
async fn distribute_a_node_that_is_gone_is_forgotten_after_a_while() {
    let short = Limits { forget_after: Duration::from_millis(300), ..limits() };
    let one = policies([policy("one", "tcp_connect")]);
    let operator = Operator::with(one, nodes(&["a"]), short, std::sync::Arc::new(ByName)).await;
    let six = profile(Fixture::Six);
    let (agent, _) = Agent::join(&operator, "a", &six).await;
    operator.until("it is there", |fleet| fleet.kernels.len() == 1 && fleet.nodes.len() == 1).await;
    drop(agent);
    operator.until("it is gone", |fleet| node(fleet, "a").is_some_and(|node| !node.connected)).await;
    operator.until("it is forgotten", |fleet| fleet.nodes.is_empty()).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    // So is its kernel: the next node is asked for it.
    let mut agent = Agent::open(&operator, "b").await.expect("a stream");
    agent.say(api::fleet::AgentBody::Hello(hello(&six))).await;
    assert!(matches!(agent.next().await, api::fleet::OperatorBody::ProfileRequest(_)));
    operator.end().await;
}

#[tokio::test]
async fn distribute_counters_add_up() {
    let operator = Operator::start(policies([policy("one", "tcp_connect")]), nodes(&["a", "b"])).await;
    let six = profile(Fixture::Six);
    let (mut a, _) = Agent::join(&operator, "a", &six).await;
    let (mut b, _) = Agent::join(&operator, "b", &six).await;
    a.count("one", 5).await;
    b.count("one", 7).await;
    b.count("unknown", 100).await;
    let sum = |fleet: &operator::model::Fleet| fleet.counters.get(&key("one")).map(|values| values[0]);
    operator.until("5 + 7", |fleet| sum(fleet) == Some(12)).await;
    drop(a);
    operator.until("it is gone", |fleet| node(fleet, "a").is_some_and(|node| !node.connected)).await;
    // The agent has started again.
    let (mut a, _) = Agent::join(&operator, "a", &six).await;
    a.count("one", 2).await;
    let fleet = operator.until("5 + 7 + 2", |fleet| sum(fleet) == Some(14)).await;
    assert_eq!(fleet.counters.len(), 1, "policies that do not exist are not counted");
    operator.policies.send_replace(policies([]));
    operator.until("the policy is deleted", |fleet| fleet.counters.is_empty()).await;
    operator.end().await;
}

#[tokio::test]
async fn distribute_certificates_rotate_without_a_restart() {
    let mut operator = Operator::start(policies([policy("one", "tcp_connect")]), nodes(&["a", "b"])).await;
    let six = profile(Fixture::Six);
    let (mut before, _) = Agent::join(&operator, "a", &six).await;
    let old = operator.ca.clone();
    operator.rotate();
    let (_after, _) = Agent::join(&operator, "b", &six).await;
    // Streams that are open stay open.
    operator.policies.send_replace(policies([policy("two", "vfs_read")]));
    before.desired().await;
    operator.ca = old;
    assert!(
        crate::agent::dial(&operator).await.is_err(),
        "the old authority does not vouch for the new certificate"
    );
    operator.end().await;
}
