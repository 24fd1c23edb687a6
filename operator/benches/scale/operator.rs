//! In: commands on stdin. Out: the operator's work on the fleet with an API server of this process, and on stdout when all
//! nodes run what they should, and how much was written.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use operator::auth::TokenReviews;
use operator::certs::CertStore;
use operator::fleet::{Inputs, Limits, serve};
use operator::metrics::Metrics;
use operator::model::{Fleet, Policies, PolicyVersion, Programming};
use operator::status::writer::Writer;
use operator::watch::Watched;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::POLICIES;
use crate::api::Api;

/// Functions that the fixtures and all kernels have.
const FUNCTIONS: [&str; 12] = [
    "security_file_permission",
    "security_file_open",
    "security_mmap_file",
    "security_path_unlink",
    "security_inode_mkdir",
    "security_socket_connect",
    "security_sb_mount",
    "commit_creds",
    "tcp_connect",
    "tcp_sendmsg",
    "vfs_read",
    "kernel_write",
];

/// Of a TokenReview, as an API server takes it that has other work.
const REVIEW: Duration = Duration::from_millis(10);

/// `FOLDER NODES PORT`.
pub async fn run(arguments: &[String]) -> Result<()> {
    let [folder, nodes, port] = arguments else { anyhow::bail!("operator FOLDER NODES PORT") };
    let (folder, nodes): (PathBuf, usize) = (folder.into(), nodes.parse()?);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).with_context(|| name.to_owned());
    let store = CertStore::new();
    store.set(&read("tls.crt")?, &read("tls.key")?, &read("ca.crt")?)?;
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    println!("port {}", listener.local_addr()?.port());
    let api = Api::new((0..nodes).map(|node| format!("node-{node}")).collect(), REVIEW);
    // The last change before a restart is not forgotten, as the API server would not forget it; nor are the statuses.
    let change = read("change").ok().and_then(|change| change.parse().ok()).unwrap_or(0);
    for index in 0..POLICIES {
        api.store(&name(index), spec(index, change)?);
    }
    if let Ok(statuses) = read("statuses") {
        api.restore(serde_json::from_str(&statuses)?);
    }
    let (metrics, tasks, stop) = (Metrics::default(), TaskTracker::new(), CancellationToken::new());
    let client = api.client();
    let watched = Watched::start(&client, &metrics, &tasks, &stop);
    watched.synced().await;
    let reviews = TokenReviews::new(client.clone(), api::fleet::AUDIENCE, "ferragon", "ferragon-agent");
    let (fleet_out, fleet) = watch::channel(Arc::default());
    let inputs = Inputs {
        listener,
        tls: store.server_config(&[b"h2"])?,
        authenticator: Arc::new(reviews),
        policies: watched.policies.clone(),
        nodes: watched.nodes.clone(),
        fleet: fleet_out,
        limits: Limits { connections_per_address: 2 * nodes, ..Limits::default() },
        stop: stop.clone(),
    };
    let serving = tokio::spawn(serve(inputs));
    let writer = Writer::new(client, "ferragon", "scale", watched.clone(), fleet.clone(), metrics);
    tokio::spawn(stop.clone().run_until_cancelled_owned(writer.run()));
    tokio::spawn(report(fleet, watched.policies, nodes));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.strip_prefix("change ") {
            Some(change) => {
                std::fs::write(folder.join("change"), change)?;
                api.store(&name(0), spec(0, change.parse()?)?);
            }
            None => {
                std::fs::write(folder.join("statuses"), serde_json::to_string(&api.statuses())?)?;
                // The statuses of the other policies change only by what is counted.
                let of_change =
                    |path: &str| !path.ends_with("/status") || path.ends_with("/policy-00/status");
                let change = api.writes_to(of_change);
                println!("change {change} counters {} reviews {}", api.writes() - change, api.reviews());
            }
        }
    }
    stop.cancel();
    Ok(serving.await??)
}

/// Says once for each change of the policies that all nodes run it.
async fn report(
    mut fleet: watch::Receiver<Arc<Fleet>>,
    mut policies: watch::Receiver<Policies>,
    nodes: usize,
) {
    let mut said = false;
    while fleet.changed().await.is_ok() {
        said &= !policies.has_changed().unwrap_or(false);
        let wanted = policies.borrow_and_update().clone();
        let all = fleet.borrow_and_update().clone();
        let runs = |(key, version): (&policy_compiler::typed::PolicyKey, &Arc<PolicyVersion>),
                    node: &operator::model::NodeState| {
            let found = node.policies.get(key);
            found.is_some_and(|found| {
                found.digest == version.digest && matches!(found.state, Programming::Programmed { .. })
            })
        };
        let programmed = |node: &operator::model::NodeState| {
            node.connected && wanted.iter().all(|policy| runs(policy, node))
        };
        if !said && all.nodes.len() == nodes && all.nodes.values().all(|node| programmed(node)) {
            said = true;
            println!("programmed");
        }
    }
}

fn name(index: usize) -> String {
    format!("policy-{index:02}")
}

/// The first policy is the one that changes.
fn spec(index: usize, change: u64) -> Result<serde_json::Value> {
    let function = FUNCTIONS.get(index % FUNCTIONS.len()).context("a function")?;
    let message = format!("change-{}", if index == 0 { change } else { 0 });
    Ok(serde_json::json!({"kprobes": [{"call": function, "syscall": false, "message": message}]}))
}
