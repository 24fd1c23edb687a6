//! Input: a cluster's folder.
//! Output: its processes and its network are gone; its logs stay.

use std::fs;

use anyhow::{Context, Result};

use super::process::Process;
use super::state::State;

/// Ends the cluster, whatever of it there is.
pub fn down(state: &State) -> Result<()> {
    let _lock = state.lock()?;
    end(state)
}

/// The same for who holds the lock.
pub fn end(state: &State) -> Result<()> {
    state.set_nodes(&[])?;
    let folder = state.processes();
    let processes = Process::all(&folder)?;
    // VMs first: nothing in them outlives them, and they would complain about the control plane's end.
    let (vms, plane): (Vec<_>, Vec<_>) =
        processes.into_iter().partition(|process| process.name.starts_with("node-"));
    Process::end(&vms)?;
    Process::end(&plane)?;
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    state.network().remove()
}
