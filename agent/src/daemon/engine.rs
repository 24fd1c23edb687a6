//! In: sets of artefacts to run. Out: the loader of this host, or one on a fake kernel, behind one trait.

use std::collections::{BTreeMap, BTreeSet};

use api::artefact::{Artefact, ArtefactDigest};

use crate::kernel::Errno;
use crate::kernel::fake::FakeKernel;
use crate::loader::fake::NoProcesses;
use crate::loader::{ApplyReport, HookKey, InstalledHook, Loader, PolicyCounts};
use crate::pins::PinError;
use crate::session::{Session, SessionError, Totals};

/// What runs programs.
pub trait Engine {
    /// Makes the kernel run `kept`, which runs already, and `new`, and nothing else. See [`Loader::apply_beside`].
    fn apply(&mut self, kept: &BTreeSet<ArtefactDigest>, new: &[Artefact]) -> ApplyReport;
    /// Tells successors of this process the generation of the set that runs.
    ///
    /// # Errors
    /// It cannot be told.
    fn mark(&self, generation: u64) -> Result<(), PinError>;
    /// Hooks that have a program.
    fn installed(&self) -> Vec<InstalledHook>;
    /// Whether policies in force are for pods of which nobody has told yet, so that to those they do not apply.
    fn waits_for_pods(&self) -> bool;
    /// What was counted so far.
    ///
    /// # Errors
    /// The kernel does not tell.
    fn reading(&self) -> Result<Reading, ReadError>;
}

/// Counters could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Those of the policies.
    #[error("the policies' counters could not be read: {0}")]
    Policies(Errno),
    /// Those of the fixed programs.
    #[error("the counters of the programs that follow processes could not be read: {0}")]
    Base(#[from] SessionError),
}

/// Counts at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// By policy.
    pub policies: Vec<PolicyCounts>,
    /// Calls that no program of their hook looked at, by hook.
    pub missed: BTreeMap<HookKey, u64>,
    /// Of the reader of records.
    pub totals: Totals,
    /// Kernel memory, bytes: of the policies' programs and their own maps, and of shared maps; `None` if the kernel does
    /// not tell, which is no reason not to show what was counted.
    pub memory: Option<(u64, u64)>,
    /// Programs that end with this process although they were to stay, and why.
    pub unpinned: Vec<(String, String)>,
}

impl Reading {
    /// Records that were lost: not written, or not understood.
    pub fn lost(&self) -> u64 {
        let Totals { losses, undecodable, cache, .. } = self.totals;
        losses.total().saturating_add(undecodable).saturating_add(cache.malformed)
    }

    /// Calls that no program looked at, over all hooks.
    pub fn missed_total(&self) -> u64 {
        self.missed.values().fold(0, |sum, missed| sum.saturating_add(*missed))
    }
}

impl Engine for Session {
    fn apply(&mut self, kept: &BTreeSet<ArtefactDigest>, new: &[Artefact]) -> ApplyReport {
        let report = self.apply_beside(kept, new);
        crate::kernel::give_back_memory();
        report
    }

    fn mark(&self, generation: u64) -> Result<(), PinError> {
        Session::mark(self, generation)
    }

    fn installed(&self) -> Vec<InstalledHook> {
        Session::installed(self)
    }

    fn waits_for_pods(&self) -> bool {
        Session::waits_for_pods(self)
    }

    fn reading(&self) -> Result<Reading, ReadError> {
        Ok(Reading {
            policies: self.policy_counts().map_err(ReadError::Policies)?,
            missed: self.missed_calls().map_err(ReadError::Policies)?,
            totals: self.totals()?,
            memory: self.memory().ok().map(|memory| memory.totals()),
            unpinned: self.unpinned(),
        })
    }
}

/// The loader on a fake kernel, without processes and records: for tests without root.
pub type FakeEngine = Loader<FakeKernel, NoProcesses>;

impl Engine for FakeEngine {
    fn apply(&mut self, kept: &BTreeSet<ArtefactDigest>, new: &[Artefact]) -> ApplyReport {
        self.apply_beside(kept, new)
    }

    fn mark(&self, generation: u64) -> Result<(), PinError> {
        Loader::mark(self, generation)
    }

    fn installed(&self) -> Vec<InstalledHook> {
        Loader::installed(self)
    }

    fn waits_for_pods(&self) -> bool {
        Loader::waits_for_pods(self)
    }

    fn reading(&self) -> Result<Reading, ReadError> {
        let policies = self.counters().map_err(ReadError::Policies)?;
        let missed = Loader::missed(self).map_err(ReadError::Policies)?;
        Ok(Reading { policies, missed, ..Reading::default() })
    }
}
