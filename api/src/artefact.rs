//! In: the policy compiler's last stage. Out: the agent's loader, which needs nothing else.
//!
//! An artefact is one eBPF program for one hook of one kernel, with all policies of that hook in it. It is
//! content-addressed: the same policies on the same kernel give the same bytes.

mod workload;

use prost::Message;
use sha2::{Digest, Sha256};

pub use workload::{LabelOp, LabelTest, NAMESPACE_LABEL, PodSet, WorkloadSet};

/// SHA-256 of an artefact's encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtefactDigest(pub [u8; 32]);

impl std::fmt::Display for ArtefactDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One program with everything needed to load, attach and decode it.
#[derive(Clone, PartialEq, Message)]
pub struct Artefact {
    /// Where it attaches.
    #[prost(message, required, tag = "1")]
    pub attach: Attach,
    /// Instructions, 8 bytes each, before relocation.
    #[prost(bytes = "vec", tag = "2")]
    pub insns: Vec<u8>,
    /// Places in `insns` that only the loading agent can fill.
    #[prost(message, repeated, tag = "3")]
    pub relocs: Vec<Reloc>,
    /// Maps that belong to this program alone.
    #[prost(message, repeated, tag = "4")]
    pub maps: Vec<MapSpec>,
    /// Hook entries of all policies in this program; `hook_record.hook` indexes this.
    #[prost(message, repeated, tag = "5")]
    pub hooks: Vec<HookSchema>,
    /// Which policy field each run of instructions came from, by first instruction, ascending.
    #[prost(message, repeated, tag = "6")]
    pub source_map: Vec<SourceSpan>,
    /// Sets of binaries that the program tests in the process bits.
    #[prost(message, repeated, tag = "7")]
    pub process_sets: Vec<ProcessSet>,
    /// The program runs not only while its hook's word in `active` is its own id, but also while that has the flag
    /// [`OVERLAP`], and then keeps to what is said there. Tag 8 is another
    /// promise that stored artefacts may make, and that no agent asks for any more.
    #[prost(bool, tag = "9")]
    pub overlaps: bool,
}

/// Flag in a hook's word in `active`, beside the newer program's id, for the moment of a switch in which both programs
/// judge calls, each call once: the newer one, which runs first ([`Flavour::newest_runs_first`]), leaves the id in
/// [`SharedMap::Judged`], and the older one lets calls pass for which it finds it there. Without that, a call that is past
/// the newer program but not yet in the older one when the word changes would be judged by neither.
pub const OVERLAP: u32 = 1 << 31;

impl Flavour {
    /// Whether of two programs on one hook the one attached last runs first: trampolines (kernel/bpf/trampoline.c,
    /// `hlist_add_head`) and kprobes (kernel/kprobes.c, `list_add_rcu`). Tracepoints append.
    pub fn newest_runs_first(self) -> bool {
        match self {
            Flavour::Fentry | Flavour::Fexit | Flavour::FmodRet | Flavour::Lsm | Flavour::Kprobe => true,
            Flavour::Unspecified
            | Flavour::Kretprobe
            | Flavour::TpBtf
            | Flavour::RawTp
            | Flavour::Tracepoint => false,
        }
    }
}

impl Artefact {
    /// The content address.
    pub fn digest(&self) -> ArtefactDigest {
        ArtefactDigest(Sha256::digest(self.encode_to_vec()).into())
    }
}

/// Program type and attach point.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Message)]
pub struct Attach {
    /// Mechanism.
    #[prost(enumeration = "Flavour", tag = "1")]
    pub flavour: i32,
    /// Symbol, `subsystem/event`, tracepoint name or LSM hook, by flavour.
    #[prost(string, tag = "2")]
    pub target: String,
    /// BTF id of the target in vmlinux, where the flavour takes one; else 0.
    #[prost(uint32, tag = "3")]
    pub btf_id: u32,
    /// The one system call number that the program is for, where the attach point sees all of them.
    #[prost(uint32, optional, tag = "4")]
    pub syscall: Option<u32>,
}

/// How a program reaches its hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Flavour {
    /// Not set; never valid.
    Unspecified = 0,
    /// BPF trampoline at function entry.
    Fentry = 1,
    /// BPF trampoline at function return.
    Fexit = 2,
    /// BPF trampoline that may replace the body by a return value.
    FmodRet = 3,
    /// BPF LSM.
    Lsm = 4,
    /// kprobe on a perf event.
    Kprobe = 5,
    /// kretprobe on a perf event.
    Kretprobe = 6,
    /// Raw tracepoint with BTF-typed arguments.
    TpBtf = 7,
    /// Raw tracepoint.
    RawTp = 8,
    /// Tracepoint with its tracefs format, on a perf event.
    Tracepoint = 9,
}

/// A place to fill in an instruction's immediate (for maps: of the two-slot load).
#[derive(Clone, PartialEq, Message)]
pub struct Reloc {
    /// Instruction index.
    #[prost(uint32, tag = "1")]
    pub insn: u32,
    /// What goes there.
    #[prost(enumeration = "RelocKind", tag = "2")]
    pub kind: i32,
    /// Index into what `kind` names.
    #[prost(uint32, tag = "3")]
    pub index: u32,
}

/// What a [`Reloc`] is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum RelocKind {
    /// Not set; never valid.
    Unspecified = 0,
    /// fd of a [`SharedMap`]; index: its value.
    SharedMap = 1,
    /// fd of a private map; index: into `Artefact::maps`.
    PrivateMap = 2,
    /// Immediate: the id that the agent gives this program.
    ProgramId = 3,
    /// Immediate: index of this hook's word in the map `active`.
    ActiveSlot = 4,
    /// Immediate: index of a hook entry's policy in the map `policy_counters`; index: into `Artefact::hooks`.
    PolicyCounters = 5,
    /// Immediate: `word * 8` of the process bit of a set; index: into `Artefact::process_sets`.
    ProcessSetOffset = 6,
    /// Two-slot immediate: mask of the process bit of a set; index: into `Artefact::process_sets`.
    ProcessSetMask = 7,
}

/// Maps that all programs of an agent share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SharedMap {
    /// Not set; never valid.
    Unspecified = 0,
    /// Ring buffer of records.
    Events = 1,
    /// Hash: tgid (u32) → `struct process`.
    Processes = 2,
    /// Array of u32: per hook, the id of the program that is active, below [`OVERLAP`].
    Active = 3,
    /// Array of scratch slots, [`SCRATCH_SIZE`] bytes each, [`SCRATCH_SLOTS_PER_CPU`] per CPU.
    Scratch = 4,
    /// Per-CPU array of [`PolicyCounters`]-shaped values, one per policy.
    PolicyCounters = 5,
    /// LRU hash: 64-bit key hash → time of the last event, for rate limits.
    RateLimit = 6,
    /// LRU hash: thread and function (u64) → argument registers ([`SAVED_REGISTERS`] x u64) at a function's entry,
    /// for kretprobes.
    SavedRegisters = 7,
    /// LRU hash: thread (tgid and pid, u64) → id (u64) of the newer of two overlapping programs, which has judged the call
    /// that the thread is in.
    Judged = 8,
}

/// Argument registers of x86-64 functions.
pub const SAVED_REGISTERS: u32 = 6;

/// Size of one scratch slot: see `policy_compiler::emit::scratch` for what is in it.
pub const SCRATCH_SIZE: u32 = 32768;
/// Scratch slots per CPU: task, softirq and hardirq context, and one preempted task.
pub const SCRATCH_SLOTS_PER_CPU: u32 = 4;

/// Counters of one policy on one CPU; all u64, in this order in the map value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum PolicyCounter {
    /// A selector matched.
    Match = 0,
    /// An event was written.
    Post = 1,
    /// A selector matched and its actions suppress the event.
    NoPost = 2,
    /// A rate limit suppressed an event.
    RateLimited = 3,
    /// A signal was sent.
    Signal = 4,
    /// A return value was replaced.
    Override = 5,
    /// A signal was withheld by monitor mode.
    MonitorSignal = 6,
    /// An override was withheld by monitor mode.
    MonitorOverride = 7,
    /// An event was lost: the ring buffer was full.
    LostRing = 8,
    /// An event or a decision was lost: no scratch slot was free, the call's entry was not seen, or a text is longer
    /// than what is followed of it.
    LostScratch = 9,
    /// A signal could not be sent.
    SignalFailed = 10,
}

/// Number of [`PolicyCounter`]s; the map's value size is 8 bytes each.
pub const POLICY_COUNTERS: u32 = 11;

/// A map to create and fill.
#[derive(Clone, PartialEq, Message)]
pub struct MapSpec {
    /// Kind.
    #[prost(enumeration = "MapKind", tag = "1")]
    pub kind: i32,
    /// Bytes.
    #[prost(uint32, tag = "2")]
    pub key_size: u32,
    /// Bytes.
    #[prost(uint32, tag = "3")]
    pub value_size: u32,
    /// Capacity.
    #[prost(uint32, tag = "4")]
    pub max_entries: u32,
    /// Contents.
    #[prost(message, repeated, tag = "5")]
    pub entries: Vec<MapEntry>,
}

/// Kind of a private map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum MapKind {
    /// Not set; never valid.
    Unspecified = 0,
    /// Hash table.
    Hash = 1,
    /// Longest-prefix-match trie; keys start with a u32 prefix length in bits.
    LpmTrie = 2,
}

/// One entry of a map.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Message)]
pub struct MapEntry {
    /// `key_size` bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// `value_size` bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// One hook entry of one policy: how to show its events.
#[derive(Clone, PartialEq, Message)]
pub struct HookSchema {
    /// Policy namespace, empty for cluster policies.
    #[prost(string, tag = "1")]
    pub policy_namespace: String,
    /// Policy name.
    #[prost(string, tag = "2")]
    pub policy_name: String,
    /// Field path of the hook, e.g. `spec.kprobes[0]`.
    #[prost(string, tag = "3")]
    pub path: String,
    /// Which event the hook gives.
    #[prost(enumeration = "EventKind", tag = "4")]
    pub event: i32,
    /// `function_name` of kprobe and LSM events; `subsys/event` of tracepoints.
    #[prost(string, tag = "5")]
    pub name: String,
    /// `message`, empty if none.
    #[prost(string, tag = "6")]
    pub message: String,
    /// `tags`.
    #[prost(string, repeated, tag = "7")]
    pub tags: Vec<String>,
    /// Values in record order: arguments, and the return value if there is one.
    #[prost(message, repeated, tag = "8")]
    pub args: Vec<ArgSchema>,
    /// Whether the value with the highest position is the return value.
    #[prost(bool, tag = "9")]
    pub has_return: bool,
    /// Labels of the hook's selectors, empty where none.
    #[prost(string, repeated, tag = "10")]
    pub selector_labels: Vec<String>,
    /// Monitor mode: enforcement is withheld and counted.
    #[prost(bool, tag = "11")]
    pub monitor: bool,
}

/// Which event a hook gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum EventKind {
    /// Not set; never valid.
    Unspecified = 0,
    /// `process_kprobe`.
    Kprobe = 1,
    /// `process_tracepoint`.
    Tracepoint = 2,
    /// `process_lsm`.
    Lsm = 3,
}

/// One argument: which output field it has.
#[derive(Clone, PartialEq, Message)]
pub struct ArgSchema {
    /// Output field.
    #[prost(enumeration = "ArgField", tag = "1")]
    pub field: i32,
    /// `label`, empty if none.
    #[prost(string, tag = "2")]
    pub label: String,
    /// Place in the event; values of fixed size come first in the record.
    #[prost(uint32, tag = "3")]
    pub position: u32,
}

/// The `KprobeArgument` field of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum ArgField {
    /// Not set; never valid.
    Unspecified = 0,
    /// `int_arg`.
    Int = 1,
    /// `uint_arg`.
    Uint = 2,
    /// `long_arg`.
    Long = 3,
    /// `size_arg`.
    Size = 4,
    /// `string_arg`.
    String = 5,
    /// `bytes_arg` or `truncated_bytes_arg`.
    Bytes = 6,
    /// `file_arg`.
    File = 7,
    /// `path_arg`.
    Path = 8,
    /// `linux_binprm_arg`.
    LinuxBinprm = 9,
    /// `sock_arg`.
    Sock = 10,
    /// `sockaddr_arg`.
    Sockaddr = 11,
    /// `skb_arg`.
    Skb = 12,
    /// `process_credentials_arg`.
    Cred = 13,
    /// `capability_arg`.
    Capability = 14,
    /// `kernel_cap_t_arg`.
    KernelCap = 15,
    /// `cap_inheritable_arg`.
    CapInheritable = 16,
    /// `cap_permitted_arg`.
    CapPermitted = 17,
    /// `cap_effective_arg`.
    CapEffective = 18,
    /// `syscall_id`.
    SyscallId = 19,
    /// Nothing is shown.
    Nop = 20,
}

/// Where a run of instructions came from.
#[derive(Clone, PartialEq, Message)]
pub struct SourceSpan {
    /// First instruction.
    #[prost(uint32, tag = "1")]
    pub insn: u32,
    /// `policy: field path`, or the name of a shared part.
    #[prost(string, tag = "2")]
    pub path: String,
}

/// A set of processes by binary path, by pid or by workload, tested as one process bit. Two policies with the same set
/// share one bit.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Message)]
pub struct ProcessSet {
    /// How paths are compared; [`SetOp::Pid`] for pids, [`SetOp::Workloads`] for workloads.
    #[prost(enumeration = "SetOp", tag = "1")]
    pub op: i32,
    /// Absolute paths, sorted and distinct.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub paths: Vec<Vec<u8>>,
    /// Process ids in the initial pid namespace, for sets that follow forks.
    #[prost(uint32, repeated, tag = "3")]
    pub pids: Vec<u32>,
    /// Workloads, for [`SetOp::Workloads`].
    #[prost(message, optional, tag = "4")]
    pub workloads: Option<WorkloadSet>,
}

impl ProcessSet {
    /// Whether it takes knowledge of the node's pods to tell who is in it.
    pub fn needs_pods(&self) -> bool {
        self.workloads.as_ref().is_some_and(|workloads| workloads.pods.is_some())
    }
}

/// How a [`ProcessSet`] is evaluated at exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum SetOp {
    /// Not set; never valid.
    Unspecified = 0,
    /// Path equals one of the values.
    Equal = 1,
    /// Path starts with one of the values.
    Prefix = 2,
    /// Path ends with one of the values.
    Postfix = 3,
    /// Process id is one of the values.
    Pid = 4,
    /// The process's cgroup is of one of these workloads.
    Workloads = 5,
}

impl Flavour {
    /// Name for messages.
    pub fn describe(self) -> &'static str {
        match self {
            Flavour::Unspecified => "nothing",
            Flavour::Fentry => "fentry",
            Flavour::Fexit => "fexit",
            Flavour::FmodRet => "fmod_ret",
            Flavour::Lsm => "BPF LSM",
            Flavour::Kprobe => "kprobe",
            Flavour::Kretprobe => "kretprobe",
            Flavour::TpBtf => "tp_btf",
            Flavour::RawTp => "raw_tp",
            Flavour::Tracepoint => "tracepoint",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two programs of which one keeps to another rule than this would both leave a call to the other.
    #[test]
    fn an_earlier_promise_to_run_is_not_one_to_overlap() {
        let attach = Attach { flavour: Flavour::Lsm as i32, ..Attach::default() };
        let mut stored = Artefact { attach, ..Artefact::default() }.encode_to_vec();
        stored.extend([8 << 3, 1]);
        assert!(!Artefact::decode(&*stored).unwrap().overlaps);
    }
}
