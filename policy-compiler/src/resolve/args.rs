//! In: an attach point and a hook's arguments. Out: [`ResolvedArg`]s; the calling convention and BTF decide where
//! values are and whether the asked type can be right.

use super::{Fetch, Held, ResolvedArg};
use crate::btf::{Kind, TypeId, VOID};
use crate::diagnostic::{Code, Diagnostic};
use crate::kernel::Kernel;
use crate::typed::{ArgType, IntType, TypedArg};
use api::artefact::{Attach, Flavour};
use api::profile::{TracepointField, TracepointFormat};

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

    pub(super) fn ret(&self, arg: &TypedArg, problems: &mut Vec<Diagnostic>) -> Option<ResolvedArg> {
        let checked = self.check_return(arg).and_then(|()| self.returned(arg));
        match checked {
            Ok(Held { fetch, ty }) => Some(ResolvedArg { fetch, held: ty, ..ResolvedArg::plain(arg.ty) }),
            Err(problem) => {
                problems.push(problem);
                None
            }
        }
    }

    /// Where the return value is.
    fn returned(&self, arg: &TypedArg) -> Result<Held, Diagnostic> {
        let params = match self.abi {
            Abi::Function { func: Some(func) } | Abi::Security { func, .. } => {
                self.kernel.btf.params(*func).len()
            }
            _ => 1,
        };
        let fetch = match self.flavour() {
            Flavour::Kretprobe => {
                let at = self.kernel.offset("pt_regs", "ax").ok_or_else(|| no_member(arg, "pt_regs.ax"))?;
                Fetch::CtxRegs(at as u16)
            }
            _ => Fetch::Ctx(params as u8),
        };
        Ok(Held { fetch, ty: self.held(self.return_type()) })
    }

    /// Type of the return value, where it is known; system calls return a `long`.
    fn return_type(&self) -> Option<TypeId> {
        match self.abi {
            Abi::Function { func: Some(func) } | Abi::Security { func, .. } => {
                Some(self.kernel.btf.return_type(*func))
            }
            _ => None,
        }
    }

    /// Whether the return value can be read as the type that is asked.
    fn check_return(&self, arg: &TypedArg) -> Result<(), Diagnostic> {
        let btf = &self.kernel.btf;
        let wrong = |why: String| {
            let message =
                format!("what `{}` returns cannot be read as {}: {why}", self.attach.target, arg.ty.name());
            Err(Diagnostic::error(Code::ArgumentType, format!("{}.type", arg.path), message))
        };
        let text = matches!(arg.ty, ArgType::String | ArgType::CharBuf);
        if arg.ty == ArgType::CharBuf {
            let help = "for a buffer that the function fills set `returnCopy: true` on its argument";
            return wrong("it has no length".to_owned()).map_err(|problem| problem.with_help(help));
        }
        let Some(ret) = self.return_type() else {
            let number = matches!(self.abi, Abi::Syscall { .. }) && (text || arg.ty.structures().is_some());
            return if number { wrong("a system call returns a number".to_owned()) } else { Ok(()) };
        };
        if btf.kind(btf.strip(ret)) == Kind::Void {
            return if arg.ty == ArgType::Nop { Ok(()) } else { wrong("it returns nothing".to_owned()) };
        }
        let pointee = btf.pointee(ret);
        let structure = pointee.filter(|ty| matches!(btf.kind(*ty), Kind::Struct | Kind::Union));
        let small = pointee.is_none() && btf.size(ret).is_some_and(|size| size < 8);
        let fits = match (arg.ty.structures(), structure) {
            (Some(names), Some(ty)) => names.contains(&btf.name(ty)) || is_typedef_of(self.kernel, names, ty),
            (Some(_), None) => !small,
            (None, structure) => match arg.ty {
                ArgType::String => structure.is_none() && !small,
                ArgType::Capability | ArgType::Fd => pointee.is_none(),
                _ => true,
            },
        };
        if fits { Ok(()) } else { wrong(format!("the kernel's type is `{}`", btf.spell(ret))) }
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

    /// The number of bytes that the function filled: what it returns.
    fn returned_length(&self, arg: &TypedArg) -> Result<Held, Diagnostic> {
        let btf = &self.kernel.btf;
        let length = self.return_type().is_none_or(|ty| btf.kind(btf.strip(ty)) == Kind::Int);
        if !length {
            let message = format!("`{}` does not return how many bytes it filled", self.attach.target);
            return Err(Diagnostic::error(Code::ArgumentType, format!("{}.returnCopy", arg.path), message));
        }
        let Held { fetch, ty } = self.returned(arg)?;
        // Errors are negative.
        Ok(Held { fetch, ty: if ty == IntType::U64 { IntType::S64 } else { ty } })
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

    /// Whether members load directly.
    fn check_type(&self, arg: &TypedArg, problems: &mut Vec<Diagnostic>) -> Result<bool, Diagnostic> {
        let syscall = matches!(self.abi, Abi::Syscall { .. });
        if syscall && arg.ty != ArgType::Sockaddr && arg.ty.structures().is_some() {
            let message = format!(
                "a system call takes no structures of the kernel, so argument {} cannot be read as {}",
                arg.index,
                arg.ty.name()
            );
            let help = "numbers of open files are `fd`, names of files `string`";
            let problem = Diagnostic::error(Code::ArgumentType, format!("{}.type", arg.path), message);
            return Err(problem.with_help(help));
        }
        let Some(param) = self.param(arg.index) else { return Ok(false) };
        let btf = &self.kernel.btf;
        let pointee = btf.pointee(param);
        let structure = pointee.filter(|ty| matches!(btf.kind(*ty), Kind::Struct | Kind::Union));
        let contradiction = || {
            let message = format!(
                "argument {} of `{}` cannot be read as {}: the kernel's type is `{}`",
                arg.index,
                self.attach.target,
                arg.ty.name(),
                btf.spell(param)
            );
            Err(Diagnostic::error(Code::ArgumentType, format!("{}.type", arg.path), message))
        };
        if syscall {
            // The author may know better than the prototype what a pointer or a `long` is.
            let small = pointee.is_none() && btf.size(param).is_some_and(|size| size < 8);
            return match arg.ty {
                ArgType::String | ArgType::CharBuf | ArgType::Sockaddr if small => contradiction(),
                ArgType::Fd | ArgType::Capability if pointee.is_some() => contradiction(),
                _ => Ok(false),
            };
        }
        if let Some(names) = arg.ty.structures() {
            return match structure {
                Some(ty) if names.contains(&btf.name(ty)) || is_typedef_of(self.kernel, names, ty) => {
                    Ok(self.btf_typed() && !self.may_be_null(arg.index))
                }
                Some(_) => contradiction(),
                None if pointee.is_none() && btf.size(param).is_some_and(|size| size < 8) => contradiction(),
                // void *, unsigned long: the author knows better than the prototype.
                None => Ok(false),
            };
        }
        match arg.ty {
            ArgType::Int(int) if structure.is_some() && int.size() < 8 => contradiction(),
            ArgType::String | ArgType::CharBuf if structure.is_some() || pointee.is_none() => contradiction(),
            ArgType::Capability | ArgType::Fd if pointee.is_some() => contradiction(),
            ArgType::Int(int) => {
                let narrower = btf.size(param).is_some_and(|size| size < u32::from(int.size()));
                if narrower {
                    let message =
                        format!("{} is wider than the kernel's type `{}`", arg.ty.name(), btf.spell(param));
                    problems.push(Diagnostic::warning(
                        Code::Suspicious,
                        format!("{}.type", arg.path),
                        message,
                    ));
                }
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    fn raw_syscall_arg(&self, arg: &TypedArg, exit: bool) -> Found {
        let fetch = match (arg.index, exit) {
            (4, false) => Fetch::Ctx(1),
            (4, true) => self
                .kernel
                .offset("pt_regs", "orig_ax")
                .map(|at| Fetch::TypedRegs(at as u16))
                .ok_or_else(|| no_member(arg, "pt_regs.orig_ax"))?,
            (5, true) => Fetch::Ctx(1),
            (5, false) => self
                .kernel
                .offset("pt_regs", "di")
                .map(|at| Fetch::TypedRegs(at as u16))
                .ok_or_else(|| no_member(arg, "pt_regs.di"))?,
            _ => {
                let message = format!(
                    "field {} of `{}` does not exist: 4 is the system call's number, 5 its {}",
                    arg.index,
                    self.attach.target,
                    if exit { "return value" } else { "first argument" }
                );
                return Err(Diagnostic::error(Code::ArgumentIndex, format!("{}.index", arg.path), message));
            }
        };
        let ty = match (arg.ty, arg.index, exit) {
            (ArgType::Auto, 4, _) | (ArgType::Auto, 5, true) => ArgType::Int(IntType::S64),
            (ArgType::Auto, ..) => ArgType::Int(IntType::U64),
            (ty, ..) => ty,
        };
        if ty.structures().is_some() {
            let message = format!("a system call's arguments cannot be read as {}", ty.name());
            return Err(Diagnostic::error(Code::ArgumentType, format!("{}.type", arg.path), message));
        }
        Ok(ResolvedArg { fetch, user: true, ..ResolvedArg::plain(ty) })
    }

    /// Field `index`, which `named` names.
    fn field<'f>(
        &self,
        arg: &TypedArg,
        format: &'f TracepointFormat,
        index: u32,
        named: &str,
    ) -> Result<&'f TracepointField, Diagnostic> {
        let at = || format!("{}.{named}", arg.path);
        let Some(field) = format.fields.get(index as usize) else {
            let message = format!(
                "field {index} does not exist: `{}` has {} fields",
                self.attach.target,
                format.fields.len()
            );
            return Err(Diagnostic::error(Code::ArgumentIndex, at(), message));
        };
        if u16::try_from(field.offset).is_err() {
            let message = format!("field `{}` lies beyond 64 KiB", field.name);
            return Err(Diagnostic::error(Code::Limit, at(), message));
        }
        Ok(field)
    }

    fn record_arg(&self, arg: &TypedArg, format: &TracepointFormat) -> Found {
        let field = self.field(arg, format, arg.index, "index")?;
        let offset = field.offset as u16;
        let plain = |ty, fetch, size| ResolvedArg { fetch, size, ..ResolvedArg::plain(ty) };
        let record = Fetch::Record { offset, size: field.size.min(8) as u8, signed: field.signed };
        let data_loc = field.ctype.starts_with("__data_loc");
        match arg.ty {
            ArgType::Auto if data_loc => Ok(plain(ArgType::String, Fetch::DataLoc(offset), None)),
            ArgType::Auto if field.array > 0 => {
                // No length argument: the array's own size.
                Ok(plain(
                    ArgType::CharBuf,
                    Fetch::RecordAddress(offset),
                    Some(Held { fetch: Fetch::Const(field.size as u16), ty: IntType::U64 }),
                ))
            }
            ArgType::Auto => Ok(plain(ArgType::Int(field_type(field)), record, None)),
            ArgType::String if data_loc => Ok(plain(arg.ty, Fetch::DataLoc(offset), None)),
            ArgType::String if field.array > 0 => Ok(plain(arg.ty, Fetch::RecordAddress(offset), None)),
            ArgType::Int(int) if field.array > 0 => {
                let size = int.size().min(field.size.min(8) as u8);
                Ok(plain(arg.ty, Fetch::Record { offset, size, signed: int.signed() }, None))
            }
            _ if !matches!(field.size, 1 | 2 | 4 | 8) => {
                let message = format!(
                    "field `{}` (`{}`, {} bytes) cannot be read as {}",
                    field.name,
                    field.ctype,
                    field.size,
                    arg.ty.name()
                );
                Err(Diagnostic::error(Code::ArgumentType, format!("{}.type", arg.path), message))
            }
            _ => Ok(ResolvedArg { user: format.subsystem == "syscalls", ..plain(arg.ty, record, None) }),
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

fn field_type(field: &TracepointField) -> IntType {
    int_type(field.size, field.signed)
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

/// `kernel_cap_t` is a typedef, of an unnamed struct from 6.3 on.
fn is_typedef_of(kernel: &Kernel, names: &[&str], ty: TypeId) -> bool {
    names.iter().any(|name| {
        kernel.btf.find(Kind::Typedef, name).is_some_and(|typedef| kernel.btf.strip(typedef) == ty)
    })
}

fn no_member(arg: &TypedArg, member: &str) -> Diagnostic {
    Diagnostic::error(Code::KernelFeature, arg.path.clone(), format!("the kernel's BTF has no `{member}`"))
}

impl ArgType {
    /// The structures a pointer argument of this type may point to; `None` for other types.
    pub(crate) fn structures(self) -> Option<&'static [&'static str]> {
        Some(match self {
            ArgType::File => &["file"],
            ArgType::Path => &["path"],
            ArgType::Dentry => &["dentry"],
            ArgType::Filename => &["filename"],
            ArgType::LinuxBinprm => &["linux_binprm"],
            ArgType::Sock => &["sock"],
            ArgType::Socket => &["socket"],
            // sockaddr_unsized: 6.19 and later.
            ArgType::Sockaddr => {
                &["sockaddr", "sockaddr_unsized", "sockaddr_storage", "__kernel_sockaddr_storage"]
            }
            ArgType::Skb => &["sk_buff"],
            ArgType::Cred => &["cred"],
            ArgType::CapSet(_) => &["kernel_cap_t", "kernel_cap_struct"],
            _ => return None,
        })
    }

    /// Spelling in the policy language.
    pub fn name(self) -> &'static str {
        use crate::typed::CapSetField;
        match self {
            ArgType::Auto => "`auto`",
            ArgType::Int(IntType::S8) => "`int8`",
            ArgType::Int(IntType::U8) => "`uint8`",
            ArgType::Int(IntType::S16) => "`int16`",
            ArgType::Int(IntType::U16) => "`uint16`",
            ArgType::Int(IntType::S32) => "`int`",
            ArgType::Int(IntType::U32) => "`uint32`",
            ArgType::Int(IntType::S64) => "`int64`",
            ArgType::Int(IntType::U64) => "`uint64`",
            ArgType::String => "`string`",
            ArgType::CharBuf => "`char_buf`",
            ArgType::File => "`file`",
            ArgType::Fd => "`fd`",
            ArgType::Path => "`path`",
            ArgType::Dentry => "`dentry`",
            ArgType::Filename => "`filename`",
            ArgType::LinuxBinprm => "`linux_binprm`",
            ArgType::Sock => "`sock`",
            ArgType::Socket => "`socket`",
            ArgType::Sockaddr => "`sockaddr`",
            ArgType::Skb => "`skb`",
            ArgType::Cred => "`cred`",
            ArgType::Capability => "`capability`",
            ArgType::CapSet(CapSetField::KernelCap) => "`kernel_cap_t`",
            ArgType::CapSet(CapSetField::Inheritable) => "`cap_inheritable`",
            ArgType::CapSet(CapSetField::Permitted) => "`cap_permitted`",
            ArgType::CapSet(CapSetField::Effective) => "`cap_effective`",
            ArgType::Syscall64 => "`syscall64`",
            ArgType::Nop => "`nop`",
        }
    }
}
