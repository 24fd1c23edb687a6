//! In: `args` and `returnArg` of a hook. Out: slots with typed arguments, which filters refer to by position.

use crds::argument::{ArgKind, ArgSpec};

use super::path::FieldPath;
use super::problems::Problems;
use crate::diagnostic::Code;
use crate::typed::{ArgType, CapSetField, IntType, TypedArg};

/// Most arguments of a hook.
const ARGS_LIMIT: usize = 5;
/// Most elements of a list that are looked at when it is too long: filters times arguments stay few.
pub(super) const EXAMINED_LIMIT: usize = 100;

/// Where arguments come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Parameters of a function.
    Function,
    /// Fields of a tracepoint's format.
    Tracepoint,
    /// Parameters of a tracepoint's prototype.
    RawTracepoint,
    /// The return value of a function.
    Return,
}

impl Place {
    /// Greatest index that the language allows; formats have no limit of their own but 128 fields, the kernel's.
    fn last_index(self) -> u32 {
        match self {
            Place::Function => 4,
            Place::Tracepoint => 127,
            Place::RawTracepoint => 5,
            Place::Return => u32::MAX,
        }
    }
}

/// One argument as filters see it.
#[derive(Debug, Clone)]
pub(super) struct ArgSlot {
    /// `index` as written.
    pub(super) index: i32,
    /// Type as written.
    pub(super) kind: ArgKind,
    /// The argument, unless it has errors.
    pub(super) typed: Option<TypedArg>,
}

impl ArgSlot {
    /// The argument, unless it has errors.
    pub(super) fn into_typed(self) -> Option<TypedArg> {
        self.typed
    }
}

/// Checks `args` of the hook at `hook`.
pub(super) fn check_all(
    place: Place,
    args: &[ArgSpec],
    returns: bool,
    hook: &FieldPath,
    problems: &mut Problems,
) -> Vec<ArgSlot> {
    let path = hook.key("args");
    if args.len() > ARGS_LIMIT {
        let message = format!("{} arguments, at most {ARGS_LIMIT} are possible", args.len());
        problems.error(Code::OutOfRange, &path, message);
    }
    let mut slots = Vec::with_capacity(args.len());
    for (index, spec) in args.iter().take(EXAMINED_LIMIT).enumerate() {
        let path = path.item(index);
        if spec.return_copy && !returns {
            let help = "add `return: true` and `returnArg` with the type of the length";
            let message = "`returnCopy` needs `return: true`";
            problems.error_help(Code::Conflict, &path.key("returnCopy"), message, help);
        }
        slots.push(check_one(place, spec, &path, problems));
    }
    slots
}

/// Checks `returnArg`.
pub(super) fn check_return(spec: &ArgSpec, path: &FieldPath, problems: &mut Problems) -> ArgSlot {
    if spec.return_copy {
        let message = "`returnCopy` is for buffers among `args`";
        problems.error(Code::Conflict, &path.key("returnCopy"), message);
    }
    check_one(Place::Return, spec, path, problems)
}

fn check_one(place: Place, spec: &ArgSpec, path: &FieldPath, problems: &mut Problems) -> ArgSlot {
    refuse_unsupported(spec, path, problems);
    let index = check_index(place, spec.index, &path.key("index"), problems);
    let ty = check_type(place, spec.kind, &path.key("type"), problems);
    let size_arg = check_size(place, spec, path, problems);
    let typed = match (index, ty) {
        (Some(index), Some(ty)) => Some(TypedArg {
            path: path.to_string(),
            index,
            ty,
            label: spec.label.clone().filter(|label| !label.is_empty()),
            size_arg,
            return_copy: spec.return_copy,
        }),
        _ => None,
    };
    ArgSlot { index: spec.index, kind: spec.kind, typed }
}

fn refuse_unsupported(spec: &ArgSpec, path: &FieldPath, problems: &mut Problems) {
    let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    problems.unsupported_if(!spec.resolve.is_empty(), path, "resolve");
    problems.unsupported_if(set(&spec.btf_type), path, "btfType");
    problems.unsupported_if(set(&spec.btf_type_module), path, "btfTypeModule");
    problems.unsupported_if(spec.max_data, path, "maxData");
    if set(&spec.source) {
        let message = "`source` is only for entries of `data`";
        problems.error(Code::Conflict, &path.key("source"), message);
    }
}

fn check_index(place: Place, index: i32, path: &FieldPath, problems: &mut Problems) -> Option<u32> {
    let last = place.last_index();
    let valid = u32::try_from(index).ok().filter(|index| *index <= last);
    if valid.is_none() {
        let message = format!("argument {index} is not within 0..={last}");
        problems.error_help(Code::OutOfRange, path, message, "arguments are counted from 0");
    }
    valid
}

fn check_size(place: Place, spec: &ArgSpec, path: &FieldPath, problems: &mut Problems) -> Option<u32> {
    let size_path = path.key("sizeArgIndex");
    let size = spec.size_arg_index.filter(|size| *size != 0);
    if spec.kind != ArgKind::CharBuf {
        if size.is_some() {
            problems.warn(&size_path, "has no effect on this type", "it is for `char_buf`");
        }
        if spec.return_copy && place != Place::Return {
            let message = format!("`returnCopy` does not apply to `{}`", spec.kind);
            problems.error_help(Code::Conflict, &path.key("returnCopy"), message, "it is for `char_buf`");
        }
        return None;
    }
    let Some(size) = size else {
        if !spec.return_copy {
            let message = "`char_buf` has no length";
            let help = match place {
                Place::Tracepoint => {
                    "set `sizeArgIndex`, counted from 1; for a field that is an array use `auto`"
                }
                _ => "`sizeArgIndex` is the position, counted from 1, of the argument that holds it",
            };
            problems.error_help(Code::MissingField, &size_path, message, help);
        }
        return None;
    };
    let last = i64::from(place.last_index()) + 1;
    let position = u32::try_from(size).ok().filter(|size| i64::from(*size) <= last);
    if position.is_none() {
        let message = format!("{size} is not within 0..={last}");
        problems.error_help(Code::OutOfRange, &size_path, message, "counted from 1; 0 means none");
    }
    position.map(|position| position - 1)
}

fn check_type(place: Place, kind: ArgKind, path: &FieldPath, problems: &mut Problems) -> Option<ArgType> {
    match (kind, place) {
        (ArgKind::Auto, Place::Tracepoint) => {}
        (ArgKind::Auto, _) => {
            let message = "the type must be given here";
            let help = "only fields of formatted tracepoints have a type of their own, `auto`";
            problems.error_help(Code::Conflict, path, message, help);
            return None;
        }
        (ArgKind::Syscall64, Place::Function | Place::Return) => {
            let message = "`syscall64` is only for tracepoints";
            problems.error_help(Code::Conflict, path, message, "use it with raw_syscalls/sys_enter");
            return None;
        }
        _ => {}
    }
    let ty = typed(kind);
    if ty.is_none() {
        problems.unsupported(path, &format!("the argument type `{kind}`"));
    }
    ty
}

/// The type that this version implements for a spelling.
fn typed(kind: ArgKind) -> Option<ArgType> {
    Some(match kind {
        ArgKind::Auto => ArgType::Auto,
        ArgKind::Int | ArgKind::Int32 | ArgKind::Sint32 => ArgType::Int(IntType::S32),
        ArgKind::Sint8 | ArgKind::Int8 => ArgType::Int(IntType::S8),
        ArgKind::Uint8 => ArgType::Int(IntType::U8),
        ArgKind::Sint16 | ArgKind::Int16 => ArgType::Int(IntType::S16),
        ArgKind::Uint16 => ArgType::Int(IntType::U16),
        ArgKind::Uint32 => ArgType::Int(IntType::U32),
        ArgKind::Ulong | ArgKind::Uint64 | ArgKind::SizeT => ArgType::Int(IntType::U64),
        ArgKind::Long | ArgKind::Sint64 | ArgKind::Int64 => ArgType::Int(IntType::S64),
        ArgKind::CharBuf => ArgType::CharBuf,
        ArgKind::Skb => ArgType::Skb,
        ArgKind::Sock => ArgType::Sock,
        ArgKind::Sockaddr => ArgType::Sockaddr,
        ArgKind::Socket => ArgType::Socket,
        ArgKind::String => ArgType::String,
        ArgKind::Fd => ArgType::Fd,
        ArgKind::File => ArgType::File,
        ArgKind::Filename => ArgType::Filename,
        ArgKind::Path => ArgType::Path,
        ArgKind::Nop => ArgType::Nop,
        ArgKind::Capability => ArgType::Capability,
        ArgKind::Cred => ArgType::Cred,
        ArgKind::Syscall64 => ArgType::Syscall64,
        ArgKind::KernelCapT => ArgType::CapSet(CapSetField::KernelCap),
        ArgKind::CapInheritable => ArgType::CapSet(CapSetField::Inheritable),
        ArgKind::CapPermitted => ArgType::CapSet(CapSetField::Permitted),
        ArgKind::CapEffective => ArgType::CapSet(CapSetField::Effective),
        ArgKind::LinuxBinprm => ArgType::LinuxBinprm,
        ArgKind::Dentry => ArgType::Dentry,
        ArgKind::CharIovec
        | ArgKind::SockaddrUn
        | ArgKind::BpfAttr
        | ArgKind::PerfEvent
        | ArgKind::BpfMap
        | ArgKind::UserNamespace
        | ArgKind::Kiocb
        | ArgKind::IovIter
        | ArgKind::ConstBuf
        | ArgKind::LoadInfo
        | ArgKind::Module
        | ArgKind::DataLoc
        | ArgKind::NetDevice
        | ArgKind::BpfCmd
        | ArgKind::BpfProg => return None,
    })
}
