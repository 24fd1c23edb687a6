//! In: a change of one policy of many, on nodes that answer. Out: how much of it is written to the API server.

use std::sync::Arc;
use std::time::Duration;

use operator::auth::TokenReviews;
use operator::metrics::Metrics;
use operator::status::writer::Writer;
use operator::watch::Watched;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent::Agent;
use crate::api::Api;
use crate::operator::{ByName, Operator, limits};
use crate::policies::{Fixture, profile};

fn spec(at: usize, message: &str) -> Value {
    let function = ["tcp_connect", "vfs_read"][at % 2];
    json!({"kprobes": [{"call": function, "syscall": false, "message": message}]})
}

fn ready(api: &Api) -> usize {
    let is = |at: &usize| {
        let status = api.status(&format!("p{at:02}"));
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True")
    };
    (0..50).filter(is).count()
}

async fn until_ready(api: &Api) {
    for _ in 0..300 {
        if ready(api) == 50 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{} of 50 are ready; p07 is {:#}", ready(api), api.status("p07"));
}

/// The operator, all but the parts for which it needs a Lease.
async fn start(api: &Api, stop: &CancellationToken) -> Operator {
    let client = api.client();
    let (metrics, tasks) = (Metrics::default(), TaskTracker::new());
    let watched = Watched::start(&client, &metrics, &tasks, stop);
    tokio::time::timeout(Duration::from_secs(10), watched.synced()).await.expect("the watches");
    let operator =
        Operator::watching(watched.policies.clone(), watched.nodes.clone(), limits(), Arc::new(ByName)).await;
    let writer = Writer::new(client, "ferragon", "test", watched, operator.fleet.clone(), metrics)
        .with_warm_up(Duration::ZERO);
    let stop = stop.clone();
    tokio::spawn(async move { stop.run_until_cancelled(writer.run()).await });
    operator
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn distribute_one_edit_of_fifty_costs_few_writes() {
    let api = Api::new(vec!["a".to_owned()], Duration::ZERO);
    (0..50).for_each(|at| api.store(&format!("p{at:02}"), spec(at, "one")));
    let stop = CancellationToken::new();
    let operator = start(&api, &stop).await;
    let six = profile(Fixture::Six);
    let (mut agent, first) = Agent::join(&operator, "a", &six).await;
    agent.ack(&first).await;
    until_ready(&api).await;
    tokio::time::sleep(Duration::from_secs(2)).await;

    let before = api.writes();
    api.store("p07", spec(7, "two"));
    let second = agent.desired().await;
    // Long enough for every policy's status to be written, if it were told as pending.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(ready(&api), 49);
    agent.ack(&second).await;
    until_ready(&api).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let writes = api.writes() - before;
    // Two statuses, an Event, and the list of nodes.
    assert!((3..=8).contains(&writes), "{writes}");
    stop.cancel();
    operator.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auth_many_agents_at_once_take_turns() {
    // More than are reviewed at a time.
    let names: Vec<String> = (0..40).map(|at| format!("node-{at}")).collect();
    let api = Api::new(names.clone(), Duration::from_millis(200));
    let reviews = TokenReviews::new(api.client(), api::fleet::AUDIENCE, "ferragon", "ferragon-agent");
    let none = crate::policies::policies([]);
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let operator = Operator::with(none, crate::policies::nodes(&known), limits(), Arc::new(reviews)).await;
    let tokens: Vec<String> = names.iter().map(|name| crate::api::token(name)).collect();
    let open = || tokens.iter().map(|token| Agent::open_as(&operator, token));
    let agents = futures::future::join_all(open()).await;
    assert!(agents.iter().all(Result::is_ok));
    // Dialling again within a minute asks nobody.
    let again = futures::future::join_all(open()).await;
    assert!(again.iter().all(Result::is_ok));
    assert_eq!(api.reviews(), 40);
    assert_eq!(api.writes(), 0);
    operator.end().await;
}
