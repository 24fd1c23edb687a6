//! In: artefacts by hand, on the running kernel with the fixed programs. Out: what they count, and which processes
//! their sets hold for. Needs root.

mod alone;

use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use agent::base::{Base, BaseOptions};
use agent::kernel::Linux;
use agent::kernel::insn::{
    INSN_SIZE, add_imm, atomic_add64, call, exit, insn, jeq_imm, jne_imm, load_map, load32, mov, mov_imm,
};
use agent::loader::sets::ProcFs;
use agent::loader::{BaseObjects, FailureReason, Loader, Outcome};
use alone::alone;
use api::artefact::{
    Artefact, Attach, EventKind, Flavour, HookSchema, ProcessSet, Reloc, RelocKind, SetOp, SharedMap,
    SourceSpan,
};
use bpf_programs::layout::PROCESS_EXECVE;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A system call that a test makes and counts.
const CALLED: i32 = libc::SYS_getppid as i32;
const GET_CURRENT_PID_TGID: i32 = 14;

fn load() -> (Base, Loader) {
    let base = Base::load(&BaseOptions::default()).expect("these tests load BPF programs: run them as root");
    let linux = Linux::new().unwrap();
    let objects = BaseObjects::of(&base, &linux).unwrap();
    (base, Loader::new(linux, objects, ProcFs::at("/proc")))
}

/// Counts what the thread `tid` calls as matches of `policy`, while it is the active program of its hook.
fn counting(target: &str, policy: &str, tid: u32, version: i32) -> Artefact {
    let mut insns: Vec<[u8; INSN_SIZE]> = Vec::new();
    let mut relocs = Vec::new();
    let mut reloc = |insns: &Vec<_>, kind: RelocKind, index: u32| {
        relocs.push(Reloc { insn: insns.len() as u32, kind: kind as i32, index });
    };
    insns.extend([mov(6, 1), mov_imm(1, version), call(GET_CURRENT_PID_TGID)]);
    // A 32-bit comparison: the upper half is the process.
    insns.extend([insn(0x16, 0, 0, 2, tid as i32), mov_imm(0, 0), exit()]);
    reloc(&insns, RelocKind::ActiveSlot, 0);
    insns.extend([insn(0x62, 10, 0, -4, 0), mov(2, 10), add_imm(2, -4)]);
    reloc(&insns, RelocKind::SharedMap, SharedMap::Active as u32);
    insns.extend(load_map(1, 0));
    // Jumps go to the last two instructions.
    insns.extend([call(1), jeq_imm(0, 0, 15), load32(1, 0, 0)]);
    reloc(&insns, RelocKind::ProgramId, 0);
    insns.extend([jne_imm(1, 0, 13), insn(0x79, 1, 6, 8, 0), jne_imm(1, CALLED, 11)]);
    reloc(&insns, RelocKind::PolicyCounters, 0);
    insns.extend([insn(0x62, 10, 0, -4, 0), mov(2, 10), add_imm(2, -4)]);
    reloc(&insns, RelocKind::SharedMap, SharedMap::PolicyCounters as u32);
    insns.extend(load_map(1, 0));
    insns.extend([call(1), jeq_imm(0, 0, 4), mov_imm(1, 1), atomic_add64(0, 0, 1), mov_imm(0, 0), exit()]);
    insns.extend([mov_imm(0, 0), exit()]);
    Artefact {
        attach: Attach { flavour: Flavour::RawTp as i32, target: target.into(), btf_id: 0, syscall: None },
        insns: insns.concat(),
        relocs,
        hooks: vec![HookSchema {
            policy_name: policy.into(),
            event: EventKind::Kprobe as i32,
            ..HookSchema::default()
        }],
        ..Artefact::default()
    }
}

fn count(loader: &Loader, policy: &str) -> u64 {
    let counts = loader.counters().unwrap();
    counts.iter().find(|count| count.policy.name == policy).map_or(0, |count| count.values[0])
}

fn make_call() {
    // Not by a library that remembers the answer: each is a system call.
    assert_ne!(std::os::unix::process::parent_id(), 0);
}

/// Id of the calling thread.
fn thread_id() -> u32 {
    let link = std::fs::read_link("/proc/thread-self").unwrap();
    link.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

/// Keeps the calling thread on the `nth` of its CPUs, if it has several, so that threads which stay on different ones share
/// none. Kernels with tracepoints that can be preempted skip a program on a CPU on which another task was preempted inside
/// of it (`__bpf_trace_run`): that is not what is looked for here.
fn stay_on(nth: usize) {
    let all = sched_getaffinity(None).unwrap();
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu)).collect();
    if cpus.len() > 1 {
        let mut one = CpuSet::new();
        one.set(cpus[nth]);
        sched_setaffinity(None, &one).unwrap();
    }
}

/// While one thread calls without a pause, the hook's program is replaced again and again: each call is counted, by the
/// old or by the new program. (At most one per switch is counted by both, if it is between the two at that instant.)
#[test]
fn no_call_escapes_while_programs_are_replaced() {
    let _alone = alone();
    const SWITCHES: u64 = 30;
    let (_base, mut loader) = load();
    let (stop, (say_id, id)) = (AtomicBool::new(false), mpsc::channel());
    let (say_go, go) = mpsc::channel();
    let calls = std::thread::scope(|scope| {
        let stop = &stop;
        let hammer = scope.spawn(move || {
            stay_on(1);
            say_id.send(thread_id()).unwrap();
            go.recv().unwrap();
            let mut calls = 0u64;
            while !stop.load(Ordering::Relaxed) {
                make_call();
                calls += 1;
            }
            calls
        });
        // After the other thread has begun, which has the CPUs of the one that starts it.
        stay_on(0);
        let tid = id.recv().unwrap();
        let version = |version| [counting("sys_enter", "p", tid, version)];
        let report = loader.apply(&version(0));
        say_go.send(()).unwrap();
        assert_eq!(report.failures().count(), 0, "{report:?}");
        for number in 1..=SWITCHES {
            let report = loader.apply(&version(number as i32));
            assert_eq!(report.hooks[0].outcome, Outcome::Replaced, "{report:?}");
            assert_eq!(report.leftovers, []);
        }
        stop.store(true, Ordering::Relaxed);
        hammer.join().unwrap()
    });
    let counted = count(&loader, "p");
    assert!(calls > SWITCHES, "{calls}");
    assert!(counted >= calls, "{} calls escaped", calls - counted);
    assert!(counted <= calls + SWITCHES, "{} counted twice", counted - calls);
    let memory = loader.memory().unwrap();
    assert!(memory.hooks[0].total() <= 16 << 10, "{memory:?}");
    println!("{calls} calls, {counted} counted, {memory:?}");
    assert_eq!(loader.close(), []);
}

#[test]
fn counting_stops_when_the_policy_is_removed() {
    let _alone = alone();
    let (_base, mut loader) = load();
    let desired =
        [counting("sys_enter", "a", thread_id(), 0), counting("no_such_tracepoint", "b", thread_id(), 0)];
    let report = loader.apply(&desired);
    let failures: Vec<String> =
        report.failures().map(|(hook, failure)| format!("{} {failure}", hook.hook)).collect();
    let expected = "raw_tp:no_such_tracepoint attaching the program: could not bind the program to the hook: \
                    ENOENT (No such file or directory): this kernel does not have the hook";
    assert_eq!(failures, [expected]);
    (0..10).for_each(|_| make_call());
    assert_eq!(count(&loader, "a"), 10);
    loader.apply(&[]);
    make_call();
    assert_eq!(loader.counters().unwrap(), []);
    loader.apply(&[counting("sys_enter", "c", thread_id(), 0)]);
    assert_eq!(count(&loader, "c"), 0);
}

#[test]
fn a_program_that_the_verifier_refuses_leaves_the_last_good_one_in_force() {
    let _alone = alone();
    let (_base, mut loader) = load();
    loader.apply(&[counting("sys_enter", "p", thread_id(), 0)]);
    let mut bad = counting("sys_enter", "p", thread_id(), 1);
    bad.insns = [mov_imm(0, 0), insn(0x79, 1, 0, 0, 0), exit()].concat();
    bad.relocs.clear();
    bad.source_map = vec![SourceSpan { insn: 0, path: "p: spec.tracepoints[0].args[0]".into() }];
    let report = loader.apply(&[bad]);
    let (_, failure) = report.failures().next().unwrap();
    assert!(failure.kept.is_some());
    let FailureReason::Load { rejection, path } = &failure.reason else { panic!("{failure}") };
    assert_eq!((rejection.insn, path.as_deref()), (Some(1), Some("p: spec.tracepoints[0].args[0]")));
    assert!(rejection.log.contains("R0 invalid mem access"), "{}", rejection.log);
    make_call();
    assert_eq!(count(&loader, "p"), 1);
}

/// A child that waits, ended with the test.
struct Waiting(Child);

impl Waiting {
    fn start() -> Waiting {
        Waiting(Command::new("/bin/sleep").arg("60").spawn().unwrap())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn set(op: SetOp, path: &Path) -> ProcessSet {
    let paths = vec![path.to_str().unwrap().as_bytes().to_vec()];
    ProcessSet { op: op as i32, paths, ..ProcessSet::default() }
}

/// own, parent and inherited bits of a child, once it has executed its binary.
fn bits(base: &Base, child: &Waiting) -> [u64; 3] {
    let tgid = child.0.id();
    for _ in 0..400 {
        match base.process(tgid).unwrap() {
            Some(entry) if entry.flags & PROCESS_EXECVE != 0 => {
                return [entry.own[0], entry.parent[0], entry.inherited[0]];
            }
            _ => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    }
    panic!("process {tgid} is not in the map");
}

#[test]
fn a_process_is_in_its_sets_whether_it_ran_before_or_starts_later() {
    let _alone = alone();
    let (base, mut loader) = load();
    let sleep = std::fs::canonicalize("/bin/sleep").unwrap();
    let this = std::env::current_exe().unwrap();
    let before = Waiting::start();
    assert_eq!(bits(&base, &before), [0; 3]);
    let mut artefact = counting("sys_enter", "p", thread_id(), 0);
    artefact.process_sets = vec![
        set(SetOp::Equal, &sleep),
        set(SetOp::Equal, &this),
        set(SetOp::Postfix, Path::new("no such binary")),
    ];
    let report = loader.apply(&[artefact]);
    assert_eq!(report.failures().count(), 0, "{report:?}");
    assert_eq!(bits(&base, &before), [0b01, 0b10, 0b10]);
    // This process is not in the map, as it ran before the fixed programs: only the child's own bits are known.
    let after = Waiting::start();
    assert_eq!(bits(&base, &after)[0], 0b01);

    // The same number for another set: what the first one left is gone, from those that run, too.
    loader.apply(&[]);
    let mut artefact = counting("sys_enter", "p", thread_id(), 0);
    artefact.process_sets =
        vec![set(SetOp::Prefix, Path::new("/no/such/")), set(SetOp::Prefix, Path::new("/"))];
    loader.apply(&[artefact]);
    let last = Waiting::start();
    assert_eq!(bits(&base, &before), [0b10; 3]);
    assert_eq!(bits(&base, &after)[0], 0b10);
    assert_eq!(bits(&base, &last)[0], 0b10);
}
