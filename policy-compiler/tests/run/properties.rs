//! In: random policies and random calls. Out: the compiled programs do what the evaluator says, on each kind of
//! kernel.

use policy_compiler::reference::{Evaluator, Match};
use policy_compiler::typed::{HookPoint, TypedPolicy};
use policy_compiler::{Kernel, compile};
use proptest::prelude::*;

use crate::choices::Choices;
use crate::compare::{Comparison, all_counters, describe};
use crate::node::Node;
use crate::places::surroundings;
use crate::profile::{VARIANTS, Variant};
use crate::random::calls::scenario;
use crate::random::policies::{Allowed, policies};
use crate::random::pools::plant;
use crate::random::shapes::{Shape, shapes};
use crate::scenario::Scenario;
use crate::world::World;
use crate::world::files::{Place, ROOT};
use api::artefact::Flavour;

/// Whether this kind of kernel reaches the hook at all.
pub fn reachable(variant: Variant, shape: &Shape) -> bool {
    match shape.point {
        HookPoint::Lsm { .. } => !matches!(variant, Variant::Probes6 | Variant::Tracepoints7),
        HookPoint::Kprobe { .. } => variant != Variant::Tracepoints7,
        _ => true,
    }
}

/// What policies may ask of this hook on this kind of kernel.
pub fn allowed(variant: Variant, shape: &Shape) -> Allowed {
    let function = matches!(shape.point, HookPoint::Kprobe { .. } | HookPoint::Syscall { .. });
    let syscall = matches!(shape.point, HookPoint::Syscall { .. });
    let overrides = match variant {
        Variant::Trampolines6 => shape.overridable,
        Variant::Trampolines7 => shape.overridable || syscall,
        Variant::Probes6 => syscall,
        Variant::Tracepoints7 => false,
    };
    // It returns nothing.
    let void = matches!(&shape.point, HookPoint::Kprobe { function } if function == "fd_install");
    let returns = function && !void && variant != Variant::Tracepoints7;
    Allowed { overrides, returns, enforcement: true }
}

/// Compiles policies and makes calls; `Err` tells the first difference.
fn agree(
    kernel: &Kernel,
    policies: &[TypedPolicy],
    world: &World<'_>,
    root: Place,
    calls: impl IntoIterator<Item = Scenario>,
) -> Result<(), String> {
    let compiled = compile(policies, kernel);
    if let Some(problem) = compiled.diagnostics.values().flatten().find(|problem| problem.is_error()) {
        return Err(format!("does not compile: {problem}"));
    }
    let mut node = Node::new(&compiled.artefacts, surroundings(Flavour::Fentry))
        .map_err(|trap| format!("does not load: {trap}"))?;
    let mut evaluator = Evaluator::default();
    for scenario in calls {
        compare(kernel, policies, (&mut node, &mut evaluator), &scenario, world.clone(), root)?;
    }
    Ok(())
}

/// Makes one call and compares; gives what the evaluator says.
fn compare(
    kernel: &Kernel,
    policies: &[TypedPolicy],
    (node, evaluator): (&mut Node, &mut Evaluator),
    scenario: &Scenario,
    world: World<'_>,
    root: Place,
) -> Result<Vec<Match>, String> {
    let before = all_counters(node, policies);
    let told = scenario.run(node, kernel, world, root).map_err(|trap| format!("{trap}\n{scenario:?}"))?;
    let expected = evaluator.call(policies, |hook| hook.point == scenario.point, &told.call);
    let comparison = Comparison {
        policies,
        node,
        call: &told.call,
        deeds: &told.deeds,
        expected: &expected,
        before: &before,
    };
    comparison.check().map_err(|what| {
        format!("{what}\nexpected {expected:?}\n{scenario:?}\nvalues {:?}", told.call.args)
    })?;
    Ok(expected)
}

/// Makes the call that `describe` plants in a world; gives what both sides say of it.
pub fn told(
    kernel: &Kernel,
    policies: &[TypedPolicy],
    node: &mut Node,
    describe: &dyn Fn(&mut World<'_>) -> Scenario,
) -> Result<Vec<Match>, String> {
    let mut world = World::new(&kernel.btf);
    let scenario = describe(&mut world);
    compare(kernel, policies, (node, &mut Evaluator::default()), &scenario, world, ROOT)
}

/// `planted`: files of all cases, as [`plant`] gives them.
fn one_case(
    variant: Variant,
    kernel: &Kernel,
    planted: &(World<'_>, Vec<Place>, [Place; 2]),
    entropy: &[u8],
) -> Result<(), String> {
    let (world, places, roots) = planted;
    let mut choices = Choices::new(entropy);
    let shapes: Vec<Shape> = shapes().into_iter().filter(|shape| reachable(variant, shape)).collect();
    let mut shape = choices.of(&shapes);
    shape.wild = variant == Variant::Probes6;
    let calls = 1 + choices.below(4);
    let root = roots[usize::from(choices.rarely(6))];
    let policies = policies(&mut choices, &shape, allowed(variant, &shape));
    let scenarios: Vec<Scenario> = (0..calls)
        .map(|call| scenario(&mut choices, &shape, places, 1_000_000_000 * (10 + 3 * call as u64)))
        .collect();
    agree(kernel, &policies, world, root, scenarios)
        .map_err(|what| format!("{what}\n{}", describe(&policies)))
}

/// Random bytes; each case is a policy set and up to four calls.
fn run(variant: Variant) {
    let kernel = Kernel::new(variant.profile()).expect("the fixture is BTF");
    let mut world = World::new(&kernel.btf);
    let (places, roots) = plant(&mut world);
    let planted = (world, places, roots);
    let cases = std::env::var("RUN_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(750);
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        // Smaller is easier to read, but not worth minutes.
        max_shrink_time: 20_000,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    };
    proptest!(config, |(entropy in prop::collection::vec(any::<u8>(), 0..250))| {
        if let Err(what) = one_case(variant, &kernel, &planted, &entropy) {
            return Err(TestCaseError::fail(format!("on {variant:?}: {what}")));
        }
    });
}

#[test]
fn compiled_programs_agree_with_the_evaluator_on_older_trampolines() {
    run(VARIANTS[0]);
}

#[test]
fn compiled_programs_agree_with_the_evaluator_on_newer_trampolines() {
    run(VARIANTS[1]);
}

#[test]
fn compiled_programs_agree_with_the_evaluator_on_probes() {
    run(VARIANTS[2]);
}

#[test]
fn compiled_programs_agree_with_the_evaluator_on_tracepoints() {
    run(VARIANTS[3]);
}
