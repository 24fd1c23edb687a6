//! Input: a bash script, and a cluster that is up.
//! Output: the script run with the cluster's kubectl, helm, ferra and nodes in its PATH; how it ended.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::workspace;

/// What scripts may call, as `cargo xtask cluster` knows it.
const PROGRAMS: [(&str, &str); 4] =
    [("kubectl", "kubectl"), ("helm", "helm"), ("ferra", "ferra"), ("node", "node")];

/// Programs that act on one cluster.
pub struct Programs {
    folder: TempDir,
}

impl Programs {
    /// Writes them for the cluster with its files in `state`.
    pub fn of(state: &Path) -> Result<Self> {
        let folder = tempfile::tempdir().context("making a folder for kubectl and helm")?;
        let this = std::env::current_exe().context("finding this program")?;
        for (name, task) in PROGRAMS {
            let path = folder.path().join(name);
            let (this, state) = (this.display(), state.display());
            let line = format!("#!/bin/sh\nexec '{this}' cluster --state '{state}' {task} \"$@\"\n");
            fs::write(&path, line).with_context(|| format!("writing {}", path.display()))?;
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&path, mode)
                .with_context(|| format!("making {} a program", path.display()))?;
        }
        Ok(Programs { folder })
    }

    /// A command that finds them, and the chart's folder in `$CHART`.
    pub fn command(&self, program: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command.env("PATH", format!("{}:{path}", self.folder.path().display()));
        command.env("CHART", workspace::root().join("charts/ferragon"));
        command
    }
}
