//! In: a hook that reports at return. Out: where the return value is, and whether it can be read as asked.

use super::types::is_typedef_of;
use super::{Abi, ArgResolver, no_member};
use crate::btf::{Kind, TypeId};
use crate::diagnostic::{Code, Diagnostic};
use crate::resolve::{Fetch, Held, ResolvedArg};
use crate::typed::{ArgType, IntType, TypedArg};
use api::artefact::Flavour;

impl ArgResolver<'_> {
    pub(in crate::resolve) fn ret(
        &self,
        arg: &TypedArg,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<ResolvedArg> {
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

    /// The number of bytes that the function filled: what it returns.
    pub(super) fn returned_length(&self, arg: &TypedArg) -> Result<Held, Diagnostic> {
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
}
