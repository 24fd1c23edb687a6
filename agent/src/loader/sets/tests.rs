//! In: sets and processes on a fake kernel. Out: tables, and the bits that running processes are given.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpf_programs::layout::{ProcessEntry, bytes_of};

use api::artefact::{LabelOp, LabelTest, PodSet, WorkloadSet};

use super::super::tests::set_objects;
use super::*;
use crate::kernel::fake::{Call, FakeKernel, Happening};
use crate::pods::{PodLabels, Workload};

/// What each scan finds, the last one again and again; cgroups; the scans before whose end process 1 executes something.
struct Scans {
    found: RefCell<VecDeque<Vec<Running>>>,
    cgroups: RefCell<BTreeMap<PathBuf, Cgroup>>,
    execs: RefCell<VecDeque<Exec>>,
}

/// Changes the entry of process 1, with an answer of the program that sets bits to whoever has not seen that.
type Exec = Box<dyn FnMut()>;

impl RunningProcesses for Scans {
    fn running(&self, before: &mut dyn FnMut(u32)) -> io::Result<Vec<Running>> {
        let mut scans = self.found.borrow_mut();
        let next = if scans.len() > 1 { scans.pop_front() } else { scans.front().cloned() };
        next.iter().flatten().for_each(|process| before(process.tgid));
        if let Some(mut exec) = self.execs.borrow_mut().pop_front() {
            exec();
        }
        next.ok_or_else(|| io::Error::from_raw_os_error(libc::EACCES))
    }

    fn cgroup(&self, path: &Path) -> io::Result<Cgroup> {
        Ok(self.cgroups.borrow().get(path).cloned().unwrap_or_default())
    }
}

fn process(tgid: u32, parent: u32, exe: &str) -> Running {
    Running { tgid, parent, exe: (!exe.is_empty()).then(|| exe.as_bytes().to_vec()) }
}

fn sets(kernel: &FakeKernel, scans: Vec<Vec<Running>>) -> ProcessSets<FakeKernel, Scans> {
    let found = RefCell::new(scans.into());
    let scans = Scans { found, cgroups: RefCell::default(), execs: RefCell::default() };
    let sets = ProcessSets::new(set_objects(kernel), scans);
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
    ProcessSet { op: SetOp::Equal as i32, paths, ..ProcessSet::default() }
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
    let of =
        |op: SetOp, len| ProcessSet { op: op as i32, paths: vec![vec![b'a'; len]], ..ProcessSet::default() };
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
    sets.acquire(&ProcessSet { op: SetOp::Pid as i32, pids: vec![3, 4], ..ProcessSet::default() }).unwrap();
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

/// Read from /proc was the image before; bits of its binary would stay with the new one.
#[test]
fn what_executes_while_proc_is_read_does_not_get_its_former_bits() {
    let kernel = FakeKernel::new();
    let scans = vec![vec![process(1, 0, "/bin/a")], vec![process(1, 0, "/bin/b")]];
    let mut sets = sets(&kernel, scans);
    enter(&sets, &kernel, 1, 7, 0);
    sets.acquire(&equal(&["/bin/a"])).unwrap();
    sets.acquire(&equal(&["/bin/b"])).unwrap();
    let entry = ProcessEntry {
        start: 8,
        parent_start: 0,
        parent_tgid: 0,
        flags: 0,
        own: [0; PROCESS_WORDS],
        parent: [0; PROCESS_WORDS],
        inherited: [0; PROCESS_WORDS],
    };
    let (at, value) = (1u32.to_ne_bytes(), bytes_of(&entry).to_vec());
    let on = kernel.clone();
    sets.running.execs.borrow_mut().push_back(Box::new(move || {
        on.put("processes", &at, &value);
        on.answer_test_runs([0]);
    }));
    sets.settle(&kernel, |_| true).unwrap();
    let own: Vec<_> = runs(&kernel).iter().map(|run| (run[1], run[3])).collect();
    assert_eq!(own, [(7, 0b01), (8, 0b10)], "the first is refused, as another image runs by then");
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

fn of_app(app: &str) -> ProcessSet {
    let label = LabelTest { key: "app".into(), op: LabelOp::In as i32, values: vec![app.into()] };
    workloads(false, Some(PodSet { labels: vec![label], ..PodSet::default() }))
}

fn workloads(host: bool, pods: Option<PodSet>) -> ProcessSet {
    let workloads = Some(WorkloadSet { host, pods });
    ProcessSet { op: SetOp::Workloads as i32, workloads, ..ProcessSet::default() }
}

fn place(path: &str, workload: Workload) -> Option<Place> {
    Some(Place { path: path.into(), workload })
}

fn app(name: &str) -> Workload {
    let labels = [("app".to_owned(), name.to_owned())].into();
    Workload::Pod { pod: Arc::new(PodLabels { namespace: "default".into(), labels }), container: None }
}

/// A host with process 1, and a pod with process 2 and, in a cgroup of its own making, process 3.
fn with_pod(kernel: &FakeKernel) -> ProcessSets<FakeKernel, Scans> {
    let all = vec![process(1, 0, "/init"), process(2, 1, "/bin/a"), process(3, 2, "/bin/a")];
    let mut sets = sets(kernel, vec![all]);
    let cgroup = |path: &str, processes: &[u32], below: &[&str]| {
        let below = below.iter().map(PathBuf::from).collect();
        sets.running
            .cgroups
            .borrow_mut()
            .insert(path.into(), Cgroup { processes: processes.to_vec(), below });
    };
    cgroup("/", &[1], &["/kubepods"]);
    cgroup("/kubepods", &[], &["/kubepods/pod"]);
    cgroup("/kubepods/pod", &[2], &["/kubepods/pod/nested"]);
    cgroup("/kubepods/pod/nested", &[3], &[]);
    (1..=3).for_each(|tgid| enter(&sets, kernel, tgid, u64::from(tgid) * 100, 0));
    let changes = vec![
        (CgroupId(1), place("/", Workload::Host)),
        (CgroupId(10), place("/kubepods", Workload::UnknownPod)),
        (CgroupId(11), place("/kubepods/pod", app("web"))),
    ];
    sets.workloads_changed(kernel, changes).unwrap();
    sets.expect_pods();
    kernel.take_journal();
    sets
}

fn words_of(kernel: &FakeKernel, cgroup: u64) -> Option<u64> {
    let value = kernel.value("cgroups", &cgroup.to_ne_bytes())?;
    value.first_chunk().map(|word| u64::from_ne_bytes(*word))
}

#[test]
fn processes_are_in_the_sets_of_the_nearest_workload_above() {
    let kernel = FakeKernel::new();
    let mut sets = with_pod(&kernel);
    assert!(kernel.entries("cgroups").is_empty(), "without policies for workloads the table is empty");
    sets.acquire(&of_app("web")).unwrap();
    sets.acquire(&workloads(true, None)).unwrap();
    sets.acquire(&workloads(false, Some(PodSet::default()))).unwrap();
    sets.settle(&kernel, |_| true).unwrap();
    let bits: Vec<_> = [1, 10, 11].map(|cgroup| words_of(&kernel, cgroup)).into();
    assert_eq!(bits, [Some(0b010), Some(0b100), Some(0b101)]);
    assert_eq!(kernel.value("config", &[0; 4]).unwrap()[0], 8);
    let own: Vec<_> = runs(&kernel).iter().map(|run| (run[0], run[3])).collect();
    assert_eq!(own, [(1, 0b010), (2, 0b101), (3, 0b101)]);
    for set in [of_app("web"), workloads(true, None), workloads(false, Some(PodSet::default()))] {
        sets.release(&set);
    }
    sets.retract(&kernel).unwrap();
    assert!(kernel.entries("cgroups").is_empty());
}

#[test]
fn a_changed_label_moves_the_processes_of_its_pod_alone() {
    let kernel = FakeKernel::new();
    let mut sets = with_pod(&kernel);
    for set in [of_app("web"), of_app("db"), equal(&["/bin/a"])] {
        sets.acquire(&set).unwrap();
    }
    sets.settle(&kernel, |_| true).unwrap();
    kernel.take_journal();
    let change = |workload| vec![(CgroupId(11), workload)];
    sets.workloads_changed(&kernel, change(place("/kubepods/pod", app("db")))).unwrap();
    assert_eq!(words_of(&kernel, 11), Some(0b010));
    assert_eq!(runs(&kernel), [[2, 200, 0, 0b10, 0b01, 0, 0, 0, 0], [3, 300, 0, 0b10, 0b01, 0, 0, 0, 0]]);
    sets.workloads_changed(&kernel, change(None)).unwrap();
    assert_eq!(words_of(&kernel, 11), None);
    assert_eq!(runs(&kernel), Vec::<Vec<u64>>::new(), "a cgroup that is gone has no processes");
}

#[test]
fn a_new_pod_takes_its_processes_away_from_the_host() {
    let kernel = FakeKernel::new();
    let mut sets = with_pod(&kernel);
    sets.workloads_changed(&kernel, vec![(CgroupId(10), None), (CgroupId(11), None)]).unwrap();
    sets.acquire(&workloads(true, None)).unwrap();
    sets.settle(&kernel, |_| true).unwrap();
    let own: Vec<_> = runs(&kernel).iter().map(|run| (run[0], run[3])).collect();
    assert_eq!(own, [(1, 1), (2, 1), (3, 1)], "all that is not known to be a pod is the host");
    sets.workloads_changed(&kernel, vec![(CgroupId(11), place("/kubepods/pod", Workload::UnknownPod))])
        .unwrap();
    assert_eq!(words_of(&kernel, 11), Some(0));
    assert_eq!(runs(&kernel), [[2, 200, 0, 0, 1, 0, 0, 0, 0], [3, 300, 0, 0, 1, 0, 0, 0, 0]]);
}

#[test]
fn processes_of_a_changed_pod_that_execute_meanwhile_are_looked_at_again() {
    let kernel = FakeKernel::new();
    let mut sets = with_pod(&kernel);
    sets.acquire(&of_app("db")).unwrap();
    sets.settle(&kernel, |_| true).unwrap();
    kernel.take_journal();
    kernel.answer_test_runs([0]);
    sets.workloads_changed(&kernel, vec![(CgroupId(11), place("/kubepods/pod", app("db")))]).unwrap();
    let changed: Vec<u64> = runs(&kernel).iter().map(|run| run[0]).collect();
    assert_eq!(changed, [2, 3, 2], "the first answered that it is another image by now");
}

#[test]
fn sets_of_workloads_need_somebody_who_tells() {
    let kernel = FakeKernel::new();
    let mut sets = sets(&kernel, vec![vec![]]);
    assert_eq!(sets.acquire(&workloads(true, None)), Err(SetError::NoCgroups));
    sets.workloads_changed(&kernel, vec![(CgroupId(1), place("/", Workload::Host))]).unwrap();
    assert!(sets.acquire(&workloads(true, None)).is_ok(), "the host is known without pods");
    assert_eq!(sets.acquire(&of_app("web")), Err(SetError::NoPods));
    sets.expect_pods();
    assert!(sets.acquire(&of_app("web")).is_ok());
}

#[test]
fn sets_of_pods_wait_for_all_pods_to_be_known() {
    let kernel = FakeKernel::new();
    let mut sets = with_pod(&kernel);
    sets.acquire(&workloads(true, None)).unwrap();
    assert!(!sets.waits_for_pods(), "the host needs no pods");
    sets.acquire(&of_app("web")).unwrap();
    assert!(sets.waits_for_pods());
    sets.pods_are_known();
    assert!(!sets.waits_for_pods());
}

#[test]
fn an_entry_that_the_table_does_not_take_is_told_and_tried_again() {
    let kernel = FakeKernel::new();
    let mut sets = with_pod(&kernel);
    sets.acquire(&of_app("web")).unwrap();
    sets.settle(&kernel, |_| true).unwrap();
    kernel.fail(Call::MapUpdate, 1, Errno::ENOSPC);
    let new = || vec![(CgroupId(12), place("/kubepods/other", app("web")))];
    let error = sets.workloads_changed(&kernel, new()).unwrap_err();
    assert_eq!(error, SetError::Table { table: "cgroup_sets", errno: Errno::ENOSPC });
    sets.workloads_changed(&kernel, new()).unwrap();
    assert_eq!(words_of(&kernel, 12), Some(1));
}
