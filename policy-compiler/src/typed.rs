//! In: `check`, which turns a policy's strings into these types. Out: `resolve`, `plan` and the reference
//! evaluator.
//!
//! Guarantees: everything here is within the language's limits and self-consistent; no string is left to
//! parse. What only a kernel can tell (does the function exist, do the types fit) is not known yet.

mod workload;

use std::net::IpAddr;

pub use workload::{LabelIs, LabelTest, PodTest, WorkloadTest};

/// Identity of a policy: two namespaced policies of one name in two namespaces are two policies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyKey {
    /// Namespace of a `TracingPolicyNamespaced`; `None` for the cluster kind.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
}

impl std::fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// What enforcement actions of a policy do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// They act.
    Enforce,
    /// They are counted and shown, and do not act.
    Monitor,
}

/// A checked policy.
#[derive(Debug, Clone, PartialEq)]
pub struct TypedPolicy {
    /// Identity.
    pub key: PolicyKey,
    /// Initial mode (option `policy-mode`).
    pub mode: Mode,
    /// Workloads that the policy applies to, a condition of every selector and of hooks without; `None`: all.
    pub workloads: Option<WorkloadTest>,
    /// `nodeSelector`: conditions on the labels of the node, all of which must hold; empty: all nodes. Not for the
    /// compiler: whoever distributes programs acts on it.
    pub nodes: Vec<LabelTest>,
    /// All hooks, in the order of the document.
    pub hooks: Vec<TypedHook>,
}

impl TypedPolicy {
    /// Whether it takes knowledge of pods to tell which processes it applies to.
    pub fn needs_pods(&self) -> bool {
        let filters = self.hooks.iter().flat_map(|hook| &hook.selectors).flat_map(|one| &one.filters);
        let tests = filters.filter_map(|filter| match &filter.test {
            FilterTest::Workloads(test) => Some(test),
            _ => None,
        });
        self.workloads.iter().chain(tests).any(|test| test.pods.is_some())
    }
}

/// One entry of a hook section.
#[derive(Debug, Clone, PartialEq)]
pub struct TypedHook {
    /// Field path, e.g. `spec.kprobes[0]`.
    pub path: String,
    /// What is hooked.
    pub point: HookPoint,
    /// Arguments in the order of the document; filters refer to them by position.
    pub args: Vec<TypedArg>,
    /// `return: true` with its `returnArg`.
    pub ret: Option<TypedArg>,
    /// `message`, at most 256 characters.
    pub message: Option<String>,
    /// `tags`, at most 16.
    pub tags: Vec<String>,
    /// Selectors in order; the first that matches wins. Empty: always matches and posts.
    pub selectors: Vec<Selector>,
    /// `ignore.callNotFound`: a missing symbol skips the hook instead of refusing the policy.
    pub ignore_call_not_found: bool,
}

/// What a hook is bound to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookPoint {
    /// `kprobes` with `syscall: false`: a kernel function.
    Kprobe {
        /// Symbol as written.
        function: String,
    },
    /// `kprobes` with `syscall: true`.
    Syscall {
        /// Name without any prefix: `openat` for `sys_openat`, `__x64_sys_openat`.
        name: String,
    },
    /// `fentries`: a kernel function; no enforcement.
    Fentry {
        /// Symbol; for `syscall: true` entries the `__x64_sys_` symbol.
        function: String,
        /// Arguments come from the `pt_regs` of a system call.
        syscall: bool,
    },
    /// `tracepoints`, formatted: argument indices are positions in the tracefs format.
    Tracepoint {
        /// Subsystem directory in tracefs.
        subsystem: String,
        /// Event directory in tracefs.
        event: String,
    },
    /// `tracepoints` with `raw: true`: argument indices are positions in the prototype.
    RawTracepoint {
        /// Subsystem, for display only.
        subsystem: String,
        /// Tracepoint name.
        event: String,
    },
    /// `lsmhooks`.
    Lsm {
        /// Hook name without prefix, e.g. `file_open`.
        hook: String,
    },
}

/// One argument of a hook, or its return value.
#[derive(Debug, Clone, PartialEq)]
pub struct TypedArg {
    /// Field path, e.g. `spec.kprobes[0].args[1]`.
    pub path: String,
    /// Position in the function's prototype, or in the tracepoint's format.
    pub index: u32,
    /// How the value is read, compared and shown.
    pub ty: ArgType,
    /// `label`.
    pub label: Option<String>,
    /// Zero-based function argument that holds the length in bytes (the document's `sizeArgIndex` minus 1).
    pub size_arg: Option<u32>,
    /// `returnCopy`: read the buffer at return; its size is the return value.
    pub return_copy: bool,
}

/// How a value is read, compared and shown. The language has more; `check` refuses those as unsupported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArgType {
    /// The tracepoint field's own type; only for formatted tracepoints.
    Auto,
    /// An integer.
    Int(IntType),
    /// NUL-terminated string, kernel or user by hook kind, at most 4096 bytes.
    String,
    /// Bytes with a length.
    CharBuf,
    /// `struct file *`: path and permission.
    File,
    /// File descriptor of the current task, resolved to its file.
    Fd,
    /// `struct path *`.
    Path,
    /// `struct dentry *`: path within its mount.
    Dentry,
    /// `struct filename *`.
    Filename,
    /// `struct linux_binprm *`: path of its file.
    LinuxBinprm,
    /// `struct sock *`.
    Sock,
    /// `struct socket *`.
    Socket,
    /// `struct sockaddr *` (inet and inet6).
    Sockaddr,
    /// `struct sk_buff *`.
    Skb,
    /// `struct cred *`.
    Cred,
    /// An int that is a capability number.
    Capability,
    /// `kernel_cap_t *`; the variant selects the output field.
    CapSet(CapSetField),
    /// `raw_syscalls` id.
    Syscall64,
    /// Nothing is read.
    Nop,
}

/// Width, signedness and output field of an integer argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IntType {
    /// `sint8`, `int8`.
    S8,
    /// `uint8`.
    U8,
    /// `sint16`, `int16`.
    S16,
    /// `uint16`.
    U16,
    /// `int`, `int32`, `sint32`.
    S32,
    /// `uint32`.
    U32,
    /// `long`, `int64`, `sint64`.
    S64,
    /// `ulong`, `uint64`, `size_t`.
    U64,
}

impl IntType {
    /// Width in bytes.
    pub fn size(self) -> u8 {
        match self {
            IntType::S8 | IntType::U8 => 1,
            IntType::S16 | IntType::U16 => 2,
            IntType::S32 | IntType::U32 => 4,
            IntType::S64 | IntType::U64 => 8,
        }
    }

    /// Whether comparisons are signed.
    pub fn signed(self) -> bool {
        matches!(self, IntType::S8 | IntType::S16 | IntType::S32 | IntType::S64)
    }

    /// `value` as a 64-bit register holds it: truncated to the width, then sign- or zero-extended.
    pub fn canonical(self, value: u64) -> u64 {
        match self {
            IntType::S8 => value as i8 as i64 as u64,
            IntType::U8 => value as u8 as u64,
            IntType::S16 => value as i16 as i64 as u64,
            IntType::U16 => value as u16 as u64,
            IntType::S32 => value as i32 as i64 as u64,
            IntType::U32 => value as u32 as u64,
            IntType::S64 | IntType::U64 => value,
        }
    }
}

/// Output field of a capability set argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CapSetField {
    /// `kernel_cap_t`.
    KernelCap,
    /// `cap_inheritable`.
    Inheritable,
    /// `cap_permitted`.
    Permitted,
    /// `cap_effective`.
    Effective,
}

/// One selector: all its filters must pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    /// Field path, e.g. `spec.kprobes[0].selectors[1]`.
    pub path: String,
    /// `label`.
    pub label: Option<String>,
    /// ANDed. Filters with an empty value list that the language ignores are not here.
    pub filters: Vec<Filter>,
    /// In order; never empty (an empty list in the document is `Post`).
    pub actions: Vec<Action>,
    /// `matchReturnArgs`, ANDed, evaluated on the return value.
    pub return_filters: Vec<Filter>,
    /// `matchReturnActions`; may be empty.
    pub return_actions: Vec<Action>,
}

/// One condition with the field path it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// Field path, e.g. `spec.kprobes[0].selectors[0].matchArgs[0]`.
    pub path: String,
    /// What is tested.
    pub test: FilterTest,
}

/// What a filter tests. In value lists, positive tests are ORed and negated tests are "none of them".
#[derive(Debug, Clone, PartialEq)]
pub enum FilterTest {
    /// An argument, by position in [`TypedHook::args`] (or the return value in `return_filters`).
    Arg {
        /// Position.
        arg: usize,
        /// The test.
        test: ArgTest,
    },
    /// `matchArgs` with `CapabilitiesGained`, two positions: `((old ^ new) & new) != 0`.
    CapabilitiesGained {
        /// Position of the old set.
        old: usize,
        /// Position of the new set.
        new: usize,
    },
    /// `matchPIDs`.
    Pids(PidTest),
    /// `matchBinaries`.
    Binary(BinaryTest),
    /// `matchParentBinaries`.
    ParentBinary(BinaryTest),
    /// One `matchNamespaces` element.
    Namespace(NamespaceTest),
    /// `matchCapabilities`.
    Capabilities(CapabilityTest),
    /// `matchWorkloads`.
    Workloads(WorkloadTest),
}

/// A test of one argument's value. A value that could not be read fails every test, negated ones too.
#[derive(Debug, Clone, PartialEq)]
pub enum ArgTest {
    /// Integer comparison.
    Int {
        /// Negated (`NotEqual`, `NotInRange`, `NotInMap`).
        not: bool,
        /// The comparison.
        test: IntTest,
    },
    /// Text comparison, on strings and on path text. An empty path matches no text test, negated ones too. Of a text
    /// that is too long a part is missing, of paths the start, of others the end: a comparison with that part (and
    /// `Equal` always) does not hold, so that its negation does.
    Text {
        /// Negated.
        not: bool,
        /// Which part is compared.
        op: TextOp,
        /// Values, sorted and distinct; never empty.
        values: Vec<Vec<u8>>,
    },
    /// `FileType` / `NotFileType`, on `file` and `path`: `i_mode & S_IFMT` is one of `modes`.
    FileType {
        /// Negated.
        not: bool,
        /// `S_IF*` values.
        modes: Vec<u16>,
    },
    /// `SAddr`, `DAddr` and negations. A negated test is true for a family without entries; a positive one
    /// false. IPv4-mapped IPv6 addresses compare as IPv4.
    Addr {
        /// Negated.
        not: bool,
        /// Source or destination.
        side: Side,
        /// Networks, host bits cleared; never empty.
        nets: Vec<IpNet>,
    },
    /// `SPort`, `DPort`, their negations, and the `Priv` forms (which are the range 0..=1023).
    Port {
        /// Negated.
        not: bool,
        /// Source or destination.
        side: Side,
        /// Inclusive ranges, sorted, not overlapping; never empty.
        ranges: Vec<(u16, u16)>,
    },
    /// `Protocol`, `Family`, `State`: inclusive ranges, sorted, not overlapping; never empty.
    SockField {
        /// Which field.
        field: SockField,
        /// Accepted values.
        ranges: Vec<(u32, u32)>,
    },
}

/// A comparison of an integer (or of a capability set as 64 bits).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IntTest {
    /// Equals any of these; values are canonical for the argument's type. Covers `Equal`, `InMap`, `InRange`
    /// (inclusive ranges in the type's own order, sorted, merged; a single value is `(v, v)`).
    In(Vec<(u64, u64)>),
    /// Greater than any of the values, i.e. than the least. Signed by type.
    Greater(u64),
    /// Less than any of the values, i.e. than the greatest. Signed by type.
    Less(u64),
    /// Any bit in common with this mask (the OR of the values).
    Mask(u64),
}

/// Part of the text that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TextOp {
    /// The whole text.
    Equal,
    /// Its start.
    Prefix,
    /// Its end.
    Postfix,
}

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Local end of a socket, sender of a packet, or the address itself for `sockaddr`.
    Source,
    /// The other end.
    Destination,
}

/// A field of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SockField {
    /// `IPPROTO_*`.
    Protocol,
    /// `AF_*`.
    Family,
    /// `TCP_*`.
    State,
}

/// A network: address and prefix length in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpNet {
    /// Network address, host bits cleared.
    pub addr: IpAddr,
    /// 0..=32 for IPv4, 0..=128 for IPv6.
    pub prefix: u8,
}

/// `matchPIDs`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PidTest {
    /// `NotIn`.
    pub not: bool,
    /// Compare the thread group id in the innermost pid namespace instead of the host's.
    pub namespace_pid: bool,
    /// Descendants count as members.
    pub follow_forks: bool,
    /// Process ids; at most 4, never empty.
    pub values: Vec<u32>,
}

/// `matchBinaries` / `matchParentBinaries`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BinaryTest {
    /// `NotIn`, `NotPrefix`, `NotPostfix`.
    pub not: bool,
    /// How the executable's path is compared.
    pub op: TextOp,
    /// Paths, sorted and distinct; never empty.
    pub values: Vec<Vec<u8>>,
    /// Membership is inherited by all descendants; of `matchBinaries` only.
    pub follow_children: bool,
}

/// One `matchNamespaces` element.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamespaceTest {
    /// `NotIn`.
    pub not: bool,
    /// Kind of namespace of the current task.
    pub kind: NamespaceKind,
    /// Values; at most 4, never empty.
    pub values: Vec<NamespaceValue>,
}

/// Kinds of namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamespaceKind {
    /// `Uts`.
    Uts,
    /// `Ipc`.
    Ipc,
    /// `Mnt`.
    Mnt,
    /// `Pid`.
    Pid,
    /// `PidForChildren`.
    PidForChildren,
    /// `Net`.
    Net,
    /// `Time`.
    Time,
    /// `TimeForChildren`.
    TimeForChildren,
    /// `Cgroup`.
    Cgroup,
    /// `User`.
    User,
}

/// A namespace to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamespaceValue {
    /// The namespace of process 1.
    Host,
    /// Inode number.
    Inode(u32),
}

/// `matchCapabilities`: has any (or, negated, none) of the listed capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CapabilityTest {
    /// `NotIn`.
    pub not: bool,
    /// Which set of the current credentials.
    pub set: CapabilitySet,
    /// Only evaluated when the process's user namespace is not the host's; else no match.
    pub namespace_only: bool,
    /// OR of `1 << capability`.
    pub mask: u64,
}

/// A set of the current credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CapabilitySet {
    /// Effective.
    Effective,
    /// Inheritable.
    Inheritable,
    /// Permitted.
    Permitted,
}

/// What a matching selector does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Emit an event.
    Post {
        /// At most one event per interval and key.
        rate_limit: Option<RateLimit>,
    },
    /// Suppress the event of the whole list; counted.
    NoPost,
    /// Send a signal to the current process; `Sigkill` is signal 9.
    Signal {
        /// Signal number, 1..=64.
        signal: u32,
        /// Written as `Sigkill`.
        sigkill: bool,
    },
    /// Return this value without running the function's body.
    Override {
        /// Negative errno, -4095..=0 as in the document.
        error: i32,
    },
}

impl Action {
    /// Whether monitor mode withholds it.
    pub fn enforces(self) -> bool {
        matches!(self, Action::Signal { .. } | Action::Override { .. })
    }
}

/// `rateLimit` with its scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RateLimit {
    /// Milliseconds, at most `u32::MAX`.
    pub interval_ms: u32,
    /// What shares one limit.
    pub scope: RateScope,
}

/// Scope of a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RateScope {
    /// Each thread on its own (default).
    Thread,
    /// Each process.
    Process,
    /// All together.
    Global,
}
