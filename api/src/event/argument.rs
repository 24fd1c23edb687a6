//! In: the agent's decoder of hook records. Out: the encoders.

use std::net::IpAddr;
use std::sync::Arc;

use super::process::Credentials;

/// One argument of a hook event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// The value.
    pub value: Value,
    /// `label` of the policy's argument.
    pub label: Option<Arc<str>>,
}

/// The value of an argument, one variant per output field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `string_arg`.
    String(String),
    /// `int_arg`.
    Int(i32),
    /// `skb_arg`.
    Skb(Box<Packet>),
    /// `size_arg`.
    Size(u64),
    /// `bytes_arg`.
    Bytes(Vec<u8>),
    /// `path_arg`.
    Path(FilePath),
    /// `file_arg`.
    File(FilePath),
    /// `truncated_bytes_arg`.
    TruncatedBytes {
        /// What was copied.
        bytes: Vec<u8>,
        /// Bytes that there were.
        orig_size: u64,
    },
    /// `sock_arg`.
    Sock(Box<Socket>),
    /// `long_arg`.
    Long(i64),
    /// `uint_arg`.
    Uint(u32),
    /// `capability_arg`: a capability number.
    Capability(i32),
    /// `process_credentials_arg`.
    Credentials(Box<Credentials>),
    /// `kernel_cap_t_arg`, `cap_*_arg`: a capability set.
    CapSet(CapSetField, u64),
    /// `linux_binprm_arg`.
    LinuxBinprm(FilePath),
    /// `syscall_id`.
    SyscallId {
        /// Number in its ABI's table.
        id: u32,
        /// The ABI.
        abi: SyscallAbi,
    },
    /// `sockaddr_arg`.
    Sockaddr(SocketAddress),
    /// `error_arg`: why the argument could not be read.
    Error(String),
}

/// A file by path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilePath {
    /// Path as the calling process sees it.
    pub path: String,
    /// Leading components are missing.
    pub unresolved: bool,
    /// `i_mode`: file type and permission bits; 0 if unknown.
    pub mode: u16,
}

/// Output field of a capability set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CapSetField {
    /// `kernel_cap_t_arg`.
    KernelCap,
    /// `cap_inheritable_arg`.
    Inheritable,
    /// `cap_permitted_arg`.
    Permitted,
    /// `cap_effective_arg`.
    Effective,
}

/// A `struct sock`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Socket {
    /// `AF_*`.
    pub family: u16,
    /// `SOCK_*`.
    pub kind: u16,
    /// `IPPROTO_*`.
    pub protocol: u16,
    /// `TCP_*`; 0 if none.
    pub state: u16,
    /// `SO_MARK`.
    pub mark: u32,
    /// `SO_PRIORITY`.
    pub priority: u32,
    /// Local address; `None` for families without one.
    pub saddr: Option<IpAddr>,
    /// Remote address; `None` for families without one.
    pub daddr: Option<IpAddr>,
    /// Local port, host order.
    pub sport: u16,
    /// Remote port, host order.
    pub dport: u16,
    /// Identifies the socket while it lives.
    pub cookie: u64,
}

/// A `struct sk_buff`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Packet {
    /// Flow hash.
    pub hash: u32,
    /// Bytes.
    pub len: u32,
    /// Queueing priority.
    pub priority: u32,
    /// Mark.
    pub mark: u32,
    /// Sender; `None` if it is no IP packet.
    pub saddr: Option<IpAddr>,
    /// Receiver; `None` if it is no IP packet.
    pub daddr: Option<IpAddr>,
    /// Sender's port, host order.
    pub sport: u16,
    /// Receiver's port, host order.
    pub dport: u16,
    /// `IPPROTO_*`.
    pub protocol: u16,
    /// `AF_*`.
    pub family: u16,
    /// IPsec path: transformations.
    pub sec_path_len: u32,
    /// IPsec path: offloaded transformations.
    pub sec_path_olen: u32,
}

/// A `struct sockaddr`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SocketAddress {
    /// `AF_*`.
    pub family: u16,
    /// Address; `None` for families other than IPv4 and IPv6.
    pub addr: Option<IpAddr>,
    /// Port, host order.
    pub port: u16,
}

/// Which system call table an id belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SyscallAbi {
    /// x86-64.
    X64,
    /// 32-bit x86.
    I386,
}

impl SyscallAbi {
    /// Name in the output.
    pub fn name(self) -> &'static str {
        match self {
            SyscallAbi::X64 => "x64",
            SyscallAbi::I386 => "i386",
        }
    }
}
