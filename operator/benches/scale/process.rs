//! In: the operator's process. Out: what it says, and what it costs.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Ticks per second in `/proc/PID/stat` (`USER_HZ`).
const TICKS: u64 = 100;

/// What a process has cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Measured {
    pub cpu: Duration,
    pub rss_kib: u64,
    pub peak_kib: u64,
}

impl Measured {
    /// CPU since then; memory as it is.
    pub fn since(self, before: Measured) -> Measured {
        Measured { cpu: self.cpu.saturating_sub(before.cpu), ..self }
    }
}

/// What the API server was asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Writes of the changed policy's status, of Events, and of the list of nodes.
    pub change: u64,
    /// Writes of the other policies' statuses.
    pub counters: u64,
    /// TokenReviews.
    pub reviews: u64,
}

/// The operator in a process of its own.
pub struct Operator {
    pub port: u16,
    /// When it was measured last.
    pub last: Measured,
    child: Child,
    commands: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Operator {
    /// Starts it and waits until it listens.
    pub fn start(folder: &Path, nodes: usize, port: u16) -> Result<Operator> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["operator", &folder.display().to_string(), &nodes.to_string(), &port.to_string()])
            // As the chart runs it.
            .env("MALLOC_ARENA_MAX", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting the operator")?;
        let commands = child.stdin.take().context("stdin")?;
        let mut lines = BufReader::new(child.stdout.take().context("stdout")?).lines();
        let first = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current()
                .block_on(tokio::time::timeout(Duration::from_secs(10), lines.next_line()))
        });
        let first =
            first.context("waiting for the operator to listen")??.context("the operator has ended")?;
        let port = first.strip_prefix("port ").context("a port")?.parse()?;
        let mut operator = Operator { port, last: Measured::default(), child, commands, lines };
        operator.last = operator.measure()?;
        Ok(operator)
    }

    /// Changes one policy.
    pub fn change(&mut self, number: u64) -> Result<()> {
        let line = format!("change {number}\n");
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(self.commands.write_all(line.as_bytes()))
        })
        .context("telling the operator")
    }

    /// When it has published that all nodes run what they should.
    pub async fn programmed(&mut self, until: Instant) -> Result<Instant> {
        let line = tokio::time::timeout_at(until.into(), self.lines.next_line()).await;
        let line = line.context("waiting until all nodes are programmed")??;
        anyhow::ensure!(line.as_deref() == Some("programmed"), "the operator says {line:?}");
        Ok(Instant::now())
    }

    /// What the API server was asked until now.
    pub async fn asked(&mut self) -> Result<Asked> {
        self.commands.write_all(b"asked\n").await.context("asking the operator")?;
        let line = tokio::time::timeout(Duration::from_secs(10), self.lines.next_line()).await??;
        let line = line.context("the operator has ended")?;
        let words: Vec<&str> = line.split(' ').collect();
        let ["change", change, "counters", counters, "reviews", reviews] = words[..] else {
            anyhow::bail!("the operator says {line}")
        };
        Ok(Asked { change: change.parse()?, counters: counters.parse()?, reviews: reviews.parse()? })
    }

    /// What it has cost until now.
    pub fn measure(&self) -> Result<Measured> {
        let pid = self.child.id().context("the operator has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<u64> {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| name.to_owned())?;
            Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // After the name in parentheses: state is the third field, utime and stime are the 14th and 15th.
        let (_, fields) = stat.rsplit_once(") ").context("stat")?;
        let ticks: u64 = fields.split(' ').skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        let cpu = Duration::from_millis(ticks * 1000 / TICKS);
        Ok(Measured { cpu, rss_kib: field("VmRSS:")?, peak_kib: field("VmHWM:")? })
    }

    /// As a crash would; its port is free afterwards.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("ending the operator")
    }
}

/// One connection is one file, here and there.
pub fn raise_open_files() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("raising the number of open files")
}
