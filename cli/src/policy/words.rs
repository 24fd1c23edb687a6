//! In: filters, actions and arguments of a typed policy. Out: what they mean, in words.

use super::workloads::workloads;
use api::names;
use policy_compiler::typed::{
    Action, ArgTest, ArgType, BinaryTest, CapabilitySet, CapabilityTest, Filter, FilterTest, IntTest, Mode,
    NamespaceTest, NamespaceValue, PidTest, RateScope, Side, SockField, TextOp, TypedArg, TypedHook,
};
use std::fmt::Display;

/// Values shown of a longer list.
const SHOWN: usize = 8;

/// An argument as filters call it.
pub fn argument(arg: &TypedArg) -> String {
    let label = arg.label.as_ref().map(|label| format!(" \"{label}\"")).unwrap_or_default();
    format!("argument {}{label} ({})", arg.index, type_name(arg.ty))
}

/// The policy language's name of a type.
pub fn type_name(ty: ArgType) -> &'static str {
    ty.name().trim_matches('`')
}

/// A condition on a call.
pub fn filter(filter: &Filter, hook: &TypedHook) -> String {
    let name = |at: &usize| hook.args.get(*at).map_or_else(|| "an argument".to_owned(), argument);
    match &filter.test {
        FilterTest::Arg { arg, test } => {
            format!("{} {}", name(arg), arg_test(test, hook.args.get(*arg)))
        }
        FilterTest::CapabilitiesGained { old, new } => {
            format!("{} has a capability that {} has not", name(new), name(old))
        }
        FilterTest::Pids(test) => pids(test),
        FilterTest::Binary(test) => binary(test, "the process"),
        FilterTest::ParentBinary(test) => binary(test, "the parent process"),
        FilterTest::Namespace(test) => namespace(test),
        FilterTest::Capabilities(test) => capability(test),
        FilterTest::Workloads(test) => format!("the process is one of {}", workloads(test)),
    }
}

/// A condition on the return value.
pub fn return_filter(filter: &Filter, hook: &TypedHook) -> String {
    match &filter.test {
        FilterTest::Arg { test, .. } => format!("the return value {}", arg_test(test, hook.ret.as_ref())),
        _ => self::filter(filter, hook),
    }
}

fn arg_test(test: &ArgTest, arg: Option<&TypedArg>) -> String {
    match test {
        ArgTest::Int { not, test } => int_test(*not, test, arg.map(|arg| arg.ty)),
        ArgTest::Text { not, op, values } => format!("{} {}", text_op(*not, *op), texts(values)),
        ArgTest::FileType { not, modes } => {
            let not = if *not { "not " } else { "" };
            format!("is {not}{}", list(modes.iter().map(|mode| file_type(*mode))))
        }
        ArgTest::Addr { not, side, nets } => {
            let not = if *not { "not " } else { "" };
            let nets = nets.iter().map(|net| format!("{}/{}", net.addr, net.prefix));
            format!("has a {} address {not}in {}", side_name(*side), list(nets))
        }
        ArgTest::Port { not, side, ranges } => {
            let not = if *not { "other than " } else { "" };
            format!("has a {} port {not}{}", side_name(*side), list(ranges.iter().map(|(a, b)| range(a, b))))
        }
        ArgTest::SockField { field, ranges } => {
            let (what, table) = match field {
                SockField::Protocol => ("protocol", &names::PROTOCOLS),
                SockField::Family => ("family", &names::ADDRESS_FAMILIES),
                SockField::State => ("state", &names::TCP_STATES),
            };
            let show = |(a, b): &(u32, u32)| range(&table.show(*a), &table.show(*b));
            format!("has {what} {}", list(ranges.iter().map(show)))
        }
    }
}

fn int_test(not: bool, test: &IntTest, ty: Option<ArgType>) -> String {
    let show = |value: u64| match ty {
        Some(ArgType::Capability) => names::CAPABILITIES.show(value as u32).into_owned(),
        Some(ArgType::Int(int)) if int.signed() => (value as i64).to_string(),
        Some(ArgType::Fd) => (value as i64).to_string(),
        Some(ArgType::CapSet(_)) => format!("{value:#x}"),
        _ => value.to_string(),
    };
    match test {
        IntTest::In(ranges) => {
            let not = if not { "not " } else { "" };
            format!("is {not}{}", list(ranges.iter().map(|(a, b)| range(&show(*a), &show(*b)))))
        }
        IntTest::Greater(value) => format!("is greater than {}", show(*value)),
        IntTest::Less(value) => format!("is less than {}", show(*value)),
        IntTest::Mask(mask) => format!("has any of the bits {mask:#x}"),
    }
}

fn text_op(not: bool, op: TextOp) -> &'static str {
    match (op, not) {
        (TextOp::Equal, false) => "is",
        (TextOp::Equal, true) => "is none of",
        (TextOp::Prefix, false) => "begins with",
        (TextOp::Prefix, true) => "begins with none of",
        (TextOp::Postfix, false) => "ends with",
        (TextOp::Postfix, true) => "ends with none of",
    }
}

fn pids(test: &PidTest) -> String {
    let space = if test.namespace_pid { "in its own pid namespace" } else { "on the host" };
    let not = if test.not { "not " } else { "" };
    let forks = if test.follow_forks { " or a descendant of such a process" } else { "" };
    format!("the process id {space} is {not}{}{forks}", list(&test.values))
}

fn binary(test: &BinaryTest, who: &str) -> String {
    let children = match (test.follow_children, test.not) {
        (false, _) => "",
        (true, false) => ", or it descends from such a process",
        (true, true) => ", and it does not descend from such a process",
    };
    format!("the binary of {who} {} {}{children}", text_op(test.not, test.op), texts(&test.values))
}

fn namespace(test: &NamespaceTest) -> String {
    let value = |value: &NamespaceValue| match value {
        NamespaceValue::Host => "the host's".to_owned(),
        NamespaceValue::Inode(inode) => inode.to_string(),
    };
    let not = if test.not { "not " } else { "" };
    format!("the {:?} namespace of the process is {not}{}", test.kind, list(test.values.iter().map(value)))
}

fn capability(test: &CapabilityTest) -> String {
    let set = match test.set {
        CapabilitySet::Effective => "effective",
        CapabilitySet::Inheritable => "inheritable",
        CapabilitySet::Permitted => "permitted",
    };
    let bits = (0..64_u32).filter(|bit| test.mask >> bit & 1 == 1);
    let amount = if test.not { "none" } else { "one" };
    let scope = if test.namespace_only { ", and it is not in the host's user namespace" } else { "" };
    let capabilities = bits.map(|bit| names::CAPABILITIES.show(bit)).collect::<Vec<_>>();
    format!("the process has {amount} of the {set} capabilities {}{scope}", list(capabilities))
}

/// What happens to a call that a selector matches; `at_return` if these are `matchReturnActions`.
pub fn action(action: Action, mode: Mode) -> String {
    let withheld = match mode {
        Mode::Enforce => "",
        Mode::Monitor => " (withheld and counted: the policy is in monitor mode)",
    };
    match action {
        Action::Post { rate_limit: None } => "post an event".to_owned(),
        Action::Post { rate_limit: Some(limit) } => {
            let scope = match limit.scope {
                RateScope::Thread => "for each thread",
                RateScope::Process => "for each process",
                RateScope::Global => "for all processes together",
            };
            format!("post an event, of equal ones at most one in {} ms {scope}", limit.interval_ms)
        }
        Action::NoPost => "post no event, count the match".to_owned(),
        Action::Signal { sigkill: true, .. } => format!("kill the process (SIGKILL){withheld}"),
        Action::Signal { signal, .. } => format!("send {} to the process{withheld}", names::signal(signal)),
        Action::Override { error } => {
            format!("do not run the function, return {error}{} to its caller{withheld}", errno(error))
        }
    }
}

fn errno(error: i32) -> &'static str {
    match error {
        -1 => " (EPERM)",
        -2 => " (ENOENT)",
        -5 => " (EIO)",
        -11 => " (EAGAIN)",
        -12 => " (ENOMEM)",
        -13 => " (EACCES)",
        -16 => " (EBUSY)",
        -22 => " (EINVAL)",
        -30 => " (EROFS)",
        -38 => " (ENOSYS)",
        -111 => " (ECONNREFUSED)",
        _ => "",
    }
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Source => "source",
        Side::Destination => "destination",
    }
}

fn file_type(mode: u16) -> String {
    let name = match mode {
        0o140_000 => "a socket",
        0o120_000 => "a symbolic link",
        0o100_000 => "a regular file",
        0o060_000 => "a block device",
        0o040_000 => "a directory",
        0o020_000 => "a character device",
        0o010_000 => "a fifo",
        _ => return format!("a file of type {mode:#o}"),
    };
    name.to_owned()
}

fn range<T: Display + PartialEq + ?Sized>(from: &T, to: &T) -> String {
    if from == to { from.to_string() } else { format!("{from} to {to}") }
}

fn texts(values: &[Vec<u8>]) -> String {
    list(values.iter().map(|value| value.escape_ascii()))
}

fn list<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<T> = values.into_iter().collect();
    let shown: Vec<String> = values.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = values.len() - shown.len();
    match (shown.as_slice(), more) {
        ([one], 0) => one.clone(),
        ([rest @ .., last], 0) => format!("{} or {last}", rest.join(", ")),
        (all, _) => format!("{} or one of {more} more", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::list;

    #[test]
    fn lists_read_as_sentences() {
        assert_eq!(list([1]), "1");
        assert_eq!(list([1, 2]), "1 or 2");
        assert_eq!(list(1..=10), "1, 2, 3, 4, 5, 6, 7, 8 or one of 2 more");
    }
}
