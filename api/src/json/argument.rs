//! In: hook arguments. Out: `KprobeArgument` objects.

use std::fmt::Write;
use std::net::IpAddr;

use super::object::Object;
use super::process::write_credentials;
use crate::event::{Argument, CapSetField, FilePath, Packet, Socket, SocketAddress, Value};
use crate::names::{ADDRESS_FAMILIES, CAPABILITIES, NameTable, PROTOCOLS, SOCKET_TYPES, TCP_STATES};
use crate::number::{push_decimal, push_hex, push_signed};
use crate::permission;

/// Writes an argument into its object. Values are shown when they are zero, too, because they are chosen.
pub(super) fn write(argument: &Argument, mut to: Object) {
    match &argument.value {
        Value::String(text) => write_text("string_arg", text, &mut to),
        Value::Int(value) => to.signed("int_arg", *value),
        Value::Uint(value) => to.wrapped("uint_arg", *value),
        Value::Long(value) => to.built_string("long_arg", |out| push_signed(out, *value)),
        Value::Size(value) => to.built_string("size_arg", |out| push_decimal(out, *value)),
        Value::Bytes(bytes) => to.bytes("bytes_arg", bytes),
        Value::TruncatedBytes { bytes, orig_size } => {
            let mut inner = to.object("truncated_bytes_arg");
            if !bytes.is_empty() {
                inner.bytes("bytes_arg", bytes);
            }
            inner.long_number("orig_size", *orig_size);
            inner.close();
        }
        Value::Path(file) => write_file(file, to.object("path_arg")),
        Value::File(file) => write_file(file, to.object("file_arg")),
        Value::LinuxBinprm(file) => write_file(file, to.object("linux_binprm_arg")),
        Value::Sock(socket) => write_socket(socket, to.object("sock_arg")),
        Value::Sockaddr(address) => write_sockaddr(address, to.object("sockaddr_arg")),
        Value::Skb(packet) => write_packet(packet, to.object("skb_arg")),
        Value::Capability(number) => write_capability(*number, to.object("capability_arg")),
        Value::Credentials(credentials) => {
            write_credentials(credentials, to.object("process_credentials_arg"))
        }
        Value::CapSet(field, set) => to.built_string(cap_set_key(*field), |out| push_hex::<16>(out, *set)),
        Value::SyscallId { id, abi } => {
            let mut inner = to.object("syscall_id");
            inner.number("id", *id);
            inner.plain_string("abi", abi.name());
            inner.close();
        }
        Value::Error(message) => {
            let mut inner = to.object("error_arg");
            inner.string("Message", message);
            inner.close();
        }
    }
    if let Some(label) = &argument.label {
        to.string("label", label);
    }
    to.close();
}

fn write_text(key: &'static str, text: &str, to: &mut Object) {
    to.key(key);
    super::object::push_string(to.buffer(), text);
}

fn cap_set_key(field: CapSetField) -> &'static str {
    match field {
        CapSetField::KernelCap => "kernel_cap_t_arg",
        CapSetField::Inheritable => "cap_inheritable_arg",
        CapSetField::Permitted => "cap_permitted_arg",
        CapSetField::Effective => "cap_effective_arg",
    }
}

fn write_file(file: &FilePath, mut to: Object) {
    to.string("path", &file.path);
    if file.unresolved {
        to.plain_string("flags", "unresolvedPathComponents");
    }
    if file.mode != 0 {
        to.built_string("permission", |out| permission::push(out, file.mode));
    }
    to.close();
}

fn write_socket(socket: &Socket, mut to: Object) {
    write_name("family", socket.family, &ADDRESS_FAMILIES, &mut to);
    write_name("type", socket.kind, &SOCKET_TYPES, &mut to);
    write_name("protocol", socket.protocol, &PROTOCOLS, &mut to);
    to.number("mark", socket.mark);
    to.number("priority", socket.priority);
    write_address("saddr", socket.saddr, &mut to);
    write_address("daddr", socket.daddr, &mut to);
    to.number("sport", u32::from(socket.sport));
    to.number("dport", u32::from(socket.dport));
    to.long_number("cookie", socket.cookie);
    if socket.state != 0 {
        write_name("state", socket.state, &TCP_STATES, &mut to);
    }
    to.close();
}

fn write_sockaddr(address: &SocketAddress, mut to: Object) {
    write_name("family", address.family, &ADDRESS_FAMILIES, &mut to);
    match address.addr {
        Some(_) => write_address("addr", address.addr, &mut to),
        // The words that readers of these events know for "this family has no IP address".
        None => to.plain_string("addr", "invalid IP"),
    }
    to.number("port", u32::from(address.port));
    to.close();
}

fn write_packet(packet: &Packet, mut to: Object) {
    to.number("hash", packet.hash);
    to.number("len", packet.len);
    to.number("priority", packet.priority);
    to.number("mark", packet.mark);
    write_address("saddr", packet.saddr, &mut to);
    write_address("daddr", packet.daddr, &mut to);
    to.number("sport", u32::from(packet.sport));
    to.number("dport", u32::from(packet.dport));
    to.number("proto", u32::from(packet.protocol));
    to.number("sec_path_len", packet.sec_path_len);
    to.number("sec_path_olen", packet.sec_path_olen);
    write_name("protocol", packet.protocol, &PROTOCOLS, &mut to);
    write_name("family", packet.family, &ADDRESS_FAMILIES, &mut to);
    to.close();
}

fn write_name(key: &'static str, number: u16, names: &'static NameTable, to: &mut Object) {
    to.plain_string(key, &names.show(u32::from(number)));
}

fn write_address(key: &'static str, address: Option<IpAddr>, to: &mut Object) {
    if let Some(address) = address {
        // Writing to a String cannot fail.
        to.built_string(key, |out| {
            let _ = write!(out, "{address}");
        });
    }
}

fn write_capability(number: i32, mut to: Object) {
    to.signed("value", number);
    if let Some(name) = u32::try_from(number).ok().and_then(|number| CAPABILITIES.name(number)) {
        to.plain_string("name", name);
    }
    to.close();
}
