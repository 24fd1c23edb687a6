//! In: calls while something is exhausted or switched off. Out: enforcement and counters do not depend on it.

use api::artefact::{Flavour, OVERLAP, POLICY_COUNTERS, PolicyCounter};
use policy_compiler::typed::{
    Action, ArgTest, ArgType, Filter, FilterTest, HookPoint, IntTest, IntType, Mode, PidTest, PolicyKey,
    RateLimit, RateScope, Selector, TextOp, TypedArg, TypedHook, TypedPolicy,
};
use policy_compiler::{Kernel, compile};

use crate::node::{Deed, Node, program_id};
use crate::places::surroundings;
use crate::profile::Variant;
use crate::random::pools::plant;
use crate::scenario::Scenario;
use crate::world::World;
use crate::world::argument::ArgSpec;

const KILL: Action = Action::Signal { signal: 9, sigkill: true };
const DENY: Action = Action::Override { error: -1 };

fn policy(name: &str, test: ArgTest, on: usize) -> TypedPolicy {
    let arg = |index, ty| TypedArg {
        path: format!("spec.kprobes[0].args[{index}]"),
        index,
        ty,
        label: None,
        size_arg: None,
        return_copy: false,
    };
    let filter = Filter {
        path: "spec.kprobes[0].selectors[0].matchArgs[0]".to_owned(),
        test: FilterTest::Arg { arg: on, test },
    };
    let selector = Selector {
        path: "spec.kprobes[0].selectors[0]".to_owned(),
        label: None,
        filters: vec![filter],
        actions: vec![KILL, DENY],
        return_filters: Vec::new(),
        return_actions: Vec::new(),
    };
    let hook = TypedHook {
        path: "spec.kprobes[0]".to_owned(),
        point: HookPoint::Kprobe { function: "security_file_permission".to_owned() },
        args: vec![arg(0, ArgType::File), arg(1, ArgType::Int(IntType::S32))],
        ret: None,
        message: None,
        tags: Vec::new(),
        selectors: vec![selector],
        ignore_call_not_found: false,
    };
    let key = PolicyKey { namespace: None, name: name.to_owned() };
    TypedPolicy { key, mode: Mode::Enforce, workloads: None, nodes: Vec::new(), hooks: vec![hook] }
}

/// Kills and denies writers of /etc/passwd.
fn by_path() -> TypedPolicy {
    let test = ArgTest::Text { not: false, op: TextOp::Prefix, values: vec![b"/etc/".to_vec()] };
    policy("by-path", test, 0)
}

/// Kills and denies whoever writes.
fn by_mask() -> TypedPolicy {
    policy("by-mask", ArgTest::Int { not: false, test: IntTest::Mask(2) }, 1)
}

struct Case {
    kernel: Kernel,
    node: Node,
}

impl Case {
    fn new(policy: TypedPolicy) -> Self {
        Self::of(&[policy])
    }

    fn of(policies: &[TypedPolicy]) -> Self {
        let kernel = Kernel::new(Variant::Trampolines6.profile()).expect("the fixture is BTF");
        let compiled = compile(policies, &kernel);
        assert_eq!(compiled.artefacts.len(), 1, "{:?}", compiled.diagnostics);
        let node = Node::new(&compiled.artefacts, surroundings(Flavour::Fentry)).expect("loads");
        Self { kernel, node }
    }

    /// Somebody writes to /etc/passwd.
    fn call(&mut self) -> Deed {
        let mut world = World::new(&self.kernel.btf);
        let (places, roots) = plant(&mut world);
        let scenario = Scenario {
            point: HookPoint::Kprobe { function: "security_file_permission".to_owned() },
            args: vec![ArgSpec::File(places[0]), ArgSpec::Int(2)],
            ret: 0,
            process: policy_compiler::reference::Process {
                tgid: 100,
                tid: 100,
                known: true,
                ..Default::default()
            },
            time: 1_000_000_000,
        };
        let told = scenario.run(&mut self.node, &self.kernel, world, roots[0]).expect("runs");
        told.deeds.into_iter().next().expect("one program")
    }

    fn counters(&self, name: &str) -> Vec<(PolicyCounter, u64)> {
        use PolicyCounter::*;
        let all = [
            Match,
            Post,
            NoPost,
            RateLimited,
            Signal,
            Override,
            MonitorSignal,
            MonitorOverride,
            LostRing,
            LostScratch,
            SignalFailed,
        ];
        assert_eq!(all.len(), POLICY_COUNTERS as usize);
        let values = self.node.counters("", name);
        all.into_iter().map(|counter| (counter, values[counter as usize])).filter(|(_, n)| *n > 0).collect()
    }
}

const DENIED: u64 = -1i64 as u64;

#[test]
fn a_full_ring_buffer_costs_the_event_and_nothing_else() {
    use PolicyCounter::{LostRing, Match, Override, Signal};
    let mut case = Case::new(by_path());
    case.node.vm.around.ring_space = 64;
    let deed = case.call();
    assert_eq!((deed.ret as i32, deed.deeds.signals, deed.deeds.records.len()), (-1, vec![9], 0));
    assert_eq!(case.counters("by-path"), [(Match, 1), (Signal, 1), (Override, 1), (LostRing, 1)]);
}

#[test]
fn a_lost_event_does_not_use_its_interval_up() {
    use PolicyCounter::{LostRing, Match, Post, RateLimited};
    let mut limited = by_path();
    let rate_limit = Some(RateLimit { interval_ms: 60_000, scope: RateScope::Global });
    limited.hooks[0].selectors[0].actions = vec![Action::Post { rate_limit }];
    let mut case = Case::new(limited);
    case.node.vm.around.ring_space = 64;
    case.call();
    assert_eq!(case.counters("by-path"), [(Match, 1), (LostRing, 1)]);
    case.node.vm.around.ring_space = 1 << 20;
    case.call();
    case.call();
    assert_eq!(case.counters("by-path"), [(Match, 3), (Post, 1), (RateLimited, 1), (LostRing, 1)]);
}

#[test]
fn without_scratch_memory_tests_on_registers_still_enforce() {
    use PolicyCounter::{LostScratch, Match, Override, Signal};
    let mut case = Case::new(by_mask());
    case.node.occupy_scratch(true);
    let deed = case.call();
    assert_eq!((deed.ret, deed.deeds.signals), (DENIED, vec![9]));
    assert_eq!(case.counters("by-mask"), [(Match, 1), (Signal, 1), (Override, 1), (LostScratch, 1)]);
}

#[test]
fn without_scratch_memory_a_text_test_is_a_lost_decision_that_is_counted() {
    let mut case = Case::new(by_path());
    case.node.occupy_scratch(true);
    let deed = case.call();
    assert_eq!((deed.ret, deed.deeds.signals.len()), (0, 0));
    assert_eq!(case.counters("by-path"), [(PolicyCounter::LostScratch, 1)]);
}

#[test]
fn a_policy_whose_filters_have_failed_already_loses_no_decision() {
    let mut other = by_path();
    other.key.name = "of-another-process".to_owned();
    let pids = PidTest { not: false, namespace_pid: false, follow_forks: false, values: vec![7] };
    other.hooks[0].selectors[0].filters.push(Filter {
        path: "spec.kprobes[0].selectors[0].matchPIDs[0]".to_owned(),
        test: FilterTest::Pids(pids),
    });
    let mut case = Case::of(&[by_path(), other]);
    case.node.occupy_scratch(true);
    case.call();
    assert_eq!(case.counters("by-path"), [(PolicyCounter::LostScratch, 1)]);
    assert_eq!(case.counters("of-another-process"), []);
}

#[test]
fn a_signal_that_cannot_be_sent_is_counted_and_the_override_stands() {
    use PolicyCounter::{Match, Override, Post, SignalFailed};
    let mut case = Case::new(by_path());
    case.node.vm.around.signal_result = -11;
    let deed = case.call();
    assert_eq!((deed.ret, deed.deeds.signals.len(), deed.deeds.records.len()), (DENIED, 0, 1));
    assert_eq!(case.counters("by-path"), [(Match, 1), (Post, 1), (Override, 1), (SignalFailed, 1)]);
}

#[test]
fn a_program_that_is_not_active_does_nothing() {
    let mut case = Case::new(by_path());
    case.node.activate(1);
    let deed = case.call();
    assert_eq!((deed.ret, deed.deeds, case.counters("by-path")), (0, Default::default(), vec![]));
}

#[test]
fn of_two_programs_that_overlap_one_judges_a_call() {
    let mut case = Case::new(by_path());
    let (own, other) = (program_id(0), program_id(1));
    case.node.activate(OVERLAP | own);
    assert_eq!((case.call().ret, case.node.judged()), (DENIED, vec![u64::from(own)]), "as the newer one");
    case.node.activate(OVERLAP | other);
    assert_eq!(case.call().ret, DENIED, "as the older one, with a mark of an earlier switch");
    case.node.judge(u64::from(other));
    let deed = case.call();
    assert_eq!((deed.ret, deed.deeds, case.node.judged()), (0, Default::default(), vec![]), "judged already");
    assert_eq!(case.call().ret, DENIED, "the next call has not been");
    assert_eq!(case.counters("by-path").first(), Some(&(PolicyCounter::Match, 3)));
}
