//! Input: the cases in `e2e/cluster/cases`, in the order of their names; the chart and the images of this workspace.
//! Output: a line for each case on one real cluster, what failed cases printed, and how many passed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::script::Programs;
use super::state::State;
use super::{down, up};
use crate::vm::Kernel;
use crate::{image, workspace};

const CASES: &str = "e2e/cluster/cases";
/// For one case, seconds.
const LIMIT: &str = "900";
/// What one wants to see of a cluster in which something failed.
const AUTOPSY: [&str; 4] = [
    "kubectl get nodes,pods,tracingpolicies,tracingpoliciesnamespaced -A -o wide",
    "kubectl -n ferragon get events --sort-by=.lastTimestamp | tail -n 25",
    "kubectl -n ferragon logs -l app.kubernetes.io/name=ferragon-operator --prefix --tail=60",
    "kubectl -n ferragon logs ds/ferragon --all-pods --prefix --tail=60",
];

#[derive(clap::Args)]
pub struct Args {
    /// The kernel of each node
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["6.1", "6.12"])]
    nodes: Vec<Kernel>,
    /// Leave the cluster running; a later run begins with it, without building
    #[arg(long)]
    keep: bool,
    /// Only cases whose name contains one of these; the first, which installs the chart, always runs
    filter: Vec<String>,
}

/// Runs the chosen cases; the cluster ends even if one fails.
pub fn run(state: &State, args: &Args) -> Result<ExitCode> {
    let began = Instant::now();
    let cases = chosen(&args.filter)?;
    let images = if args.keep && !state.nodes()?.is_empty() {
        Vec::new()
    } else {
        image::make(&image::folder(), env!("CARGO_PKG_VERSION"), false)?
    };
    let failed =
        up::up(state, &args.nodes, &images).and_then(|()| Cases { state, total: cases.len() }.run(&cases));
    if args.keep {
        let shown = state.path("");
        eprintln!("cluster: goes on: cargo xtask cluster --state {} kubectl …", shown.display());
    } else {
        down::down(state)?;
    }
    let (failed, seconds) = (failed?, began.elapsed().as_secs());
    println!("cluster: {} passed, {failed} failed ({seconds} s)", cases.len() - failed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The files of the cases, in their order.
fn chosen(filter: &[String]) -> Result<Vec<PathBuf>> {
    let folder = workspace::root().join(CASES);
    let tell = || format!("reading {}", folder.display());
    let mut cases = Vec::new();
    for entry in fs::read_dir(&folder).with_context(tell)? {
        let path = entry.with_context(tell)?.path();
        // lib.sh is what they share.
        if name(&path).is_some() {
            cases.push(path);
        }
    }
    cases.sort();
    let count = cases.len();
    let mut first = true;
    cases.retain(|path| {
        let named = |part: &String| path.to_string_lossy().contains(part.as_str());
        std::mem::take(&mut first) || filter.is_empty() || filter.iter().any(named)
    });
    if count == 0 || (cases.len() == 1 && !filter.is_empty()) {
        bail!("no case in {CASES} has a name that contains {}", filter.join(" or "));
    }
    Ok(cases)
}

/// `10_install.sh` is the case `cluster_install`; other files are none.
fn name(path: &Path) -> Option<String> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".sh")?;
    let (number, name) = stem.split_once('_')?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| format!("cluster_{name}"))
}

struct Cases<'a> {
    state: &'a State,
    total: usize,
}

impl Cases<'_> {
    /// Gives how many failed.
    fn run(&self, cases: &[PathBuf]) -> Result<usize> {
        let programs = Programs::of(&self.state.path(""))?;
        let shared = self.state.path("cases");
        fs::create_dir_all(&shared).with_context(|| format!("creating {}", shared.display()))?;
        let mut failed = 0;
        for (index, case) in cases.iter().enumerate() {
            let (name, began) = (name(case).unwrap_or_default(), Instant::now());
            let log = shared.join(format!("{name}.log"));
            let passed = self.case(&programs, case, &log)?;
            let (number, seconds) = (index + 1, began.elapsed().as_secs_f32());
            let word = if passed { "PASS" } else { "FAIL" };
            println!("cluster: {number}/{} {word} {name} ({seconds:.0} s)", self.total);
            if !passed {
                failed += 1;
                let shown = fs::read(&log).with_context(|| format!("reading {}", log.display()))?;
                for line in String::from_utf8_lossy(&shown).lines() {
                    println!("     | {line}");
                }
                if index == 0 {
                    return Ok(self.total);
                }
            }
        }
        Ok(failed)
    }

    /// Runs one case into its log, and what helps to understand it if it fails.
    fn case(&self, programs: &Programs, case: &Path, log: &Path) -> Result<bool> {
        let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let run = |words: &[&str]| {
            let mut command = programs.command("timeout");
            command.args(["--kill-after=10", LIMIT, "bash"]).args(words);
            command.env("SHARED", self.state.path("cases")).env("ROOT", workspace::root());
            let (out, err) = (file.try_clone()?, file.try_clone()?);
            command.stdin(Stdio::null()).stdout(out).stderr(err).status()
        };
        let tell = || format!("running {}", case.display());
        let passed = run(&[&case.to_string_lossy()]).with_context(tell)?.success();
        if !passed {
            run(&["-x", "-c", &AUTOPSY.join("\n")]).with_context(tell)?;
        }
        Ok(passed)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::name;

    #[test]
    fn only_numbered_scripts_are_cases() {
        assert_eq!(name(Path::new("/a/10_walk_through.sh")).as_deref(), Some("cluster_walk_through"));
        for other in ["/a/lib.sh", "/a/x_y.sh", "/a/10_x.txt", "/a/10.sh"] {
            assert_eq!(name(Path::new(other)), None, "{other}");
        }
    }
}
