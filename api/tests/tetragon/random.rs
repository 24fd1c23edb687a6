//! Out: random events, of every kind and with every kind of argument.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use api::artefact::EventKind;
use api::event::{
    Action, Argument, Body, CapSetField, Capabilities, Container, Credentials, EnvVar, Event, ExecId,
    FilePath, Hook, HookEvent, Image, Namespace, Namespaces, Packet, Pod, Process, ProcessExec, ProcessExit,
    ProcessFlags, ProcessInfo, Socket, SocketAddress, Subject, SyscallAbi, Timestamp, UserNamespace, Value,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

/// Any event.
pub fn event() -> impl Strategy<Value = Event> {
    (body(), text(), time()).prop_map(|(body, node, time)| Event { body, node_name: node.into(), time })
}

fn body() -> impl Strategy<Value = Body> {
    let family = || (subject(), option::of(process()), vec(process(), 0..3));
    prop_oneof![
        family().prop_map(|(process, parent, ancestors)| Body::Exec(ProcessExec {
            process,
            parent,
            ancestors
        })),
        (family(), 0_u32..70, any::<u32>(), time()).prop_map(
            |((process, parent, ancestors), signal, status, time)| {
                Body::Exit(ProcessExit { process, parent, ancestors, signal, status, time })
            }
        ),
        hook_event(EventKind::Kprobe).prop_map(Body::Kprobe),
        hook_event(EventKind::Tracepoint).prop_map(Body::Tracepoint),
        hook_event(EventKind::Lsm).prop_map(Body::Lsm),
    ]
    .boxed()
}

fn hook_event(kind: EventKind) -> impl Strategy<Value = HookEvent> {
    let family = (subject(), option::of(process()), vec(process(), 0..2));
    let values = (vec(argument(), 0..4), option::of(argument()), action(), action());
    (family, hook(kind), values)
        .prop_map(move |((process, parent, ancestors), hook, (args, ret, action, return_action))| {
            let only_kprobe = |action| if kind == EventKind::Kprobe { action } else { Action::Unknown };
            HookEvent {
                process,
                parent,
                ancestors,
                hook: Arc::new(hook),
                args,
                ret: ret.filter(|_| kind == EventKind::Kprobe),
                action,
                return_action: only_kprobe(return_action),
            }
        })
        .boxed()
}

fn hook(event: EventKind) -> impl Strategy<Value = Hook> {
    (name(), name(), text(), text(), vec(text(), 0..3)).prop_map(
        move |(subsystem, name, policy_name, message, tags)| Hook {
            event,
            policy_namespace: String::new(),
            policy_name,
            subsystem: if event == EventKind::Tracepoint { subsystem } else { String::new() },
            name,
            message,
            tags,
            args: vec![],
            has_return: false,
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    prop::sample::select(Action::ALL.to_vec())
}

fn argument() -> impl Strategy<Value = Argument> {
    (value(), option::of("\\PC{1,8}"))
        .prop_map(|(value, label)| Argument { value, label: label.map(Into::into) })
        .boxed()
}

fn value() -> impl Strategy<Value = Value> {
    let bytes = || vec(any::<u8>(), 0..20);
    let field = prop::sample::select(vec![
        CapSetField::KernelCap,
        CapSetField::Inheritable,
        CapSetField::Permitted,
        CapSetField::Effective,
    ]);
    let abi = prop::sample::select(vec![SyscallAbi::X64, SyscallAbi::I386]);
    prop_oneof![
        text().prop_map(Value::String),
        any::<i32>().prop_map(Value::Int),
        any::<u32>().prop_map(Value::Uint),
        any::<i64>().prop_map(Value::Long),
        any::<u64>().prop_map(Value::Size),
        bytes().prop_map(Value::Bytes),
        (bytes(), any::<u64>()).prop_map(|(bytes, orig_size)| Value::TruncatedBytes { bytes, orig_size }),
        file().prop_map(Value::Path),
        file().prop_map(Value::File),
        file().prop_map(Value::LinuxBinprm),
        socket().prop_map(|socket| Value::Sock(Box::new(socket))),
        packet().prop_map(|packet| Value::Skb(Box::new(packet))),
        (any::<u16>(), option::of(any::<IpAddr>()), any::<u16>())
            .prop_map(|(family, addr, port)| Value::Sockaddr(SocketAddress { family, addr, port })),
        (-2_i32..64).prop_map(Value::Capability),
        credentials().prop_map(|credentials| Value::Credentials(Box::new(credentials))),
        (field, any::<u64>()).prop_map(|(field, set)| Value::CapSet(field, set)),
        (any::<u32>(), abi).prop_map(|(id, abi)| Value::SyscallId { id, abi }),
        text().prop_map(Value::Error),
    ]
    .boxed()
}

fn file() -> impl Strategy<Value = FilePath> {
    (text(), any::<bool>(), any::<u16>()).prop_map(|(path, unresolved, mode)| FilePath {
        path,
        unresolved,
        mode,
    })
}

fn socket() -> impl Strategy<Value = Socket> {
    let addresses = (option::of(any::<IpAddr>()), option::of(any::<IpAddr>()));
    (any::<[u16; 6]>(), any::<(u32, u32, u64)>(), addresses)
        .prop_map(
            |([family, kind, protocol, state, sport, dport], (mark, priority, cookie), (saddr, daddr))| {
                Socket {
                    // Numbers with names and without.
                    family: family % 64,
                    kind: kind % 12,
                    protocol,
                    state: state % 16,
                    mark,
                    priority,
                    saddr,
                    daddr,
                    sport,
                    dport,
                    cookie,
                }
            },
        )
        .boxed()
}

fn packet() -> impl Strategy<Value = Packet> {
    let addresses = (option::of(any::<IpAddr>()), option::of(any::<IpAddr>()));
    (any::<[u32; 6]>(), any::<[u16; 4]>(), addresses)
        .prop_map(|([hash, len, priority, mark, sec_path_len, sec_path_olen], ports, (saddr, daddr))| {
            let [sport, dport, protocol, family] = ports;
            Packet {
                hash,
                len,
                priority,
                mark,
                saddr,
                daddr,
                sport,
                dport,
                protocol: protocol % 300,
                family: family % 64,
                sec_path_len,
                sec_path_olen,
            }
        })
        .boxed()
}

fn credentials() -> impl Strategy<Value = Credentials> {
    let user_ns = (any::<i32>(), any::<u32>(), any::<u32>(), namespace())
        .prop_map(|(level, uid, gid, ns)| UserNamespace { level, uid, gid, ns });
    (any::<[u32; 8]>(), any::<u32>(), option::of(capabilities()), option::of(user_ns))
        .prop_map(|([uid, gid, euid, egid, suid, sgid, fsuid, fsgid], securebits, caps, user_ns)| {
            Credentials { uid, gid, euid, egid, suid, sgid, fsuid, fsgid, securebits, caps, user_ns }
        })
        .boxed()
}

fn capabilities() -> impl Strategy<Value = Capabilities> {
    any::<[u64; 3]>().prop_map(|[permitted, effective, inheritable]| Capabilities {
        permitted,
        effective,
        inheritable,
    })
}

fn namespace() -> impl Strategy<Value = Namespace> {
    (0_u32..3, any::<bool>()).prop_map(|(inum, is_host)| Namespace { inum, is_host: is_host && inum != 0 })
}

fn namespaces() -> impl Strategy<Value = Namespaces> {
    let pair = || (namespace(), namespace());
    (pair(), pair(), pair(), pair(), pair())
        .prop_map(
            |((uts, ipc), (mnt, pid), (pid_for_children, net), (time, time_for_children), (cgroup, user))| {
                Namespaces {
                    uts,
                    ipc,
                    mnt,
                    pid,
                    pid_for_children,
                    net,
                    time,
                    time_for_children,
                    cgroup,
                    user,
                }
            },
        )
        .boxed()
}

fn subject() -> impl Strategy<Value = Subject> {
    (process(), any::<u32>(), any::<u32>())
        .prop_map(|(process, tid, refcnt)| Subject { process, tid, refcnt })
        .boxed()
}

fn process() -> impl Strategy<Value = Arc<Process>> {
    let texts = (text(), text(), text(), text(), text(), text(), text());
    let numbers = (any::<u32>(), option::of(any::<u32>()), option::of(any::<u32>()), any::<u32>());
    let facts = (
        option::of(time()),
        option::of(pod()),
        option::of(capabilities()),
        option::of(namespaces()),
        option::of(credentials()),
        option::of(any::<bool>()),
        vec((text(), text()), 0..3),
    );
    (texts, numbers, facts)
        .prop_map(|(texts, (pid, uid, auid, flags), facts)| {
            let (exec_id, cwd, binary, arguments, docker, parent_exec_id, user) = texts;
            let (start_time, pod, cap, ns, credentials, in_init_tree, environment) = facts;
            Arc::new(Process::new(ProcessInfo {
                exec_id: ExecId(exec_id.into()),
                pid,
                uid,
                cwd: cwd.into(),
                binary: binary.into(),
                arguments: arguments.into(),
                // Bits without a word are not sent.
                flags: ProcessFlags(flags)
                    .words()
                    .filter_map(ProcessFlags::from_word)
                    .fold(ProcessFlags::default(), |all, flag| all | flag),
                start_time,
                auid,
                pod: pod.map(Arc::new),
                docker,
                parent_exec_id: ExecId(parent_exec_id.into()),
                cap,
                ns: ns.map(Box::new),
                credentials: credentials.map(Box::new),
                user,
                in_init_tree,
                environment: environment.into_iter().map(|(key, value)| EnvVar { key, value }).collect(),
            }))
        })
        .boxed()
}

fn pod() -> impl Strategy<Value = Pod> {
    (text(), text(), text(), option::of(container()), labels(), text(), text(), labels())
        .prop_map(|(namespace, name, uid, container, labels, workload, workload_kind, annotations)| Pod {
            namespace,
            name,
            uid,
            container,
            labels,
            workload,
            workload_kind,
            annotations,
        })
        .boxed()
}

fn container() -> impl Strategy<Value = Container> {
    let image = option::of((text(), text()).prop_map(|(id, name)| Image { id, name }));
    (text(), text(), image, option::of(time()), option::of(any::<u32>()), any::<(bool, bool)>())
        .prop_map(|(id, name, image, start_time, pid, (maybe_exec_probe, privileged))| Container {
            id,
            name,
            image,
            start_time,
            pid,
            maybe_exec_probe,
            privileged,
        })
        .boxed()
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(text(), text(), 0..3)
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![any::<u64>(), Just(0), 0_u64..2_000_000_000].prop_map(Timestamp)
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,8}"
}

/// A function's or tracepoint's.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_]{1,10}",
        Just("sys_enter".to_owned()),
        Just("tcp_connect".to_owned()),
        Just("__x64_sys_write".to_owned()),
    ]
}
