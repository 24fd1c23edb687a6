//! Input: package and target names.
//! Output: statically linked binaries under the target folder, and their paths on stdout.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// The only target so far. Named on the command line so that build scripts and procedural macros, which
/// cannot be linked statically, keep the host's flags.
const TARGET: &str = "x86_64-unknown-linux-gnu";

#[derive(clap::Args)]
pub struct Args {
    /// The package to build
    #[arg(short, long, default_value = "cli")]
    package: String,
    /// A binary, example or integration test of it: `bin=NAME`, `example=NAME`, `test=NAME`; else its binaries
    #[arg(long, value_name = "KIND=NAME")]
    only: Option<String>,
    /// Build without optimisation: faster to build, slower to run
    #[arg(long)]
    debug: bool,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    for path in build(&args.package, args.only.as_deref(), args.debug)? {
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Where `ferra` is once it has been built for VMs.
pub fn ferra() -> PathBuf {
    workspace::target_dir().join(TARGET).join("release/ferra")
}

/// Builds one package statically; gives the executables made. `only` is `KIND=NAME` as in [`Args`].
pub fn build(package: &str, only: Option<&str>, debug: bool) -> Result<Vec<PathBuf>> {
    let mut cargo = workspace::cargo();
    match only.map(|only| only.split_once('=')) {
        None => cargo.args(["build", "--bins"]),
        Some(Some((kind @ ("bin" | "example"), name))) => cargo.args(["build", &format!("--{kind}"), name]),
        Some(Some(("test", name))) => cargo.args(["test", "--no-run", "--test", name]),
        Some(_) => bail!("--only {}: give bin=NAME, example=NAME or test=NAME", only.unwrap_or_default()),
    };
    if !debug {
        cargo.arg("--release");
    }
    cargo.args(["--package", package, "--target", TARGET, "--message-format", "json-render-diagnostics"]);
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    let output = cargo.stderr(Stdio::inherit()).output().context("starting cargo")?;
    if !output.status.success() {
        bail!("building {package} statically failed ({}); cargo's messages are above", output.status);
    }
    let made = executables(&String::from_utf8_lossy(&output.stdout));
    if made.is_empty() {
        bail!("package {package} has no executable {}", only.unwrap_or("binary"));
    }
    Ok(made)
}

/// The executables that cargo's JSON messages name, one message per line.
fn executables(messages: &str) -> Vec<PathBuf> {
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(Path::new(message.get("executable")?.as_str()?).to_owned())
    };
    messages.lines().filter_map(executable).collect()
}

#[cfg(test)]
mod tests {
    use super::executables;

    #[test]
    fn only_messages_with_an_executable_count() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/t/ferra\"}\nnoise\n";
        assert_eq!(executables(messages), [std::path::Path::new("/t/ferra")]);
    }
}
