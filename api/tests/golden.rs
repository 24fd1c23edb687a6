//! In: event lines that users' tools read today, and lines of our own. Out: proof that the encoder writes exactly
//! these bytes.

#[path = "golden/reader.rs"]
mod reader;

use std::sync::Arc;

use api::artefact::{EventKind, HookSchema};
use api::event::{
    Action, Argument, Body, Capabilities, Container, Credentials, Event, ExecId, FilePath, Hook, HookEvent,
    Image, Namespace, Packet, Pod, Process, ProcessExit, ProcessFlags, ProcessInfo, Socket, Subject,
    SyscallAbi, Timestamp, UserNamespace, Value,
};

fn line(event: &Event) -> String {
    let mut out = String::new();
    api::json::write_line(event, &mut out);
    out
}

#[test]
fn recorded_lines_are_reproduced_byte_for_byte() {
    let recorded = include_str!("golden/recorded.jsonl");
    assert_eq!(recorded.lines().count(), 14);
    for expected in recorded.lines() {
        let event = reader::event(&serde_json::from_str(expected).unwrap());
        assert_eq!(line(&event), format!("{expected}\n"));
        // The second time comes from the fragments made the first time.
        assert_eq!(line(&event), format!("{expected}\n"));
    }
}

fn unknown_process() -> Subject {
    let process = Arc::new(Process::new(ProcessInfo {
        pid: 7,
        start_time: Some(Timestamp(1_000_000_000)),
        flags: ProcessFlags::UNKNOWN,
        ..ProcessInfo::default()
    }));
    Subject { process, tid: 8, refcnt: 0 }
}

fn hook(event: EventKind, name: &str) -> Arc<Hook> {
    let schema = HookSchema {
        policy_name: "p".into(),
        event: event as i32,
        name: name.into(),
        message: "say \"hi\"".into(),
        tags: vec!["a".into(), "b\n".into()],
        ..HookSchema::default()
    };
    Arc::new(Hook::from_schema(&schema).unwrap())
}

fn kprobe(args: Vec<Argument>) -> Event {
    Event {
        body: Body::Kprobe(HookEvent {
            process: unknown_process(),
            parent: None,
            ancestors: vec![],
            hook: hook(EventKind::Kprobe, "f"),
            args,
            ret: Some(Argument { value: Value::Int(-13), label: None }),
            action: Action::Sigkill,
            return_action: Action::Override,
        }),
        node_name: "n".into(),
        time: Timestamp(2_500_000_000),
    }
}

/// What the arguments of a kprobe event look like.
fn args_of(values: Vec<Value>) -> String {
    let args = values.into_iter().map(|value| Argument { value, label: None }).collect();
    let text = line(&kprobe(args));
    let start = text.find("\"args\":").unwrap() + 7;
    let end = text.find(",\"return\"").unwrap();
    text[start..end].to_owned()
}

#[test]
fn a_process_that_is_not_known_says_so_and_nothing_else() {
    assert_eq!(
        line(&kprobe(vec![])),
        concat!(
            r#"{"process_kprobe":{"process":{"pid":7,"flags":"unknown","start_time":"1970-01-01T00:00:01Z"},"#,
            r#""function_name":"f","return":{"int_arg":-13},"action":"KPROBE_ACTION_SIGKILL","policy_name":"p","#,
            r#""return_action":"KPROBE_ACTION_OVERRIDE","message":"say \"hi\"","tags":["a","b\n"]},"#,
            r#""node_name":"n","time":"1970-01-01T00:00:02.500Z"}"#,
            "\n"
        )
    );
}

#[test]
fn zero_arguments_are_shown() {
    assert_eq!(
        args_of(vec![
            Value::Int(0),
            Value::Uint(0),
            Value::Long(i64::MIN),
            Value::Size(u64::MAX),
            Value::String(String::new()),
            Value::Bytes(vec![]),
            Value::TruncatedBytes { bytes: vec![0, 255, 16], orig_size: 4096 },
        ]),
        concat!(
            r#"[{"int_arg":0},{"uint_arg":0},{"long_arg":"-9223372036854775808"},"#,
            r#"{"size_arg":"18446744073709551615"},{"string_arg":""},{"bytes_arg":""},"#,
            r#"{"truncated_bytes_arg":{"bytes_arg":"AP8Q","orig_size":"4096"}}]"#
        )
    );
}

#[test]
fn files_show_what_is_known_of_them() {
    let file = FilePath { path: "/etc/\u{fffd}".into(), unresolved: true, mode: 0o104755 };
    assert_eq!(
        args_of(vec![Value::File(file.clone()), Value::Path(FilePath::default()), Value::LinuxBinprm(file)]),
        concat!(
            r#"[{"file_arg":{"path":"/etc/"#,
            "\u{fffd}",
            r#"","flags":"unresolvedPathComponents","permission":"-rwsr-xr-x"}},{"path_arg":{}},"#,
            r#"{"linux_binprm_arg":{"path":"/etc/"#,
            "\u{fffd}",
            r#"","flags":"unresolvedPathComponents","permission":"-rwsr-xr-x"}}]"#
        )
    );
}

#[test]
fn sockets_and_packets_name_their_numbers() {
    let socket = Socket {
        family: 10,
        kind: 2,
        protocol: 17,
        mark: 5,
        priority: 6,
        saddr: "::1".parse().ok(),
        daddr: "::ffff:10.0.0.1".parse().ok(),
        sport: 1,
        dport: 65535,
        ..Socket::default()
    };
    let local = Socket { family: 1, kind: 1, cookie: 9, ..Socket::default() };
    let packet = Packet { hash: 1, len: 2, protocol: 250, family: 99, sec_path_olen: 4, ..Packet::default() };
    assert_eq!(
        args_of(vec![Value::Sock(socket.into()), Value::Sock(local.into()), Value::Skb(packet.into())]),
        concat!(
            r#"[{"sock_arg":{"family":"AF_INET6","type":"SOCK_DGRAM","protocol":"IPPROTO_UDP","mark":5,"#,
            r#""priority":6,"saddr":"::1","daddr":"::ffff:10.0.0.1","sport":1,"dport":65535}},"#,
            r#"{"sock_arg":{"family":"AF_UNIX","type":"SOCK_STREAM","protocol":"IPPROTO_IP","cookie":"9"}},"#,
            r#"{"skb_arg":{"hash":1,"len":2,"proto":250,"sec_path_olen":4,"protocol":"250","family":"99"}}]"#
        )
    );
}

#[test]
fn credentials_and_capabilities_use_the_protocols_names() {
    let credentials = Credentials {
        euid: 1000,
        securebits: 0b1_0000 | 1,
        caps: Some(Capabilities { permitted: 0b10, effective: 1 << 40, inheritable: 1 << 63 }),
        user_ns: Some(UserNamespace { level: 1, uid: 3, gid: 4, ns: Namespace { inum: 5, is_host: false } }),
        ..Credentials::default()
    };
    assert_eq!(
        args_of(vec![
            Value::Credentials(credentials.into()),
            Value::Capability(21),
            Value::Capability(-1),
            Value::CapSet(api::event::CapSetField::Effective, 0x1ff_ffff_ffff),
            Value::CapSet(api::event::CapSetField::KernelCap, 0),
            Value::SyscallId { id: 0, abi: SyscallAbi::I386 },
            Value::Error("Bad address".into()),
        ]),
        concat!(
            r#"[{"process_credentials_arg":{"uid":0,"gid":0,"euid":1000,"egid":0,"suid":0,"sgid":0,"fsuid":0,"#,
            r#""fsgid":0,"securebits":["SecBitNoRoot","SecBitKeepCaps"],"caps":{"permitted":["DAC_OVERRIDE"],"#,
            r#""effective":["CAP_CHECKPOINT_RESTORE"]},"user_ns":{"level":1,"uid":3,"gid":4,"ns":{"inum":5}}}},"#,
            r#"{"capability_arg":{"value":21,"name":"CAP_SYS_ADMIN"}},{"capability_arg":{"value":-1}},"#,
            r#"{"cap_effective_arg":"000001ffffffffff"},{"kernel_cap_t_arg":"0000000000000000"},"#,
            r#"{"syscall_id":{"abi":"i386"}},{"error_arg":{"Message":"Bad address"}}]"#
        )
    );
}

#[test]
fn labels_follow_their_values() {
    let event = kprobe(vec![Argument { value: Value::Int(1), label: Some("fd".into()) }]);
    assert!(line(&event).contains(r#""args":[{"int_arg":1,"label":"fd"}]"#));
}

#[test]
fn a_killed_process_in_a_pod_shows_both() {
    let pod = Pod {
        namespace: "ns".into(),
        name: "web".into(),
        uid: "u".into(),
        container: Some(Container {
            id: "containerd://1".into(),
            name: "c".into(),
            image: Some(Image { id: "sha".into(), name: "nginx".into() }),
            start_time: Some(Timestamp(1_000_000)),
            pid: Some(3),
            maybe_exec_probe: true,
            privileged: true,
        }),
        labels: [("app\"", "x"), ("b", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        workload: "web".into(),
        workload_kind: "Deployment".into(),
        ..Pod::default()
    };
    let process = Process::new(ProcessInfo {
        exec_id: ExecId::new("n", 5, 1),
        pid: 1,
        docker: "0123".into(),
        in_init_tree: Some(true),
        ..ProcessInfo::default()
    })
    .with(|info| info.pod = Some(Arc::new(pod)));
    let event = Event {
        body: Body::Exit(ProcessExit {
            process: Subject { process: Arc::new(process), tid: 1, refcnt: 3 },
            parent: None,
            ancestors: vec![],
            signal: 9,
            status: 0,
            time: Timestamp(0),
        }),
        node_name: "n".into(),
        time: Timestamp(0),
    };
    assert_eq!(
        line(&event),
        concat!(
            r#"{"process_exit":{"process":{"exec_id":"bjo1OjE=","pid":1,"pod":{"namespace":"ns","name":"web","#,
            r#""uid":"u","container":{"id":"containerd://1","name":"c","image":{"id":"sha","name":"nginx"},"#,
            r#""start_time":"1970-01-01T00:00:00.001Z","pid":3,"maybe_exec_probe":true,"#,
            r#""security_context":{"privileged":true}},"pod_labels":{"app\"":"x","b":""},"workload":"web","#,
            r#""workload_kind":"Deployment"},"docker":"0123","refcnt":3,"tid":1,"in_init_tree":true},"#,
            r#""signal":"SIGKILL","time":"1970-01-01T00:00:00Z"},"node_name":"n","time":"1970-01-01T00:00:00Z"}"#,
            "\n"
        )
    );
}
