//! Input: `cargo xtask bench …`, a built `ferra`, the example policies.
//! Output: a table of instructions per operation with and without policies, from a VM whose clock counts them.

mod figures;
mod policies;
mod rows;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::build;
use crate::vm::{Ending, Kernel, Machine, Rootfs};
use figures::Figures;
use policies::Set;
use rows::{Figure, ROWS, Row};

#[derive(clap::Args)]
#[command(
    after_help = "Rows: see the first column of the table. A row's figure is instructions over the bare kernel unless its \
                        title has a unit."
)]
pub struct Args {
    /// Which kernel series to boot
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Kernel,
    /// Use ferra and workload as they were built last
    #[arg(long)]
    no_build: bool,
    /// Use this `ferra`, which must be static
    #[arg(long, value_name = "FILE")]
    ferra: Option<PathBuf>,
    /// Show all that the guest says as it comes
    #[arg(long)]
    verbose: bool,
    /// Exit with status 1 if a target is missed
    #[arg(long)]
    check: bool,
    /// Only these rows
    #[arg(value_name = "ROW")]
    rows: Vec<String>,
}

const LIMIT: Duration = Duration::from_secs(1800);
const MEMORY_MIB: u32 = 1024;
/// Reads in the loop whose losses are counted, three times.
const LOST_COUNT: u32 = 4000;
const SCRIPT: &str = include_str!("bench/guest.sh");

pub fn run(args: &Args) -> Result<ExitCode> {
    let rows = chosen(&args.rows)?;
    let ferra = args.ferra.clone().unwrap_or_else(build::ferra);
    if !args.no_build {
        if args.ferra.is_none() {
            build::build("cli", None, false)?;
        }
        build::build("e2e", Some("bin=workload"), false)?;
    }
    let folder = tempfile::tempdir().context("creating a temporary folder")?;
    let plan = plan(&rows);
    lay_out(&plan, folder.path()).with_context(|| format!("writing into {}", folder.path().display()))?;
    let mut rootfs = Rootfs::with_bash()?;
    rootfs.add(&ferra, "/usr/bin/ferra")?;
    rootfs.add(&build::ferra().with_file_name("workload"), "/usr/bin/workload")?;
    rootfs.add(folder.path(), "/root/bench")?;
    rootfs.set_command(&["exec bash /root/bench/guest.sh".to_owned()])?;
    let figures = measure(args.kernel, &rootfs, args.verbose)?;
    let missed = table::print(&rows, &figures);
    Ok(if missed && args.check { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn chosen(names: &[String]) -> Result<Vec<Row>> {
    if let Some(unknown) = names.iter().find(|name| ROWS.iter().all(|row| row.name != **name)) {
        let known: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        bail!("no row {unknown:?}; there are {}", known.join(" "));
    }
    Ok(ROWS
        .iter()
        .filter(|row| names.is_empty() || names.iter().any(|name| row.name == name))
        .copied()
        .collect())
}

/// What is run with which policies, the bare kernel first.
type Plan = BTreeMap<Set, BTreeMap<String, u32>>;

fn plan(rows: &[Row]) -> Plan {
    let mut plan = Plan::new();
    for row in rows {
        match row.figure {
            Figure::Added { operation, count } => {
                plan.entry(Set::Bare).or_default().insert(operation.to_owned(), count);
                plan.entry(row.set).or_default().insert(operation.to_owned(), count);
            }
            Figure::Inside { operation, count } => {
                plan.entry(row.set).or_default().insert(format!("in-{operation}"), count);
            }
            Figure::Event { count } => {
                plan.entry(row.set).or_default().insert("event".to_owned(), count);
            }
            Figure::Lost => {
                plan.entry(row.set).or_default().insert("read-match".to_owned(), LOST_COUNT);
            }
            Figure::Load => {
                plan.entry(Set::Base).or_default();
                plan.entry(row.set).or_default();
            }
            Figure::Start | Figure::KernelMemory | Figure::PolicyMemory | Figure::Resident => {
                plan.entry(row.set).or_default();
            }
        }
    }
    plan
}

/// The plan, its policies and the script as files.
fn lay_out(plan: &Plan, folder: &Path) -> Result<()> {
    let mut lines = String::new();
    for (set, operations) in plan {
        let name = set.name();
        let policies = folder.join(&name);
        fs::create_dir(&policies)?;
        for (number, text) in set.texts()?.iter().enumerate() {
            fs::write(policies.join(format!("{number:03}.yaml")), text)?;
        }
        let place = if *set == Set::Bare { "-".to_owned() } else { format!("/root/bench/{name}") };
        let words: Vec<String> =
            operations.iter().map(|(operation, count)| format!("{operation}={count}")).collect();
        lines.push_str(&format!("{name} {place} {}\n", words.join(" ")));
    }
    // The bare kernel again: what an operation costs changes a little while a system is up.
    let again = lines.lines().find(|line| line.starts_with("bare ")).map(|line| format!("{line}\n"));
    lines.push_str(&again.unwrap_or_default());
    fs::write(folder.join("plan"), lines)?;
    Ok(fs::write(folder.join("guest.sh"), SCRIPT)?)
}

/// Boots the machine and takes in what it says.
fn measure(kernel: Kernel, rootfs: &Rootfs, verbose: bool) -> Result<Figures> {
    let machine = Machine {
        image: kernel.image()?,
        cpus: 1,
        memory_mib: MEMORY_MIB,
        icount: true,
        append: String::new(),
        log: false,
        timeout: LIMIT,
    };
    let mut said = Follower { verbose, ..Follower::default() };
    let outcome = machine.run(rootfs, &mut said, &mut io::stderr())?;
    if let Some(trouble) = outcome.trouble() {
        eprintln!("{trouble}");
    }
    match outcome.ending {
        Ending::Exited(0) => Ok(said.figures),
        ending => bail!("the benchmark's VM failed ({ending:?})"),
    }
}

/// Takes in the guest's lines as they come, and tells how far it is.
#[derive(Default)]
struct Follower {
    figures: Figures,
    rest: Vec<u8>,
    verbose: bool,
}

impl Write for Follower {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest.extend(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            match line.trim_end().strip_prefix("progress ") {
                Some(set) => eprintln!("bench: {set} …"),
                None => {
                    if self.verbose {
                        print!("{line}");
                    }
                    self.figures.line(&line);
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
