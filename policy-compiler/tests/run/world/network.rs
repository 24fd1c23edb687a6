//! In: sockets, addresses and packets as the evaluator knows them. Out: the kernel's structures.

use std::net::IpAddr;

use policy_compiler::reference::{SkbValue, SockValue, SockaddrValue};

use super::{Address, World};

pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
pub const TCP: u16 = 6;
pub const UDP: u16 = 17;

fn be(port: u16) -> u64 {
    u64::from(port.to_be())
}

fn v4(addr: IpAddr) -> u64 {
    match addr {
        IpAddr::V4(addr) => u64::from(u32::from_le_bytes(addr.octets())),
        IpAddr::V6(_) => 0,
    }
}

fn v6(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}

impl World<'_> {
    /// Places a `struct sock` (as part of an inet_sock, as in the kernel).
    pub fn sock_object(&mut self, value: &SockValue, kind: u16) -> Address {
        let sock = self.object("inet_sock");
        let common = |member: &str| format!("__sk_common.{member}");
        self.set(sock, "sock", &common("skc_family"), u64::from(value.family));
        self.set(sock, "sock", &common("skc_state"), u64::from(value.state));
        self.set(sock, "sock", "sk_type", u64::from(kind));
        self.set(sock, "sock", "sk_protocol", u64::from(value.protocol));
        self.set(sock, "sock", "sk_mark", 0x77);
        self.set(sock, "sock", "sk_priority", 3);
        self.set(sock, "sock", &common("skc_num"), u64::from(value.ports.0));
        self.set(sock, "sock", &common("skc_dport"), be(value.ports.1));
        self.set(sock, "inet_sock", "inet_sport", be(value.ports.0));
        self.set(sock, "sock", &common("skc_cookie"), 0xc00c1e);
        let Some((local, remote)) = value.addrs else { return sock };
        if value.family == AF_INET {
            self.set(sock, "sock", &common("skc_rcv_saddr"), v4(local));
            self.set(sock, "sock", &common("skc_daddr"), v4(remote));
            self.set(sock, "inet_sock", "inet_saddr", v4(local));
        } else {
            self.set_bytes(sock, "sock", &common("skc_v6_rcv_saddr"), &v6(local));
            self.set_bytes(sock, "sock", &common("skc_v6_daddr"), &v6(remote));
        }
        sock
    }

    /// Places a `struct socket` around a sock.
    pub fn socket_object(&mut self, sock: Address, kind: u16) -> Address {
        let socket = self.object("socket");
        self.set(socket, "socket", "sk", sock.0);
        self.set(socket, "socket", "type", u64::from(kind));
        socket
    }

    /// Bytes of a `struct sockaddr`.
    pub fn sockaddr_bytes(value: &SockaddrValue) -> Vec<u8> {
        let mut bytes = value.family.to_le_bytes().to_vec();
        match (value.family, value.addr) {
            (AF_INET, Some(addr)) => {
                bytes.extend(value.port.to_be_bytes());
                bytes.extend((v4(addr) as u32).to_le_bytes());
                bytes.extend([0; 8]);
            }
            (AF_INET6, Some(addr)) => {
                bytes.extend(value.port.to_be_bytes());
                bytes.extend([0; 4]);
                bytes.extend(v6(addr));
                bytes.extend([0; 4]);
            }
            _ => bytes.extend(b"/run/some.socket\0"),
        }
        bytes
    }

    /// Places a `struct sk_buff` with its packet.
    pub fn skb_object(&mut self, value: &SkbValue) -> Address {
        let mut packet = vec![0xee; 14];
        let network = packet.len();
        match (value.family, value.addrs) {
            (AF_INET, Some((from, to))) => {
                packet.extend([0x45, 0, 0, 40, 0, 1, 0, 0, 64, value.protocol as u8, 0, 0]);
                packet.extend((v4(from) as u32).to_le_bytes());
                packet.extend((v4(to) as u32).to_le_bytes());
            }
            (AF_INET6, Some((from, to))) => {
                packet.extend([0x60, 0, 0, 0, 0, 20, value.protocol as u8, 64]);
                packet.extend(v6(from));
                packet.extend(v6(to));
            }
            // Address resolution: neither IP version in the first nibble.
            _ => packet.extend([0, 1, 8, 0, 6, 4, 0, 1]),
        }
        let transport = packet.len();
        packet.extend(value.ports.0.to_be_bytes());
        packet.extend(value.ports.1.to_be_bytes());
        packet.extend([0; 16]);
        let head = self.place(&packet);
        let skb = self.object("sk_buff");
        self.set(skb, "sk_buff", "head", head.0);
        self.set(skb, "sk_buff", "data", head.0 + network as u64);
        self.set(skb, "sk_buff", "network_header", network as u64);
        self.set(skb, "sk_buff", "transport_header", transport as u64);
        self.set(skb, "sk_buff", "len", (packet.len() - network) as u64);
        let protocol = match value.family {
            AF_INET => 0x0800,
            AF_INET6 => 0x86dd,
            _ => 0x0806,
        };
        self.set(skb, "sk_buff", "protocol", be(protocol));
        self.set(skb, "sk_buff", "hash", 0xabcd);
        self.set(skb, "sk_buff", "mark", 5);
        self.set(skb, "sk_buff", "priority", 6);
        skb
    }
}
