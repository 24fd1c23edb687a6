//! In: one entry of a hook section. Out: the typed hook.

use crds::hook::{KprobeSpec, LsmHookSpec, TracepointSpec};

use super::argument::{self, ArgSlot, Place};
use super::path::FieldPath;
use super::problems::{Problems, quoted};
use super::selector::{self, HookView};
use crate::diagnostic::Code;
use crate::typed::{HookPoint, TypedHook};

/// Most characters of `message`.
const MESSAGE_LIMIT: usize = 256;
/// Most characters of one tag.
const TAG_LIMIT: usize = 128;
/// Fewest characters of `message` and of a tag.
const TEXT_LEAST: usize = 2;
/// Most tags; the schema says the same for what comes through it.
const TAGS_LIMIT: usize = 16;

/// Hook sections that this version implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// `kprobes`.
    Kprobes,
    /// `fentries`.
    Fentries,
    /// `tracepoints`.
    Tracepoints,
    /// `lsmhooks`.
    LsmHooks,
}

impl Section {
    /// Name of the field in `spec`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Section::Kprobes => "kprobes",
            Section::Fentries => "fentries",
            Section::Tracepoints => "tracepoints",
            Section::LsmHooks => "lsmhooks",
        }
    }
}

/// Checks an element of `kprobes` or `fentries`.
pub(super) fn check_function(
    section: Section,
    spec: &KprobeSpec,
    path: &FieldPath,
    problems: &mut Problems,
) -> Option<TypedHook> {
    let point = function_point(section, spec, path, problems);
    problems.unsupported_if(!spec.data.is_empty(), path, "data");
    check_return_action(spec.return_arg_action.as_deref(), path, problems);
    let slots = argument::check_all(Place::Function, &spec.args, spec.returns, path, problems);
    let ret = return_slot(spec, path, problems);
    let view = HookView { section, point: point.as_ref(), slots: &slots, ret: ret.as_ref() };
    let selectors = selector::check_all(&view, &spec.selectors, path, problems);
    let message = check_message(spec.message.as_deref(), path, problems);
    let tags = check_tags(&spec.tags, path, problems);
    let ignore = spec.ignore.as_ref().and_then(|ignore| ignore.call_not_found);
    Some(TypedHook {
        path: path.to_string(),
        point: point?,
        args: slots.into_iter().filter_map(ArgSlot::into_typed).collect(),
        ret: ret.and_then(ArgSlot::into_typed),
        message,
        tags,
        selectors,
        ignore_call_not_found: ignore.unwrap_or(false),
    })
}

/// Checks an element of `tracepoints`.
pub(super) fn check_tracepoint(
    spec: &TracepointSpec,
    path: &FieldPath,
    problems: &mut Problems,
) -> Option<TypedHook> {
    let raw = spec.raw.unwrap_or(false);
    let subsystem = check_symbol(&spec.subsystem, &path.key("subsystem"), problems);
    let event = check_symbol(&spec.event, &path.key("event"), problems);
    let point = match (subsystem, event) {
        (Some(subsystem), Some(event)) if raw => Some(HookPoint::RawTracepoint { subsystem, event }),
        (Some(subsystem), Some(event)) => Some(HookPoint::Tracepoint { subsystem, event }),
        _ => None,
    };
    let place = if raw { Place::RawTracepoint } else { Place::Tracepoint };
    let slots = argument::check_all(place, &spec.args, false, path, problems);
    let view = HookView { section: Section::Tracepoints, point: point.as_ref(), slots: &slots, ret: None };
    let selectors = selector::check_all(&view, &spec.selectors, path, problems);
    let message = check_message(spec.message.as_deref(), path, problems);
    let tags = check_tags(&spec.tags, path, problems);
    Some(TypedHook {
        path: path.to_string(),
        point: point?,
        args: slots.into_iter().filter_map(ArgSlot::into_typed).collect(),
        ret: None,
        message,
        tags,
        selectors,
        ignore_call_not_found: false,
    })
}

/// Checks an element of `lsmhooks`.
pub(super) fn check_lsm(spec: &LsmHookSpec, path: &FieldPath, problems: &mut Problems) -> Option<TypedHook> {
    let mut point = check_symbol(&spec.hook, &path.key("hook"), problems).map(|hook| HookPoint::Lsm { hook });
    for prefix in ["security_", "bpf_lsm_"] {
        if let Some(bare) = spec.hook.strip_prefix(prefix) {
            let message = format!("`{}` is written without `{prefix}` here", spec.hook);
            problems.error_help(Code::UnknownValue, &path.key("hook"), message, format!("write `{bare}`"));
            point = None;
        }
    }
    let slots = argument::check_all(Place::Function, &spec.args, false, path, problems);
    let view = HookView { section: Section::LsmHooks, point: point.as_ref(), slots: &slots, ret: None };
    let selectors = selector::check_all(&view, &spec.selectors, path, problems);
    let message = check_message(spec.message.as_deref(), path, problems);
    let tags = check_tags(&spec.tags, path, problems);
    Some(TypedHook {
        path: path.to_string(),
        point: point?,
        args: slots.into_iter().filter_map(ArgSlot::into_typed).collect(),
        ret: None,
        message,
        tags,
        selectors,
        ignore_call_not_found: false,
    })
}

fn function_point(
    section: Section,
    spec: &KprobeSpec,
    path: &FieldPath,
    problems: &mut Problems,
) -> Option<HookPoint> {
    let path = path.key("call");
    if spec.call.starts_with("list:") {
        problems.unsupported(&path, "a list of functions");
        return None;
    }
    let function = check_symbol(&spec.call, &path, problems)?;
    if !spec.syscall {
        return Some(match section {
            Section::Fentries => HookPoint::Fentry { function, syscall: false },
            _ => HookPoint::Kprobe { function },
        });
    }
    let name = syscall_name(&function, &path, problems)?.to_owned();
    Some(match section {
        Section::Fentries => HookPoint::Fentry { function: format!("__x64_sys_{name}"), syscall: true },
        _ => HookPoint::Syscall { name },
    })
}

/// The name without prefix of a system call's function.
fn syscall_name<'a>(function: &'a str, path: &FieldPath, problems: &mut Problems) -> Option<&'a str> {
    for foreign in ["__ia32_sys_", "__ia32_compat_sys_", "__arm64_compat_sys_", "compat_sys_"] {
        if function.starts_with(foreign) {
            problems.unsupported(path, &format!("the 32-bit system call `{function}`"));
            return None;
        }
    }
    let prefixes = ["sys_", "__x64_sys_", "__arm64_sys_"];
    let name = prefixes.iter().find_map(|prefix| function.strip_prefix(prefix));
    if name.is_none_or(str::is_empty) {
        let (message, help) = match api::syscalls::number_x64(function) {
            Some(_) => {
                ("system calls are written with `sys_` here".to_owned(), format!("write `sys_{function}`"))
            }
            None => (
                format!("`{function}` is not a system call, but `syscall` is true, which is its default"),
                "add `syscall: false`".to_owned(),
            ),
        };
        problems.error_help(Code::Conflict, path, message, help);
        return None;
    }
    name
}

/// Names of kernel symbols, tracepoints and hooks; anything else could reach outside the folder that a name is
/// looked up in.
fn check_symbol(name: &str, path: &FieldPath, problems: &mut Problems) -> Option<String> {
    /// The kernel's own limit, `KSYM_NAME_LEN`, since 6.1.
    const SYMBOL_LIMIT: usize = 511;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$' | b'-');
    let usable = name.bytes().all(plain) && !name.starts_with(['.', '-']) && name.len() <= SYMBOL_LIMIT;
    if name.is_empty() {
        problems.error(Code::OutOfRange, path, "the name is empty");
        None
    } else if usable {
        Some(name.to_owned())
    } else {
        problems.error(Code::OutOfRange, path, format!("{} cannot be a name in the kernel", quoted(name)));
        None
    }
}

/// Earlier versions of the language had `Post` here; it means what happens anyway.
fn check_return_action(action: Option<&str>, path: &FieldPath, problems: &mut Problems) {
    let path = path.key("returnArgAction");
    match action {
        None | Some("") => {}
        Some("Post") => {
            problems.warn(&path, "`Post` has no effect here", "remove it; the return value is in the event");
        }
        Some(action @ ("TrackSock" | "UntrackSock")) => {
            problems.unsupported(&path, &format!("`{action}`"));
        }
        Some(action) => {
            let message = format!("{} is not possible here", quoted(action));
            problems.error_help(Code::UnknownValue, &path, message, "one of: TrackSock, UntrackSock");
        }
    }
}

fn return_slot(spec: &KprobeSpec, path: &FieldPath, problems: &mut Problems) -> Option<ArgSlot> {
    let place = path.key("returnArg");
    match (&spec.return_arg, spec.returns) {
        (Some(arg), true) => Some(argument::check_return(arg, &place, problems)),
        (None, true) => {
            let help = "add for example `returnArg: {index: 0, type: int}`";
            problems.error_help(Code::MissingField, &place, "`return: true` needs `returnArg`", help);
            None
        }
        (Some(_), false) => {
            let message = "`returnArg` has no effect without `return: true`";
            problems.warn(&place, message, "add `return: true` or remove it");
            None
        }
        (None, false) => None,
    }
}

fn check_message(message: Option<&str>, path: &FieldPath, problems: &mut Problems) -> Option<String> {
    let message = message.filter(|message| !message.is_empty())?;
    check_text(message, MESSAGE_LIMIT, &path.key("message"), problems)
}

fn check_tags(tags: &[String], path: &FieldPath, problems: &mut Problems) -> Vec<String> {
    let path = path.key("tags");
    if tags.len() > TAGS_LIMIT {
        let message = format!("{} tags, at most {TAGS_LIMIT} are possible", tags.len());
        problems.error(Code::OutOfRange, &path, message);
    }
    let check = |(index, tag): (usize, &String)| check_text(tag, TAG_LIMIT, &path.item(index), problems);
    tags.iter().enumerate().filter_map(check).collect()
}

fn check_text(text: &str, limit: usize, path: &FieldPath, problems: &mut Problems) -> Option<String> {
    let length = text.chars().count();
    if length < TEXT_LEAST {
        let message = format!("{} is shorter than {TEXT_LEAST} characters", quoted(text));
        problems.error(Code::OutOfRange, path, message);
        return None;
    }
    if length > limit {
        let message = format!("cut to the first {limit} of {length} characters");
        problems.warn(path, message, "shorten it");
    }
    Some(text.chars().take(limit).collect())
}
