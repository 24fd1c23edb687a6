//! Input: `cargo xtask cluster …`.
//! Output: a real Kubernetes whose nodes are VMs, started, used or ended.

mod debian;
pub mod down;
pub mod image;
mod images;
mod network;
mod node;
mod process;
mod promises;
pub mod script;
pub mod state;
mod tar;
mod test;
pub mod up;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use e2e::Program;

use crate::build;
use crate::vm::Kernel;
use state::State;

#[derive(clap::Args)]
pub struct Args {
    /// Where the cluster's files, logs and process ids are; each folder is a cluster of its own
    #[arg(long, value_name = "DIR", global = true)]
    state: Option<PathBuf>,
    #[command(subcommand)]
    task: Task,
}

#[derive(clap::Subcommand)]
enum Task {
    /// Build what clusters and test API servers are made of, if it is not there yet: Kubernetes, etcd, containerd, helm
    Build,
    /// Start the cluster, or see that it runs; builds what it is made of at the first use
    Up {
        /// The kernel of each node
        #[arg(long, value_enum, value_delimiter = ',', default_values = ["6.1", "6.12"])]
        nodes: Vec<Kernel>,
        /// Container images (docker-archive) to put into every node
        #[arg(long, value_name = "TAR")]
        image: Vec<PathBuf>,
    },
    /// End every process of the cluster; its logs stay
    Down,
    /// kubectl as someone who may do everything
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// helm as someone who may do everything
    Helm {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// ferra as someone who may do everything, as it was built last by `cargo xtask image` or `build`
    Ferra {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Put a container image (docker-archive) into every node
    LoadImage { tar: PathBuf },
    /// Run a command as root in a node's VM, or a shell; its exit status is ours
    Node {
        /// node-1, node-2, …
        name: String,
        /// One argument: a line for the node's shell. Several: a program and its arguments, taken as they are
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Start a cluster, run the cases in e2e/cluster/cases on it with the chart and the images of this workspace, end it
    Promises(promises::Args),
    /// Start a cluster with two nodes of different kernels, see that pods, names and services work, end it
    Test,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let state = match &args.state {
        Some(folder) => State::open(folder)?,
        None => State::open(&e2e::cache::root()?.join("cluster/state"))?,
    };
    match &args.task {
        Task::Build => drop(e2e::binaries()?),
        Task::Up { nodes, image } => up::up(&state, nodes, image)?,
        Task::Down => down::down(&state)?,
        Task::Kubectl { arguments } => return client(&state, Program::Kubectl, arguments),
        Task::Helm { arguments } => return client(&state, Program::Helm, arguments),
        Task::Ferra { arguments } => {
            let mut ferra = state.ferra(&build::ferra())?;
            ferra.args(arguments);
            return status(ferra);
        }
        Task::LoadImage { tar } => images::load(&state, tar)?,
        Task::Node { name, command } => return status(state.node(name)?.command(&state, command)),
        Task::Promises(args) => return promises::run(&state, args),
        Task::Test => test::run(&state)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a client of the API server, inside the cluster's network.
fn client(state: &State, program: Program, arguments: &[OsString]) -> Result<ExitCode> {
    let mut command = state.client(program)?;
    command.args(arguments);
    status(command)
}

/// Runs a command to its end; gives its exit status, 125 if a signal ended it.
fn status(mut command: Command) -> Result<ExitCode> {
    let status = command.status().with_context(|| format!("starting {:?}", command.get_program()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(125)))
}
