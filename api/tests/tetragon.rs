//! In: event lines that users' tools read today, and random events. Out: proof that nothing is lost on the way through
//! protobuf, and that the messages have the protocol's field numbers.

#[path = "tetragon/random.rs"]
mod random;
#[path = "golden/reader.rs"]
mod reader;
#[path = "tetragon/wire.rs"]
mod wire;

use std::sync::Arc;

use api::artefact::{EventKind, HookSchema};
use api::event::{
    Action, Argument, Body, Container, Event, ExecId, FilePath, Hook, HookEvent, Namespace, Namespaces, Pod,
    Process, ProcessInfo, Subject, Timestamp, Value,
};
use api::tetragon::{
    Arg, EventBody, GetEventsResponse, KprobeArgument, KprobeSockaddr, ProcessExec, Received, encode, loss,
};
use proptest::prelude::*;
use prost::Message;

fn line(event: &Event) -> String {
    let mut out = String::new();
    api::json::write_line(event, &mut out);
    out
}

/// The event that arrives when this one is sent.
fn received(event: &Event) -> Event {
    let bytes = encode(event).encode_to_vec();
    match GetEventsResponse::decode(bytes.as_slice()).unwrap().try_into().unwrap() {
        Received::Event(event) => event,
        Received::Lost(lost) => panic!("{lost} lost"),
    }
}

#[test]
fn recorded_lines_are_the_same_behind_the_wire() {
    let recorded = include_str!("golden/recorded.jsonl");
    assert_eq!(recorded.lines().count(), 14);
    for expected in recorded.lines() {
        let event = reader::event(&serde_json::from_str(expected).unwrap());
        assert_eq!(line(&received(&event)), format!("{expected}\n"));
    }
}

proptest! {
    #[test]
    fn any_event_is_the_same_behind_the_wire(event in random::event()) {
        let arrived = received(&event);
        prop_assert_eq!(line(&arrived), line(&event));
        // And the compact form, which needs the numbers behind the names.
        let style = api::compact::Style::default();
        let (mut sent, mut got) = (String::new(), String::new());
        api::compact::write_line(&event, style, &mut sent);
        api::compact::write_line(&arrived, style, &mut got);
        prop_assert_eq!(got, sent);
        // What arrived is sent on as it came.
        prop_assert_eq!(encode(&arrived), encode(&event));
    }

    #[test]
    fn nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = GetEventsResponse::decode(bytes.as_slice()) {
            let _ = Received::try_from(message);
        }
    }
}

fn full_process(tag: &str) -> Process {
    let namespace = |inum| Namespace { inum, is_host: true };
    Process::new(ProcessInfo {
        exec_id: ExecId(format!("{tag}exec_id").into()),
        pid: 102,
        uid: Some(103),
        cwd: format!("{tag}cwd").into(),
        binary: format!("{tag}binary").into(),
        arguments: format!("{tag}arguments").into(),
        start_time: Some(Timestamp(5_000_000_006)),
        auid: Some(109),
        docker: format!("{tag}docker"),
        parent_exec_id: ExecId(format!("{tag}parent").into()),
        pod: Some(Arc::new(Pod {
            namespace: format!("{tag}ns"),
            name: format!("{tag}pod"),
            uid: format!("{tag}uid"),
            workload: format!("{tag}workload"),
            workload_kind: format!("{tag}kind"),
            container: Some(Container { maybe_exec_probe: true, privileged: true, ..Container::default() }),
            labels: [("k".to_owned(), "v".to_owned())].into(),
            annotations: [("a".to_owned(), "b".to_owned())].into(),
        })),
        ns: Some(Box::new(Namespaces { uts: namespace(1), user: namespace(10), ..Namespaces::default() })),
        user: format!("{tag}user"),
        in_init_tree: Some(true),
        ..ProcessInfo::default()
    })
}

fn full_kprobe() -> Event {
    let schema = HookSchema {
        policy_name: "policy".into(),
        event: EventKind::Kprobe as i32,
        name: "function".into(),
        message: "message".into(),
        tags: vec!["tag".into()],
        ..HookSchema::default()
    };
    let file = FilePath { path: "file".into(), unresolved: true, mode: 0o100644 };
    Event {
        body: Body::Kprobe(HookEvent {
            process: Subject { process: Arc::new(full_process("")), tid: 116, refcnt: 113 },
            parent: Some(Arc::new(full_process("p-"))),
            ancestors: vec![Arc::new(full_process("a-"))],
            hook: Arc::new(Hook::from_schema(&schema).unwrap()),
            args: vec![Argument { value: Value::File(file), label: Some("label".into()) }],
            ret: Some(Argument { value: Value::String("returned".into()), label: None }),
            action: Action::Sigkill,
            return_action: Action::Override,
        }),
        node_name: "node".into(),
        time: Timestamp(7_000_000_008),
    }
}

/// Field numbers on the way to a value, as they are on the wire, against those of the protocol's definition.
#[test]
fn field_numbers_are_the_protocols() {
    let bytes = encode(&full_kprobe()).encode_to_vec();
    for (path, value) in [
        ("9.1.1", "exec_id"),
        ("9.1.4", "cwd"),
        ("9.1.5", "binary"),
        ("9.1.6", "arguments"),
        ("9.1.10.1", "ns"),
        ("9.1.10.2", "pod"),
        ("9.1.10.3", "uid"),
        ("9.1.10.5.1", "k"),
        ("9.1.10.5.2", "v"),
        ("9.1.10.6", "workload"),
        ("9.1.10.7", "kind"),
        ("9.1.10.8.1", "a"),
        ("9.1.11", "docker"),
        ("9.1.12", "parent"),
        ("9.1.19.1", "user"),
        ("9.2.1", "p-exec_id"),
        ("9.3", "function"),
        ("9.4.7.2", "file"),
        ("9.4.7.3", "unresolvedPathComponents"),
        ("9.4.7.4", "-rw-r--r--"),
        ("9.4.18", "label"),
        ("9.5.1", "returned"),
        ("9.8", "policy"),
        ("9.10", "message"),
        ("9.11", "tag"),
        ("9.13.5", "a-binary"),
        ("1000", "node"),
    ] {
        assert_eq!(wire::text(&bytes, path).as_deref(), Some(value), "{path}");
    }
    for (path, value) in [
        // Wrappers: a message whose field 1 is the number.
        ("9.1.2.1", 102),
        ("9.1.3.1", 103),
        ("9.1.8.1", 5),
        ("9.1.8.2", 6),
        ("9.1.9.1", 109),
        ("9.1.10.4.13", 1),
        ("9.1.10.4.14.1", 1),
        ("9.1.13", 113),
        ("9.1.15.1.1", 1),
        ("9.1.15.1.2", 1),
        ("9.1.15.10.1", 10),
        ("9.1.16.1", 116),
        ("9.1.20.1", 1),
        ("9.6", 3),
        ("9.9", 5),
        ("1001.1", 7),
        ("1001.2", 8),
    ] {
        assert_eq!(wire::number(&bytes, path), Some(value), "{path}");
    }
}

#[test]
fn a_loss_says_how_many() {
    let bytes = loss(12, "node", Timestamp(1)).encode_to_vec();
    assert_eq!(wire::number(&bytes, "40001.1"), Some(12));
    let message = GetEventsResponse::decode(bytes.as_slice()).unwrap();
    assert!(matches!(Received::try_from(message), Ok(Received::Lost(12))));
}

#[test]
fn what_a_newer_agent_sends_is_shown_as_far_as_it_is_known() {
    // An argument of a kind that is not known here keeps its place.
    let mut message = encode(&full_kprobe());
    let Some(EventBody::ProcessKprobe(kprobe)) = &mut message.event else { panic!() };
    kprobe.args.insert(0, KprobeArgument { arg: None, label: String::new() });
    let Received::Event(event) = message.clone().try_into().unwrap() else { panic!() };
    assert!(
        line(&event).contains(r#""args":[{"error_arg":{"Message":"a kind of argument"#),
        "{}",
        line(&event)
    );
    // Words about how the process came to be known.
    let Some(EventBody::ProcessKprobe(kprobe)) = &mut message.event else { panic!() };
    kprobe.process.as_mut().unwrap().flags = "execve newWord clone".into();
    let Received::Event(event) = message.clone().try_into().unwrap() else { panic!() };
    assert!(line(&event).contains(r#""flags":"execve clone""#));
    // An event of a kind that is not known is named, and so is nonsense.
    let Some(EventBody::ProcessKprobe(kprobe)) = &mut message.event else { panic!() };
    let addr = KprobeSockaddr { family: "AF_NEW".into(), addr: String::new(), port: 1 };
    kprobe.args = vec![KprobeArgument { arg: Some(Arg::Sockaddr(addr)), label: String::new() }];
    let error = Received::try_from(message).unwrap_err().to_string();
    assert!(error.contains("\"AF_NEW\""), "{error}");
    let error = Received::try_from(GetEventsResponse::default()).unwrap_err();
    assert_eq!(error.what, "kind");
    let empty = EventBody::ProcessExec(ProcessExec::default());
    let error =
        Received::try_from(GetEventsResponse { event: Some(empty), ..Default::default() }).unwrap_err();
    assert_eq!(error.what, "process");
}
