//! In: the running kernel, with whatever attach mechanisms it has. Out: each of them loads, is called, enforces where it
//! can, is replaced without an instant in which it is not there, and goes. Needs root; run it on all test kernels.
//!
//! `FERRAGON_FLAVOURS`, if set, is the list that the probe must find, e.g. `Fentry,Fexit,RawTp`.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agent::base::{Base, BaseOptions};
use agent::kernel::insn::{
    INSN_SIZE, add_imm, atomic_add64, call, exit, insn, jeq_imm, jne_imm, load_map, load_map_value, load32,
    mov, mov_imm, store32_imm,
};
use agent::kernel::{AttachPoint, Kernel, Linux, LinuxMap, MapShape, MapType, ProgramSpec};
use agent::loader::sets::ProcFs;
use agent::loader::{BaseObjects, HookKey, Loader, Outcome};
use agent::probe::{BtfNames, Places, Probed, probe};
use api::artefact::{Artefact, Attach, EventKind, Flavour, HookSchema, OVERLAP, Reloc, RelocKind, SharedMap};

const MAP_LOOKUP: i32 = 1;
const MAP_UPDATE: i32 = 2;
const MAP_DELETE: i32 = 3;
const GET_CURRENT_PID_TGID: i32 = 14;
/// Times that each hook's program is replaced while it is hammered; each takes two grace periods of the kernel.
const SWITCHES: u64 = 8;

fn probed() -> Probed {
    let probed = probe(&Linux::new().unwrap(), &Places::host(), &[])
        .expect("the probe loads programs: run it as root");
    probed.notes.iter().for_each(|note| println!("note: {note}"));
    probed
}

fn flavours(probed: &Probed) -> Vec<Flavour> {
    probed.profile.flavours.iter().map(|raw| Flavour::try_from(*raw).unwrap()).collect()
}

/// An instruction list in the making.
#[derive(Default)]
struct Program {
    insns: Vec<[u8; INSN_SIZE]>,
    relocs: Vec<Reloc>,
}

impl Program {
    fn reloc(&mut self, kind: RelocKind, index: u32) {
        self.relocs.push(Reloc { insn: self.insns.len() as u32, kind: kind as i32, index });
    }

    /// r0 = value of a shared array at the index that `kind` gives; leaves if there is none.
    fn look_up(&mut self, map: SharedMap, kind: RelocKind) {
        self.reloc(kind, 0);
        self.insns.extend([store32_imm(10, -4, 0), mov(2, 10), add_imm(2, -4)]);
        self.reloc(RelocKind::SharedMap, map as u32);
        self.insns.extend(load_map(1, 0));
        self.insns.extend([call(MAP_LOOKUP), jne_imm(0, 0, 2), mov_imm(0, 0), exit()]);
    }

    /// r7 = the hook's word. Leaves unless this program is to judge the call, see [`OVERLAP`].
    fn unless_judged(&mut self) {
        self.reloc(RelocKind::ProgramId, 0);
        self.insns.push(jeq_imm(7, 0, 31));
        self.check(insn(0xc6, 7, 0, 2, 0)); // w7 < 0: the flag is the sign
        self.insns.extend([insn(0x57, 7, 0, 0, (OVERLAP - 1) as i32), call(GET_CURRENT_PID_TGID)]);
        self.insns.extend([insn(0x7b, 10, 0, -16, 0), insn(0x7b, 10, 7, -24, 0)]);
        self.reloc(RelocKind::ProgramId, 0);
        self.insns.push(jeq_imm(7, 0, 15));
        // The older one.
        self.judged(MAP_LOOKUP);
        self.insns.extend([jeq_imm(0, 0, 17), insn(0x79, 1, 0, 0, 0), insn(0x5d, 1, 7, 15, 0)]);
        self.judged(MAP_DELETE);
        self.insns.extend([mov_imm(0, 0), exit()]);
        // The newer one.
        self.insns.extend([mov(3, 10), add_imm(3, -24), mov_imm(4, 0)]);
        self.judged(MAP_UPDATE);
    }

    /// Calls a helper on the calling thread's mark; the thread is at -16 on the stack. 5 instructions.
    fn judged(&mut self, helper: i32) {
        self.reloc(RelocKind::SharedMap, SharedMap::Judged as u32);
        self.insns.extend(load_map(1, 0));
        self.insns.extend([mov(2, 10), add_imm(2, -16), call(helper)]);
    }

    /// Goes on if the comparison holds, else leaves with 0.
    fn check(&mut self, on: [u8; INSN_SIZE]) {
        self.insns.extend([on, mov_imm(0, 0), exit()]);
    }
}

/// While active: counts a match and returns `result`, when the thread `tid` is at the hook.
fn artefact(flavour: Flavour, trial: &Trial, tid: u32, version: i32) -> Artefact {
    let mut program = Program::default();
    program.insns.extend([mov(6, 1), mov_imm(0, version)]); // makes versions differ
    program.insns.extend([call(GET_CURRENT_PID_TGID)]);
    // A 32-bit comparison: the upper half is the process.
    program.check(insn(0x16, 0, 0, 2, tid as i32));
    if let Some(number) = trial.second_argument {
        program.insns.push(insn(0x79, 1, 6, 8, 0));
        program.check(jeq_imm(1, number, 2));
    }
    program.look_up(SharedMap::Active, RelocKind::ActiveSlot);
    program.insns.push(load32(7, 0, 0));
    program.unless_judged();
    program.look_up(SharedMap::PolicyCounters, RelocKind::PolicyCounters);
    program.insns.extend([mov_imm(1, 1), atomic_add64(0, 0, 1), mov_imm(0, trial.result), exit()]);
    Artefact {
        attach: Attach {
            flavour: flavour as i32,
            target: trial.target.clone(),
            btf_id: trial.btf_id,
            syscall: None,
        },
        insns: program.insns.concat(),
        relocs: program.relocs,
        hooks: vec![HookSchema {
            policy_name: "p".into(),
            event: EventKind::Kprobe as i32,
            ..HookSchema::default()
        }],
        overlaps: true,
        ..Artefact::default()
    }
}

/// What a thread does again and again to reach a hook, and what comes of it while a program returns `result`.
struct Trial {
    target: String,
    btf_id: u32,
    /// The hook is reached for other reasons, too, unless its second argument is this.
    second_argument: Option<i32>,
    result: i32,
    /// Whether it went as it must while the program is there.
    act: fn() -> bool,
}

fn ask_for_parent() -> bool {
    // Not by a library that remembers the answer: each is a system call.
    std::os::unix::process::parent_id() != 0
}

/// Whether opening a file is forbidden.
fn open_is_denied() -> bool {
    std::fs::File::open("/proc/version").is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
}

/// Id of the calling thread.
fn thread_id() -> u32 {
    let link = std::fs::read_link("/proc/thread-self").unwrap();
    link.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

fn trial(flavour: Flavour, names: &BtfNames<'_>) -> Trial {
    const NUMBER: i32 = libc::SYS_getppid as i32;
    // Without arguments, a system call is known to BTF by its body alone.
    let body = "__do_sys_getppid";
    let plain = |target: &str, btf_id: Option<u32>| Trial {
        target: target.to_owned(),
        btf_id: btf_id.expect("the kernel's BTF has it"),
        second_argument: None,
        result: 0,
        act: ask_for_parent,
    };
    let denying = |target: &str| Trial {
        result: -libc::EPERM,
        act: open_is_denied,
        ..plain(target, names.function(target))
    };
    let any_system_call = |btf_id| Trial { second_argument: Some(NUMBER), ..plain("sys_enter", btf_id) };
    match flavour {
        Flavour::Unspecified => unreachable!("no kernel has it"),
        Flavour::Fentry | Flavour::Fexit => plain(body, names.function(body)),
        Flavour::FmodRet => denying("security_file_open"),
        Flavour::Lsm => denying("bpf_lsm_file_open"),
        Flavour::Kprobe | Flavour::Kretprobe => plain("__x64_sys_getppid", Some(0)),
        Flavour::TpBtf => any_system_call(names.typedef("btf_trace_sys_enter")),
        Flavour::RawTp => any_system_call(Some(0)),
        Flavour::Tracepoint => plain("syscalls/sys_enter_getppid", Some(0)),
    }
}

fn count(loader: &Loader) -> u64 {
    loader.counters().unwrap().iter().map(|count| count.values[0]).sum()
}

/// Acts without a pause from `go` to `stop`, and tells in `made` how often so far; gives how often, and how often it went
/// as it must not.
fn hammer(
    tid: &AtomicU32,
    go: &AtomicBool,
    stop: &AtomicBool,
    made: &AtomicU64,
    act: fn() -> bool,
) -> (u64, u64) {
    tid.store(thread_id(), Ordering::Release);
    while !go.load(Ordering::Acquire) {
        std::thread::yield_now();
    }
    let (mut calls, mut escaped) = (0, 0);
    while !stop.load(Ordering::Acquire) {
        calls += 1;
        escaped += u64::from(!act());
        made.store(calls, Ordering::Release);
        // With one CPU, the switching side shall come to run in between.
        std::thread::yield_now();
    }
    (calls, escaped)
}

fn exercise(loader: &mut Loader, flavour: Flavour, trial: &Trial) {
    let (tid, go, stop) = (AtomicU32::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let made = AtomicU64::new(0);
    let hook = HookKey { flavour, target: trial.target.clone(), syscall: None };
    let (calls, escaped) = std::thread::scope(|scope| {
        let thread = scope.spawn(|| hammer(&tid, &go, &stop, &made, trial.act));
        while tid.load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
        let tid = tid.load(Ordering::Acquire);
        for version in 0..=SWITCHES {
            let report = loader.apply(&[artefact(flavour, trial, tid, version as i32)]);
            let expected = if version == 0 { Outcome::Installed } else { Outcome::Replaced };
            let outcome = &report.hooks.first().expect("a report on the hook").outcome;
            if *outcome != expected || !report.leftovers.is_empty() {
                go.store(true, Ordering::Release);
                stop.store(true, Ordering::Release);
                panic!("{hook}: {report:?}");
            }
            go.store(true, Ordering::Release);
            // On a busy host the hammer comes to run seldom: each switch is to have calls before and after it.
            let (before, limit) = (made.load(Ordering::Acquire), Instant::now() + Duration::from_secs(20));
            while made.load(Ordering::Acquire) == before && Instant::now() < limit {
                std::thread::yield_now();
            }
        }
        stop.store(true, Ordering::Release);
        thread.join().unwrap()
    });
    let (counted, memory) = (count(loader), loader.memory().unwrap());
    println!(
        "{hook}: {calls} calls, {counted} counted, {escaped} escaped, {} bytes",
        memory.hooks[0].total()
    );
    assert!(calls >= SWITCHES, "{hook}: only {calls} calls");
    assert_eq!(escaped, 0, "{hook}: the program's result did not come through");
    let missed = calls.saturating_sub(counted);
    // A call is bound to its return programs when it begins: one that is inside at a switch may be missed.
    let at_return = if hook.is_at_return() { SWITCHES } else { 0 };
    // Where tracepoints are preempted, the kernel skips some, and counts them.
    let allowed = at_return + loader.missed().unwrap().get(&hook).copied().unwrap_or(0);
    assert!(missed <= allowed, "{hook}: {missed} of {calls} calls were seen by neither program");
    // Where the older program runs first, a call that has passed it when the word changes is counted by both.
    let twice = if hook.flavour.newest_runs_first() { 0 } else { SWITCHES };
    assert!(counted <= calls + twice, "{hook}: {counted} counted of {calls} calls");
    loader.apply(&[]);
    // It is gone: a denied operation works again, an allowed one has always worked.
    assert_eq!((trial.act)(), trial.result == 0, "{hook}: after its removal");
}

/// Appends the digit `id` to a number in `map`, when the thread `tid` is at the hook.
fn append_digit(linux: &Linux, map: &LinuxMap, trial: &Trial, tid: u32, id: i32) -> Vec<u8> {
    let mut program = Program::default();
    program.insns.extend([mov(6, 1), call(GET_CURRENT_PID_TGID)]);
    program.check(insn(0x16, 0, 0, 2, tid as i32));
    if let Some(number) = trial.second_argument {
        program.insns.push(insn(0x79, 1, 6, 8, 0));
        program.check(jeq_imm(1, number, 2));
    }
    program.insns.extend(load_map_value(2, linux.map_number(map)));
    // r1 = *r2 * 10 + id
    program.insns.extend([load32(1, 2, 0), insn(0x27, 1, 0, 0, 10), add_imm(1, id), insn(0x63, 2, 1, 0, 0)]);
    program.insns.extend([mov_imm(0, 0), exit()]);
    program.insns.concat()
}

/// Whether a switch needs an overlap depends on who runs first.
#[test]
fn programs_on_one_hook_run_in_the_order_that_switches_count_on() {
    let probed = probed();
    let names = BtfNames::read(&probed.profile.btf).unwrap();
    let linux = Linux::new().unwrap();
    let tid = thread_id();
    for flavour in flavours(&probed) {
        let trial = trial(flavour, &names);
        let shape =
            MapShape { kind: MapType::Array, key_size: 4, value_size: 4, max_entries: 1, name: "order" };
        let map = linux.map_create(&shape).unwrap();
        let attach = |id| {
            let insns = append_digit(&linux, &map, &trial, tid, id);
            let spec = ProgramSpec { flavour, btf_id: trial.btf_id, insns: &insns, name: "order" };
            let program = linux.program_load(&spec).unwrap();
            linux.attach(&program, &AttachPoint { flavour, target: &trial.target }).unwrap()
        };
        let links = [attach(1), attach(2)];
        (trial.act)();
        let value = linux.map_lookup(&map, &[0; 4]).unwrap().unwrap();
        let order = u32::from_ne_bytes(value.try_into().unwrap());
        links.into_iter().for_each(|link| linux.detach(link).unwrap());
        let hook = HookKey { flavour, target: trial.target, syscall: None };
        println!("{hook}: {order}");
        assert_eq!(order, if hook.flavour.newest_runs_first() { 21 } else { 12 }, "{hook}");
    }
}

#[test]
fn every_flavour_that_the_probe_finds_works() {
    let probed = probed();
    let found = flavours(&probed);
    println!("{}: {found:?}", probed.profile.release);
    if let Ok(expected) = std::env::var("FERRAGON_FLAVOURS") {
        let found: Vec<String> = found.iter().map(|flavour| format!("{flavour:?}")).collect();
        assert_eq!(found.join(","), expected);
    }
    let names = BtfNames::read(&probed.profile.btf).unwrap();
    let base = Base::load(&BaseOptions::default()).unwrap();
    let linux = Linux::new().unwrap();
    for flavour in found {
        let trial = trial(flavour, &names);
        let objects = BaseObjects::of(&base, &linux).unwrap();
        let mut loader = Loader::new(linux, objects, ProcFs::at("/proc"));
        exercise(&mut loader, flavour, &trial);
        assert_eq!(loader.close(), []);
    }
}
