//! In: `matchArgs` and `matchReturnArgs`. Out: tests of arguments; the operator decides which module reads the
//! values.

use crds::operator::ArgOperator;
use crds::selector::ArgFilter;

use super::argument::{ArgSlot, EXAMINED_LIMIT};
use super::operator::{Family, accepted, family};
use super::path::FieldPath;
use super::problems::Problems;
use super::{address, capability, integer, socket, text};
use crate::diagnostic::Code;
use crate::typed::{ArgTest, ArgType, Filter, FilterTest, IntType};

/// Most filters on arguments of one selector.
const FILTERS_LIMIT: usize = 5;

/// One filter with what its value parser needs.
pub(super) struct Request<'a> {
    /// Operator as written.
    pub(super) operator: ArgOperator,
    /// Type of the argument.
    pub(super) ty: ArgType,
    /// Values as written.
    pub(super) values: &'a [String],
    /// Path of `values`.
    pub(super) path: FieldPath,
}

/// Checks `matchArgs`.
pub(super) fn check_args(
    slots: &[ArgSlot],
    filters: &[ArgFilter],
    path: &FieldPath,
    problems: &mut Problems,
) -> Vec<Filter> {
    check_count(filters, path, problems);
    let mut tests = Vec::new();
    for (index, filter) in filters.iter().take(EXAMINED_LIMIT).enumerate() {
        let path = path.item(index);
        let test = if filter.operator == ArgOperator::CapabilitiesGained {
            gained(slots, filter, &path, problems)
        } else {
            position(slots, filter, &path, problems).and_then(|arg| {
                let test = check_one(slots.get(arg)?, filter, &path, problems)?;
                Some(FilterTest::Arg { arg, test })
            })
        };
        tests.extend(test.map(|test| Filter { path: path.to_string(), test }));
    }
    tests
}

/// Checks `matchReturnArgs`, whose only argument is the return value.
pub(super) fn check_return_args(
    ret: &ArgSlot,
    filters: &[ArgFilter],
    path: &FieldPath,
    problems: &mut Problems,
) -> Vec<Filter> {
    check_count(filters, path, problems);
    let mut tests = Vec::new();
    for (index, filter) in filters.iter().take(EXAMINED_LIMIT).enumerate() {
        let path = path.item(index);
        let wanted = filter.args.first().copied().unwrap_or(filter.index.unwrap_or(0));
        let right = if filter.args.is_empty() { ret.index } else { 0 };
        if wanted != right || filter.args.len() > 1 {
            let message = "only the return value can be tested here";
            let help = format!("write `index: {}`, as in `returnArg`", ret.index);
            problems.error_help(Code::Conflict, &path.key("index"), message, help);
        }
        if filter.operator == ArgOperator::CapabilitiesGained {
            let message = "`CapabilitiesGained` compares two arguments, a return value is one";
            problems.error(Code::Conflict, &path.key("operator"), message);
            continue;
        }
        if let Some(test) = check_one(ret, filter, &path, problems) {
            tests.push(Filter { path: path.to_string(), test: FilterTest::Arg { arg: 0, test } });
        }
    }
    tests
}

fn check_count(filters: &[ArgFilter], path: &FieldPath, problems: &mut Problems) {
    if filters.len() > FILTERS_LIMIT {
        let message = format!("{} filters, at most {FILTERS_LIMIT} are possible", filters.len());
        problems.error(Code::OutOfRange, path, message);
    }
}

/// The position in `args` that a filter means: `args` holds positions; `index` is an argument's own index, 0 if
/// absent as the language has it.
fn position(
    slots: &[ArgSlot],
    filter: &ArgFilter,
    path: &FieldPath,
    problems: &mut Problems,
) -> Option<usize> {
    if let [first, others @ ..] = filter.args.as_slice() {
        if !others.is_empty() {
            let message = format!("`{}` tests one argument", filter.operator);
            problems.error(Code::Conflict, &path.key("args"), message);
        }
        return listed(slots, *first, &path.key("args").item(0), problems);
    }
    let wanted = filter.index.unwrap_or(0);
    let found = slots.iter().position(|slot| slot.index == wanted);
    if found.is_none() {
        let message = format!("the hook has no argument with `index: {wanted}`");
        let known: Vec<String> = slots.iter().map(|slot| slot.index.to_string()).collect();
        let help = if known.is_empty() {
            "add it to the hook's `args`".to_owned()
        } else {
            format!("its `args` have index {}; add it there or correct it here", known.join(", "))
        };
        problems.error_help(Code::Conflict, &path.key("index"), message, help);
    }
    found
}

fn listed(slots: &[ArgSlot], position: i32, path: &FieldPath, problems: &mut Problems) -> Option<usize> {
    let found = usize::try_from(position).ok().filter(|position| *position < slots.len());
    if found.is_none() {
        let message = format!("there is no position {position} in the hook's `args`");
        let help = format!("it has {} elements, counted from 0", slots.len());
        problems.error_help(Code::OutOfRange, path, message, help);
    }
    found
}

/// `CapabilitiesGained`: two positions of capability sets, old and new.
fn gained(
    slots: &[ArgSlot],
    filter: &ArgFilter,
    path: &FieldPath,
    problems: &mut Problems,
) -> Option<FilterTest> {
    let args = path.key("args");
    let [old, new] = filter.args.as_slice() else {
        let message = "`CapabilitiesGained` needs two positions in `args`: the old and the new set";
        problems.error(Code::MissingField, &args, message);
        return None;
    };
    if !filter.values.is_empty() {
        problems.warn(&path.key("values"), "has no effect with `CapabilitiesGained`", "remove it");
    }
    let mut sets = [*old, *new].into_iter().enumerate().map(|(at, position)| {
        let path = args.item(at);
        let found = listed(slots, position, &path, problems)?;
        let slot = slots.get(found)?;
        let is_set = matches!(slot.typed.as_ref()?.ty, ArgType::CapSet(_));
        if !is_set {
            let message = format!("argument of type `{}` is not a capability set", slot.kind);
            problems.error(Code::Conflict, &path, message);
        }
        is_set.then_some(found)
    });
    let (old, new) = (sets.next().flatten(), sets.next().flatten());
    Some(FilterTest::CapabilitiesGained { old: old?, new: new? })
}

fn check_one(
    slot: &ArgSlot,
    filter: &ArgFilter,
    path: &FieldPath,
    problems: &mut Problems,
) -> Option<ArgTest> {
    let operator = filter.operator;
    let operator_path = path.key("operator");
    let Some(family) = family(operator) else {
        problems.unsupported(&operator_path, &format!("the operator `{operator}`"));
        return None;
    };
    let ty = slot.typed.as_ref()?.ty;
    let possible = accepted(ty);
    if !possible.contains(&operator) {
        let message = format!("`{operator}` does not apply to an argument of type `{}`", slot.kind);
        let help = if possible.is_empty() {
            let advice = if ty == ArgType::Capability { "; declare it `int` to test its number" } else { "" };
            format!("`{}` accepts no operator{advice}", slot.kind)
        } else {
            let names: Vec<&str> = possible.iter().map(|operator| operator.as_str()).collect();
            format!("`{}` accepts {}", slot.kind, names.join(", "))
        };
        problems.error_help(Code::Conflict, &operator_path, message, help);
        return None;
    }
    let request = Request { operator, ty, values: &filter.values, path: path.key("values") };
    parse(family, &request, problems)
}

fn parse(family: Family, request: &Request<'_>, problems: &mut Problems) -> Option<ArgTest> {
    match (family, request.ty) {
        (Family::PrivilegedPort { side, not }, _) => Some(address::privileged(side, not, request, problems)),
        _ if request.values.is_empty() => {
            let message = format!("`{}` needs at least one value", request.operator);
            problems.error(Code::MissingField, &request.path, message);
            None
        }
        (Family::Compare(_), ArgType::CapSet(_)) => capability::check_set(request, problems),
        (Family::Compare(_), ArgType::Int(ty)) => integer::check(ty, request, problems),
        (Family::Compare(_), ArgType::Syscall64) => integer::check(IntType::U64, request, problems),
        (Family::Compare(_), ArgType::Auto) if !text::is_text(request) => {
            integer::check_auto(request, problems)
        }
        (Family::Compare(_) | Family::Text { .. }, _) => text::check(request, problems),
        (Family::FileType { not }, _) => text::check_file_type(not, request, problems),
        (Family::Address { side, not }, _) => address::check_networks(side, not, request, problems),
        (Family::Port { side, not }, _) => address::check_ports(side, not, request, problems),
        (Family::Sock(field), _) => socket::check(field, request, problems),
    }
}
