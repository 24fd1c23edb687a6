//! In: an attach point and a hook's arguments. Out: [`ResolvedArg`]s; the calling convention and BTF decide where
//! values are and whether the asked type can be right.

mod record;
mod returns;
mod types;

use super::{Fetch, Held, ResolvedArg};
use crate::btf::{Kind, TypeId, VOID};
use crate::diagnostic::{Code, Diagnostic};
use crate::kernel::Kernel;
use crate::typed::{ArgType, IntType, TypedArg};
use api::artefact::{Attach, Flavour};
use api::profile::TracepointFormat;

/// What arguments a hook has, whichever flavour reaches it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Abi<'a> {
    /// A kernel function; its prototype where BTF has it.
    Function { func: Option<TypeId> },
    /// A `security_*` function that is seen at the LSM hook it calls, which has its parameters at these positions.
    Security { func: TypeId, order: &'static [u8; 6] },
    /// A system call by name without prefix.
    Syscall { name: &'a str },
    /// `raw_syscalls/sys_enter` or `sys_exit`, indices as in the tracefs format.
    RawSyscalls { exit: bool },
    /// A tracepoint record.
    Record { format: &'a TracepointFormat },
    /// A raw tracepoint; its prototype starts with the probe's private pointer.
    RawTracepoint { proto: TypeId },
}

pub(super) struct ArgResolver<'a> {
    pub kernel: &'a Kernel,
    pub abi: &'a Abi<'a>,
    pub attach: &'a Attach,
    pub at_exit: bool,
}

/// x86-64 function argument registers, as members of `struct pt_regs`.
const FUNCTION_REGS: [&str; 6] = ["di", "si", "dx", "cx", "r8", "r9"];
/// x86-64 system call argument registers.
const SYSCALL_REGS: [&str; 6] = ["di", "si", "dx", "r10", "r8", "r9"];

/// Arguments of LSM hooks that kernels pass as NULL: anonymous memory has no file (mm/util.c), a signal from a system call
/// no other credentials (kernel/signal.c), a repaired connection no packet (net/ipv4/tcp.c); a module or firmware that
/// is read from memory no file.
const NULLABLE: [(&str, u32); 5] = [
    ("bpf_lsm_mmap_file", 0),
    ("bpf_lsm_task_kill", 3),
    ("bpf_lsm_inet_conn_established", 1),
    ("bpf_lsm_kernel_read_file", 0),
    ("bpf_lsm_kernel_post_read_file", 0),
];

type Found = Result<ResolvedArg, Diagnostic>;

impl ArgResolver<'_> {
    fn flavour(&self) -> Flavour {
        self.attach.flavour()
    }

    fn btf_typed(&self) -> bool {
        matches!(
            self.flavour(),
            Flavour::Fentry | Flavour::Fexit | Flavour::FmodRet | Flavour::Lsm | Flavour::TpBtf
        )
    }

    /// Whether the verifier may take the argument for never NULL although it can be: it trusts those of LSM hooks and of
    /// tracepoints, drops tests for NULL and loads without fault handling (kernel/bpf/btf.c, `prog_args_trusted`).
    fn may_be_null(&self, index: u32) -> bool {
        match self.flavour() {
            Flavour::TpBtf => true,
            Flavour::Lsm => NULLABLE.contains(&(self.attach.target.as_str(), index)),
            _ => false,
        }
    }

    pub(super) fn all(&self, args: &[TypedArg], problems: &mut Vec<Diagnostic>) -> Option<Vec<ResolvedArg>> {
        let mut out = Vec::new();
        for arg in args {
            match self.arg(arg, problems) {
                Ok(resolved) => out.push(resolved),
                Err(problem) => problems.push(problem),
            }
        }
        (out.len() == args.len()).then_some(out)
    }

    /// Only attach points that see every system call compare its number.
    pub(super) fn syscall_number(
        &self,
        path: &str,
        problems: &mut Vec<Diagnostic>,
    ) -> Result<Option<u32>, ()> {
        let Abi::Syscall { name } = self.abi else { return Ok(None) };
        if self.flavour() != Flavour::TpBtf {
            return Ok(None);
        }
        let fallback = format!(
            "`{name}` is seen through the tracepoint sys_enter: neither fentry nor kprobe works on this kernel"
        );
        problems.push(Diagnostic::warning(Code::KernelFeature, path, fallback));
        match api::syscalls::number_x64(name) {
            Some(number) => Ok(Some(number)),
            None => {
                let message = format!("the number of system call `{name}` is not known");
                problems.push(Diagnostic::error(Code::UnknownFunction, format!("{path}.call"), message));
                Err(())
            }
        }
    }

    fn arg(&self, arg: &TypedArg, problems: &mut Vec<Diagnostic>) -> Found {
        let size = arg.size_arg.map(|index| self.size(arg, index)).transpose()?;
        if arg.ty == ArgType::Nop {
            return Ok(ResolvedArg::plain(arg.ty));
        }
        let mut resolved = match self.abi {
            Abi::Record { format } => self.record_arg(arg, format)?,
            Abi::RawSyscalls { exit } => self.raw_syscall_arg(arg, *exit)?,
            _ => {
                let fetch = self.word(arg, arg.index, "index")?;
                let typed = self.check_type(arg, problems)?;
                let user = matches!(self.abi, Abi::Syscall { .. });
                // Of a system call's argument the policy may want all bits that the process passed.
                let held = if user { IntType::U64 } else { self.held(self.param(arg.index)) };
                ResolvedArg { fetch, held, typed, user, ..ResolvedArg::plain(arg.ty) }
            }
        };
        resolved.size = resolved.size.or(size);
        if arg.return_copy {
            // read(2)-like: as many bytes as the call returned. At entry nothing is there to be read.
            resolved.size = Some(match self.at_exit {
                true => self.returned_length(arg)?,
                false => Held { fetch: Fetch::NotYet, ty: IntType::S64 },
            });
        }
        if arg.ty == ArgType::CharBuf && resolved.size.is_none() {
            let problem = Diagnostic::error(
                Code::MissingField,
                format!("{}.sizeArgIndex", arg.path),
                "a `char_buf` needs its length",
            );
            return Err(problem.with_help("set `sizeArgIndex` to the position (from 1) of the argument with the length, or `returnCopy: true`"));
        }
        Ok(resolved)
    }

    /// The length of a buffer: argument `index`, of tracepoints the field at that place in the format.
    fn size(&self, arg: &TypedArg, index: u32) -> Result<Held, Diagnostic> {
        match self.abi {
            Abi::Record { format } => {
                let field = self.field(arg, format, index, "sizeArgIndex")?;
                let scalar = field.array == 0 && matches!(field.size, 1 | 2 | 4 | 8);
                let (offset, size) = (field.offset as u16, field.size as u8);
                let fetch = Fetch::Record { offset, size, signed: field.signed };
                match scalar {
                    true => Ok(Held { fetch, ty: IntType::U64 }),
                    false => Err(self.no_length(arg, format!("field `{}` (`{}`)", field.name, field.ctype))),
                }
            }
            Abi::RawSyscalls { .. } => Err(self.no_length(arg, format!("what `{}` has", self.attach.target))),
            _ => {
                let param = self.param(index);
                if param.is_some_and(|ty| self.kernel.btf.pointee(ty).is_some()) {
                    return Err(self.no_length(arg, format!("argument {index}, a pointer,")));
                }
                Ok(Held { fetch: self.word(arg, index, "sizeArgIndex")?, ty: self.held(param) })
            }
        }
    }

    fn no_length(&self, arg: &TypedArg, what: String) -> Diagnostic {
        let message = format!("{what} is not the length of a buffer");
        let help = "`sizeArgIndex` is the position, counted from 1, of the number of bytes";
        Diagnostic::error(Code::ArgumentType, format!("{}.sizeArgIndex", arg.path), message).with_help(help)
    }

    /// How the kernel holds a parameter of this type.
    fn held(&self, ty: Option<TypeId>) -> IntType {
        let btf = &self.kernel.btf;
        let ty = ty.map(|ty| btf.strip(ty));
        match ty.filter(|ty| matches!(btf.kind(*ty), Kind::Int | Kind::Enum)) {
            Some(ty) => int_type(btf.size(ty).unwrap_or(8), btf.is_signed(ty)),
            None => IntType::U64,
        }
    }

    /// Type of a parameter, where it is known.
    fn param(&self, index: u32) -> Option<TypeId> {
        let params = match self.abi {
            // Wrappers take all of them as `long`.
            Abi::Syscall { name } => self.inner(name, "__do_sys_").unwrap_or_default(),
            _ => self.params(),
        };
        params.get(index as usize).copied().filter(|ty| *ty != VOID)
    }

    /// Parameters of a function inside of a system call; it may be inlined away.
    fn inner(&self, name: &str, prefix: &str) -> Option<Vec<TypeId>> {
        let params = self.kernel.btf.params(self.kernel.function(&format!("{prefix}{name}"))?);
        Some(params).filter(|params| !params.is_empty())
    }

    /// Where the register-sized value of argument `index`, which `field` names, is.
    fn word(&self, arg: &TypedArg, index: u32, field: &str) -> Result<Fetch, Diagnostic> {
        let limit = self.params().len() as u32;
        if index >= limit {
            let message = format!(
                "argument {index} does not exist: `{}` has {limit} (0 to {})",
                self.attach.target,
                limit.saturating_sub(1)
            );
            return Err(Diagnostic::error(Code::ArgumentIndex, format!("{}.{field}", arg.path), message));
        }
        let reg = |names: [&'static str; 6]| {
            let name = names.get(index as usize).copied().unwrap_or("r9");
            self.kernel.offset("pt_regs", name).map(|at| at as u16).ok_or_else(|| no_member(arg, "pt_regs"))
        };
        Ok(match (self.abi, self.flavour()) {
            (Abi::Syscall { .. }, Flavour::Kretprobe) => Fetch::SavedNested(reg(SYSCALL_REGS)?),
            (_, Flavour::Kretprobe) => Fetch::Saved(index as u8),
            (Abi::Syscall { .. }, Flavour::Kprobe) => {
                let via =
                    self.kernel.offset("pt_regs", "di").ok_or_else(|| no_member(arg, "pt_regs"))? as u16;
                Fetch::NestedRegs { via, reg: reg(SYSCALL_REGS)? }
            }
            (Abi::Syscall { .. }, _) => Fetch::TypedRegs(reg(SYSCALL_REGS)?),
            (_, Flavour::Kprobe) => Fetch::CtxRegs(reg(FUNCTION_REGS)?),
            (Abi::Security { order, .. }, Flavour::Lsm) => {
                Fetch::Ctx(order.get(index as usize).copied().unwrap_or(0))
            }
            _ => Fetch::Ctx(index as u8),
        })
    }

    /// Parameter types; `VOID` where unknown.
    fn params(&self) -> Vec<TypeId> {
        let unknown = vec![VOID; 6];
        match self.abi {
            Abi::Function { func: Some(func) } | Abi::Security { func, .. } => self.kernel.btf.params(*func),
            Abi::Function { func: None } => unknown,
            Abi::Syscall { name } => {
                self.inner(name, "__do_sys_").or_else(|| self.inner(name, "__se_sys_")).unwrap_or(unknown)
            }
            Abi::RawTracepoint { proto } => self.kernel.btf.params(*proto).into_iter().skip(1).collect(),
            Abi::RawSyscalls { .. } | Abi::Record { .. } => unknown,
        }
    }
}

impl ResolvedArg {
    /// Of this type, with nothing else said yet.
    fn plain(ty: ArgType) -> ResolvedArg {
        let (fetch, held) = (Fetch::Ctx(0), IntType::U64);
        ResolvedArg { ty, fetch, held, typed: false, user: false, size: None }
    }
}

fn int_type(bytes: u32, signed: bool) -> IntType {
    match (bytes, signed) {
        (1, true) => IntType::S8,
        (1, false) => IntType::U8,
        (2, true) => IntType::S16,
        (2, false) => IntType::U16,
        (4, true) => IntType::S32,
        (4, false) => IntType::U32,
        (_, true) => IntType::S64,
        (_, false) => IntType::U64,
    }
}

fn no_member(arg: &TypedArg, member: &str) -> Diagnostic {
    Diagnostic::error(Code::KernelFeature, arg.path.clone(), format!("the kernel's BTF has no `{member}`"))
}
