//! In: the command line. Out: the subcommand's exit code.

#![forbid(unsafe_code)]

mod kernel;
mod output;
mod policy;
mod run;

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
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Policy(command) => policy::run(command),
    }
}
