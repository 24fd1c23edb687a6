//! Input: addresses, ports and a folder.
//! Output: the programs of a control plane with their arguments and files, for whoever starts and ends them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::binaries::{Binaries, Program};
use crate::credentials::{Tokens, User, kubeconfig, write_secret};

/// Addresses of Services. The first is the API server's own.
pub const SERVICES: &str = "10.92.0.0/16";

/// Lets [`User::Dns`] read what CoreDNS answers from.
pub const DNS_ROLE: &str = include_str!("../cluster/dns-role.yaml");

/// Names of files in the folder.
const TOKENS: &str = "tokens.csv";
const KEY: &str = "service-accounts.key";
const CERTIFICATES: &str = "certificates";

/// Ports of a control plane, all on one address.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// etcd for the API server.
    pub etcd: u16,
    /// etcd for other members, of which there are none.
    pub peer: u16,
    /// The API server.
    pub api: u16,
}

/// A program to start.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which.
    pub program: Program,
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// Where a control plane is and what it is called from.
pub struct Layout {
    /// Its programs.
    pub binaries: Binaries,
    /// Holds its data and files; absolute.
    pub folder: PathBuf,
    /// On which it listens, and under which nodes find it.
    pub address: Ipv4Addr,
    /// See there.
    pub ports: Ports,
    tokens: Tokens,
}

impl Layout {
    /// Writes the files that are needed before anything starts. What an earlier control plane left in the folder goes.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create(binaries: Binaries, folder: &Path, address: Ipv4Addr, ports: Ports) -> Result<Self> {
        let tell = || format!("creating {}", folder.display());
        for old in ["etcd", CERTIFICATES] {
            if folder.join(old).exists() {
                fs::remove_dir_all(folder.join(old)).with_context(tell)?;
            }
        }
        fs::create_dir_all(folder).with_context(tell)?;
        let folder = folder.canonicalize().with_context(tell)?;
        let layout = Layout { binaries, folder, address, ports, tokens: Tokens::new()? };
        layout.tokens.write(&layout.folder.join(TOKENS))?;
        let key = Command::new(layout.binaries.path(Program::NewKey)).output().context("starting new-key")?;
        if !key.status.success() {
            bail!("new-key failed ({}): {}", key.status, String::from_utf8_lossy(&key.stderr));
        }
        write_secret(&layout.folder.join(KEY), &String::from_utf8_lossy(&key.stdout))?;
        for user in [User::Admin, User::ControllerManager, User::Scheduler, User::Dns] {
            let text = kubeconfig(&layout.url(), &layout.ca(), layout.token(user)?);
            write_secret(&layout.kubeconfig(user), &text)?;
        }
        Ok(layout)
    }

    /// Of the API server.
    pub fn url(&self) -> String {
        format!("https://{}:{}", self.address, self.ports.api)
    }

    /// Certificate that signs the API server's (PEM). There once the API server has started.
    pub fn ca(&self) -> PathBuf {
        self.folder.join(CERTIFICATES).join("apiserver.crt")
    }

    /// The kubeconfig file of a user of the control plane.
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        let name = user.name().replace("system:", "").replace(':', "-");
        self.folder.join(format!("{name}.kubeconfig"))
    }

    /// A user's token.
    ///
    /// # Errors
    /// A node of a number above nine.
    pub fn token(&self, user: User) -> Result<&str> {
        self.tokens.of(user)
    }

    /// The database. Data is not written through to the disk: it lives as long as the test.
    pub fn etcd(&self) -> Part {
        let (clients, peers) = (self.etcd_url(self.ports.etcd), self.etcd_url(self.ports.peer));
        self.part(
            Program::Etcd,
            [
                format!("--data-dir={}", self.path("etcd")),
                format!("--listen-client-urls={clients}"),
                format!("--advertise-client-urls={clients}"),
                format!("--listen-peer-urls={peers}"),
                format!("--initial-advertise-peer-urls={peers}"),
                format!("--initial-cluster=default={peers}"),
                "--unsafe-no-fsync".to_owned(),
                "--log-level=warn".to_owned(),
            ],
        )
    }

    /// The API server, with RBAC, which reaches webhooks at their pods' addresses.
    pub fn api_server(&self) -> Part {
        // An Endpoints object with a loopback address would be refused, again and again.
        let reconciler = if self.address.is_loopback() { "none" } else { "lease" };
        self.part(
            Program::ApiServer,
            [
                format!("--etcd-servers={}", self.etcd_url(self.ports.etcd)),
                format!("--cert-dir={}", self.path(CERTIFICATES)),
                format!("--bind-address={}", self.address),
                format!("--advertise-address={}", self.address),
                format!("--secure-port={}", self.ports.api),
                format!("--token-auth-file={}", self.path(TOKENS)),
                format!("--service-account-key-file={}", self.path(KEY)),
                format!("--service-account-signing-key-file={}", self.path(KEY)),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--service-cluster-ip-range={SERVICES}"),
                format!("--endpoint-reconciler-type={reconciler}"),
                "--authorization-mode=Node,RBAC".to_owned(),
                "--enable-admission-plugins=NodeRestriction".to_owned(),
                "--enable-aggregator-routing=true".to_owned(),
                "--kubelet-preferred-address-types=InternalIP".to_owned(),
                "--allow-privileged=true".to_owned(),
            ],
        )
    }

    /// Controllers; tokens and root certificate of ServiceAccounts among them.
    pub fn controller_manager(&self) -> Part {
        let mut arguments = self.client(User::ControllerManager);
        arguments.extend([
            format!("--service-account-private-key-file={}", self.path(KEY)),
            format!("--root-ca-file={}", self.ca().display()),
            "--use-service-account-credentials=true".to_owned(),
            // A node that stops is noticed soon: tests wait for it.
            "--node-monitor-grace-period=20s".to_owned(),
        ]);
        self.part(Program::ControllerManager, arguments)
    }

    /// The scheduler.
    pub fn scheduler(&self) -> Part {
        self.part(Program::Scheduler, self.client(User::Scheduler))
    }

    /// CoreDNS at port 53 of the address, for `cluster.local` alone: nothing else can be reached from the cluster.
    ///
    /// # Errors
    /// Its configuration cannot be written.
    pub fn dns(&self) -> Result<Part> {
        let path = self.folder.join("Corefile");
        let text = format!(
            "cluster.local:53 {{\n    bind {}\n    errors\n    kubernetes cluster.local {{\n        kubeconfig {}\n    }}\n    \
             cache 5\n}}\n",
            self.address,
            self.kubeconfig(User::Dns).display()
        );
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(self.part(Program::Dns, ["-conf".to_owned(), path.display().to_string()]))
    }

    /// For parts that talk to the API server alone and serve nobody.
    fn client(&self, user: User) -> Vec<String> {
        let config = self.kubeconfig(user).display().to_string();
        let config = ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
            .map(|flag| format!("--{flag}={config}"));
        let fixed = ["--secure-port=0", "--leader-elect=false"].map(str::to_owned);
        config.into_iter().chain(fixed).collect()
    }

    fn part(&self, program: Program, arguments: impl Into<Vec<String>>) -> Part {
        Part { program, path: self.binaries.path(program), arguments: arguments.into() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn etcd_url(&self, port: u16) -> String {
        format!("http://{}:{port}", self.address)
    }
}
