//! In: messages of hook arguments. Out: the arguments.

use std::net::IpAddr;

use super::UnknownPart;
use super::process::credentials;
use crate::event::{Argument, CapSetField, FilePath, Packet, Socket, SocketAddress, SyscallAbi, Value};
use crate::names::{ADDRESS_FAMILIES, NameTable, PROTOCOLS, SOCKET_TYPES, TCP_STATES};
use crate::permission;
use crate::tetragon::argument::{
    Arg, KprobeArgument, KprobeLinuxBinprm, KprobePath, KprobeSkb, KprobeSock, KprobeSockaddr, SyscallId,
};

/// An argument with its label.
pub(super) fn argument(message: KprobeArgument) -> Result<Argument, UnknownPart> {
    let value = match message.arg {
        Some(arg) => value(arg)?,
        // Better one hole than no event.
        None => Value::Error("a kind of argument that this ferra does not know".to_owned()),
    };
    let label = (!message.label.is_empty()).then(|| message.label.into());
    Ok(Argument { value, label })
}

fn value(arg: Arg) -> Result<Value, UnknownPart> {
    Ok(match arg {
        Arg::String(text) => Value::String(text),
        Arg::Int(value) => Value::Int(value),
        Arg::Uint(value) => Value::Uint(value),
        Arg::Long(value) => Value::Long(value),
        Arg::Size(value) => Value::Size(value),
        Arg::Bytes(bytes) => Value::Bytes(bytes),
        Arg::TruncatedBytes(message) => {
            Value::TruncatedBytes { bytes: message.bytes_arg, orig_size: message.orig_size }
        }
        Arg::Path(message) => Value::Path(file(message)?),
        Arg::File(message) => Value::File(file(message)?),
        Arg::LinuxBinprm(KprobeLinuxBinprm { path, flags, permission }) => {
            Value::LinuxBinprm(file(KprobePath { path, flags, permission })?)
        }
        Arg::Sock(message) => Value::Sock(Box::new(socket(&message)?)),
        Arg::Sockaddr(message) => Value::Sockaddr(socket_address(&message)?),
        Arg::Skb(message) => Value::Skb(Box::new(packet(&message)?)),
        Arg::Capability(message) => Value::Capability(message.value.unwrap_or(0)),
        Arg::ProcessCredentials(message) => Value::Credentials(Box::new(credentials(&message))),
        Arg::KernelCap(digits) => Value::CapSet(CapSetField::KernelCap, set(&digits)?),
        Arg::CapInheritable(digits) => Value::CapSet(CapSetField::Inheritable, set(&digits)?),
        Arg::CapPermitted(digits) => Value::CapSet(CapSetField::Permitted, set(&digits)?),
        Arg::CapEffective(digits) => Value::CapSet(CapSetField::Effective, set(&digits)?),
        Arg::SyscallId(SyscallId { id, abi }) => Value::SyscallId { id, abi: syscall_abi(&abi)? },
        Arg::Error(message) => Value::Error(message.message),
    })
}

fn set(digits: &str) -> Result<u64, UnknownPart> {
    u64::from_str_radix(digits, 16).map_err(|_| UnknownPart::new("capability set", digits))
}

fn syscall_abi(name: &str) -> Result<SyscallAbi, UnknownPart> {
    [SyscallAbi::X64, SyscallAbi::I386]
        .into_iter()
        .find(|abi| abi.name() == name)
        .ok_or_else(|| UnknownPart::new("system call ABI", name))
}

fn file(message: KprobePath) -> Result<FilePath, UnknownPart> {
    let mode = match message.permission.as_str() {
        "" => 0,
        text => permission::parse(text).ok_or_else(|| UnknownPart::new("file permission", text))?,
    };
    Ok(FilePath { path: message.path, unresolved: message.flags == KprobePath::UNRESOLVED, mode })
}

fn socket(message: &KprobeSock) -> Result<Socket, UnknownPart> {
    Ok(Socket {
        family: number(&message.family, &ADDRESS_FAMILIES)?,
        kind: number(&message.r#type, &SOCKET_TYPES)?,
        protocol: number(&message.protocol, &PROTOCOLS)?,
        state: number(&message.state, &TCP_STATES)?,
        mark: message.mark,
        priority: message.priority,
        saddr: address(&message.saddr)?,
        daddr: address(&message.daddr)?,
        sport: port(message.sport)?,
        dport: port(message.dport)?,
        cookie: message.cookie,
    })
}

fn socket_address(message: &KprobeSockaddr) -> Result<SocketAddress, UnknownPart> {
    let addr = match message.addr.as_str() {
        KprobeSockaddr::NO_ADDRESS => None,
        text => address(text)?,
    };
    let family = number(&message.family, &ADDRESS_FAMILIES)?;
    Ok(SocketAddress { family, addr, port: port(message.port)? })
}

fn packet(message: &KprobeSkb) -> Result<Packet, UnknownPart> {
    Ok(Packet {
        hash: message.hash,
        len: message.len,
        priority: message.priority,
        mark: message.mark,
        saddr: address(&message.saddr)?,
        daddr: address(&message.daddr)?,
        sport: port(message.sport)?,
        dport: port(message.dport)?,
        protocol: number(&message.protocol, &PROTOCOLS)?,
        family: number(&message.family, &ADDRESS_FAMILIES)?,
        sec_path_len: message.sec_path_len,
        sec_path_olen: message.sec_path_olen,
    })
}

/// Number of a name; an empty name is 0.
fn number(name: &str, names: &'static NameTable) -> Result<u16, UnknownPart> {
    if name.is_empty() {
        return Ok(0);
    }
    let number = names.number(name).and_then(|number| u16::try_from(number).ok());
    number.ok_or_else(|| UnknownPart::new("number with a name", name))
}

fn address(text: &str) -> Result<Option<IpAddr>, UnknownPart> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| UnknownPart::new("network address", text))
}

fn port(port: u32) -> Result<u16, UnknownPart> {
    u16::try_from(port).map_err(|_| UnknownPart::new("port", &port.to_string()))
}
