//! In: the type that a policy asks for. Out: whether the kernel's own type of the argument can be read so.

use super::{Abi, ArgResolver};
use crate::btf::{Kind, TypeId};
use crate::diagnostic::{Code, Diagnostic};
use crate::kernel::Kernel;
use crate::typed::{ArgType, IntType, TypedArg};

impl ArgResolver<'_> {
    /// Whether members load directly.
    pub(super) fn check_type(
        &self,
        arg: &TypedArg,
        problems: &mut Vec<Diagnostic>,
    ) -> Result<bool, Diagnostic> {
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
}

/// `kernel_cap_t` is a typedef, of an unnamed struct from 6.3 on.
pub(super) fn is_typedef_of(kernel: &Kernel, names: &[&str], ty: TypeId) -> bool {
    names.iter().any(|name| {
        kernel.btf.find(Kind::Typedef, name).is_some_and(|typedef| kernel.btf.strip(typedef) == ty)
    })
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
