//! Process life cycle on the kernel that runs this test; needs root.

#![allow(dead_code)] // each test file uses its part of the support

mod base_support;

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use api::event::{ExecId, Process};
use base_support::{NODE, folder, helper, shell, watch, words};

/// `exec_id` from what the process says of itself: its start is in nanoseconds since boot.
fn assert_identity(process: &Process) {
    let start = process.start_time.expect("a start time").0 - watchless_boot();
    let slack = 200_000_000;
    let matches = |start: u64| process.exec_id == ExecId::new(NODE, start, process.pid);
    let text = String::from_utf8(base64(&process.exec_id.0)).unwrap();
    let parts: Vec<&str> = text.split(':').collect();
    assert_eq!((parts[0], parts[2]), (NODE, process.pid.to_string().as_str()), "{text}");
    let told: u64 = parts[1].parse().unwrap();
    assert!(matches(told) && told.abs_diff(start) < slack, "{text} but started at {start}");
}

/// Wall-clock nanoseconds at boot.
fn watchless_boot() -> u64 {
    agent::process::BootClock::new().at(0).0
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        bits = bits << 6 | ALPHABET.iter().position(|letter| *letter == byte).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    out
}

#[test]
fn fork_and_exec_is_one_exec_event_and_one_exit_event() {
    let (_keep, dir) = folder();
    let mut watch = watch();
    let (story, status) = watch.run(&mut shell("exit 7", &dir));
    let process = story.exec();
    assert_eq!((process.binary.as_str(), process.arguments.as_str()), ("/bin/sh", "-c \"exit 7\""));
    assert_eq!(words(process), "execve clone");
    assert_eq!(process.cwd, dir.to_str().unwrap());
    assert_eq!(process.uid, Some(0));
    let loginuid =
        std::fs::read_to_string("/proc/self/loginuid").ok().and_then(|text| text.trim().parse().ok());
    assert_eq!(process.auid, Some(loginuid.unwrap_or(u32::MAX)));
    assert_eq!((process.docker.as_str(), process.in_init_tree), ("", Some(false)));
    assert_eq!(story.execs[0].process.tid, process.pid);
    assert_identity(process);

    let parent = story.execs[0].parent.as_ref().unwrap();
    assert_eq!(parent.pid, std::process::id());
    assert_eq!(parent.exec_id, process.parent_exec_id);
    assert_eq!(parent.binary, std::env::current_exe().unwrap().to_str().unwrap());
    assert!(words(parent).starts_with("procFS"), "{}", words(parent));

    let exit = story.exit();
    assert_eq!((exit.status, exit.signal), (7, 0));
    assert_eq!(exit.process.process.as_ref(), process);
    assert!(exit.time >= process.start_time.unwrap());
    assert_eq!(status.code(), Some(7));
}

#[test]
fn exec_without_fork_follows_the_image_before() {
    let (_keep, dir) = folder();
    let (story, _) = watch().run(&mut shell("exec $H exit 3", &dir));
    assert_eq!(story.execs.len(), 2, "{story:#?}");
    let (first, second) = (&story.execs[0].process.process, &story.execs[1].process.process);
    assert_eq!((words(first).as_str(), words(second).as_str()), ("execve clone", "execve"));
    assert_eq!((second.binary.as_str(), second.arguments.as_str()), (helper().to_str().unwrap(), "exit 3"));
    assert_eq!(second.parent_exec_id, first.exec_id);
    assert_eq!(story.execs[1].parent.as_ref().unwrap(), first);
    assert_eq!(second.pid, first.pid);
    assert!(second.start_time > first.start_time);
    assert_eq!(story.exit().process.process, *second);
    assert_eq!(story.exit().status, 3);
}

#[test]
fn death_by_signal_is_told() {
    let (_keep, dir) = folder();
    let mut watch = watch();
    for signal in [6, 9, 11, 15] {
        let (story, status) = watch.run(&mut shell(&format!("exec $H signal {signal}"), &dir));
        assert_eq!(status.signal(), Some(signal));
        assert_eq!((story.exit().signal, story.exit().status), (signal as u32, 0));
    }
}

#[test]
fn the_last_thread_is_the_exit_with_the_status_that_wait_tells() {
    let (_keep, dir) = folder();
    let mut watch = watch();
    for mode in ["leader-first-group", "leader-first-thread"] {
        let (story, status) = watch.run(&mut shell(&format!("exec $H {mode} 5"), &dir));
        let exit = story.exit();
        let lived = exit.time.0 - exit.process.process.start_time.unwrap().0;
        // Which thread's code counts when none set it for all, kernels differ in; wait() is right by definition.
        assert_eq!((Some(exit.status as i32), exit.signal), (status.code(), 0), "{mode}");
        assert!(exit.status > 1, "{mode}: not the leader's code of exit_group: {}", exit.status);
        assert!(lived >= 200_000_000, "{mode} lived on after its leader, not {lived} ns");
    }
}

#[test]
fn exec_from_a_thread_is_the_process_exec() {
    let (_keep, dir) = folder();
    let (story, status) = watch().run(&mut shell("exec $H thread-exec $H exit 4", &dir));
    assert_eq!(story.execs.len(), 3, "{story:#?}");
    let last = &story.execs[2].process.process;
    assert_eq!((last.arguments.as_str(), words(last).as_str()), ("exit 4", "execve"));
    assert_eq!((story.exit().status, status.code()), (4, Some(4)));
}

#[test]
fn a_fork_without_exec_ends_under_its_own_identity() {
    let (_keep, dir) = folder();
    let mut watch = watch();
    let (story, _) = watch.run(&mut shell("exec $H fork-exit 6", &dir));
    let parent = &story.execs[1].process.process;
    let children = watch.children(parent.pid);
    assert_eq!(children.len(), 1, "{children:?}");
    let child = watch.story(children[0]);
    assert_eq!((child.execs.len(), child.exit().status), (0, 6));
    let process = &child.exit().process.process;
    assert_eq!((process.binary.as_str(), words(process).as_str()), (helper().to_str().unwrap(), "clone"));
    assert_eq!(process.parent_exec_id, parent.exec_id);
    assert_identity(process);
}

#[test]
fn arguments_keep_their_bounds() {
    let mut watch = watch();
    let (story, _) = watch.run(Command::new(helper()).args(["exit", "0", "a b", "", "c\td", "\u{e4}", "e"]));
    assert_eq!(story.exec().arguments, "exit 0 \"a b\"  c\td \u{e4} e");
    let (story, _) = watch.run(Command::new("/bin/sh").args(["-c", ""]));
    assert_eq!(story.exec().arguments, "-c ");
}

#[test]
fn an_argument_of_the_greatest_length_is_whole() {
    let mut watch = watch();
    // MAX_ARG_STRLEN is 32 pages, NUL included.
    let longest: String = ('a'..='z').cycle().take(131_071).collect();
    let (story, _) = watch.run(Command::new(helper()).args(["exit", "0", &longest]));
    let process = story.exec();
    assert!(process.arguments == format!("exit 0 {longest}"), "{} bytes differ", process.arguments.len());
    assert_eq!(words(process).replace("rootcwd ", ""), "execve clone dataArgs");
}

#[test]
fn arguments_beyond_the_bound_are_cut_and_flagged() {
    let mut watch = watch();
    let long: Vec<String> = ('a'..='h').map(|letter| letter.to_string().repeat(131_071)).collect();
    let (story, _) = watch.run(Command::new(helper()).args(["exit", "0"]).args(&long));
    let process = story.exec();
    let whole = format!("exit 0 {}", long.join(" "));
    let kept = process.arguments.len();
    assert!(
        whole.starts_with(process.arguments.as_str()) && (260_000..270_000).contains(&kept),
        "{kept} bytes"
    );
    assert!(
        words(process).contains("truncArgs") && words(process).contains("dataArgs"),
        "{}",
        words(process)
    );
    assert_eq!(watch.base.losses().unwrap().total(), 0);
}

#[test]
fn a_relative_binary_is_made_absolute() {
    let (_keep, dir) = folder();
    std::fs::copy(helper(), dir.join("h")).unwrap();
    let (story, _) = watch().run(&mut shell("mkdir sub; cd sub; exec .././h exit 0", &dir));
    let process = &story.execs.last().unwrap().process.process;
    assert_eq!(process.binary, dir.join("h").to_str().unwrap());
    assert_eq!(process.cwd, dir.join("sub").to_str().unwrap());
}

#[test]
fn a_script_is_its_own_binary() {
    let (_keep, dir) = folder();
    let script = dir.join("script");
    std::fs::write(&script, "#!/bin/sh -e\nexit 2\n").unwrap();
    assert!(Command::new("chmod").arg("755").arg(&script).status().unwrap().success());
    let (story, _) = watch().run(Command::new(&script).arg("x"));
    let path = script.to_str().unwrap();
    assert_eq!(
        (story.exec().binary.as_str(), story.exec().arguments.as_str()),
        (path, format!("-e {path} x").as_str())
    );
    assert_eq!(story.exit().status, 2);
}
