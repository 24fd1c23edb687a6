//! In: problems and the kernels that have them. Out: the text that `kubectl apply` shows.

use std::collections::{BTreeMap, BTreeSet};

use policy_compiler::diagnostic::Diagnostic;

use crate::status::text::{Some5, clip, line};

/// Lines of a refusal; the API server passes on what it gets, and people read the first few.
const LINES_MAX: usize = 50;
/// Bytes of a line.
const LINE_MAX: usize = 1024;
/// Bytes of a warning: the API server cuts those of more than 256.
const WARNING_MAX: usize = 250;
/// Warnings: the API server passes on 4 KiB of them.
const WARNINGS_MAX: usize = 16;

/// Of a policy that is bad on any kernel.
pub(super) fn refusal(errors: &[&Diagnostic]) -> String {
    lines("the policy is not valid:", errors.iter().map(|error| line(error)))
}

/// Of a policy that some kernels cannot run, `able` of them can.
pub(super) fn incompatible(
    problems: &BTreeMap<String, BTreeSet<String>>,
    unable: &[&str],
    able: usize,
) -> String {
    let mut names = Some5::default();
    unable.iter().for_each(|release| names.push(*release));
    let head = match able {
        0 => format!("no kernel of the fleet can run the policy ({}):", names.names()),
        _ => format!("not every kernel of the fleet can run the policy, not {}:", names.names()),
    };
    let text = |(problem, releases): (&String, &BTreeSet<String>)| match releases.len() == unable.len() {
        true => problem.clone(),
        false => on_kernels("problem", releases, problem),
    };
    lines(&head, problems.iter().map(text))
}

/// `will not run on kernel 6.1, 6.6: text`.
pub(super) fn on_kernels(what: &str, releases: &BTreeSet<String>, text: &str) -> String {
    let mut names = Some5::default();
    releases.iter().for_each(|release| names.push(release.as_str()));
    format!("{what} on kernel {}: {text}", names.names())
}

/// Warnings within the API server's limits.
pub(super) fn warnings(all: Vec<String>) -> Vec<String> {
    let more = all.len().saturating_sub(WARNINGS_MAX);
    let mut some: Vec<String> =
        all.into_iter().take(WARNINGS_MAX).map(|warning| clip(&warning, WARNING_MAX)).collect();
    if more > 0 {
        some.push(format!("and {more} more; see the policy's status"));
    }
    some
}

fn lines(head: &str, all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(LINES_MAX);
    let mut text = head.to_owned();
    for line in all.take(LINES_MAX) {
        text.push('\n');
        text.push_str(&clip(&line, LINE_MAX));
    }
    if more > 0 {
        text.push_str(&format!("\nand {more} more"));
    }
    text
}
