//! In: arguments of hook events. Out: their protobuf messages, with the protocol's field numbers.

use prost::{Message, Oneof};

use super::process::ProcessCredentials;

/// One argument.
#[derive(Clone, PartialEq, Message)]
pub struct KprobeArgument {
    /// Its value; `None` if it is of a kind that this version does not know.
    #[prost(
        oneof = "Arg",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 15, 17, 19, 22, 23, 24, 25, 26, 29, 30, 32"
    )]
    pub arg: Option<Arg>,
    /// `label` of the policy's argument.
    #[prost(string, tag = "18")]
    pub label: String,
}

/// The value of an argument.
#[derive(Clone, PartialEq, Oneof)]
pub enum Arg {
    /// `string_arg`.
    #[prost(string, tag = "1")]
    String(String),
    /// `int_arg`.
    #[prost(int32, tag = "2")]
    Int(i32),
    /// `skb_arg`.
    #[prost(message, tag = "3")]
    Skb(KprobeSkb),
    /// `size_arg`.
    #[prost(uint64, tag = "4")]
    Size(u64),
    /// `bytes_arg`.
    #[prost(bytes = "vec", tag = "5")]
    Bytes(Vec<u8>),
    /// `path_arg`.
    #[prost(message, tag = "6")]
    Path(KprobePath),
    /// `file_arg`.
    #[prost(message, tag = "7")]
    File(KprobePath),
    /// `truncated_bytes_arg`.
    #[prost(message, tag = "8")]
    TruncatedBytes(KprobeTruncatedBytes),
    /// `sock_arg`.
    #[prost(message, tag = "9")]
    Sock(KprobeSock),
    /// `long_arg`.
    #[prost(int64, tag = "11")]
    Long(i64),
    /// `uint_arg`.
    #[prost(uint32, tag = "15")]
    Uint(u32),
    /// `capability_arg`.
    #[prost(message, tag = "17")]
    Capability(KprobeCapability),
    /// `process_credentials_arg`.
    #[prost(message, tag = "19")]
    ProcessCredentials(ProcessCredentials),
    /// `kernel_cap_t_arg`: 16 hexadecimal digits, as the next three.
    #[prost(string, tag = "22")]
    KernelCap(String),
    /// `cap_inheritable_arg`.
    #[prost(string, tag = "23")]
    CapInheritable(String),
    /// `cap_permitted_arg`.
    #[prost(string, tag = "24")]
    CapPermitted(String),
    /// `cap_effective_arg`.
    #[prost(string, tag = "25")]
    CapEffective(String),
    /// `linux_binprm_arg`.
    #[prost(message, tag = "26")]
    LinuxBinprm(KprobeLinuxBinprm),
    /// `syscall_id`.
    #[prost(message, tag = "29")]
    SyscallId(SyscallId),
    /// `sockaddr_arg`.
    #[prost(message, tag = "30")]
    Sockaddr(KprobeSockaddr),
    /// `error_arg`: why the argument could not be read.
    #[prost(message, tag = "32")]
    Error(KprobeError),
}

/// A `struct sock`. Numbers are shown by their names.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KprobeSock {
    /// `AF_*`.
    #[prost(string, tag = "1")]
    pub family: String,
    /// `SOCK_*`.
    #[prost(string, tag = "2")]
    pub r#type: String,
    /// `IPPROTO_*`.
    #[prost(string, tag = "3")]
    pub protocol: String,
    /// Mark.
    #[prost(uint32, tag = "4")]
    pub mark: u32,
    /// Priority.
    #[prost(uint32, tag = "5")]
    pub priority: u32,
    /// Local address.
    #[prost(string, tag = "6")]
    pub saddr: String,
    /// Remote address.
    #[prost(string, tag = "7")]
    pub daddr: String,
    /// Local port.
    #[prost(uint32, tag = "8")]
    pub sport: u32,
    /// Remote port.
    #[prost(uint32, tag = "9")]
    pub dport: u32,
    /// Identifies the socket while it lives.
    #[prost(uint64, tag = "10")]
    pub cookie: u64,
    /// `TCP_*`.
    #[prost(string, tag = "11")]
    pub state: String,
}

/// A `struct sk_buff`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KprobeSkb {
    /// Flow hash.
    #[prost(uint32, tag = "1")]
    pub hash: u32,
    /// Bytes.
    #[prost(uint32, tag = "2")]
    pub len: u32,
    /// Queueing priority.
    #[prost(uint32, tag = "3")]
    pub priority: u32,
    /// Mark.
    #[prost(uint32, tag = "4")]
    pub mark: u32,
    /// Sender.
    #[prost(string, tag = "5")]
    pub saddr: String,
    /// Receiver.
    #[prost(string, tag = "6")]
    pub daddr: String,
    /// Sender's port.
    #[prost(uint32, tag = "7")]
    pub sport: u32,
    /// Receiver's port.
    #[prost(uint32, tag = "8")]
    pub dport: u32,
    /// IP protocol by number.
    #[prost(uint32, tag = "9")]
    pub proto: u32,
    /// IPsec path: transformations.
    #[prost(uint32, tag = "10")]
    pub sec_path_len: u32,
    /// IPsec path: offloaded transformations.
    #[prost(uint32, tag = "11")]
    pub sec_path_olen: u32,
    /// `IPPROTO_*`.
    #[prost(string, tag = "12")]
    pub protocol: String,
    /// `AF_*`.
    #[prost(string, tag = "13")]
    pub family: String,
}

/// A `struct sockaddr`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KprobeSockaddr {
    /// `AF_*`.
    #[prost(string, tag = "1")]
    pub family: String,
    /// Address, or [`KprobeSockaddr::NO_ADDRESS`].
    #[prost(string, tag = "2")]
    pub addr: String,
    /// Port.
    #[prost(uint32, tag = "3")]
    pub port: u32,
}

impl KprobeSockaddr {
    /// The words that readers of these events know for "this family has no IP address".
    pub const NO_ADDRESS: &str = "invalid IP";
}

/// `KprobePath` and `KprobeFile` of the protocol, which have the same fields.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KprobePath {
    /// Path as the calling process sees it.
    #[prost(string, tag = "2")]
    pub path: String,
    /// Empty or [`KprobePath::UNRESOLVED`].
    #[prost(string, tag = "3")]
    pub flags: String,
    /// As `ls -l` shows it.
    #[prost(string, tag = "4")]
    pub permission: String,
}

impl KprobePath {
    /// Flag: leading components are missing.
    pub const UNRESOLVED: &str = "unresolvedPathComponents";
}

/// The executable that an exec starts.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KprobeLinuxBinprm {
    /// Path as the calling process sees it.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Empty or [`KprobePath::UNRESOLVED`].
    #[prost(string, tag = "2")]
    pub flags: String,
    /// As `ls -l` shows it.
    #[prost(string, tag = "3")]
    pub permission: String,
}

/// Bytes of which there were more.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KprobeTruncatedBytes {
    /// What was copied.
    #[prost(bytes = "vec", tag = "1")]
    pub bytes_arg: Vec<u8>,
    /// Bytes that there were.
    #[prost(uint64, tag = "2")]
    pub orig_size: u64,
}

/// A capability.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KprobeCapability {
    /// Number.
    #[prost(message, optional, tag = "1")]
    pub value: Option<i32>,
    /// Name, if the number has one.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// Why an argument could not be read.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KprobeError {
    /// In words.
    #[prost(string, tag = "1")]
    pub message: String,
}

/// A system call.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SyscallId {
    /// Number in its ABI's table.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// The ABI: `x64`, `i386`.
    #[prost(string, tag = "2")]
    pub abi: String,
}
