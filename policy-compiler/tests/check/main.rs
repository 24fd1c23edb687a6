//! In: `filetests/check/*.yaml` and `examples/policies/*.yaml`. Out: whether `check` says about them what the
//! `.expect` file beside them says.
//!
//! `BLESS=1 cargo test -p policy-compiler --test check` rewrites the expectations.

mod bounds;
mod matrix;
mod print;
mod random;

use std::fs;
use std::path::{Path, PathBuf};

use policy_compiler::check::check_yaml;
use policy_compiler::diagnostic::Code;

fn folder(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty(), "no case in {}", folder.display());
    files
}

/// Compares with the expectation at `path`, or writes it.
fn expect(path: &Path, actual: &str) -> Result<(), String> {
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, actual).unwrap();
        return Ok(());
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected == actual {
        return Ok(());
    }
    Err(format!(
        "{} differs; BLESS=1 rewrites it\n--- expected\n{expected}--- actual\n{actual}",
        path.display()
    ))
}

#[test]
fn files_are_judged_as_expected() {
    let mut failures = Vec::new();
    for path in yaml_files(&folder("filetests/check")) {
        let text = fs::read_to_string(&path).unwrap();
        let actual: String = check_yaml(&text).iter().map(print::checked).collect();
        failures.extend(expect(&path.with_extension("expect"), &actual).err());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn examples_have_neither_errors_nor_warnings() {
    for path in yaml_files(&folder("../examples/policies")) {
        for checked in check_yaml(&fs::read_to_string(&path).unwrap()) {
            let shown = print::checked(&checked);
            assert!(checked.policy.is_some(), "{}:\n{shown}", path.display());
            assert!(checked.diagnostics.is_empty(), "{}:\n{shown}", path.display());
        }
    }
}

#[test]
fn every_code_of_this_stage_has_a_case() {
    let mut missing: Vec<Code> = vec![
        Code::Malformed,
        Code::UnknownField,
        Code::MissingField,
        Code::WrongType,
        Code::UnknownValue,
        Code::OutOfRange,
        Code::Conflict,
        Code::Unsupported,
        Code::Unenforceable,
        Code::Suspicious,
    ];
    for path in yaml_files(&folder("filetests/check")) {
        for checked in check_yaml(&fs::read_to_string(&path).unwrap()) {
            missing.retain(|code| checked.diagnostics.iter().all(|found| found.code != *code));
        }
    }
    assert_eq!(missing, []);
}

#[test]
fn a_policy_is_present_exactly_without_errors() {
    for path in yaml_files(&folder("filetests/check")) {
        for checked in check_yaml(&fs::read_to_string(&path).unwrap()) {
            let refused = checked.diagnostics.iter().any(|found| found.is_error());
            assert_eq!(checked.policy.is_none(), refused, "{}", path.display());
        }
    }
}
