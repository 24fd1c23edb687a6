//! In: changes of policies and labels. Out: whether the right nodes get the right sets, once.

use std::collections::BTreeSet;
use std::time::Duration;

use api::fleet::OperatorBody;
use operator::model::Programming;
use policy_compiler::diagnostic::Code;

use crate::agent::{Agent, hello};
use crate::operator::{Operator, node, state};
use crate::policies::{
    Fixture, for_nodes_with, key, labelled, nodes, policies, policy, policy_with_message, profile,
};

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn distribute_ack() {
    let operator = Operator::start(policies([policy("one", "tcp_connect")]), nodes(&["a"])).await;
    let six = profile(Fixture::Six);
    let (mut agent, desired) = Agent::join(&operator, "a", &six).await;
    assert_eq!(agent.policies_of(&desired).await, names(&["one"]));
    let fleet = operator.until("the node is known", |fleet| node(fleet, "a").is_some()).await;
    assert_eq!(state(&fleet, "a", "one"), Some(&Programming::Pending));
    agent.ack(&desired).await;
    let fleet = operator.until_programmed("a", "one").await;
    assert_eq!(state(&fleet, "a", "one"), Some(&Programming::Programmed { hooks: 1 }));
    let found = node(&fleet, "a").unwrap();
    assert_eq!(
        (found.desired_generation, found.applied_generation),
        (desired.generation, desired.generation)
    );
    assert!(found.connected && found.failing_hooks.is_empty());
    assert_eq!(fleet.kernels.len(), 1);

    // A change: a higher generation, and what was unchanged has the same digest.
    operator.policies.send_replace(policies([policy("one", "tcp_connect"), policy("two", "vfs_read")]));
    let next = agent.desired().await;
    assert!(next.generation > desired.generation);
    assert!(next.artefacts.contains(&desired.artefacts[0]) && next.artefacts.len() == 2);
    agent.ack(&next).await;
    operator.until_programmed("a", "two").await;
    // The same again is not sent.
    operator.policies.send_replace(policies([policy("one", "tcp_connect"), policy("two", "vfs_read")]));
    agent.quiet().await;
    // Deletion.
    operator.policies.send_replace(policies([]));
    let empty = agent.desired().await;
    assert!(empty.artefacts.is_empty() && empty.generation > next.generation);
    operator.end().await;
}

#[tokio::test]
async fn distribute_two_kernels() {
    let both = [policy("both", "tcp_connect"), policy("seven", "security_file_truncate")];
    let operator = Operator::start(policies(both), nodes(&["a", "b"])).await;
    let (six, seven) = (profile(Fixture::Six), profile(Fixture::Seven));
    let (mut a, for_a) = Agent::join(&operator, "a", &six).await;
    let (mut b, for_b) = Agent::join(&operator, "b", &seven).await;
    assert_eq!(a.policies_of(&for_a).await, names(&["both"]));
    assert_eq!(b.policies_of(&for_b).await, names(&["both", "seven"]));
    a.ack(&for_a).await;
    b.ack(&for_b).await;
    operator.until_programmed("a", "both").await;
    let fleet = operator.until_programmed("b", "seven").await;
    assert_eq!(state(&fleet, "a", "seven"), Some(&Programming::Incompatible));
    let verdict = |release: &str| {
        let kernel = fleet.kernels.values().find(|kernel| kernel.release == release).expect("the kernel");
        kernel.verdicts[&key("seven")].1.clone()
    };
    assert_eq!(verdict("6.1.0-test")[0].code, Code::UnknownFunction);
    assert!(!verdict("7.0.0-test").iter().any(|found| found.is_error()));
    // Nobody gets artefacts of another kernel.
    let foreign = for_b.artefacts.iter().find(|digest| !for_a.artefacts.contains(digest)).expect("one");
    assert_eq!(a.fetch(foreign).await.unwrap_err().code(), tonic::Code::NotFound);
    operator.end().await;
}

#[tokio::test]
async fn distribute_node_selector_follows_labels() {
    let two = [policy("all", "tcp_connect"), for_nodes_with(policy("db", "vfs_read"), "role", "db")];
    let operator = Operator::start(policies(two), labelled(&[("a", &[("role", "web")])])).await;
    let six = profile(Fixture::Six);
    let (mut agent, desired) = Agent::join(&operator, "a", &six).await;
    assert_eq!(agent.policies_of(&desired).await, names(&["all"]));
    let fleet = operator.until("the node is known", |fleet| state(fleet, "a", "all").is_some()).await;
    assert_eq!(state(&fleet, "a", "db"), None);
    operator.nodes.send_replace(labelled(&[("a", &[("role", "db")])]));
    let with = agent.desired().await;
    assert_eq!(agent.policies_of(&with).await, names(&["all", "db"]));
    operator.until("db is pending", |fleet| state(fleet, "a", "db") == Some(&Programming::Pending)).await;
    operator.nodes.send_replace(labelled(&[("a", &[])]));
    let without = agent.desired().await;
    assert_eq!(agent.policies_of(&without).await, names(&["all"]));
    assert_eq!(without.artefacts, desired.artefacts);
    assert!(without.generation > with.generation);
    // A node that is deleted from the cluster has no business here any more.
    operator.nodes.send_replace(labelled(&[]));
    assert_eq!(agent.end().await.code(), tonic::Code::Unauthenticated);
    operator.end().await;
}

/// Which agent is asked for its profile; nothing else comes to any of them.
async fn asked(agents: &mut [Agent]) -> usize {
    let next = agents.iter_mut().map(|agent| Box::pin(agent.next()));
    let (body, index, _) = futures::future::select_all(next).await;
    assert!(matches!(body, OperatorBody::ProfileRequest(_)));
    index
}

#[tokio::test]
async fn distribute_profile_asked_once() {
    let names: Vec<String> = (0..40).map(|i| format!("node-{i}")).collect();
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let operator = Operator::start(policies([policy("one", "tcp_connect")]), nodes(&known)).await;
    let six = profile(Fixture::Six);
    let mut agents = Vec::new();
    for name in &names {
        let mut agent = Agent::open(&operator, name).await.expect("a stream");
        agent.say(api::fleet::AgentBody::Hello(hello(&six))).await;
        agents.push(agent);
    }
    operator.until("all have said hello", |fleet| fleet.nodes.len() == 40).await;
    // Whoever is asked first leaves: another one is asked.
    let first = asked(&mut agents).await;
    drop(agents.remove(first));
    let second = asked(&mut agents).await;
    agents[second].upload(&six).await;
    for agent in &mut agents {
        // `desired` panics if one more is asked.
        let desired = agent.desired().await;
        agent.ack(&desired).await;
    }
    operator
        .until("all run it", |fleet| {
            let runs =
                |name: &&String| matches!(state(fleet, name, "one"), Some(Programming::Programmed { .. }));
            names.iter().filter(runs).count() == 39
        })
        .await;
    // Who comes later is not asked either.
    let mut late = Agent::open(&operator, "late").await.expect("a stream");
    late.say(api::fleet::AgentBody::Hello(hello(&six))).await;
    late.desired().await;
    operator.end().await;
}

#[tokio::test]
async fn distribute_a_slow_reader_holds_nobody_up() {
    let operator = Operator::start(policies([policy("one", "tcp_connect")]), nodes(&["slow", "quick"])).await;
    let six = profile(Fixture::Six);
    let (slow, _) = Agent::join(&operator, "slow", &six).await;
    let (mut quick, mut newest) = Agent::join(&operator, "quick", &six).await;
    for i in 0..30 {
        let change = policy_with_message("one", "tcp_connect", &format!("change-{i}"));
        operator.policies.send_replace(policies([change]));
        newest = quick.desired().await;
        quick.ack(&newest).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    operator.until_programmed("quick", "one").await;
    // It gets what counts: the newest comes at the end.
    let mut slow = slow;
    let desired = slow.desired_where(|desired| desired.artefacts == newest.artefacts).await;
    slow.ack(&desired).await;
    operator.until_programmed("slow", "one").await;
    operator.end().await;
}
