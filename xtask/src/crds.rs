//! In: the policy language's types in `crds/`. Out: `crds/generated/*.yaml`, written, or compared with what is
//! there.

use std::fs;
use std::process::ExitCode;

use ::crds::manifest::PolicyKind;
use anyhow::{Context, Result};

use crate::workspace;

/// Write the CustomResourceDefinitions
#[derive(clap::Args)]
pub struct Args {
    /// Write nothing; fail if a committed file differs from what would be written
    #[arg(long)]
    check: bool,
}

/// Runs `cargo xtask crds`.
pub fn run(args: &Args) -> Result<ExitCode> {
    let folder = workspace::root().join("crds/generated");
    let mut stale = 0;
    for kind in PolicyKind::ALL {
        let path = folder.join(kind.file_name());
        let text = kind.yaml().with_context(|| format!("rendering the definition of {kind}"))?;
        if args.check {
            let committed = fs::read_to_string(&path).unwrap_or_default();
            if committed != text {
                eprintln!("{} is not what the types say; run `cargo xtask crds`", path.display());
                stale += 1;
            }
        } else {
            fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            println!("wrote {}", path.display());
        }
    }
    Ok(if stale == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
