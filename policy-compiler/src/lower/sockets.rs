//! In: `sock`, `socket`, `skb` and `sockaddr` arguments. Out: a flat tuple on the stack (for tests) or in the event.

use super::frame::{Helper, slot};
use super::{Lower, Lowered};
use crate::emit::{Alu, Cond, FP, Label, R0, R1, R2, R3, R4, R5, R8, Reg, Size};
use crate::plan::{Bank, Test, TestUse};
use crate::resolve::ResolvedArg;
use crate::typed::{ArgType, IpNet, Side, SockField};
use std::net::IpAddr;

/// Where fields go, in bytes from a base. `None`: the field is not wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tuple {
    pub base: Reg,
    pub at: i16,
    pub family: i16,
    pub protocol: i16,
    pub sport: i16,
    pub dport: i16,
    pub saddr: i16,
    pub daddr: i16,
}

/// `struct sock_arg`.
pub(super) const SOCK: Tuple =
    Tuple { base: FP, at: slot::TUPLE, family: 0, protocol: 4, sport: 16, dport: 18, saddr: 24, daddr: 40 };
/// `struct skb_arg`.
pub(super) const SKB: Tuple =
    Tuple { base: FP, at: 0, family: 16, protocol: 18, sport: 20, dport: 22, saddr: 24, daddr: 40 };
/// `struct sockaddr_arg`; it has no destination.
pub(super) const SOCKADDR: Tuple =
    Tuple { base: FP, at: 0, family: 0, protocol: 4, sport: 2, dport: 6, saddr: 8, daddr: 8 };

const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;

impl Test {
    /// The argument of a socket test.
    pub(super) fn socket_arg(&self) -> Option<usize> {
        match self {
            Test::Addr { arg, .. } | Test::Port { arg, .. } | Test::SockField { arg, .. } => Some(*arg),
            _ => None,
        }
    }
}

impl Lower<'_> {
    /// Fills the stack's tuple; if the socket cannot be read, all selectors that test it are cleared.
    pub(super) fn read_tuple(&mut self, arg: usize, first: &TestUse, bank: &Bank) -> Lowered<()> {
        let Some(resolved) = self.program.args.get(arg).copied() else { return Ok(()) };
        let asked = bank.tests.iter().filter(|test| test.test.socket_arg() == Some(arg));
        let asked = asked.fold(first.asked(), |mask, test| mask | test.asked());
        let read = self.asm.label();
        let unread = self.asm.label();
        // Zeroed in any case: before 5.12 the verifier refuses a read of what some way leaves unwritten.
        for word in 0..8 {
            self.asm.store_imm(Size::D, FP, slot::TUPLE + 8 * word, 0);
        }
        self.skip_unless_asked(asked, read);
        match resolved.ty {
            ArgType::Sock | ArgType::Socket => self.sock_fields(resolved, SOCK, false, unread)?,
            ArgType::Skb => self.skb_fields(resolved, SOCK, unread)?,
            _ => self.sockaddr_fields(resolved, SOCK, unread)?,
        }
        self.asm.jump(read);
        self.asm.bind(unread);
        self.clear(asked);
        self.asm.bind(read);
        Ok(())
    }

    /// Socket fields into `to`; `display`: also those that only events show. The target is zeroed already.
    pub(super) fn sock_fields(
        &mut self,
        arg: ResolvedArg,
        to: Tuple,
        display: bool,
        unread: Label,
    ) -> Lowered<()> {
        self.fetch(R8, arg.fetch);
        self.asm.jump_if(Cond::Eq, R8, 0, unread);
        if arg.ty == ArgType::Socket {
            // By a probe read: the verifier takes `sk` for never NULL, as `d_inode` (see `mode_of_dentry`).
            self.chase(R8, &[("socket", "sk")], false)?;
            self.asm.jump_if(Cond::Eq, R8, 0, unread);
        }
        let typed = arg.typed && arg.ty == ArgType::Sock;
        let put = |lower: &mut Self, member: &str, size: Size, wide: Size, at: i16| -> Lowered<()> {
            let off = lower.offset("sock", member)?;
            lower.load(size, R1, R8, off, typed);
            lower.asm.store(wide, to.base, to.at + at, R1);
            Ok(())
        };
        put(self, "__sk_common.skc_family", Size::H, Size::H, to.family)?;
        self.jump_if_unread(typed, unread);
        put(self, "sk_protocol", self.width("sock", "sk_protocol"), Size::H, to.protocol)?;
        put(self, "__sk_common.skc_state", Size::B, Size::H, 6)?;
        put(self, "__sk_common.skc_num", Size::H, Size::H, to.sport)?;
        if display {
            put(self, "sk_type", Size::H, Size::H, 2)?;
            put(self, "sk_mark", Size::W, Size::W, 8)?;
            put(self, "sk_priority", Size::W, Size::W, 12)?;
            self.asm.store(Size::D, to.base, to.at + 56, R8);
        }
        let dport = self.offset("sock", "__sk_common.skc_dport")?;
        self.load(Size::H, R1, R8, dport, typed);
        self.asm.from_be(R1, 16);
        self.asm.store(Size::H, to.base, to.at + to.dport, R1);
        self.sock_addresses(to, typed)
    }

    fn width(&self, structure: &str, member: &str) -> Size {
        self.kernel.field(structure, member).and_then(|(_, size)| Size::of(size)).unwrap_or(Size::H)
    }

    fn sock_addresses(&mut self, to: Tuple, typed: bool) -> Lowered<()> {
        let (v6, end) = (self.asm.label(), self.asm.label());
        self.asm.load(Size::H, R1, to.base, to.at + to.family);
        self.asm.jump_if(Cond::Eq, R1, AF_INET6, v6);
        self.asm.jump_if(Cond::Ne, R1, AF_INET, end);
        for (member, at) in [("__sk_common.skc_rcv_saddr", to.saddr), ("__sk_common.skc_daddr", to.daddr)] {
            let off = self.offset("sock", member)?;
            self.load(Size::W, R1, R8, off, typed);
            self.asm.store(Size::W, to.base, to.at + at, R1);
        }
        self.asm.jump(end);
        self.asm.bind(v6);
        // Kernels without IPv6 have no such members, and no such sockets.
        for (member, at) in
            [("__sk_common.skc_v6_rcv_saddr", to.saddr), ("__sk_common.skc_v6_daddr", to.daddr)]
        {
            if let Some(off) = self.kernel.offset("sock", member) {
                self.asm.mov(R3, R8);
                self.read_kernel(to.base, to.at + at, 16, off as i16);
            }
        }
        self.asm.bind(end);
        Ok(())
    }

    /// Packet addresses into `to` (zeroed already). Ports only for TCP, UDP, UDP-Lite, DCCP and SCTP.
    pub(super) fn skb_fields(&mut self, arg: ResolvedArg, to: Tuple, unread: Label) -> Lowered<()> {
        let end = self.asm.label();
        let v4 = self.asm.label();
        let transport = self.asm.label();
        let head = self.offset("sk_buff", "head")?;
        let network = self.offset("sk_buff", "network_header")?;
        self.fetch(R8, arg.fetch);
        self.asm.jump_if(Cond::Eq, R8, 0, unread);
        self.load(Size::D, R1, R8, head, false);
        self.asm.store(Size::D, FP, slot::OBJECT, R1);
        self.load(Size::H, R1, R8, network, false);
        self.asm.load(Size::D, R2, FP, slot::OBJECT);
        self.asm.alu_reg(Alu::Add, R1, R2);
        self.asm.store(Size::D, FP, slot::OBJECT2, R1);
        self.load(Size::B, R1, R1, 0, false);
        self.jump_if_unread(false, unread);
        self.asm.alu(Alu::Rsh, R1, 4);
        self.asm.jump_if(Cond::Eq, R1, 4, v4);
        self.asm.jump_if(Cond::Ne, R1, 6, end);
        self.header_field(to, AF_INET6, 6, &[(8, 16, to.saddr), (24, 16, to.daddr)]);
        self.asm.jump(transport);
        self.asm.bind(v4);
        self.header_field(to, AF_INET, 9, &[(12, 4, to.saddr), (16, 4, to.daddr)]);
        self.asm.bind(transport);
        self.skb_ports(to, end)?;
        self.asm.bind(end);
        Ok(())
    }

    fn header_field(&mut self, to: Tuple, family: i32, protocol_at: i16, addrs: &[(i16, i32, i16)]) {
        self.asm.store_imm(Size::H, to.base, to.at + to.family, family);
        self.asm.load(Size::D, R1, FP, slot::OBJECT2);
        self.load(Size::B, R1, R1, protocol_at, false);
        self.asm.store(Size::H, to.base, to.at + to.protocol, R1);
        for (from, len, at) in addrs {
            self.asm.load(Size::D, R3, FP, slot::OBJECT2);
            self.read_kernel(to.base, to.at + at, *len, *from);
        }
    }

    fn skb_ports(&mut self, to: Tuple, end: Label) -> Lowered<()> {
        let ported = self.asm.label();
        self.asm.load(Size::H, R1, to.base, to.at + to.protocol);
        for protocol in [6, 17, 33, 132, 136] {
            self.asm.jump_if(Cond::Eq, R1, protocol, ported);
        }
        self.asm.jump(end);
        self.asm.bind(ported);
        let transport = self.offset("sk_buff", "transport_header")?;
        self.load(Size::H, R1, R8, transport, false);
        // ~0: not set yet.
        self.asm.jump_if(Cond::Eq, R1, 0xffff, end);
        self.asm.load(Size::D, R2, FP, slot::OBJECT);
        self.asm.alu_reg(Alu::Add, R1, R2);
        self.asm.store(Size::D, FP, slot::OBJECT2, R1);
        for (from, at) in [(0, to.sport), (2, to.dport)] {
            self.asm.load(Size::D, R1, FP, slot::OBJECT2);
            self.load(Size::H, R1, R1, from, false);
            self.asm.from_be(R1, 16);
            self.asm.store(Size::H, to.base, to.at + at, R1);
        }
        Ok(())
    }

    /// `struct sockaddr` (inet and inet6) into `to` (zeroed already).
    pub(super) fn sockaddr_fields(&mut self, arg: ResolvedArg, to: Tuple, unread: Label) -> Lowered<()> {
        let (v6, end) = (self.asm.label(), self.asm.label());
        let reader = if arg.user { Helper::ReadUser } else { Helper::ReadKernel };
        self.fetch(R8, arg.fetch);
        self.asm.jump_if(Cond::Eq, R8, 0, unread);
        let read = |lower: &mut Self, at: i16, len: i32, from: i32| {
            lower.asm.mov(R1, to.base);
            lower.asm.alu(Alu::Add, R1, i32::from(to.at + at));
            lower.asm.mov_imm(R2, len as u64);
            lower.asm.mov(R3, R8);
            lower.asm.alu(Alu::Add, R3, from);
            lower.asm.call(reader);
        };
        read(self, to.family, 2, 0);
        self.asm.jump_if(Cond::Ne, R0, 0, unread);
        self.asm.load(Size::H, R1, to.base, to.at + to.family);
        self.asm.jump_if(Cond::Eq, R1, AF_INET6, v6);
        self.asm.jump_if(Cond::Ne, R1, AF_INET, end);
        read(self, to.sport, 2, 2);
        read(self, to.saddr, 4, 4);
        self.asm.load(Size::H, R1, to.base, to.at + to.sport);
        self.asm.from_be(R1, 16);
        self.asm.store(Size::H, to.base, to.at + to.sport, R1);
        self.asm.jump(end);
        self.asm.bind(v6);
        read(self, to.sport, 2, 2);
        read(self, to.saddr, 16, 8);
        self.asm.load(Size::H, R1, to.base, to.at + to.sport);
        self.asm.from_be(R1, 16);
        self.asm.store(Size::H, to.base, to.at + to.sport, R1);
        self.asm.bind(end);
        Ok(())
    }

    /// A test on the stack's tuple; falls through if it does not hold.
    pub(super) fn socket_test(&mut self, test: &Test, hit: Label) {
        match test {
            Test::SockField { field, ranges, .. } => {
                let at = match field {
                    SockField::Protocol => SOCK.protocol,
                    SockField::Family => SOCK.family,
                    SockField::State => 6,
                };
                self.asm.load(Size::H, R1, FP, slot::TUPLE + at);
                let ranges: Vec<_> =
                    ranges.iter().map(|(from, to)| (u64::from(*from), u64::from(*to))).collect();
                self.in_ranges(&ranges, false, hit);
            }
            Test::Port { side, ranges, .. } => {
                let miss = self.asm.label();
                self.only_inet(miss);
                let at = if *side == Side::Source { SOCK.sport } else { SOCK.dport };
                self.asm.load(Size::H, R1, FP, slot::TUPLE + at);
                let ranges: Vec<_> =
                    ranges.iter().map(|(from, to)| (u64::from(*from), u64::from(*to))).collect();
                self.in_ranges(&ranges, false, hit);
                self.asm.bind(miss);
            }
            Test::Addr { side, nets, .. } => {
                let at = if *side == Side::Source { SOCK.saddr } else { SOCK.daddr };
                self.addr_test(slot::TUPLE + at, nets, hit);
            }
            _ => {}
        }
    }

    fn only_inet(&mut self, otherwise: Label) {
        let inet = self.asm.label();
        self.asm.load(Size::H, R1, FP, slot::TUPLE + SOCK.family);
        self.asm.jump_if(Cond::Eq, R1, AF_INET, inet);
        self.asm.jump_if(Cond::Ne, R1, AF_INET6, otherwise);
        self.asm.bind(inet);
    }

    /// The address at `at` is in one of the networks. IPv4-mapped IPv6 addresses are IPv4.
    fn addr_test(&mut self, at: i16, nets: &[IpNet], hit: Label) {
        let (v4, v6, miss) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.asm.load(Size::H, R1, FP, slot::TUPLE + SOCK.family);
        self.asm.load(Size::W, R2, FP, at);
        self.asm.jump_if(Cond::Eq, R1, AF_INET, v4);
        self.asm.jump_if(Cond::Ne, R1, AF_INET6, miss);
        self.asm.load(Size::D, R4, FP, at);
        self.asm.load(Size::D, R5, FP, at + 8);
        self.asm.jump_if(Cond::Ne, R4, 0, v6);
        self.asm.load(Size::W, R3, FP, at + 8);
        // ::ffff:0:0/96, as loaded little-endian.
        self.asm.jump32_if(Cond::Ne, R3, 0xffff_0000_u32 as i32, v6);
        self.asm.load(Size::W, R2, FP, at + 12);
        self.asm.bind(v4);
        for net in nets {
            if let IpAddr::V4(addr) = net.addr {
                let mask = u32::MAX.checked_shl(32 - u32::from(net.prefix)).unwrap_or(0);
                let host = |value: u32| u32::from_le_bytes(value.to_be_bytes());
                self.asm.mov(R3, R2);
                self.asm.and_imm(R3, u64::from(host(mask)), R0);
                self.asm.jump32_if(Cond::Eq, R3, host(u32::from(addr)) as i32, hit);
            }
        }
        self.asm.jump(miss);
        self.asm.bind(v6);
        for net in nets {
            if let IpAddr::V6(addr) = net.addr {
                self.v6_net(u128::from(addr), net.prefix, hit);
            }
        }
        self.asm.bind(miss);
    }

    fn v6_net(&mut self, addr: u128, prefix: u8, hit: Label) {
        let other = self.asm.label();
        let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
        let half = |value: u128, shift: u32| u64::from_le_bytes(((value >> shift) as u64).to_be_bytes());
        for (reg, shift) in [(R4, 64), (R5, 0)] {
            self.asm.mov(R3, reg);
            self.asm.and_imm(R3, half(mask, shift), R0);
            self.asm.jump_if_imm(Cond::Ne, R3, half(addr, shift), R0, other);
        }
        self.asm.jump(hit);
        self.asm.bind(other);
    }
}
