//! In: what to mutate, how long and with which seed. Out: the verdict of the mutation fuzzer in `policy-compiler/fuzz`.
//!
//! The fuzzer is a program of its own, so that this one builds whatever state the compiler is in. It is built
//! without optimisation: overflow checks are what finds mistakes in arithmetic.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::workspace;

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Args {
    /// How long to run, all targets together
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seed of the mutations; the same seed gives the same inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What to mutate: `policies`, or `profiles`, which are what nodes tell of their kernels; both if it is not said
    #[arg(long)]
    target: Option<String>,
    /// Judge this one file, such as one that an earlier run has written
    #[arg(long)]
    input: Option<PathBuf>,
}

/// Runs `cargo xtask fuzz`.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut cargo = workspace::cargo();
    cargo.args(["run", "--quiet", "--package", "policy-fuzz", "--"]);
    cargo.args(["--seconds", &args.seconds.to_string(), "--seed", &args.seed.to_string()]);
    cargo.arg("--output").arg(workspace::target_dir());
    if let Some(target) = &args.target {
        cargo.args(["--target", target]);
    }
    if let Some(input) = &args.input {
        let input = std::path::absolute(input).with_context(|| format!("locating {}", input.display()))?;
        cargo.arg("--input").arg(input);
    }
    let status = cargo.status().context("starting cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
