//! In: sets and processes on a fake kernel. Out: tables, and the bits that running processes are given.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;

use bpf_programs::layout::{ProcessEntry, bytes_of};

use super::super::tests::set_objects;
use super::*;
use crate::kernel::fake::{Call, FakeKernel, Happening};

/// What each scan finds; the last one again and again.
#[derive(Debug)]
struct Scans(RefCell<VecDeque<Vec<Running>>>);

impl RunningProcesses for Scans {
    fn running(&self) -> io::Result<Vec<Running>> {
        let mut scans = self.0.borrow_mut();
        let next = if scans.len() > 1 { scans.pop_front() } else { scans.front().cloned() };
        next.ok_or_else(|| io::Error::from_raw_os_error(libc::EACCES))
    }
}

fn process(tgid: u32, parent: u32, exe: &str) -> Running {
    Running { tgid, parent, exe: (!exe.is_empty()).then(|| exe.as_bytes().to_vec()) }
}

fn sets(kernel: &FakeKernel, scans: Vec<Vec<Running>>) -> ProcessSets<FakeKernel, Scans> {
    let sets = ProcessSets::new(set_objects(kernel), Scans(RefCell::new(scans.into())));
    kernel.take_journal();
    sets
}

/// Enters a process into the map, with these bits in all its words 0.
fn enter(sets: &ProcessSets<FakeKernel, Scans>, kernel: &FakeKernel, tgid: u32, start: u64, bits: u64) {
    let words = [bits, 0, 0, 0];
    let (own, parent, inherited) = (words, words, words);
    let entry = ProcessEntry { start, parent_start: 0, parent_tgid: 0, flags: 0, own, parent, inherited };
    kernel.map_update(&sets.objects.processes, &tgid.to_ne_bytes(), bytes_of(&entry)).unwrap();
    kernel.take_journal();
}

fn equal(paths: &[&str]) -> ProcessSet {
    let paths = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
    ProcessSet { op: SetOp::Equal as i32, paths, pids: Vec::new() }
}

fn runs(kernel: &FakeKernel) -> Vec<Vec<u64>> {
    let journal = kernel.take_journal().into_iter();
    journal
        .filter_map(|happening| if let Happening::Ran(_, args) = happening { Some(args) } else { None })
        .collect()
}

#[test]
fn equal_sets_share_a_bit_and_256_is_the_limit() {
    let kernel = FakeKernel::new();
    let mut sets = sets(&kernel, vec![vec![]]);
    assert_eq!(sets.acquire(&equal(&["/a"])), Ok(ProcessBit(0)));
    assert_eq!(sets.acquire(&equal(&["/a"])), Ok(ProcessBit(0)));
    for number in 1..=255u8 {
        assert_eq!(sets.acquire(&equal(&[&format!("/{number}")])), Ok(ProcessBit(number)));
    }
    assert_eq!(sets.acquire(&equal(&["/more"])), Err(SetError::TooMany));
    sets.release(&equal(&["/a"]));
    assert_eq!(sets.acquire(&equal(&["/more"])), Err(SetError::TooMany));
    sets.release(&equal(&["/a"]));
    assert_eq!(sets.acquire(&equal(&["/more"])), Ok(ProcessBit(0)));
}

#[test]
fn a_bit_is_a_word_and_a_mask() {
    let bit = ProcessBit(130);
    assert_eq!((bit.word(), bit.word_offset(), bit.mask()), (2, 16, 4));
}

#[test]
fn values_longer_than_what_is_compared_are_refused() {
    let kernel = FakeKernel::new();
    let mut sets = sets(&kernel, vec![vec![]]);
    let of = |op: SetOp, len| ProcessSet { op: op as i32, paths: vec![vec![b'a'; len]], pids: Vec::new() };
    assert!(sets.acquire(&of(SetOp::Equal, 255)).is_ok());
    assert!(sets.acquire(&of(SetOp::Postfix, 127)).is_ok());
    assert!(matches!(sets.acquire(&of(SetOp::Prefix, 256)), Err(SetError::TooLong { limit: 255, .. })));
    assert!(matches!(sets.acquire(&of(SetOp::Postfix, 128)), Err(SetError::TooLong { limit: 127, .. })));
    assert_eq!(sets.acquire(&ProcessSet { op: 77, ..equal(&["/a"]) }), Err(SetError::UnknownOp));
}

#[test]
fn processes_that_run_get_own_parent_and_inherited_bits() {
    let kernel = FakeKernel::new();
    let all =
        vec![process(1, 0, "/init"), process(2, 1, "/bin/sh"), process(3, 2, "/bin/id"), process(4, 0, "")];
    let mut sets = sets(&kernel, vec![all]);
    (1..=4).for_each(|tgid| enter(&sets, &kernel, tgid, u64::from(tgid) * 100, 0));
    sets.acquire(&equal(&["/init"])).unwrap();
    sets.acquire(&equal(&["/bin/sh"])).unwrap();
    sets.acquire(&ProcessSet { op: SetOp::Pid as i32, paths: vec![], pids: vec![3, 4] }).unwrap();
    sets.settle(&kernel, |_| true).unwrap();
    assert_eq!(kernel.entries("prefix").len(), 2);
    assert_eq!(kernel.entries("pids").len(), 2);
    assert_eq!(kernel.value("config", &[0; 4]).unwrap()[0], 1 | 4);
    assert_eq!(
        runs(&kernel),
        [
            [1, 100, 0, 0b001, 0, 0, 0, 0, 0],
            [2, 200, 0, 0b010, 0, 0b001, 0, 0b001, 0],
            [3, 300, 0, 0b100, 0, 0b010, 0, 0b011, 0],
            [4, 400, 0, 0b100, 0, 0, 0, 0, 0],
        ]
    );
    sets.settle(&kernel, |_| true).unwrap();
    assert_eq!(runs(&kernel), Vec::<Vec<u64>>::new(), "what is settled is not evaluated again");
}

#[test]
fn what_executes_or_is_forked_meanwhile_is_looked_at_again() {
    let kernel = FakeKernel::new();
    let first = vec![process(1, 0, "/bin/a")];
    let second = vec![process(1, 0, "/bin/b"), process(2, 1, "/bin/a")];
    let mut sets = sets(&kernel, vec![first, second]);
    (1..=2).for_each(|tgid| enter(&sets, &kernel, tgid, 7, 0));
    sets.acquire(&equal(&["/bin/a"])).unwrap();
    kernel.answer_test_runs([0]);
    sets.settle(&kernel, |_| true).unwrap();
    assert_eq!(runs(&kernel), [[1, 7, 0, 1, 0, 0, 0, 0, 0], [2, 7, 0, 1, 0, 0, 0, 0, 0]]);
}

#[test]
fn bits_of_an_earlier_set_are_cleared_before_the_number_is_used_again() {
    let kernel = FakeKernel::new();
    let mut sets = sets(&kernel, vec![vec![process(1, 0, "/bin/b"), process(2, 0, "/bin/c")]]);
    enter(&sets, &kernel, 1, 7, 0b1);
    enter(&sets, &kernel, 2, 8, 0);
    sets.acquire(&equal(&["/bin/a"])).unwrap();
    sets.settle(&kernel, |_| true).unwrap();
    sets.release(&equal(&["/bin/a"]));
    sets.retract(&kernel).unwrap();
    assert!(kernel.entries("prefix").is_empty());
    assert_eq!(kernel.value("config", &[0; 4]).unwrap()[0], 0);
    assert_eq!(runs(&kernel), Vec::<Vec<u64>>::new());
    sets.acquire(&equal(&["/bin/b"])).unwrap();
    sets.settle(&kernel, |_| true).unwrap();
    assert_eq!(runs(&kernel), [[1, 7, 0, 0, 1, 0, 1, 0, 1], [1, 7, 0, 1, 0, 0, 0, 0, 0]]);
}

#[test]
fn a_set_that_cannot_be_published_is_not_in_force_and_leaves_no_entry() {
    let kernel = FakeKernel::new();
    let mut sets = sets(&kernel, vec![vec![]]);
    sets.acquire(&equal(&["/a", "/b"])).unwrap();
    kernel.fail(Call::MapUpdate, 2, Errno::ENOSPC);
    let error = sets.settle(&kernel, |_| true).unwrap_err();
    assert_eq!(error, SetError::Table { table: "binary_exact_prefix", errno: Errno::ENOSPC });
    assert!(!sets.is_settled(&equal(&["/a", "/b"])));
    sets.release(&equal(&["/a", "/b"]));
    sets.retract(&kernel).unwrap();
    assert!(kernel.entries("prefix").is_empty());
}

#[test]
fn processes_that_cannot_be_listed_or_changed_are_an_error() {
    let kernel = FakeKernel::new();
    let mut none = sets(&kernel, vec![]);
    none.acquire(&equal(&["/a"])).unwrap();
    assert_eq!(none.settle(&kernel, |_| true), Err(SetError::List(Errno(libc::EACCES))));
    drop(none);
    let mut one = sets(&kernel, vec![vec![process(1, 0, "/a")]]);
    enter(&one, &kernel, 1, 7, 0);
    one.acquire(&equal(&["/a"])).unwrap();
    kernel.fail(Call::TestRun, 1, Errno::EINVAL);
    assert_eq!(one.settle(&kernel, |_| true), Err(SetError::Process { tgid: 1, errno: Errno::EINVAL }));
}
