//! In: filters and events. Out: proof that each condition holds for its events and for no others.

use std::sync::Arc;

use super::*;
use crate::artefact::{EventKind, HookSchema};
use crate::event::{
    Action, Body, Container, Hook, HookEvent, Pod, Process, ProcessExec, ProcessInfo, Subject, Timestamp,
};

fn event(binary: &str, policy: Option<&str>) -> Event {
    let info = ProcessInfo { binary: binary.into(), ..ProcessInfo::default() };
    let process = Subject { process: Arc::new(Process::new(info)), tid: 1, refcnt: 0 };
    let body = match policy {
        None => Body::Exec(ProcessExec { process, parent: None, ancestors: vec![] }),
        Some(policy) => {
            let schema = HookSchema {
                policy_name: policy.into(),
                event: EventKind::Lsm as i32,
                ..HookSchema::default()
            };
            Body::Lsm(HookEvent {
                process,
                parent: None,
                ancestors: vec![],
                hook: Arc::new(Hook::from_schema(&schema).unwrap()),
                args: vec![],
                ret: None,
                action: Action::Post,
                return_action: Action::Unknown,
            })
        }
    };
    Event { body, node_name: "n".into(), time: Timestamp(0) }
}

fn filter(types: &[&str], policies: &[&str], binaries: &[&str]) -> Result<Filter, FilterError> {
    let [types, policies, binaries] = [types, policies, binaries]
        .map(|list| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    Filter::parse(&types, &policies, &binaries)
}

#[test]
fn no_condition_accepts_everything() {
    let filter = filter(&[], &[], &[]).unwrap();
    assert!(filter.accepts(&event("", None)) && filter.accepts(&event("/bin/sh", Some("p"))));
}

#[test]
fn each_condition_must_hold_with_one_of_its_values() {
    let filter = filter(&["process_lsm", "PROCESS_EXEC"], &["p", "q"], &["^/usr/bin/", "cat$"]).unwrap();
    for (binary, policy, accepted) in [
        ("/usr/bin/id", Some("p"), true),
        ("/bin/cat", Some("q"), true),
        ("/bin/catx", Some("q"), false),
        ("/usr/bin/id", Some("r"), false),
        ("/usr/bin/id", None, false),
    ] {
        assert_eq!(filter.accepts(&event(binary, policy)), accepted, "{binary} {policy:?}");
    }
}

#[test]
fn event_types_are_compared() {
    let filter = filter(&["PROCESS_EXIT"], &[], &[]).unwrap();
    assert!(!filter.accepts(&event("/bin/cat", None)));
}

#[test]
fn bad_values_are_named() {
    let error = filter(&["PROCESS_FORK"], &[], &[]).unwrap_err().to_string();
    assert!(error.contains("\"PROCESS_FORK\"") && error.contains("PROCESS_EXEC, PROCESS_EXIT"), "{error}");
    let error = filter(&[], &[], &["a("]).unwrap_err().to_string();
    assert!(error.contains("\"a(\""), "{error}");
}

fn in_pod(name: &str) -> ProcessInfo {
    let container = Container { name: "app".into(), maybe_exec_probe: true, ..Container::default() };
    let pod = Pod {
        namespace: "team-a".into(),
        name: name.into(),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        container: Some(container),
        ..Pod::default()
    };
    ProcessInfo {
        pid: 42,
        binary: "/usr/bin/curl".into(),
        arguments: "-k https://x".into(),
        docker: "0123abc".into(),
        in_init_tree: Some(true),
        pod: Some(Arc::new(pod)),
        ..ProcessInfo::default()
    }
}

fn exec(info: ProcessInfo) -> Event {
    let parent =
        ProcessInfo { binary: "/bin/bash".into(), arguments: "-c x".into(), ..ProcessInfo::default() };
    let process = Subject { process: Arc::new(Process::new(info)), tid: 1, refcnt: 0 };
    let body =
        Body::Exec(ProcessExec { process, parent: Some(Arc::new(Process::new(parent))), ancestors: vec![] });
    Event { body, node_name: "n".into(), time: Timestamp(0) }
}

/// Filters that must accept the first and refuse the second of two events that differ in one respect.
#[test]
fn each_field_tells_two_events_apart() {
    let pod = exec(in_pod("xwing"));
    let host = exec(ProcessInfo { binary: "/sbin/init".into(), ..ProcessInfo::default() });
    let orphan = {
        let mut event = exec(in_pod("xwing"));
        if let Body::Exec(exec) = &mut event.body {
            exec.parent = None;
        }
        event
    };
    let list = |text: &str| vec![text.to_owned()];
    let base = tetragon::Filter::default;
    for (filter, accepted, refused) in [
        (tetragon::Filter { namespace: list("team-a"), ..base() }, &pod, &host),
        (tetragon::Filter { namespace: list(""), ..base() }, &host, &pod),
        (tetragon::Filter { namespace_regex: list("^team-"), ..base() }, &pod, &host),
        (tetragon::Filter { pod_regex: list("^xw"), ..base() }, &pod, &exec(in_pod("tie"))),
        (tetragon::Filter { pod_regex: list(""), ..base() }, &pod, &host),
        (tetragon::Filter { container_name_regex: list("app"), ..base() }, &pod, &host),
        (tetragon::Filter { container_id: list("^0123"), ..base() }, &pod, &host),
        (tetragon::Filter { in_init_tree: Some(true), ..base() }, &pod, &host),
        (tetragon::Filter { pid: vec![41, 42], ..base() }, &pod, &host),
        (tetragon::Filter { labels: list("app=web"), ..base() }, &pod, &host),
        (
            tetragon::Filter { labels: list("!app"), ..base() },
            &exec(ProcessInfo { pod: Some(Arc::new(Pod::default())), ..ProcessInfo::default() }),
            &host,
        ),
        (tetragon::Filter { arguments_regex: list("https?:"), ..base() }, &pod, &host),
        (tetragon::Filter { parent_binary_regex: list("bash$"), ..base() }, &pod, &orphan),
        (tetragon::Filter { parent_arguments_regex: list("^-c"), ..base() }, &pod, &orphan),
    ] {
        let compiled = Filter::compile(&filter).unwrap();
        assert!(compiled.accepts(accepted), "{filter:?}");
        assert!(!compiled.accepts(refused), "{filter:?}");
    }
}

#[test]
fn event_types_by_number_include_those_that_never_happen() {
    let of = |event_set: Vec<i32>| Filter::compile(&tetragon::Filter { event_set, ..Default::default() });
    let event = exec(in_pod("xwing"));
    assert!(of(vec![1, 12]).unwrap().accepts(&event));
    assert!(!of(vec![12]).unwrap().accepts(&event));
    assert_eq!(of(vec![0]).unwrap_err(), FilterError::EventType { given: "0".into() });
}

#[test]
fn allow_and_deny_lists_work_together() {
    let of = |pod: &str| tetragon::Filter { pod_regex: vec![pod.into()], ..Default::default() };
    let select = |allow_list, deny_list| {
        Selection::compile(&GetEventsRequest { allow_list, deny_list, ..Default::default() }).unwrap()
    };
    let (xwing, tie) = (exec(in_pod("xwing")), exec(in_pod("tie")));
    let both = |selection: Selection| (selection.accepts(&xwing), selection.accepts(&tie));
    assert_eq!(both(select(vec![], vec![])), (true, true));
    assert_eq!(both(select(vec![of("tie"), of("none")], vec![])), (false, true));
    assert_eq!(both(select(vec![], vec![of("none"), of("tie")])), (true, false));
    assert_eq!(both(select(vec![of("."), of("tie")], vec![of("xwing")])), (false, true));
}

#[test]
fn what_is_not_implemented_is_refused_by_name() {
    let refused = |request: &GetEventsRequest| Selection::compile(request).unwrap_err().to_string();
    let filter =
        |filter| GetEventsRequest { deny_list: vec![Default::default(), filter], ..Default::default() };
    let base = tetragon::Filter::default;
    for (request, field) in [
        (filter(tetragon::Filter { pid_set: vec![1], ..base() }), "deny_list[1]: pid_set"),
        (
            filter(tetragon::Filter { cel_expression: vec!["1".into()], ..base() }),
            "deny_list[1]: cel_expression",
        ),
        (
            filter(tetragon::Filter { ancestor_binary_regex: vec!["a".into()], ..base() }),
            "deny_list[1]: ancestor_binary_regex",
        ),
        (
            filter(tetragon::Filter { capabilities: Some(Default::default()), ..base() }),
            "deny_list[1]: capabilities",
        ),
        (filter(tetragon::Filter { health_check: Some(false), ..base() }), "deny_list[1]: health_check"),
        (GetEventsRequest { field_filters: vec![Default::default()], ..Default::default() }, "field_filters"),
        (
            GetEventsRequest { aggregation_options: Some(Default::default()), ..Default::default() },
            "aggregation_options",
        ),
    ] {
        assert_eq!(refused(&request), format!("{field} is not implemented: leave it out"));
    }
    let broken = filter(tetragon::Filter { pod_regex: vec!["[".into()], ..base() });
    assert!(refused(&broken).starts_with("deny_list[1]: pod_regex: \"[\" is not a regular expression"));
    let labels = filter(tetragon::Filter { labels: vec!["a=b,c d".into()], ..base() });
    assert!(refused(&labels).contains("\"c d\" in \"a=b,c d\""));
}

#[test]
fn what_a_request_costs_is_bounded() {
    let request = |filters: usize, patterns: usize| GetEventsRequest {
        allow_list: vec![Default::default(); filters],
        deny_list: vec![tetragon::Filter { pod_regex: vec!["a".into(); patterns], ..Default::default() }],
        ..Default::default()
    };
    assert!(Selection::compile(&request(FILTERS_MAX - 1, PATTERNS_MAX)).is_ok());
    assert!(matches!(
        Selection::compile(&request(FILTERS_MAX, 1)),
        Err(SelectionError::Request(FilterError::TooMany { what: "filters", .. }))
    ));
    assert!(matches!(
        Selection::compile(&request(1, PATTERNS_MAX + 1)),
        Err(SelectionError::Request(FilterError::TooMany { what: "regular expressions", .. }))
    ));
    let huge = filter(&[], &[], &["(((a{100}){100}){100})"]);
    assert!(matches!(huge, Err(FilterError::Pattern { .. })));
    // What people write is far from the bound.
    let paths = (0..100).map(|at| format!("/usr/local/bin/program-{at}")).collect::<Vec<_>>();
    assert!(filter(&[], &[], &[&format!("^({})$", paths.join("|"))]).is_ok());
}
