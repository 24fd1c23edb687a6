//! In: hook arguments. Out: their messages.

use std::net::IpAddr;

use super::process::credentials;
use crate::event::{Argument, CapSetField, FilePath, Packet, Socket, SocketAddress, Value};
use crate::names::{ADDRESS_FAMILIES, CAPABILITIES, NameTable, PROTOCOLS, SOCKET_TYPES, TCP_STATES};
use crate::permission;
use crate::tetragon::argument::{
    Arg, KprobeArgument, KprobeCapability, KprobeError, KprobeLinuxBinprm, KprobePath, KprobeSkb, KprobeSock,
    KprobeSockaddr, KprobeTruncatedBytes, SyscallId,
};

/// An argument with its label.
pub(super) fn argument(argument: &Argument) -> KprobeArgument {
    KprobeArgument {
        arg: Some(value(&argument.value)),
        label: argument.label.as_deref().unwrap_or_default().to_owned(),
    }
}

fn value(value: &Value) -> Arg {
    match value {
        Value::String(text) => Arg::String(text.clone()),
        Value::Int(value) => Arg::Int(*value),
        Value::Uint(value) => Arg::Uint(*value),
        Value::Long(value) => Arg::Long(*value),
        Value::Size(value) => Arg::Size(*value),
        Value::Bytes(bytes) => Arg::Bytes(bytes.clone()),
        Value::TruncatedBytes { bytes, orig_size } => {
            Arg::TruncatedBytes(KprobeTruncatedBytes { bytes_arg: bytes.clone(), orig_size: *orig_size })
        }
        Value::Path(path) => Arg::Path(file(path)),
        Value::File(path) => Arg::File(file(path)),
        Value::LinuxBinprm(path) => {
            let KprobePath { path, flags, permission } = file(path);
            Arg::LinuxBinprm(KprobeLinuxBinprm { path, flags, permission })
        }
        Value::Sock(value) => Arg::Sock(socket(value)),
        Value::Sockaddr(value) => Arg::Sockaddr(socket_address(value)),
        Value::Skb(value) => Arg::Skb(packet(value)),
        Value::Capability(number) => Arg::Capability(capability(*number)),
        Value::Credentials(value) => Arg::ProcessCredentials(credentials(value)),
        Value::CapSet(field, set) => {
            let digits = format!("{set:016x}");
            match field {
                CapSetField::KernelCap => Arg::KernelCap(digits),
                CapSetField::Inheritable => Arg::CapInheritable(digits),
                CapSetField::Permitted => Arg::CapPermitted(digits),
                CapSetField::Effective => Arg::CapEffective(digits),
            }
        }
        Value::SyscallId { id, abi } => Arg::SyscallId(SyscallId { id: *id, abi: abi.name().to_owned() }),
        Value::Error(message) => Arg::Error(KprobeError { message: message.clone() }),
    }
}

fn file(file: &FilePath) -> KprobePath {
    let mut permission = String::new();
    if file.mode != 0 {
        permission::push(&mut permission, file.mode);
    }
    let flags = if file.unresolved { KprobePath::UNRESOLVED } else { "" };
    KprobePath { path: file.path.clone(), flags: flags.to_owned(), permission }
}

fn socket(socket: &Socket) -> KprobeSock {
    KprobeSock {
        family: name(socket.family, &ADDRESS_FAMILIES),
        r#type: name(socket.kind, &SOCKET_TYPES),
        protocol: name(socket.protocol, &PROTOCOLS),
        mark: socket.mark,
        priority: socket.priority,
        saddr: address(socket.saddr),
        daddr: address(socket.daddr),
        sport: socket.sport.into(),
        dport: socket.dport.into(),
        cookie: socket.cookie,
        state: if socket.state == 0 { String::new() } else { name(socket.state, &TCP_STATES) },
    }
}

fn socket_address(address: &SocketAddress) -> KprobeSockaddr {
    let addr = address.addr.map_or_else(|| KprobeSockaddr::NO_ADDRESS.to_owned(), |addr| addr.to_string());
    KprobeSockaddr { family: name(address.family, &ADDRESS_FAMILIES), addr, port: address.port.into() }
}

fn packet(packet: &Packet) -> KprobeSkb {
    KprobeSkb {
        hash: packet.hash,
        len: packet.len,
        priority: packet.priority,
        mark: packet.mark,
        saddr: address(packet.saddr),
        daddr: address(packet.daddr),
        sport: packet.sport.into(),
        dport: packet.dport.into(),
        proto: packet.protocol.into(),
        sec_path_len: packet.sec_path_len,
        sec_path_olen: packet.sec_path_olen,
        protocol: name(packet.protocol, &PROTOCOLS),
        family: name(packet.family, &ADDRESS_FAMILIES),
    }
}

fn capability(number: i32) -> KprobeCapability {
    let name = u32::try_from(number).ok().and_then(|number| CAPABILITIES.name(number));
    KprobeCapability { value: Some(number), name: name.unwrap_or_default().to_owned() }
}

fn name(number: u16, names: &'static NameTable) -> String {
    names.show(u32::from(number)).into_owned()
}

fn address(address: Option<IpAddr>) -> String {
    address.map(|address| address.to_string()).unwrap_or_default()
}
