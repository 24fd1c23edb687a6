//! In: tiny programs by hand. Out: what the running kernel does with them. Needs root.

mod alone;

use std::path::PathBuf;
use std::process::Command;

use agent::kernel::insn::{
    INSN_SIZE, add_imm, atomic_add64, call, exit, insn, jeq_imm, load_map, load_map_value, mov, mov_imm,
    store32_imm,
};
use agent::kernel::{AttachPoint, AttachStep, Errno, Kernel, Linux, MapShape, MapType, ProgramSpec};
use alone::alone;
use api::artefact::Flavour;

type Insns = Vec<[u8; INSN_SIZE]>;

fn linux() -> Linux {
    let linux = Linux::new().expect("reads the possible CPUs");
    let shape = MapShape { kind: MapType::Array, key_size: 4, value_size: 4, max_entries: 1, name: "may_we" };
    linux.map_create(&shape).expect("these tests create BPF maps: run them as root");
    linux
}

fn counter(linux: &Linux) -> <Linux as Kernel>::Map {
    let shape =
        MapShape { kind: MapType::PerCpuArray, key_size: 4, value_size: 12, max_entries: 2, name: "counter" };
    linux.map_create(&shape).unwrap()
}

fn count(linux: &Linux, map: &<Linux as Kernel>::Map) -> u64 {
    let value = linux.map_lookup(map, &0u32.to_ne_bytes()).unwrap().unwrap();
    assert_eq!(value.len(), 16 * linux.possible_cpus() as usize, "12 bytes, rounded up, for each CPU");
    value.chunks_exact(16).map(|cpu| u64::from_ne_bytes(*cpu.first_chunk().unwrap())).sum()
}

/// Counts its calls in the first value of a per-CPU array.
fn counting(map: i32) -> Insns {
    let mut insns = vec![store32_imm(10, -4, 0), mov(2, 10), add_imm(2, -4)];
    insns.extend(load_map(1, map));
    insns.extend([call(1), jeq_imm(0, 0, 2), mov_imm(1, 1), atomic_add64(0, 0, 1), mov_imm(0, 0), exit()]);
    insns
}

fn load(
    linux: &Linux,
    flavour: Flavour,
    btf_id: u32,
    insns: &Insns,
) -> Result<<Linux as Kernel>::Program, agent::kernel::Rejection> {
    linux.program_load(&ProgramSpec { flavour, btf_id, insns: &insns.concat(), name: "native test/1" })
}

#[test]
fn a_raw_tracepoint_runs_until_it_is_detached() {
    let _alone = alone();
    let linux = linux();
    let map = counter(&linux);
    let program = load(&linux, Flavour::RawTp, 0, &counting(linux.map_number(&map))).unwrap();
    assert_eq!(count(&linux, &map), 0);
    let link = linux.attach(&program, &AttachPoint { flavour: Flavour::RawTp, target: "sys_enter" }).unwrap();
    (0..100).for_each(|_| drop(std::fs::metadata("/")));
    let attached = count(&linux, &map);
    assert!(attached >= 100, "{attached}");
    linux.detach(link).unwrap();
    let detached = count(&linux, &map);
    (0..100).for_each(|_| drop(std::fs::metadata("/")));
    assert_eq!(count(&linux, &map), detached);
    let memory = linux.program_memory(&program).unwrap();
    assert!(memory.program >= 4096 && memory.jited > 0, "{memory:?}");
    assert!(linux.map_memory(&map).unwrap() > 0);
}

#[test]
fn an_unknown_raw_tracepoint_is_not_found() {
    let linux = linux();
    let program = load(&linux, Flavour::RawTp, 0, &vec![mov_imm(0, 0), exit()]).unwrap();
    let point = AttachPoint { flavour: Flavour::RawTp, target: "no_such_tracepoint" };
    let error = linux.attach(&program, &point).unwrap_err();
    assert_eq!((error.step, error.errno), (AttachStep::Link, Errno::ENOENT));
}

#[test]
fn a_rejected_program_names_its_instruction() {
    let linux = linux();
    let insns = vec![mov_imm(0, 0), mov_imm(1, 0), insn(0x79, 0, 1, 0, 0), exit()];
    let rejection = load(&linux, Flavour::RawTp, 0, &insns).unwrap_err();
    assert_eq!((rejection.errno, rejection.insn), (Errno(libc::EACCES), Some(2)));
    assert!(rejection.log.contains("R1 invalid mem access"), "{}", rejection.log);
}

#[test]
fn a_test_run_passes_arguments_and_returns_the_value() {
    let linux = linux();
    // r0 = (u32) of the second argument
    let program = load(&linux, Flavour::RawTp, 0, &vec![insn(0x79, 0, 1, 8, 0), exit()]).unwrap();
    assert_eq!(linux.test_run(&program, &[1, 0x55, 3]), Ok(0x55));
}

#[test]
fn an_instruction_can_refer_to_a_value() {
    let linux = linux();
    let shape = MapShape { kind: MapType::Array, key_size: 4, value_size: 4, max_entries: 1, name: "word" };
    let map = linux.map_create(&shape).unwrap();
    let mut insns = load_map_value(1, linux.map_number(&map)).to_vec();
    insns.extend([store32_imm(1, 0, 77), mov_imm(0, 0), exit()]);
    let program = load(&linux, Flavour::RawTp, 0, &insns).unwrap();
    linux.test_run(&program, &[]).unwrap();
    assert_eq!(linux.map_lookup(&map, &[0; 4]), Ok(Some(77u32.to_ne_bytes().to_vec())));
}

#[test]
fn a_trie_is_filled_at_once() {
    let linux = linux();
    let shape =
        MapShape { kind: MapType::LpmTrie, key_size: 8, value_size: 8, max_entries: 600, name: "trie" };
    let map = linux.map_create(&shape).unwrap();
    let keys: Vec<Vec<u8>> = (0..500u32).map(|n| [32u32.to_ne_bytes(), n.to_be_bytes()].concat()).collect();
    let entries: Vec<(&[u8], &[u8])> = keys.iter().map(|key| (key.as_slice(), key.as_slice())).collect();
    linux.map_fill(&map, &entries).unwrap();
    assert!(keys.iter().all(|key| linux.map_lookup(&map, key) == Ok(Some(key.clone()))));
    assert_eq!(linux.map_delete(&map, &keys[3]), Ok(true));
    assert_eq!(linux.map_delete(&map, &keys[3]), Ok(false));
    assert_eq!(linux.map_lookup(&map, &keys[3]), Ok(None));
}

#[test]
fn sizes_that_do_not_fit_the_map_never_reach_the_kernel() {
    let linux = linux();
    let map = counter(&linux);
    assert_eq!(linux.map_lookup(&map, &[0; 3]), Err(Errno::EINVAL));
    assert_eq!(linux.map_update(&map, &[0; 4], &[0; 12]), Err(Errno::EINVAL));
    assert_eq!(linux.map_fill(&map, &[(&[0; 4], &[0; 8])]), Err(Errno::EINVAL));
}

/// tracefs, mounted for one test.
struct TraceFs(Option<PathBuf>);

impl TraceFs {
    fn mount() -> TraceFs {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        if mounts.contains(" - tracefs ") {
            return TraceFs(None);
        }
        let target = std::env::temp_dir().join(format!("tracefs-{}", std::process::id()));
        std::fs::create_dir_all(&target).unwrap();
        let mount = Command::new("mount").args(["-t", "tracefs", "tracefs"]).arg(&target).status().unwrap();
        assert!(mount.success(), "these tests mount tracefs: run them as root");
        TraceFs(Some(target))
    }
}

impl Drop for TraceFs {
    fn drop(&mut self) {
        if let TraceFs(Some(target)) = self {
            let _ = Command::new("umount").arg(&*target).status();
            let _ = std::fs::remove_dir(target);
        }
    }
}

#[test]
fn a_tracepoint_runs_until_it_is_detached() {
    let _alone = alone();
    let linux = linux();
    let _tracefs = TraceFs::mount();
    let map = counter(&linux);
    let program = load(&linux, Flavour::Tracepoint, 0, &counting(linux.map_number(&map))).unwrap();
    let point = |target| AttachPoint { flavour: Flavour::Tracepoint, target };
    let link = linux.attach(&program, &point("sched/sched_process_exec")).unwrap();
    assert!(Command::new("true").status().unwrap().success());
    assert!(count(&linux, &map) >= 1);
    linux.detach(link).unwrap();
    let error = linux.attach(&program, &point("sched/no_such_event")).unwrap_err();
    assert_eq!((error.step, error.errno), (AttachStep::TracepointId, Errno::ENOENT));
    let error = linux.attach(&program, &point("../events/sched")).unwrap_err();
    assert_eq!((error.step, error.errno), (AttachStep::TracepointId, Errno::ENOENT));
}
