//! In: `filetests/run/*.yaml`, tables of operators on one argument type with values that match and values that do
//! not. Out: evaluator and compiled programs both say so, on every kind of kernel that has the hook.

use std::collections::BTreeMap;
use std::path::Path;

use policy_compiler::check::check_yaml;
use policy_compiler::reference::{EventFate, Process};
use policy_compiler::typed::TypedPolicy;
use policy_compiler::{Kernel, compile};
use serde_yaml::Value;

use crate::node::Node;
use crate::notation::argument;
use crate::places::surroundings;
use crate::profile::{VARIANTS, Variant};
use crate::properties::told;
use crate::scenario::Scenario;
use crate::world::World;
use crate::world::argument::ArgSpec;
use api::artefact::Flavour;

/// Operators that the language has for each type; each needs a matching and a non-matching value.
const INTEGER: &[&str] = &[
    "Equal",
    "NotEqual",
    "GT",
    "GreaterThan",
    "LT",
    "LessThan",
    "Mask",
    "InRange",
    "NotInRange",
    "InMap",
    "NotInMap",
];
const TEXT: &[&str] = &["Equal", "NotEqual", "Prefix", "NotPrefix", "Postfix", "NotPostfix"];
const FILE: &[&str] = &["FileType", "NotFileType"];
const SOURCE: &[&str] = &["SAddr", "NotSAddr", "SPort", "NotSPort", "SPortPriv", "NotSPortPriv", "Family"];
const DESTINATION: &[&str] =
    &["DAddr", "NotDAddr", "DPort", "NotDPort", "DPortPriv", "NotDPortPriv", "Protocol"];

fn operators() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut all = BTreeMap::new();
    for ty in ["int8", "uint8", "int16", "uint16", "int32", "int", "uint32", "int64", "uint64", "size_t"] {
        all.insert(ty, INTEGER.to_vec());
    }
    let plain = ["GreaterThan", "LessThan"];
    all.insert("syscall64", INTEGER.iter().copied().filter(|op| !plain.contains(op)).collect());
    for ty in ["string", "char_buf", "filename", "fd", "dentry", "linux_binprm"] {
        all.insert(ty, TEXT.to_vec());
    }
    for ty in ["file", "path"] {
        all.insert(ty, [TEXT, FILE].concat());
    }
    for ty in ["sock", "socket"] {
        all.insert(ty, [SOURCE, DESTINATION, &["State"]].concat());
    }
    all.insert("skb", [SOURCE, DESTINATION].concat());
    all.insert("sockaddr", SOURCE.to_vec());
    for ty in ["kernel_cap_t", "cap_effective", "cap_permitted", "cap_inheritable"] {
        all.insert(ty, vec!["Equal", "NotEqual", "Mask", "GT", "LT"]);
    }
    all
}

struct Table {
    name: String,
    yaml: Value,
}

fn tables() -> Vec<Table> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests/run");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .collect();
    paths.sort();
    let read = |path: std::path::PathBuf| Table {
        name: path.file_name().expect("a name").to_string_lossy().into_owned(),
        yaml: serde_yaml::from_str(&std::fs::read_to_string(&path).expect("readable")).expect("YAML"),
    };
    paths.into_iter().map(read).collect()
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_sequence).map_or(&[], Vec::as_slice)
}

/// The policy of one row: the table's hook with one filter.
fn policy(table: &Table, case: &Value) -> TypedPolicy {
    let mut spec = table.yaml["hook"].clone();
    let section = spec.as_mapping_mut().expect("a mapping").iter_mut().next().expect("a section").1;
    let hook = &mut section[0];
    let ty = &table.yaml["type"];
    let args = hook["args"].as_sequence().expect("args");
    let index = args.iter().find(|arg| arg["type"] == *ty).expect("an argument of the type")["index"].clone();
    let mut filter = serde_yaml::Mapping::new();
    filter.insert("index".into(), index);
    filter.insert("operator".into(), case["operator"].clone());
    if !list(case, "values").is_empty() {
        filter.insert("values".into(), case["values"].clone());
    }
    let mut selector = serde_yaml::Mapping::new();
    selector.insert("matchArgs".into(), Value::Sequence(vec![Value::Mapping(filter)]));
    hook["selectors"] = Value::Sequence(vec![Value::Mapping(selector)]);
    let spec = serde_yaml::to_string(&spec).expect("YAML").replace('\n', "\n  ");
    let text = format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata:\n  name: table\nspec:\n  {spec}"
    );
    let checked = check_yaml(&text).remove(0);
    checked.policy.unwrap_or_else(|| panic!("{}: {:?}\n{text}", table.name, checked.diagnostics))
}

/// The call of one value: the table's arguments with the value in its place.
fn scenario(table: &Table, policy: &TypedPolicy, value: &Value, world: &mut World<'_>) -> Scenario {
    let mut size = 0;
    let mut args: Vec<ArgSpec> = Vec::new();
    for arg in list(&table.yaml, "args") {
        let spec = match arg.as_str() {
            Some("_") => argument(value, world),
            Some("size") => ArgSpec::Int(size),
            _ => argument(arg, world),
        };
        if let ArgSpec::Buffer { bytes, .. } = &spec {
            size = bytes.len() as u64;
        }
        args.push(spec);
    }
    let process = Process { tgid: 100, tid: 100, known: true, ..Process::default() };
    Scenario { point: policy.hooks[0].point.clone(), args, ret: 0, process, time: 1_000_000_000 }
}

/// Checks one row on one kernel; `false` if this kernel cannot reach the hook.
fn row(table: &Table, case: &Value, kernel: &Kernel) -> bool {
    let policies = [policy(table, case)];
    let compiled = compile(&policies, kernel);
    let problems: Vec<_> = compiled.diagnostics.values().flatten().filter(|p| p.is_error()).collect();
    if problems.iter().any(|p| p.code == policy_compiler::diagnostic::Code::KernelFeature) {
        return false;
    }
    assert!(problems.is_empty(), "{}: {problems:?}", table.name);
    for (key, expected) in [("matches", true), ("misses", false)] {
        assert!(!list(case, key).is_empty(), "{}: a row without `{key}`: {case:?}", table.name);
        for value in list(case, key) {
            let mut node =
                Node::new(&compiled.artefacts, surroundings(Flavour::Fentry)).expect("the program loads");
            let plant = |world: &mut World<'_>| {
                world.mount("/proc");
                world.bind("/srv/data", "/mnt/again");
                scenario(table, &policies[0], value, world)
            };
            let case_name =
                || format!("{} {:?} on {}: {value:?}", table.name, case["operator"], kernel.release());
            let matches = told(kernel, &policies, &mut node, &plant)
                .unwrap_or_else(|what| panic!("{}: {what}", case_name()));
            let posted = matches.iter().any(|m| m.event == EventFate::Posted);
            assert_eq!(posted, expected, "{}", case_name());
        }
    }
    true
}

#[test]
fn every_operator_matches_what_it_should_on_every_type() {
    let kernels: Vec<Kernel> =
        VARIANTS.iter().map(|variant: &Variant| Kernel::new(variant.profile()).expect("BTF")).collect();
    for table in tables() {
        for case in list(&table.yaml, "cases") {
            let reached = kernels.iter().filter(|kernel| row(&table, case, kernel)).count();
            assert!(reached > 0, "{}: no kernel reaches the hook", table.name);
        }
    }
}

#[test]
fn the_tables_cover_the_language() {
    let mut missing = operators();
    for table in tables() {
        let ty = table.yaml["type"].as_str().expect("a type").to_owned();
        let rows = list(&table.yaml, "cases");
        let seen: Vec<&str> = rows.iter().filter_map(|case| case["operator"].as_str()).collect();
        let wanted = missing.get_mut(ty.as_str()).unwrap_or_else(|| panic!("unknown type {ty}"));
        wanted.retain(|operator| !seen.contains(operator));
    }
    missing.retain(|_, operators| !operators.is_empty());
    assert!(missing.is_empty(), "operators without a row: {missing:?}");
}
