//! Input: the cases in `e2e/cases`, the kernels to run them on.
//! Output: a line for each case and kernel, what failed cases printed, and how many passed.

mod case;
mod programs;
mod report;
mod schedule;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::vm::Kernel;
use case::Case;

#[derive(clap::Args)]
pub struct Args {
    /// Only on this kernel series; may be given more than once
    #[arg(long, value_enum)]
    kernel: Vec<Kernel>,
    /// How many VMs at a time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Use ferra, probe and the tests as they were built last
    #[arg(long)]
    no_build: bool,
    /// Use ferra and probe without optimisation: faster to build, slower to run
    #[arg(long)]
    debug: bool,
    /// Only cases whose name contains one of these
    filter: Vec<String>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let started = Instant::now();
    let cases = case::load()?;
    let chosen =
        |case: &Case| args.filter.is_empty() || args.filter.iter().any(|part| case.name.contains(part));
    let cases: Vec<Case> = cases.into_iter().filter(chosen).collect();
    if cases.is_empty() {
        bail!("no case in e2e/cases has a name that contains {}", args.filter.join(" or "));
    }
    let programs = programs::Programs::build(&cases, !args.no_build, args.debug)?;
    let kernels = if args.kernel.is_empty() { Kernel::ALL.to_vec() } else { args.kernel.clone() };
    for kernel in &kernels {
        kernel.image()?;
    }
    let batches = Mutex::new(VecDeque::from(schedule::batches(&cases, &kernels)));
    let report = report::Report::new(schedule::count(&batches));
    thread::scope(|scope| {
        let work = || -> Result<()> {
            loop {
                let next =
                    batches.lock().map_err(|_| anyhow::anyhow!("another VM's thread panicked"))?.pop_front();
                let Some(batch) = next else { return Ok(()) };
                batch.run(&programs, &report)?;
            }
        };
        let workers: Vec<_> = (0..args.jobs).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a VM's thread panicked"))??;
        }
        anyhow::Ok(())
    })?;
    let (passed, failed) = report.totals();
    println!("e2e: {passed} passed, {failed} failed ({:.0} s)", started.elapsed().as_secs_f32());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
