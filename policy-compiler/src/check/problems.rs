//! In: problems found by the parts of `check`. Out: the diagnostics of one document.

use crds::manifest::PolicyKind;

use super::Checked;
use super::path::FieldPath;
use crate::diagnostic::{Code, Diagnostic, did_you_mean};
use crate::typed::{PolicyKey, TypedPolicy};

/// Most problems of one document that are reported.
const SHOWN_LIMIT: usize = 500;

/// Collects the problems of one document.
#[derive(Debug, Default)]
pub(super) struct Problems {
    diagnostics: Vec<Diagnostic>,
}

impl Problems {
    /// An error without a suggestion.
    pub(super) fn error(&mut self, code: Code, path: &FieldPath, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(code, path.as_str(), message));
    }

    /// An error and what to do about it.
    pub(super) fn error_help(
        &mut self,
        code: Code,
        path: &FieldPath,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.diagnostics.push(Diagnostic::error(code, path.as_str(), message).with_help(help));
    }

    /// A warning and what to do about it.
    pub(super) fn warn(&mut self, path: &FieldPath, message: impl Into<String>, help: impl Into<String>) {
        self.diagnostics.push(Diagnostic::warning(Code::Suspicious, path.as_str(), message).with_help(help));
    }

    /// Something of the language that this version does not implement.
    pub(super) fn unsupported(&mut self, path: &FieldPath, what: &str) {
        self.error(Code::Unsupported, path, format!("{what} is not implemented by this version"));
    }

    /// Refuses `path` as unsupported if it is in use.
    pub(super) fn unsupported_if(&mut self, used: bool, path: &FieldPath, key: &str) {
        if used {
            self.unsupported(&path.key(key), &format!("`{key}`"));
        }
    }

    /// Whether the policy is refused already.
    pub(super) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// Adds the diagnostics of another walk.
    pub(super) fn extend(&mut self, other: impl IntoIterator<Item = Diagnostic>) {
        self.diagnostics.extend(other);
    }

    /// Takes the diagnostics out.
    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    /// The result for a document: the policy only if nothing is an error.
    pub(super) fn conclude(
        mut self,
        line: usize,
        kind: Option<PolicyKind>,
        key: Option<PolicyKey>,
        policy: Option<TypedPolicy>,
    ) -> Checked {
        let refused = self.has_errors();
        self.cut();
        let diagnostics = self.diagnostics;
        Checked { line, kind, key, policy: policy.filter(|_| !refused), diagnostics }
    }

    /// Keeps the answer readable and bounded, errors before warnings if not all fit.
    fn cut(&mut self) {
        let more = self.diagnostics.len().saturating_sub(SHOWN_LIMIT);
        if more == 0 {
            return;
        }
        self.diagnostics.sort_by_key(|found| !found.is_error());
        self.diagnostics.truncate(SHOWN_LIMIT);
        let message = format!("{more} more problems are not shown");
        self.diagnostics.push(Diagnostic::warning(Code::Suspicious, "", message));
    }
}

/// Suggestion for a word outside a closed set: the likely misspelling, else all members.
pub(super) fn suggest(word: &str, members: &[&str]) -> String {
    match nearest(word, members) {
        Some(member) => format!("did you mean `{member}`?"),
        None => format!("one of: {}", members.join(", ")),
    }
}

/// The member that differs only in letter case, or else by few letters.
pub(super) fn nearest<'a>(word: &str, members: &[&'a str]) -> Option<&'a str> {
    let same = members.iter().find(|member| member.eq_ignore_ascii_case(word));
    same.copied().or_else(|| did_you_mean(word, members.iter().copied()))
}

/// `text` in backquotes, cut to a length that fits a message.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", printable(text, 60))
}

/// At most `limit` characters of `text`, with those that would act on a terminal made visible.
pub(super) fn printable(text: &str, limit: usize) -> String {
    let mut shown = String::new();
    for c in text.chars().take(limit) {
        match c.is_control() {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    if text.chars().nth(limit).is_some() {
        shown.push('…');
    }
    shown
}
