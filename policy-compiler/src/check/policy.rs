//! In: a deserialised specification. Out: the typed policy, its hooks checked one by one.

use crds::TracingPolicySpec;
use crds::manifest::PolicyKind;

use super::hook::{self, Section};
use super::path::FieldPath;
use super::problems::Problems;
use super::{lint, options, workload};
use crate::diagnostic::Code;
use crate::typed::{PolicyKey, TypedHook, TypedPolicy};

/// The semantic pass. The result is only meaningful if `problems` has no error. `sound` tells that `spec` is as
/// written, not repaired.
pub(super) fn check(
    kind: PolicyKind,
    key: &PolicyKey,
    spec: &TracingPolicySpec,
    sound: bool,
    problems: &mut Problems,
) -> TypedPolicy {
    let path = FieldPath::root("spec");
    check_sections(spec, &path, problems);
    refuse_unsupported(spec, &path, problems);
    let mode = options::check(&spec.options, &path.key("options"), problems);
    let hooks = check_hooks(spec, &path, problems);
    let workloads = workload::check_policy(kind, key, spec, &path, problems);
    let nodes = workload::check_nodes(spec.node_selector.as_ref(), &path.key("nodeSelector"), problems);
    let policy = TypedPolicy { key: key.clone(), mode, workloads, nodes, hooks };
    // What is refused lacks the parts that were wrong; warnings about the rest would mislead.
    if sound && !problems.has_errors() {
        lint::check(&policy, problems);
    }
    policy
}

/// Exactly one hook section may be used.
fn check_sections(spec: &TracingPolicySpec, path: &FieldPath, problems: &mut Problems) {
    let sections = [
        (Section::Kprobes.as_str(), spec.kprobes.len()),
        (Section::Fentries.as_str(), spec.fentries.len()),
        (Section::Tracepoints.as_str(), spec.tracepoints.len()),
        (Section::LsmHooks.as_str(), spec.lsmhooks.len()),
        ("uprobes", spec.uprobes.len()),
        ("usdts", spec.usdts.len()),
    ];
    let used: Vec<&str> = sections.iter().filter(|(_, len)| *len > 0).map(|(name, _)| *name).collect();
    match used.as_slice() {
        [_] => {}
        [] => {
            let help = "add one of kprobes, fentries, tracepoints, lsmhooks";
            problems.error_help(Code::MissingField, path, "the policy has no hook", help);
        }
        [first, others @ ..] => {
            for other in others {
                let message = format!("`{other}` beside `{first}`: a policy has one hook section");
                let help = "split it into one policy per section";
                problems.error_help(Code::Conflict, &path.key(other), message, help);
            }
        }
    }
}

/// What the language has and this version does not.
fn refuse_unsupported(spec: &TracingPolicySpec, path: &FieldPath, problems: &mut Problems) {
    let fields = [
        ("uprobes", !spec.uprobes.is_empty()),
        ("usdts", !spec.usdts.is_empty()),
        ("loader", spec.loader == Some(true)),
        ("lists", !spec.lists.is_empty()),
        ("enforcers", !spec.enforcers.is_empty()),
        ("selectorsMacros", !spec.selectors_macros.is_empty()),
    ];
    for (field, used) in fields {
        problems.unsupported_if(used, path, field);
    }
}

fn check_hooks(spec: &TracingPolicySpec, path: &FieldPath, problems: &mut Problems) -> Vec<TypedHook> {
    let mut hooks = Vec::new();
    for section in [Section::Kprobes, Section::Fentries] {
        let specs = if section == Section::Kprobes { &spec.kprobes } else { &spec.fentries };
        for (index, spec) in specs.iter().enumerate() {
            let path = path.key(section.as_str()).item(index);
            hooks.extend(hook::check_function(section, spec, &path, problems));
        }
    }
    for (index, spec) in spec.tracepoints.iter().enumerate() {
        let path = path.key(Section::Tracepoints.as_str()).item(index);
        hooks.extend(hook::check_tracepoint(spec, &path, problems));
    }
    for (index, spec) in spec.lsmhooks.iter().enumerate() {
        let path = path.key(Section::LsmHooks.as_str()).item(index);
        hooks.extend(hook::check_lsm(spec, &path, problems));
    }
    hooks
}
