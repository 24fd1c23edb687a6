//! In: one argument test and the values of a call. Out: whether it passes.
//!
//! A value that cannot be read fails every test, negated ones too. A text that is too long is known in part: what is
//! compared with a part that is missing is taken for different, so `NotEqual` and its like pass.

use std::net::IpAddr;

use crate::typed::{ArgTest, ArgType, IntTest, IntType, IpNet, Side, SockField, TextOp, TypedArg};

use super::call::{Call, PathValue, Value};

const S_IFMT: u16 = 0o170_000;
/// Bytes of a string that are read: 4096 with its NUL.
const STRING_LIMIT: usize = 4095;
/// Bytes of a buffer that are read.
const BUFFER_LIMIT: u64 = 4095;

/// Whether `test` passes on `value`, read the way `arg` says. `call` gives the length of buffers.
pub fn argument_matches(test: &ArgTest, arg: &TypedArg, value: &Value, call: &Call) -> bool {
    match test {
        ArgTest::Int { not, test } => {
            integer(arg.ty, value).is_some_and(|(int, signed)| int_passes(test, int, signed) != *not)
        }
        ArgTest::Text { not, op, values } => text(arg, value, call)
            .is_some_and(|text| values.iter().any(|value| text.passes(*op, value)) != *not),
        ArgTest::FileType { not, modes } => {
            path(value).is_some_and(|path| modes.contains(&(path.mode & S_IFMT)) != *not)
        }
        ArgTest::Addr { not, side, nets } => address(value, *side)
            .is_some_and(|addr| addr.is_some_and(|addr| nets.iter().any(|net| contains(*net, addr))) != *not),
        ArgTest::Port { not, side, ranges } => {
            port(value, *side).is_some_and(|port| port.is_some_and(|port| in_ranges(ranges, port)) != *not)
        }
        ArgTest::SockField { field, ranges } => {
            sock_field(value, *field).is_some_and(|found| in_ranges(ranges, found))
        }
    }
}

fn in_ranges<T: PartialOrd + Copy>(ranges: &[(T, T)], value: T) -> bool {
    ranges.iter().any(|(low, high)| *low <= value && value <= *high)
}

/// The argument as a 64-bit register holds it, and whether it compares signed.
pub(super) fn integer(ty: ArgType, value: &Value) -> Option<(u64, bool)> {
    let raw = match value {
        Value::Int(raw) | Value::CapSet(raw) | Value::Fd { number: raw, .. } => *raw,
        _ => return None,
    };
    match ty {
        ArgType::Int(int) => Some((int.canonical(raw), int.signed())),
        ArgType::Capability => Some((IntType::S32.canonical(raw), true)),
        ArgType::CapSet(_) | ArgType::Syscall64 | ArgType::Auto => Some((raw, false)),
        _ => None,
    }
}

fn int_passes(test: &IntTest, int: u64, signed: bool) -> bool {
    let less = |a: u64, b: u64| if signed { (a as i64) < (b as i64) } else { a < b };
    match test {
        IntTest::In(ranges) => ranges.iter().any(|(low, high)| !less(int, *low) && !less(*high, int)),
        IntTest::Greater(than) => less(*than, int),
        IntTest::Less(than) => less(int, *than),
        IntTest::Mask(mask) => int & mask != 0,
    }
}

fn path(value: &Value) -> Option<&PathValue> {
    match value {
        Value::Path(path) | Value::Fd { file: Some(path), .. } => Some(path),
        _ => None,
    }
}

/// What is missing of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Nothing,
    Start,
    End,
}

/// A text as far as it is known.
#[derive(Debug, Clone)]
pub(super) struct Text {
    /// The part that is known.
    pub bytes: Vec<u8>,
    missing: Missing,
}

impl Text {
    /// The first `limit` bytes of what is meant to be `len` bytes.
    fn start_of(bytes: &[u8], len: u64, limit: usize) -> Text {
        let missing = if len > limit as u64 { Missing::End } else { Missing::Nothing };
        Text { bytes: bytes.iter().copied().take(limit).collect(), missing }
    }

    fn passes(&self, op: TextOp, value: &[u8]) -> bool {
        let known = match (op, self.missing) {
            (_, Missing::Nothing) => true,
            (TextOp::Equal, _) => false,
            (TextOp::Prefix, missing) => missing == Missing::End,
            (TextOp::Postfix, missing) => missing == Missing::Start,
        };
        known && text_passes(op, &self.bytes, value)
    }
}

/// The text that a test compares; `None` if there is none to compare with.
pub(super) fn text(arg: &TypedArg, value: &Value, call: &Call) -> Option<Text> {
    match arg.ty {
        ArgType::String | ArgType::Filename | ArgType::Auto => match value {
            Value::Text(text) => Some(Text::start_of(text, text.len() as u64, STRING_LIMIT)),
            _ => None,
        },
        ArgType::CharBuf => buffer_bytes(arg, value, call)
            .map(|(asked, bytes)| Text::start_of(&bytes, asked, BUFFER_LIMIT as usize)),
        ArgType::File | ArgType::Fd | ArgType::Path | ArgType::Dentry | ArgType::LinuxBinprm => {
            let path = path(value).filter(|path| !path.text.is_empty())?;
            let missing = if path.complete { Missing::Nothing } else { Missing::Start };
            Some(Text { bytes: path.text.clone(), missing })
        }
        _ => None,
    }
}

/// The size that is asked of a buffer and its bytes: as many as its length argument says, at most 4095. Bytes
/// that are asked for and are not there make the whole buffer unreadable; one that is filled by the function is
/// unreadable before its return.
pub fn buffer_bytes(arg: &TypedArg, value: &Value, call: &Call) -> Option<(u64, Vec<u8>)> {
    let asked = buffer_size(arg, call)?;
    let bytes = match value {
        Value::Bytes(bytes) => bytes.as_slice(),
        // Nothing is asked, so nothing can fail.
        Value::Unreadable if asked == 0 => &[],
        _ => return None,
    };
    let wanted = asked.min(BUFFER_LIMIT) as usize;
    bytes.get(..wanted).map(|bytes| (asked, bytes.to_vec()))
}

fn buffer_size(arg: &TypedArg, call: &Call) -> Option<u64> {
    let size = match (arg.return_copy, arg.size_arg) {
        (true, _) => call.ret.as_ref()?,
        (false, Some(index)) => call.args.get(&index)?,
        (false, None) => return None,
    };
    match size {
        // A negative length is an error code or a caller's mistake.
        Value::Int(size) => u64::try_from(*size as i64).ok(),
        _ => None,
    }
}

pub(super) fn text_passes(op: TextOp, text: &[u8], value: &[u8]) -> bool {
    match op {
        TextOp::Equal => text == value,
        TextOp::Prefix => text.starts_with(value),
        TextOp::Postfix => text.ends_with(value),
    }
}

/// The address of one end; `Some(None)` for families that have none, which are in no network.
fn address(value: &Value, side: Side) -> Option<Option<IpAddr>> {
    let pair = match value {
        Value::Sock(sock) => sock.addrs,
        Value::Skb(skb) => skb.addrs,
        Value::Sockaddr(addr) => addr.addr.map(|addr| (addr, addr)),
        _ => return None,
    };
    Some(pair.map(|pair| end(pair, side)))
}

fn end<T>(pair: (T, T), side: Side) -> T {
    match side {
        Side::Source => pair.0,
        Side::Destination => pair.1,
    }
}

fn contains(net: IpNet, addr: IpAddr) -> bool {
    let mask = |width: u32| if net.prefix == 0 { 0 } else { u128::MAX << (width - u32::from(net.prefix)) };
    match (net.addr, addr.to_canonical()) {
        (IpAddr::V4(net), IpAddr::V4(addr)) => (net.to_bits() ^ addr.to_bits()) & mask(32) as u32 == 0,
        (IpAddr::V6(net), IpAddr::V6(addr)) => (net.to_bits() ^ addr.to_bits()) & mask(128) == 0,
        _ => false,
    }
}

/// The port of one end; `Some(None)` for families that have none, which are in no range.
fn port(value: &Value, side: Side) -> Option<Option<u16>> {
    let (inet, ports) = match value {
        Value::Sock(sock) => (sock.addrs.is_some(), sock.ports),
        Value::Skb(skb) => (skb.addrs.is_some(), skb.ports),
        Value::Sockaddr(addr) => (addr.addr.is_some(), (addr.port, addr.port)),
        _ => return None,
    };
    Some(inet.then(|| end(ports, side)))
}

fn sock_field(value: &Value, field: SockField) -> Option<u32> {
    let found = match (value, field) {
        (Value::Sock(sock), SockField::Family) => sock.family,
        (Value::Sock(sock), SockField::Protocol) => sock.protocol,
        (Value::Sock(sock), SockField::State) => sock.state,
        (Value::Skb(skb), SockField::Family) => skb.family,
        (Value::Skb(skb), SockField::Protocol) => skb.protocol,
        (Value::Sockaddr(addr), SockField::Family) => addr.family,
        _ => return None,
    };
    Some(u32::from(found))
}
