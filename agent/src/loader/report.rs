//! In: what happened to each hook. Out: the report of one application of a desired set, for logs and status.

use api::artefact::ArtefactDigest;
use api::event::HookError;

use super::hook::HookKey;
use super::policies::PolicyName;
use super::sets::SetError;
use crate::kernel::{AttachError, Errno, Rejection};

/// What became of a desired set.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ApplyReport {
    /// By hook, desired or removed.
    pub hooks: Vec<HookReport>,
    /// Hooks whose new programs end with this process although they were to stay, and why.
    pub unpinned: Vec<(HookKey, Errno)>,
    /// What could not be tidied up. Enforcement does not depend on it.
    pub leftovers: Vec<Leftover>,
}

impl ApplyReport {
    /// The hooks that do not run what was asked.
    pub fn failures(&self) -> impl Iterator<Item = (&HookReport, &Failure)> {
        self.hooks.iter().filter_map(|hook| match &hook.outcome {
            Outcome::Failed(failure) => Some((hook, &**failure)),
            Outcome::Unchanged
            | Outcome::Installed
            | Outcome::Replaced
            | Outcome::Removed
            | Outcome::Kept => None,
        })
    }
}

/// One hook.
#[derive(Debug, Clone, PartialEq)]
pub struct HookReport {
    /// Which.
    pub hook: HookKey,
    /// What was desired; `None` if the hook is not desired any more.
    pub digest: Option<ArtefactDigest>,
    /// Policies of the desired artefact (of the old one if none is desired), sorted.
    pub policies: Vec<PolicyName>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of one hook.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It ran this artefact already.
    Unchanged,
    /// It had no program before.
    Installed,
    /// It had another program before.
    Replaced,
    /// Its program was taken away.
    Removed,
    /// It is not desired any more, but one of its policies is on a hook that failed: it runs what it ran before, until
    /// none is.
    Kept,
    /// It runs what it ran before, if anything.
    Failed(Box<Failure>),
}

/// Why a hook does not run what was asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{reason}{}", kept_text(kept))]
pub struct Failure {
    /// Why.
    pub reason: FailureReason,
    /// The last good artefact, which stays in force.
    pub kept: Option<ArtefactDigest>,
}

fn kept_text(kept: &Option<ArtefactDigest>) -> &'static str {
    if kept.is_some() { "; the last good version stays in force" } else { "" }
}

/// The step that failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FailureReason {
    /// The artefact contradicts itself.
    #[error("the compiled program is malformed ({0}); this is a bug of the compiler, please report it")]
    Malformed(&'static str),
    /// A newer compiler's: its records could not be shown.
    #[error("this agent cannot show the events of the compiled program: {0}; it is older than the compiler")]
    Schema(HookError),
    /// Two artefacts want the same hook.
    #[error(
        "another compiled program is desired for the same hook; this is a bug of the compiler, please report it"
    )]
    Duplicate,
    /// Out of places in a shared map.
    #[error("this node holds {limit} {what} already; remove some policies")]
    TooMany {
        /// Hooks, policies, programs.
        what: &'static str,
        /// How many there can be.
        limit: u32,
    },
    /// Process sets.
    #[error("{0}")]
    Sets(SetError),
    /// A map could not be created.
    #[error("creating the map `{map}` failed with {errno}{}", memory_hint(*errno))]
    MapCreate {
        /// Its name.
        map: &'static str,
        /// How.
        errno: Errno,
    },
    /// A map could not be filled.
    #[error("filling the map `{map}` failed with {errno}{}", memory_hint(*errno))]
    MapFill {
        /// Its name.
        map: &'static str,
        /// How.
        errno: Errno,
    },
    /// The kernel refused the program.
    #[error("{}", rejection_text(rejection, path))]
    Load {
        /// Errno and the end of the verifier's log.
        rejection: Rejection,
        /// The policy field that the failing instruction came from.
        path: Option<String>,
    },
    /// The program could not be attached.
    #[error("attaching the program: {error}{}", attach_hint(*error))]
    Attach {
        /// What failed, and how.
        error: AttachError,
    },
    /// The store that makes the program the active one failed.
    #[error("switching the hook to the new program failed with {0}")]
    Switch(Errno),
}

fn memory_hint(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOMEM | Errno(libc::E2BIG) => {
            ": not enough kernel memory, or the node's limit of it is reached"
        }
        Errno::EPERM => {
            ": the agent needs CAP_BPF and CAP_PERFMON, and before Linux 5.11 a high RLIMIT_MEMLOCK"
        }
        _ => "",
    }
}

fn attach_hint(error: AttachError) -> &'static str {
    match error.errno {
        Errno(libc::E2BIG) => ": the function has as many programs attached as the kernel allows",
        Errno::ENOENT => ": this kernel does not have the hook",
        Errno(libc::EBUSY) => ": something else holds the function (live patching, or another tracer)",
        _ => "",
    }
}

fn rejection_text(rejection: &Rejection, path: &Option<String>) -> String {
    let mut text = format!("the kernel refused the program with {}", rejection.errno);
    if let Some(path) = path {
        text += &format!(", at the code of {path}");
    }
    if !rejection.log.is_empty() {
        text += &format!("; its verifier says:\n{}", rejection.log);
    }
    text
}

/// Something that outlived its use.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Leftover {
    /// The kernel complained when a program was detached.
    #[error("detaching the program of {hook} failed with {errno}")]
    Detach {
        /// Which.
        hook: HookKey,
        /// How.
        errno: Errno,
    },
    /// The word that switches a hook off could not be stored.
    #[error("switching {hook} off failed with {errno}; its program was detached nevertheless")]
    SwitchOff {
        /// Which.
        hook: HookKey,
        /// How.
        errno: Errno,
    },
    /// The file that keeps the program attached beyond this process could not be removed.
    #[error(
        "removing the pin of a program of {hook} that was taken away failed with {errno}; it runs on, switched off"
    )]
    Unpin {
        /// Which.
        hook: HookKey,
        /// How.
        errno: Errno,
    },
    /// Process sets that nobody tests any more stay in the exec-time tables.
    #[error("taking unused process sets out of the exec-time tables: {0}")]
    Sets(SetError),
}
