//! In: a node's answer to a set. Out: which versions it runs now, and which it is not asked to run any more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::artefact::ArtefactDigest;
use api::fleet::{Applied, FailureStage, HookFailure, Refusal};
use policy_compiler::typed::PolicyKey;

use super::{Answer, Exclusion, Node, Now, Sent};
use crate::fleet::compile::Program;
use crate::fleet::ended::Ended;
use crate::fleet::limits::{FAILURE_KEPT_MAX, NAME_MAX};
use crate::fleet::selection::Selection;

/// The first wait before a set is tried again that the node refused as a whole; each further one is twice as long.
const REFUSED_RETRY: Duration = Duration::from_secs(15);

impl Node {
    /// Takes an answer. Returns whether other versions are to be asked for now.
    ///
    /// # Errors
    /// It is no answer to anything that was sent, or names an artefact that was not.
    pub fn applied(&mut self, applied: &Applied, now: Now, retry_after: Duration) -> Result<bool, Ended> {
        let refusal =
            Refusal::try_from(applied.refusal).map_err(|error| Ended::invalid("Applied.refusal", error))?;
        let Some(sent) = &mut self.sent else { return Err(Ended::OutOfOrder("Applied")) };
        if applied.generation < sent.generation {
            return Ok(false);
        }
        if applied.generation > sent.generation || !sent.due {
            return Err(Ended::OutOfOrder("Applied"));
        }
        if applied.set_digest != sent.set.set_digest {
            return Err(Ended::invalid("Applied.set_digest", "it is not that of the set"));
        }
        let mut answer = Answer::default();
        for failure in &applied.failures {
            match artefact_of(failure, sent)? {
                Some((digest, _)) => drop(answer.failed.insert(digest)),
                None => answer.left_over.push(left_over(failure)),
            }
        }
        sent.due = false;
        self.applied_generation = applied.generation;
        match refusal {
            Refusal::None | Refusal::NotStored => {
                sent.answer = Some(answer);
                self.retries = 0;
                let said = (applied.generation, sent.set.set_digest);
                let plan = self.blame(applied, now, retry_after);
                self.good_at = Some(said);
                plan
            }
            Refusal::OldGeneration => Err(Ended::NewerGeneration),
            Refusal::BadArtefact | Refusal::Unfetched | Refusal::TooMany => {
                let text = cut(&applied.refusal_text, FAILURE_KEPT_MAX);
                answer.refused = Some(format!("the node refused the whole set: {text}"));
                sent.answer = Some(answer);
                let wait = REFUSED_RETRY.saturating_mul(1 << self.retries.min(10)).min(retry_after);
                self.retry = Some(now.instant + wait);
                Ok(false)
            }
        }
    }

    fn blame(&mut self, applied: &Applied, now: Now, retry_after: Duration) -> Result<bool, Ended> {
        let Some(sent) = &self.sent else { return Ok(false) };
        let first_answer = self.good.is_none();
        let mut blamed = Vec::new();
        for failure in &applied.failures {
            let Some((digest, program)) = artefact_of(failure, sent)? else { continue };
            let (mut culprits, sure) = culprits(failure, &program, &sent.versions, self.good.as_deref());
            // The node keeps versions that this operator does not know, and nothing else waits for the hook.
            let hold = first_answer && failure.kept && culprits.len() == program.policies.len();
            // One of several, and nobody says which: half of them are left out, until only those are that fail.
            let suspect = !hold && !sure && culprits.len() > 1;
            if suspect {
                culprits.drain(..culprits.len() / 2);
            }
            let message = message(failure, digest);
            blamed.extend(culprits.into_iter().map(|key| (key, hold, suspect, message.clone())));
        }
        let refused = !blamed.is_empty();
        // What was held back and does not fail any more runs; and the others are good, so it is the suspects' turn.
        let before = self.exclusions.len();
        self.exclusions.retain(|key, exclusion| {
            let over = exclusion.hold || (exclusion.suspect && !refused);
            !over || blamed.iter().any(|(blamed, ..)| blamed == key)
        });
        let released = self.exclusions.len() < before;
        let running = runs(sent, self.good.as_deref());
        let until = now.instant + retry_after;
        let mut good = running;
        for (key, hold, suspect, message) in blamed {
            let Some(tried) = sent.versions.digest(&key) else { continue };
            let earlier = good.digest(&key);
            if earlier == Some(tried) {
                // It ran before and does not any more: there is nothing to go back to.
                let mut versions = good.versions.clone();
                versions.remove(&key);
                good = Arc::new(Selection::new(versions));
            }
            let kept = earlier.is_some_and(|earlier| earlier != tried);
            let Some(version) = self.selection.digest(&key) else { continue };
            match self.exclusions.get_mut(&key) {
                // The version to go back to fails too.
                Some(before) if tried != version => before.kept = false,
                before => {
                    let hold = hold || before.is_some_and(|before| before.hold);
                    let kept = hold || kept;
                    self.exclusions.insert(key, Exclusion { version, until, message, kept, hold, suspect });
                }
            }
        }
        self.good = Some(good);
        if !refused && !applied.failures.is_empty() {
            // Such as a hook that cannot be taken away: no policy is to blame.
            self.retry = Some(until);
        }
        Ok(refused || released)
    }
}

/// The artefact that failed; `None` for hooks that were to be removed.
fn artefact_of(failure: &HookFailure, sent: &Sent) -> Result<Option<(ArtefactDigest, Arc<Program>)>, Ended> {
    if failure.digest.is_empty() {
        return Ok(None);
    }
    let digest: [u8; 32] = failure
        .digest
        .as_slice()
        .try_into()
        .map_err(|_| Ended::invalid("HookFailure.digest", "it does not have 32 bytes"))?;
    let digest = ArtefactDigest(digest);
    let program = sent.set.programs.get(&digest).cloned();
    let program = program.ok_or_else(|| Ended::invalid("HookFailure.digest", "it is not part of the set"))?;
    Ok(Some((digest, program)))
}

/// Versions that run after an answer: those of which no program failed, and before those that ran already.
fn runs(sent: &Sent, good: Option<&Selection>) -> Arc<Selection> {
    let failed = sent.answer.iter().flat_map(|answer| &answer.failed);
    let failed: BTreeSet<&PolicyKey> = failed
        .filter_map(|digest| sent.set.programs.get(digest))
        .flat_map(|program| &program.policies)
        .collect();
    if failed.is_empty() {
        return sent.set.running.clone();
    }
    let mut versions = sent.set.running.versions.clone();
    for key in failed {
        match good.and_then(|good| good.versions.get(key)) {
            Some(before) => drop(versions.insert(key.clone(), before.clone())),
            None => drop(versions.remove(key)),
        }
    }
    Arc::new(Selection::new(versions))
}

/// Whom a failure is of: the policy that the agent names, if it is new on this node. A policy that ran before is not to
/// blame while others in the same program are new; those are then. If nothing is new, the named one, or all. Also tells
/// whether each of them is known to fail; otherwise it may be any of them.
fn culprits(
    failure: &HookFailure,
    program: &Program,
    versions: &Selection,
    good: Option<&Selection>,
) -> (Vec<PolicyKey>, bool) {
    let ran = |key: &PolicyKey| {
        let before = good.and_then(|good| good.digest(key));
        before.is_some() && before == versions.digest(key)
    };
    let named = failure.path.as_deref().and_then(policy_of_path).filter(|key| program.policies.contains(key));
    let new: Vec<PolicyKey> = program.policies.iter().filter(|key| !ran(key)).cloned().collect();
    match named {
        Some(key) if !ran(&key) || new.is_empty() => (vec![key], true),
        _ if new.is_empty() => (program.policies.iter().cloned().collect(), false),
        _ => (new, false),
    }
}

/// The policy of `namespace/name: spec…`.
fn policy_of_path(path: &str) -> Option<PolicyKey> {
    let (policy, _) = path.split_once(": ")?;
    Some(match policy.split_once('/') {
        Some((namespace, name)) => PolicyKey { namespace: Some(namespace.to_owned()), name: name.to_owned() },
        None => PolicyKey { namespace: None, name: policy.to_owned() },
    })
}

/// A hook that should be gone.
fn left_over(failure: &HookFailure) -> String {
    let errno = if failure.errno == 0 { String::new() } else { format!(" with errno {}", failure.errno) };
    let text = cut(&failure.text, FAILURE_KEPT_MAX);
    format!("{}: taking it away failed{errno}: {text}", cut(&failure.hook, NAME_MAX))
}

fn message(failure: &HookFailure, digest: ArtefactDigest) -> String {
    let stage = match FailureStage::try_from(failure.stage) {
        Ok(FailureStage::Artefact) => "reading the program",
        Ok(FailureStage::Limit) => "finding room for it",
        Ok(FailureStage::Maps) => "making its maps",
        Ok(FailureStage::Load) => "loading it",
        Ok(FailureStage::Attach) => "attaching it",
        Ok(FailureStage::Switch) => "switching to it",
        Ok(FailureStage::Unspecified) | Err(_) => "an unknown step",
    };
    let mut text = cut(&failure.hook, NAME_MAX);
    if let Some(path) = &failure.path {
        let field = path.split_once(": ").map_or(path.as_str(), |(_, field)| field);
        text += &format!(" at {}", cut(field, NAME_MAX));
    }
    text += &format!(": {stage} failed");
    if failure.errno != 0 {
        text += &format!(" with errno {}", failure.errno);
    }
    let short = digest.0.iter().take(6).map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{text}: {} (program {short})", cut(&failure.text, FAILURE_KEPT_MAX))
}

/// At most so many bytes; of longer ones the beginning and, as verifier logs have the reason there, more of the end.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(most / 3);
    let tail = text.ceil_char_boundary(text.len() - most / 2);
    format!("{} … {}", text.get(..head).unwrap_or(""), text.get(tail..).unwrap_or(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_policies() {
        let key = |namespace: Option<&str>, name: &str| PolicyKey {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        };
        assert_eq!(policy_of_path("write: spec.kprobes[0]"), Some(key(None, "write")));
        assert_eq!(
            policy_of_path("default/write: spec.kprobes[0].args"),
            Some(key(Some("default"), "write"))
        );
        assert_eq!(policy_of_path("prologue"), None);
    }

    #[test]
    fn long_texts_keep_both_ends_and_their_characters() {
        let text = format!("begin{}end", "ä".repeat(2000));
        let short = cut(&text, 1024);
        assert!(short.len() < 1024 && short.starts_with("begin") && short.ends_with("end"), "{short}");
        assert_eq!(cut("short", 1024), "short");
    }
}
