//! Input: `examples/`, the chart, and this workspace.
//! Output: the walk-through on a real Kubernetes with nodes of different kernels, printed as it happens.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::cluster::script::Programs;
use crate::cluster::state::State;
use crate::cluster::{down, up};
use crate::vm::Kernel;
use crate::{image, workspace};

#[derive(clap::Args)]
pub struct Args {
    /// The kernel of each node
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["6.1", "6.12"])]
    nodes: Vec<Kernel>,
    /// Leave the cluster running, also if something fails; `cargo xtask cluster --state DIR down` ends it
    #[arg(long)]
    keep: bool,
    /// Where the cluster's files and logs are
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Use binaries without optimisation: faster to build, slower to run
    #[arg(long)]
    debug: bool,
    /// Another script than the walk-through, with kubectl and helm in its PATH and $CHART
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let began = Instant::now();
    let say = |step: u32, what: &str| {
        eprintln!("demo {step}/3 (after {} s): {what} …", began.elapsed().as_secs());
    };
    let folder = match &args.state {
        Some(folder) => folder.clone(),
        None => e2e::cache::root()?.join("cluster/demo"),
    };
    let state = State::open(&folder)?;
    say(1, "building the images of operator and agent (static binaries)");
    let images = image::make(&image::folder(), env!("CARGO_PKG_VERSION"), args.debug)?;
    say(
        2,
        "starting a Kubernetes with nodes in QEMU VMs; the first time, its programs are built (about 10 min)",
    );
    let done = up::up(&state, &args.nodes, &images).and_then(|()| {
        say(3, "the walk-through");
        let default = workspace::root().join("examples/demo/cluster.sh");
        script(&folder, args.script.as_deref().unwrap_or(&default))
    });
    if args.keep {
        eprintln!("demo: the cluster goes on: cargo xtask cluster --state {} kubectl …", folder.display());
        done?;
    } else {
        down::down(&state)?;
        done.with_context(|| format!("logs are in {}", folder.display()))?;
        eprintln!("demo: done after {} s; the cluster is gone", began.elapsed().as_secs());
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a script with kubectl and helm of the cluster.
fn script(state: &Path, script: &Path) -> Result<()> {
    let status = Programs::of(state)?.command("bash").arg(script).status();
    let status = status.with_context(|| format!("running {}", script.display()))?;
    if !status.success() {
        bail!("{} failed ({status})", script.display());
    }
    Ok(())
}
