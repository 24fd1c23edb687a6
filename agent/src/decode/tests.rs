//! In: records made by hand, right and wrong. Out: proof of what the decoder makes of them.

use std::sync::Arc;

use api::artefact::{ArgField, ArgSchema, EventKind, HookSchema};
use api::event::{Action, Argument, CapSetField, FilePath, Hook, SyscallAbi, Value};
use bpf_programs::layout::{
    ARG_ERROR, ARG_TRUNCATED, ArgKind, CredArg, HookArg, HookRecord, RecordHeader, SkbArg, SockArg,
    SockaddrArg, bytes_of,
};
use proptest::prelude::*;

use super::{DecodeError, DecodeErrors, DecodedHook, Reason, decode_hook};

fn hook(fields: &[ArgField], has_return: bool) -> Arc<Hook> {
    Arc::new(Hook::from_schema(&schema(fields, has_return)).unwrap())
}

fn schema(fields: &[ArgField], has_return: bool) -> HookSchema {
    HookSchema {
        policy_name: "p".into(),
        event: EventKind::Kprobe as i32,
        name: "f".into(),
        args: fields
            .iter()
            .enumerate()
            .map(|(at, field)| ArgSchema {
                field: *field as i32,
                label: format!("l{at}"),
                position: at as u32,
            })
            .collect(),
        has_return,
        ..HookSchema::default()
    }
}

fn arg(kind: ArgKind, flags: u16, payload: &[u8]) -> Vec<u8> {
    let head = HookArg { kind: kind as u16, flags, len: payload.len() as u32 };
    let mut bytes = bytes_of(&head).to_vec();
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn int(value: i64) -> Vec<u8> {
    arg(ArgKind::Int, 0, &value.to_ne_bytes())
}

fn path(mode: u32, flags: u16, text: &[u8]) -> Vec<u8> {
    let mut payload = bytes_of(&[mode, 0u32]).to_vec();
    payload.extend_from_slice(text);
    arg(ArgKind::Path, flags, &payload)
}

fn sized(size: u64, data: &[u8]) -> Vec<u8> {
    let mut payload = size.to_ne_bytes().to_vec();
    payload.extend_from_slice(data);
    arg(ArgKind::Bytes, 0, &payload)
}

fn head(nargs: u32) -> HookRecord {
    HookRecord {
        header: RecordHeader { kind: 5, flags: 0, len: 0, time: 99 },
        tgid: 10,
        tid: 11,
        process_start: 7,
        program: 3,
        hook: 2,
        selector: 1,
        action: 1,
        nargs,
    }
}

fn record(head: HookRecord, args: &[Vec<u8>]) -> Vec<u8> {
    let args = args.concat();
    let mut head = head;
    head.header.len = (size_of::<HookRecord>() + args.len()) as u32;
    [bytes_of(&head), &args].concat()
}

fn decode(hook: &Arc<Hook>, record: &[u8]) -> Result<DecodedHook, DecodeError> {
    decode_hook(record, |program, index| ((program, index) == (3, 2)).then_some(hook))
}

/// The one value of a record with one argument.
fn value_of(field: ArgField, argument: Vec<u8>) -> Value {
    let decoded = decode(&hook(&[field], false), &record(head(1), &[argument])).unwrap();
    assert_eq!(decoded.ret, None);
    decoded.args.into_iter().next().unwrap().value
}

#[test]
fn the_head_is_read() {
    let decoded = decode(&hook(&[], false), &record(head(0), &[])).unwrap();
    assert_eq!((decoded.time, decoded.tgid, decoded.tid), (99, 10, 11));
    assert_eq!((decoded.process_start, decoded.selector), (Some(7), Some(1)));
    assert_eq!((decoded.action, decoded.return_action), (Action::Post, Action::Post));

    let mut other = HookRecord { process_start: 0, selector: 0xffff, action: 5, ..head(0) };
    other.header.flags = 10;
    let decoded = decode(&hook(&[], false), &record(other, &[])).unwrap();
    assert_eq!((decoded.process_start, decoded.selector), (None, None));
    assert_eq!((decoded.action, decoded.return_action), (Action::Override, Action::Signal));
}

#[test]
fn arguments_have_labels_and_the_last_may_be_the_return_value() {
    let hook = hook(&[ArgField::Int, ArgField::Nop, ArgField::String, ArgField::Int], true);
    let args = [int(-1), arg(ArgKind::None, 0, &[]), arg(ArgKind::Text, 0, b"abc"), int(-13)];
    let decoded = decode(&hook, &record(head(4), &args)).unwrap();
    let argument = |value, label: &str| Argument { value, label: Some(label.into()) };
    assert_eq!(decoded.args, [argument(Value::Int(-1), "l0"), argument(Value::String("abc".into()), "l2")]);
    assert_eq!(decoded.ret, Some(argument(Value::Int(-13), "l3")));
}

#[test]
fn values_are_put_where_the_event_has_them() {
    // Texts come last in the record; the return value is the one with the highest position.
    let mut schema = schema(&[ArgField::Int, ArgField::Int, ArgField::String], true);
    for (arg, position) in schema.args.iter_mut().zip([1, 2, 0]) {
        arg.position = position;
    }
    let hook = Arc::new(Hook::from_schema(&schema).unwrap());
    let decoded = decode(&hook, &record(head(3), &[int(4), int(-1), arg(ArgKind::Text, 0, b"abc")])).unwrap();
    let values: Vec<_> = decoded.args.into_iter().map(|arg| arg.value).collect();
    assert_eq!(values, [Value::String("abc".into()), Value::Int(4)]);
    assert_eq!(decoded.ret.map(|ret| ret.value), Some(Value::Int(-1)));
}

#[test]
fn integers_take_the_width_of_their_field() {
    for (field, raw, value) in [
        (ArgField::Int, i64::from(i32::MIN), Value::Int(i32::MIN)),
        (ArgField::Uint, 0xffff_ffff, Value::Uint(u32::MAX)),
        (ArgField::Long, -2, Value::Long(-2)),
        (ArgField::Size, -1, Value::Size(u64::MAX)),
        (ArgField::Capability, 21, Value::Capability(21)),
        (ArgField::KernelCap, 5, Value::CapSet(CapSetField::KernelCap, 5)),
        (ArgField::CapInheritable, 5, Value::CapSet(CapSetField::Inheritable, 5)),
        (ArgField::CapPermitted, 5, Value::CapSet(CapSetField::Permitted, 5)),
        (ArgField::CapEffective, 5, Value::CapSet(CapSetField::Effective, 5)),
        (ArgField::SyscallId, 8, Value::SyscallId { id: 8, abi: SyscallAbi::X64 }),
        (ArgField::SyscallId, 0x8000_000b, Value::SyscallId { id: 11, abi: SyscallAbi::I386 }),
    ] {
        assert_eq!(value_of(field, int(raw)), value);
    }
}

#[test]
fn text_that_is_not_utf8_is_repaired() {
    let value = value_of(ArgField::String, arg(ArgKind::Text, ARG_TRUNCATED, b"a\xff\xc3"));
    assert_eq!(value, Value::String("a\u{fffd}\u{fffd}".into()));
}

#[test]
fn paths_have_mode_and_flag() {
    let file = |path: &str, unresolved, mode| FilePath { path: path.into(), unresolved, mode };
    assert_eq!(
        value_of(ArgField::File, path(0o100644, 0, b"/etc/passwd")),
        Value::File(file("/etc/passwd", false, 0o100644))
    );
    assert_eq!(
        value_of(ArgField::Path, path(0o40755, ARG_TRUNCATED, b"b/c")),
        Value::Path(file("b/c", true, 0o40755))
    );
    assert_eq!(value_of(ArgField::LinuxBinprm, path(0, 0, b"")), Value::LinuxBinprm(file("", false, 0)));
}

#[test]
fn bytes_say_when_there_were_more() {
    assert_eq!(value_of(ArgField::Bytes, sized(3, b"abc")), Value::Bytes(b"abc".to_vec()));
    assert_eq!(value_of(ArgField::Bytes, sized(0, b"")), Value::Bytes(vec![]));
    assert_eq!(
        value_of(ArgField::Bytes, sized(u64::MAX, b"abc")),
        Value::TruncatedBytes { bytes: b"abc".to_vec(), orig_size: u64::MAX }
    );
}

fn sock() -> SockArg {
    let mut saddr = [0; 16];
    saddr[..4].copy_from_slice(&[10, 0, 0, 1]);
    SockArg {
        family: 2,
        kind: 1,
        protocol: 6,
        state: 2,
        mark: 3,
        priority: 4,
        sport: 5,
        dport: 6,
        zero: 0,
        saddr,
        daddr: [0; 16],
        cookie: 7,
    }
}

#[test]
fn sockets_have_addresses_of_their_family() {
    let Value::Sock(socket) = value_of(ArgField::Sock, arg(ArgKind::Sock, 0, bytes_of(&sock()))) else {
        panic!("not a socket")
    };
    assert_eq!(
        (socket.family, socket.kind, socket.protocol, socket.state, socket.mark, socket.priority),
        (2, 1, 6, 2, 3, 4)
    );
    assert_eq!((socket.saddr, socket.daddr), ("10.0.0.1".parse().ok(), "0.0.0.0".parse().ok()));
    assert_eq!((socket.sport, socket.dport, socket.cookie), (5, 6, 7));

    let mut address = [0; 16];
    address[15] = 1;
    for (family, shown) in [(10, "::1".parse().ok()), (1, None)] {
        let raw = SockaddrArg { family, port: 53, zero: 0, addr: address };
        let Value::Sockaddr(value) = value_of(ArgField::Sockaddr, arg(ArgKind::Sockaddr, 0, bytes_of(&raw)))
        else {
            panic!("not an address")
        };
        assert_eq!((value.family, value.addr, value.port), (family, shown, 53));
    }
}

#[test]
fn packets_and_credentials_keep_every_member() {
    let skb = SkbArg {
        hash: 1,
        len: 2,
        priority: 3,
        mark: 4,
        family: 2,
        protocol: 17,
        sport: 5,
        dport: 6,
        saddr: [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        daddr: [0; 16],
        sec_path_len: 7,
        sec_path_olen: 8,
    };
    let Value::Skb(packet) = value_of(ArgField::Skb, arg(ArgKind::Skb, 0, bytes_of(&skb))) else {
        panic!("not a packet")
    };
    assert_eq!((packet.hash, packet.len, packet.priority, packet.mark), (1, 2, 3, 4));
    assert_eq!((packet.family, packet.protocol, packet.sport, packet.dport), (2, 17, 5, 6));
    assert_eq!((packet.saddr, packet.daddr), ("127.0.0.1".parse().ok(), "0.0.0.0".parse().ok()));
    assert_eq!((packet.sec_path_len, packet.sec_path_olen), (7, 8));

    let cred = CredArg {
        uid: 1,
        gid: 2,
        euid: 3,
        egid: 4,
        suid: 5,
        sgid: 6,
        fsuid: 7,
        fsgid: 8,
        permitted: 9,
        effective: 10,
        inheritable: 11,
        securebits: 12,
        user_ns_level: 0,
        user_ns_owner: 13,
        user_ns_group: 14,
        user_ns_inum: 15,
        zero: 0,
    };
    let Value::Credentials(found) = value_of(ArgField::Cred, arg(ArgKind::Cred, 0, bytes_of(&cred))) else {
        panic!("no credentials")
    };
    let ids =
        [found.uid, found.gid, found.euid, found.egid, found.suid, found.sgid, found.fsuid, found.fsgid];
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7, 8]);
    let caps = found.caps.unwrap();
    assert_eq!((caps.permitted, caps.effective, caps.inheritable, found.securebits), (9, 10, 11, 12));
    let user_ns = found.user_ns.unwrap();
    assert_eq!((user_ns.level, user_ns.uid, user_ns.gid, user_ns.ns.inum), (0, 13, 14, 15));
    assert!(user_ns.ns.is_host);
}

#[test]
fn what_could_not_be_read_is_shown_as_such() {
    for field in [ArgField::File, ArgField::String, ArgField::Sock, ArgField::Int] {
        let value = value_of(field, arg(ArgKind::None, ARG_ERROR, &[]));
        assert_eq!(value, Value::Error("Bad address".into()));
    }
    // Values of fixed size keep their place.
    let value = value_of(ArgField::Sock, arg(ArgKind::Sock, ARG_ERROR, &[0; 64]));
    assert_eq!(value, Value::Error("Bad address".into()));
}

#[test]
fn malformed_records_are_errors_with_a_reason() {
    let one = hook(&[ArgField::Int], false);
    let good = record(head(1), &[int(1)]);
    let mut long_argument = good.clone();
    long_argument[52..56].copy_from_slice(&u32::MAX.to_ne_bytes());
    let mut long_record = good.clone();
    long_record[4..8].copy_from_slice(&65u32.to_ne_bytes());
    let mut short_record = good.clone();
    short_record[4..8].copy_from_slice(&47u32.to_ne_bytes());
    let mut exit = head(1);
    exit.header.kind = 4;
    let mut errors = DecodeErrors::default();
    for (bytes, reason) in [
        (vec![], Reason::Truncated),
        (good[..47].to_vec(), Reason::Truncated),
        (good[..63].to_vec(), Reason::Truncated),
        (long_argument, Reason::Truncated),
        (long_record, Reason::Truncated),
        (short_record, Reason::Truncated),
        (record(head(1), &[]), Reason::Truncated),
        (record(exit, &[int(1)]), Reason::NotAHook),
        (record(HookRecord { program: 4, ..head(1) }, &[int(1)]), Reason::UnknownHook),
        (record(HookRecord { hook: 0, ..head(1) }, &[int(1)]), Reason::UnknownHook),
        (record(head(2), &[int(1), int(2)]), Reason::Schema),
        (record(head(0), &[]), Reason::Schema),
        (record(head(1), &[arg(ArgKind::Text, 0, b"12345678")]), Reason::Schema),
        (record(head(1), &[arg(ArgKind::Int, 0, b"1234567")]), Reason::Schema),
        (record(head(1), &[arg(ArgKind::Int, 0, b"123456789")]), Reason::Schema),
        (record(head(1), &[arg(ArgKind::None, 0, b"")]), Reason::Schema),
    ] {
        let before = errors.of(reason);
        let error = decode(&one, &bytes).unwrap_err();
        errors.count(&error);
        assert_eq!(error.reason(), reason, "{error}");
        assert_eq!(errors.of(reason), before + 1);
    }
    assert_eq!(errors.total(), 16);
}

const FIELDS: [ArgField; 20] = [
    ArgField::Int,
    ArgField::Uint,
    ArgField::Long,
    ArgField::Size,
    ArgField::String,
    ArgField::Bytes,
    ArgField::File,
    ArgField::Path,
    ArgField::LinuxBinprm,
    ArgField::Sock,
    ArgField::Sockaddr,
    ArgField::Skb,
    ArgField::Cred,
    ArgField::Capability,
    ArgField::KernelCap,
    ArgField::CapInheritable,
    ArgField::CapPermitted,
    ArgField::CapEffective,
    ArgField::SyscallId,
    ArgField::Nop,
];

proptest! {
    #[test]
    fn no_bytes_panic(
        field in proptest::sample::select(&FIELDS),
        kind in 0u16..12,
        flags in 0u16..4,
        payload in proptest::collection::vec(any::<u8>(), 0..120),
        len in proptest::option::of(any::<u32>()),
        cut in proptest::option::of(0usize..200),
    ) {
        let hook = hook(&[field, field], true);
        let mut argument = bytes_of(&HookArg { kind, flags, len: len.unwrap_or(payload.len() as u32) }).to_vec();
        argument.extend_from_slice(&payload);
        argument.resize(argument.len().next_multiple_of(8), 0);
        let mut bytes = record(head(2), &[argument.clone(), argument]);
        bytes.truncate(cut.unwrap_or(usize::MAX));
        // Either is fine; what is decoded can be shown.
        if let Ok(decoded) = decode(&hook, &bytes) {
            prop_assert!(decoded.args.len() <= 1);
        }
    }

    #[test]
    fn noise_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = decode(&hook(&[ArgField::File], false), &bytes);
    }
}
