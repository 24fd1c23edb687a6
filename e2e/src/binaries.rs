//! Input: `e2e/cluster/binaries`, in this library since it was compiled; Go, a C compiler and, once, the network.
//! Output: static programs of a real Kubernetes in the cache.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::cache;

/// The Go module and the pause program.
const INPUTS: [(&str, &str); 5] = [
    ("go.mod", include_str!("../cluster/binaries/go.mod")),
    ("go.sum", include_str!("../cluster/binaries/go.sum")),
    ("kube/main.go", include_str!("../cluster/binaries/kube/main.go")),
    ("dns/main.go", include_str!("../cluster/binaries/dns/main.go")),
    ("pause.c", include_str!("../cluster/binaries/pause.c")),
];

/// Of what go.mod requires: without it, clients cannot read the server's version. Symbols are left out (`-s -w`).
const FLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2 \
                     -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37";

/// Packages of all programs together, to tell how far the build is.
const PACKAGES: usize = 3700;

/// A program of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The database of the API server.
    Etcd,
    /// The API server.
    ApiServer,
    /// What makes pods of Deployments and DaemonSets, and default ServiceAccounts.
    ControllerManager,
    /// What gives pods a node.
    Scheduler,
    /// What runs the pods of a node.
    Kubelet,
    /// What makes the addresses of Services work on a node.
    Proxy,
    /// The command line.
    Kubectl,
    /// Prints a new private key (PEM), for tokens of ServiceAccounts.
    NewKey,
    /// CoreDNS.
    Dns,
    /// What runs containers for the kubelet.
    Containerd,
    /// What containerd starts once per pod.
    Shim,
    /// The command line of containerd.
    Ctr,
    /// Network of pods: a bridge.
    CniBridge,
    /// Network of pods: the loopback interface.
    CniLoopback,
    /// Network of pods: addresses of a node's range.
    CniHostLocal,
    /// The package manager.
    Helm,
    /// The first process of every pod.
    Pause,
}

impl Program {
    /// All programs.
    pub const ALL: [Program; 17] = [
        Program::Etcd,
        Program::ApiServer,
        Program::ControllerManager,
        Program::Scheduler,
        Program::Kubelet,
        Program::Proxy,
        Program::Kubectl,
        Program::NewKey,
        Program::Dns,
        Program::Containerd,
        Program::Shim,
        Program::Ctr,
        Program::CniBridge,
        Program::CniLoopback,
        Program::CniHostLocal,
        Program::Helm,
        Program::Pause,
    ];

    /// The file's name.
    pub fn name(self) -> &'static str {
        match self {
            Program::Etcd => "etcd",
            Program::ApiServer => "kube-apiserver",
            Program::ControllerManager => "kube-controller-manager",
            Program::Scheduler => "kube-scheduler",
            Program::Kubelet => "kubelet",
            Program::Proxy => "kube-proxy",
            Program::Kubectl => "kubectl",
            Program::NewKey => "new-key",
            Program::Dns => "dns",
            Program::Containerd => "containerd",
            Program::Shim => "containerd-shim-runc-v2",
            Program::Ctr => "ctr",
            Program::CniBridge => "bridge",
            Program::CniLoopback => "loopback",
            Program::CniHostLocal => "host-local",
            Program::Helm => "helm",
            Program::Pause => "pause",
        }
    }

    /// Whether it is one of the names of the program `kube`.
    fn is_kube(self) -> bool {
        use Program::{ApiServer, ControllerManager, Etcd, Kubectl, Kubelet, NewKey, Proxy, Scheduler};
        matches!(self, Etcd | ApiServer | ControllerManager | Scheduler | Kubelet | Proxy | Kubectl | NewKey)
    }
}

/// The cluster's programs, all there.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// Holds all of them; names of `kube` are symlinks to it.
    pub folder: PathBuf,
}

impl Binaries {
    /// Where a program is.
    pub fn path(&self, program: Program) -> PathBuf {
        self.folder.join(program.name())
    }
}

/// The cluster's programs. Builds them if the cache has not these versions: about 10 minutes on two cores, with
/// progress on stderr.
///
/// # Errors
/// Go (1.21 or newer, which fetches the one it needs) or a C compiler is missing, there is no network to fetch
/// sources from, or the cache cannot be written.
pub fn binaries() -> Result<Binaries> {
    let inputs = INPUTS.iter().flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()]);
    let digest = cache::digest(inputs.chain([FLAGS.as_bytes()]));
    Ok(Binaries { folder: cache::keep("binaries", &digest, build)? })
}

/// Builds everything into `folder`. Go's own caches, 8 GB, are in a folder below it and removed again.
fn build(folder: &Path) -> Result<()> {
    eprintln!("cluster: building Kubernetes, containerd and helm, once (about 10 minutes on two cores) …");
    let started = Instant::now();
    let work = tempfile::tempdir_in(folder).context("creating a folder for the build")?;
    for (name, text) in INPUTS {
        let path = work.path().join(name);
        path.parent().map_or(Ok(()), fs::create_dir_all).context("writing the sources")?;
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    go(work.path(), folder)?;
    let pause = folder.join(Program::Pause.name());
    let cc = Command::new("cc")
        .args(["-static", "-Os", "-s", "-o"])
        .args([&pause, &work.path().join("pause.c")])
        .status()
        .context("starting cc (make setup installs it)")?;
    if !cc.success() {
        bail!("cc could not build pause.c ({cc}); its messages are above");
    }
    for program in Program::ALL {
        if program.is_kube() {
            symlink("kube", folder.join(program.name())).context("naming the parts of Kubernetes")?;
        }
        let path = folder.join(program.name());
        fs::metadata(&path).with_context(|| format!("the build has not made {}", path.display()))?;
    }
    eprintln!("cluster: built in {:.0} s", started.elapsed().as_secs_f32());
    Ok(())
}

/// `go build` of all programs.
fn go(sources: &Path, folder: &Path) -> Result<()> {
    let mut command = Command::new("go");
    command
        .args(["build", "-v", "-trimpath", "-buildvcs=false", "-modcacherw", "-ldflags", FLAGS, "-o"])
        .arg(folder)
        .args(["./kube", "./dns", "tool"])
        .current_dir(sources)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "")
        .env("GOWORK", "off")
        .env("GOCACHE", sources.join("gocache"))
        .env("GOMODCACHE", sources.join("gomodcache"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let mut go = command.spawn().context("starting go; is Go 1.21 or newer installed (make setup)?")?;
    let said = go.stderr.take().context("go has no stderr")?;
    let mut tail: Vec<String> = Vec::new();
    let (mut packages, mut fetching) = (0, false);
    let started = Instant::now();
    for line in BufReader::new(said).lines() {
        let line = line.context("reading what go says")?;
        // With -v, a package's path alone on a line says that it is being compiled.
        if !line.contains(' ') {
            packages += 1;
            if packages % 250 == 0 {
                let seconds = started.elapsed().as_secs();
                eprintln!("cluster: {packages} of about {PACKAGES} Go packages compiled ({seconds} s) …");
            }
        } else if !line.starts_with("go: downloading") {
            tail.push(line);
        } else if !fetching {
            fetching = true;
            eprintln!("cluster: fetching Go sources …");
        }
    }
    let status = go.wait().context("waiting for go")?;
    if !status.success() {
        let end: Vec<_> = tail.iter().rev().take(30).rev().map(String::as_str).collect();
        bail!("go build of the cluster's programs failed ({status}): {}", end.join("\n"));
    }
    Ok(())
}
