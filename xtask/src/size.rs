//! Input: the static release build of `ferra`.
//! Output: its size, and whether it keeps to the limit. What it takes while it runs is the e2e case `memory`.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::build;

/// In bytes. It holds the compiler, the agent and the fixed programs.
const LIMIT: u64 = 20_000_000;

#[derive(clap::Args)]
pub struct Args {
    /// Measure what was built last
    #[arg(long)]
    no_build: bool,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    if !args.no_build {
        build::products(false)?;
    }
    let path = build::ferra();
    let size = std::fs::metadata(&path).with_context(|| format!("measuring {}", path.display()))?.len();
    let fits = size <= LIMIT;
    let verdict = if fits { "within" } else { "ABOVE" };
    println!("size: {} has {size} bytes, {verdict} the limit of {LIMIT}", path.display());
    Ok(if fits { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
