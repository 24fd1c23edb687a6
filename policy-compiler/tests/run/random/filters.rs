//! In: the arguments of a hook. Out: filters of every kind that the language allows on them.

use std::net::IpAddr;

use policy_compiler::typed::{
    ArgTest, ArgType, BinaryTest, CapabilitySet, CapabilityTest, Filter, FilterTest, IntTest, IntType, IpNet,
    NamespaceTest, NamespaceValue, PidTest, Side, SockField, TextOp, TypedArg,
};

use super::pools::{BINARIES, INTS, PIDS, PORTS, addresses, files, texts};
use super::workloads::workload_test;
use crate::choices::Choices;

/// A filter on one of the arguments or on the process.
pub fn filter(choices: &mut Choices<'_>, args: &[TypedArg], path: String) -> Filter {
    let on_process = args.is_empty() || choices.rarely(4);
    let test = if on_process { None } else { argument_filter(choices, args) };
    Filter { path, test: test.unwrap_or_else(|| process_filter(choices)) }
}

fn argument_filter(choices: &mut Choices<'_>, args: &[TypedArg]) -> Option<FilterTest> {
    let sets: Vec<usize> = (0..args.len()).filter(|i| matches!(args[*i].ty, ArgType::CapSet(_))).collect();
    if sets.len() >= 2 && choices.rarely(4) {
        return Some(FilterTest::CapabilitiesGained { old: sets[0], new: sets[1] });
    }
    let arg = choices.below(args.len());
    Some(FilterTest::Arg { arg, test: argument_test(choices, args[arg].ty)? })
}

/// A test that the language allows on this type; `None` if there is none.
pub fn argument_test(choices: &mut Choices<'_>, ty: ArgType) -> Option<ArgTest> {
    Some(match ty {
        ArgType::Int(int) => integer(choices, int, true),
        ArgType::Capability => integer(choices, IntType::S32, true),
        ArgType::Syscall64 => integer(choices, IntType::U64, true),
        ArgType::CapSet(_) => integer(choices, IntType::U64, false),
        ArgType::String | ArgType::CharBuf | ArgType::Filename => {
            text(choices, &texts(), ty == ArgType::String)
        }
        ArgType::File | ArgType::Path if choices.rarely(5) => {
            let modes =
                choices.list(1, 3, |c| c.of(&[0o100_000, 0o040_000, 0o140_000, 0o020_000, 0o120_000]));
            ArgTest::FileType { not: choices.flip(), modes: sorted(modes) }
        }
        ArgType::File | ArgType::Fd | ArgType::Path | ArgType::Dentry | ArgType::LinuxBinprm => {
            let paths: Vec<_> = files().into_iter().map(|(path, _)| path.into_bytes()).collect();
            text(choices, &paths, false)
        }
        ArgType::Sock | ArgType::Socket | ArgType::Skb | ArgType::Sockaddr => network(choices, ty),
        ArgType::Auto | ArgType::Cred | ArgType::Nop => return None,
    })
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort_unstable();
    values.dedup();
    values
}

/// Order of the type.
fn key(ty: IntType, value: u64) -> i128 {
    if ty.signed() { i128::from(value as i64) } else { i128::from(value) }
}

fn integer(choices: &mut Choices<'_>, ty: IntType, ranges: bool) -> ArgTest {
    let mut value = |choices: &mut Choices<'_>| ty.canonical(choices.of(&INTS));
    let test = match choices.below(if ranges { 6 } else { 5 }) {
        0 | 1 => {
            let values = choices.list(1, 4, &mut value);
            IntTest::In(merged(ty, values.into_iter().map(|v| (v, v)).collect()))
        }
        2 => IntTest::Greater(value(choices)),
        3 => IntTest::Less(value(choices)),
        4 => IntTest::Mask(value(choices)),
        _ => {
            // A table of many values, or ranges.
            let many = choices.rarely(3);
            let mut pairs = choices.list(1, 4, |c| (value(c), value(c)));
            if many {
                pairs.extend((0..60u64).map(|i| (ty.canonical(i * 7 % 120), ty.canonical(i * 7 % 120))));
            }
            IntTest::In(merged(ty, pairs))
        }
    };
    let comparison = matches!(test, IntTest::In(_));
    ArgTest::Int { not: comparison && choices.flip(), test }
}

/// Sorted in the type's order, joined where they touch, as `check` gives them.
fn merged(ty: IntType, pairs: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    let order = |(a, b): (u64, u64)| if key(ty, a) <= key(ty, b) { (a, b) } else { (b, a) };
    let mut pairs: Vec<_> = pairs.into_iter().map(order).collect();
    pairs.sort_by_key(|(low, _)| key(ty, *low));
    let mut out: Vec<(u64, u64)> = Vec::new();
    for (low, high) in pairs {
        match out.last_mut() {
            Some(last) if key(ty, low) <= key(ty, last.1) + 1 => {
                if key(ty, high) > key(ty, last.1) {
                    last.1 = high;
                }
            }
            _ => out.push((low, high)),
        }
    }
    out
}

fn text(choices: &mut Choices<'_>, pool: &[Vec<u8>], empty: bool) -> ArgTest {
    let op = choices.of(&[TextOp::Equal, TextOp::Prefix, TextOp::Postfix]);
    let many = choices.rarely(8);
    let mut values = choices.list(1, 4, |c| text_value(c, pool, op));
    if many {
        values.extend((0..40).map(|i| format!("/opt/app{i}/data").into_bytes()));
    }
    values.retain(|value| !value.is_empty() || (empty && op == TextOp::Equal));
    if values.is_empty() {
        values.push(b"abc".to_vec());
    }
    ArgTest::Text { not: choices.flip(), op, values: sorted(values) }
}

/// A value of the pool, a part of it, or a near miss.
fn text_value(choices: &mut Choices<'_>, pool: &[Vec<u8>], op: TextOp) -> Vec<u8> {
    let mut value = choices.of(pool);
    match choices.below(4) {
        1 if !value.is_empty() => {
            let cut = choices.below(value.len());
            if op == TextOp::Postfix {
                value.drain(..cut);
            } else {
                value.truncate(value.len() - cut);
            }
        }
        2 => value.push(b'x'),
        3 if op == TextOp::Postfix => value.insert(0, b'/'),
        _ => {}
    }
    let limit = match op {
        TextOp::Equal => 4095,
        TextOp::Prefix => 255,
        TextOp::Postfix => 127,
    };
    if value.len() > limit {
        if op == TextOp::Postfix {
            value.drain(..value.len() - limit);
        } else {
            value.truncate(limit);
        }
    }
    value
}

fn network(choices: &mut Choices<'_>, ty: ArgType) -> ArgTest {
    let address_only = ty == ArgType::Sockaddr;
    let side = if address_only || choices.flip() { Side::Source } else { Side::Destination };
    match choices.below(4) {
        0 => {
            let nets = choices.list(1, 4, net);
            ArgTest::Addr { not: choices.flip(), side, nets: sorted(nets) }
        }
        1 | 2 => {
            let ranges = choices.list(1, 3, |c| {
                let (a, b) = (c.of(&PORTS), c.of(&PORTS));
                if c.flip() { (a, a) } else { (a.min(b), a.max(b)) }
            });
            ArgTest::Port { not: choices.flip(), side, ranges: disjoint(ranges) }
        }
        _ => {
            let fields: &[SockField] = match ty {
                ArgType::Sockaddr => &[SockField::Family],
                ArgType::Skb => &[SockField::Family, SockField::Protocol],
                _ => &[SockField::Family, SockField::Protocol, SockField::State],
            };
            let field = choices.of(fields);
            let ranges = choices.list(1, 2, |c| {
                let value = c.of(&[2u32, 10, 1, 6, 17, 7]);
                (value, value + c.below(3) as u32)
            });
            ArgTest::SockField { field, ranges: disjoint(ranges) }
        }
    }
}

fn net(choices: &mut Choices<'_>) -> IpNet {
    let addr = choices.of(&addresses()).to_canonical();
    let width: u8 = if addr.is_ipv4() { 32 } else { 128 };
    let prefix = choices.of(&[width, 8, 24, 0, 31, 64, 65, 1]).min(width);
    let addr = match addr {
        IpAddr::V4(addr) => {
            let mask = u32::MAX.checked_shl(u32::from(32 - prefix)).unwrap_or(0);
            IpAddr::V4((addr.to_bits() & mask).into())
        }
        IpAddr::V6(addr) => {
            let mask = u128::MAX.checked_shl(u32::from(128 - prefix)).unwrap_or(0);
            IpAddr::V6((addr.to_bits() & mask).into())
        }
    };
    IpNet { addr, prefix }
}

/// Sorted and without overlap.
fn disjoint<T: Ord + Copy>(ranges: Vec<(T, T)>) -> Vec<(T, T)> {
    let mut out: Vec<(T, T)> = Vec::new();
    for (low, high) in sorted(ranges) {
        match out.last_mut() {
            Some(last) if low <= last.1 => last.1 = last.1.max(high),
            _ => out.push((low, high)),
        }
    }
    out
}

fn process_filter(choices: &mut Choices<'_>) -> FilterTest {
    match choices.below(6) {
        5 => FilterTest::Workloads(workload_test(choices)),
        0 => FilterTest::Binary(binary(choices)),
        1 => {
            let (not, follow_forks, namespace_pid) = (choices.flip(), choices.flip(), choices.flip());
            let values = sorted(choices.list(1, 4, |c| c.of(&PIDS)));
            FilterTest::Pids(PidTest { not, namespace_pid, follow_forks, values })
        }
        2 => FilterTest::ParentBinary(binary(choices)),
        3 => FilterTest::Namespace(NamespaceTest {
            not: choices.flip(),
            kind: choices.of(&policy_compiler::reference::Namespaces::KINDS),
            values: choices.list(1, 4, |c| {
                c.of(&[NamespaceValue::Host, NamespaceValue::Inode(7), NamespaceValue::Inode(8)])
            }),
        }),
        _ => FilterTest::Capabilities(CapabilityTest {
            not: choices.flip(),
            set: choices.of(&[
                CapabilitySet::Effective,
                CapabilitySet::Inheritable,
                CapabilitySet::Permitted,
            ]),
            namespace_only: choices.flip(),
            mask: choices.of(&[1 << 21, 1, 1 << 40, (1 << 21) | 1]),
        }),
    }
}

fn binary(choices: &mut Choices<'_>) -> BinaryTest {
    let op = choices.of(&[TextOp::Equal, TextOp::Prefix, TextOp::Postfix]);
    let pool: Vec<Vec<u8>> = BINARIES.iter().map(|path| path.as_bytes().to_vec()).collect();
    let mut values = choices.list(1, 3, |c| text_value(c, &pool, op));
    values.retain(|value| !value.is_empty());
    if values.is_empty() {
        values.push(b"/x".to_vec());
    }
    BinaryTest {
        not: choices.flip(),
        op,
        values: sorted(values),
        follow_children: op == TextOp::Equal && choices.flip(),
    }
}
