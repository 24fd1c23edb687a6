//! In: tests on fields of tracepoints whose type only the kernel knows. Out: compiled programs agree with the evaluator.

use api::artefact::Flavour;
use policy_compiler::reference::{EventFate, Process};
use policy_compiler::typed::HookPoint;
use policy_compiler::{Kernel, compile};

use crate::document::policies;
use crate::node::Node;
use crate::places::surroundings;
use crate::profile::Variant;
use crate::properties::told;
use crate::scenario::Scenario;
use crate::world::World;
use crate::world::argument::ArgSpec;

/// Whether a value of the field of type s64 is in this set.
fn listed(values: &str, value: u64) -> bool {
    let text = format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: p}}\nspec:\n  tracepoints:\n  - subsystem: \
         fixture\n    event: shapes\n    args: [{{index: 10, type: auto}}]\n    selectors:\n    - matchArgs: [{{index: 10, \
         operator: InMap, values: [{values}]}}]\n"
    );
    let policies = policies(&text);
    let kernel = Kernel::new(Variant::Trampolines6.profile()).expect("the fixture is BTF");
    let compiled = compile(&policies, &kernel);
    assert_eq!(compiled.accepted.len(), 1, "{:?}", compiled.diagnostics);
    let mut node = Node::new(&compiled.artefacts, surroundings(Flavour::Tracepoint)).expect("loads");
    let call = |_: &mut World<'_>| {
        let mut args = vec![ArgSpec::Int(0); 8];
        args[6] = ArgSpec::Int(value);
        Scenario {
            point: HookPoint::Tracepoint { subsystem: "fixture".to_owned(), event: "shapes".to_owned() },
            args,
            ret: 0,
            process: Process { tgid: 100, tid: 100, known: true, ..Process::default() },
            time: 1_000_000_000,
        }
    };
    let matches = told(&kernel, &policies, &mut node, &call).unwrap_or_else(|what| panic!("{value}: {what}"));
    matches.iter().any(|found| found.event == EventFate::Posted)
}

#[test]
fn sets_of_a_signed_field_are_searched_in_its_order() {
    let bits = "\"1\", \"3\", \"5\", \"7\", \"9\", \"18446744073709551611\", \"18446744073709551615\"";
    let negative = "\"1\", \"3\", \"5\", \"7\", \"9\", \"-5\", \"-1\"";
    for values in [bits, negative] {
        for value in [1, 3, 5, 7, 9, u64::MAX, u64::MAX - 4] {
            assert!(listed(values, value), "{value} in {values}");
        }
        for value in [0, 2, 10, u64::MAX - 1, u64::MAX - 5, 1 << 63] {
            assert!(!listed(values, value), "{value} in {values}");
        }
    }
}
