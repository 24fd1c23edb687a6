//! Input: a folder.
//! Output: what is known of the cluster that has its files there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use e2e::{Program, cache};

use super::network::Network;
use super::node::Node;
use crate::vm::Kernel;

/// The nodes' kernels, one a line; there while the cluster is up.
const NODES: &str = "nodes";

/// The folder of a cluster.
pub struct State {
    folder: PathBuf,
}

impl State {
    /// Creates the folder if there is none.
    pub fn open(folder: &Path) -> Result<Self> {
        let tell = || format!("creating {}", folder.display());
        fs::create_dir_all(folder).with_context(tell)?;
        Ok(State { folder: folder.canonicalize().with_context(tell)? })
    }

    /// Held while a cluster is started or ended.
    pub fn lock(&self) -> Result<File> {
        let tell = || format!("locking {}", self.folder.display());
        let lock = File::create(self.folder.join("lock")).with_context(tell)?;
        if lock.try_lock().is_err() {
            eprintln!("cluster: waiting for another up or down of {} …", self.folder.display());
            lock.lock().with_context(tell)?;
        }
        Ok(lock)
    }

    /// The cluster's own network: its name comes from the folder, so that clusters do not meet.
    pub fn network(&self) -> Network {
        let digest = cache::digest([self.folder.as_os_str().as_encoded_bytes()]);
        Network::named(format!("ferragon-{digest}"))
    }

    /// Of the control plane: credentials, data, logs.
    pub fn plane(&self) -> PathBuf {
        self.folder.join("plane")
    }

    /// A file, or the folder of a node.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// One file per process, with its id.
    pub fn processes(&self) -> PathBuf {
        self.folder.join("processes")
    }

    /// The kernels of the cluster that is up; none if none is.
    pub fn nodes(&self) -> Result<Vec<Node>> {
        let text = fs::read_to_string(self.folder.join(NODES)).unwrap_or_default();
        let kernels = text.lines().map(|line| {
            Kernel::from_str(line, false)
                .map_err(|_| anyhow::anyhow!("{line:?} is no kernel: run down, and up"))
        });
        Ok(Node::all(&kernels.collect::<Result<Vec<_>>>()?))
    }

    /// Says that the cluster is up; no kernels: that it is not.
    pub fn set_nodes(&self, kernels: &[Kernel]) -> Result<()> {
        let text: String = kernels.iter().map(|kernel| format!("{}\n", kernel.series())).collect();
        fs::write(self.folder.join(NODES), text).with_context(|| format!("writing {}", self.folder.display()))
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> Result<Node> {
        let nodes = self.nodes()?;
        let names: Vec<String> = nodes.iter().map(Node::name).collect();
        if names.is_empty() {
            bail!("no cluster is up in {}: cargo xtask cluster up", self.folder.display());
        }
        let found = nodes.into_iter().find(|node| node.name() == name);
        found.with_context(|| format!("there is no {name}, but {}", names.join(", ")))
    }

    /// kubectl or helm, in the cluster's network, as someone who may do everything.
    pub fn client(&self, program: Program) -> Result<Command> {
        if self.nodes()?.is_empty() {
            bail!("no cluster is up in {}: cargo xtask cluster up", self.folder.display());
        }
        self.early_client(program)
    }

    /// A program that reads $KUBECONFIG, in the cluster's network, as someone who may do everything.
    pub fn ferra(&self, path: &Path) -> Result<Command> {
        if self.nodes()?.is_empty() {
            bail!("no cluster is up in {}: cargo xtask cluster up", self.folder.display());
        }
        let mut command = self.network().command(path);
        command.env("KUBECONFIG", self.plane().join("admin.kubeconfig"));
        Ok(command)
    }

    /// The same while the cluster is being started.
    pub fn early_client(&self, program: Program) -> Result<Command> {
        let mut command = self.network().command(e2e::binaries()?.path(program));
        command.arg("--kubeconfig").arg(self.plane().join("admin.kubeconfig"));
        command.env("KUBECACHEDIR", self.folder.join("kubectl-cache"));
        Ok(command)
    }
}
