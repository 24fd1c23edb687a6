//! In: events of each kind. Out: proof that their compact lines are the ones that users know.

use std::sync::Arc;

use api::artefact::{EventKind, HookSchema};
use api::compact::{Style, write_line};
use api::event::{
    Action, Argument, Body, Capabilities, Event, FilePath, Hook, HookEvent, Pod, Process, ProcessExec,
    ProcessExit, ProcessInfo, Socket, SocketAddress, Subject, SyscallAbi, Text, Timestamp, Value,
};

fn info() -> ProcessInfo {
    ProcessInfo {
        pid: 1,
        binary: "/usr/bin/curl".into(),
        arguments: "cilium.io".into(),
        pod: Some(Arc::new(Pod { namespace: "kube-system".into(), name: "web".into(), ..Pod::default() })),
        ..ProcessInfo::default()
    }
}

fn subject(info: ProcessInfo) -> Subject {
    Subject { process: Arc::new(Process::new(info)), tid: 1, refcnt: 0 }
}

fn event(body: Body) -> Event {
    Event { body, node_name: "my node".into(), time: Timestamp(1_500_000_000) }
}

fn exec(info: ProcessInfo) -> Event {
    event(Body::Exec(ProcessExec { process: subject(info), parent: None, ancestors: vec![] }))
}

fn exit(signal: u32, status: u32) -> Event {
    event(Body::Exit(ProcessExit {
        process: subject(info()),
        parent: None,
        ancestors: vec![],
        signal,
        status,
        time: Timestamp(0),
    }))
}

fn hook_event(kind: EventKind, name: &str, values: Vec<Value>) -> HookEvent {
    let schema = HookSchema { event: kind as i32, name: name.into(), ..HookSchema::default() };
    HookEvent {
        process: subject(info()),
        parent: None,
        ancestors: vec![],
        hook: Arc::new(Hook::from_schema(&schema).unwrap()),
        args: values.into_iter().map(|value| Argument { value, label: None }).collect(),
        ret: None,
        action: Action::Post,
        return_action: Action::Post,
    }
}

fn line(event: &Event, style: Style) -> String {
    let mut out = String::from("before\n");
    write_line(event, style, &mut out);
    out.strip_prefix("before\n").unwrap().strip_suffix('\n').unwrap().to_owned()
}

fn plain(event: &Event) -> String {
    line(event, Style::default())
}

fn kprobe(name: &str, values: Vec<Value>) -> String {
    plain(&event(Body::Kprobe(hook_event(EventKind::Kprobe, name, values))))
}

fn tracepoint(name: &str, values: Vec<Value>) -> String {
    plain(&event(Body::Tracepoint(hook_event(EventKind::Tracepoint, name, values))))
}

fn file(path: &str) -> Value {
    Value::File(FilePath { path: path.into(), ..FilePath::default() })
}

fn string(text: &str) -> Value {
    Value::String(text.into())
}

fn socket() -> Value {
    Value::Sock(Box::new(Socket {
        family: 2,
        saddr: "10.0.0.1".parse().ok(),
        daddr: "2001:db8::1".parse().ok(),
        sport: 4000,
        dport: 443,
        ..Socket::default()
    }))
}

#[test]
fn processes() {
    assert_eq!(plain(&exec(info())), "🚀 process kube-system/web /usr/bin/curl cilium.io");
    assert_eq!(plain(&exit(9, 0)), "💥 exit    kube-system/web /usr/bin/curl cilium.io SIGKILL");
    assert_eq!(plain(&exit(0, 0)), "💥 exit    kube-system/web /usr/bin/curl cilium.io 0");
    assert_eq!(plain(&exit(0, 255)), "💥 exit    kube-system/web /usr/bin/curl cilium.io 255");
}

#[test]
fn on_the_host_the_node_is_the_place_and_words_with_spaces_are_quoted() {
    let info = ProcessInfo { pod: None, arguments: "-c \"a b\"\x1b[31m".into(), ..info() };
    assert_eq!(plain(&exec(info)), r#"🚀 process "my node" /usr/bin/curl "-c \"a b\"\x1b[31m""#);
    let info =
        ProcessInfo { pod: None, binary: "/a\nb".into(), arguments: Text::default(), ..info_of_host() };
    assert_eq!(plain(&exec(info)), "🚀 process \"my node\" \"/a\\nb\" ");
}

fn info_of_host() -> ProcessInfo {
    ProcessInfo { pod: None, ..info() }
}

#[test]
fn kprobes_that_have_words_of_their_own() {
    for (name, values, symbol, rest) in [
        ("__x64_sys_write", vec![file("/a"), string("x"), Value::Size(7)], "📝 write  ", "/a 7 bytes"),
        ("__x64_sys_read", vec![file("/a"), string("x"), Value::Size(7)], "📚 read   ", "/a 7 bytes"),
        ("sys_write", vec![Value::Int(1)], "📝 write  ", " "),
        ("fd_install", vec![Value::Int(3), file("/a b")], "📬 open   ", "\"/a b\""),
        ("__x64_sys_openat", vec![Value::Int(3), string("/a")], "📬️ openat ", "/a"),
        ("__arm64_sys_open", vec![Value::Int(3), string("/a")], "📬️ open   ", "/a"),
        ("__x64_sys_close", vec![file("/a")], "📪 close  ", "/a"),
        ("__x64_sys_mount", vec![string("tmpfs"), string("/mnt")], "💾 mount  ", "tmpfs /mnt"),
        ("__x64_sys_pivot_root", vec![string("a"), string("b")], "💾 pivot_root", "a b"),
        ("__x64_sys_setuid", vec![Value::Int(0)], "🔑 setuid ", "0"),
        ("__x64_sys_setns", vec![Value::Int(4), Value::Int(0x4000_0000)], "🔧 setns  ", "net"),
        ("__x64_sys_setns", vec![Value::Int(4), Value::Int(0)], "🔧 setns  ", "any"),
        ("tcp_connect", vec![socket()], "🔌 connect", "tcp 10.0.0.1:4000 -> 2001:db8::1:443"),
        ("tcp_close", vec![socket()], "🧹 close  ", "tcp 10.0.0.1:4000 -> 2001:db8::1:443"),
        (
            "tcp_sendmsg",
            vec![socket(), Value::Int(9)],
            "📤 sendmsg",
            "tcp 10.0.0.1:4000 -> 2001:db8::1:443 bytes 9",
        ),
        ("security_file_permission", vec![file("/etc/shadow"), Value::Int(4)], "📚 read   ", "/etc/shadow"),
        ("security_file_permission", vec![file("/etc/shadow"), Value::Int(2)], "📝 write  ", "/etc/shadow"),
        ("security_file_permission", vec![file("/a"), Value::Int(1)], "❓ security_file_permission", "/a"),
        ("security_mmap_file", vec![file("/a"), Value::Uint(7)], "📝 mmap-rwx", "/a"),
        ("security_mmap_file", vec![file("/a"), Value::Uint(5)], "📝 mmap-rx", "/a"),
        ("security_path_truncate", vec![file("/a")], "📝 truncate", "/a"),
        ("security_file_truncate", vec![file("/a")], "📝 truncate", "/a"),
        ("__x64_sys_unlink", vec![string("/a")], "❓ syscall", "__x64_sys_unlink"),
    ] {
        assert_eq!(kprobe(name, values), format!("{symbol} kube-system/web /usr/bin/curl {rest}"), "{name}");
    }
    assert_eq!(kprobe("__x64_sys_clock_settime", vec![]), "⏰ clock_settime kube-system/web /usr/bin/curl");
    assert_eq!(kprobe("proc_exec_connector", vec![]), "🔧 proc_exec_connector kube-system/web /usr/bin/curl");
}

#[test]
fn missing_or_strange_arguments_leave_their_place_empty() {
    let unix = Value::Sockaddr(SocketAddress { family: 1, addr: None, port: 0 });
    for name in ["sys_write", "fd_install", "sys_setuid", "sys_setns", "tcp_connect", "tcp_sendmsg"] {
        for values in [vec![], vec![Value::Error("Bad address".into()), unix.clone()]] {
            assert!(kprobe(name, values).trim_end().ends_with("kube-system/web /usr/bin/curl"), "{name}");
        }
    }
}

#[test]
fn tracepoints_name_system_calls() {
    for (value, name) in [
        (Value::SyscallId { id: 8, abi: SyscallAbi::X64 }, "lseek"),
        (Value::SyscallId { id: 11, abi: SyscallAbi::I386 }, "i386/execve"),
        (Value::SyscallId { id: 9999, abi: SyscallAbi::X64 }, "9999"),
        (Value::Long(59), "execve"),
        (Value::Size(0), "read"),
        (Value::Long(-1), "?"),
        (Value::Int(1), "?"),
    ] {
        let expected = format!("☎  syscall kube-system/web /usr/bin/curl {name}");
        assert_eq!(tracepoint("raw_syscalls/sys_enter", vec![value]), expected);
    }
    assert_eq!(
        tracepoint("sched/sched_switch", vec![]),
        "⁉️ tracepoint kube-system/web /usr/bin/curl sched sched_switch"
    );
}

#[test]
fn lsm_hooks() {
    let lsm = event(Body::Lsm(hook_event(EventKind::Lsm, "file_open", vec![file("/etc/passwd")])));
    assert_eq!(plain(&lsm), "🔒 LSM     kube-system/web /usr/bin/curl file_open");
}

#[test]
fn time_comes_first_if_asked_for() {
    let style = Style { timestamps: true, ..Style::default() };
    assert_eq!(
        line(&exec(info()), style),
        "1970-01-01T00:00:01.500000000Z 🚀 process kube-system/web /usr/bin/curl cilium.io"
    );
}

#[test]
fn colours_do_not_change_the_text() {
    let style = Style { color: true, ..Style::default() };
    assert_eq!(
        line(&exit(9, 0), style),
        "\x1b[34m💥 exit   \x1b[0m \x1b[33mkube-system/web\x1b[0m \x1b[32m/usr/bin/curl\x1b[0m \
         \x1b[36mcilium.io\x1b[0m \x1b[31mSIGKILL\x1b[0m"
    );
    let bare = ProcessInfo { arguments: Text::default(), ..info() };
    assert!(line(&exec(bare), style).ends_with("/usr/bin/curl\x1b[0m "));
}

#[test]
fn the_mighty_have_a_trailer_in_a_column_of_its_own() {
    let caps = |effective| Some(Capabilities { effective, ..Capabilities::default() });
    let mighty = ProcessInfo { cap: caps(1 << 21), ..info() };
    for color in [false, true] {
        let text = line(&exec(mighty.clone()), Style { color, ..Style::default() });
        let (before, trailer) = text.split_once("🛑").unwrap();
        assert!(trailer.starts_with(" CAP_SYS_ADMIN"));
        let escapes = if color { 5 * 5 + 4 * 4 } else { 0 };
        assert_eq!(before.chars().count() - escapes, 121);
    }
    let weak = ProcessInfo { cap: caps(!(1 << 21)), ..info() };
    assert!(!plain(&exec(weak)).contains("🛑"));
}
