//! In: the kernel's own accounts of programs and maps. Out: kernel memory by hook, and the shared part.

use api::artefact::SharedMap;

use super::hook::HookKey;
use super::policies::PolicyName;
use super::sets::RunningProcesses;
use super::{Loader, distinct, shared};
use crate::kernel::{Errno, Kernel, ProgramMemory};

/// Kernel memory that the loader holds, bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryReport {
    /// Of maps that all programs share, by name; those of the fixed programs included.
    pub shared: Vec<(&'static str, u64)>,
    /// By hook.
    pub hooks: Vec<HookMemory>,
}

/// Kernel memory of one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookMemory {
    /// Which.
    pub hook: HookKey,
    /// Policies that share it, sorted.
    pub policies: Vec<PolicyName>,
    /// Of the program.
    pub program: ProgramMemory,
    /// Of the maps that the program alone uses.
    pub maps: u64,
}

impl MemoryReport {
    /// Of all programs with the maps that they alone use, and of what they share; bytes.
    pub fn totals(&self) -> (u64, u64) {
        let hooks = self.hooks.iter().fold(0u64, |sum, hook| sum.saturating_add(hook.total()));
        let shared = self.shared.iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
        (hooks, shared)
    }
}

impl HookMemory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.program.total().saturating_add(self.maps)
    }
}

impl<K: Kernel, P: RunningProcesses> Loader<K, P> {
    /// Kernel memory in use.
    ///
    /// # Errors
    /// The kernel did not tell of some object.
    pub fn memory(&self) -> Result<MemoryReport, Errno> {
        let kernel = &self.shared.kernel;
        let mut report = MemoryReport::default();
        for (map, object) in self.shared.maps.iter().filter(|(map, _)| *map != SharedMap::Unspecified) {
            report.shared.push((shared::name(map), kernel.map_memory(object)?));
        }
        for (hook, running) in &self.hooks {
            let mut maps = 0u64;
            for map in &running.maps {
                maps = maps.saturating_add(kernel.map_memory(map)?);
            }
            report.hooks.push(HookMemory {
                hook: hook.clone(),
                policies: distinct(running.held.policies.iter().cloned()),
                program: kernel.program_memory(&running.program)?,
                maps,
            });
        }
        Ok(report)
    }
}
