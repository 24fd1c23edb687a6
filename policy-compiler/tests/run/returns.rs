//! In: functions that return less than a register holds, and buffers that are filled. Out: what programs at return and at
//! entry make of them.

use api::artefact::{Flavour, PolicyCounter};
use policy_compiler::reference::Process;
use policy_compiler::typed::HookPoint;
use policy_compiler::{Kernel, compile};

use crate::document::policies;
use crate::node::Node;
use crate::places::surroundings;
use crate::profile::Variant;
use crate::scenario::Scenario;
use crate::world::World;
use crate::world::argument::ArgSpec;
use crate::world::files::ROOT;

fn document(hook: &str) -> String {
    format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: p}}\nspec:\n  kprobes:\n{hook}"
    )
}

/// Runs a policy's programs on one call; gives the counters.
fn run(variant: Variant, hook: &str, function: &str, args: Vec<ArgSpec>, ret: u64) -> Vec<u64> {
    let kernel = Kernel::new(variant.profile()).expect("the fixture is BTF");
    let compiled = compile(&policies(&document(hook)), &kernel);
    assert_eq!(compiled.accepted.len(), 1, "{:?}", compiled.diagnostics);
    let mut node = Node::new(&compiled.artefacts, surroundings(Flavour::Fentry)).expect("loads");
    let point = HookPoint::Kprobe { function: function.to_owned() };
    let process = Process { tgid: 100, tid: 100, known: true, ..Process::default() };
    let scenario = Scenario { point, args, ret, process, time: 1_000_000_000 };
    scenario.run(&mut node, &kernel, World::new(&kernel.btf), ROOT).expect("runs");
    node.counters("", "p").to_vec()
}

const VARIANTS: [Variant; 2] = [Variant::Trampolines6, Variant::Probes6];

#[test]
fn a_return_value_is_extended_by_its_own_type() {
    let posts = |function: &str, ty: &str, ret: u64, value: &str| {
        let hook = format!(
            "  - call: {function}\n    syscall: false\n    return: true\n    returnArg: {{index: 0, type: {ty}}}\n    \
             selectors:\n    - matchReturnArgs: [{{index: 0, operator: Equal, values: [\"{value}\"]}}]\n"
        );
        let posts = VARIANTS.map(|variant| {
            let args = if function.starts_with("security_") { 2 } else { 1 };
            run(variant, &hook, function, vec![ArgSpec::Int(1); args], ret)[PolicyCounter::Post as usize]
        });
        assert_eq!(posts[0], posts[1]);
        posts[0] == 1
    };
    // The upper bits of the register are whatever was there.
    let noise = 0xdead_beef_dead_be00;
    assert!(posts("fixture_returns_s8", "int64", noise | 0xff, "-1"));
    assert!(posts("fixture_returns_s8", "int", noise | 0xff, "-1"));
    assert!(posts("fixture_returns_s8", "uint32", noise | 0xff, "4294967295"));
    assert!(posts("fixture_returns_u32", "size_t", 0xdead_beef_ffff_ffff, "4294967295"));
    assert!(posts("fixture_returns_u32", "int", 0xdead_beef_ffff_ffff, "-1"));
    assert!(posts("security_file_permission", "long", 0xdead_beef_ffff_fff3, "-13"));
    assert!(!posts("security_file_permission", "long", 0xdead_beef_ffff_fff3, "4294967283"));
}

#[test]
fn a_buffer_that_is_filled_cannot_be_read_at_entry_where_enforcement_happens() {
    use PolicyCounter::{Post, Signal};
    let hook = |filter: &str| {
        format!(
            "  - call: vfs_read\n    syscall: false\n    args: [{{index: 1, type: char_buf, returnCopy: true}}]\n    return: \
             true\n    returnArg: {{index: 0, type: long}}\n    selectors:\n    - matchArgs: [{filter}]\n      matchActions: \
             [{{action: Sigkill}}]\n    - matchActions: [{{action: Signal, argSig: 10}}]\n"
        )
    };
    let args = || {
        let buffer = ArgSpec::Buffer { bytes: b"secret".to_vec(), user: false };
        vec![ArgSpec::Null, buffer, ArgSpec::Int(6), ArgSpec::Int(0)]
    };
    for filter in
        ["{index: 1, operator: Equal, values: [secret]}", "{index: 1, operator: NotEqual, values: [x]}"]
    {
        for variant in VARIANTS {
            let counters = run(variant, &hook(filter), "vfs_read", args(), 6);
            // At entry the second selector; at return the first, with its event.
            assert_eq!((counters[Signal as usize], counters[Post as usize]), (1, 1), "{variant:?} {filter}");
        }
    }
}

#[test]
fn a_return_whose_entry_was_not_seen_is_counted_for_those_that_need_the_arguments() {
    use PolicyCounter::{LostScratch, Match, Post};
    let hook = |args: &str| {
        document(&format!(
            "  - {{call: vfs_read, syscall: false, args: [{args}], return: true, returnArg: {{index: 0, type: long}}}}\n"
        ))
    };
    let needs = hook("{index: 0, type: file}").replace("name: p", "name: needs");
    let text = format!("{needs}---\n{}", hook(""));
    let kernel = Kernel::new(Variant::Probes6.profile()).expect("the fixture is BTF");
    let compiled = compile(&policies(&text), &kernel);
    for seen in [true, false] {
        let mut node = Node::new(&compiled.artefacts, surroundings(Flavour::Kprobe)).expect("loads");
        node.programs.retain(|program| seen || program.flavour == Flavour::Kretprobe);
        let point = HookPoint::Kprobe { function: "vfs_read".to_owned() };
        let process = Process { tgid: 100, tid: 100, known: true, ..Process::default() };
        let mut world = World::new(&kernel.btf);
        let file = ArgSpec::File(world.open("/etc/passwd", 0o100_644));
        let args = vec![file, ArgSpec::Null, ArgSpec::Int(6), ArgSpec::Int(0)];
        let scenario = Scenario { point, args, ret: 6, process, time: 1_000_000_000 };
        scenario.run(&mut node, &kernel, world, ROOT).expect("runs");
        let counters = |name: &str| [Match, Post, LostScratch].map(|it| node.counters("", name)[it as usize]);
        assert_eq!(counters("p"), [1, 1, 0]);
        assert_eq!(counters("needs"), if seen { [1, 1, 0] } else { [0, 0, 1] });
    }
}
