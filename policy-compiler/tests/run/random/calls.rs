//! In: a shape and the planted files. Out: calls of its hook.

use policy_compiler::reference::{
    Ancestor, Capabilities, Namespaces, Process, SkbValue, SockValue, SockaddrValue,
};
use std::net::IpAddr;

use super::pools::{BINARIES, INTS, PIDS, PORTS, addresses, texts};
use super::shapes::{Param, Shape};
use super::workloads::workload;
use crate::choices::Choices;
use crate::profile::HOST_NAMESPACES;
use crate::scenario::Scenario;
use crate::world::argument::ArgSpec;
use crate::world::files::Place;
use crate::world::network::{AF_INET, AF_INET6, TCP, UDP};

/// A call with random arguments by a random process.
pub fn scenario(choices: &mut Choices<'_>, shape: &Shape, places: &[Place], time: u64) -> Scenario {
    let mut args: Vec<ArgSpec> =
        shape.params.iter().map(|param| argument(choices, *param, places, shape.wild)).collect();
    let tracepoint = matches!(shape.point, policy_compiler::typed::HookPoint::Tracepoint { .. });
    for (index, param) in shape.params.iter().enumerate() {
        if let Param::Buffer { size, .. } = param {
            let length = size_of(choices, &args[index]);
            args[*size as usize] = match shape.params[*size as usize] {
                // Callers leave anything in the upper bits.
                Param::Int(ty) if ty.size() < 8 => {
                    let noise = choices.of(&INTS) << (8 * ty.size());
                    ArgSpec::Narrow { register: ty.canonical(length) ^ noise, ty }
                }
                _ => ArgSpec::Int(length),
            };
        }
    }
    if tracepoint {
        limit_record_texts(&mut args, &shape.params);
    }
    let ret = choices.of(&[0, u64::MAX, 3, -13i64 as u64, 100]);
    Scenario { point: shape.point.clone(), args, ret, process: process(choices), time }
}

/// Fixed arrays of a record have 16 bytes.
fn limit_record_texts(args: &mut [ArgSpec], params: &[Param]) {
    for (arg, param) in args.iter_mut().zip(params) {
        match (arg, param) {
            (ArgSpec::Text { text, .. }, Param::Text { user: false }) => text.truncate(15),
            (arg @ (ArgSpec::NullText | ArgSpec::Bad { .. }), Param::Text { user: false }) => {
                *arg = ArgSpec::Text { text: Vec::new(), user: false };
            }
            _ => {}
        }
    }
}

fn size_of(choices: &mut Choices<'_>, buffer: &ArgSpec) -> u64 {
    let len = match buffer {
        ArgSpec::Buffer { bytes, .. } => bytes.len() as u64,
        _ => 4,
    };
    match choices.below(6) {
        1 => len + 1,
        2 => len.saturating_sub(1),
        3 => 0,
        4 => u64::MAX,
        _ => len,
    }
}

fn argument(choices: &mut Choices<'_>, param: Param, places: &[Place], wild: bool) -> ArgSpec {
    let pointer = !matches!(param, Param::Int(_) | Param::Fd | Param::Capability | Param::SyscallNumber);
    if pointer && choices.rarely(12) {
        let user = matches!(
            param,
            Param::Text { user: true } | Param::Buffer { user: true, .. } | Param::Sockaddr { user: true }
        );
        if param == Param::Filename && !wild {
            return ArgSpec::NullText;
        }
        let text = matches!(param, Param::Text { .. });
        return if user || text || wild { ArgSpec::Bad { user } } else { ArgSpec::Null };
    }
    match param {
        Param::Int(_) | Param::Capability => ArgSpec::Int(choices.of(&INTS)),
        Param::SyscallNumber => ArgSpec::Int(choices.of(&[0, 1, 2, 3, 5, 21, 100, 257, 461])),
        Param::Fd => match choices.below(6) {
            5 => ArgSpec::ClosedFd(choices.of(&[0, 2, 77, 0xffff_ffff, u64::MAX])),
            _ => ArgSpec::Fd(choices.of(places)),
        },
        Param::File => ArgSpec::File(choices.of(places)),
        Param::Path => ArgSpec::Path(choices.of(places)),
        Param::Dentry => ArgSpec::Dentry(choices.of(places)),
        Param::Binprm => ArgSpec::Binprm(choices.of(places)),
        Param::Filename => ArgSpec::Filename(choices.of(&texts())),
        Param::Text { user } => {
            if choices.rarely(8) {
                return ArgSpec::NullText;
            }
            ArgSpec::Text { text: choices.of(&texts()), user }
        }
        Param::Buffer { user, .. } => ArgSpec::Buffer { bytes: choices.of(&texts()), user },
        Param::Sock => ArgSpec::Sock(sock(choices)),
        Param::Socket => ArgSpec::Socket(sock(choices)),
        Param::Sockaddr { user } => ArgSpec::Sockaddr { value: sockaddr(choices), user },
        Param::Skb => ArgSpec::Skb(skb(choices)),
        Param::CapSet => ArgSpec::CapSet(choices.of(&INTS)),
        Param::Cred => ArgSpec::Cred,
        Param::Opaque => ArgSpec::Int(0),
    }
}

/// Two addresses of the family that a socket of them has.
fn ends(choices: &mut Choices<'_>) -> (u16, (IpAddr, IpAddr)) {
    let pool = addresses();
    let first = choices.of(&pool);
    let same: Vec<_> = pool.into_iter().filter(|addr| addr.is_ipv4() == first.is_ipv4()).collect();
    (if first.is_ipv4() { AF_INET } else { AF_INET6 }, (first, choices.of(&same)))
}

fn sock(choices: &mut Choices<'_>) -> SockValue {
    let (family, addrs) = ends(choices);
    if choices.rarely(8) {
        return SockValue { family: 1, protocol: 0, state: 1, addrs: None, ports: (0, 0) };
    }
    SockValue {
        family,
        protocol: choices.of(&[TCP, UDP]),
        state: choices.of(&[1, 2, 7, 10]),
        addrs: Some(addrs),
        ports: (choices.of(&PORTS), choices.of(&PORTS)),
    }
}

fn sockaddr(choices: &mut Choices<'_>) -> SockaddrValue {
    let (family, addrs) = ends(choices);
    if choices.rarely(8) {
        return SockaddrValue { family: 1, addr: None, port: 0 };
    }
    SockaddrValue { family, addr: Some(addrs.0), port: choices.of(&PORTS) }
}

fn skb(choices: &mut Choices<'_>) -> SkbValue {
    let (family, addrs) = ends(choices);
    if choices.rarely(8) {
        return SkbValue::default();
    }
    // The last is ICMP, which has no ports.
    let protocol = choices.of(&[TCP, UDP, 1]);
    let ports = if protocol == 1 { (0, 0) } else { (choices.of(&PORTS), choices.of(&PORTS)) };
    SkbValue { family, protocol, addrs: Some(addrs), ports }
}

fn process(choices: &mut Choices<'_>) -> Process {
    let binary = |choices: &mut Choices<'_>| choices.of(&BINARIES).as_bytes().to_vec();
    let tgid = choices.of(&PIDS);
    let mut namespaces = Namespaces(HOST_NAMESPACES);
    for inode in &mut namespaces.0 {
        if choices.rarely(3) {
            *inode = choices.of(&[7, 8]);
        }
    }
    let set = |choices: &mut Choices<'_>| choices.of(&[0, 1 << 21, 1, (1 << 41) - 1, 1 << 40]);
    Process {
        tgid,
        tid: if choices.flip() { tgid } else { tgid + 1 },
        ns_pid: if choices.rarely(8) { 0 } else { choices.of(&PIDS) },
        known: !choices.rarely(8),
        binary: binary(choices),
        earlier: choices.list(0, 1, binary),
        ancestors: choices.list(0, 3, |c| Ancestor {
            tgid: c.of(&PIDS),
            ns_pid: c.of(&PIDS),
            binary: binary(c),
            earlier: Vec::new(),
        }),
        workload: workload(choices),
        namespaces,
        capabilities: Capabilities {
            effective: set(choices),
            inheritable: set(choices),
            permitted: set(choices),
        },
    }
}
