//! In: the command line of `ferra policy …`. Out: one of its subcommands run, and its exit code.
//!
//! Nothing here loads or changes anything in the kernel. Exit codes: 0, every policy is accepted; 1, a policy is
//! refused or a result cannot be written; 2, the command line is wrong or an input cannot be read.

mod check;
mod compile;
mod directory;
mod explain;
mod files;
mod hooked;
mod judge;
mod machine;
mod output;
mod words;
mod workloads;
mod wrap;

use judge::Judged;
use machine::Machine;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code for a wrong command line or unreadable input, as the command line parser has it.
const UNUSABLE: u8 = 2;

/// `ferra policy`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Tell what is wrong with policies, all of it at once.
    Check(check::Args),
    /// Write the programs that policies compile to.
    Compile(compile::Args),
    /// Tell in words what policies hook and do.
    Explain(explain::Args),
}

/// Input of all subcommands.
#[derive(Debug, clap::Args)]
struct Input {
    /// Policy files, directories whose *.yaml and *.yml files are policies, or - for standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Judge for the kernel with these types (its /sys/kernel/btf/vmlinux) instead of the running one.
    #[arg(long, value_name = "FILE")]
    btf: Option<PathBuf>,
}

/// Runs one subcommand.
pub fn run(command: Command) -> ExitCode {
    let done = match command {
        Command::Check(args) => check::run(&args),
        Command::Compile(args) => compile::run(&args),
        Command::Explain(args) => explain::run(&args),
    };
    done.unwrap_or_else(|failure| {
        eprintln!("ferra: {}", failure.message);
        ExitCode::from(failure.code)
    })
}

/// Why a subcommand has no result.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn unusable(message: impl Into<String>) -> Failure {
        Failure { code: UNUSABLE, message: message.into() }
    }

    fn refused(message: impl Into<String>) -> Failure {
        Failure { code: 1, message: message.into() }
    }
}

impl Input {
    /// Reads and judges everything.
    fn judge(&self) -> Result<(Machine, Judged), Failure> {
        let texts = files::read(&self.files);
        let mut judged = Judged::check(&texts);
        let machine = Machine::find(self.btf.as_deref(), &judged.policies()).map_err(Failure::unusable)?;
        judged.compile(&machine.kernel);
        Ok((machine, judged))
    }
}
