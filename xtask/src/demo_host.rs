//! Input: `examples/` and a built `ferra`.
//! Output: the walk-through on one host without Kubernetes, run in a disposable VM and printed as it happens.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::vm::{Ending, Kernel, Machine, Rootfs};
use crate::{build, workspace};

#[derive(clap::Args)]
pub struct Args {
    /// Which kernel series to boot
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Kernel,
    /// Use a ferra without optimisation: faster to build, slower to run
    #[arg(long)]
    debug: bool,
}

/// The guest's script, below the examples.
const SCRIPT: &str = "demo/host.sh";

pub fn run(args: &Args) -> Result<ExitCode> {
    let examples = workspace::root().join("examples");
    if !examples.join(SCRIPT).is_file() {
        bail!("{} is missing", examples.join(SCRIPT).display());
    }
    eprintln!("demo 1/3: building ferra (a static binary) …");
    build::products(args.debug)?;
    eprintln!("demo 2/3: getting the {} kernel …", args.kernel.series());
    let image = args.kernel.image()?;
    eprintln!("demo 3/3: booting it in QEMU, without touching this host (about 5 s) …");
    let mut rootfs = Rootfs::with_bash()?;
    rootfs.add(&build::ferra_of(args.debug), "/usr/bin/ferra")?;
    rootfs.add(&examples, "/root/examples")?;
    rootfs.set_command(&[format!("exec bash examples/{SCRIPT} 2>&1")])?;
    let machine = Machine {
        image,
        cpus: 1,
        memory_mib: 1024,
        icount: false,
        append: String::new(),
        log: false,
        timeout: Duration::from_secs(300),
    };
    let outcome = machine.run(&rootfs, &mut io::stdout(), &mut io::stderr())?;
    if let Some(trouble) = outcome.trouble() {
        eprintln!("{trouble}");
    }
    let seconds = outcome.elapsed.as_secs_f32();
    match outcome.ending {
        Ending::Exited(0) => {
            eprintln!("demo: done; the VM is gone ({seconds:.0} s)");
            Ok(ExitCode::SUCCESS)
        }
        ending => bail!("the walk-through failed after {seconds:.0} s ({ending:?})"),
    }
}
