//! In: what the loader reports of a set. Out: the answer to the operator.

use api::fleet::{
    Applied, Desired, FAILURE_POLICIES_MAX, FAILURE_TEXT_MAX, FAILURES_MAX, FailureStage, HookFailure,
    PolicyRef, Refusal,
};

use crate::loader::sets::SetError;
use crate::loader::{ApplyReport, Failure, FailureReason, HookReport, PolicyName};

/// A set was refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// In words.
    pub text: String,
}

impl Refused {
    /// Cut to what the wire takes.
    pub fn new(refusal: Refusal, text: impl std::fmt::Display) -> Refused {
        Refused { refusal, text: ending(text.to_string()) }
    }
}

/// Nothing of it was applied.
pub fn refused(desired: &Desired, why: &Refused) -> Applied {
    Applied {
        generation: desired.generation,
        set_digest: desired.set_digest().to_vec(),
        failures: Vec::new(),
        refusal: why.refusal as i32,
        refusal_text: why.text.clone(),
    }
}

/// It was applied, as far as it could be.
pub fn applied(desired: &Desired, report: &ApplyReport) -> Applied {
    Applied {
        generation: desired.generation,
        set_digest: desired.set_digest().to_vec(),
        failures: report.failures().take(FAILURES_MAX).map(|(hook, why)| failure(hook, why)).collect(),
        refusal: Refusal::None as i32,
        refusal_text: String::new(),
    }
}

/// A policy, as the wire has it.
pub fn policy(name: &PolicyName) -> PolicyRef {
    PolicyRef { namespace: name.namespace.clone(), name: name.name.clone() }
}

fn failure(hook: &HookReport, failure: &Failure) -> HookFailure {
    let (stage, errno, path) = classify(&failure.reason);
    HookFailure {
        hook: hook.hook.to_string(),
        digest: hook.digest.map(|digest| digest.0.to_vec()).unwrap_or_default(),
        policies: hook.policies.iter().take(FAILURE_POLICIES_MAX).map(policy).collect(),
        stage: stage as i32,
        errno,
        text: ending(failure.reason.to_string()),
        path,
        kept: failure.kept.is_some(),
    }
}

fn classify(reason: &FailureReason) -> (FailureStage, i32, Option<String>) {
    match reason {
        FailureReason::Malformed(_) | FailureReason::Schema(_) | FailureReason::Duplicate => {
            (FailureStage::Artefact, 0, None)
        }
        FailureReason::TooMany { .. } => (FailureStage::Limit, 0, None),
        FailureReason::Sets(error) => (FailureStage::Maps, set_errno(error), None),
        FailureReason::MapCreate { errno, .. } | FailureReason::MapFill { errno, .. } => {
            (FailureStage::Maps, errno.0, None)
        }
        FailureReason::Load { rejection, path } => (FailureStage::Load, rejection.errno.0, path.clone()),
        FailureReason::Attach { error } => (FailureStage::Attach, error.errno.0, None),
        FailureReason::Switch(errno) => (FailureStage::Switch, errno.0, None),
    }
}

fn set_errno(error: &SetError) -> i32 {
    match error {
        SetError::Table { errno, .. } | SetError::List(errno) | SetError::Process { errno, .. } => errno.0,
        _ => 0,
    }
}

/// At most [`FAILURE_TEXT_MAX`] bytes: of a longer text the end, which says most.
fn ending(text: String) -> String {
    const CUT: &str = "…";
    let Some(excess) = text.len().checked_sub(FAILURE_TEXT_MAX).filter(|excess| *excess > 0) else {
        return text;
    };
    let start = (excess + CUT.len()..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    format!("{CUT}{}", text.get(start..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_keeps_its_end() {
        assert_eq!(ending("short".into()), "short");
        let text = ending("ä".repeat(FAILURE_TEXT_MAX) + "the verdict");
        assert!(text.len() <= FAILURE_TEXT_MAX && text.len() > FAILURE_TEXT_MAX - 4, "{}", text.len());
        assert!(text.starts_with("…ä") && text.ends_with("the verdict"));
    }
}
