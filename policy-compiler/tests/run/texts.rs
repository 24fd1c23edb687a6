//! In: policies with many tests on one text, and long texts. Out: compiled programs agree with the evaluator, and both
//! with what the case says.

use policy_compiler::reference::{EventFate, Match, Process};
use policy_compiler::typed::{HookPoint, TypedPolicy};
use policy_compiler::{Kernel, compile};

use crate::document::{on_files, policies};
use crate::node::Node;
use crate::places::surroundings;
use crate::profile::Variant;
use crate::properties::told;
use crate::record::decode;
use crate::scenario::Scenario;
use crate::world::World;
use crate::world::argument::ArgSpec;
use crate::world::files::ROOT;
use api::artefact::{Flavour, PolicyCounter};

/// Selectors (policy, selector) that report an access to `path`.
fn reports(policies: &[TypedPolicy], variant: Variant, path: &str) -> Vec<(usize, Option<usize>)> {
    let kernel = Kernel::new(variant.profile()).expect("the fixture is BTF");
    let compiled = compile(policies, &kernel);
    assert_eq!(compiled.accepted.len(), policies.len(), "{:?}", compiled.diagnostics);
    let mut node = Node::new(&compiled.artefacts, surroundings(Flavour::Fentry)).expect("loads");
    let access = |world: &mut World<'_>| Scenario {
        point: HookPoint::Kprobe { function: "security_file_permission".to_owned() },
        args: vec![ArgSpec::File(world.open(path, 0o100_644)), ArgSpec::Int(4)],
        ret: 0,
        process: Process { tgid: 100, tid: 100, known: true, ..Process::default() },
        time: 1_000_000_000,
    };
    let matches = told(&kernel, policies, &mut node, &access).unwrap_or_else(|what| panic!("{path}: {what}"));
    let posted = |found: &Match| found.event == EventFate::Posted;
    matches.iter().filter(|found| posted(found)).map(|found| (found.policy, found.selector)).collect()
}

#[test]
fn no_selector_loses_its_filters_however_many_there_are() {
    let selector = |i: usize| {
        format!(
            "    - matchArgs:\n      - {{index: 0, operator: Prefix, values: [\"/d{i}/\"]}}\n      - {{index: 0, \
             operator: NotPrefix, values: [\"/d{i}/no/\"]}}\n"
        )
    };
    let policy =
        |p: usize| on_files(&format!("p{p}"), &(0..5).map(|s| selector(5 * p + s)).collect::<String>());
    let policies = policies(&(0..7).map(policy).collect::<String>());
    for variant in [Variant::Trampolines6, Variant::Probes6] {
        assert_eq!(reports(&policies, variant, "/elsewhere/x"), []);
        for i in 0..35 {
            assert_eq!(reports(&policies, variant, &format!("/d{i}/no/x")), []);
            assert_eq!(reports(&policies, variant, &format!("/d{i}/yes")), [(i / 5, Some(i % 5))]);
        }
    }
}

/// One selector of a policy on files.
fn one(operator: &str, value: &str) -> String {
    format!("    - matchArgs:\n      - {{index: 0, operator: {operator}, values: [\"{value}\"]}}\n")
}

#[test]
fn the_start_of_a_path_that_is_too_deep_is_never_taken_for_another() {
    let deep = format!("/srv{}/etc/passwd", "/etc".repeat(200));
    // What is left of it begins with /etc, too.
    let cut = format!("{}/etc/passwd", "/etc".repeat(126));
    let many = (0..16).map(|i| format!("/opt{i}/")).collect::<Vec<_>>().join("\", \"");
    for variant in [Variant::Trampolines6, Variant::Trampolines7, Variant::Probes6] {
        for more in ["", &format!("\", \"{many}")] {
            let reported = |operator: &str, value: &str| {
                let text = on_files("deep", &one(operator, &format!("{value}{more}")));
                !reports(&policies(&text), variant, &deep).is_empty()
            };
            assert!(!reported("Prefix", "/etc/"), "{variant:?}");
            assert!(!reported("Equal", &cut) && !reported("Equal", &deep));
            assert!(reported("NotPrefix", "/etc/") && reported("NotPrefix", "/srv/"));
            assert!(reported("NotEqual", &cut));
            assert!(reported("Postfix", "/etc/passwd") && !reported("NotPostfix", "/etc/passwd"));
        }
    }
}

#[test]
fn undecided_tests_are_counted_for_their_policy() {
    let kernel = Kernel::new(Variant::Trampolines6.profile()).expect("the fixture is BTF");
    let text = [on_files("start", &one("Prefix", "/etc/")), on_files("end", &one("Postfix", "/x"))].concat();
    let compiled = compile(&policies(&text), &kernel);
    let mut node = Node::new(&compiled.artefacts, surroundings(Flavour::Fentry)).expect("loads");
    for (path, lost) in [("/etc/passwd".to_owned(), 0), ("/d".repeat(300), 1)] {
        let mut world = World::new(&kernel.btf);
        let args = vec![ArgSpec::File(world.open(&path, 0o100_644)), ArgSpec::Int(4)];
        let process = Process { tgid: 100, tid: 100, known: true, ..Process::default() };
        let point = HookPoint::Kprobe { function: "security_file_permission".to_owned() };
        let scenario = Scenario { point, args, ret: 0, process, time: 1 };
        scenario.run(&mut node, &kernel, world, ROOT).expect("runs");
        assert_eq!(node.counters("", "start")[PolicyCounter::LostScratch as usize], lost, "{path}");
        assert_eq!(node.counters("", "end")[PolicyCounter::LostScratch as usize], 0, "{path}");
    }
}

#[test]
fn a_buffer_that_goes_on_behind_a_nul_is_equal_to_no_value_that_ends_there() {
    let values = (0..20).map(|i| format!("\"v{i}\"")).collect::<Vec<_>>();
    let text = format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: b}}\nspec:\n  kprobes:\n  - call: \
         kernel_write\n    syscall: false\n    args: [{{index: 1, type: char_buf, sizeArgIndex: 3}}]\n    selectors:\n    \
         - matchArgs: [{{index: 1, operator: Equal, values: [{}]}}]\n",
        values.join(", ")
    );
    let policies = policies(&text);
    let kernel = Kernel::new(Variant::Trampolines6.profile()).expect("the fixture is BTF");
    let compiled = compile(&policies, &kernel);
    for (bytes, expected) in [(&b"v7"[..], 1), (b"v7\0and more", 0), (b"v7\0", 0), (b"v", 0)] {
        let mut node = Node::new(&compiled.artefacts, surroundings(Flavour::Fentry)).expect("loads");
        let write = |_: &mut World<'_>| Scenario {
            point: HookPoint::Kprobe { function: "kernel_write".to_owned() },
            args: vec![
                ArgSpec::Null,
                ArgSpec::Buffer { bytes: bytes.to_vec(), user: false },
                ArgSpec::Int(bytes.len() as u64),
                ArgSpec::Int(0),
            ],
            ret: 0,
            process: Process { tgid: 100, tid: 100, known: true, ..Process::default() },
            time: 1_000_000_000,
        };
        let matches = told(&kernel, &policies, &mut node, &write).unwrap_or_else(|what| panic!("{what}"));
        assert_eq!(matches.len(), expected, "{bytes:?}");
    }
}

#[test]
fn a_path_with_a_part_that_cannot_be_read_is_cut_there() {
    for variant in [Variant::Trampolines6, Variant::Trampolines7, Variant::Probes6] {
        let kernel = Kernel::new(variant.profile()).expect("the fixture is BTF");
        let text =
            [on_files("start", &one("Prefix", "/b/")), on_files("any", &one("NotPrefix", "/b/"))].concat();
        let compiled = compile(&policies(&text), &kernel);
        let mut node = Node::new(&compiled.artefacts, surroundings(Flavour::Fentry)).expect("loads");
        let mut world = World::new(&kernel.btf);
        let place = world.open("/srv/b/c", 0o100_644);
        let above = world.open("/srv/b", 0o040_755);
        world.lose_parent(above);
        let process = Process { tgid: 100, tid: 100, known: true, ..Process::default() };
        let point = HookPoint::Kprobe { function: "security_file_permission".to_owned() };
        let args = vec![ArgSpec::File(place), ArgSpec::Int(4)];
        let scenario = Scenario { point, args, ret: 0, process, time: 1 };
        let told = scenario.run(&mut node, &kernel, world, ROOT).expect("runs");
        let records: Vec<_> = told.deeds.iter().flat_map(|deed| &deed.deeds.records).collect();
        assert_eq!(records.len(), 1, "{variant:?}");
        let record = decode(records[0]).expect("a record");
        let path = record.args.iter().find(|arg| arg.kind == 3).expect("the path");
        assert!(path.truncated && path.payload.ends_with(b"/b/c"), "{variant:?}: {path:?}");
        let counters = ["start", "any"].map(|name| node.counters("", name)[PolicyCounter::Post as usize]);
        assert_eq!(counters, [0, 1], "{variant:?}");
    }
}
