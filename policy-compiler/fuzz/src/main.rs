//! In: which targets, for how long, and a seed. Out: whether a mutated policy or kernel profile makes the compiler
//! panic, hang, take too much memory or contradict itself; the input that does is in a file.
//!
//! Each target runs in a process of its own, a copy of this one, so that an input of which it dies is told, too.

mod kernels;
mod policies;
mod profiles;
mod random;
mod target;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::{Parser, ValueEnum};

use policies::Policies;
use profiles::Profiles;
use target::{Target, fail};

/// Stack of the threads on which the operator compiles.
const STACK: usize = 2 << 20;

/// Mutate policies and kernel profiles and see that the compiler answers each with programs or with errors
#[derive(Parser)]
struct Args {
    /// How long to run, all targets together
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seed of the mutations; the same seed gives the same inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What to mutate; both if it is not said
    #[arg(long)]
    target: Option<Kind>,
    /// Folder in which to write an input that fails
    #[arg(long, default_value = ".")]
    output: PathBuf,
    /// Judge this one file, such as one that an earlier run has written; its name says for which target it is
    #[arg(long)]
    input: Option<PathBuf>,
    /// This process is the copy that does the work
    #[arg(long, hide = true, requires = "target")]
    worker: bool,
}

/// What can be mutated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Policies, through the whole compiler
    Policies,
    /// Kernel profiles and the type information in them, as a hostile node may send them
    Profiles,
}

impl Kind {
    /// How a file with an input ends.
    fn extension(self) -> &'static str {
        match self {
            Kind::Policies => "yaml",
            Kind::Profiles => "profile",
        }
    }

    fn of(path: &Path) -> Result<Kind> {
        let kinds = Kind::value_variants().iter().copied();
        let mut kinds = kinds.filter(|kind| path.extension().is_some_and(|it| it == kind.extension()));
        kinds.next().ok_or_else(|| anyhow!("{}: neither .yaml nor .profile", path.display()))
    }
}

fn main() -> ExitCode {
    run(&Args::parse()).unwrap_or_else(|error| {
        eprintln!("fuzz: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(args: &Args) -> Result<ExitCode> {
    if let Some(path) = &args.input {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        return match Kind::of(path)? {
            Kind::Policies => again(&mut Policies::new(args.seed)?, &bytes, path),
            Kind::Profiles => again(&mut Profiles::new(args.seed)?, &bytes, path),
        };
    }
    let kinds = args.target.map_or_else(|| Kind::value_variants().to_vec(), |kind| vec![kind]);
    let limit = Duration::from_secs(args.seconds) / u32::try_from(kinds.len()).unwrap_or(1);
    for kind in kinds {
        let path = args.output.join("fuzz-failure").with_extension(kind.extension());
        let code = match args.worker {
            true => work(kind, args.seed, limit, path)?,
            false => supervise(kind, args, limit, &path)?,
        };
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Judges one input.
fn again(target: &mut impl Target, bytes: &[u8], path: &Path) -> Result<ExitCode> {
    let input = target.read(bytes)?;
    Ok(target.judge(input).map_or_else(|reason| fail(&reason, path), |()| ExitCode::SUCCESS))
}

/// Does the work, on a stack of the size that counts.
fn work(kind: Kind, seed: u64, limit: Duration, path: PathBuf) -> Result<ExitCode> {
    let run = move || match kind {
        Kind::Policies => target::run(&mut Policies::new(seed)?, limit, &path),
        Kind::Profiles => target::run(&mut Profiles::new(seed)?, limit, &path),
    };
    let thread = thread::Builder::new().stack_size(STACK).spawn(run).context("starting a thread")?;
    thread.join().map_err(|_| anyhow!("the fuzzer itself panicked"))?
}

/// Has a copy of this process do the work, and sees how that ends.
fn supervise(kind: Kind, args: &Args, limit: Duration, path: &Path) -> Result<ExitCode> {
    let program = std::env::current_exe().context("finding this program")?;
    let name = kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let mut command = Command::new(program);
    command.args(["--worker", "--target", &name, "--seed", &args.seed.to_string()]);
    command.args(["--seconds", &limit.as_secs().to_string(), "--output"]).arg(&args.output);
    let status = command.status().context("starting a copy of this program")?;
    Ok(match status.code() {
        Some(0) => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
        None => fail(&format!("the fuzzer was ended by an input: {status}"), path),
    })
}
