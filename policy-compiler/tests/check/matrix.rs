//! In: all argument types and all operators. Out: whether the pairs that `check` accepts are those in
//! `filetests/check/operators.matrix`.

use std::fmt::Write;

use crds::argument::ArgKind;
use crds::operator::ArgOperator;
use policy_compiler::check::check_yaml;
use policy_compiler::diagnostic::Code;

use super::{expect, folder};

/// A value that the operator takes, if it applies at all.
fn value(operator: ArgOperator) -> &'static str {
    match operator {
        ArgOperator::InRange | ArgOperator::NotInRange => "1:2",
        ArgOperator::SAddr | ArgOperator::NotSAddr | ArgOperator::DAddr | ArgOperator::NotDAddr => {
            "10.0.0.0/8"
        }
        ArgOperator::Protocol => "IPPROTO_TCP",
        ArgOperator::Family => "AF_INET",
        ArgOperator::State => "TCP_LISTEN",
        ArgOperator::FileType | ArgOperator::NotFileType => "reg",
        _ => "1",
    }
}

/// A policy with one argument of the type and one filter with the operator. Tracepoints have the types that
/// functions lack.
fn policy(kind: ArgKind, operator: ArgOperator) -> String {
    let hook = match kind {
        ArgKind::Auto | ArgKind::Syscall64 => "tracepoints:\n  - {subsystem: s, event: e, ",
        _ => "kprobes:\n  - {call: f, syscall: false, ",
    };
    let size = if kind == ArgKind::CharBuf { ", sizeArgIndex: 2" } else { "" };
    let second = if operator == ArgOperator::CapabilitiesGained { "args: [0, 0]" } else { "index: 0" };
    format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: p}}\nspec:\n  {hook}\
         args: [{{index: 0, type: {kind}{size}}}],\n    selectors: [{{matchArgs: [{{{second}, \
         operator: {operator}, values: [\"{}\"]}}]}}]}}\n",
        value(operator)
    )
}

/// `+` accepted, `-` does not go together, `u` unsupported.
fn verdict(kind: ArgKind, operator: ArgOperator) -> char {
    let text = policy(kind, operator);
    let checked = check_yaml(&text).remove(0);
    let errors: Vec<Code> =
        checked.diagnostics.iter().filter(|found| found.is_error()).map(|found| found.code).collect();
    if errors.is_empty() {
        '+'
    } else if errors.iter().all(|code| *code == Code::Conflict) {
        '-'
    } else {
        assert!(errors.iter().all(|code| *code == Code::Unsupported), "{text}\n{:?}", checked.diagnostics);
        'u'
    }
}

#[test]
fn types_accept_the_operators_of_the_language() {
    let mut out = String::from("One column per operator: + accepted, - refused, u not implemented\n");
    for (column, operator) in ArgOperator::ALL.iter().enumerate() {
        writeln!(out, "{:16}{}{operator}", "", "|".repeat(column)).unwrap();
    }
    for kind in ArgKind::ALL {
        let row: String = ArgOperator::ALL.iter().map(|operator| verdict(*kind, *operator)).collect();
        writeln!(out, "{:16}{row}", kind.as_str()).unwrap();
    }
    expect(&folder("filetests/check/operators.matrix"), &out).unwrap();
}
