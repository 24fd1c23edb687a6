//! Working directories, roots and namespaces on the kernel that runs this test; needs root.

#![allow(dead_code)] // each test file uses its part of the support

mod base_support;

use std::process::Command;

use api::event::Process;
use base_support::{folder, helper, shell, watch, words};
use std::path::Path;
use std::sync::Arc;

/// The last image of a shell that runs `script`.
fn last_image(script: &str, dir: &Path) -> Arc<Process> {
    let (story, status) = watch().run(&mut shell(script, dir));
    assert_eq!(status.code(), Some(0), "{script} works here: {story:#?}");
    story.execs.last().unwrap().process.process.clone()
}

#[test]
fn the_root_directory_is_flagged() {
    let process = last_image("cd / && exec $H exit 0", Path::new("/"));
    assert_eq!((process.cwd.as_str(), words(&process).as_str()), ("/", "execve rootcwd"));
}

#[test]
fn mounts_are_crossed() {
    let (_keep, dir) = folder();
    let script = "exec unshare -m sh -c 'mkdir m && mount -t tmpfs none m && mkdir -p m/a/n && \
                  mount -t tmpfs none m/a/n && mkdir m/a/n/b && cd m/a/n/b && exec $H exit 0'";
    assert_eq!(last_image(script, &dir).cwd, dir.join("m/a/n/b").to_str().unwrap());
}

#[test]
fn a_bind_mount_is_where_it_is_mounted() {
    let (_keep, dir) = folder();
    let script = "exec unshare -m sh -c 'mkdir -p x/y z && mount --bind x z && cd z/y && exec $H exit 0'";
    assert_eq!(last_image(script, &dir).cwd, dir.join("z/y").to_str().unwrap());
}

#[test]
fn the_mount_point_itself_is_a_directory() {
    let (_keep, dir) = folder();
    let script = "exec unshare -m sh -c 'mkdir m && mount -t tmpfs none m && cd m && exec $H exit 0'";
    assert_eq!(last_image(script, &dir).cwd, dir.join("m").to_str().unwrap());
}

#[test]
fn paths_are_relative_to_the_root_of_the_process() {
    let (_keep, dir) = folder();
    std::fs::create_dir_all(dir.join("root/in")).unwrap();
    std::fs::copy(helper(), dir.join("root/in/h")).unwrap();
    let process = last_image("exec chroot root /in/h exit 0", &dir);
    assert_eq!((process.binary.as_str(), process.cwd.as_str()), ("/in/h", "/"));
    assert_eq!(words(&process), "execve rootcwd");
}

#[test]
fn a_root_that_is_a_bind_mount_of_its_own_directory_ends_the_path() {
    let (_keep, dir) = folder();
    std::fs::create_dir_all(dir.join("root/in")).unwrap();
    std::fs::copy(helper(), dir.join("root/in/h")).unwrap();
    let script = "exec unshare -m sh -c 'mount --bind root root && exec chroot root /in/h exit 0'";
    let process = last_image(script, &dir);
    assert_eq!((process.binary.as_str(), process.cwd.as_str()), ("/in/h", "/"));
}

#[test]
fn a_deleted_directory_says_so() {
    let (_keep, dir) = folder();
    let process = last_image("mkdir d && cd d && rmdir ../d && exec $H exit 0", &dir);
    assert_eq!(process.cwd, format!("{}/d (deleted)", dir.to_str().unwrap()));
}

#[test]
fn a_deep_directory_is_whole_and_a_deeper_one_is_flagged() {
    let (_keep, dir) = folder();
    let deep = dir.join("d/".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let process = last_image("exec $H exit 0", &deep);
    assert_eq!(process.cwd, deep.to_str().unwrap().trim_end_matches('/'));
    let deeper = dir.join("d/".repeat(400));
    std::fs::create_dir_all(&deeper).unwrap();
    let process = last_image("exec $H exit 0", &deeper);
    assert!(process.cwd.ends_with("/d/d/d") && process.cwd.len() < 400, "{}", process.cwd);
    assert_eq!(words(&process), "execve errorPathResolutionCwd");
}

#[test]
fn long_names_are_whole() {
    let (_keep, dir) = folder();
    let long = dir.join("n".repeat(255)).join("m".repeat(255));
    std::fs::create_dir_all(&long).unwrap();
    assert_eq!(last_image("exec $H exit 0", &long).cwd, long.to_str().unwrap());
}

#[test]
fn the_first_process_of_a_pid_namespace_and_its_children_are_an_init_tree() {
    let (_keep, dir) = folder();
    let mut watch = watch();
    // Not exec'd: the shell waits for unshare, which forks process 1 of the new namespace.
    let (story, status) = watch.run(
        Command::new("unshare")
            .args(["-p", "-f", "sh", "-c", "$H exit 0; exit 0"])
            .env("H", helper())
            .current_dir(&dir),
    );
    assert!(status.success());
    assert_eq!(story.exec().in_init_tree, Some(false));
    let init = watch.children(story.exec().pid);
    assert_eq!(init.len(), 1, "{init:?}");
    let grandchildren = watch.children(init[0]);
    for pid in init.into_iter().chain(grandchildren) {
        let inside = watch.story(pid);
        let process = &inside.execs.last().unwrap().process.process;
        assert_eq!(process.in_init_tree, Some(true), "{process:?}");
        assert!(words(process).ends_with("inInitTree"), "{}", words(process));
    }
}
