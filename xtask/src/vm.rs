//! Input: `cargo xtask vm …`: a kernel, files and a command.
//! Output: the command's stdout and stderr, live, and its exit status; or what went wrong with the VM.

pub mod apt;
mod cpio;
mod kernel;
mod machine;
mod modules;
mod rootfs;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::build;
pub use kernel::Kernel;
pub use machine::{Ending, KERNEL_ARGS, Machine};
pub use modules::{Modules, run as run_quietly, size_mib};
pub use rootfs::{Rootfs, quote};

/// Exit status when the time limit passed, as timeout(1) has it.
const TIMED_OUT: u8 = 124;
/// Exit status when the VM itself failed: a panic, or no status from the guest.
const VM_FAILED: u8 = 125;

#[derive(clap::Args)]
#[command(
    after_help = "Exit status: the command's; 124 when the time limit passed; 125 when the VM failed (kernel panic, \
                        no QEMU, …). The guest has busybox (and bash, where bash-static is installed here), `ferra` if \
                        it was built, and the given files; the command runs as root in /root."
)]
pub struct Args {
    /// Which kernel series; the newest point release of it is used
    #[arg(long, value_enum)]
    kernel: Kernel,
    /// Boot this kernel image in place of the newest packaged one
    #[arg(long, value_name = "BZIMAGE")]
    image: Option<PathBuf>,
    /// Count instructions: the guest's clock advances 1 ns per instruction, so that runs repeat exactly (one CPU)
    #[arg(long)]
    icount: bool,
    /// Limit for boot and command together
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Number of virtual CPUs
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    cpus: u8,
    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(128..=16_384))]
    memory: u32,
    /// More kernel arguments, such as `lockdown=integrity` or `lsm=landlock,yama`
    #[arg(long, value_name = "KERNEL_ARGS", allow_hyphen_values = true)]
    append: Vec<String>,
    /// Put a file or folder into the guest, at /root/NAME or at the path given
    #[arg(long, value_name = "HOST[:GUEST]")]
    file: Vec<String>,
    /// Build `ferra` first
    #[arg(long)]
    build: bool,
    /// Show the kernel's log on stderr when done
    #[arg(long)]
    log: bool,
    /// One argument: a line for the guest's shell. Several: a program and its arguments, taken as they are
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    if args.build {
        build::build("cli", None, false)?;
    }
    let mut rootfs = Rootfs::with_busybox()?;
    if build::ferra().is_file() {
        rootfs.add(&build::ferra(), "/usr/bin/ferra")?;
    }
    for file in &args.file {
        rootfs.add_argument(file)?;
    }
    rootfs.set_command(&args.command)?;
    let image = match &args.image {
        Some(image) => image.clone(),
        None => args.kernel.image()?,
    };
    let machine = Machine {
        image,
        cpus: args.cpus,
        memory_mib: args.memory,
        icount: args.icount,
        append: args.append.join(" "),
        log: args.log,
        timeout: Duration::from_secs(args.timeout),
    };
    let outcome = machine.run(&rootfs, &mut std::io::stdout(), &mut std::io::stderr())?;
    if args.log {
        eprint!("{}", outcome.log);
    }
    if let Some(trouble) = outcome.trouble() {
        eprintln!("{trouble}");
    }
    Ok(ExitCode::from(match outcome.ending {
        Ending::Exited(status) => status,
        Ending::TimedOut { .. } => TIMED_OUT,
        Ending::Died { .. } => VM_FAILED,
    }))
}

/// Puts all kernels into the cache, so that later boots need no network.
pub fn fetch_kernels() -> Result<ExitCode> {
    for kernel in Kernel::ALL {
        println!("{}\t{}", kernel.series(), kernel.image()?.display());
    }
    Ok(ExitCode::SUCCESS)
}
