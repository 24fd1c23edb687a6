//! In: `c/records.h`, structure by structure, in its order. Out: the agent's decoders.

use std::mem::size_of;

use super::Plain;

/// Words of process bits: 4 x 64 = 256 sets.
pub const PROCESS_WORDS: usize = 4;

/// [`ProcessEntry::flags`]: this image came from execve, else only from a fork.
pub const PROCESS_EXECVE: u32 = 0x1;

/// [`ProcessEntry::flags`]: descends from its pid namespace's first process.
pub const PROCESS_IN_INIT_TREE: u32 = 0x2;

/// [`ProcessEntry::flags`]: from this bit on, what identifies the exec among those of the process.
pub const PROCESS_EXEC_SHIFT: u32 = 8;

/// Copies of the program for exec, each with an element of `scratch` of its own.
pub const EXEC_COPIES: u32 = 3;

/// The replaced image came from a fork, not from an exec.
pub const EXEC_FORKED: u16 = 0x1;

/// The process descends from its pid namespace's first process.
pub const EXEC_IN_INIT_TREE: u16 = 0x2;

/// The process was not in the map.
pub const EXEC_MISSED: u16 = 0x4;

/// File name unreadable.
pub const EXEC_ERROR_FILENAME: u16 = 0x8;

/// Arguments unreadable from some byte on.
pub const EXEC_ERROR_ARGS: u16 = 0x10;

/// No working directory.
pub const EXEC_NO_CWD: u16 = 0x20;

/// Leading components of the working directory are missing.
pub const EXEC_CWD_INCOMPLETE: u16 = 0x40;

/// An exec data record did not fit the ring buffer.
pub const EXEC_ARGS_LOST: u16 = 0x80;

/// Bytes of arguments that fit an exec record; the rest comes before it.
pub const EXEC_INLINE_ARGS: u32 = 4096;

/// Bytes of arguments in one exec data record.
pub const EXEC_DATA_SIZE: u32 = 16384;

/// Exec data records of one exec at most.
pub const EXEC_DATA_RECORDS: u32 = 16;

/// The child descends from its pid namespace's first process.
pub const FORK_IN_INIT_TREE: u16 = 0x1;

/// The child is a kernel thread until it execs, if ever.
pub const FORK_KERNEL_THREAD: u16 = 0x2;

/// A kernel thread ended.
pub const EXIT_KERNEL_THREAD: u16 = 0x1;

/// Path bytes in a [`BinaryPrefixKey`], with NUL.
pub const BINARY_PREFIX_MAX: usize = 256;

/// Path bytes in a [`BinaryPostfixKey`]; sets use up to 127.
pub const BINARY_POSTFIX_MAX: usize = 128;

/// `binary_exact_prefix` has entries.
pub const TABLE_PREFIX: u32 = 0x1;

/// `binary_postfix` has entries.
pub const TABLE_POSTFIX: u32 = 0x2;

/// `pid_sets` has entries.
pub const TABLE_PIDS: u32 = 0x4;

/// `cgroup_sets` has entries.
pub const TABLE_CGROUPS: u32 = 0x8;

/// Levels above a process's cgroup that are searched for an entry of `cgroup_sets`.
pub const CGROUP_LEVELS: usize = 16;

/// Entries of `cgroup_sets`.
pub const CGROUPS: usize = 4096;

/// [`HookArg::flags`]: could not be read, the payload is empty.
pub const ARG_ERROR: u16 = 0x1;

/// [`HookArg::flags`]: text is cut; of a path, components are missing.
pub const ARG_TRUNCATED: u16 = 0x2;

/// Starts every record.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// [`RecordKind`].
    pub kind: u16,
    /// Per kind.
    pub flags: u16,
    /// Whole record, bytes.
    pub len: u32,
    /// CLOCK_BOOTTIME, nanoseconds.
    pub time: u64,
}

const _: () = assert!(size_of::<RecordHeader>() == 16);
// SAFETY: integers only; the sum of their sizes is the size asserted above, so there is no padding.
unsafe impl Plain for RecordHeader {}

/// Value of the map `processes`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessEntry {
    /// Boot time of the exec or fork that made this image, nanoseconds.
    pub start: u64,
    /// `start` of the parent at fork; 0 unknown.
    pub parent_start: u64,
    /// Parent at fork.
    pub parent_tgid: u32,
    /// `PROCESS_*`.
    pub flags: u32,
    /// Sets that this image's binary is in.
    pub own: [u64; PROCESS_WORDS],
    /// Sets that the parent's binary was in at fork.
    pub parent: [u64; PROCESS_WORDS],
    /// Sets that an ancestor's, or an earlier image's, `own` was in.
    pub inherited: [u64; PROCESS_WORDS],
}

const _: () = assert!(size_of::<ProcessEntry>() == 120);
// SAFETY: integers only; the sum of their sizes is the size asserted above, so there is no padding.
unsafe impl Plain for ProcessEntry {}

/// Value of an exec record; texts follow it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecRecord {
    /// `flags`: `EXEC_*`; `time`: the new image's start.
    pub header: RecordHeader,
    /// Process.
    pub tgid: u32,
    /// Parent at fork; if the fork was not seen, at exec.
    pub parent_tgid: u32,
    /// `start` of the image that this one replaces; 0 unknown.
    pub previous_start: u64,
    /// 0 unknown.
    pub parent_start: u64,
    /// In the cgroup2 hierarchy.
    pub cgroup_id: u64,
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Saved user id.
    pub suid: u32,
    /// Saved group id.
    pub sgid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Effective group id.
    pub egid: u32,
    /// File system user id.
    pub fsuid: u32,
    /// File system group id.
    pub fsgid: u32,
    /// Bit n: capability n.
    pub cap_inheritable: u64,
    /// Bit n: capability n.
    pub cap_permitted: u64,
    /// Bit n: capability n.
    pub cap_effective: u64,
    /// `SECBIT_*`.
    pub securebits: u32,
    /// Login user id; 4294967295 unset.
    pub auid: u32,
    /// Inodes, by [`NamespaceKind`]; 0: the kernel has none.
    pub namespaces: [u32; 10],
    /// Process id in its own pid namespace.
    pub ns_tgid: u32,
    /// Bytes of all arguments, each with its NUL.
    pub args_total: u32,
    /// Bytes of them in this record.
    pub args_len: u32,
    /// Bytes of them in the exec data records before this one.
    pub args_chunked: u32,
    /// Bytes.
    pub filename_len: u16,
    /// Bytes.
    pub cwd_len: u16,
    /// Bytes.
    pub cgroup_len: u16,
    /// Always 0.
    pub zero: u16,
}

const _: () = assert!(size_of::<ExecRecord>() == 176);
// SAFETY: integers only; the sum of their sizes is the size asserted above, so there is no padding.
unsafe impl Plain for ExecRecord {}

/// A piece of an exec's arguments; the bytes follow.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecDataRecord {
    /// `time`: the start of the image that the exec record after it announces.
    pub header: RecordHeader,
    /// Process.
    pub tgid: u32,
    /// Bytes used.
    pub len: u32,
    /// Of the first byte in the arguments.
    pub offset: u32,
    /// Always 0.
    pub zero: u32,
}

const _: () = assert!(size_of::<ExecDataRecord>() == 32);
// SAFETY: integers only; the sum of their sizes is the size asserted above, so there is no padding.
unsafe impl Plain for ExecDataRecord {}

/// A thread group was created.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForkRecord {
    /// `flags`: `FORK_*`; `time`: the child's start.
    pub header: RecordHeader,
    /// The child.
    pub tgid: u32,
    /// Its parent.
    pub parent_tgid: u32,
    /// 0 unknown.
    pub parent_start: u64,
    /// Whose image it has: the parent, but for CLONE_PARENT.
    pub origin_tgid: u32,
    /// Always 0.
    pub zero: u32,
    /// 0 unknown.
    pub origin_start: u64,
}

const _: () = assert!(size_of::<ForkRecord>() == 48);
// SAFETY: integers only; the sum of their sizes is the size asserted above, so there is no padding.
unsafe impl Plain for ForkRecord {}

/// The last thread of a group left.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitRecord {
    /// `flags`: `EXIT_*`.
    pub header: RecordHeader,
    /// Process.
    pub tgid: u32,
    /// As wait(2) gives it: signal in the low 7 bits, 0x80 core dumped, status << 8.
    pub code: u32,
    /// `start` of the image that ended.
    pub start: u64,
}

const _: () = assert!(size_of::<ExitRecord>() == 32);
// SAFETY: integers only; the sum of their sizes is the size asserted above, so there is no padding.
unsafe impl Plain for ExitRecord {}

/// Key of the LPM trie `binary_exact_prefix`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BinaryPrefixKey {
    /// 8 times the bytes of `path` that count.
    pub bits: u32,
    /// A path; with its NUL to match it whole.
    pub path: [u8; BINARY_PREFIX_MAX],
}

const _: () = assert!(size_of::<BinaryPrefixKey>() == 260);
// SAFETY: integers only; the sum of their sizes is the size asserted above, so there is no padding.
unsafe impl Plain for BinaryPrefixKey {}

/// Key of the LPM trie `binary_postfix`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BinaryPostfixKey {
    /// 8 times the bytes of `reversed` that count.
    pub bits: u32,
    /// The end of a path, last byte first.
    pub reversed: [u8; BINARY_POSTFIX_MAX],
}

const _: () = assert!(size_of::<BinaryPostfixKey>() == 132);
// SAFETY: integers only; the sum of their sizes is the size asserted above, so there is no padding.
unsafe impl Plain for BinaryPostfixKey {}

/// Value of the one-element array `config`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseConfig {
    /// `TABLE_*`: which exec-time tables are in use.
    pub tables: u32,
    /// Always 0.
    pub zero: u32,
}

const _: () = assert!(size_of::<BaseConfig>() == 8);
// SAFETY: integers only; the sum of their sizes is the size asserted above, so there is no padding.
unsafe impl Plain for BaseConfig {}

/// A policy's selector matched; `nargs` arguments follow.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookRecord {
    /// `flags`: `KPROBE_ACTION_*` value of the last action of `matchReturnActions` processed; 0 if none.
    pub header: RecordHeader,
    /// Process, initial pid namespace.
    pub tgid: u32,
    /// Thread, initial pid namespace.
    pub tid: u32,
    /// 0: the process is not in the map.
    pub process_start: u64,
    /// Id that the agent gave to the emitted program.
    pub program: u32,
    /// Index into the artefact's hook schemas.
    pub hook: u16,
    /// Index in that hook; 0xffff: hook without selectors.
    pub selector: u16,
    /// `KPROBE_ACTION_*` value of the last action processed.
    pub action: u32,
    /// Arguments that follow.
    pub nargs: u32,
}

const _: () = assert!(size_of::<HookRecord>() == 48);
// SAFETY: integers only; the sum of their sizes is the size asserted above, so there is no padding.
unsafe impl Plain for HookRecord {}

/// Starts each argument; `len` bytes follow, padded to 8.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookArg {
    /// [`ArgKind`].
    pub kind: u16,
    /// `ARG_*`.
    pub flags: u16,
    /// Payload bytes, without padding.
    pub len: u32,
}

const _: () = assert!(size_of::<HookArg>() == 8);
// SAFETY: integers only; the sum of their sizes is the size asserted above, so there is no padding.
unsafe impl Plain for HookArg {}

/// Payload of [`ArgKind::Sock`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SockArg {
    /// `AF_*`.
    pub family: u16,
    /// `SOCK_*`.
    pub kind: u16,
    /// `IPPROTO_*`.
    pub protocol: u16,
    /// `TCP_*`.
    pub state: u16,
    /// `SO_MARK`.
    pub mark: u32,
    /// `SO_PRIORITY`.
    pub priority: u32,
    /// Local port, host order.
    pub sport: u16,
    /// Remote port, host order.
    pub dport: u16,
    /// Always 0.
    pub zero: u32,
    /// Local address; IPv4 in the first 4 bytes.
    pub saddr: [u8; 16],
    /// Remote address; IPv4 in the first 4 bytes.
    pub daddr: [u8; 16],
    /// Identifies the socket while it lives.
    pub cookie: u64,
}

const _: () = assert!(size_of::<SockArg>() == 64);
// SAFETY: integers only; the sum of their sizes is the size asserted above, so there is no padding.
unsafe impl Plain for SockArg {}

/// Payload of [`ArgKind::Sockaddr`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SockaddrArg {
    /// `AF_*`.
    pub family: u16,
    /// Host order.
    pub port: u16,
    /// Always 0.
    pub zero: u32,
    /// IPv4 in the first 4 bytes.
    pub addr: [u8; 16],
}

const _: () = assert!(size_of::<SockaddrArg>() == 24);
// SAFETY: integers only; the sum of their sizes is the size asserted above, so there is no padding.
unsafe impl Plain for SockaddrArg {}

/// Payload of [`ArgKind::Skb`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkbArg {
    /// Flow hash.
    pub hash: u32,
    /// Bytes.
    pub len: u32,
    /// Queueing priority.
    pub priority: u32,
    /// Mark.
    pub mark: u32,
    /// `AF_*`.
    pub family: u16,
    /// `IPPROTO_*`.
    pub protocol: u16,
    /// Host order.
    pub sport: u16,
    /// Host order.
    pub dport: u16,
    /// IPv4 in the first 4 bytes.
    pub saddr: [u8; 16],
    /// IPv4 in the first 4 bytes.
    pub daddr: [u8; 16],
    /// IPsec transformations.
    pub sec_path_len: u32,
    /// Offloaded IPsec transformations.
    pub sec_path_olen: u32,
}

const _: () = assert!(size_of::<SkbArg>() == 64);
// SAFETY: integers only; the sum of their sizes is the size asserted above, so there is no padding.
unsafe impl Plain for SkbArg {}

/// Payload of [`ArgKind::Cred`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredArg {
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Saved user id.
    pub suid: u32,
    /// Saved group id.
    pub sgid: u32,
    /// File system user id.
    pub fsuid: u32,
    /// File system group id.
    pub fsgid: u32,
    /// Bit n: capability n.
    pub permitted: u64,
    /// Bit n: capability n.
    pub effective: u64,
    /// Bit n: capability n.
    pub inheritable: u64,
    /// `SECBIT_*`.
    pub securebits: u32,
    /// Depth of the user namespace; 0 is the initial one.
    pub user_ns_level: i32,
    /// Owner's user id.
    pub user_ns_owner: u32,
    /// Owner's group id.
    pub user_ns_group: u32,
    /// Inode of the user namespace.
    pub user_ns_inum: u32,
    /// Always 0.
    pub zero: u32,
}

const _: () = assert!(size_of::<CredArg>() == 80);
// SAFETY: integers only; the sum of their sizes is the size asserted above, so there is no padding.
unsafe impl Plain for CredArg {}

/// Kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum RecordKind {
    /// [`ExecRecord`].
    Exec = 1,
    /// [`ExecDataRecord`].
    ExecData = 2,
    /// [`ForkRecord`].
    Fork = 3,
    /// [`ExitRecord`].
    Exit = 4,
    /// [`HookRecord`].
    Hook = 5,
}

impl RecordKind {
    /// All kinds, by number.
    pub const ALL: [RecordKind; 5] =
        [RecordKind::Exec, RecordKind::ExecData, RecordKind::Fork, RecordKind::Exit, RecordKind::Hook];

    /// The kind with this number.
    pub fn from_number(number: u16) -> Option<RecordKind> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == number)
    }
}

/// Indices into [`ExecRecord::namespaces`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum NamespaceKind {
    /// Host name.
    Uts,
    /// System V IPC.
    Ipc,
    /// Mounts.
    Mnt,
    /// Process ids.
    Pid,
    /// Process ids of children.
    PidForChildren,
    /// Network.
    Net,
    /// Clocks.
    Time,
    /// Clocks of children.
    TimeForChildren,
    /// Control groups.
    Cgroup,
    /// Users.
    User,
}

/// Kinds of hook arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum ArgKind {
    /// u64, sign- or zero-extended from its type.
    Int = 1,
    /// Bytes, no NUL.
    Text = 2,
    /// u32 `i_mode`, u32 zero, then bytes, no NUL.
    Path = 3,
    /// u64 size asked for, then bytes.
    Bytes = 4,
    /// [`SockArg`].
    Sock = 5,
    /// [`SockaddrArg`].
    Sockaddr = 6,
    /// [`SkbArg`].
    Skb = 7,
    /// [`CredArg`].
    Cred = 8,
    /// No payload.
    None = 9,
}

impl ArgKind {
    /// All kinds, by number.
    pub const ALL: [ArgKind; 9] = [
        ArgKind::Int,
        ArgKind::Text,
        ArgKind::Path,
        ArgKind::Bytes,
        ArgKind::Sock,
        ArgKind::Sockaddr,
        ArgKind::Skb,
        ArgKind::Cred,
        ArgKind::None,
    ];

    /// The kind with this number.
    pub fn from_number(number: u16) -> Option<ArgKind> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == number)
    }
}

/// Indices of the per-CPU array `lost`, beside the numbers of [`RecordKind`] (the ring buffer was full).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Loss {
    /// The map `processes` is full: the process is not followed.
    Process = 0,
}
