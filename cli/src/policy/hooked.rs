//! In: where a hook attaches. Out: by which mechanism, and why by that one.

use api::artefact::{Attach, Flavour};
use policy_compiler::Kernel;
use policy_compiler::typed::{Action, HookPoint, TypedHook};

/// `FLAVOUR on TARGET`.
pub fn place(attach: &Attach) -> String {
    let number = attach.syscall.map(|number| format!(" for system call {number} only")).unwrap_or_default();
    format!("{} on {}{number}", attach.flavour().describe(), attach.target)
}

/// What is hooked, as the policy says it.
pub fn point(point: &HookPoint) -> String {
    match point {
        HookPoint::Kprobe { function } => format!("kernel function {function}"),
        HookPoint::Syscall { name } => format!("system call {name}"),
        HookPoint::Fentry { function, .. } => format!("kernel function {function}"),
        HookPoint::Tracepoint { subsystem, event } => format!("tracepoint {subsystem}/{event}"),
        HookPoint::RawTracepoint { subsystem, event } => format!("raw tracepoint {subsystem}/{event}"),
        HookPoint::Lsm { hook } => format!("LSM hook {hook}"),
    }
}

/// Why this mechanism.
pub fn why(hook: &TypedHook, attach: &Attach, kernel: &Kernel) -> String {
    let syscall = matches!(hook.point, HookPoint::Syscall { .. });
    let overrides = hook
        .selectors
        .iter()
        .flat_map(|selector| &selector.actions)
        .any(|action| matches!(action, Action::Override { .. }));
    let words = match attach.flavour() {
        Flavour::FmodRet if matches!(hook.point, HookPoint::Lsm { .. }) => {
            "`bpf` is not among this kernel's active security modules, and this function is where its LSM hook is called"
        }
        Flavour::FmodRet if overrides => {
            "Override replaces the return value, and this mechanism does it before the function runs"
        }
        Flavour::FmodRet => {
            "the cheapest way in, and policies that override the function can share the program"
        }
        Flavour::Lsm if !matches!(hook.point, HookPoint::Lsm { .. }) => {
            "this function calls that LSM hook, where a program can refuse and is never skipped by the kernel"
        }
        Flavour::Lsm => "this kernel calls BPF programs at its LSM hooks",
        Flavour::Fentry => "the cheapest way into a function: a direct call with typed arguments",
        Flavour::Fexit => "the policy asks for the return value, and here arguments are still known",
        Flavour::Kprobe if syscall && overrides => {
            "Override of a system call needs bpf_override_return, a kprobe's"
        }
        Flavour::Kprobe if !kernel.has(Flavour::Fentry) => "this kernel has no BPF trampolines",
        Flavour::Kprobe => "its arguments are unknown to BTF or do not fit a BPF trampoline",
        Flavour::Kretprobe => "the policy asks for the return value, and this kernel has no BPF trampolines",
        Flavour::TpBtf if syscall => {
            "neither fentry nor kprobes work on this kernel, and all system calls pass this tracepoint"
        }
        Flavour::TpBtf => "the cheapest way into a tracepoint: typed arguments, no record",
        Flavour::RawTp => "this kernel has no BTF-typed tracepoints",
        Flavour::Tracepoint => "argument indices are fields of the tracepoint's record",
        Flavour::Unspecified => "nothing else is known",
    };
    words.to_owned()
}
