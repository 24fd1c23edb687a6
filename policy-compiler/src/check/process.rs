//! In: `matchBinaries`, `matchParentBinaries`, `matchPIDs` and `matchNamespaces`. Out: tests of the current
//! process.

use crds::operator::{BinaryOperator, SetOperator};
use crds::selector::{self, BinaryFilter, NamespaceFilter, PidFilter};

use super::path::FieldPath;
use super::problems::{Problems, quoted};
use super::text::POSTFIX_LIMIT;
use crate::diagnostic::Code;
use crate::typed::{
    BinaryTest, Filter, FilterTest, NamespaceKind, NamespaceTest, NamespaceValue, PidTest, TextOp,
};

/// Longest path of an executable that is compared, in bytes.
const BINARY_LIMIT: usize = 255;
/// Most values of a `matchPIDs` or `matchNamespaces` element.
const VALUES_LIMIT: usize = 4;
/// Most elements of `matchNamespaces`.
const NAMESPACES_LIMIT: usize = 10;

/// Checks `matchBinaries`.
pub(super) fn check_binaries(
    filters: &[BinaryFilter],
    path: &FieldPath,
    problems: &mut Problems,
) -> Vec<Filter> {
    check_each_binary(filters, path, FilterTest::Binary, problems)
}

/// Checks `matchParentBinaries`.
pub(super) fn check_parent_binaries(
    filters: &[BinaryFilter],
    path: &FieldPath,
    problems: &mut Problems,
) -> Vec<Filter> {
    for (index, filter) in filters.iter().enumerate().filter(|(_, filter)| filter.follow_children) {
        // What the parent descends from is not known apart from what the process itself was before.
        let message =
            format!("`followChildren` does not go with `matchParentBinaries` (`{}`)", filter.operator);
        let help =
            "use `matchBinaries` with `followChildren`: it holds for all descendants of the executables";
        problems.error_help(Code::Unsupported, &path.item(index).key("followChildren"), message, help);
    }
    check_each_binary(filters, path, FilterTest::ParentBinary, problems)
}

fn check_each_binary(
    filters: &[BinaryFilter],
    path: &FieldPath,
    wrap: fn(BinaryTest) -> FilterTest,
    problems: &mut Problems,
) -> Vec<Filter> {
    let mut tests = Vec::new();
    if filters.len() > 1 {
        let message = format!("{} elements, at most 1 is possible", filters.len());
        problems.error(Code::OutOfRange, path, message);
    }
    for (index, filter) in filters.iter().enumerate() {
        let path = path.item(index);
        if let Some(test) = check_binary(filter, &path, problems) {
            tests.push(Filter { path: path.to_string(), test: wrap(test) });
        }
    }
    tests
}

fn check_binary(filter: &BinaryFilter, path: &FieldPath, problems: &mut Problems) -> Option<BinaryTest> {
    let (not, op) = match filter.operator {
        BinaryOperator::In => (false, TextOp::Equal),
        BinaryOperator::NotIn => (true, TextOp::Equal),
        BinaryOperator::Prefix => (false, TextOp::Prefix),
        BinaryOperator::NotPrefix => (true, TextOp::Prefix),
        BinaryOperator::Postfix => (false, TextOp::Postfix),
        BinaryOperator::NotPostfix => (true, TextOp::Postfix),
    };
    if filter.follow_children && op != TextOp::Equal {
        let message = format!("`followChildren` does not go with `{}`", filter.operator);
        problems.error_help(Code::Conflict, &path.key("followChildren"), message, "use `In` or `NotIn`");
    }
    let values_path = path.key("values");
    if filter.values.is_empty() {
        problems.warn(&values_path, "without values the filter is ignored", "add paths or remove the filter");
        return None;
    }
    let limit = if op == TextOp::Postfix { POSTFIX_LIMIT } else { BINARY_LIMIT };
    for (index, value) in filter.values.iter().enumerate() {
        let path = values_path.item(index);
        if value.len() > limit {
            let message = format!("{} bytes, at most {limit} can be compared", value.len());
            problems.error(Code::OutOfRange, &path, message);
        } else if value.is_empty() {
            problems.error(Code::OutOfRange, &path, "an empty path is no executable");
        } else if op != TextOp::Postfix && !value.starts_with('/') {
            let message = format!("{} never matches: paths of executables are absolute", quoted(value));
            problems.warn(&path, message, "write the whole path, or use `Postfix`");
        }
    }
    let mut values: Vec<Vec<u8>> = filter.values.iter().map(|value| value.as_bytes().to_vec()).collect();
    values.sort_unstable();
    values.dedup();
    Some(BinaryTest { not, op, values, follow_children: filter.follow_children })
}

/// Checks `matchPIDs`. Every element counts, ANDed like all filters: to leave out those after the first would be
/// weaker than what is written.
pub(super) fn check_pids(filters: &[PidFilter], path: &FieldPath, problems: &mut Problems) -> Vec<Filter> {
    let mut tests = Vec::with_capacity(filters.len());
    for (index, filter) in filters.iter().enumerate() {
        let path = path.item(index);
        let values_path = path.key("values");
        check_count(filter.values.len(), &values_path, problems);
        let mut values = Vec::with_capacity(filter.values.len());
        for (index, value) in filter.values.iter().enumerate() {
            match u32::try_from(*value) {
                Ok(pid) => values.push(pid),
                Err(_) => {
                    let message = format!("{value} is not a process id");
                    problems.error(Code::OutOfRange, &values_path.item(index), message);
                }
            }
        }
        let test = PidTest {
            not: filter.operator == SetOperator::NotIn,
            namespace_pid: filter.is_namespace_pid,
            follow_forks: filter.follow_forks,
            values,
        };
        tests.push(Filter { path: path.to_string(), test: FilterTest::Pids(test) });
    }
    tests
}

fn check_count(count: usize, path: &FieldPath, problems: &mut Problems) {
    if count == 0 {
        problems.error(Code::MissingField, path, "at least one value is needed");
    }
    if count > VALUES_LIMIT {
        let message = format!("{count} values, at most {VALUES_LIMIT} are possible here");
        problems.error(Code::OutOfRange, path, message);
    }
}

/// Checks `matchNamespaces`.
pub(super) fn check_namespaces(
    filters: &[NamespaceFilter],
    path: &FieldPath,
    problems: &mut Problems,
) -> Vec<Filter> {
    if filters.len() > NAMESPACES_LIMIT {
        let message = format!("{} filters, at most {NAMESPACES_LIMIT} are possible", filters.len());
        problems.error(Code::OutOfRange, path, message);
    }
    let mut tests = Vec::with_capacity(filters.len());
    for (index, filter) in filters.iter().enumerate() {
        let path = path.item(index);
        let values_path = path.key("values");
        check_count(filter.values.len(), &values_path, problems);
        let mut values = Vec::with_capacity(filter.values.len());
        for (index, value) in filter.values.iter().enumerate() {
            let parsed = namespace_value(value);
            if parsed.is_none() {
                let message = format!("{} is not a namespace", quoted(value));
                let help = "write its inode number, or `host_ns`";
                problems.error_help(Code::UnknownValue, &values_path.item(index), message, help);
            }
            values.extend(parsed);
        }
        let test = NamespaceTest {
            not: filter.operator == SetOperator::NotIn,
            kind: namespace_kind(filter.namespace),
            values,
        };
        tests.push(Filter { path: path.to_string(), test: FilterTest::Namespace(test) });
    }
    tests
}

fn namespace_value(value: &str) -> Option<NamespaceValue> {
    match value {
        "host_ns" => Some(NamespaceValue::Host),
        number => number.parse().ok().map(NamespaceValue::Inode),
    }
}

fn namespace_kind(kind: selector::NamespaceKind) -> NamespaceKind {
    match kind {
        selector::NamespaceKind::Uts => NamespaceKind::Uts,
        selector::NamespaceKind::Ipc => NamespaceKind::Ipc,
        selector::NamespaceKind::Mnt => NamespaceKind::Mnt,
        selector::NamespaceKind::Pid => NamespaceKind::Pid,
        selector::NamespaceKind::PidForChildren => NamespaceKind::PidForChildren,
        selector::NamespaceKind::Net => NamespaceKind::Net,
        selector::NamespaceKind::Time => NamespaceKind::Time,
        selector::NamespaceKind::TimeForChildren => NamespaceKind::TimeForChildren,
        selector::NamespaceKind::Cgroup => NamespaceKind::Cgroup,
        selector::NamespaceKind::User => NamespaceKind::User,
    }
}
