//! `ferra policy explain`: the mechanism and its reason, selectors in words, instructions with their fields.

use crate::ferra::{examples, ferra, types};

fn explain(example: &str, more: &[&str]) -> crate::ferra::Run {
    let (file, types) = (format!("{}/{example}.yaml", examples()), types());
    let mut arguments = vec!["policy", "explain", &file, "--btf", &types];
    arguments.extend(more);
    ferra(&arguments)
}

/// White space is where lines are broken.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn says_what_is_hooked_how_and_why() {
    let run = explain("file-monitoring-enforce", &[]);
    run.ends(0);
    let text = flat(&run.out);
    for part in [
        "Policy file-monitoring-enforce (enforce mode)",
        "BPF LSM on bpf_lsm_file_permission, because: this function calls that LSM hook",
        "argument 0 (file) begins with /etc/protected/ and argument 1 \"mask\" (int) has any of the bits 0x2",
        "return -1 (EPERM) to its caller and kill the process (SIGKILL) and post an event",
        "security_path_truncate skipped this kernel does not have it",
        "test 1 compares a number",
        "test 2 reads and compares text",
    ] {
        assert!(text.contains(part), "no {part:?} in {}", run.out);
    }
    assert!(!run.out.contains("r10"), "instructions are shown only when asked for");
}

#[test]
fn all_examples_fit_100_columns() {
    let run = ferra(&["policy", "explain", &examples(), "--btf", &types()]);
    run.ends(0).says(&[
        "127.0.0.0/8 or ::1/128",
        "at most one in 1000 ms for each process",
        "/etc/gshadow or /etc/shadow",
    ]);
    let long = |line: &&str| line.chars().count() > 100 && line.split_whitespace().count() > 2;
    let long: Vec<&str> = run.out.lines().filter(long).filter(|line| !line.starts_with("Policy")).collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn instructions_have_their_fields() {
    let run = explain("tcp-connect", &["--instructions"]);
    run.ends(0).says(&[
        "; tcp-connect: spec.kprobes[0].selectors[0].matchArgs[0]",
        "exit",
        "fentry on tcp_connect: ",
    ]);
}
