//! In: fields of a tracepoint, by their position in the format. Out: where they are in its record, or in the arguments of
//! the raw system call tracepoints.

use super::{ArgResolver, Found, int_type, no_member};
use crate::diagnostic::{Code, Diagnostic};
use crate::resolve::{Fetch, Held, ResolvedArg};
use crate::typed::{ArgType, IntType, TypedArg};
use api::profile::{TracepointField, TracepointFormat};

impl ArgResolver<'_> {
    pub(super) fn raw_syscall_arg(&self, arg: &TypedArg, exit: bool) -> Found {
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
    pub(super) fn field<'f>(
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

    pub(super) fn record_arg(&self, arg: &TypedArg, format: &TracepointFormat) -> Found {
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

fn field_type(field: &TracepointField) -> IntType {
    int_type(field.size, field.signed)
}
