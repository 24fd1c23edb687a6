//! Input: cargo's view of the workspace, `xtask/deps.golden`.
//! Output: the golden file written; or, with --check, every difference and every broken rule on stderr.

mod graph;
mod licence;
mod rules;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::workspace;
use graph::Graph;

#[derive(clap::Args)]
pub struct Args {
    /// Write nothing; fail on a difference, a broken rule, or a crate that does not build alone
    #[arg(long)]
    check: bool,
    /// With --check: leave out building each crate alone, the long part
    #[arg(long)]
    no_build: bool,
}

const HEAD: &str = "\
# Who imports what, directly, in the order that data flows: reviewed when it changes, checked in CI.
# Written by `cargo xtask deps`. What a crate must never reach, even indirectly, is in xtask/src/deps/rules.rs.
";

pub fn run(args: &Args) -> Result<ExitCode> {
    let graph = Graph::of_workspace()?;
    let path = workspace::root().join("xtask/deps.golden");
    let now = golden(&graph);
    let mut problems = rules::broken(&graph)?;
    if args.check {
        let committed = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        problems.extend(differences(&committed, &now));
    } else {
        fs::write(&path, now).with_context(|| format!("writing {}", path.display()))?;
    }
    for problem in &problems {
        eprintln!("deps: {problem}");
    }
    if !problems.is_empty() {
        bail!("{} problem(s) with dependencies", problems.len());
    }
    if args.check && !args.no_build {
        build_each_alone(&graph)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The golden file's text.
fn golden(graph: &Graph) -> String {
    let mut text = HEAD.to_owned();
    for member in &graph.members {
        text.push_str(&format!("{}:{}\n", member.name, list(&member.imports)));
    }
    text.push_str("# Crates that are built in more than one version.\n");
    text.push_str(&format!("duplicates:{}\n", list(&graph.duplicates())));
    text
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!(" {name}")).collect()
}

/// Lines that only one side has.
fn differences(committed: &str, now: &str) -> Vec<String> {
    let only = |here: &str, there: &str, what: &str| -> Vec<String> {
        let missing = here.lines().filter(|line| !there.lines().any(|other| other == *line));
        missing.map(|line| format!("{what} {line}")).collect()
    };
    let mut found = only(committed, now, "xtask/deps.golden says  ");
    found.extend(only(now, committed, "the manifests say now   "));
    if !found.is_empty() {
        found.push("if that is meant, run `cargo xtask deps` and have the change reviewed".to_owned());
    }
    found
}

/// A crate must not build only because another one of the workspace switches on a feature that it needs.
fn build_each_alone(graph: &Graph) -> Result<()> {
    let count = graph.members.len();
    for (index, member) in graph.members.iter().enumerate() {
        eprintln!("deps: building {} alone ({}/{count}) …", member.name, index + 1);
        let check = ["check", "--quiet", "--package", &member.name];
        let status = workspace::cargo().args(check).status().context("starting cargo")?;
        if !status.success() {
            bail!("{} does not build alone: cargo {}", member.name, check.join(" "));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::differences;

    #[test]
    fn both_sides_of_a_difference_are_told() {
        assert!(differences("a: b\n", "a: b\n").is_empty());
        let found = differences("a: b\nc:\n", "a: b d\nc:\n");
        assert!(found[0].ends_with("a: b") && found[1].ends_with("a: b d"), "{found:?}");
    }
}
