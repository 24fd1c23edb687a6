//! Input: nothing.
//! Output: whether a cluster that is started here does what users of Kubernetes expect of one, and ends without a trace.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use e2e::Program;

use super::process::Process;
use super::state::State;
use super::{debian, down, up};
use crate::vm::Kernel;

/// Two of different age.
const KERNELS: [Kernel; 2] = [Kernel::V6_1, Kernel::V6_12];

/// Pods on both nodes, one of them in its node's network, and a Service of the one on node-2.
const PODS: &str = include_str!("../../../e2e/cluster/test/pods.yaml");
const POD_NAMES: [&str; 3] = ["one", "two", "host"];

/// Runs all checks; the cluster ends even if one fails.
pub fn run(state: &State) -> Result<()> {
    if !state.nodes()?.is_empty() {
        bail!("a cluster is up in {}: give another folder with --state", state.path("").display());
    }
    let began = Instant::now();
    up::up(state, &KERNELS, &[])?;
    println!("test: two nodes are ready after {:.0} s", began.elapsed().as_secs_f32());
    let checked = checks(state);
    let processes = Process::all(&state.processes())?;
    down::down(state)?;
    checked.with_context(|| format!("logs are in {}", state.path("").display()))?;
    nothing_left(state, &processes)?;
    println!("test: all of it passed ({:.0} s)", began.elapsed().as_secs_f32());
    Ok(())
}

fn checks(state: &State) -> Result<()> {
    let cluster = Checks { state, began: Instant::now() };
    cluster.pods_run()?;
    cluster.names_and_services()?;
    cluster.nodes()?;
    cluster.up_again()?;
    cluster.helm()
}

struct Checks<'a> {
    state: &'a State,
    began: Instant,
}

impl Checks<'_> {
    fn passed(&self, what: &str) {
        println!("test: {what} ({:.0} s)", self.began.elapsed().as_secs_f32());
    }

    fn pods_run(&self) -> Result<()> {
        let file = self.state.path("pods.yaml");
        fs::write(&file, PODS).with_context(|| format!("writing {}", file.display()))?;
        self.kubectl(&["apply", "-f", &file.to_string_lossy()])?;
        for pod in POD_NAMES {
            self.kubectl(&["wait", "--for=condition=Ready", "--timeout=480s", &format!("pod/{pod}")])?;
        }
        self.passed("pods run on both nodes");
        for (pod, kernel) in [("one", KERNELS[0]), ("two", KERNELS[1])] {
            let release = self.exec(pod, "uname -r")?;
            if !release.starts_with(&format!("{}.", kernel.series())) {
                bail!("pod {pod} runs on kernel {release}, not {}", kernel.series());
            }
            let log = self.kubectl(&["logs", pod])?;
            expect(&log, &format!("I am {pod}"))?;
        }
        self.passed("exec and logs work, and the pods' kernels differ");
        Ok(())
    }

    fn names_and_services(&self) -> Result<()> {
        // One exec for all: it is the slow part, in emulation.
        let script = "set -e; for name in kubernetes.default.svc kubernetes.default.svc.cluster.local; do \
                      wget -q -T 20 -O - --no-check-certificate https://$name/version; done; \
                      wget -q -T 20 -O - http://two:8080/";
        for pod in ["one", "host"] {
            let fetched = self.exec(pod, script)?;
            if fetched.matches("gitVersion").count() != 2 {
                bail!("pod {pod} got no version from the API server by each of its names: {fetched}");
            }
            expect(&fetched, "from two")?;
            self.passed(&format!(
                "pod {pod} on node-1 reaches the API server and a Service on node-2 by name"
            ));
        }
        expect(&self.exec("two", "wget -q -T 10 -O - http://two:8080/")?, "from two")?;
        let address = self.kubectl(&["get", "pod", "two", "-o", "jsonpath={.status.podIP}"])?;
        // As the API server reaches webhooks.
        let mut host = self.state.network().command(debian::debian()?.join("usr/bin/busybox"));
        expect(
            &said(host.args(["wget", "-q", "-T", "10", "-O", "-", &format!("http://{address}:8080/")]))?,
            "from two",
        )?;
        self.passed("a pod reaches itself through its Service; the host reaches pods");
        Ok(())
    }

    fn nodes(&self) -> Result<()> {
        let labels = self.kubectl(&["get", "nodes", "-L", "kubernetes.io/hostname", "--no-headers"])?;
        for name in ["node-1", "node-2"] {
            if labels.lines().filter(|line| line.starts_with(name) && line.ends_with(name)).count() != 1 {
                bail!("{name} has not its name as label kubernetes.io/hostname: {labels}");
            }
            let node = self.state.node(name)?;
            let line = ["cat /sys/kernel/security/lsm; echo; stat -f -c %T /sys/fs/bpf /sys/kernel/tracing"
                .to_owned()];
            let shown = said(&mut node.command(self.state, &line))?;
            expect(&shown, ",bpf")?;
            expect(&shown, "\nbpf_fs\ntracefs")?;
            let status = node.command(self.state, &["exit 3".to_owned()]).stdin(Stdio::null()).status();
            if status.context("starting dbclient")?.code() != Some(3) {
                bail!("a command's exit status in {name} does not arrive");
            }
        }
        self.passed("commands run in the nodes; BPF, its LSM and tracefs are there");
        Ok(())
    }

    /// A second `up` starts nothing.
    fn up_again(&self) -> Result<()> {
        let before = Process::all(&self.state.processes())?;
        up::up(self.state, &KERNELS, &[])?;
        if before != Process::all(&self.state.processes())? {
            bail!("up started processes again though the cluster was up");
        }
        self.passed("up twice is up once");
        Ok(())
    }

    fn helm(&self) -> Result<()> {
        let chart = self.state.path("chart");
        let template =
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: of-chart}\ndata: {key: {{ .Values.key }}}\n";
        let chart_yaml = "apiVersion: v2\nname: c\nversion: 1.0.0\n";
        fs::create_dir_all(chart.join("templates")).context("writing a chart")?;
        for (name, text) in
            [("Chart.yaml", chart_yaml), ("templates/a.yaml", template), ("values.yaml", "key: a\n")]
        {
            fs::write(chart.join(name), text).context("writing a chart")?;
        }
        let helm = |arguments: &[&str]| said(self.state.client(Program::Helm)?.args(arguments));
        helm(&["install", "r", &chart.to_string_lossy(), "--set", "key=b", "--wait", "--timeout=60s"])?;
        expect(&self.kubectl(&["get", "configmap", "of-chart", "-o", "jsonpath={.data.key}"])?, "b")?;
        helm(&["uninstall", "r", "--wait", "--timeout=60s"])?;
        self.passed("helm installs and uninstalls");
        Ok(())
    }

    fn exec(&self, pod: &str, line: &str) -> Result<String> {
        self.kubectl(&["exec", pod, "--", "sh", "-c", line])
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        said(self.state.client(Program::Kubectl)?.arg("--request-timeout=500s").args(arguments))
    }
}

/// Runs a command; gives what it printed.
fn said(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{command:?} failed ({}): {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn expect(text: &str, part: &str) -> Result<()> {
    if !text.contains(part) {
        bail!("expected {part:?} in {text:?}");
    }
    Ok(())
}

/// No process of the cluster and none in its network, and no network.
fn nothing_left(state: &State, processes: &[Process]) -> Result<()> {
    if let Some(left) = processes.iter().find(|process| process.runs()) {
        bail!("{} still runs after down", left.name);
    }
    let folder = state.path("");
    for entry in fs::read_dir("/proc").context("listing processes")?.flatten() {
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let ours = entry.file_name().to_string_lossy() == std::process::id().to_string();
        if !ours && line.contains(&*folder.join("plane").to_string_lossy()) {
            bail!("still runs after down: {line}");
        }
    }
    if state.network().exists() || Path::new("/sys/class/net/nodes").exists() {
        bail!("the cluster's network is still there after down");
    }
    println!("test: down left no process and no network");
    Ok(())
}
