//! Without privileges: policies are still judged, and running them is refused with what it takes.

use crate::ferra::{Run, Scratch, examples, run};
use std::process::Command;

/// Runs the binary as nobody if this is root, else as who this is. The program and its input are copied to where
/// nobody may read them.
fn as_nobody(scratch: &Scratch, arguments: &[&str]) -> Run {
    use std::os::unix::fs::PermissionsExt;
    let program = scratch.path("ferra");
    std::fs::copy(env!("CARGO_BIN_EXE_ferra"), &program).expect("copied");
    for path in [&scratch.path(""), &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("allowed");
    }
    let mut command = Command::new("setpriv");
    let root = std::fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if root.expect("/proc is mounted") {
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--inh-caps=-all",
            "--bounding-set=-all",
        ]);
    }
    command.arg(program).args(arguments);
    run(command, "")
}

fn example(scratch: &Scratch) -> String {
    let text = std::fs::read(format!("{}/raw-syscalls.yaml", examples())).expect("there");
    scratch.file("policy.yaml", text)
}

#[test]
fn policies_are_judged_with_a_note() {
    let scratch = Scratch::new("judged");
    let policy = example(&scratch);
    if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
        as_nobody(&scratch, &["policy", "check", &policy]).ends(2).warns(&["--btf FILE"]);
        return;
    }
    let run = as_nobody(&scratch, &["policy", "check", &policy]);
    run.ends(0).says(&["1 accepted, 0 refused"]).warns(&["was not tried", "CAP_BPF", "assumed"]);
}

#[test]
fn running_is_refused_with_what_it_takes() {
    let scratch = Scratch::new("running");
    let policy = example(&scratch);
    let run = as_nobody(&scratch, &["run", "--policy", &policy]);
    run.ends(1).warns(&["run as root, or with CAP_BPF"]);
    assert_eq!(run.out, "");
}
