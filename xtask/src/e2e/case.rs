//! Input: `e2e/cases/*.sh`.
//! Output: each case's name and how it wants to be run.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::vm::Kernel;
use crate::workspace;

/// The kernel that a case is booted with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Boot {
    /// More kernel arguments.
    pub append: String,
    pub cpus: u8,
}

/// One case file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// File name without `.sh`.
    pub name: String,
    pub boot: Boot,
    /// All, unless the file names some.
    pub kernels: Vec<Kernel>,
    /// Integration tests of the agent that it runs: names of files in `agent/tests`.
    pub tests: Vec<String>,
    /// The guest's runner keeps to it, too.
    pub limit: Duration,
}

/// All cases, by name.
pub fn load() -> Result<Vec<Case>> {
    let dir = workspace::root().join("e2e/cases");
    let mut cases = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry.with_context(|| format!("reading {}", dir.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(name) = name.strip_suffix(".sh") else { continue };
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        cases.push(parse(name, &text).with_context(|| path.display().to_string())?);
    }
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(cases)
}

/// Reads the comment lines at the top of a case.
pub(super) fn parse(name: &str, text: &str) -> Result<Case> {
    if !name.chars().all(|character| character.is_ascii_alphanumeric() || "-_".contains(character)) {
        bail!("a case's name has only letters, digits, - and _");
    }
    let boot = Boot { append: String::new(), cpus: 1 };
    let limit = Duration::from_secs(90);
    let (kernels, tests) = (Kernel::ALL.to_vec(), Vec::new());
    let mut case = Case { name: name.to_owned(), boot, kernels, tests, limit };
    for line in text.lines().map_while(|line| line.strip_prefix('#')) {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match key.trim() {
            "boot" => case.boot.append = value.to_owned(),
            "cpus" => case.boot.cpus = value.parse().with_context(|| format!("# cpus: {value}"))?,
            "limit" => {
                case.limit = Duration::from_secs(value.parse().with_context(|| format!("# limit: {value}"))?);
            }
            "tests" => case.tests = value.split_whitespace().map(str::to_owned).collect(),
            "kernels" => {
                let series = value.split_whitespace().map(|word| Kernel::from_str(word, false));
                case.kernels = series
                    .collect::<Result<_, _>>()
                    .map_err(|error| anyhow::anyhow!("# kernels: {value}: {error}"))?;
            }
            _ => {}
        }
    }
    Ok(case)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Kernel, parse};

    #[test]
    fn only_the_top_comment_is_read() {
        let text = "# Shows: a thing.\n# boot: lsm=yama lockdown=integrity\n# kernels: 6.1 7\n# limit: 90\n# tests: c d\ntrue\n# cpus: 4\n";
        let case = parse("a-b_1", text).unwrap();
        assert_eq!(case.boot.append, "lsm=yama lockdown=integrity");
        assert_eq!(case.kernels, [Kernel::V6_1, Kernel::V7]);
        assert_eq!((case.boot.cpus, case.limit), (1, Duration::from_secs(90)));
        assert_eq!(case.tests, ["c", "d"]);
    }

    #[test]
    fn mistakes_are_told() {
        for text in ["# kernels: 6.2", "# cpus: two", "# limit: soon"] {
            assert!(parse("x", text).is_err(), "{text}");
        }
        assert!(parse("a b", "").is_err());
    }
}
