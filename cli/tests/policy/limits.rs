//! Input that is too long, too much or too deep: an answer in time, never a panic.

use crate::ferra::{Scratch, check, ferra, kprobe, types};

#[test]
fn a_file_of_2_mib_is_refused() {
    let scratch = Scratch::new("large");
    let text = format!("{}# {}\n", kprobe("large", "tcp_connect", ""), "é".repeat(1 << 20));
    let file = scratch.file("large.yaml", text);
    let run = ferra(&["policy", "check", &file, "--btf", &types()]);
    run.ends(1).says(&["error[malformed]", "limit of 1048576", "split the policies"]);
}

#[test]
fn many_documents_are_all_judged() {
    let all: Vec<String> = (0..150).map(|n| kprobe(&format!("p{n}"), "tcp_connect", "")).collect();
    check(&all.join("---\n")).ends(0).says(&["150 policies", "150 accepted"]);
    check(&"---\na: 1\n".repeat(3000)).ends(1).says(&["more than 1000 documents"]);
}

#[test]
fn deep_and_wide_values_are_refused() {
    check(&"[".repeat(100_000)).ends(1);
    check(&format!("a: {}", "{b: ".repeat(250_000))).ends(1);
    check(&kprobe("x", &"f".repeat(500_000), "")).ends(1);
    check("a: &a [*a]\n").ends(1);
    check("\u{0}\u{1}\u{feff}").ends(1);
}

#[test]
fn more_policies_than_a_program_holds() {
    let selectors = "args:\n- index: 0\n  type: file\nselectors:\n- matchArgs:\n  - index: 0\n    operator: Postfix\n    \
                     values: [VALUES]\n";
    let policy = |n: usize| {
        let values: Vec<String> =
            (0..100).map(|v| format!("/directory-{n}/name-{v}-{}", "x".repeat(40))).collect();
        kprobe(&format!("p{n}"), "security_file_permission", &selectors.replace("VALUES", &values.join(", ")))
    };
    let all: Vec<String> = (0..30).map(policy).collect();
    let run = check(&all.join("---\n"));
    // Whether they fit depends on the emitted code; that none is dropped without a word does not.
    assert!(run.out.contains("30 policies"), "{run:#?}");
    let refused = run.out.lines().filter(|line| line.contains("error[")).count();
    assert_eq!(run.code, i32::from(refused > 0), "{run:#?}");
    run.says(&[&format!("{} accepted, {refused} refused", 30 - refused)]);
}
