//! `ferra policy compile`: files that are all there or none.

use crate::ferra::{Scratch, examples, ferra, kprobe, types};
use serde_json::Value;
use std::collections::BTreeSet;

fn names(directory: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("plain")).collect()
}

#[test]
fn every_program_has_its_file_listing_and_place_in_the_index() {
    let scratch = Scratch::new("compile");
    let out = scratch.path("out");
    ferra(&["policy", "compile", &examples(), "-o", &out, "--btf", &types()])
        .ends(0)
        .says(&["programs for kernel"]);
    let read = |name: &str| std::fs::read(format!("{out}/{name}")).expect("there");
    let index: Value = serde_json::from_slice(&read("index.json")).expect("JSON");
    assert_eq!(index["policies"].as_array().expect("a list").len(), 7);
    let mut expected = BTreeSet::from(["index.json".to_owned()]);
    for artefact in index["artefacts"].as_array().expect("a list") {
        let (file, text) =
            (artefact["file"].as_str().expect("a name"), artefact["listing"].as_str().expect("a name"));
        let decoded =
            <api::artefact::Artefact as prost::Message>::decode(read(file).as_slice()).expect("an artefact");
        assert_eq!(artefact["sha256"], decoded.digest().to_string().as_str());
        assert_eq!(artefact["instructions"], decoded.insns.len() / 8);
        let listing = String::from_utf8(read(text)).expect("text");
        assert!(listing.contains("exit") && listing.contains(": spec."), "{listing}");
        expected.extend([file.to_owned(), text.to_owned()]);
    }
    assert!(expected.contains("lsm-bpf_lsm_file_permission.artefact"), "{expected:?}");
    assert!(expected.contains("lsm-bpf_lsm_file_open.artefact"), "{expected:?}");
    assert_eq!(names(&out), expected);
}

#[test]
fn the_same_input_gives_the_same_bytes_and_old_programs_go() {
    let scratch = Scratch::new("again");
    let (out, other) = (scratch.path("out"), scratch.path("other"));
    for directory in [&out, &other] {
        ferra(&["policy", "compile", &examples(), "-o", directory, "--btf", &types()]).ends(0);
    }
    for name in names(&out) {
        let read = |directory: &str| std::fs::read(format!("{directory}/{name}")).expect("there");
        assert!(read(&out) == read(&other), "{name} differs");
    }
    std::fs::write(format!("{out}/mine.txt"), "mine").expect("written");
    let one = scratch.file("one.yaml", kprobe("one", "tcp_connect", ""));
    ferra(&["policy", "compile", &one, "-o", &out, "--btf", &types()]).ends(0);
    let left = ["fentry-tcp_connect.artefact", "fentry-tcp_connect.txt", "index.json", "mine.txt"];
    assert_eq!(names(&out), left.map(str::to_owned).into());
}

#[test]
fn a_refused_policy_leaves_everything_as_it_was() {
    let scratch = Scratch::new("refused");
    let good = scratch.file("good.yaml", kprobe("good", "tcp_connect", ""));
    let bad = scratch.file("bad.yaml", kprobe("bad", "tcp_conect", ""));
    let out = scratch.path("out");
    let run = ferra(&["policy", "compile", &good, &bad, "-o", &out, "--btf", &types()]);
    run.ends(1).warns(&["error[unknown-function]", "nothing written"]);
    assert!(!std::path::Path::new(&out).exists());
    ferra(&["policy", "compile", &scratch.path("missing"), "-o", &out, "--btf", &types()]).ends(2);
}

#[test]
fn a_place_that_takes_no_files_is_told() {
    let scratch = Scratch::new("place");
    let good = scratch.file("good.yaml", kprobe("good", "tcp_connect", ""));
    let run = ferra(&["policy", "compile", &good, "-o", &good, "--btf", &types()]);
    run.ends(1).warns(&["creating", "nothing was changed"]);
    ferra(&["policy", "compile", &good, "-o", "/proc/ferra", "--btf", &types()])
        .ends(1)
        .warns(&["/proc/ferra"]);
    ferra(&["policy", "compile", &good, "--btf", &types()]).ends(2);
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let scratch = Scratch::new("full");
    let out = scratch.path("disk");
    std::fs::create_dir(&out).expect("a directory");
    // 20 KiB, in name spaces of its own, so that nothing stays mounted whatever happens.
    let script = "mount -t tmpfs -o size=20k tmpfs \"$1\" || exit 77; shift_out=$1; shift; \"$@\"; \
                  code=$?; ls -A \"$shift_out\"; exit $code";
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", script, "sh", &out]);
    command.args([
        env!("CARGO_BIN_EXE_ferra"),
        "policy",
        "compile",
        &examples(),
        "-o",
        &out,
        "--btf",
        &types(),
    ]);
    let output = command.output().expect("unshare is there");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stdout} {stderr}");
    assert!(stderr.contains("No space left on device") && stderr.contains("nothing was changed"), "{stderr}");
    assert_eq!(stdout, "", "files were left behind");
}
