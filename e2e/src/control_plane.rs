//! Input: the cluster's binaries.
//! Output: etcd and an API server with RBAC on loopback ports, for tests; gone when dropped.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::binaries::{Program, binaries};
use crate::credentials::User;
use crate::keeper::{Keeper, tail};
use crate::parts::{Layout, Ports};

/// Time to become ready; 3 s where nothing else runs.
const READY: Duration = Duration::from_secs(120);
/// For one call of kubectl.
const CALL: &str = "60";
/// How often is looked.
const POLL: Duration = Duration::from_millis(50);
/// Another process may take a port between our choice and its use.
const TRIES: usize = 3;

/// A running etcd and API server. Everything ends when this is dropped, or with this process, however it ends.
///
/// There is a ServiceAccount `default` in namespace `default`, and no other until the controller-manager runs.
pub struct ControlPlane {
    // Dropped before the folder goes, in which they work.
    keeper: Keeper,
    layout: Layout,
    kubeconfig: PathBuf,
    token: String,
    _folder: Option<TempDir>,
}

impl ControlPlane {
    /// Starts one in a temporary folder; ready when this returns.
    ///
    /// # Errors
    /// The binaries cannot be built, or the programs do not become ready; the error has the end of their logs.
    pub fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("ferragon-plane-").tempdir();
        let folder = folder.context("creating a temporary folder")?;
        let mut plane = Self::start_in(folder.path())?;
        plane._folder = Some(folder);
        Ok(plane)
    }

    /// The same in a folder of the caller, where logs stay.
    ///
    /// # Errors
    /// See [`ControlPlane::start`].
    pub fn start_in(folder: &Path) -> Result<Self> {
        let mut tries = 1;
        loop {
            match Self::try_start(folder) {
                Err(error) if tries < TRIES && format!("{error:#}").contains("address already in use") => {
                    tries += 1;
                }
                done => return done.context("starting a control plane"),
            }
        }
    }

    fn try_start(folder: &Path) -> Result<Self> {
        let layout = Layout::create(binaries()?, folder, Ipv4Addr::LOCALHOST, free_ports()?)?;
        let keeper = Keeper::new(&layout.folder);
        keeper.start(layout.etcd())?;
        keeper.start(layout.api_server())?;
        let plane = ControlPlane {
            kubeconfig: layout.kubeconfig(User::Admin),
            token: layout.token(User::Admin)?.to_owned(),
            keeper,
            layout,
            _folder: None,
        };
        let api = SocketAddr::from((plane.layout.address, plane.layout.ports.api));
        plane.wait("the API server listens", || TcpStream::connect_timeout(&api, POLL).is_ok())?;
        plane.wait("the API server is ready", || plane.succeeds(&["get", "--raw", "/readyz"]))?;
        plane.demand(&["create", "serviceaccount", "default", "-n", "default"])?;
        Ok(plane)
    }

    /// Starts the controller-manager too, so that Deployments, namespaces and ServiceAccounts are acted on. Returns
    /// when namespace `default` has what pods need.
    ///
    /// # Errors
    /// It ended, or did nothing for two minutes.
    pub fn with_controller_manager(self) -> Result<Self> {
        self.keeper.start(self.layout.controller_manager())?;
        let root = ["get", "configmap", "kube-root-ca.crt", "-n", "default"];
        self.wait("the controller-manager works", || self.succeeds(&root))?;
        Ok(self)
    }

    /// Of the API server: `https://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.layout.url()
    }

    /// A kubeconfig file of someone who may do everything.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The token of someone who may do everything.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Certificate authority of the API server (PEM file).
    pub fn ca(&self) -> PathBuf {
        self.layout.ca()
    }

    /// kubectl, not started: for what [`ControlPlane::kubectl`] does not do, such as input and watches.
    pub fn kubectl_command(&self) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", CALL]).arg(self.layout.binaries.path(Program::Kubectl));
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command.env("KUBECACHEDIR", self.layout.folder.join("kubectl-cache")).stdin(Stdio::null());
        command
    }

    /// Runs kubectl as someone who may do everything; at most a minute (status 124).
    ///
    /// # Errors
    /// kubectl could not be started; its own failure is in the output's status.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<Output> {
        self.kubectl_command().args(arguments).output().context("starting kubectl")
    }

    /// `kubectl apply` of YAML; gives what kubectl said on stdout and stderr.
    ///
    /// # Errors
    /// The API server refused it, with its words.
    pub fn apply(&self, yaml: &str) -> Result<String> {
        let mut kubectl = self.kubectl_command();
        kubectl
            .args(["apply", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = kubectl.spawn().context("starting kubectl")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(yaml.as_bytes()).context("giving YAML to kubectl apply")?;
        }
        said("kubectl apply", &child.wait_with_output().context("waiting for kubectl apply")?)
    }

    fn succeeds(&self, arguments: &[&str]) -> bool {
        self.kubectl(arguments).is_ok_and(|output| output.status.success())
    }

    fn demand(&self, arguments: &[&str]) -> Result<String> {
        said(&format!("kubectl {}", arguments.join(" ")), &self.kubectl(arguments)?)
    }

    /// Waits for a condition; fails when a program has ended or the time is over.
    fn wait(&self, what: &str, met: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + READY;
        while !met() {
            self.keeper.check().with_context(|| format!("waiting until {what}"))?;
            if Instant::now() >= deadline {
                let log = self.layout.folder.join(format!("{}.log", Program::ApiServer.name()));
                bail!("waited {} s until {what}; the API server says:\n{}", READY.as_secs(), tail(&log));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

/// What a command printed, or its failure.
fn said(what: &str, output: &Output) -> Result<String> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        bail!("{what} failed ({}): {}", output.status, text(&output.stderr).trim());
    }
    Ok(text(&output.stdout) + &text(&output.stderr))
}

/// Ports that nobody listens on now.
fn free_ports() -> Result<Ports> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    // All are held until the last is chosen, so that they differ.
    let held = [listen()?, listen()?, listen()?];
    let port = |listener: &TcpListener| Ok::<_, std::io::Error>(listener.local_addr()?.port());
    let [etcd, peer, api] = &held;
    Ok(Ports { etcd: port(etcd)?, peer: port(peer)?, api: port(api)? })
}
