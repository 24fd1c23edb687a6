//! In: the agent's process cache. Out: the encoders; many events share one process.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Pod, Text, Timestamp};

/// A process image: what [`ProcessInfo`] says, unchangeable, with its encoded form made once. To change
/// something (a pod became known), make a new one from a changed copy of its information.
#[derive(Debug)]
pub struct Process {
    info: ProcessInfo,
    fragment: OnceLock<Fragment>,
}

/// A process's JSON without the two fields that differ between its events, cut where those go.
#[derive(Debug)]
pub(crate) struct Fragment {
    text: Box<str>,
    refcnt_at: usize,
    tid_at: usize,
}

impl Fragment {
    /// `refcnt_at`, `tid_at`: where the fields go, ascending, as offsets into `text`.
    pub(crate) fn new(text: String, refcnt_at: usize, tid_at: usize) -> Fragment {
        Fragment { text: text.into(), refcnt_at, tid_at }
    }

    /// The text before `refcnt`, between `refcnt` and `tid`, and after `tid`.
    pub(crate) fn parts(&self) -> (&str, &str, &str) {
        let (rest, tail) = self.text.split_at_checked(self.tid_at).unwrap_or((&self.text, ""));
        let (head, middle) = rest.split_at_checked(self.refcnt_at).unwrap_or((rest, ""));
        (head, middle, tail)
    }
}

impl Process {
    /// A process that says `info`.
    pub fn new(info: ProcessInfo) -> Process {
        Process { info, fragment: OnceLock::new() }
    }

    /// A changed copy.
    pub fn with(&self, change: impl FnOnce(&mut ProcessInfo)) -> Process {
        let mut info = self.info.clone();
        change(&mut info);
        Process::new(info)
    }

    pub(crate) fn fragment(&self, encode: impl FnOnce(&ProcessInfo) -> Fragment) -> &Fragment {
        self.fragment.get_or_init(|| encode(&self.info))
    }
}

impl Deref for Process {
    type Target = ProcessInfo;

    fn deref(&self) -> &ProcessInfo {
        &self.info
    }
}

impl PartialEq for Process {
    fn eq(&self, other: &Process) -> bool {
        self.info == other.info
    }
}

/// A process in an event, with what differs between the events of one process.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// The process.
    pub process: Arc<Process>,
    /// Calling thread; the process id for exec and exit.
    pub tid: u32,
    /// References that the agent's process cache holds, for debugging; 0 is not shown.
    pub refcnt: u32,
}

/// Facts about a process image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessInfo {
    /// Identity of the image.
    pub exec_id: ExecId,
    /// Thread group id in the initial pid namespace.
    pub pid: u32,
    /// Effective user id; `None` if unknown.
    pub uid: Option<u32>,
    /// Working directory; empty if unknown.
    pub cwd: Text,
    /// Path of the executable.
    pub binary: Text,
    /// Arguments without the first, joined by spaces.
    pub arguments: Text,
    /// How it came to be known, and what could not be read.
    pub flags: ProcessFlags,
    /// When the image started.
    pub start_time: Option<Timestamp>,
    /// Login user id, 4294967295 if unset; `None` if unknown.
    pub auid: Option<u32>,
    /// Its pod.
    pub pod: Option<Arc<Pod>>,
    /// First 31 characters of the container id; empty on the host.
    pub docker: String,
    /// Identity of the parent, or of the previous image of this process.
    pub parent_exec_id: ExecId,
    /// Capabilities, if asked for.
    pub cap: Option<Capabilities>,
    /// Namespaces, if asked for.
    pub ns: Option<Box<Namespaces>>,
    /// Credentials at exec, if asked for.
    pub credentials: Option<Box<Credentials>>,
    /// User name, if asked for; empty if not.
    pub user: String,
    /// Runs in a container and descends from its first process; `None` if unknown.
    pub in_init_tree: Option<bool>,
    /// Environment, if asked for.
    pub environment: Vec<EnvVar>,
}

/// Identity of a process image in the whole cluster: base64 of `node:start:pid`. Empty if unknown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ExecId(pub Box<str>);

impl ExecId {
    /// `start`: nanoseconds since boot at which the image started; 1 for pid 0.
    pub fn new(node: &str, start: u64, pid: u32) -> ExecId {
        ExecId(STANDARD.encode(format!("{node}:{start}:{pid}")).into())
    }
}

/// The `flags` words as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ProcessFlags(pub u32);

/// The words in the order in which they are shown.
const FLAG_WORDS: [(ProcessFlags, &str); 21] = [
    (ProcessFlags::EXECVE, "execve"),
    (ProcessFlags::PROC_FS, "procFS"),
    (ProcessFlags::ERROR_ENVS, "errorEnvs"),
    (ProcessFlags::TRUNC_ARGS, "truncArgs"),
    (ProcessFlags::MISS, "miss"),
    (ProcessFlags::ERROR_FILENAME, "errorFilename"),
    (ProcessFlags::ERROR_ARGS, "errorArgs"),
    (ProcessFlags::NO_CWD, "nocwd"),
    (ProcessFlags::ROOT_CWD, "rootcwd"),
    (ProcessFlags::ERROR_CWD, "errorCWD"),
    (ProcessFlags::CLONE, "clone"),
    (ProcessFlags::ERROR_CGROUP_NAME, "errorCgroupName"),
    (ProcessFlags::ERROR_CGROUP_ID, "errorCgroupID"),
    (ProcessFlags::ERROR_CGROUP_SUBSYS_CGRP, "errorCgroupSubsysCgrp"),
    (ProcessFlags::ERROR_CGROUP_SUBSYS, "errorCgroupSubsys"),
    (ProcessFlags::ERROR_CGROUPS, "errorCgroups"),
    (ProcessFlags::ERROR_PATH_RESOLUTION_CWD, "errorPathResolutionCwd"),
    (ProcessFlags::DATA_FILENAME, "dataFilename"),
    (ProcessFlags::DATA_ARGS, "dataArgs"),
    (ProcessFlags::IN_INIT_TREE, "inInitTree"),
    (ProcessFlags::UNKNOWN, "unknown"),
];

impl ProcessFlags {
    /// Started by execve.
    pub const EXECVE: Self = Self(0x01);
    /// Found in procfs.
    pub const PROC_FS: Self = Self(0x04);
    /// The environment could not be read.
    pub const ERROR_ENVS: Self = Self(0x08);
    /// Arguments are cut.
    pub const TRUNC_ARGS: Self = Self(0x10);
    /// Its fork or exec was missed.
    pub const MISS: Self = Self(0x40);
    /// The executable's name could not be read.
    pub const ERROR_FILENAME: Self = Self(0x100);
    /// The arguments could not be read.
    pub const ERROR_ARGS: Self = Self(0x200);
    /// No working directory.
    pub const NO_CWD: Self = Self(0x800);
    /// The working directory is the root.
    pub const ROOT_CWD: Self = Self(0x1000);
    /// The working directory could not be read.
    pub const ERROR_CWD: Self = Self(0x2000);
    /// Forked since its predecessor image.
    pub const CLONE: Self = Self(0x4000);
    /// The cgroup's name could not be read.
    pub const ERROR_CGROUP_NAME: Self = Self(0x10000);
    /// The cgroup's subsystem has no cgroup.
    pub const ERROR_CGROUP_SUBSYS_CGRP: Self = Self(0x40000);
    /// The cgroup's subsystem could not be read.
    pub const ERROR_CGROUP_SUBSYS: Self = Self(0x80000);
    /// The cgroups could not be read.
    pub const ERROR_CGROUPS: Self = Self(0x100000);
    /// The cgroup's id could not be read.
    pub const ERROR_CGROUP_ID: Self = Self(0x200000);
    /// Components of the working directory are missing.
    pub const ERROR_PATH_RESOLUTION_CWD: Self = Self(0x400000);
    /// The executable's name came in a record of its own.
    pub const DATA_FILENAME: Self = Self(0x800000);
    /// Arguments came in records of their own.
    pub const DATA_ARGS: Self = Self(0x1000000);
    /// Descends from its container's first process.
    pub const IN_INIT_TREE: Self = Self(0x2000000);
    /// Nothing but its id is known. Not a bit of the protocol; chosen away from them.
    pub const UNKNOWN: Self = Self(0x8000_0000);

    /// Whether all of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The words that are set, in the order in which they are shown.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        FLAG_WORDS.into_iter().filter(move |(bit, _)| self.contains(*bit)).map(|(_, word)| word)
    }

    /// The flag that `word` names.
    pub fn from_word(word: &str) -> Option<Self> {
        FLAG_WORDS.into_iter().find(|(_, name)| *name == word).map(|(bit, _)| bit)
    }
}

impl std::ops::BitOr for ProcessFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for ProcessFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Capability sets, bit `n` for capability `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Capabilities {
    /// May be made effective.
    pub permitted: u64,
    /// In force.
    pub effective: u64,
    /// Kept across exec.
    pub inheritable: u64,
}

/// Credentials of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credentials {
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
    /// `SECBIT_*`.
    pub securebits: u32,
    /// Only for arguments.
    pub caps: Option<Capabilities>,
    /// Only for arguments.
    pub user_ns: Option<UserNamespace>,
}

/// A user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct UserNamespace {
    /// Depth; 0 is the initial one.
    pub level: i32,
    /// Owner's user id.
    pub uid: u32,
    /// Owner's group id.
    pub gid: u32,
    /// Inode.
    pub ns: Namespace,
}

/// A namespace by inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Namespace {
    /// Inode number; 0 if the kernel does not have this kind.
    pub inum: u32,
    /// It is process 1's.
    pub is_host: bool,
}

/// Namespaces of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Namespaces {
    /// Host name.
    pub uts: Namespace,
    /// System V IPC.
    pub ipc: Namespace,
    /// Mounts.
    pub mnt: Namespace,
    /// Process ids.
    pub pid: Namespace,
    /// Process ids of children.
    pub pid_for_children: Namespace,
    /// Network.
    pub net: Namespace,
    /// Clocks.
    pub time: Namespace,
    /// Clocks of children.
    pub time_for_children: Namespace,
    /// Control groups.
    pub cgroup: Namespace,
    /// Users.
    pub user: Namespace,
}

/// A variable of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnvVar {
    /// Name.
    pub key: String,
    /// Value.
    pub value: String,
}
