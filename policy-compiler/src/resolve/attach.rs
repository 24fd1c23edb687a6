//! In: one hook. Out: its [`Point`]s, by the first flavour of its list that this kernel has.

mod overrides;

use super::args::{self, Abi};
use super::{Point, ResolvedArg, ResolvedHook};
use crate::btf::{Kind, TypeId};
use crate::check::fits_field;
use crate::diagnostic::{Code, Diagnostic, did_you_mean};
use crate::kernel::Kernel;
use crate::typed::{ArgType, FilterTest, HookPoint, TypedHook, TypedPolicy};
use api::artefact::{Attach, EventKind, Flavour};

/// x86-64 trampolines take at most this many register arguments on kernels before 6.7.
const TRAMPOLINE_ARGS: usize = 6;

/// The parameters of an LSM hook that takes what its `security_*` function does.
const IN_ORDER: [u8; TRAMPOLINE_ARGS] = [0, 1, 2, 3, 4, 5];
/// `security_mmap_file(file, prot, flags)` calls `mmap_file(file, reqprot, prot, flags)`.
const MMAP_FILE: [u8; TRAMPOLINE_ARGS] = [0, 1, 3, 4, 5, 6];

/// The LSM hook that stands for a `security_*` function.
struct LsmHook {
    symbol: String,
    func: TypeId,
    /// Which parameter of the hook each of the function's is.
    order: &'static [u8; TRAMPOLINE_ARGS],
}

struct Resolver<'a, 'k> {
    policy: &'a TypedPolicy,
    hook: &'a TypedHook,
    kernel: &'k Kernel,
    problems: &'k mut Vec<Diagnostic>,
}

pub(super) fn resolve_hook<'a>(
    policy: &'a TypedPolicy,
    hook: &'a TypedHook,
    kernel: &Kernel,
    problems: &mut Vec<Diagnostic>,
) -> Option<ResolvedHook<'a>> {
    let mut resolver = Resolver { policy, hook, kernel, problems };
    match &hook.point {
        HookPoint::Kprobe { function } => resolver.function(function),
        HookPoint::Syscall { name } => resolver.syscall(name),
        HookPoint::Fentry { function, syscall } => resolver.fentry(function, *syscall),
        HookPoint::Tracepoint { subsystem, event } => resolver.tracepoint(subsystem, event),
        HookPoint::RawTracepoint { subsystem, event } => resolver.raw_tracepoint(subsystem, event),
        HookPoint::Lsm { hook } => resolver.lsm(hook),
    }
}

impl<'a> Resolver<'a, '_> {
    fn error(&mut self, code: Code, field: &str, message: String) -> &mut Diagnostic {
        self.problems.push(Diagnostic::error(code, format!("{}{field}", self.hook.path), message));
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    fn unknown(&mut self, field: &str, what: &str, name: &str, suggestion: Option<String>) {
        let message = format!("kernel {} has no {what} `{name}`", self.kernel.release());
        let problem = self.error(Code::UnknownFunction, field, message);
        problem.help = suggestion.map(|near| format!("did you mean `{near}`?"));
    }

    /// A kernel function by its own name, as a kprobe.
    fn function(&mut self, name: &str) -> Option<ResolvedHook<'a>> {
        let func = self.kernel.function(name);
        if func.is_none() && !self.kernel.has_symbol(name) {
            let near = renamed(name).filter(|near| self.kernel.function(near).is_some());
            let near = near.or_else(|| did_you_mean(name, self.kernel.symbols())).map(str::to_owned);
            self.unknown(".call", "function", name, near);
            return None;
        }
        let trampoline = func.filter(|func| self.fits_trampoline(*func) && !self.reads_unknown(*func));
        let modifiable =
            name.starts_with("security_") && trampoline.is_some_and(|func| self.returns_int(func));
        let exit = self.choose_exit(trampoline, name);
        if let Some(func) = trampoline
            && let Some(hook) = self.lsm_hook_of(name, func)
        {
            let entry = self.choose_entry(&[Flavour::Lsm], &hook.symbol, Some(hook.func));
            let abi = Abi::Security { func, order: hook.order };
            return self.points(entry, exit, abi, EventKind::Kprobe, name.to_owned());
        }
        let mut flavours = Vec::new();
        if trampoline.is_some() {
            flavours.extend(modifiable.then_some(Flavour::FmodRet));
            flavours.push(Flavour::Fentry);
        }
        flavours.push(Flavour::Kprobe);
        if self.hook.overrides() && !(modifiable && self.kernel.has(Flavour::FmodRet)) {
            self.no_override(format!("`{name}`"));
        }
        let abi = Abi::Function { func };
        let entry = self.choose_entry(&flavours, name, func);
        self.points(entry, exit, abi, EventKind::Kprobe, name.to_owned())
    }

    /// The LSM hook that a `security_*` function calls, if BPF LSM programs are called and it takes the same arguments.
    /// The kernel skips other trampoline programs on a CPU on which a task was preempted inside of them
    /// (kernel/bpf/trampoline.c, `__bpf_prog_enter_recur`); on preemptible kernels that lets calls through.
    fn lsm_hook_of(&self, name: &str, func: TypeId) -> Option<LsmHook> {
        let hook = name.strip_prefix("security_").filter(|_| self.kernel.lsm_called())?;
        let (hook, order) = match hook {
            "bprm_check" => ("bprm_check_security", &IN_ORDER),
            // `prot` follows what the program asked for.
            "mmap_file" => (hook, &MMAP_FILE),
            _ => (hook, &IN_ORDER),
        };
        let symbol = format!("bpf_lsm_{hook}");
        let lsm = self.kernel.function(&symbol)?;
        let (own, hooks) = (self.params(func), self.params(lsm));
        let same = own.iter().zip(order).all(|(param, at)| hooks.get(usize::from(*at)) == Some(param));
        let known = same && (own.len() == hooks.len() || order != &IN_ORDER);
        let refusable = self.returns_int(func) && self.returns_int(lsm);
        (known && refusable).then_some(LsmHook { symbol, func: lsm, order })
    }

    fn fentry(&mut self, name: &str, syscall: bool) -> Option<ResolvedHook<'a>> {
        let func = self.kernel.function(name);
        let Some(func) = func else {
            let near = did_you_mean(name, self.kernel.symbols()).map(str::to_owned);
            self.unknown(".call", "function in its BTF", name, near);
            return None;
        };
        if !self.fits_trampoline(func) {
            let message = format!("`{name}` has too many or too large arguments for a BPF trampoline");
            self.error(Code::KernelFeature, ".call", message).help = Some("use `kprobes`".to_owned());
            return None;
        }
        if if syscall { self.is_unknown(func, 0) } else { self.reads_unknown(func) } {
            let message = format!(
                "kernel {} does not describe a structure that `{name}` takes, so no BPF trampoline can read it",
                self.kernel.release()
            );
            self.error(Code::KernelFeature, ".call", message).help = Some("use `kprobes`".to_owned());
            return None;
        }
        let abi = if syscall {
            Abi::Syscall { name: name.trim_start_matches("__x64_sys_") }
        } else {
            Abi::Function { func: Some(func) }
        };
        let entry = self.choose_entry(&[Flavour::Fentry], name, Some(func));
        let exit = self.choose_exit(Some(func), name);
        self.points(entry, exit, abi, EventKind::Kprobe, name.to_owned())
    }

    fn syscall(&mut self, name: &str) -> Option<ResolvedHook<'a>> {
        let symbol = format!("__x64_sys_{name}");
        let func = self.kernel.function(&symbol);
        if func.is_none() && !self.kernel.has_symbol(&symbol) {
            if self.kernel.has_symbol(name) || self.kernel.function(name).is_some() {
                let message = format!("`{name}` is a kernel function, not a system call");
                self.error(Code::UnknownFunction, ".call", message).help =
                    Some("set `syscall: false`".to_owned());
                return None;
            }
            let all = self.kernel.symbols().filter_map(|symbol| symbol.strip_prefix("__x64_sys_"));
            let near = did_you_mean(name, all).map(|near| format!("sys_{near}"));
            self.unknown(".call", "system call", name, near);
            return None;
        }
        let func = func.filter(|func| self.hook.args.is_empty() || !self.is_unknown(*func, 0));
        let modifiable = func.is_some() && self.kernel.fmod_ret_syscalls();
        let mut flavours = Vec::new();
        flavours.extend(modifiable.then_some(Flavour::FmodRet));
        if self.hook.overrides() && self.kernel.override_return() && !modifiable {
            flavours.push(Flavour::Kprobe);
        }
        flavours.extend(func.map(|_| Flavour::Fentry));
        flavours.push(Flavour::Kprobe);
        flavours.push(Flavour::TpBtf);
        if self.hook.overrides() && !modifiable && !self.kernel.override_return() {
            self.no_override(format!("the system call `{name}`"));
        }
        let entry = self.choose_entry(&flavours, &symbol, func);
        let exit = self.choose_exit(func, &symbol);
        self.points(entry, exit, Abi::Syscall { name }, EventKind::Kprobe, symbol)
    }

    fn lsm(&mut self, name: &str) -> Option<ResolvedHook<'a>> {
        let target = format!("bpf_lsm_{name}");
        let Some(func) = self.kernel.function(&target) else {
            let all = self.kernel.btf.functions().filter_map(|symbol| symbol.strip_prefix("bpf_lsm_"));
            let near = did_you_mean(name, all).map(str::to_owned);
            self.unknown(".hook", "LSM hook", name, near);
            return None;
        };
        let abi = Abi::Function { func: Some(func) };
        if self.kernel.lsm_called() {
            if self.hook.overrides() && !self.returns_int(func) {
                self.nothing_to_override(name);
            }
            let entry = self.choose(&[Flavour::Lsm], &target, Some(func));
            return self.points(entry, None, abi, EventKind::Lsm, name.to_owned());
        }
        let symbol = format!("security_{name}");
        let security = self.kernel.function(&symbol).filter(|security| {
            self.returns_int(*security)
                && self.params(func) == self.params(*security)
                && self.kernel.has(Flavour::FmodRet)
        });
        if security.is_none() {
            let message = format!(
                "kernel {} does not call BPF LSM programs: `bpf` is not in its active LSM list (/sys/kernel/security/lsm), and `{symbol}` cannot take its place",
                self.kernel.release()
            );
            self.error(Code::KernelFeature, ".hook", message).help =
                Some("boot with `lsm=…,bpf`, or use `kprobes` on a `security_*` function".to_owned());
            return None;
        }
        let entry = self.choose(&[Flavour::FmodRet], &symbol, security);
        self.points(entry, None, abi, EventKind::Lsm, name.to_owned())
    }

    fn tracepoint(&mut self, subsystem: &str, event: &str) -> Option<ResolvedHook<'a>> {
        let name = format!("{subsystem}/{event}");
        let raw_syscalls = subsystem == "raw_syscalls" && self.kernel.has(Flavour::TpBtf);
        if raw_syscalls && matches!(event, "sys_enter" | "sys_exit") {
            let entry = self.choose(&[Flavour::TpBtf], event, None);
            return self.points(
                entry,
                None,
                Abi::RawSyscalls { exit: event == "sys_exit" },
                EventKind::Tracepoint,
                name,
            );
        }
        let Some(format) = self.kernel.tracepoint(subsystem, event) else {
            let known = self
                .kernel
                .tracepoints()
                .map(|tp| format!("{}/{}", tp.subsystem, tp.event))
                .collect::<Vec<_>>();
            let near = did_you_mean(&name, known.iter().map(String::as_str)).map(str::to_owned);
            self.unknown(".event", "tracepoint", &name, near);
            return None;
        };
        let entry = self.choose(&[Flavour::Tracepoint], &name, None);
        self.points(entry, None, Abi::Record { format }, EventKind::Tracepoint, name)
    }

    fn raw_tracepoint(&mut self, subsystem: &str, event: &str) -> Option<ResolvedHook<'a>> {
        let name = format!("{subsystem}/{event}");
        let Some(typedef) = self.kernel.btf.find(Kind::Typedef, &format!("btf_trace_{event}")) else {
            let all =
                self.kernel.btf.names_of(Kind::Typedef).filter_map(|name| name.strip_prefix("btf_trace_"));
            let near = did_you_mean(event, all).map(str::to_owned);
            self.unknown(".event", "raw tracepoint", event, near);
            return None;
        };
        let proto = self.kernel.btf.pointee(typedef).unwrap_or(typedef);
        let entry = self.choose(&[Flavour::TpBtf, Flavour::RawTp], event, Some(typedef));
        self.points(entry, None, Abi::RawTracepoint { proto }, EventKind::Tracepoint, name)
    }

    fn returns_int(&self, func: TypeId) -> bool {
        let ret = self.kernel.btf.strip(self.kernel.btf.return_type(func));
        self.kernel.btf.kind(ret) == Kind::Int
    }

    /// The types of a function's parameters, in C.
    fn params(&self, func: TypeId) -> Vec<String> {
        self.kernel.btf.params(func).into_iter().map(|ty| self.kernel.btf.spell(ty)).collect()
    }

    fn fits_trampoline(&self, func: TypeId) -> bool {
        let params = self.kernel.btf.params(func);
        let scalar = |ty: &TypeId| {
            let kind = self.kernel.btf.kind(self.kernel.btf.strip(*ty));
            matches!(kind, Kind::Int | Kind::Ptr | Kind::Enum | Kind::Enum64)
        };
        params.len() <= TRAMPOLINE_ARGS && params.iter().all(scalar)
    }

    /// Whether an argument is a pointer to a structure that was only declared where the function was compiled, as
    /// that of `__x64_sys_listen` is on Debian's 5.10. Verifiers let no typed program read it.
    fn is_unknown(&self, func: TypeId, index: u32) -> bool {
        let param = self.kernel.btf.params(func).get(index as usize).copied();
        let pointee = param.and_then(|param| self.kernel.btf.pointee(param));
        pointee.is_some_and(|ty| self.kernel.btf.kind(ty) == Kind::Fwd)
    }

    /// Whether the hook wants such an argument.
    fn reads_unknown(&self, func: TypeId) -> bool {
        self.hook.args.iter().any(|arg| self.is_unknown(func, arg.index))
    }

    fn choose(&mut self, flavours: &[Flavour], target: &str, func: Option<TypeId>) -> Option<Attach> {
        let found = flavours.iter().copied().find(|flavour| {
            let needs_symbol = matches!(flavour, Flavour::Kprobe | Flavour::Kretprobe);
            self.kernel.has(*flavour) && (!needs_symbol || self.kernel.has_symbol(target))
        });
        let Some(flavour) = found else {
            let names = flavours.iter().map(|flavour| flavour.describe()).collect::<Vec<_>>().join(", ");
            let message = format!(
                "kernel {} cannot attach to `{target}`: none of {names} works here",
                self.kernel.release()
            );
            self.error(Code::KernelFeature, "", message);
            return None;
        };
        let (target, btf_id) = match flavour {
            Flavour::TpBtf => {
                let event = if target.starts_with("__x64_sys_") { "sys_enter" } else { target };
                let typedef = self.kernel.btf.find(Kind::Typedef, &format!("btf_trace_{event}"));
                (event, typedef.map_or(0, |id| id.0))
            }
            Flavour::Kprobe | Flavour::Kretprobe | Flavour::RawTp | Flavour::Tracepoint => (target, 0),
            _ => (target, func.map_or(0, |id| id.0)),
        };
        Some(Attach { flavour: flavour as i32, target: target.to_owned(), btf_id, syscall: None })
    }

    /// The program at entry. A hook with a return value has one only to enforce; the rest is done at return.
    fn choose_entry(&mut self, flavours: &[Flavour], target: &str, func: Option<TypeId>) -> Option<Attach> {
        if self.hook.ret.is_some() && !self.hook.enforces() {
            return None;
        }
        self.choose(flavours, target, func)
    }

    /// The program at return, if the hook asks for the return value.
    fn choose_exit(&mut self, func: Option<TypeId>, target: &str) -> Option<Attach> {
        self.hook.ret.as_ref()?;
        if let Some(func) = func.filter(|_| self.kernel.has(Flavour::Fexit)) {
            return Some(Attach {
                flavour: Flavour::Fexit as i32,
                target: target.to_owned(),
                btf_id: func.0,
                syscall: None,
            });
        }
        let saves = self.hook.args.is_empty() || self.kernel.has(Flavour::Kprobe);
        if self.kernel.has(Flavour::Kretprobe) && self.kernel.has_symbol(target) && saves {
            return Some(Attach {
                flavour: Flavour::Kretprobe as i32,
                target: target.to_owned(),
                btf_id: 0,
                syscall: None,
            });
        }
        let message = format!(
            "kernel {} cannot report the return value of `{target}` together with its arguments: fexit does not work here",
            self.kernel.release()
        );
        self.error(Code::KernelFeature, ".return", message).help =
            Some("remove `return` and `returnArg`".to_owned());
        None
    }

    fn points(
        &mut self,
        entry: Option<Attach>,
        exit: Option<Attach>,
        abi: Abi<'_>,
        event: EventKind,
        name: String,
    ) -> Option<ResolvedHook<'a>> {
        let wants_exit = self.hook.ret.is_some();
        let entry = if wants_exit && !self.hook.enforces() { None } else { Some(entry?) };
        let exit = if wants_exit { Some(exit?) } else { None };
        if let Some(attach) = &entry {
            self.override_by_zero(attach);
        }
        let mut point = |attach: Attach, at_exit: bool| -> Option<Point> {
            let resolver = args::ArgResolver { kernel: self.kernel, abi: &abi, attach: &attach, at_exit };
            let args = resolver.all(&self.hook.args, self.problems);
            let ret = self.hook.ret.as_ref().filter(|_| at_exit);
            let ret = ret.map(|ret| resolver.ret(ret, self.problems)).transpose_ok()?;
            let syscall = resolver.syscall_number(&self.hook.path, self.problems).ok()?;
            let args = args?;
            check_fields(self.hook, &args, self.problems);
            Some(Point { attach: Attach { syscall, ..attach }, args, ret })
        };
        let kept =
            exit.as_ref().filter(|exit| exit.flavour() == Flavour::Kretprobe && !self.hook.args.is_empty());
        let save = kept.map(|exit| Point {
            attach: Attach { flavour: Flavour::Kprobe as i32, ..exit.clone() },
            args: Vec::new(),
            ret: None,
        });
        let exit = exit.map(|attach| point(attach, true)).transpose_ok()?;
        let entry = entry.map(|attach| point(attach, false)).transpose_ok()?;
        Some(ResolvedHook { policy: self.policy, hook: self.hook, entry, exit, save, event, name })
    }
}

/// `check` does not know what an `auto` field holds.
fn check_fields(hook: &TypedHook, args: &[ResolvedArg], problems: &mut Vec<Diagnostic>) {
    for filter in hook.selectors.iter().flat_map(|selector| &selector.filters) {
        let FilterTest::Arg { arg, test } = &filter.test else { continue };
        let auto = hook.args.get(*arg).is_some_and(|asked| asked.ty == ArgType::Auto);
        let Some(resolved) = args.get(*arg).filter(|_| auto) else { continue };
        if let Err(message) = fits_field(test, resolved.ty) {
            problems.push(Diagnostic::error(Code::ArgumentType, filter.path.clone(), message));
        }
    }
}

trait TransposeOk<T> {
    fn transpose_ok(self) -> Option<Option<T>>;
}

impl<T> TransposeOk<T> for Option<Option<T>> {
    /// `None` only if there was something and it failed.
    fn transpose_ok(self) -> Option<Option<T>> {
        match self {
            None => Some(None),
            Some(None) => None,
            Some(value) => Some(value),
        }
    }
}

/// Functions that kernels renamed.
fn renamed(name: &str) -> Option<&'static str> {
    Some(match name {
        // 6.2 split the hook by what is truncated.
        "security_path_truncate" => "security_file_truncate",
        "security_file_truncate" => "security_path_truncate",
        // 6.9.
        "security_bpf_map_alloc" => "security_bpf_map_create",
        "security_bpf_map_create" => "security_bpf_map_alloc",
        _ => return None,
    })
}
