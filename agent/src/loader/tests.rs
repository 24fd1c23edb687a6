//! In: desired sets on a fake kernel. Out: what it holds after each, whatever step fails.

use std::time::Duration;

use api::artefact::{
    Attach, EventKind, Flavour, HookSchema, MapEntry, MapKind, MapSpec, OVERLAP, ProcessSet, Reloc,
    RelocKind, SetOp, SourceSpan,
};

use super::sets::Running;
use super::*;
use crate::kernel::fake::{Call, FakeKernel, FakeObject, Happening};
use crate::kernel::insn::{INSN_SIZE, exit, load_map, mov_imm};
use crate::kernel::{MapShape, MapType};

/// Nobody runs.
#[derive(Debug)]
struct Nobody;

impl RunningProcesses for Nobody {
    fn cgroup(&self, _: &std::path::Path) -> std::io::Result<super::sets::Cgroup> {
        Ok(super::sets::Cgroup::default())
    }

    fn running(&self, _: &mut dyn FnMut(u32)) -> std::io::Result<Vec<Running>> {
        Ok(Vec::new())
    }
}

type TestLoader = Loader<FakeKernel, Nobody>;

/// Objects of the fixed programs.
const BASE_OBJECTS: usize = 8;

pub(super) fn set_objects(kernel: &FakeKernel) -> SetObjects<FakeKernel> {
    let map = |kind, key_size, value_size, max_entries, name| {
        kernel.map_create(&MapShape { kind, key_size, value_size, max_entries, name }).unwrap()
    };
    let spec =
        crate::kernel::ProgramSpec { flavour: Flavour::RawTp, btf_id: 0, insns: &[], name: "set_bits" };
    SetObjects {
        prefix: map(MapType::LpmTrie, 260, 32, 16, "prefix"),
        postfix: map(MapType::LpmTrie, 132, 32, 16, "postfix"),
        pids: map(MapType::Hash, 4, 32, 16, "pids"),
        cgroups: map(MapType::Hash, 8, 32, 16, "cgroups"),
        config: map(MapType::Array, 4, 8, 1, "config"),
        processes: map(MapType::Hash, 4, 120, 16, "processes"),
        set_bits: kernel.program_load(&spec).unwrap(),
    }
}

fn loader(kernel: &FakeKernel) -> TestLoader {
    let map = |name| -> FakeObject {
        let kind = MapType::Hash;
        kernel.map_create(&MapShape { kind, key_size: 4, value_size: 4, max_entries: 1, name }).unwrap()
    };
    let base = BaseObjects {
        possible_cpus: 2,
        events: map("events"),
        processes: map("procs"),
        sets: set_objects(kernel),
    };
    kernel.take_journal();
    Loader::new(kernel.clone(), base, Nobody)
}

fn schema(policy: &str) -> HookSchema {
    HookSchema { policy_name: policy.into(), event: EventKind::Kprobe as i32, ..HookSchema::default() }
}

/// A program that names everything that can be relocated. `version` makes it differ from others on its hook.
fn artefact(flavour: Flavour, target: &str, policies: &[&str], version: i32) -> Artefact {
    let [map, end] = load_map(1, 0);
    let insns =
        [map, end, map, end, mov_imm(1, 0), mov_imm(2, 0), mov_imm(3, 0), mov_imm(4, version), exit()];
    let reloc = |insn, kind: RelocKind, index| Reloc { insn, kind: kind as i32, index };
    Artefact {
        attach: Attach { flavour: flavour as i32, target: target.into(), btf_id: 0, syscall: None },
        insns: insns.concat(),
        relocs: vec![
            reloc(0, RelocKind::SharedMap, SharedMap::PolicyCounters as u32),
            reloc(2, RelocKind::PrivateMap, 0),
            reloc(4, RelocKind::ProgramId, 0),
            reloc(5, RelocKind::ActiveSlot, 0),
            reloc(6, RelocKind::PolicyCounters, 0),
        ],
        maps: vec![MapSpec {
            kind: MapKind::Hash as i32,
            key_size: 1,
            value_size: 1,
            max_entries: 2,
            entries: vec![
                MapEntry { key: vec![1], value: vec![2] },
                MapEntry { key: vec![3], value: vec![4] },
            ],
        }],
        hooks: policies.iter().map(|policy| schema(policy)).collect(),
        source_map: vec![
            SourceSpan { insn: 0, path: format!("{target}: spec.kprobes[0]") },
            SourceSpan { insn: 4, path: "later".into() },
        ],
        ..Artefact::default()
    }
}

fn with_set(mut artefact: Artefact, paths: &[&str]) -> Artefact {
    let paths = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
    artefact.process_sets.push(ProcessSet { op: SetOp::Equal as i32, paths, ..ProcessSet::default() });
    artefact
}

fn active(kernel: &FakeKernel, slot: u32) -> u32 {
    let word = kernel.value("active", &slot.to_ne_bytes()).unwrap();
    u32::from_ne_bytes(word.try_into().unwrap())
}

fn outcomes(report: &ApplyReport) -> Vec<(String, &'static str)> {
    assert_eq!(report.leftovers, []);
    let word = |hook: &HookReport| match hook.outcome {
        Outcome::Unchanged => "unchanged",
        Outcome::Installed => "installed",
        Outcome::Replaced => "replaced",
        Outcome::Removed => "removed",
        Outcome::Kept => "kept",
        Outcome::Failed(_) => "failed",
    };
    report.hooks.iter().map(|hook| (hook.hook.to_string(), word(hook))).collect()
}

fn insn(bytes: &[u8], index: usize) -> &[u8] {
    &bytes[index * INSN_SIZE..][..INSN_SIZE]
}

#[test]
fn a_new_hook_is_relocated_attached_and_switched_on() {
    let kernel = FakeKernel::new();
    let mut loader = loader(&kernel);
    let report = loader.apply(&[artefact(Flavour::Fentry, "f", &["p"], 1)]);
    assert_eq!(outcomes(&report), [("fentry:f".into(), "installed")]);
    let [program] = kernel.attached()[..] else { panic!("one program is attached") };
    assert_eq!(active(&kernel, 0), 1);
    let insns = kernel.insns(program);
    assert_eq!(insn(&insns, 4), mov_imm(1, 1), "program id");
    assert_eq!(insn(&insns, 5), mov_imm(2, 0), "slot");
    assert_eq!(insn(&insns, 6), mov_imm(3, 0), "policy");
    assert_ne!(insn(&insns, 0), insn(&insns, 2), "two maps");
    assert_eq!(kernel.entries("policy_values").len(), 2);
    let schema = loader.schemas().get(1).unwrap();
    assert_eq!(schema.entries[0].policy_name, "p");
    assert_eq!(loader.installed()[0].policies[0].to_string(), "p");
}

#[test]
fn an_unchanged_hook_is_not_touched() {
    let kernel = FakeKernel::new();
    let mut loader = loader(&kernel);
    let desired = [artefact(Flavour::Fentry, "f", &["p"], 1), artefact(Flavour::Fexit, "f", &["p"], 1)];
    loader.apply(&desired);
    kernel.take_journal();
    let report = loader.apply(&desired);
    assert_eq!(outcomes(&report), [("fentry:f".into(), "unchanged"), ("fexit:f".into(), "unchanged")]);
    assert_eq!(kernel.take_journal(), []);
}

/// What happened to programs and to the words that switch them.
fn switching(kernel: &FakeKernel) -> Vec<String> {
    let journal = kernel.take_journal().into_iter();
    let shown = journal.filter_map(|happening| match happening {
        Happening::Loaded(_) => Some("load".to_owned()),
        Happening::Attached(..) => Some("attach".to_owned()),
        Happening::Detached(_) => Some("detach".to_owned()),
        Happening::Updated("active", _, word) => {
            let word = u32::from_ne_bytes(word.try_into().unwrap());
            Some(if word & OVERLAP == 0 { word.to_string() } else { format!("both {}", word ^ OVERLAP) })
        }
        Happening::Waited => Some("wait".to_owned()),
        Happening::Updated(..) | Happening::Ran(..) => None,
    });
    shown.collect()
}

#[test]
fn the_new_program_is_made_before_the_old_one_is_broken() {
    let kernel = FakeKernel::new();
    let mut loader = loader(&kernel);
    loader.apply(&[artefact(Flavour::Fentry, "f", &["p"], 1)]);
    kernel.take_journal();
    let report = loader.apply(&[artefact(Flavour::Fentry, "f", &["p"], 2)]);
    assert_eq!(outcomes(&report), [("fentry:f".into(), "replaced")]);
    assert_eq!(switching(&kernel), ["load", "attach", "wait", "2", "detach"]);
    assert_eq!(kernel.attached().len(), 1);
}

#[test]
fn programs_that_can_overlap_do_where_the_newest_runs_first() {
    for (flavour, expected) in [
        (Flavour::Lsm, &["load", "attach", "wait", "both 2", "wait", "2", "detach"][..]),
        (Flavour::Tracepoint, &["load", "attach", "wait", "2", "detach"]),
    ] {
        let kernel = FakeKernel::new();
        let mut loader = loader(&kernel);
        let version = |version| Artefact { overlaps: true, ..artefact(flavour, "f", &["p"], version) };
        loader.apply(&[version(1)]);
        assert_eq!(switching(&kernel), ["load", "attach", "1"]);
        loader.apply(&[version(2)]);
        assert_eq!(switching(&kernel), expected);
    }
}

#[test]
fn a_removed_hook_is_switched_off_then_detached_after_the_others_are_on() {
    let kernel = FakeKernel::new();
    let mut loader = loader(&kernel);
    loader.apply(&[artefact(Flavour::Fentry, "f", &["p"], 1)]);
    kernel.take_journal();
    let report = loader.apply(&[artefact(Flavour::Kprobe, "f", &["p"], 1)]);
    assert_eq!(outcomes(&report), [("fentry:f".into(), "removed"), ("kprobe:f".into(), "installed")]);
    assert_eq!(switching(&kernel), ["load", "attach", "2", "0", "detach"]);
    // The slot is free again, and its new program has an id that its old one never had.
    loader.apply(&[artefact(Flavour::Kprobe, "f", &["p"], 1), artefact(Flavour::Lsm, "g", &["p"], 1)]);
    assert_eq!((active(&kernel, 0), active(&kernel, 1)), (3, 2));
}

#[test]
fn closing_and_dropping_leave_nothing() {
    let kernel = FakeKernel::new();
    let desired = [artefact(Flavour::Fentry, "f", &["p"], 1), artefact(Flavour::RawTp, "g", &["q"], 1)];
    let mut first = loader(&kernel);
    first.apply(&desired);
    assert_eq!(first.close(), []);
    assert_eq!((kernel.live(), kernel.attached()), (0, vec![]));
    let mut second = loader(&kernel);
    second.apply(&desired);
    assert!(kernel.live() > BASE_OBJECTS);
    drop(second);
    assert_eq!((kernel.live(), kernel.attached()), (0, vec![]));
}

#[test]
fn a_failure_to_detach_is_told_and_leaves_nothing_either() {
    let kernel = FakeKernel::new();
    let mut loader = loader(&kernel);
    loader.apply(&[artefact(Flavour::Fentry, "f", &["p"], 1)]);
    kernel.fail(Call::Detach, 1, Errno(libc::EIO));
    let leftovers = loader.close();
    assert!(matches!(leftovers[..], [Leftover::Detach { errno: Errno(libc::EIO), .. }]), "{leftovers:?}");
    assert_eq!(kernel.live(), 0);
}

#[test]
fn whatever_step_fails_a_hook_runs_its_old_or_its_new_program_and_nothing_leaks() {
    let first = [artefact(Flavour::Fentry, "f", &["p", "q"], 1), artefact(Flavour::Fexit, "f", &["p"], 1)];
    let second = [
        with_set(artefact(Flavour::Fentry, "f", &["p", "r"], 2), &["/bin/a"]),
        with_set(artefact(Flavour::Fexit, "f", &["p"], 2), &["/bin/b"]),
        artefact(Flavour::Lsm, "g", &["s"], 1),
    ];
    let mut failures = 0;
    for call in [Call::MapCreate, Call::MapUpdate, Call::ProgramLoad, Call::Attach] {
        for nth in 1.. {
            let kernel = FakeKernel::new();
            let mut loader = loader(&kernel);
            loader.apply(&first);
            let held = kernel.live();
            kernel.fail(call, nth, Errno::ENOMEM);
            let report = loader.apply(&second);
            let failed = report.failures().count();
            check_consistent(&kernel, &loader, &report, held);
            if kernel.has_pending_failure() {
                break; // there is no such call any more
            }
            assert!(failed <= 1, "{call:?} {nth}: one failure harms one hook: {report:?}");
            failures += 1;
            // And the next attempt brings it all.
            let report = loader.apply(&second);
            assert_eq!((report.failures().count(), loader.installed().len()), (0, 3), "{call:?} {nth}");
            assert_eq!(loader.close(), []);
            assert_eq!(kernel.live(), 0);
        }
    }
    assert!(failures > 20, "{failures}");
}

fn check_consistent(kernel: &FakeKernel, loader: &TestLoader, report: &ApplyReport, held: usize) {
    let failed: Vec<&HookKey> = report.failures().map(|(hook, _)| &hook.hook).collect();
    for (hook, failure) in report.failures() {
        let is_new = hook.hook.flavour == Flavour::Lsm;
        assert_eq!(failure.kept.is_none(), is_new, "{failure}");
    }
    for (slot, hook) in [(0, Flavour::Fentry), (1, Flavour::Fexit)] {
        let hook = HookKey { flavour: hook, target: "f".into(), syscall: None };
        let running = &loader.hooks[&hook];
        assert_eq!(running.held.slot, slot);
        assert_eq!(
            running.id.0 <= 2,
            failed.contains(&&hook),
            "the last good one stays exactly if the new one failed"
        );
        assert_eq!(active(kernel, slot), running.id.0);
        assert!(loader.schemas().get(running.id.0).is_some());
    }
    let installed = loader.installed().len();
    assert_eq!(kernel.attached().len(), installed);
    // Program, map and link of each hook.
    assert_eq!(kernel.live(), held + 3 * (installed - 2));
    let policies: BTreeSet<PolicyName> =
        loader.installed().into_iter().flat_map(|hook| hook.policies).collect();
    let counted: BTreeSet<PolicyName> =
        loader.counters().unwrap().into_iter().map(|count| count.policy).collect();
    assert_eq!(policies, counted);
}

#[test]
fn a_failed_switch_keeps_the_old_program_even_in_the_middle_of_an_overlap() {
    for nth in [1, 2] {
        let kernel = FakeKernel::new();
        let mut loader = loader(&kernel);
        let version = |version| Artefact {
            overlaps: true,
            maps: Vec::new(),
            relocs: Vec::new(),
            ..artefact(Flavour::Lsm, "f", &["p"], version)
        };
        loader.apply(&[version(1)]);
        kernel.fail(Call::MapUpdate, nth, Errno::EPERM);
        let report = loader.apply(&[version(2)]);
        let failures: Vec<_> = report.failures().map(|(_, failure)| failure.reason.clone()).collect();
        assert_eq!(failures, [FailureReason::Switch(Errno::EPERM)]);
        assert_eq!((active(&kernel, 0), kernel.attached().len()), (1, 1));
    }
}

#[test]
fn a_refused_program_names_the_policy_field_and_the_verdict() {
    let kernel = FakeKernel::new();
    let mut loader = loader(&kernel);
    kernel.fail(Call::ProgramLoad, 1, Errno(libc::EACCES));
    let report = loader.apply(&[artefact(Flavour::Fentry, "f", &["p"], 1)]);
    let (hook, failure) = report.failures().next().unwrap();
    assert_eq!(hook.policies[0].to_string(), "p");
    let text = failure.to_string();
    assert_eq!(
        text,
        "the kernel refused the program with EACCES (Permission denied), at the code of f: spec.kprobes[0]; \
         its verifier says:\n0: (b7) r0 = 0\nnot today"
    );
}

#[test]
fn malformed_and_doubled_artefacts_are_refused_alone() {
    let kernel = FakeKernel::new();
    let mut loader = loader(&kernel);
    let good = artefact(Flavour::Fentry, "f", &["p"], 1);
    let desired = [
        good.clone(),
        artefact(Flavour::Fentry, "f", &["p"], 2),
        Artefact { insns: vec![0; 12], ..artefact(Flavour::Fentry, "half", &["p"], 1) },
        Artefact { maps: Vec::new(), ..artefact(Flavour::Fentry, "no map", &["p"], 1) },
        Artefact { hooks: Vec::new(), ..artefact(Flavour::Fentry, "no hook", &["p"], 1) },
        with_set(artefact(Flavour::Fentry, "long", &["p"], 1), &["/".repeat(256).as_str()]),
    ];
    let report = loader.apply(&desired);
    assert_eq!(report.failures().count(), 5);
    assert_eq!(loader.installed().len(), 1);
    assert_eq!(loader.installed()[0].digest, good.digest());
    let report = loader.apply(&[good]);
    assert_eq!(outcomes(&report), [("fentry:f".into(), "unchanged")]);
}

#[test]
fn a_program_whose_events_could_not_be_shown_is_refused() {
    let kernel = FakeKernel::new();
    let mut loader = loader(&kernel);
    let strange = HookSchema { event: 77, path: "spec.kprobes[1]".into(), ..schema("p") };
    let hooks = vec![schema("p"), strange];
    let report = loader.apply(&[Artefact { hooks, ..artefact(Flavour::Fentry, "f", &["p"], 1) }]);
    let reason = report.failures().next().unwrap().1.to_string();
    assert!(reason.contains("spec.kprobes[1]") && reason.contains("77"), "{reason}");
    assert!(kernel.attached().is_empty());
}

/// An edit that moves a policy: its new hook fails, so it stays where it was; others' hooks go.
#[test]
fn a_policy_that_moves_to_a_hook_that_fails_stays_where_it_was() {
    let kernel = FakeKernel::new();
    let mut loader = loader(&kernel);
    let [old, other] =
        [artefact(Flavour::Lsm, "old", &["p", "q"], 1), artefact(Flavour::Lsm, "other", &["r"], 1)];
    loader.apply(&[old.clone(), other]);
    let new = artefact(Flavour::Lsm, "new", &["p"], 1);
    kernel.fail(Call::ProgramLoad, 1, Errno(libc::EACCES));
    let report = loader.apply(std::slice::from_ref(&new));
    let named = |hook: &str, word| (format!("lsm:{hook}"), word);
    assert_eq!(outcomes(&report), [named("new", "failed"), named("old", "kept"), named("other", "removed")]);
    assert_eq!(loader.installed().iter().map(|hook| hook.digest).collect::<Vec<_>>(), [old.digest()]);
    assert_eq!((kernel.attached().len(), active(&kernel, 0)), (1, 1));
    // When it does not fail any more, the old one goes.
    let report = loader.apply(&[new]);
    assert_eq!(outcomes(&report), [named("new", "installed"), named("old", "removed")]);
    assert_eq!(kernel.attached().len(), 1);
}

#[test]
fn counters_belong_to_a_policy_as_long_as_it_is_there() {
    let kernel = FakeKernel::new();
    let mut loader = loader(&kernel);
    let count = |loader: &TestLoader| -> Vec<(String, u64)> {
        let counts = loader.counters().unwrap().into_iter();
        counts.map(|count| (count.policy.to_string(), count.values[1])).collect()
    };
    loader.apply(&[artefact(Flavour::Fentry, "f", &["a", "b"], 1)]);
    let value: Vec<u8> = (0..11u64).flat_map(|n| (n * 10).to_ne_bytes()).collect();
    let map = loader.shared.maps.existing(SharedMap::PolicyCounters).unwrap();
    kernel.map_update(map, &1u32.to_ne_bytes(), &value).unwrap();
    assert_eq!(count(&loader), [("a".into(), 0), ("b".into(), 10)]);
    loader.apply(&[artefact(Flavour::Fentry, "f", &["b"], 2)]);
    assert_eq!(count(&loader), [("b".into(), 10)]);
    loader.apply(&[artefact(Flavour::Fentry, "f", &["c"], 3)]);
    loader.apply(&[artefact(Flavour::Fentry, "f", &["d"], 4)]);
    assert_eq!(count(&loader), [("d".into(), 0)], "a new policy starts at zero in an old place");
}

#[test]
fn values_of_all_cpus_are_added() {
    let cpus: Vec<u8> = (0..22u64).flat_map(u64::to_ne_bytes).collect();
    let values = sum(&cpus);
    assert_eq!((values[0], values[1], values[10]), (11, 13, 31));
}

#[test]
fn large_shared_maps_exist_only_when_a_program_needs_them() {
    let kernel = FakeKernel::new();
    let mut loader = loader(&kernel);
    assert_eq!(kernel.live(), BASE_OBJECTS + 1);
    loader.apply(&[artefact(Flavour::Fentry, "f", &["p"], 1)]);
    let names = |loader: &TestLoader| -> Vec<&str> {
        loader.memory().unwrap().shared.into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(&loader), ["events", "processes", "active", "policy_counters"]);
    let mut limited = artefact(Flavour::Fentry, "f", &["p"], 1);
    limited.relocs[0].index = SharedMap::RateLimit as u32;
    loader.apply(&[limited]);
    assert_eq!(names(&loader), ["events", "processes", "active", "policy_counters", "rate_limit"]);
    let memory = loader.memory().unwrap();
    assert_eq!(memory.hooks[0].total(), 4096 + 72 + 4);
}

#[test]
fn a_replaced_program_can_be_decoded_for_a_while() {
    let kernel = FakeKernel::new();
    let mut loader = loader(&kernel);
    let start = Instant::now();
    loader.apply_at(&BTreeSet::new(), &[artefact(Flavour::Fentry, "f", &["p"], 1)], start);
    loader.apply_at(&BTreeSet::new(), &[artefact(Flavour::Fentry, "f", &["p"], 2)], start);
    assert!(loader.schemas().get(1).is_some());
    loader.apply_at(&BTreeSet::new(), &[], start + Duration::from_secs(120));
    assert!(loader.schemas().get(1).is_none());
    assert!(loader.schemas().get(2).is_some());
}

#[test]
fn a_program_is_switched_on_only_when_its_process_sets_are_true() {
    let kernel = FakeKernel::new();
    let mut loader = loader(&kernel);
    loader.apply(&[with_set(artefact(Flavour::Fentry, "f", &["p"], 1), &["/bin/a"])]);
    let updated: Vec<&str> = kernel
        .take_journal()
        .into_iter()
        .filter_map(|happening| match happening {
            Happening::Updated(name, ..) => Some(name),
            _ => None,
        })
        .filter(|name| *name != "policy_values")
        .collect();
    assert_eq!(updated, ["prefix", "config", "active"]);
    loader.apply(&[]);
    assert!(kernel.entries("prefix").is_empty());
}

#[test]
fn process_sets_that_do_not_fit_harm_only_their_own_program() {
    let kernel = FakeKernel::new();
    let mut loader = loader(&kernel);
    let many: Vec<String> = (0..40).map(|number| format!("/bin/{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let desired = [
        with_set(artefact(Flavour::Fentry, "large", &["p"], 1), &many),
        with_set(artefact(Flavour::Fentry, "small", &["q"], 1), &["/bin/a"]),
    ];
    let report = loader.apply(&desired);
    assert_eq!(outcomes(&report), [("fentry:large".into(), "failed"), ("fentry:small".into(), "installed")]);
    let text = report.failures().next().unwrap().1.to_string();
    assert!(text.contains("`binary_exact_prefix` failed with ENOSPC"), "{text}");
    assert_eq!(kernel.entries("prefix").len(), 1);
    assert_eq!(kernel.attached().len(), 1);
}

#[test]
fn skipped_calls_are_counted_by_hook_over_all_its_programs() {
    let kernel = FakeKernel::new();
    let mut loader = loader(&kernel);
    let other = artefact(Flavour::Fexit, "g", &["q"], 1);
    loader.apply(&[artefact(Flavour::Fentry, "f", &["p"], 1)]);
    assert!(loader.missed().unwrap().is_empty());
    kernel.skip_calls(3);
    loader.apply(&[artefact(Flavour::Fentry, "f", &["p"], 2), other.clone()]);
    kernel.skip_calls(4);
    let missed = |loader: &TestLoader| -> Vec<(String, u64)> {
        loader.missed().unwrap().iter().map(|(hook, calls)| (hook.to_string(), *calls)).collect()
    };
    assert_eq!(missed(&loader), [("fentry:f".to_owned(), 7), ("fexit:g".to_owned(), 4)]);
    loader.apply(&[other]);
    assert_eq!(missed(&loader), [("fentry:f".to_owned(), 7), ("fexit:g".to_owned(), 4)]);
}

fn pinned_loader(kernel: &FakeKernel, root: &std::path::Path) -> (TestLoader, PinDirectory) {
    let pins = PinDirectory::create(root).unwrap();
    let mut loader = loader(kernel);
    loader.pin_to(pins.clone());
    (loader, pins)
}

fn pins_in(root: &std::path::Path, kind: &str) -> usize {
    let instances = std::fs::read_dir(root.join("v1")).into_iter().flatten().flatten();
    let pins = instances.flat_map(|instance| std::fs::read_dir(instance.path()).unwrap().flatten());
    pins.filter(|pin| pin.file_name().to_str().unwrap().starts_with(kind)).count()
}

#[test]
fn a_successor_attaches_before_its_predecessor_lets_go() {
    let (root, kernel) = (tempfile::tempdir().unwrap(), FakeKernel::new());
    let set = [artefact(Flavour::Fentry, "f", &["p"], 1), artefact(Flavour::Lsm, "g", &["q"], 1)];
    let (mut first, _) = pinned_loader(&kernel, root.path());
    assert_eq!(first.apply(&set).failures().count(), 0);
    drop(first); // As a crash does.
    assert_eq!((kernel.attached().len(), pins_in(root.path(), "hook-")), (2, 2));
    let (mut second, pins) = pinned_loader(&kernel, root.path());
    second.apply(&set);
    assert_eq!(kernel.attached().len(), 4);
    assert_eq!(pins.remove_others().unwrap(), 4, "of two hooks and two policies");
    assert_eq!((kernel.attached().len(), pins_in(root.path(), "hook-")), (2, 2));
    second.leave();
    assert_eq!(kernel.attached().len(), 2);
    crate::pins::remove_all(root.path()).unwrap();
    assert!(kernel.attached().is_empty());
}

#[test]
fn a_replaced_or_removed_program_leaves_no_pin() {
    let (root, kernel) = (tempfile::tempdir().unwrap(), FakeKernel::new());
    let (mut loader, _) = pinned_loader(&kernel, root.path());
    loader.apply(&[artefact(Flavour::Fentry, "f", &["p"], 1)]);
    let report =
        loader.apply(&[artefact(Flavour::Fentry, "f", &["p"], 2), artefact(Flavour::Fentry, "g", &["q"], 1)]);
    assert!(report.leftovers.is_empty());
    assert_eq!((pins_in(root.path(), "hook-"), kernel.attached().len()), (2, 2));
    // One that is never active, too.
    kernel.fail(Call::MapUpdate, 1, Errno::ENOMEM);
    loader.apply(&[artefact(Flavour::Fentry, "f", &["p"], 3)]);
    assert_eq!((pins_in(root.path(), "hook-"), kernel.attached().len()), (1, 1));
    assert!(loader.close().is_empty());
    assert_eq!((pins_in(root.path(), ""), kernel.attached().len()), (0, 0));
}

#[test]
fn a_program_that_cannot_stay_is_told_and_runs() {
    let (root, kernel) = (tempfile::tempdir().unwrap(), FakeKernel::new());
    let (mut loader, _) = pinned_loader(&kernel, root.path());
    kernel.fail(Call::Pin, 1, Errno::EOPNOTSUPP);
    let report = loader.apply(&[artefact(Flavour::Kprobe, "f", &["p"], 1)]);
    assert_eq!(report.failures().count(), 0);
    let unpinned: Vec<_> = loader.unpinned().into_iter().map(|(hook, errno)| (hook.target, errno)).collect();
    assert_eq!(unpinned, [("f".to_owned(), Errno::EOPNOTSUPP)]);
    assert_eq!((kernel.attached().len(), pins_in(root.path(), "hook-")), (1, 0));
    loader.leave();
    assert!(kernel.attached().is_empty());
}

#[test]
fn what_runs_already_need_not_be_given_again() {
    let kernel = FakeKernel::new();
    let mut loader = loader(&kernel);
    let [f, g] = [artefact(Flavour::Fentry, "f", &["p"], 1), artefact(Flavour::Fentry, "g", &["q"], 1)];
    loader.apply(&[f.clone(), g.clone()]);
    let attached = kernel.attached();
    let h = artefact(Flavour::Fentry, "h", &["p"], 1);
    let report = loader.apply_beside(&BTreeSet::from([f.digest()]), std::slice::from_ref(&h));
    let outcomes: Vec<_> =
        report.hooks.iter().map(|hook| (hook.hook.target.as_str(), &hook.outcome)).collect();
    assert_eq!(outcomes, [("f", &Outcome::Unchanged), ("g", &Outcome::Removed), ("h", &Outcome::Installed)]);
    assert!(attached.first().is_some_and(|first| kernel.attached().contains(first)));
    // A kept hook and a new program for it contradict each other.
    let other = artefact(Flavour::Fentry, "f", &["p"], 2);
    let report = loader.apply_beside(&BTreeSet::from([f.digest(), h.digest()]), &[other]);
    assert!(report.failures().all(|(_, failure)| failure.reason == FailureReason::Duplicate));
    assert_eq!(loader.installed().iter().find(|hook| hook.hook.target == "f").unwrap().digest, f.digest());
}

#[test]
fn counts_of_a_policy_that_comes_back_go_on() {
    let kernel = FakeKernel::new();
    let mut loader = loader(&kernel);
    let set = [artefact(Flavour::Fentry, "f", &["p"], 1), artefact(Flavour::Fentry, "g", &["q"], 1)];
    let matched = |loader: &TestLoader| {
        let counts = loader.counters().unwrap();
        counts.iter().find(|counts| counts.policy.name == "p").map(|counts| counts.values[0])
    };
    for round in 1..=3u64 {
        loader.apply(&set);
        assert_eq!(matched(&loader), Some((round - 1) * 5));
        let index = loader.shared.policies.iter().find(|(policy, _)| policy.name == "p").unwrap().1;
        let mut values = [0u8; COUNTERS_SIZE as usize];
        values[0] = u8::try_from(round * 5).unwrap();
        let map = loader.shared.maps.existing(SharedMap::PolicyCounters).unwrap();
        kernel.map_update(map, &index.to_ne_bytes(), &values).unwrap();
        assert_eq!(matched(&loader), Some(round * 5));
        loader.apply(&set[1..]);
        assert_eq!(matched(&loader), None);
    }
}

#[test]
fn a_successor_goes_on_counting() {
    let (root, kernel) = (tempfile::tempdir().unwrap(), FakeKernel::new());
    let policies = ["p.with.dots", "q"];
    let set = [artefact(Flavour::Fentry, "f", &policies, 1)];
    for life in 0..3u64 {
        let (mut loader, pins) = pinned_loader(&kernel, root.path());
        loader.apply(&set);
        pins.remove_others().unwrap();
        assert_eq!((pins_in(root.path(), "hook-"), pins_in(root.path(), "counts-")), (1, 2));
        let matched: Vec<_> = loader.counters().unwrap().iter().map(|counts| counts.values[0]).collect();
        assert_eq!(matched, [life * 7, 0], "life {life}");
        let name = PolicyName { namespace: String::new(), name: policies[0].into() };
        let index = loader.shared.policies.index(&name).unwrap();
        let mut values = [0u8; COUNTERS_SIZE as usize];
        values[0] = u8::try_from(life * 7 + 7).unwrap();
        let map = loader.shared.maps.existing(SharedMap::PolicyCounters).unwrap();
        kernel.map_update(map, &index.to_ne_bytes(), &values).unwrap();
    }
}
