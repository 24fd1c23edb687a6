//! In: the policy language's types in `crds/`. Out: `crds/generated/*.yaml` and `crds/schemas/*.json`, written, or
//! compared with what is there.

use std::fs;
use std::path::{Path, PathBuf};
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
    let folder = workspace::root().join("crds");
    let mut stale = 0;
    for kind in PolicyKind::ALL {
        let definition = kind.yaml().with_context(|| format!("rendering the definition of {kind}"))?;
        let name = PathBuf::from(kind.file_name());
        for (path, text) in [
            (folder.join("generated").join(&name), definition.clone()),
            // helm reads only files below the chart.
            (workspace::root().join("charts/ferragon/files/crds").join(&name), definition),
            // Not beside the definitions: `kubectl apply` takes all files of a folder.
            (folder.join("schemas").join(name.with_extension("json")), kind.spec_schema_json()),
        ] {
            stale += u32::from(!write_or_compare(&path, &text, args.check)?);
        }
    }
    Ok(if stale == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// False if the file should be another, and `check` forbids to write it.
fn write_or_compare(path: &Path, text: &str, check: bool) -> Result<bool> {
    if check {
        let same = fs::read_to_string(path).unwrap_or_default() == text;
        if !same {
            eprintln!("{} is not what the types say; run `cargo xtask crds`", path.display());
        }
        return Ok(same);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(true)
}
