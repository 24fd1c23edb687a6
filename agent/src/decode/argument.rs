//! In: one argument of a hook record, and how the policy wants it shown. Out: its value.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::artefact::ArgField;
use api::event::{
    Argument, CapSetField, Capabilities, Credentials, FilePath, HookArg as Schema, Namespace, Packet, Socket,
    SocketAddress, SyscallAbi, UserNamespace, Value,
};
use bpf_programs::layout::{
    ARG_ERROR, ARG_TRUNCATED, ArgKind, CredArg, HookArg, Plain, SkbArg, SockArg, SockaddrArg, take,
};

use super::DecodeError;

/// The value of argument `at`; `None` for a placeholder.
pub(super) fn decode(
    schema: &Schema,
    at: usize,
    arg: HookArg,
    bytes: &[u8],
) -> Result<Option<Argument>, DecodeError> {
    if schema.field == ArgField::Nop {
        return Ok(None);
    }
    let value = if arg.flags & ARG_ERROR != 0 {
        Value::Error("Bad address".to_owned())
    } else {
        let mismatch = DecodeError::Mismatch { at, kind: arg.kind, len: arg.len, field: schema.field };
        value(schema.field, arg, bytes).ok_or(mismatch)?
    };
    Ok(Some(Argument { value, label: schema.label.clone() }))
}

/// `None`: the payload is of another kind than the field, or has the wrong length.
fn value(field: ArgField, arg: HookArg, bytes: &[u8]) -> Option<Value> {
    let kind = ArgKind::from_number(arg.kind)?;
    let value = match (field, kind) {
        // Narrow fields hold values that the program extended to 64 bits.
        (ArgField::Int, ArgKind::Int) => Value::Int(whole::<u64>(bytes)? as i32),
        (ArgField::Uint, ArgKind::Int) => Value::Uint(whole::<u64>(bytes)? as u32),
        (ArgField::Long, ArgKind::Int) => Value::Long(whole::<u64>(bytes)? as i64),
        (ArgField::Size, ArgKind::Int) => Value::Size(whole::<u64>(bytes)?),
        (ArgField::Capability, ArgKind::Int) => Value::Capability(whole::<u64>(bytes)? as i32),
        (ArgField::KernelCap, ArgKind::Int) => Value::CapSet(CapSetField::KernelCap, whole(bytes)?),
        (ArgField::CapInheritable, ArgKind::Int) => Value::CapSet(CapSetField::Inheritable, whole(bytes)?),
        (ArgField::CapPermitted, ArgKind::Int) => Value::CapSet(CapSetField::Permitted, whole(bytes)?),
        (ArgField::CapEffective, ArgKind::Int) => Value::CapSet(CapSetField::Effective, whole(bytes)?),
        (ArgField::SyscallId, ArgKind::Int) => syscall_id(whole(bytes)?),
        (ArgField::String, ArgKind::Text) => Value::String(text(bytes)),
        (ArgField::Bytes, ArgKind::Bytes) => sized_bytes(bytes)?,
        (ArgField::File, ArgKind::Path) => Value::File(file(arg, bytes)?),
        (ArgField::Path, ArgKind::Path) => Value::Path(file(arg, bytes)?),
        (ArgField::LinuxBinprm, ArgKind::Path) => Value::LinuxBinprm(file(arg, bytes)?),
        (ArgField::Sock, ArgKind::Sock) => Value::Sock(Box::new(socket(whole(bytes)?))),
        (ArgField::Sockaddr, ArgKind::Sockaddr) => Value::Sockaddr(sockaddr(whole(bytes)?)),
        (ArgField::Skb, ArgKind::Skb) => Value::Skb(Box::new(packet(whole(bytes)?))),
        (ArgField::Cred, ArgKind::Cred) => Value::Credentials(Box::new(credentials(whole(bytes)?))),
        _ => return None,
    };
    Some(value)
}

/// A payload that is one structure and nothing else.
fn whole<T: Plain>(bytes: &[u8]) -> Option<T> {
    let (value, rest) = take::<T>(bytes)?;
    rest.is_empty().then_some(value)
}

/// Text of the kernel or of a process, which need not be UTF-8.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn syscall_id(raw: u64) -> Value {
    // The programs set this bit for calls through the 32-bit table.
    const IS_32BIT: u32 = 1 << 31;
    let raw = raw as u32;
    let abi = if raw & IS_32BIT != 0 { SyscallAbi::I386 } else { SyscallAbi::X64 };
    Value::SyscallId { id: raw & !IS_32BIT, abi }
}

fn sized_bytes(bytes: &[u8]) -> Option<Value> {
    let (orig_size, data) = take::<u64>(bytes)?;
    let complete = usize::try_from(orig_size).is_ok_and(|size| size <= data.len());
    Some(match complete {
        true => Value::Bytes(data.to_vec()),
        false => Value::TruncatedBytes { bytes: data.to_vec(), orig_size },
    })
}

fn file(arg: HookArg, bytes: &[u8]) -> Option<FilePath> {
    let ([mode, _zero], path) = take::<[u32; 2]>(bytes)?;
    Some(FilePath {
        path: text(path),
        unresolved: arg.flags & ARG_TRUNCATED != 0,
        // umode_t has 16 bits.
        mode: mode as u16,
    })
}

/// An address of a family; `None` if the family is not an IP one.
fn address(family: u16, bytes: [u8; 16]) -> Option<IpAddr> {
    const AF_INET: u16 = 2;
    const AF_INET6: u16 = 10;
    match family {
        AF_INET => {
            let [a, b, c, d, ..] = bytes;
            Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        AF_INET6 => Some(IpAddr::V6(Ipv6Addr::from(bytes))),
        _ => None,
    }
}

fn socket(sock: SockArg) -> Socket {
    Socket {
        family: sock.family,
        kind: sock.kind,
        protocol: sock.protocol,
        state: sock.state,
        mark: sock.mark,
        priority: sock.priority,
        saddr: address(sock.family, sock.saddr),
        daddr: address(sock.family, sock.daddr),
        sport: sock.sport,
        dport: sock.dport,
        cookie: sock.cookie,
    }
}

fn sockaddr(sockaddr: SockaddrArg) -> SocketAddress {
    SocketAddress {
        family: sockaddr.family,
        addr: address(sockaddr.family, sockaddr.addr),
        port: sockaddr.port,
    }
}

fn packet(skb: SkbArg) -> Packet {
    Packet {
        hash: skb.hash,
        len: skb.len,
        priority: skb.priority,
        mark: skb.mark,
        saddr: address(skb.family, skb.saddr),
        daddr: address(skb.family, skb.daddr),
        sport: skb.sport,
        dport: skb.dport,
        protocol: skb.protocol,
        family: skb.family,
        sec_path_len: skb.sec_path_len,
        sec_path_olen: skb.sec_path_olen,
    }
}

fn credentials(cred: CredArg) -> Credentials {
    Credentials {
        uid: cred.uid,
        gid: cred.gid,
        euid: cred.euid,
        egid: cred.egid,
        suid: cred.suid,
        sgid: cred.sgid,
        fsuid: cred.fsuid,
        fsgid: cred.fsgid,
        securebits: cred.securebits,
        caps: Some(Capabilities {
            permitted: cred.permitted,
            effective: cred.effective,
            inheritable: cred.inheritable,
        }),
        user_ns: Some(UserNamespace {
            level: cred.user_ns_level,
            uid: cred.user_ns_owner,
            gid: cred.user_ns_group,
            // Only the initial user namespace has depth 0.
            ns: Namespace { inum: cred.user_ns_inum, is_host: cred.user_ns_level == 0 },
        }),
    }
}
