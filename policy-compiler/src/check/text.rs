//! In: values of filters on strings, buffers and paths. Out: text tests and file types.

use super::filter::Request;
use super::integer::{self, Base};
use super::operator::{Comparison, Family, family};
use super::problems::{Problems, quoted, suggest};
use crate::diagnostic::Code;
use crate::typed::{ArgTest, ArgType, TextOp};

/// Longest value of `Equal`, in bytes: the longest text that hooks read.
const EQUAL_LIMIT: usize = 4096;
/// Longest value of `Prefix`, in bytes: the longest key of the kernel's prefix maps.
pub(super) const PREFIX_LIMIT: usize = 256;
/// Longest value of `Postfix`, in bytes: the part of a text's end that is compared.
pub(super) const POSTFIX_LIMIT: usize = 127;

/// Folders that nobody means to match together with others of a longer name.
const WELL_KNOWN_FOLDERS: [&str; 16] = [
    "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/opt", "/proc", "/root", "/run", "/sbin", "/srv",
    "/sys", "/tmp", "/usr", "/var",
];

/// File types by name, with their `S_IF` value.
const FILE_TYPES: [(&str, u16); 13] = [
    ("sock", 0o140000),
    ("socket", 0o140000),
    ("lnk", 0o120000),
    ("link", 0o120000),
    ("reg", 0o100000),
    ("regular", 0o100000),
    ("blk", 0o060000),
    ("block", 0o060000),
    ("dir", 0o040000),
    ("chr", 0o020000),
    ("char", 0o020000),
    ("fifo", 0o010000),
    ("pipe", 0o010000),
];

/// Whether a filter on a field of unknown type can only mean text: `Equal` with a value that is no number.
pub(super) fn is_text(request: &Request<'_>) -> bool {
    let equal = matches!(family(request.operator), Some(Family::Compare(Comparison::Equal { .. })));
    equal && request.values.iter().any(|value| integer::number(value, Base::Auto).is_none())
}

/// Checks a text comparison.
pub(super) fn check(request: &Request<'_>, problems: &mut Problems) -> Option<ArgTest> {
    let (not, op, limit) = match family(request.operator)? {
        Family::Compare(Comparison::Equal { not }) => (not, TextOp::Equal, EQUAL_LIMIT),
        Family::Text { not, end: false } => (not, TextOp::Prefix, PREFIX_LIMIT),
        Family::Text { not, end: true } => (not, TextOp::Postfix, POSTFIX_LIMIT),
        _ => return None,
    };
    let mut values = Vec::with_capacity(request.values.len());
    for (index, value) in request.values.iter().enumerate() {
        let path = request.path.item(index);
        let value = match request.ty {
            ArgType::String => value.trim_end_matches('\0'),
            _ => value,
        };
        if value.len() > limit {
            let message = format!("{} bytes, at most {limit} can be compared", value.len());
            problems.error(Code::OutOfRange, &path, message);
        }
        if value.is_empty() {
            lint_empty(op, request, &path, problems);
        }
        if op == TextOp::Prefix && is_path(request.ty) && WELL_KNOWN_FOLDERS.contains(&value) {
            let message = format!("`{value}` also matches names such as `{value}foo`");
            problems.warn(&path, message, format!("write `{value}/` if the folder is meant"));
        }
        values.push(value.as_bytes().to_vec());
    }
    values.sort_unstable();
    values.dedup();
    Some(ArgTest::Text { not, op, values })
}

fn is_path(ty: ArgType) -> bool {
    matches!(
        ty,
        ArgType::File
            | ArgType::Fd
            | ArgType::Path
            | ArgType::Dentry
            | ArgType::LinuxBinprm
            | ArgType::Filename
    )
}

fn lint_empty(op: TextOp, request: &Request<'_>, path: &super::path::FieldPath, problems: &mut Problems) {
    match op {
        TextOp::Equal if is_path(request.ty) && request.ty != ArgType::Filename => {
            problems.warn(path, "an empty path matches no test", "remove it");
        }
        TextOp::Equal => {}
        TextOp::Prefix | TextOp::Postfix => {
            problems.warn(path, "every text begins and ends with the empty text", "remove it");
        }
    }
}

/// Checks `FileType` and `NotFileType`.
pub(super) fn check_file_type(not: bool, request: &Request<'_>, problems: &mut Problems) -> Option<ArgTest> {
    integer::check_count(request, problems);
    let mut modes = Vec::with_capacity(request.values.len());
    for (index, value) in request.values.iter().enumerate() {
        match FILE_TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(value)) {
            Some((_, mode)) => modes.push(*mode),
            None => {
                let names = FILE_TYPES.map(|(name, _)| name);
                let message = format!("{} is not a type of file", quoted(value));
                let path = request.path.item(index);
                problems.error_help(Code::UnknownValue, &path, message, suggest(value, &names));
            }
        }
    }
    modes.sort_unstable();
    modes.dedup();
    Some(ArgTest::FileType { not, modes })
}
