//! In: numbers of the kernel's user-space interface. Out: the names that events show, and the way back for those
//! who read them.

use std::borrow::Cow;

/// Numbers and their names, ascending by number.
#[derive(Debug)]
pub struct NameTable(&'static [(u32, &'static str)]);

impl NameTable {
    /// Name of a number.
    pub fn name(&self, number: u32) -> Option<&'static str> {
        // Most tables have no gap below the number asked for: try its place before searching.
        let at = match self.0.get(number as usize) {
            Some((found, name)) if *found == number => return Some(name),
            _ => self.0.binary_search_by_key(&number, |(found, _)| *found).ok()?,
        };
        self.0.get(at).map(|(_, name)| *name)
    }

    /// Name of a number, or the number itself in decimal.
    pub fn show(&self, number: u32) -> Cow<'static, str> {
        match self.name(number) {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(number.to_string()),
        }
    }

    /// Number of a name, as [`NameTable::show`] writes it.
    pub fn number(&self, name: &str) -> Option<u32> {
        match self.0.iter().find(|(_, known)| *known == name) {
            Some((number, _)) => Some(*number),
            None => name.parse().ok(),
        }
    }

    /// All of it.
    pub fn entries(&self) -> impl Iterator<Item = (u32, &'static str)> {
        self.0.iter().copied()
    }
}

/// `AF_*`: address families.
pub static ADDRESS_FAMILIES: NameTable = NameTable(&[
    (0, "AF_UNSPEC"),
    (1, "AF_UNIX"),
    (2, "AF_INET"),
    (3, "AF_AX25"),
    (4, "AF_IPX"),
    (5, "AF_APPLETALK"),
    (6, "AF_NETROM"),
    (7, "AF_BRIDGE"),
    (8, "AF_ATMPVC"),
    (9, "AF_X25"),
    (10, "AF_INET6"),
    (11, "AF_ROSE"),
    (12, "AF_DECnet"),
    (13, "AF_NETBEUI"),
    (14, "AF_SECURITY"),
    (15, "AF_KEY"),
    (16, "AF_NETLINK"),
    (17, "AF_PACKET"),
    (18, "AF_ASH"),
    (19, "AF_ECONET"),
    (20, "AF_ATMSVC"),
    (21, "AF_RDS"),
    (22, "AF_SNA"),
    (23, "AF_IRDA"),
    (24, "AF_PPPOX"),
    (25, "AF_WANPIPE"),
    (26, "AF_LLC"),
    (27, "AF_IB"),
    (28, "AF_MPLS"),
    (29, "AF_CAN"),
    (30, "AF_TIPC"),
    (31, "AF_BLUETOOTH"),
    (32, "AF_IUCV"),
    (33, "AF_RXRPC"),
    (34, "AF_ISDN"),
    (35, "AF_PHONET"),
    (36, "AF_IEEE802154"),
    (37, "AF_CAIF"),
    (38, "AF_ALG"),
    (39, "AF_NFC"),
    (40, "AF_VSOCK"),
    (41, "AF_KCM"),
    (42, "AF_QIPCRTR"),
    (43, "AF_SMC"),
    (44, "AF_XDP"),
    (45, "AF_MCTP"),
]);

/// `SOCK_*`: socket types.
pub static SOCKET_TYPES: NameTable = NameTable(&[
    (1, "SOCK_STREAM"),
    (2, "SOCK_DGRAM"),
    (3, "SOCK_RAW"),
    (4, "SOCK_RDM"),
    (5, "SOCK_SEQPACKET"),
    (6, "SOCK_DCCP"),
    (10, "SOCK_PACKET"),
]);

/// `IPPROTO_*`: protocols.
pub static PROTOCOLS: NameTable = NameTable(&[
    (0, "IPPROTO_IP"),
    (1, "IPPROTO_ICMP"),
    (2, "IPPROTO_IGMP"),
    (4, "IPPROTO_IPIP"),
    (6, "IPPROTO_TCP"),
    (8, "IPPROTO_EGP"),
    (12, "IPPROTO_PUP"),
    (17, "IPPROTO_UDP"),
    (22, "IPPROTO_IDP"),
    (29, "IPPROTO_TP"),
    (33, "IPPROTO_DCCP"),
    (41, "IPPROTO_IPV6"),
    (46, "IPPROTO_RSVP"),
    (47, "IPPROTO_GRE"),
    (50, "IPPROTO_ESP"),
    (51, "IPPROTO_AH"),
    (58, "IPPROTO_ICMPV6"),
    (92, "IPPROTO_MTP"),
    (94, "IPPROTO_BEETPH"),
    (98, "IPPROTO_ENCAP"),
    (103, "IPPROTO_PIM"),
    (108, "IPPROTO_COMP"),
    (115, "IPPROTO_L2TP"),
    (132, "IPPROTO_SCTP"),
    (136, "IPPROTO_UDPLITE"),
    (137, "IPPROTO_MPLS"),
    (143, "IPPROTO_ETHERNET"),
    (255, "IPPROTO_RAW"),
    (262, "IPPROTO_MPTCP"),
]);

/// `TCP_*`: states of `struct sock`.
pub static TCP_STATES: NameTable = NameTable(&[
    (1, "TCP_ESTABLISHED"),
    (2, "TCP_SYN_SENT"),
    (3, "TCP_SYN_RECV"),
    (4, "TCP_FIN_WAIT1"),
    (5, "TCP_FIN_WAIT2"),
    (6, "TCP_TIME_WAIT"),
    (7, "TCP_CLOSE"),
    (8, "TCP_CLOSE_WAIT"),
    (9, "TCP_LAST_ACK"),
    (10, "TCP_LISTEN"),
    (11, "TCP_CLOSING"),
    (12, "TCP_NEW_SYN_RECV"),
]);

/// Capabilities by bit, in the spelling of the event protocol: one of them has no `CAP_`.
pub static CAPABILITIES: NameTable = NameTable(&[
    (0, "CAP_CHOWN"),
    (1, "DAC_OVERRIDE"),
    (2, "CAP_DAC_READ_SEARCH"),
    (3, "CAP_FOWNER"),
    (4, "CAP_FSETID"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (8, "CAP_SETPCAP"),
    (9, "CAP_LINUX_IMMUTABLE"),
    (10, "CAP_NET_BIND_SERVICE"),
    (11, "CAP_NET_BROADCAST"),
    (12, "CAP_NET_ADMIN"),
    (13, "CAP_NET_RAW"),
    (14, "CAP_IPC_LOCK"),
    (15, "CAP_IPC_OWNER"),
    (16, "CAP_SYS_MODULE"),
    (17, "CAP_SYS_RAWIO"),
    (18, "CAP_SYS_CHROOT"),
    (19, "CAP_SYS_PTRACE"),
    (20, "CAP_SYS_PACCT"),
    (21, "CAP_SYS_ADMIN"),
    (22, "CAP_SYS_BOOT"),
    (23, "CAP_SYS_NICE"),
    (24, "CAP_SYS_RESOURCE"),
    (25, "CAP_SYS_TIME"),
    (26, "CAP_SYS_TTY_CONFIG"),
    (27, "CAP_MKNOD"),
    (28, "CAP_LEASE"),
    (29, "CAP_AUDIT_WRITE"),
    (30, "CAP_AUDIT_CONTROL"),
    (31, "CAP_SETFCAP"),
    (32, "CAP_MAC_OVERRIDE"),
    (33, "CAP_MAC_ADMIN"),
    (34, "CAP_SYSLOG"),
    (35, "CAP_WAKE_ALARM"),
    (36, "CAP_BLOCK_SUSPEND"),
    (37, "CAP_AUDIT_READ"),
    (38, "CAP_PERFMON"),
    (39, "CAP_BPF"),
    (40, "CAP_CHECKPOINT_RESTORE"),
]);

/// Secure bits by bit, in the spelling of the event protocol.
pub static SECURE_BITS: NameTable = NameTable(&[
    (0, "SecBitNoRoot"),
    (1, "SecBitNoRootLocked"),
    (2, "SecBitNoSetUidFixup"),
    (3, "SecBitNoSetUidFixupLocked"),
    (4, "SecBitKeepCaps"),
    (5, "SecBitKeepCapsLocked"),
    (6, "SecBitNoCapAmbientRaise"),
    (7, "SecBitNoCapAmbientRaiseLocked"),
]);

/// Signals; those above are real-time signals.
pub static SIGNALS: NameTable = NameTable(&[
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (10, "SIGUSR1"),
    (11, "SIGSEGV"),
    (12, "SIGUSR2"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (15, "SIGTERM"),
    (16, "SIGSTKFLT"),
    (17, "SIGCHLD"),
    (18, "SIGCONT"),
    (19, "SIGSTOP"),
    (20, "SIGTSTP"),
    (21, "SIGTTIN"),
    (22, "SIGTTOU"),
    (23, "SIGURG"),
    (24, "SIGXCPU"),
    (25, "SIGXFSZ"),
    (26, "SIGVTALRM"),
    (27, "SIGPROF"),
    (28, "SIGWINCH"),
    (29, "SIGIO"),
    (30, "SIGPWR"),
    (31, "SIGSYS"),
]);

/// The kernel's first real-time signal; 64 is the last signal.
const RTMIN: u32 = 32;

/// Name of a signal: `SIGKILL`, `SIGRTMIN+2`.
pub fn signal(number: u32) -> Cow<'static, str> {
    match SIGNALS.name(number) {
        Some(name) => Cow::Borrowed(name),
        None if number == RTMIN => Cow::Borrowed("SIGRTMIN"),
        None if (RTMIN..=64).contains(&number) => Cow::Owned(format!("SIGRTMIN+{}", number - RTMIN)),
        None => Cow::Owned(number.to_string()),
    }
}

/// Number of a signal, from what [`signal`] writes.
pub fn signal_number(name: &str) -> Option<u32> {
    match name.strip_prefix("SIGRTMIN") {
        Some("") => Some(RTMIN),
        Some(above) => above.strip_prefix('+')?.parse::<u32>().ok()?.checked_add(RTMIN),
        None => SIGNALS.number(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_read_back() {
        for number in 1..=70 {
            assert_eq!(signal_number(&signal(number)), Some(number));
        }
        for wrong in ["SIGRTMIN-1", "SIGRTMIN+", "SIGRTMIN+4294967295", "SIGNONE", ""] {
            assert_eq!(signal_number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_table_ascends_and_reads_back() {
        for table in
            [&ADDRESS_FAMILIES, &SOCKET_TYPES, &PROTOCOLS, &TCP_STATES, &CAPABILITIES, &SECURE_BITS, &SIGNALS]
        {
            assert!(table.0.is_sorted_by(|a, b| a.0 < b.0));
            for (number, name) in table.entries() {
                assert_eq!(table.name(number), Some(name));
                assert_eq!(table.number(name), Some(number));
            }
        }
    }

    #[test]
    fn unknown_numbers_show_and_read_back() {
        assert_eq!(ADDRESS_FAMILIES.show(250), "250");
        assert_eq!(ADDRESS_FAMILIES.number("250"), Some(250));
        assert_eq!(PROTOCOLS.name(3), None);
        assert_eq!(PROTOCOLS.number("IPPROTO_NONE_SUCH"), None);
    }

    #[test]
    fn well_known_numbers() {
        assert_eq!(ADDRESS_FAMILIES.show(2), "AF_INET");
        assert_eq!(ADDRESS_FAMILIES.show(10), "AF_INET6");
        assert_eq!(PROTOCOLS.show(262), "IPPROTO_MPTCP");
        assert_eq!(SOCKET_TYPES.show(10), "SOCK_PACKET");
        assert_eq!(TCP_STATES.show(10), "TCP_LISTEN");
        assert_eq!(CAPABILITIES.show(1), "DAC_OVERRIDE");
        assert_eq!(CAPABILITIES.show(21), "CAP_SYS_ADMIN");
        assert_eq!(signal(9), "SIGKILL");
        assert_eq!(signal(31), "SIGSYS");
        assert_eq!(signal(34), "SIGRTMIN+2");
    }
}
