//! In: a planned and lowered program. Out: its content-addressed [`Artefact`].

use crate::emit::Finished;
use crate::lower::record_order;
use crate::plan::{Entry, Program};
use crate::typed::{ArgType, CapSetField, IntType, Mode, TypedArg};
use api::artefact::{ArgField, ArgSchema, Artefact, HookSchema, MapSpec};

pub(crate) fn artefact(program: &Program<'_>, finished: Finished, maps: Vec<MapSpec>) -> Artefact {
    Artefact {
        attach: program.attach.clone(),
        insns: finished.bytes,
        relocs: finished.relocs,
        maps,
        hooks: program.entries.iter().map(|entry| schema(entry, program)).collect(),
        source_map: finished.sources,
        process_sets: program.sets.clone(),
        overlaps: program.overlaps(),
    }
}

fn schema(entry: &Entry<'_>, program: &Program<'_>) -> HookSchema {
    let hook = entry.hook.hook;
    let policy = entry.hook.policy;
    let typed: Vec<&TypedArg> = hook.args.iter().chain(entry.ret.and(hook.ret.as_ref())).collect();
    let args = record_order(entry, &program.args).into_iter().map(|(position, arg)| ArgSchema {
        field: program.args.get(arg).map_or(ArgField::Unspecified, |arg| field(arg.ty)) as i32,
        label: typed.get(position).and_then(|arg| arg.label.clone()).unwrap_or_default(),
        position: position as u32,
    });
    HookSchema {
        policy_namespace: policy.key.namespace.clone().unwrap_or_default(),
        policy_name: policy.key.name.clone(),
        path: hook.path.clone(),
        event: entry.hook.event as i32,
        name: entry.hook.name.clone(),
        message: hook.message.clone().unwrap_or_default(),
        tags: hook.tags.clone(),
        args: args.collect(),
        has_return: entry.ret.is_some(),
        selector_labels: hook.selectors.iter().map(|s| s.label.clone().unwrap_or_default()).collect(),
        monitor: policy.mode == Mode::Monitor,
    }
}

fn field(ty: ArgType) -> ArgField {
    match ty {
        ArgType::Int(IntType::S8 | IntType::S16 | IntType::S32) => ArgField::Int,
        ArgType::Int(IntType::U8 | IntType::U16 | IntType::U32) => ArgField::Uint,
        ArgType::Int(IntType::S64) => ArgField::Long,
        ArgType::Int(IntType::U64) | ArgType::Auto => ArgField::Size,
        ArgType::String | ArgType::Filename => ArgField::String,
        ArgType::CharBuf => ArgField::Bytes,
        ArgType::File | ArgType::Fd => ArgField::File,
        ArgType::Path | ArgType::Dentry => ArgField::Path,
        ArgType::LinuxBinprm => ArgField::LinuxBinprm,
        ArgType::Sock | ArgType::Socket => ArgField::Sock,
        ArgType::Sockaddr => ArgField::Sockaddr,
        ArgType::Skb => ArgField::Skb,
        ArgType::Cred => ArgField::Cred,
        ArgType::Capability => ArgField::Capability,
        ArgType::CapSet(CapSetField::KernelCap) => ArgField::KernelCap,
        ArgType::CapSet(CapSetField::Inheritable) => ArgField::CapInheritable,
        ArgType::CapSet(CapSetField::Permitted) => ArgField::CapPermitted,
        ArgType::CapSet(CapSetField::Effective) => ArgField::CapEffective,
        ArgType::Syscall64 => ArgField::SyscallId,
        ArgType::Nop => ArgField::Nop,
    }
}
