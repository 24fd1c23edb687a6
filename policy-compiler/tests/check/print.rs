//! In: what `check` returns. Out: a compact text of it, for expectations.

use std::fmt::Write;

use policy_compiler::check::Checked;
use policy_compiler::typed::{
    ArgTest, BinaryTest, Filter, FilterTest, IntTest, Selector, TypedArg, TypedHook, TypedPolicy,
};

/// One document.
pub fn checked(checked: &Checked) -> String {
    let mut out = format!("== line {}", checked.line);
    if let Some(kind) = checked.kind {
        write!(out, " {kind}").unwrap();
    }
    if let Some(key) = &checked.key {
        write!(out, " {}{}", key.namespace.as_ref().map(|ns| format!("{ns}/")).unwrap_or_default(), key.name)
            .unwrap();
    }
    writeln!(out, ": {}", if checked.policy.is_some() { "accepted" } else { "refused" }).unwrap();
    for diagnostic in &checked.diagnostics {
        writeln!(out, "{diagnostic}").unwrap();
    }
    if let Some(found) = &checked.policy {
        policy(found, &mut out);
    }
    out
}

fn policy(policy: &TypedPolicy, out: &mut String) {
    writeln!(out, "mode {:?}", policy.mode).unwrap();
    if let Some(workloads) = &policy.workloads {
        writeln!(out, "for {workloads:?}").unwrap();
    }
    if !policy.nodes.is_empty() {
        writeln!(out, "on nodes {:?}", policy.nodes).unwrap();
    }
    for found in &policy.hooks {
        hook(found, out);
    }
}

fn hook(hook: &TypedHook, out: &mut String) {
    write!(out, "{} {:?}", hook.path, hook.point).unwrap();
    if hook.ignore_call_not_found {
        out.push_str(" ignoreCallNotFound");
    }
    if let Some(message) = &hook.message {
        write!(out, " message={message:?}").unwrap();
    }
    if !hook.tags.is_empty() {
        write!(out, " tags={:?}", hook.tags).unwrap();
    }
    out.push('\n');
    for (position, found) in hook.args.iter().enumerate() {
        arg(&format!("arg {position}"), found, out);
    }
    if let Some(found) = &hook.ret {
        arg("return", found, out);
    }
    for found in &hook.selectors {
        selector(found, out);
    }
}

fn arg(name: &str, arg: &TypedArg, out: &mut String) {
    write!(out, "  {name}: index {} {:?}", arg.index, arg.ty).unwrap();
    if let Some(size) = arg.size_arg {
        write!(out, " size=arg{size}").unwrap();
    }
    if arg.return_copy {
        out.push_str(" returnCopy");
    }
    if let Some(label) = &arg.label {
        write!(out, " label={label:?}").unwrap();
    }
    out.push('\n');
}

fn selector(selector: &Selector, out: &mut String) {
    write!(out, "  selector").unwrap();
    if let Some(label) = &selector.label {
        write!(out, " {label:?}").unwrap();
    }
    out.push('\n');
    for (name, filters) in [("if", &selector.filters), ("if return", &selector.return_filters)] {
        for found in filters {
            writeln!(out, "    {name} {}", filter(found)).unwrap();
        }
    }
    writeln!(out, "    do {:?}", selector.actions).unwrap();
    if !selector.return_actions.is_empty() {
        writeln!(out, "    do at return {:?}", selector.return_actions).unwrap();
    }
}

fn filter(filter: &Filter) -> String {
    match &filter.test {
        FilterTest::Arg { arg, test } => format!("arg {arg} {}", arg_test(test)),
        FilterTest::Binary(test) => format!("binary {}", binary(test)),
        FilterTest::ParentBinary(test) => format!("parent binary {}", binary(test)),
        other => format!("{other:?}"),
    }
}

fn binary(test: &BinaryTest) -> String {
    let children = if test.follow_children { " and descendants" } else { "" };
    format!("{}{:?} {:?}{children}", not(test.not), test.op, texts(&test.values))
}

fn arg_test(test: &ArgTest) -> String {
    match test {
        ArgTest::Int { not: negated, test } => match test {
            IntTest::In(ranges) => {
                let ranges: Vec<String> =
                    ranges.iter().map(|(low, high)| format!("{low:#x}..={high:#x}")).collect();
                format!("{}in {}", not(*negated), ranges.join(" "))
            }
            other => format!("{}{other:x?}", not(*negated)),
        },
        ArgTest::Text { not: negated, op, values } => format!("{}{op:?} {:?}", not(*negated), texts(values)),
        ArgTest::FileType { not: negated, modes } => {
            let modes: Vec<String> = modes.iter().map(|mode| format!("{mode:o}")).collect();
            format!("{}FileType {}", not(*negated), modes.join(" "))
        }
        ArgTest::Addr { not: negated, side, nets } => {
            let nets: Vec<String> = nets.iter().map(|net| format!("{}/{}", net.addr, net.prefix)).collect();
            format!("{}{side:?} address {}", not(*negated), nets.join(" "))
        }
        ArgTest::Port { not: negated, side, ranges } => format!("{}{side:?} port {ranges:?}", not(*negated)),
        ArgTest::SockField { field, ranges } => format!("{field:?} {ranges:?}"),
    }
}

fn not(negated: bool) -> &'static str {
    if negated { "not " } else { "" }
}

fn texts(values: &[Vec<u8>]) -> Vec<String> {
    values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}
