//! Policies that are right.

use crate::ferra::{Scratch, check, examples, ferra, kprobe, types};
use serde_json::Value;

#[test]
fn the_examples_are_accepted_by_both_kernels() {
    for kernel in ["kernel-6", "kernel-7"] {
        let types = types().replace("kernel-7", kernel);
        let run = ferra(&["policy", "check", &examples(), "--btf", &types]);
        run.ends(0).says(&["7 policies", "7 accepted, 0 refused"]).warns(&["assumed", "bpf"]);
    }
}

#[test]
fn json_has_every_document_with_its_verdict() {
    let scratch = Scratch::new("json");
    let two = kprobe("one", "tcp_connect", "") + "---\n" + &kprobe("two", "tcp_conect", "");
    let file = scratch.file("two.yaml", two);
    let run = ferra(&["policy", "check", &file, "--btf", &types(), "-o", "json"]);
    run.ends(1);
    let object: Value = serde_json::from_str(&run.out).expect("one JSON object");
    assert_eq!(object["assumed"], true);
    assert_eq!(object["files"][0]["file"], file.as_str());
    let documents = object["files"][0]["documents"].as_array().expect("a list");
    assert_eq!(documents.len(), 2);
    assert_eq!((&documents[0]["name"], &documents[0]["accepted"]), (&"one".into(), &true.into()));
    assert_eq!(documents[1]["kind"], "TracingPolicy");
    assert_eq!(documents[1]["accepted"], false);
    assert_eq!(documents[1]["line"], 9);
    let problem = &documents[1]["diagnostics"][0];
    assert_eq!(problem["code"], "unknown-function");
    assert_eq!(problem["severity"], "error");
    assert_eq!(problem["path"], "spec.kprobes[0].call");
    assert_eq!(problem["help"], "did you mean `tcp_connect`?");
}

#[test]
fn directories_are_their_yaml_files() {
    let scratch = Scratch::new("directory");
    scratch.file("b.yml", kprobe("b", "tcp_connect", ""));
    scratch.file("a.yaml", kprobe("a", "tcp_connect", ""));
    scratch.file("note.txt", "not a policy");
    scratch.file(".hidden.yaml", "not: a policy");
    let run = ferra(&["policy", "check", &scratch.path(""), "--btf", &types()]);
    run.ends(0).says(&["2 policies", "2 accepted"]);
}

#[test]
fn a_warning_refuses_nothing() {
    let run = check(&kprobe("warned", "no_such_function_here", "ignore:\n  callNotFound: true"));
    run.ends(0).says(&["warning[unknown-function] spec.kprobes[0].call", "1 accepted, 0 refused, 1 warning"]);
}

#[test]
fn the_running_kernel_is_the_default() {
    // With or without privileges, there is a verdict, or it is said what is missing.
    let run = ferra(&["policy", "check", &format!("{}/raw-syscalls.yaml", examples())]);
    assert!(run.out.contains("1 policy, kernel ") || run.err.contains("--btf FILE"), "{run:#?}");
}
