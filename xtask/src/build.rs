//! Input: package and target names.
//! Output: statically linked binaries under the target folder, and their paths on stdout.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

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
    ferra_of(false)
}

/// The same; `debug`: the one without optimisation.
pub fn ferra_of(debug: bool) -> PathBuf {
    let profile = if debug { "debug" } else { "release" };
    workspace::target_dir().join(TARGET).join(profile).join("ferra")
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
    let made = make(cargo, package)?;
    if made.is_empty() {
        bail!("package {package} has no executable {}", only.unwrap_or("binary"));
    }
    Ok(made.into_iter().map(|(_, path)| path).collect())
}

/// Builds integration tests of one package statically. The least optimisation takes half as long again to build as
/// none, and a fifth of the time to run, most of which is reading the kernel's types; more would be built for longer
/// than it runs. Gives their names and executables.
pub fn tests(package: &str, names: &BTreeSet<&str>) -> Result<Vec<(String, PathBuf)>> {
    let mut cargo = workspace::cargo();
    cargo
        .args(["test", "--no-run"])
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
    for name in names {
        cargo.args(["--test", name]);
    }
    make(cargo, package)
}

/// Builds ferragon-operator, ferragon and ferra statically; gives names and paths. Always all of them at once: alone, each
/// would ask for other features of what they share, which would be built once for each.
pub fn products(debug: bool) -> Result<Vec<(String, PathBuf)>> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--bins", "--package", "operator", "--package", "agent"]);
    if !debug {
        cargo.arg("--release");
    }
    make(cargo, "cli")
}

/// Runs cargo, which builds for the target; gives the names and paths of what it has made.
fn make(mut cargo: Command, package: &str) -> Result<Vec<(String, PathBuf)>> {
    cargo.args(["--package", package, "--target", TARGET, "--message-format", "json-render-diagnostics"]);
    cargo.arg("--locked").env("RUSTFLAGS", "-C target-feature=+crt-static");
    let output = cargo.stderr(Stdio::inherit()).output().context("starting cargo")?;
    if !output.status.success() {
        bail!("building {package} statically failed ({}); cargo's messages are above", output.status);
    }
    Ok(executables(&String::from_utf8_lossy(&output.stdout)))
}

/// The executables that cargo's JSON messages name, one message per line.
fn executables(messages: &str) -> Vec<(String, PathBuf)> {
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let name = message.get("target")?.get("name")?.as_str()?.to_owned();
        Some((name, Path::new(message.get("executable")?.as_str()?).to_owned()))
    };
    messages.lines().filter_map(executable).collect()
}

#[cfg(test)]
mod tests {
    use super::executables;

    #[test]
    fn only_messages_with_an_executable_count() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"target\":{\"name\":\"ferra\"},\"executable\":\"/t/ferra\"}\nnoise\n";
        assert_eq!(executables(messages), [("ferra".to_owned(), "/t/ferra".into())]);
    }
}
