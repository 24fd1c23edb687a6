//! In: `selectors` of a hook. Out: typed selectors: filters, ANDed, and actions.

use crds::selector::SelectorSpec;

use super::argument::ArgSlot;
use super::hook::Section;
use super::path::FieldPath;
use super::problems::Problems;
use super::{action, capability, filter, process, workload};
use crate::diagnostic::Code;
use crate::typed::{Action, Filter, HookPoint, Selector};

/// Most selectors of a hook.
const SELECTORS_LIMIT: usize = 5;

/// What selectors need to know of their hook.
#[derive(Debug, Clone, Copy)]
pub(super) struct HookView<'a> {
    /// Section of the hook.
    pub(super) section: Section,
    /// What is hooked, unless it has errors.
    pub(super) point: Option<&'a HookPoint>,
    /// Arguments by position.
    pub(super) slots: &'a [ArgSlot],
    /// Return value.
    pub(super) ret: Option<&'a ArgSlot>,
}

/// Checks all selectors of the hook at `hook`.
pub(super) fn check_all(
    view: &HookView<'_>,
    selectors: &[SelectorSpec],
    hook: &FieldPath,
    problems: &mut Problems,
) -> Vec<Selector> {
    let path = hook.key("selectors");
    if selectors.len() > SELECTORS_LIMIT {
        let message = format!("{} selectors, at most {SELECTORS_LIMIT} are possible", selectors.len());
        problems.error(Code::OutOfRange, &path, message);
    }
    let check = |(index, spec)| check_one(view, spec, &path.item(index), problems);
    selectors.iter().enumerate().map(check).collect()
}

fn check_one(
    view: &HookView<'_>,
    spec: &SelectorSpec,
    path: &FieldPath,
    problems: &mut Problems,
) -> Selector {
    refuse_unsupported(spec, path, problems);
    let mut actions = action::check_all(
        view,
        action::Moment::Entry,
        &spec.match_actions,
        &path.key("matchActions"),
        problems,
    );
    if actions.is_empty() {
        actions.push(Action::Post { rate_limit: None });
    }
    let (return_filters, return_actions) = check_return(view, spec, path, problems);
    Selector {
        path: path.to_string(),
        label: spec.label.clone().filter(|label| !label.is_empty()),
        filters: check_filters(view, spec, path, problems),
        actions,
        return_filters,
        return_actions,
    }
}

fn refuse_unsupported(spec: &SelectorSpec, path: &FieldPath, problems: &mut Problems) {
    problems.unsupported_if(!spec.macros.is_empty(), path, "macros");
    problems.unsupported_if(!spec.match_data.is_empty(), path, "matchData");
    problems.unsupported_if(!spec.match_namespace_changes.is_empty(), path, "matchNamespaceChanges");
    problems.unsupported_if(!spec.match_capability_changes.is_empty(), path, "matchCapabilityChanges");
}

/// All filters on the entry, in the order of evaluation.
fn check_filters(
    view: &HookView<'_>,
    spec: &SelectorSpec,
    path: &FieldPath,
    problems: &mut Problems,
) -> Vec<Filter> {
    let workloads = path.key("matchWorkloads");
    let mut filters = workload::check_filter(spec.match_workloads.as_ref(), &workloads, problems);
    filters.extend(process::check_binaries(&spec.match_binaries, &path.key("matchBinaries"), problems));
    let parents = path.key("matchParentBinaries");
    filters.extend(process::check_parent_binaries(&spec.match_parent_binaries, &parents, problems));
    filters.extend(process::check_pids(&spec.match_pids, &path.key("matchPIDs"), problems));
    filters.extend(process::check_namespaces(&spec.match_namespaces, &path.key("matchNamespaces"), problems));
    let capabilities = path.key("matchCapabilities");
    filters.extend(capability::check_filters(&spec.match_capabilities, &capabilities, problems));
    filters.extend(filter::check_args(view.slots, &spec.match_args, &path.key("matchArgs"), problems));
    filters
}

fn check_return(
    view: &HookView<'_>,
    spec: &SelectorSpec,
    path: &FieldPath,
    problems: &mut Problems,
) -> (Vec<Filter>, Vec<Action>) {
    let (args, actions) = (path.key("matchReturnArgs"), path.key("matchReturnActions"));
    let functions = matches!(view.section, Section::Kprobes | Section::Fentries);
    let used =
        [(&args, !spec.match_return_args.is_empty()), (&actions, !spec.match_return_actions.is_empty())];
    for (path, _) in used.iter().filter(|(_, used)| *used) {
        if !functions {
            let message = format!("`{}` have no return value to test", view.section.as_str());
            problems.error_help(Code::Conflict, path, message, "use `kprobes` or `fentries`");
        } else if view.ret.is_none() {
            let help = "add `return: true` and `returnArg` to the hook";
            problems.error_help(Code::Conflict, path, "the hook does not observe the return", help);
        }
    }
    let filters = match view.ret {
        Some(ret) => filter::check_return_args(ret, &spec.match_return_args, &args, problems),
        None => Vec::new(),
    };
    let moment = action::Moment::Return;
    (filters, action::check_all(view, moment, &spec.match_return_actions, &actions, problems))
}
