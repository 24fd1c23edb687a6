//! In: the command line. Out: the subcommand's exit code.

#![forbid(unsafe_code)]

mod cluster;
mod describe;
mod get;
mod getevents;
mod kernel;
mod output;
mod policy;
mod run;
mod table;
mod text;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Runtime-security policies as compiled eBPF.
#[derive(Debug, Parser)]
#[command(name = "ferra", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch processes and enforce policies on this host until stopped.
    Run(run::Args),
    /// Look at policies without running them.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Watch the events of this node, from its agent.
    #[command(name = "getevents")]
    GetEvents(getevents::Args),
    /// List what is in the cluster.
    #[command(subcommand)]
    Get(get::Command),
    /// Show one thing of the cluster in full.
    #[command(subcommand)]
    Describe(describe::Command),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Policy(command) => policy::run(command),
        Command::GetEvents(args) => getevents::run(&args),
        Command::Get(command) => get::run(&command),
        Command::Describe(command) => describe::run(&command),
    }
}
