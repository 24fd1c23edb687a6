//! Policies and inputs that are wrong, each in its own way: a code, a path, what is wrong, and help.

use crate::ferra::{Scratch, check, ferra, kprobe, types};

const FILE_ARG: &str = "args:\n- index: 0\n  type: file\n";

fn filter(operator: &str, values: &str) -> String {
    format!(
        "{FILE_ARG}selectors:\n- matchArgs:\n  - index: 0\n    operator: {operator}\n    values: {values}\n"
    )
}

#[test]
fn malformed_yaml() {
    let run = check("apiVersion: cilium.io/v1alpha1\nkind: [\n");
    run.ends(1).says(&["standard input:1:", "error[malformed]", "line 3", "1 refused"]);
    check("just text").ends(1).says(&["error["]);
    check("").ends(1).says(&["error[malformed]", "no document", "help:"]);
    check("---\n# nothing\n---\n").ends(1).says(&["no document"]);
    check("apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n").ends(1).says(&["error["]);
}

#[test]
fn unknown_fields() {
    let run = check(&kprobe("x", "tcp_connect", "selektors: []"));
    run.ends(1)
        .says(&["policy x: error[unknown-field] spec.kprobes[0].selektors", "did you mean `selectors`"]);
}

#[test]
fn wrong_types() {
    check(&kprobe("x", "tcp_connect", "args: 5")).ends(1).says(&["error[wrong-type] spec.kprobes[0].args"]);
    check(&kprobe("x", "tcp_connect", "return: \"yes\""))
        .ends(1)
        .says(&["error[wrong-type] spec.kprobes[0].return"]);
}

#[test]
fn unknown_function() {
    let run = check(&kprobe("x", "security_file_permision", ""));
    run.ends(1).says(&[
        "error[unknown-function] spec.kprobes[0].call",
        "`security_file_permision`",
        "help: did you mean `security_file_permission`?",
    ]);
}

#[test]
fn argument_index_out_of_range() {
    let run = check(&kprobe("x", "security_file_permission", "args:\n- index: 4\n  type: int\n"));
    run.ends(1).says(&["error[argument-index] spec.kprobes[0].args[0]"]);
    let run = check(&kprobe("x", "security_file_permission", "args:\n- index: 9\n  type: int\n"));
    run.ends(1).says(&["error[", "spec.kprobes[0].args[0].index"]);
}

#[test]
fn type_that_contradicts_the_kernel() {
    let run = check(&kprobe("x", "security_file_permission", "args:\n- index: 1\n  type: file\n"));
    run.ends(1).says(&["error[argument-type] spec.kprobes[0].args[0]"]);
}

#[test]
fn values_out_of_range() {
    let int = "args:\n- index: 1\n  type: int\nselectors:\n- matchArgs:\n  - index: 1\n    operator: Equal\n    \
               values: [\"99999999999\"]\n";
    let run = check(&kprobe("x", "security_file_permission", int));
    run.ends(1)
        .says(&["error[out-of-range] spec.kprobes[0].selectors[0].matchArgs[0].values[0]", "99999999999"]);
    let action = "selectors:\n- matchActions:\n  - action: Override\n    argError: -100000\n";
    let run = check(&kprobe("x", "security_file_permission", action));
    run.ends(1).says(&["error[out-of-range] spec.kprobes[0].selectors[0].matchActions[0].argError"]);
}

#[test]
fn operator_that_does_not_suit() {
    let run = check(&kprobe("x", "security_file_permission", &filter("Prefx", "[/etc]")));
    run.ends(1).says(&["matchArgs[0].operator", "did you mean `Prefix`"]);
    let run = check(&kprobe("x", "security_file_permission", &filter("GT", "[\"1\"]")));
    run.ends(1).says(&["error[", "spec.kprobes[0].selectors[0].matchArgs[0].operator"]);
}

#[test]
fn too_many() {
    let args: String = (0..9).map(|_| "- index: 0\n  type: file\n").collect();
    let run = check(&kprobe("x", "security_file_permission", &format!("args:\n{args}")));
    run.ends(1).says(&["error[out-of-range] spec.kprobes[0].args", "at most 5"]);
    let selectors: String = (0..200).map(|_| "- matchPIDs: []\n").collect();
    check(&kprobe("x", "security_file_permission", &format!("selectors:\n{selectors}")))
        .ends(1)
        .says(&["error["]);
}

#[test]
fn two_policies_of_one_name() {
    let twice = kprobe("same", "tcp_connect", "") + "---\n" + &kprobe("same", "tcp_connect", "");
    let run = check(&twice);
    run.ends(1).says(&[
        "policy same: error[conflict] metadata.name",
        "already defined at standard input:1",
        "1 accepted, 1 refused",
    ]);
}

#[test]
fn every_problem_of_every_file_is_told() {
    let scratch = Scratch::new("every");
    let one = scratch.file("1.yaml", kprobe("one", "no_such_fn", "selektors: []\nargs: 5"));
    let two = scratch.file("2.yaml", kprobe("two", "security_file_permision", ""));
    let run = ferra(&["policy", "check", &one, &two, "--btf", &types()]);
    run.ends(1).says(&[
        &format!("{one}:1: policy one: error[unknown-field]"),
        &format!("{one}:1: policy one: error[wrong-type]"),
        &format!("{two}:1: policy two: error[unknown-function]"),
        "2 policies",
        "0 accepted, 2 refused",
    ]);
}

#[test]
fn unreadable_input() {
    let scratch = Scratch::new("unreadable");
    let good = scratch.file("good.yaml", kprobe("good", "tcp_connect", ""));
    let missing = scratch.path("missing.yaml");
    let run = ferra(&["policy", "check", &missing, &good, "--btf", &types()]);
    run.ends(2).says(&[&missing, "No such file", "1 accepted, 0 refused, 1 file unreadable"]);
    std::fs::create_dir(scratch.path("empty")).expect("a directory");
    let empty = scratch.path("empty");
    ferra(&["policy", "check", &empty, "--btf", &types()]).ends(2).says(&["no *.yaml or *.yml"]);
    let binary = scratch.file("binary.yaml", [b'a', b':', 0xff, 0xfe]);
    ferra(&["policy", "check", &binary, "--btf", &types()]).ends(2).says(&["not UTF-8", "byte 3"]);
    ferra(&["policy", "check"]).ends(2);
    ferra(&["policy", "check", &good, "-o", "xml"]).ends(2);
}

#[test]
fn unusable_types() {
    let scratch = Scratch::new("types");
    let good = scratch.file("good.yaml", kprobe("good", "tcp_connect", ""));
    let check = |types: &str| ferra(&["policy", "check", &good, "--btf", types]);
    check("/no/such/file").ends(2).warns(&["/no/such/file: cannot be read", "No such file"]);
    check("/").ends(2).warns(&["cannot be read"]);
    check(&good).ends(2).warns(&["not valid BTF", "/sys/kernel/btf/vmlinux"]);
    check(&scratch.file("empty.btf", "")).ends(2).warns(&["not valid BTF"]);
    let whole = std::fs::read(types()).expect("the fixture is there");
    check(&scratch.file("cut.btf", &whole[..whole.len() / 2])).ends(2).warns(&["not valid BTF"]);
}
