//! In: system calls through both entries. Out: which of them a policy sees.

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

/// Events of a policy on write(2) of one call with its number.
fn seen(compat: bool) -> u64 {
    let text = "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: p}\nspec:\n  kprobes:\n  - {call: \
                sys_write, syscall: true, args: [{index: 0, type: int}]}\n";
    let kernel = Kernel::new(Variant::Tracepoints7.profile()).expect("the fixture is BTF");
    let compiled = compile(&policies(text), &kernel);
    let mut node = Node::new(&compiled.artefacts, surroundings(Flavour::TpBtf)).expect("loads");
    let mut world = World::new(&kernel.btf);
    world.compat = compat;
    let point = HookPoint::Syscall { name: "write".to_owned() };
    let process = Process { tgid: 100, tid: 100, known: true, ..Process::default() };
    let scenario = Scenario { point, args: vec![ArgSpec::Int(1); 3], ret: 0, process, time: 1_000_000_000 };
    scenario.run(&mut node, &kernel, world, ROOT).expect("runs");
    node.counters("", "p")[PolicyCounter::Post as usize]
}

#[test]
fn a_32_bit_call_of_the_same_number_is_another_call() {
    assert_eq!((seen(false), seen(true)), (1, 0));
}
