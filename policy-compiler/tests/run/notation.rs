//! In: arguments as file tests write them. Out: [`ArgSpec`]s.
//!
//! A word, or a mapping of one key: `{int: 5}`, `{file: /etc/passwd}`, `{file: /dev/null 020666}` with its mode,
//! `{file: deleted /tmp/x}`, `{text: abc}`, `{user_text: abc}`, `{sock: {from: "1.1.1.1:80", to: "[::1]:9"}}`…

use std::net::{IpAddr, SocketAddr};

use policy_compiler::reference::{SkbValue, SockValue, SockaddrValue};
use serde_yaml::Value;

use crate::world::World;
use crate::world::argument::ArgSpec;
use crate::world::files::Place;
use crate::world::network::{AF_INET, AF_INET6, TCP};

/// Reads one argument; files that it names are planted in `world`.
pub fn argument(value: &Value, world: &mut World<'_>) -> ArgSpec {
    if let Value::String(word) = value {
        return match word.as_str() {
            "cred" => ArgSpec::Cred,
            "null" => ArgSpec::Null,
            "null_text" => ArgSpec::NullText,
            "bad_user" => ArgSpec::Bad { user: true },
            "unix_sock" => ArgSpec::Sock(SockValue { family: 1, state: 1, ..SockValue::default() }),
            other => panic!("unknown argument `{other}`"),
        };
    }
    let mapping = value.as_mapping().unwrap_or_else(|| panic!("unknown argument {value:?}"));
    let (key, inner) = mapping.iter().next().expect("a mapping of one key");
    let key = key.as_str().expect("a key");
    match key {
        "int" => ArgSpec::Int(integer(inner)),
        "closed_fd" => ArgSpec::ClosedFd(integer(inner)),
        "caps" => ArgSpec::CapSet(integer(inner)),
        "sock" => ArgSpec::Sock(sock(inner)),
        "socket" => ArgSpec::Socket(sock(inner)),
        "skb" => {
            let SockValue { family, protocol, addrs, ports, .. } = sock(inner);
            ArgSpec::Skb(SkbValue { family, protocol, addrs, ports })
        }
        "sockaddr" => ArgSpec::Sockaddr { value: sockaddr(inner), user: false },
        "user_sockaddr" => ArgSpec::Sockaddr { value: sockaddr(inner), user: true },
        _ => textual(key, inner.as_str().expect("a text"), world),
    }
}

fn textual(key: &str, text: &str, world: &mut World<'_>) -> ArgSpec {
    let bytes = text.as_bytes().to_vec();
    match key {
        "text" => ArgSpec::Text { text: bytes, user: false },
        "user_text" => ArgSpec::Text { text: bytes, user: true },
        "buffer" => ArgSpec::Buffer { bytes, user: false },
        "user_buffer" => ArgSpec::Buffer { bytes, user: true },
        "filename" => ArgSpec::Filename(bytes),
        "file" => ArgSpec::File(place(text, world)),
        "fd" => ArgSpec::Fd(place(text, world)),
        "path" => ArgSpec::Path(place(text, world)),
        "dentry" => ArgSpec::Dentry(place(text, world)),
        "binprm" => ArgSpec::Binprm(place(text, world)),
        other => panic!("unknown argument `{other}`"),
    }
}

fn place(text: &str, world: &mut World<'_>) -> Place {
    if let Some(path) = text.strip_prefix("deleted ") {
        let place = world.open(path, 0o100_644);
        world.unlink(place);
        return place;
    }
    let (path, mode) = text.split_once(' ').unwrap_or((text, "0100644"));
    world.open(path, u16::from_str_radix(mode, 8).expect("an octal mode"))
}

fn integer(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_i64().map(|int| int as u64)).expect("an integer")
}

fn socket_address(value: &Value) -> SocketAddr {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no address: {value:?}"))
}

fn sock(value: &Value) -> SockValue {
    let end = |key: &str| value.get(key).map(socket_address).expect("`from` and `to`");
    let number = |key: &str, default: u16| value.get(key).map_or(default, |value| integer(value) as u16);
    let (from, to) = (end("from"), end("to"));
    SockValue {
        family: family(from.ip()),
        protocol: number("protocol", TCP),
        state: number("state", 1),
        addrs: Some((from.ip(), to.ip())),
        ports: (from.port(), to.port()),
    }
}

fn sockaddr(value: &Value) -> SockaddrValue {
    let address = socket_address(value);
    SockaddrValue { family: family(address.ip()), addr: Some(address.ip()), port: address.port() }
}

fn family(addr: IpAddr) -> u16 {
    if addr.is_ipv4() { AF_INET } else { AF_INET6 }
}
