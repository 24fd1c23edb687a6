//! Input: kernels and container images.
//! Output: a cluster with a node for each kernel, ready; or an error, and nothing that runs.

use std::fs;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use e2e::Program;
use e2e::parts::{DNS_ROLE, Layout, Part, Ports};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::network::HOST;
use super::node::{self, Node};
use super::process::Process;
use super::state::State;
use super::{debian, down, images};
use crate::vm::{Kernel, Modules};

/// Time for the API server (3 s on a quiet host) and for all nodes (40 s).
const API_READY: Duration = Duration::from_secs(120);
const NODES_READY: Duration = Duration::from_secs(300);
/// How often is looked.
const POLL: Duration = Duration::from_millis(200);

const PORTS: Ports = Ports { etcd: 2379, peer: 2380, api: 6443 };

/// Starts the cluster unless one with the same kernels runs, then puts the images into its nodes.
pub fn up(state: &State, kernels: &[Kernel], images: &[PathBuf]) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("a cluster needs a network of its own, which only root makes: sudo cargo xtask cluster up");
    }
    if kernels.is_empty() || kernels.len() > usize::from(e2e::MAX_NODES) {
        bail!("--nodes: give one to {} kernels", e2e::MAX_NODES);
    }
    let _lock = state.lock()?;
    if runs(state, kernels)? {
        eprintln!("cluster: is up");
    } else {
        down::end(state)?;
        if let Err(error) = start(state, kernels) {
            eprintln!("cluster: ending what was started …");
            down::end(state)?;
            return Err(
                error.context(format!("starting a cluster; its logs are in {}", state.path("").display()))
            );
        }
    }
    for image in images {
        images::load(state, image)?;
    }
    Ok(())
}

/// Whether all processes of a cluster with these kernels run.
fn runs(state: &State, kernels: &[Kernel]) -> Result<bool> {
    let now: Vec<Kernel> = state.nodes()?.iter().map(Node::kernel).collect();
    let processes = Process::all(&state.processes())?;
    Ok(now == kernels && !processes.is_empty() && processes.iter().all(Process::runs))
}

fn start(state: &State, kernels: &[Kernel]) -> Result<()> {
    let binaries = e2e::binaries()?;
    let root = debian::root_image(&binaries)?;
    for kernel in kernels {
        Modules::of(*kernel)?;
    }
    let nodes = Node::all(kernels);
    let starting = Starting::new(state)?;
    state.network().create(&nodes)?;
    let layout = Layout::create(binaries, &state.plane(), HOST, PORTS)?;
    starting.part(&layout.etcd())?;
    starting.part(&layout.api_server())?;
    starting.wait("the API server has made its certificate", API_READY, || Ok(layout.ca().is_file()))?;
    node::make_key(state)?;
    for node in &nodes {
        let folder = state.path(&node.name());
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
        node.start(state, &layout, &root)?;
    }
    starting
        .wait("the API server is ready", API_READY, || starting.asked(&["get", "--raw=/readyz"], "ok"))?;
    starting.say("the API server is ready");
    let role = state.path("dns-role.yaml");
    fs::write(&role, DNS_ROLE).with_context(|| format!("writing {}", role.display()))?;
    let apply = ["apply", "-f", &role.to_string_lossy()].map(str::to_owned);
    starting.kubectl(&apply.each_ref().map(String::as_str))?;
    starting.part(&layout.controller_manager())?;
    starting.part(&layout.scheduler())?;
    starting.part(&layout.dns()?)?;
    for node in &nodes {
        let name = node.name();
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        let ask = ["get", "node", &name, "-o", path];
        starting.wait(&format!("{name} is ready"), NODES_READY, || starting.asked(&ask, "True"))?;
        starting.say(&format!("{name} (kernel {}) is ready", node.kernel().series()));
    }
    let account = ["get", "serviceaccount", "default", "-o", "name"];
    let wanted = "serviceaccount/default\n";
    starting.wait("controllers work", API_READY, || starting.asked(&account, wanted))?;
    starting.uninterrupted()?;
    state.set_nodes(kernels)
}

/// A cluster that is being started.
struct Starting<'a> {
    state: &'a State,
    began: Instant,
    /// Somebody does not want to wait any more.
    interrupted: Arc<AtomicBool>,
}

impl<'a> Starting<'a> {
    fn new(state: &'a State) -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("watching for signals")?;
        }
        Ok(Starting { state, began: Instant::now(), interrupted })
    }

    fn say(&self, what: &str) {
        eprintln!("cluster: {what} ({:.0} s)", self.began.elapsed().as_secs_f32());
    }

    /// Starts a part of the control plane, inside the cluster's network.
    fn part(&self, part: &Part) -> Result<()> {
        let mut command = self.state.network().command(&part.path);
        command.args(&part.arguments);
        let name = part.program.name();
        let log = self.state.plane().join(format!("{name}.log"));
        Process::start(name, &command, &log, &self.state.processes())
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<Output> {
        let mut kubectl = self.state.early_client(Program::Kubectl)?;
        kubectl.args(["--request-timeout=10s"]).args(arguments).stdin(Stdio::null());
        kubectl.output().context("starting kubectl")
    }

    /// Whether kubectl prints what is wanted.
    fn asked(&self, arguments: &[&str], wanted: &str) -> Result<bool> {
        let output = self.kubectl(arguments)?;
        Ok(output.status.success() && output.stdout == wanted.as_bytes())
    }

    /// Waits for a condition while all processes run and nobody interrupts.
    fn wait(&self, what: &str, limit: Duration, met: impl Fn() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !met()? {
            self.uninterrupted()?;
            for process in Process::all(&self.state.processes())? {
                if !process.runs() {
                    bail!("{} ended while we waited until {what}", process.name);
                }
            }
            if Instant::now() >= deadline {
                bail!("waited {} s until {what}", limit.as_secs());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn uninterrupted(&self) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }
}
