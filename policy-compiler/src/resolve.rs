//! In: a [`TypedPolicy`] and a [`Kernel`]. Out: [`ResolvedHook`]s for `plan`: where each hook attaches, by which
//! flavour, and where each argument's value is found.
//!
//! Guarantees: every attach point exists in the kernel, every argument is inside its prototype and fits its type,
//! and every Override has a mechanism. All problems are collected.

mod args;
mod attach;

use crate::diagnostic::{Code, Diagnostic};
use crate::kernel::Kernel;
use crate::typed::{Action, ArgType, HookPoint, IntType, Mode, TypedHook, TypedPolicy};
use api::artefact::{Attach, EventKind};

/// A hook that this kernel can run.
#[derive(Debug, Clone)]
pub struct ResolvedHook<'a> {
    /// Its policy.
    pub policy: &'a TypedPolicy,
    /// What was asked.
    pub hook: &'a TypedHook,
    /// Program at entry, if anything is decided there.
    pub entry: Option<Point>,
    /// Program at return, if the hook wants the return value.
    pub exit: Option<Point>,
    /// Program at entry that keeps the arguments for a kretprobe, which does not see them.
    pub save: Option<Point>,
    /// Which event it gives.
    pub event: EventKind,
    /// `function_name`, or `subsystem/event`.
    pub name: String,
}

/// One attach point with its arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Program type and target.
    pub attach: Attach,
    /// Arguments in the order of the hook.
    pub args: Vec<ResolvedArg>,
    /// The return value, at return only.
    pub ret: Option<ResolvedArg>,
}

/// Where and how an argument is read. Equal values are the same argument, whichever policy asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResolvedArg {
    /// How the value is read, compared and shown; never [`ArgType::Auto`].
    pub ty: ArgType,
    /// Where its register-sized value is.
    pub fetch: Fetch,
    /// The kernel's own type of that value: what is above its width is not part of it. 64 bits if that is not known, and
    /// for pointers.
    pub held: IntType,
    /// The value is a pointer that BTF types, so members load directly.
    pub typed: bool,
    /// Strings and buffers are in user memory.
    pub user: bool,
    /// The length of a buffer.
    pub size: Option<Held>,
}

/// An integer that the kernel has somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Held {
    /// Where.
    pub fetch: Fetch,
    /// The kernel's own type.
    pub ty: IntType,
}

/// Where a register-sized value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fetch {
    /// Word of the context.
    Ctx(u8),
    /// Register in the `pt_regs` that the context is; byte offset.
    CtxRegs(u16),
    /// Register in the `pt_regs` that the first word of the context points to, typed; byte offset.
    TypedRegs(u16),
    /// Register in the `pt_regs` that register `via` of the context's `pt_regs` points to; byte offsets.
    NestedRegs {
        /// First argument register of the outer function.
        via: u16,
        /// The system call's own register.
        reg: u16,
    },
    /// Argument register that was kept at the function's entry, by position.
    Saved(u8),
    /// Register in the `pt_regs` that the first kept register points to; byte offset.
    SavedNested(u16),
    /// Field of a tracepoint record.
    Record {
        /// Bytes from its start.
        offset: u16,
        /// Bytes.
        size: u8,
        /// Sign-extended.
        signed: bool,
    },
    /// Address of a field of a tracepoint record.
    RecordAddress(u16),
    /// Address of a `__data_loc` array of a tracepoint record.
    DataLoc(u16),
    /// Known when the policy is compiled.
    Const(u16),
    /// What the function returns, at its entry: all bits set, which as a length is an error.
    NotYet,
}

/// Resolves all hooks of a policy.
///
/// # Errors
/// Every problem found; the policy is refused as a whole. Warnings go to `notes`.
pub fn resolve<'a>(
    policy: &'a TypedPolicy,
    kernel: &Kernel,
    notes: &mut Vec<Diagnostic>,
) -> Result<Vec<ResolvedHook<'a>>, Vec<Diagnostic>> {
    let mut hooks = Vec::new();
    let mut problems = Vec::new();
    for hook in &policy.hooks {
        let mut found = Vec::new();
        let resolved = attach::resolve_hook(policy, hook, kernel, &mut found);
        let missing = found.iter().any(|problem| problem.is_error() && problem.code == Code::UnknownFunction);
        if missing && hook.ignore_call_not_found {
            notes.extend(found.into_iter().filter(|p| p.code == Code::UnknownFunction).map(skipped));
            continue;
        }
        let refused = found.iter().any(Diagnostic::is_error);
        let (errors, warnings) = found.into_iter().partition::<Vec<_>, _>(Diagnostic::is_error);
        problems.extend(errors);
        notes.extend(warnings);
        if let (Some(resolved), false) = (resolved, refused) {
            hooks.push(resolved);
        }
    }
    if problems.is_empty() { Ok(hooks) } else { Err(problems) }
}

fn skipped(mut problem: Diagnostic) -> Diagnostic {
    problem.severity = crate::diagnostic::Severity::Warning;
    problem.message.push_str("; the hook is skipped (ignore.callNotFound)");
    problem
}

impl TypedHook {
    /// All actions at entry.
    pub(crate) fn entry_actions(&self) -> impl Iterator<Item = Action> + '_ {
        self.selectors.iter().flat_map(|selector| selector.actions.iter().copied())
    }

    /// Whether an action acts on the process or the call.
    pub fn enforces(&self) -> bool {
        self.entry_actions().any(Action::enforces)
    }

    pub(crate) fn overrides(&self) -> bool {
        self.entry_actions().any(|action| matches!(action, Action::Override { .. }))
    }
}

/// The hook that enforces in place of one that cannot, for suggestions.
pub(crate) fn security_hook_for(point: &HookPoint) -> Option<&'static str> {
    let HookPoint::Syscall { name } = point else { return None };
    Some(match name.as_str() {
        "open" | "openat" | "openat2" | "creat" => "security_file_open",
        "read" | "write" | "pread64" | "pwrite64" | "readv" | "writev" => "security_file_permission",
        "mmap" => "security_mmap_file",
        "connect" => "security_socket_connect",
        "bind" => "security_socket_bind",
        "listen" => "security_socket_listen",
        "socket" => "security_socket_create",
        "sendto" | "sendmsg" | "sendmmsg" => "security_socket_sendmsg",
        "execve" | "execveat" => "security_bprm_check",
        "unlink" | "unlinkat" => "security_inode_unlink",
        "rename" | "renameat" | "renameat2" => "security_inode_rename",
        "mkdir" | "mkdirat" => "security_inode_mkdir",
        "rmdir" => "security_inode_rmdir",
        "link" | "linkat" => "security_inode_link",
        "symlink" | "symlinkat" => "security_inode_symlink",
        "chmod" | "fchmod" | "fchmodat" => "security_path_chmod",
        "chown" | "fchown" | "fchownat" | "lchown" => "security_path_chown",
        "truncate" | "ftruncate" => "security_path_truncate",
        "mount" => "security_sb_mount",
        "umount" | "umount2" => "security_sb_umount",
        "pivot_root" => "security_sb_pivotroot",
        "ptrace" => "security_ptrace_access_check",
        "kill" | "tkill" | "tgkill" => "security_task_kill",
        "setuid" | "setreuid" | "setresuid" => "security_task_fix_setuid",
        "setgid" | "setregid" | "setresgid" => "security_task_fix_setgid",
        "bpf" => "security_bpf",
        "perf_event_open" => "security_perf_event_open",
        "init_module" | "finit_module" => "security_kernel_read_file",
        "setxattr" => "security_inode_setxattr",
        "clone" | "clone3" | "fork" | "vfork" => "security_task_alloc",
        _ => return None,
    })
}

pub(crate) fn mode_acts(policy: &TypedPolicy) -> bool {
    policy.mode == Mode::Enforce
}
