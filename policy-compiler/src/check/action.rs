//! In: `matchActions` and `matchReturnActions`. Out: typed actions, as far as the section allows them.

use crds::action::{ActionKind, ActionSpec};

use super::hook::Section;
use super::path::FieldPath;
use super::problems::{Problems, quoted, suggest};
use super::selector::HookView;
use crate::diagnostic::Code;
use crate::typed::{Action, HookPoint, RateLimit, RateScope};

/// Most actions of a list.
const ACTIONS_LIMIT: usize = 3;
/// Signal numbers.
const SIGNALS: std::ops::RangeInclusive<i32> = 1..=64;
/// Values that `Override` may return: a negative errno, or 0.
const ERRORS: std::ops::RangeInclusive<i32> = -4095..=0;

/// When a list of actions runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Before the function's body.
    Entry,
    /// When the function returns.
    Return,
}

/// Checks a list of actions.
pub(super) fn check_all(
    view: &HookView<'_>,
    moment: Moment,
    actions: &[ActionSpec],
    path: &FieldPath,
    problems: &mut Problems,
) -> Vec<Action> {
    if actions.len() > ACTIONS_LIMIT {
        let message = format!("{} actions, at most {ACTIONS_LIMIT} are possible", actions.len());
        problems.error(Code::OutOfRange, path, message);
    }
    let mut typed = Vec::with_capacity(actions.len());
    for (index, spec) in actions.iter().enumerate() {
        let path = path.item(index);
        check_parameters(spec, &path, problems);
        typed.extend(check_one(view, moment, spec, &path, problems));
    }
    typed
}

fn check_one(
    view: &HookView<'_>,
    moment: Moment,
    spec: &ActionSpec,
    path: &FieldPath,
    problems: &mut Problems,
) -> Option<Action> {
    match spec.action {
        ActionKind::Post => Some(Action::Post { rate_limit: rate_limit(spec, path, problems) }),
        ActionKind::NoPost => Some(Action::NoPost),
        ActionKind::Sigkill => {
            allow_enforcement(view, spec, path, problems)?;
            Some(Action::Signal { signal: 9, sigkill: true })
        }
        ActionKind::Signal => {
            allow_enforcement(view, spec, path, problems)?;
            signal(spec, path, problems)
        }
        ActionKind::Override => {
            allow_enforcement(view, spec, path, problems)?;
            allow_override(view, moment, path, problems)?;
            override_error(spec, path, problems)
        }
        ActionKind::GetUrl
        | ActionKind::DnsLookup
        | ActionKind::TrackSock
        | ActionKind::UntrackSock
        | ActionKind::NotifyEnforcer
        | ActionKind::CleanupEnforcerNotification
        | ActionKind::Set => {
            problems.unsupported(&path.key("action"), &format!("the action `{}`", spec.action));
            None
        }
    }
}

/// Parameters that do not belong to the action: those that would change what it does are refused, the others
/// have no effect.
fn check_parameters(spec: &ActionSpec, path: &FieldPath, problems: &mut Problems) {
    use ActionKind::{
        DnsLookup, GetUrl, NotifyEnforcer, Override, Post, Set, Signal, TrackSock, UntrackSock,
    };
    for (field, used) in [
        ("kernelStackTrace", spec.kernel_stack_trace == Some(true)),
        ("userStackTrace", spec.user_stack_trace == Some(true)),
        ("imaHash", spec.ima_hash == Some(true)),
    ] {
        problems.unsupported_if(used, path, field);
    }
    if spec.rate_limit.is_some() && spec.action != Post {
        let message = format!("`rateLimit` does not go with `{}`", spec.action);
        problems.error_help(Code::Conflict, &path.key("rateLimit"), message, "it limits `Post`");
    }
    let owners: [(&str, bool, &[ActionKind]); 11] = [
        ("rateLimitScope", spec.rate_limit_scope.is_some(), &[Post]),
        ("argError", spec.arg_error.is_some(), &[Override, NotifyEnforcer]),
        ("argSig", spec.arg_sig.is_some(), &[Signal, NotifyEnforcer]),
        ("argFqdn", spec.arg_fqdn.is_some(), &[DnsLookup]),
        ("argUrl", spec.arg_url.is_some(), &[GetUrl]),
        ("argSock", spec.arg_sock.is_some(), &[TrackSock, UntrackSock]),
        ("argIndex", spec.arg_index.is_some(), &[Set]),
        ("argValue", spec.arg_value.is_some(), &[Set]),
        ("argRegs", !spec.arg_regs.is_empty(), &[]),
        ("argNewSymbol", spec.arg_new_symbol.is_some(), &[]),
        ("argNewAddr", spec.arg_new_addr.is_some() || spec.arg_new_offset.is_some(), &[]),
    ];
    for (field, used, actions) in owners {
        if !used || actions.contains(&spec.action) {
        } else if spec.action == Override {
            let message = format!("`{field}` does not go with `Override` of a kernel function");
            problems.error_help(Code::Conflict, &path.key(field), message, "it takes `argError`");
        } else {
            problems.warn(&path.key(field), format!("has no effect with `{}`", spec.action), "remove it");
        }
    }
}

fn rate_limit(spec: &ActionSpec, path: &FieldPath, problems: &mut Problems) -> Option<RateLimit> {
    let scope = scope(spec, path, problems);
    let text = spec.rate_limit.as_deref().filter(|text| !text.is_empty());
    let Some(text) = text else {
        if spec.rate_limit_scope.is_some() {
            let message = "has no effect without `rateLimit`";
            problems.warn(&path.key("rateLimitScope"), message, "add `rateLimit` or remove it");
        }
        return None;
    };
    let path = path.key("rateLimit");
    let Some(interval_ms) = interval_ms(text) else {
        let message = format!("{} is not an interval", quoted(text));
        problems.error_help(Code::WrongType, &path, message, "write for example `5`, `5s`, `1m` or `2h`");
        return None;
    };
    if interval_ms == 0 {
        problems.warn(&path, "an interval of 0 limits nothing", "remove it");
        return None;
    }
    Some(RateLimit { interval_ms, scope })
}

fn scope(spec: &ActionSpec, path: &FieldPath, problems: &mut Problems) -> RateScope {
    match spec.rate_limit_scope.as_deref() {
        None | Some("" | "thread") => RateScope::Thread,
        Some("process") => RateScope::Process,
        Some("global") => RateScope::Global,
        Some(other) => {
            let message = format!("{} is not a scope", quoted(other));
            let help = suggest(other, &["thread", "process", "global"]);
            problems.error_help(Code::UnknownValue, &path.key("rateLimitScope"), message, help);
            RateScope::Thread
        }
    }
}

/// Milliseconds of an interval, at most what the kernel side keeps.
fn interval_ms(text: &str) -> Option<u32> {
    let text = text.trim();
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms: u64 = match text.get(number.len()..)?.to_ascii_lowercase().as_str() {
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Only the size can make this fail, and larger intervals are cut to the greatest one.
    let number = number.parse::<u64>().unwrap_or(u64::MAX);
    Some(u32::try_from(number.saturating_mul(unit_ms)).unwrap_or(u32::MAX))
}

fn signal(spec: &ActionSpec, path: &FieldPath, problems: &mut Problems) -> Option<Action> {
    let path = path.key("argSig");
    let Some(signal) = spec.arg_sig else {
        problems.error(Code::MissingField, &path, "`Signal` needs `argSig`, the number of the signal");
        return None;
    };
    let valid = u32::try_from(signal).ok().filter(|_| SIGNALS.contains(&signal));
    if valid.is_none() {
        let message = format!("{signal} is not a signal: {}..={}", SIGNALS.start(), SIGNALS.end());
        problems.error(Code::OutOfRange, &path, message);
    }
    valid.map(|signal| Action::Signal { signal, sigkill: false })
}

fn override_error(spec: &ActionSpec, path: &FieldPath, problems: &mut Problems) -> Option<Action> {
    let path = path.key("argError");
    let error = spec.arg_error.unwrap_or(0);
    if !ERRORS.contains(&error) {
        let message = format!("{error} is not within {}..={}", ERRORS.start(), ERRORS.end());
        if (1..=4095).contains(&error) {
            problems.error_help(
                Code::OutOfRange,
                &path,
                message,
                format!("write the errno negative: {}", -error),
            );
        } else {
            problems.error(Code::OutOfRange, &path, message);
        }
        return None;
    }
    if error == 0 {
        let message = "the caller is told that the operation succeeded, though it did not happen";
        problems.warn(&path, message, "write for example `argError: -1` to have it refused");
    }
    Some(Action::Override { error })
}

fn allow_enforcement(
    view: &HookView<'_>,
    spec: &ActionSpec,
    path: &FieldPath,
    problems: &mut Problems,
) -> Option<()> {
    if view.section != Section::Fentries {
        return Some(());
    }
    let message = format!("`{}` is not possible in `fentries`, which only observe", spec.action);
    problems.error_help(Code::Conflict, &path.key("action"), message, "use `kprobes` or `lsmhooks`");
    None
}

/// `Override` needs a hook at which the kernel lets a program decide.
fn allow_override(
    view: &HookView<'_>,
    moment: Moment,
    path: &FieldPath,
    problems: &mut Problems,
) -> Option<()> {
    let path = path.key("action");
    if moment == Moment::Return {
        let message = "`Override` cannot undo a function that has run";
        problems.error_help(Code::Unenforceable, &path, message, "move it to `matchActions`");
        return None;
    }
    match view.point? {
        HookPoint::Syscall { .. } | HookPoint::Lsm { .. } => Some(()),
        HookPoint::Kprobe { function } if function.starts_with("security_") => Some(()),
        HookPoint::Kprobe { function } => {
            let message = format!("the kernel does not let `{function}` be overridden");
            let help = "hook a `security_` function, an entry of `lsmhooks`, or the system call with \
                        `syscall: true`";
            problems.error_help(Code::Unenforceable, &path, message, help);
            None
        }
        HookPoint::Tracepoint { .. } | HookPoint::RawTracepoint { .. } => {
            let message = "a tracepoint cannot refuse what it observes";
            let help = "use `Sigkill`, or hook a `security_` function, an entry of `lsmhooks`, or the system call \
                        in `kprobes`";
            problems.error_help(Code::Unenforceable, &path, message, help);
            None
        }
        // Refused before, as all enforcement is.
        HookPoint::Fentry { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::interval_ms;

    #[test]
    fn intervals() {
        for (text, expected) in [
            ("5", Some(5000)),
            ("5s", Some(5000)),
            ("1M", Some(60_000)),
            ("2h", Some(7_200_000)),
            ("0", Some(0)),
            ("9999999999", Some(u32::MAX)),
            ("99999999999999999999999999", Some(u32::MAX)),
            ("5d", None),
            ("5ms", None),
            ("s", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
        ] {
            assert_eq!(interval_ms(text), expected, "{text}");
        }
    }
}
