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
use crate::scenario::Scenario;
use crate::world::World;
use crate::world::argument::ArgSpec;
use api::artefact::Flavour;

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
