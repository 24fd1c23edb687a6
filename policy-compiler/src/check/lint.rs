//! In: a typed policy. Out: warnings about what is valid and yet probably not meant.

use super::path::FieldPath;
use super::problems::Problems;
use crate::typed::{Action, ArgTest, ArgType, FilterTest, HookPoint, Selector, TypedHook, TypedPolicy};

/// Functions whose work moved to another function in some release, with that release and the other function.
const MOVED: [(&str, &str, &str); 2] = [
    ("security_path_truncate", "security_file_truncate", "since 6.2 ftruncate(2) is seen by"),
    ("security_bpf_map_alloc", "security_bpf_map_create", "since 6.9 the function is called"),
];

/// Warns about the whole policy.
pub(super) fn check(policy: &TypedPolicy, problems: &mut Problems) {
    let functions: Vec<&str> = policy.hooks.iter().filter_map(|hook| function(&hook.point)).collect();
    for hook in &policy.hooks {
        moved(hook, &functions, problems);
        for (index, selector) in hook.selectors.iter().enumerate() {
            changeable_memory(hook, selector, problems);
            if policy.workloads.is_none() {
                unselective(selector, problems);
            }
            if index + 1 < hook.selectors.len() && matches_always(selector) {
                let path = FieldPath::root(&selector.path);
                let message = "the selector matches always, so those after it are never considered";
                problems.warn(&path, message, "move it to the end or add a filter");
            }
        }
    }
}

fn function(point: &HookPoint) -> Option<&str> {
    match point {
        HookPoint::Kprobe { function } | HookPoint::Fentry { function, .. } => Some(function),
        _ => None,
    }
}

fn moved(hook: &TypedHook, functions: &[&str], problems: &mut Problems) {
    let Some(function) = function(&hook.point) else { return };
    for (old, new, what) in MOVED {
        if function == old && !functions.contains(&new) {
            let path = FieldPath::root(&hook.path).key("call");
            let help = format!("hook both, each with `ignore.callNotFound: true`, to cover `{new}` too");
            problems.warn(&path, format!("{what} `{new}`"), help);
        }
    }
}

/// What a system call's pointer argument points to can change between the check and the kernel's own read.
fn changeable_memory(hook: &TypedHook, selector: &Selector, problems: &mut Problems) {
    let at_syscall = match &hook.point {
        HookPoint::Syscall { .. } => true,
        HookPoint::Tracepoint { subsystem, event } => {
            subsystem == "syscalls" && event.starts_with("sys_enter")
        }
        _ => false,
    };
    if !at_syscall || !selector.actions.iter().copied().any(Action::enforces) {
        return;
    }
    for filter in &selector.filters {
        let FilterTest::Arg { arg, test: ArgTest::Text { .. } } = &filter.test else { continue };
        let ty = hook.args.get(*arg).map(|arg| arg.ty);
        if matches!(ty, Some(ArgType::String | ArgType::CharBuf | ArgType::Auto)) {
            let message = "another thread can change this text between the test and the kernel's own read, and so \
                           evade the action";
            let help = "hook a `security_` function or an entry of `lsmhooks`, which see the kernel's copy";
            problems.warn(&FieldPath::root(&filter.path), message, help);
        }
    }
}

/// A signal for every process that passes by, init among them.
fn unselective(selector: &Selector, problems: &mut Problems) {
    let signals = selector.actions.iter().any(|action| matches!(action, Action::Signal { .. }));
    if signals && matches_always(selector) {
        let path = FieldPath::root(&selector.path);
        let message = "the signal goes to every process that gets here, system processes included";
        problems.warn(&path, message, "add a filter such as `matchBinaries` or `matchArgs`");
    }
}

fn matches_always(selector: &Selector) -> bool {
    selector.filters.is_empty() && selector.return_filters.is_empty()
}
