//! What runs before the programs, what does not fit the ring buffer, what the programs leave behind; needs root.

#![allow(dead_code)] // each test file uses its part of the support

mod alone;
mod base_support;

use std::process::Command;

use agent::base::BaseOptions;
use agent::process::ImageKey;
use alone::alone;
use api::event::{Body, ExecId};
use base_support::{NODE, Watch, helper, words};

#[test]
fn processes_that_run_already_are_told_once() {
    let _alone = alone();
    let child = Command::new(helper()).args(["sleep", "600", "a b"]).current_dir("/").spawn().unwrap();
    let pid = child.id();
    // exec has happened when spawn returns; the programs come after it.
    let mut watch = Watch::start(&BaseOptions::default());
    let told: Vec<_> = watch.scanned.iter().filter(|event| event.subject().process.pid == pid).collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    let Body::Exec(exec) = &told[0].body else { panic!("{told:#?}") };
    let process = exec.process.process.clone();
    let parent = exec.parent.clone().unwrap();
    assert_eq!((process.binary.as_str(), process.cwd.as_str()), (helper().to_str().unwrap(), "/"));
    assert_eq!(process.arguments, "sleep 600 \"a b\"");
    assert_eq!(words(&process), "procFS rootcwd");
    assert_eq!((parent.pid, &parent.exec_id), (std::process::id(), &process.parent_exec_id));

    assert!(watch.base.process(pid).unwrap().is_some(), "the kernel side knows it, too");
    let mut killer = child;
    killer.kill().unwrap();
    let (story, _) = watch.follow(killer);
    assert_eq!((story.exit().signal, &story.exit().process.process), (9, &process));
    assert!(watch.base.process(pid).unwrap().is_none(), "and forgets it");
}

#[test]
fn kernel_threads_are_known_but_not_told() {
    let _alone = alone();
    let mut watch = Watch::start(&BaseOptions::default());
    let Some(kthreadd) = watch.base.process(2).unwrap() else {
        // In a pid namespace there are none; the machines that this is for have them.
        panic!("process 2 is not in the map: run this in the initial pid namespace");
    };
    let known = watch.cache.find(ImageKey { tgid: 2, start: kthreadd.start });
    assert_eq!(known.process.binary, "[kthreadd]");
    assert_eq!(known.parent.unwrap().exec_id, ExecId::new(NODE, 1, 0));
    assert!(watch.scanned.iter().all(|event| event.subject().process.pid != 2));
    assert!(watch.scanned.iter().any(|event| event.subject().process.pid == 1));
}

/// A node that runs more than the map holds, when an agent starts.
#[test]
fn processes_that_find_no_room_at_the_start_are_counted_and_told() {
    let _alone = alone();
    let watch = Watch::start(&BaseOptions { processes: 2, ..BaseOptions::default() });
    let unfollowed = watch.cache.counters().unfollowed;
    assert!(unfollowed > 0 && watch.cache.len() as u64 > unfollowed, "{unfollowed}");
    assert!(watch.scanned.iter().any(|event| event.subject().process.pid == std::process::id()));
}

#[test]
fn what_does_not_fit_is_counted() {
    let _alone = alone();
    let mut watch = Watch::start(&BaseOptions { ring_bytes: 4096, ..BaseOptions::default() });
    watch.drain();
    let pids: Vec<u32> = (0..60)
        .map(|_| {
            let mut child = Command::new(helper()).args(["exit", "0"]).spawn().unwrap();
            child.wait().unwrap();
            child.id()
        })
        .collect();
    let losses = watch.base.losses().unwrap();
    watch.drain();
    let (mut execs, mut exits) = (0, 0);
    for pid in &pids {
        let story = watch.story(*pid);
        execs += story.execs.len() as u64;
        exits += story.exits.len() as u64;
    }
    // Other processes of the machine are counted as well.
    assert!(execs < 60 && losses.exec >= 60 - execs, "{execs} seen, {losses:?}");
    assert!(exits < 60 && losses.exit >= 60 - exits, "{exits} seen, {losses:?}");
    assert!(losses.fork > 0, "{losses:?}");
    // The kernel side's own knowledge does not depend on the ring buffer.
    for pid in pids {
        assert!(watch.base.process(pid).unwrap().is_none(), "{pid} ended");
    }
}

#[test]
fn four_thousand_events_wait_without_loss() {
    let _alone = alone();
    let mut watch = Watch::start(&BaseOptions::default());
    watch.drain();
    for _ in 0..1000 {
        Command::new(helper()).args(["exit", "0"]).status().unwrap();
    }
    // Fork, exec and exit of each; nothing was read meanwhile.
    assert_eq!(watch.base.losses().unwrap().total(), 0);
}

#[test]
fn nothing_stays_attached() {
    let _alone = alone();
    let programs = || {
        let dump = std::fs::read_dir("/proc/self/fdinfo").unwrap();
        dump.filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
            .filter(|text| text.contains("prog_id") || text.contains("map_id"))
            .count()
    };
    let before = programs();
    let watch = Watch::start(&BaseOptions::default());
    assert!(programs() > before);
    drop(watch);
    assert_eq!(programs(), before);
}
