//! In: a test's description of one call of a hooked function. Out: the evaluator.
//!
//! Values are what the kernel has, not what a policy asks for: one file descriptor is an integer to one policy
//! and a path to another.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::workload::Workload;
use crate::typed::NamespaceKind;

/// One call of a hooked function.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// Values by position in the prototype or in the tracepoint's format; absent ones are unreadable.
    pub args: BTreeMap<u32, Value>,
    /// What the function returns; `None` while it has not returned.
    pub ret: Option<Value>,
    /// Who calls.
    pub process: Process,
    /// Namespaces of process 1.
    pub host: Namespaces,
    /// CLOCK_BOOTTIME in nanoseconds.
    pub time: u64,
}

/// One value as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A register.
    Int(u64),
    /// A string behind a pointer, without its NUL; empty for a NULL pointer.
    Text(Vec<u8>),
    /// The bytes that can be read behind a pointer.
    Bytes(Vec<u8>),
    /// A file, path, dentry or program image.
    Path(PathValue),
    /// A file descriptor of the calling process and the file it stands for, if it is open.
    Fd {
        /// The register.
        number: u64,
        /// Its file.
        file: Option<PathValue>,
    },
    /// A socket.
    Sock(SockValue),
    /// An address.
    Sockaddr(SockaddrValue),
    /// A packet.
    Skb(SkbValue),
    /// A capability set.
    CapSet(u64),
    /// Credentials; the language has no test for them.
    Cred,
    /// Behind a pointer that cannot be followed.
    Unreadable,
}

/// A path as text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PathValue {
    /// From the process's root; of a dentry: from its mount's root. ` (deleted)` is part of it.
    pub text: Vec<u8>,
    /// `i_mode`.
    pub mode: u16,
    /// `false` when components are missing at the start, because there are too many to follow.
    pub complete: bool,
}

/// A socket's fields that tests look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SockValue {
    /// `AF_*`.
    pub family: u16,
    /// `IPPROTO_*`.
    pub protocol: u16,
    /// `TCP_*`.
    pub state: u16,
    /// Local and remote address; `None` for families other than the internet's.
    pub addrs: Option<(IpAddr, IpAddr)>,
    /// Local and remote port; zero for families other than the internet's.
    pub ports: (u16, u16),
}

/// A socket address's fields that tests look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SockaddrValue {
    /// `AF_*`.
    pub family: u16,
    /// `None` for families other than the internet's.
    pub addr: Option<IpAddr>,
    /// Zero for families other than the internet's.
    pub port: u16,
}

/// A packet's fields that tests look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SkbValue {
    /// `AF_*` of the network header; 0 if it is neither IPv4 nor IPv6.
    pub family: u16,
    /// `IPPROTO_*` of the transport.
    pub protocol: u16,
    /// Sender and receiver.
    pub addrs: Option<(IpAddr, IpAddr)>,
    /// Sender's and receiver's port; zero where the transport has none.
    pub ports: (u16, u16),
}

/// The calling process.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// Thread group, in the initial pid namespace.
    pub tgid: u32,
    /// Thread, in the initial pid namespace.
    pub tid: u32,
    /// Thread group in its innermost pid namespace; 0 if unknown.
    pub ns_pid: u32,
    /// Whether the table of processes has it.
    pub known: bool,
    /// Path of the executable, as at exec.
    pub binary: Vec<u8>,
    /// Executables that this process ran before, since its fork.
    pub earlier: Vec<Vec<u8>>,
    /// Parent first. Empty: the parent is not in the table of processes.
    pub ancestors: Vec<Ancestor>,
    /// Where it runs.
    pub workload: Workload,
    /// Namespaces of the calling thread.
    pub namespaces: Namespaces,
    /// Current credentials.
    pub capabilities: Capabilities,
}

/// A process that the calling one descends from.
#[derive(Debug, Clone, Default)]
pub struct Ancestor {
    /// Thread group, in the initial pid namespace.
    pub tgid: u32,
    /// Thread group in the innermost pid namespace of that process.
    pub ns_pid: u32,
    /// Executable at the time of the fork that leads to the calling process.
    pub binary: Vec<u8>,
    /// Executables before that.
    pub earlier: Vec<Vec<u8>>,
}

/// Inode numbers of one process's namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Namespaces(pub [u32; 10]);

impl Namespaces {
    /// All kinds, in the order of the array.
    pub const KINDS: [NamespaceKind; 10] = [
        NamespaceKind::Uts,
        NamespaceKind::Ipc,
        NamespaceKind::Mnt,
        NamespaceKind::Pid,
        NamespaceKind::PidForChildren,
        NamespaceKind::Net,
        NamespaceKind::Time,
        NamespaceKind::TimeForChildren,
        NamespaceKind::Cgroup,
        NamespaceKind::User,
    ];

    /// Inode number of one namespace; 0 where the kernel has none of that kind.
    pub fn get(&self, kind: NamespaceKind) -> u32 {
        Self::KINDS.iter().zip(self.0).find(|(k, _)| **k == kind).map_or(0, |(_, inode)| inode)
    }
}

/// Capability sets of the current credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// Effective.
    pub effective: u64,
    /// Inheritable.
    pub inheritable: u64,
    /// Permitted.
    pub permitted: u64,
}
