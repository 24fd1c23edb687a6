//! In: commands on stdin. Out: the fleet's server, and on stdout when all nodes run what they should.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures::future::BoxFuture;
use operator::auth::{AuthError, Authenticator};
use operator::certs::CertStore;
use operator::fleet::{Inputs, Limits, serve};
use operator::model::{Fleet, NodeName, Policies, PolicyDigest, PolicyVersion, Programming};
use policy_compiler::check::check_yaml;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::POLICIES;

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

struct ByName;

impl Authenticator for ByName {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<NodeName, AuthError>> {
        let node = token.strip_prefix("agent-of-").map(Into::into);
        Box::pin(async move { node.ok_or(AuthError::Malformed) })
    }
}

/// `FOLDER NODES PORT`.
pub async fn run(arguments: &[String]) -> Result<()> {
    let [folder, nodes, port] = arguments else { anyhow::bail!("operator FOLDER NODES PORT") };
    let (folder, nodes): (PathBuf, usize) = (folder.into(), nodes.parse()?);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).with_context(|| name.to_owned());
    let store = CertStore::new();
    store.set(&read("tls.crt")?, &read("tls.key")?, &read("ca.crt")?)?;
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    println!("port {}", listener.local_addr()?.port());
    // The last change before a restart is not forgotten, as the API server would not forget it.
    let change = read("change").ok().and_then(|change| change.parse().ok()).unwrap_or(0);
    let (policies, policies_in) = watch::channel(policies(change)?);
    let names = (0..nodes).map(|node| (format!("node-{node}").into(), Default::default()));
    let (_nodes, nodes_in) = watch::channel(Arc::new(names.collect()));
    let (fleet_out, fleet) = watch::channel(Arc::default());
    let stop = CancellationToken::new();
    let inputs = Inputs {
        listener,
        tls: store.server_config(&[b"h2"])?,
        authenticator: Arc::new(ByName),
        policies: policies_in,
        nodes: nodes_in,
        fleet: fleet_out,
        limits: Limits { connections_per_address: 2 * nodes, ..Limits::default() },
        stop: stop.clone(),
    };
    let serving = tokio::spawn(serve(inputs));
    tokio::spawn(report(fleet, policies.subscribe(), nodes));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let change = line.strip_prefix("change ").context("change N")?;
        std::fs::write(folder.join("change"), change)?;
        policies.send_replace(self::policies(change.parse()?)?);
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

fn policies(change: u64) -> Result<Policies> {
    let version = |index: usize| {
        let function = FUNCTIONS.get(index % FUNCTIONS.len()).context("a function")?;
        // The first policy is the one that changes.
        let message = if index == 0 { change } else { 0 };
        let yaml = format!(
            "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: policy-{index:02}}}\nspec:\n  kprobes:\n  - {{call: {function}, syscall: false, message: change-{message}}}\n"
        );
        let checked = check_yaml(&yaml).into_iter().next().context("a document")?;
        let key = checked.key.context("a key")?;
        let version = PolicyVersion {
            key: key.clone(),
            uid: String::new(),
            generation: 1,
            policy: Some(Arc::new(checked.policy.with_context(|| format!("{:?}", checked.diagnostics))?)),
            diagnostics: Vec::new(),
            digest: PolicyDigest(Sha256::digest(&yaml).into()),
            node_selector: None,
        };
        Ok((key, Arc::new(version)))
    };
    Ok(Arc::new((0..POLICIES).map(version).collect::<Result<_>>()?))
}
