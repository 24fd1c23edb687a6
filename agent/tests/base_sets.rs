//! Sets of binaries and pids in the process bits, on the kernel that runs this test; needs root.

#![allow(dead_code)] // each test file uses its part of the support

mod alone;
mod base_support;

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use agent::base::{BaseMap, BaseOptions, BitsChange, WordChange};
use alone::alone;
use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, LpmTrie, Map, MapData};
use base_support::{Watch, folder, helper, shell};
use bpf_programs::layout::{
    BINARY_POSTFIX_MAX, BINARY_PREFIX_MAX, ProcessEntry, TABLE_PIDS, TABLE_POSTFIX, TABLE_PREFIX,
};

/// `u64[4]` as the kernel reads it, with one bit.
fn bit(number: usize) -> [u8; 32] {
    let mut words = [0; 32];
    words[number / 8] = 1 << (number % 8);
    words
}

fn has(words: &[u64; 4], number: usize) -> bool {
    words[number / 64] >> (number % 64) & 1 == 1
}

fn data(watch: &Watch, map: BaseMap) -> MapData {
    MapData::from_fd(watch.base.map(map).try_clone_to_owned().unwrap()).unwrap()
}

fn add_prefix(watch: &Watch, path: &[u8], number: usize) {
    let mut trie: LpmTrie<_, [u8; BINARY_PREFIX_MAX], [u8; 32]> =
        Map::LpmTrie(data(watch, BaseMap::BinaryExactPrefix)).try_into().unwrap();
    let mut key = [0; BINARY_PREFIX_MAX];
    key[..path.len()].copy_from_slice(path);
    trie.insert(&Key::new(path.len() as u32 * 8, key), bit(number), 0).unwrap();
}

fn add_postfix(watch: &Watch, path: &[u8], number: usize) {
    let mut trie: LpmTrie<_, [u8; BINARY_POSTFIX_MAX], [u8; 32]> =
        Map::LpmTrie(data(watch, BaseMap::BinaryPostfix)).try_into().unwrap();
    let mut key = [0; BINARY_POSTFIX_MAX];
    key[..path.len()].copy_from_slice(path);
    key[..path.len()].reverse();
    trie.insert(&Key::new(path.len() as u32 * 8, key), bit(number), 0).unwrap();
}

fn exact(path: &Path) -> Vec<u8> {
    [path.to_str().unwrap().as_bytes(), b"\0"].concat()
}

fn start() -> Watch {
    Watch::start(&BaseOptions::default())
}

/// A process that sleeps until the test ends.
struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Sleeper {
    fn new(command: &mut Command) -> Sleeper {
        Sleeper(command.spawn().unwrap())
    }

    /// The entry of the image that its last exec, by number, made.
    fn entry(&self, watch: &mut Watch, execs: usize) -> ProcessEntry {
        watch.await_execs(self.0.id(), execs);
        watch.base.process(self.0.id()).unwrap().expect("an entry")
    }
}

#[test]
fn an_executable_is_in_the_sets_that_its_path_matches() {
    let _alone = alone();
    let (_keep, dir) = folder();
    let mut watch = start();
    let path = helper().canonicalize().unwrap();
    let text = path.to_str().unwrap();
    add_prefix(&watch, &exact(&path), 0);
    add_postfix(&watch, &text.as_bytes()[text.len() - 2..], 130);
    let sleeper = || Sleeper::new(shell("exec $H sleep 600", &dir).env("A", "b"));

    let off = sleeper();
    assert_eq!(off.entry(&mut watch, 2).own, [0; 4], "no table is in use");
    watch.base.use_tables(TABLE_PREFIX).unwrap();
    let prefix = sleeper();
    let own = prefix.entry(&mut watch, 2).own;
    assert_eq!((has(&own, 0), has(&own, 130)), (true, false));
    watch.base.use_tables(TABLE_PREFIX | TABLE_POSTFIX).unwrap();
    let both = sleeper();
    let own = both.entry(&mut watch, 2).own;
    assert_eq!((has(&own, 0), has(&own, 130)), (true, true));
}

#[test]
fn a_prefix_is_no_equality() {
    let _alone = alone();
    let mut watch = start();
    let (_keep, dir) = folder();
    let (one, longer) = (dir.join("one"), dir.join("one-longer"));
    std::fs::copy(helper(), &one).unwrap();
    std::fs::copy(helper(), &longer).unwrap();
    add_prefix(&watch, dir.to_str().unwrap().as_bytes(), 65);
    add_prefix(&watch, &exact(&one), 66);
    watch.base.use_tables(TABLE_PREFIX).unwrap();
    for (path, bits) in [(&one, (false, true)), (&longer, (true, false))] {
        // The longest entry counts; whoever fills the table puts the bits of shorter ones into it.
        let sleeper = Sleeper::new(Command::new(path).args(["sleep", "600"]));
        let own = sleeper.entry(&mut watch, 1).own;
        assert_eq!((has(&own, 65), has(&own, 66)), bits, "{path:?}");
    }
}

#[test]
fn a_path_longer_than_the_key_is_equal_to_none_but_has_its_prefixes() {
    let _alone = alone();
    let mut watch = start();
    let (_keep, dir) = folder();
    let long = dir.join("d".repeat(200)).join("e".repeat(100));
    std::fs::create_dir_all(long.parent().unwrap()).unwrap();
    std::fs::copy(helper(), &long).unwrap();
    let start_of_path = &long.to_str().unwrap().as_bytes()[..255];
    add_prefix(&watch, &[start_of_path, b"\0"].concat(), 1);
    watch.base.use_tables(TABLE_PREFIX).unwrap();
    let sleeper = Sleeper::new(Command::new(&long).args(["sleep", "600"]));
    assert_eq!(sleeper.entry(&mut watch, 1).own, [0; 4]);
    add_prefix(&watch, start_of_path, 2);
    let sleeper = Sleeper::new(Command::new(&long).args(["sleep", "600"]));
    assert!(has(&sleeper.entry(&mut watch, 1).own, 2));
}

#[test]
fn the_path_is_the_one_in_the_root_of_the_process() {
    let _alone = alone();
    let mut watch = start();
    let (_keep, dir) = folder();
    std::fs::create_dir_all(dir.join("root/in")).unwrap();
    std::fs::copy(helper(), dir.join("root/in/h")).unwrap();
    add_prefix(&watch, b"/in/h\0", 3);
    watch.base.use_tables(TABLE_PREFIX).unwrap();
    let sleeper = Sleeper::new(&mut shell("exec chroot root /in/h sleep 600", &dir));
    // chroot may be a part of the shell, or a program of its own.
    watch.await_binary(sleeper.0.id(), "/in/h");
    assert!(has(&sleeper.entry(&mut watch, 2).own, 3));
}

#[test]
fn a_deleted_executable_is_named_so() {
    let _alone = alone();
    let mut watch = start();
    let (_keep, dir) = folder();
    std::fs::copy(helper(), dir.join("h")).unwrap();
    add_postfix(&watch, b"/h (deleted)", 4);
    watch.base.use_tables(TABLE_POSTFIX).unwrap();
    let sleeper = Sleeper::new(&mut shell("exec 3<h; rm h; exec /proc/self/fd/3 sleep 600", &dir));
    assert!(has(&sleeper.entry(&mut watch, 2).own, 4));
}

#[test]
fn bits_are_inherited_by_forks_and_execs() {
    let _alone = alone();
    let mut watch = start();
    let (_keep, dir) = folder();
    let shell_path = std::fs::canonicalize("/bin/sh").unwrap();
    add_prefix(&watch, &exact(&shell_path), 10);
    add_prefix(&watch, &exact(&helper().canonicalize().unwrap()), 11);
    watch.base.use_tables(TABLE_PREFIX).unwrap();

    let execd = Sleeper::new(&mut shell("exec $H fork-sleep 600", &dir));
    let entry = execd.entry(&mut watch, 2);
    assert!(has(&entry.own, 11) && !has(&entry.own, 10) && has(&entry.inherited, 10), "{entry:?}");
    assert!(!has(&entry.parent, 10), "the parent is this test, not the image before");

    let deadline = Instant::now() + Duration::from_secs(30);
    let child = loop {
        if let Some(child) = child_of(execd.0.id()) {
            break child;
        }
        assert!(Instant::now() < deadline, "the helper forks");
        std::thread::sleep(Duration::from_millis(5));
    };
    let forked = watch.base.process(child).unwrap().unwrap();
    Command::new("kill").arg(child.to_string()).status().unwrap();
    assert!(has(&forked.own, 11) && has(&forked.parent, 11), "{forked:?}");
    assert!(has(&forked.inherited, 10) && has(&forked.inherited, 11), "{forked:?}");
    assert_eq!((forked.parent_tgid, forked.parent_start), (execd.0.id(), entry.start));
}

#[test]
fn a_process_that_is_not_known_gets_the_sets_of_its_parent_when_it_executes() {
    let _alone = alone();
    let mut watch = start();
    let (_keep, dir) = folder();
    add_prefix(&watch, &exact(&std::fs::canonicalize("/bin/sh").unwrap()), 10);
    watch.base.use_tables(TABLE_PREFIX).unwrap();
    // Made here, so that the shell has no other child.
    assert!(Command::new("mkfifo").arg(dir.join("go")).status().unwrap().success());
    let above = Sleeper::new(&mut shell("(read line <go; exec $H sleep 600) & wait", &dir));
    let mut processes: HashMap<_, u32, [u8; size_of::<ProcessEntry>()]> =
        Map::HashMap(data(&watch, BaseMap::Processes)).try_into().unwrap();
    // As if its fork had not been seen. `/proc` shows it a little before it is entered.
    let deadline = Instant::now() + Duration::from_secs(30);
    let child = loop {
        if let Some(child) = child_of(above.0.id()).filter(|child| processes.remove(child).is_ok()) {
            break child;
        }
        assert!(Instant::now() < deadline, "the shell forks");
        std::thread::sleep(Duration::from_millis(5));
    };
    std::fs::write(dir.join("go"), "\n").unwrap();
    watch.await_execs(child, 1);
    let entry = watch.base.process(child).unwrap().expect("an entry");
    Command::new("kill").arg(child.to_string()).status().unwrap();
    assert_eq!(entry.parent_tgid, above.0.id());
    assert!(has(&entry.parent, 10) && has(&entry.inherited, 10) && !has(&entry.own, 10), "{entry:?}");
}

fn child_of(parent: u32) -> Option<u32> {
    let of = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid| of(*pid) == Some(parent))
}

#[test]
fn bits_of_a_running_process_are_changed_if_it_is_the_image_that_is_meant() {
    let _alone = alone();
    let mut watch = start();
    let me = std::process::id();
    let before = watch.base.process(me).unwrap().unwrap();
    let change = BitsChange {
        tgid: me,
        start: before.start,
        word: 2,
        own: WordChange { set: 0b110, clear: 0 },
        parent: WordChange { set: 0b1, clear: 0 },
        inherited: WordChange { set: 1 << 63, clear: 0 },
    };
    assert!(watch.base.change_bits(&change).unwrap());
    let own = WordChange { set: 0, clear: 0b10 };
    assert!(watch.base.change_bits(&BitsChange { own, ..change }).unwrap());
    let after = watch.base.process(me).unwrap().unwrap();
    assert_eq!(
        (after.own, after.parent, after.inherited),
        ([0, 0, 0b100, 0], [0, 0, 1, 0], [0, 0, 1 << 63, 0])
    );
    assert_eq!((after.start, after.flags), (before.start, before.flags));

    let other_image = BitsChange { start: before.start + 1, own: WordChange { set: 1, clear: 0 }, ..change };
    assert!(!watch.base.change_bits(&other_image).unwrap());
    assert!(!watch.base.change_bits(&BitsChange { word: 4, ..change }).unwrap());
    assert!(!watch.base.change_bits(&BitsChange { tgid: 0, ..change }).unwrap());
    assert_eq!(watch.base.process(me).unwrap().unwrap(), after);

    let child = Sleeper::new(Command::new(helper()).args(["sleep", "600"]));
    let entry = child.entry(&mut watch, 1);
    assert_eq!((entry.parent[2], entry.own[2], entry.inherited[2]), (0b100, 0, 0b100 | 1 << 63));
}

#[test]
fn a_pid_that_is_named_in_a_set_is_in_it_from_its_next_exec_on() {
    let _alone = alone();
    let mut watch = start();
    let (_keep, dir) = folder();
    let mut pids: HashMap<_, u32, [u8; 32]> =
        Map::HashMap(data(&watch, BaseMap::PidSets)).try_into().unwrap();
    watch.base.use_tables(TABLE_PIDS).unwrap();
    std::fs::write(dir.join("wait"), "").unwrap();
    let sleeper = Sleeper::new(&mut shell("while test -e wait; do :; done; exec $H sleep 600", &dir));
    watch.await_execs(sleeper.0.id(), 1);
    pids.insert(sleeper.0.id(), bit(200), 0).unwrap();
    std::fs::remove_file(dir.join("wait")).unwrap();
    let entry = sleeper.entry(&mut watch, 2);
    assert!(has(&entry.own, 200) && entry.inherited == [0; 4], "{entry:?}");
}
