//! In: single filters and small policies. Out: the rules of the language, one test per rule.

use std::net::IpAddr;

use super::*;
use crate::typed::*;

fn arg(index: u32, ty: ArgType) -> TypedArg {
    TypedArg { path: String::new(), index, ty, label: None, size_arg: None, return_copy: false }
}

fn filter(test: FilterTest) -> Filter {
    Filter { path: String::new(), test }
}

fn selector(filters: Vec<FilterTest>, actions: Vec<Action>) -> Selector {
    Selector {
        path: String::new(),
        label: None,
        filters: filters.into_iter().map(filter).collect(),
        actions,
        return_filters: Vec::new(),
        return_actions: Vec::new(),
    }
}

fn policy(mode: Mode, args: Vec<TypedArg>, ret: Option<TypedArg>, selectors: Vec<Selector>) -> TypedPolicy {
    let hook = TypedHook {
        path: "spec.kprobes[0]".to_owned(),
        point: HookPoint::Kprobe { function: "f".to_owned() },
        args,
        ret,
        message: None,
        tags: Vec::new(),
        selectors,
        ignore_call_not_found: false,
    };
    let key = PolicyKey { namespace: None, name: "p".to_owned() };
    TypedPolicy { key, mode, workloads: None, nodes: Vec::new(), hooks: vec![hook] }
}

const POST: Action = Action::Post { rate_limit: None };
const KILL: Action = Action::Signal { signal: 9, sigkill: true };

fn evaluate(policy: &TypedPolicy, call: &Call) -> Option<Match> {
    Evaluator::default().call(std::slice::from_ref(policy), |_| true, call).pop()
}

fn with(values: impl IntoIterator<Item = Value>) -> Call {
    Call { args: (0..).zip(values).collect(), ..Call::default() }
}

/// Whether a filter on argument 0 passes.
fn passes(ty: ArgType, test: ArgTest, value: Value) -> bool {
    argument_matches(&test, &arg(0, ty), &value, &Call::default())
}

fn text(not: bool, op: TextOp, value: &str) -> ArgTest {
    ArgTest::Text { not, op, values: vec![value.as_bytes().to_vec()] }
}

fn path(text: &str) -> Value {
    Value::Path(PathValue { text: text.into(), mode: 0o100_644, complete: true })
}

#[test]
fn the_first_selector_that_matches_wins_and_filters_are_anded() {
    let int = ArgType::Int(IntType::S32);
    let equals = |arg, value| FilterTest::Arg {
        arg,
        test: ArgTest::Int { not: false, test: IntTest::In(vec![(value, value)]) },
    };
    let selectors = vec![
        selector(vec![equals(0, 1), equals(1, 2)], vec![POST]),
        selector(vec![equals(0, 1)], vec![KILL]),
        selector(vec![], vec![Action::NoPost]),
    ];
    let policy = policy(Mode::Enforce, vec![arg(0, int), arg(1, int)], None, selectors);
    let outcome = |a, b| {
        let found = evaluate(&policy, &with([Value::Int(a), Value::Int(b)])).expect("some selector matches");
        (found.selector, found.effects, found.event)
    };
    assert_eq!(outcome(1, 2), (Some(0), vec![], EventFate::Posted));
    assert_eq!(outcome(1, 3), (Some(1), vec![Effect::Signal(9)], EventFate::Posted));
    assert_eq!(outcome(7, 2), (Some(2), vec![], EventFate::NoPost));
}

#[test]
fn a_hook_without_selectors_posts_and_one_whose_selectors_fail_does_not() {
    let open = policy(Mode::Enforce, vec![], None, vec![]);
    let found = evaluate(&open, &with([])).expect("matches");
    assert_eq!((found.selector, found.event), (None, EventFate::Posted));
    let never = FilterTest::Arg { arg: 0, test: text(false, TextOp::Equal, "x") };
    let closed =
        policy(Mode::Enforce, vec![arg(0, ArgType::String)], None, vec![selector(vec![never], vec![])]);
    assert_eq!(evaluate(&closed, &with([Value::Unreadable])), None);
}

#[test]
fn monitor_mode_withholds_enforcement_and_still_posts() {
    let actions = vec![KILL, Action::Override { error: -1 }];
    let policy = policy(Mode::Monitor, vec![], None, vec![selector(vec![], actions)]);
    let found = evaluate(&policy, &with([])).expect("matches");
    assert_eq!(found.effects, [Effect::WithheldSignal(9), Effect::WithheldOverride(-1)]);
    assert_eq!(found.event, EventFate::Posted);
}

#[test]
fn integers_compare_by_the_sign_and_width_of_their_type() {
    let greater = |than| ArgTest::Int { not: false, test: IntTest::Greater(than) };
    let minus_one = Value::Int(u64::MAX);
    assert!(!passes(ArgType::Int(IntType::S64), greater(0), minus_one.clone()));
    assert!(passes(ArgType::Int(IntType::U64), greater(0), minus_one.clone()));
    assert!(passes(ArgType::Int(IntType::U8), greater(254), minus_one.clone()));
    let range = ArgTest::Int { not: true, test: IntTest::In(vec![((-5i64) as u64, 5)]) };
    assert!(!passes(ArgType::Int(IntType::S32), range.clone(), Value::Int(0xffff_ffff)));
    assert!(passes(ArgType::Int(IntType::S32), range, Value::Int(6)));
    let mask = ArgTest::Int { not: false, test: IntTest::Mask(0x100) };
    assert!(!passes(ArgType::Int(IntType::U8), mask.clone(), Value::Int(0x1ff)));
    assert!(passes(ArgType::Int(IntType::U16), mask, Value::Int(0x1ff)));
}

#[test]
fn unreadable_values_fail_negated_tests_too() {
    for not in [false, true] {
        let int = ArgTest::Int { not, test: IntTest::Mask(1) };
        assert!(!passes(ArgType::Int(IntType::U64), int, Value::Unreadable));
        assert!(!passes(ArgType::String, text(not, TextOp::Equal, "a"), Value::Unreadable));
        assert!(!passes(ArgType::File, text(not, TextOp::Prefix, "/"), Value::Unreadable));
        let closed = Value::Fd { number: 9, file: None };
        assert!(!passes(ArgType::Fd, text(not, TextOp::Prefix, "/"), closed));
    }
}

#[test]
fn an_empty_string_is_a_value_and_an_empty_path_is_not() {
    assert!(passes(ArgType::String, text(false, TextOp::Equal, ""), Value::Text(vec![])));
    assert!(passes(ArgType::String, text(true, TextOp::Equal, "a"), Value::Text(vec![])));
    assert!(!passes(ArgType::Path, text(true, TextOp::Equal, "a"), path("")));
    assert!(passes(ArgType::Path, text(true, TextOp::Equal, "a"), path("/")));
    let regular = ArgTest::FileType { not: false, modes: vec![0o100_000] };
    assert!(passes(ArgType::Path, regular, path("")), "file types need no text");
}

#[test]
fn buffers_compare_up_to_their_length_argument() {
    let buffer = TypedArg { size_arg: Some(1), ..arg(0, ArgType::CharBuf) };
    let equals = text(false, TextOp::Equal, "abc");
    let of_size = |size: u64| {
        let call = with([Value::Bytes(b"abcdef".to_vec()), Value::Int(size)]);
        argument_matches(&equals, &buffer, &call.args[&0], &call)
    };
    assert!(of_size(3));
    assert!(!of_size(4));
    assert!(!of_size(7), "asks for more than is there");
    let any = text(true, TextOp::Equal, "abc");
    let call = with([Value::Bytes(b"abcdef".to_vec()), Value::Int(7)]);
    assert!(!argument_matches(&any, &buffer, &call.args[&0], &call), "so it is unreadable");
}

#[test]
fn mapped_addresses_are_ipv4_and_a_family_without_entries_passes_only_negated_tests() {
    let sock = |addr: &str| {
        let addr: IpAddr = addr.parse().expect("address");
        Value::Sock(SockValue { family: 10, addrs: Some((addr, addr)), ..SockValue::default() })
    };
    let net = IpNet { addr: "127.0.0.0".parse().expect("address"), prefix: 8 };
    let test = |not| ArgTest::Addr { not, side: Side::Destination, nets: vec![net] };
    assert!(passes(ArgType::Sock, test(false), sock("::ffff:127.0.0.9")));
    assert!(!passes(ArgType::Sock, test(false), sock("::1")));
    assert!(passes(ArgType::Sock, test(true), sock("::1")));
    let local = Value::Sock(SockValue { family: 1, ..SockValue::default() });
    assert!(passes(ArgType::Sock, test(true), local.clone()));
    let port = |not| ArgTest::Port { not, side: Side::Source, ranges: vec![(0, 65535)] };
    assert!(!passes(ArgType::Sock, port(false), local.clone()));
    assert!(passes(ArgType::Sock, port(true), local));
}

fn process(tgid: u32, binary: &str, ancestors: &[(u32, &str)]) -> Process {
    let ancestors = ancestors.iter().map(|(tgid, binary)| Ancestor {
        tgid: *tgid,
        binary: binary.as_bytes().to_vec(),
        ..Ancestor::default()
    });
    Process { tgid, known: true, binary: binary.into(), ancestors: ancestors.collect(), ..Process::default() }
}

fn process_passes(test: FilterTest, process: &Process) -> bool {
    let policy = policy(Mode::Enforce, vec![], None, vec![selector(vec![test], vec![])]);
    let host = Namespaces([1; 10]);
    evaluate(&policy, &Call { process: process.clone(), host, ..Call::default() }).is_some()
}

#[test]
fn unknown_processes_fail_positive_and_pass_negated_filters() {
    let binary =
        |not| BinaryTest { not, op: TextOp::Equal, values: vec!["/a".into()], follow_children: false };
    let pids = |not| PidTest { not, namespace_pid: false, follow_forks: true, values: vec![7] };
    let unknown = Process { known: false, ..process(7, "/a", &[]) };
    assert!(!process_passes(FilterTest::Binary(binary(false)), &unknown));
    assert!(process_passes(FilterTest::Binary(binary(true)), &unknown));
    assert!(!process_passes(FilterTest::Pids(pids(false)), &unknown));
    assert!(process_passes(FilterTest::Pids(pids(true)), &unknown));
    for not in [false, true] {
        assert!(process_passes(FilterTest::ParentBinary(binary(not)), &process(8, "/b", &[])));
    }
}

#[test]
fn descendants_are_members_only_when_asked() {
    let child = process(9, "/child", &[(8, "/mid"), (7, "/top")]);
    let binary = |follow_children| BinaryTest {
        not: false,
        op: TextOp::Equal,
        values: vec!["/top".into()],
        follow_children,
    };
    assert!(!process_passes(FilterTest::Binary(binary(false)), &child));
    assert!(process_passes(FilterTest::Binary(binary(true)), &child));
    let pids = |follow_forks| PidTest { not: false, namespace_pid: false, follow_forks, values: vec![7] };
    assert!(!process_passes(FilterTest::Pids(pids(false)), &child));
    assert!(process_passes(FilterTest::Pids(pids(true)), &child));
}

#[test]
fn namespace_capabilities_are_only_looked_at_outside_the_hosts_user_namespace() {
    let test = |not| {
        let set = CapabilitySet::Effective;
        FilterTest::Capabilities(CapabilityTest { not, set, namespace_only: true, mask: 1 << 21 })
    };
    let mut own = process(7, "/a", &[]);
    own.capabilities.effective = 1 << 21;
    own.namespaces = Namespaces([1; 10]);
    assert!(!process_passes(test(false), &own));
    assert!(!process_passes(test(true), &own));
    own.namespaces.0[9] = 2;
    assert!(process_passes(test(false), &own));
    assert!(!process_passes(test(true), &own));
}

#[test]
fn rate_limits_keep_the_event_and_not_the_enforcement_back() {
    let limit = RateLimit { interval_ms: 5_000, scope: RateScope::Thread };
    let actions = vec![KILL, Action::Post { rate_limit: Some(limit) }];
    let policy = policy(Mode::Enforce, vec![arg(0, ArgType::String)], None, vec![selector(vec![], actions)]);
    let mut evaluator = Evaluator::default();
    let mut at = |seconds: u64, text: &str, tid| {
        let mut call = with([Value::Text(text.into())]);
        call.time = seconds * 1_000_000_000;
        call.process.tid = tid;
        let found = evaluator.call(std::slice::from_ref(&policy), |_| true, &call).remove(0);
        assert_eq!(found.effects, [Effect::Signal(9)]);
        found.event
    };
    assert_eq!(at(10, "a", 1), EventFate::Posted);
    assert_eq!(at(14, "a", 1), EventFate::RateLimited);
    assert_eq!(at(14, "b", 1), EventFate::Posted, "another argument");
    assert_eq!(at(14, "a", 2), EventFate::Posted, "another thread");
    assert_eq!(at(15, "a", 1), EventFate::Posted, "a new interval");
}

#[test]
fn return_filters_decide_on_the_event_and_entry_actions_run_before() {
    let ret = arg(0, ArgType::Int(IntType::S32));
    let mut one = selector(vec![], vec![KILL]);
    let negative = ArgTest::Int { not: false, test: IntTest::Less(0) };
    one.return_filters = vec![filter(FilterTest::Arg { arg: 0, test: negative })];
    let policy = policy(Mode::Enforce, vec![], Some(ret), vec![one]);
    let event = |ret: Option<u64>| {
        let found =
            evaluate(&policy, &Call { ret: ret.map(Value::Int), ..Call::default() }).expect("matches");
        assert_eq!(found.effects, [Effect::Signal(9)]);
        found.event
    };
    assert_eq!(event(Some(u64::MAX)), EventFate::Posted);
    assert_eq!(event(Some(0)), EventFate::NotReturned);
    assert_eq!(event(None), EventFate::NotReturned);
}

#[test]
fn a_policy_applies_to_its_workloads_only() {
    let namespace = Some("default".to_owned());
    let app = LabelTest { key: "app".to_owned(), is: LabelIs::In(vec!["web".to_owned()]) };
    let container = LabelTest { key: "name".to_owned(), is: LabelIs::NotIn(vec!["proxy".to_owned()]) };
    let pods = PodTest { namespace, labels: vec![app], container: Vec::new() };
    let of_container = PodTest { container: vec![container], ..pods.clone() };
    let pod = |namespace: &str, app: &str, container: Option<&str>| {
        let text = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
        let container = container.map(|name| text("name", name));
        Workload::Pod(Some(Pod { namespace: namespace.to_owned(), labels: text("app", app), container }))
    };
    let applies = |test: Option<WorkloadTest>, workload: &Workload, known: bool| {
        let policy = TypedPolicy { workloads: test, ..policy(Mode::Enforce, vec![], None, vec![]) };
        let process = Process { known, workload: workload.clone(), ..Process::default() };
        evaluate(&policy, &Call { process, ..Call::default() }).is_some()
    };
    let only = |pods: &PodTest| WorkloadTest::new(false, Some(pods.clone()));
    for (workload, in_pods, in_container) in [
        (Workload::Host, false, false),
        (Workload::Pod(None), false, false),
        (pod("default", "web", None), true, false),
        (pod("default", "web", Some("main")), true, true),
        (pod("default", "web", Some("proxy")), true, false),
        (pod("default", "db", Some("main")), false, false),
        (pod("other", "web", Some("main")), false, false),
    ] {
        assert_eq!(applies(only(&pods), &workload, true), in_pods, "{workload:?}");
        assert_eq!(applies(only(&of_container), &workload, true), in_container, "{workload:?}");
        assert!(!applies(only(&pods), &workload, false), "a process that is not known is in no workload");
        assert_eq!(applies(WorkloadTest::new(true, None), &workload, true), workload == Workload::Host);
        let any = only(&PodTest::default());
        assert_eq!(applies(any, &workload, true), workload != Workload::Host, "{workload:?}");
        assert_eq!(WorkloadTest::new(true, Some(PodTest::default())), None, "both is no condition");
        assert!(applies(None, &workload, false));
    }
}
