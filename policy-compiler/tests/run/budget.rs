//! In: calls that no policy is about, and one that is. Out: how many eBPF instructions they cost; helpers count as one.
//!
//! The costs on real kernels are measured elsewhere; this notices at once when a change makes the common case dear.

use api::artefact::Flavour;
use policy_compiler::check::check_yaml;
use policy_compiler::reference::Process;
use policy_compiler::typed::{HookPoint, TypedPolicy};
use policy_compiler::{Kernel, compile};

use crate::node::Node;
use crate::places::surroundings;
use crate::profile::Variant;
use crate::scenario::Scenario;
use crate::world::World;
use crate::world::argument::ArgSpec;
use crate::world::files::ROOT;

fn policy(name: &str, hook: &str, filter: &str) -> TypedPolicy {
    let text = format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}}}\nspec:\n  {hook}\n    \
         selectors:\n    - matchArgs:\n      - {filter}\n"
    );
    let checked = check_yaml(&text).remove(0);
    checked.policy.unwrap_or_else(|| panic!("{:?}\n{text}", checked.diagnostics))
}

/// Instructions of one call on a kernel with everything.
fn cost(
    policies: &[TypedPolicy],
    point: HookPoint,
    args: impl Fn(&mut World<'_>) -> Vec<ArgSpec>,
) -> (u64, usize) {
    let kernel = Kernel::new(Variant::Trampolines7.profile()).expect("the fixture is BTF");
    let compiled = compile(policies, &kernel);
    assert_eq!(compiled.artefacts.len(), 1, "{:?}", compiled.diagnostics);
    let mut node = Node::new(&compiled.artefacts, surroundings(Flavour::Fentry)).expect("loads");
    let mut world = World::new(&kernel.btf);
    let args = args(&mut world);
    let process = Process { tgid: 100, tid: 100, known: true, ..Process::default() };
    let scenario = Scenario { point, args, ret: 0, process, time: 1_000_000_000 };
    let told = scenario.run(&mut node, &kernel, world, ROOT).expect("runs");
    (told.deeds[0].instructions, told.deeds[0].deeds.records.len())
}

const FILES: &str = "kprobes:\n  - call: security_file_permission\n    syscall: false\n    args:\n    - {index: 0, \
                     type: file}\n    - {index: 1, type: int}";

fn read_cost(policies: &[TypedPolicy], path: &str) -> (u64, usize) {
    let point = HookPoint::Kprobe { function: "security_file_permission".to_owned() };
    cost(policies, point, |world| vec![ArgSpec::File(world.open(path, 0o100_644)), ArgSpec::Int(4)])
}

fn watching(directory: &str) -> TypedPolicy {
    let name = directory.trim_matches('/').replace('/', "-");
    policy(&name, FILES, &format!("{{index: 0, operator: Prefix, values: [\"{directory}\"]}}"))
}

#[test]
fn a_file_outside_the_watched_directory_costs_little() {
    let (instructions, events) = read_cost(&[watching("/etc/")], "/usr/lib/some/where/libc.so.6");
    assert_eq!(events, 0);
    assert!(instructions <= 120, "{instructions} instructions");
}

#[test]
fn the_cost_of_a_file_that_nobody_watches_hardly_grows_with_policies() {
    let many: Vec<_> = (0..50).map(|i| watching(&format!("/opt{i}/data/"))).collect();
    let (instructions, events) = read_cost(&many, "/usr/lib/some/where/libc.so.6");
    assert_eq!(events, 0);
    assert!(instructions <= 250, "{instructions} instructions");
}

#[test]
fn a_matching_read_gives_one_event_and_stays_within_its_budget() {
    let (instructions, events) = read_cost(&[watching("/etc/")], "/etc/passwd");
    assert_eq!(events, 1);
    assert!(instructions <= 500, "{instructions} instructions");
}

#[test]
fn a_system_call_that_is_filtered_by_number_costs_next_to_nothing() {
    let hook = "tracepoints:\n  - subsystem: raw_syscalls\n    event: sys_enter\n    args:\n    - {index: 4, type: \
                syscall64}";
    let filtered = policy("raw", hook, "{index: 4, operator: InMap, values: [\"59\"]}");
    let point = HookPoint::Tracepoint { subsystem: "raw_syscalls".to_owned(), event: "sys_enter".to_owned() };
    let (instructions, events) = cost(&[filtered], point, |_| vec![ArgSpec::Int(39), ArgSpec::Int(0)]);
    assert_eq!(events, 0);
    assert!(instructions <= 60, "{instructions} instructions");
}
