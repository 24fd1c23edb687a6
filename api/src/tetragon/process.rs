//! In: processes of events. Out: their protobuf messages, with the protocol's field numbers.
//!
//! Fields of the protocol that no event of ours fills in are left out; a reader that knows them sees them unset.

use std::collections::BTreeMap;

use prost::Message;

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 00:00:00 UTC.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds of the second.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// A container image.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Image {
    /// Registry path with digest.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Registry path with tag.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// Security settings of a container.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct SecurityContext {
    /// It runs privileged.
    #[prost(bool, tag = "1")]
    pub privileged: bool,
}

/// A container of a pod.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Container {
    /// Id with its runtime's prefix.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Image.
    #[prost(message, optional, tag = "3")]
    pub image: Option<Image>,
    /// When it started to run.
    #[prost(message, optional, tag = "4")]
    pub start_time: Option<Timestamp>,
    /// Process id inside of the container.
    #[prost(message, optional, tag = "5")]
    pub pid: Option<u32>,
    /// The command equals one of the container's exec probes.
    #[prost(bool, tag = "13")]
    pub maybe_exec_probe: bool,
    /// Security settings.
    #[prost(message, optional, tag = "14")]
    pub security_context: Option<SecurityContext>,
}

/// A pod.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Pod {
    /// Namespace.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// UID.
    #[prost(string, tag = "3")]
    pub uid: String,
    /// Container of the process.
    #[prost(message, optional, tag = "4")]
    pub container: Option<Container>,
    /// Labels.
    #[prost(btree_map = "string, string", tag = "5")]
    pub pod_labels: BTreeMap<String, String>,
    /// Controlling workload.
    #[prost(string, tag = "6")]
    pub workload: String,
    /// Its kind.
    #[prost(string, tag = "7")]
    pub workload_kind: String,
    /// Annotations.
    #[prost(btree_map = "string, string", tag = "8")]
    pub pod_annotations: BTreeMap<String, String>,
}

/// Capability sets: lists of `CapabilitiesType`, which are the kernel's numbers.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Capabilities {
    /// May be made effective.
    #[prost(int32, repeated, tag = "1")]
    pub permitted: Vec<i32>,
    /// In force.
    #[prost(int32, repeated, tag = "2")]
    pub effective: Vec<i32>,
    /// Kept across exec.
    #[prost(int32, repeated, tag = "3")]
    pub inheritable: Vec<i32>,
}

/// A namespace by inode.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Namespace {
    /// Inode number.
    #[prost(uint32, tag = "1")]
    pub inum: u32,
    /// It is process 1's.
    #[prost(bool, tag = "2")]
    pub is_host: bool,
}

/// Namespaces of a process.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Namespaces {
    /// Host name.
    #[prost(message, optional, tag = "1")]
    pub uts: Option<Namespace>,
    /// System V IPC.
    #[prost(message, optional, tag = "2")]
    pub ipc: Option<Namespace>,
    /// Mounts.
    #[prost(message, optional, tag = "3")]
    pub mnt: Option<Namespace>,
    /// Process ids.
    #[prost(message, optional, tag = "4")]
    pub pid: Option<Namespace>,
    /// Process ids of children.
    #[prost(message, optional, tag = "5")]
    pub pid_for_children: Option<Namespace>,
    /// Network.
    #[prost(message, optional, tag = "6")]
    pub net: Option<Namespace>,
    /// Clocks.
    #[prost(message, optional, tag = "7")]
    pub time: Option<Namespace>,
    /// Clocks of children.
    #[prost(message, optional, tag = "8")]
    pub time_for_children: Option<Namespace>,
    /// Control groups.
    #[prost(message, optional, tag = "9")]
    pub cgroup: Option<Namespace>,
    /// Users.
    #[prost(message, optional, tag = "10")]
    pub user: Option<Namespace>,
}

/// A user namespace.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct UserNamespace {
    /// Depth; 0 is the initial one.
    #[prost(message, optional, tag = "1")]
    pub level: Option<i32>,
    /// Owner's user id.
    #[prost(message, optional, tag = "2")]
    pub uid: Option<u32>,
    /// Owner's group id.
    #[prost(message, optional, tag = "3")]
    pub gid: Option<u32>,
    /// Inode.
    #[prost(message, optional, tag = "4")]
    pub ns: Option<Namespace>,
}

/// Credentials of a process.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ProcessCredentials {
    /// Real user id.
    #[prost(message, optional, tag = "1")]
    pub uid: Option<u32>,
    /// Real group id.
    #[prost(message, optional, tag = "2")]
    pub gid: Option<u32>,
    /// Effective user id.
    #[prost(message, optional, tag = "3")]
    pub euid: Option<u32>,
    /// Effective group id.
    #[prost(message, optional, tag = "4")]
    pub egid: Option<u32>,
    /// Saved user id.
    #[prost(message, optional, tag = "5")]
    pub suid: Option<u32>,
    /// Saved group id.
    #[prost(message, optional, tag = "6")]
    pub sgid: Option<u32>,
    /// File system user id.
    #[prost(message, optional, tag = "7")]
    pub fsuid: Option<u32>,
    /// File system group id.
    #[prost(message, optional, tag = "8")]
    pub fsgid: Option<u32>,
    /// `SecureBitsType`: the bits that are set, each by its value.
    #[prost(int32, repeated, tag = "9")]
    pub securebits: Vec<i32>,
    /// Only for arguments.
    #[prost(message, optional, tag = "10")]
    pub caps: Option<Capabilities>,
    /// Only for arguments.
    #[prost(message, optional, tag = "11")]
    pub user_ns: Option<UserNamespace>,
}

/// A user by name.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct UserRecord {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// A variable of an environment.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct EnvVar {
    /// Name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A process image.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Process {
    /// Identity of the image.
    #[prost(string, tag = "1")]
    pub exec_id: String,
    /// Thread group id in the initial pid namespace.
    #[prost(message, optional, tag = "2")]
    pub pid: Option<u32>,
    /// Effective user id.
    #[prost(message, optional, tag = "3")]
    pub uid: Option<u32>,
    /// Working directory.
    #[prost(string, tag = "4")]
    pub cwd: String,
    /// Path of the executable.
    #[prost(string, tag = "5")]
    pub binary: String,
    /// Arguments without the first, joined by spaces.
    #[prost(string, tag = "6")]
    pub arguments: String,
    /// Words, separated by spaces.
    #[prost(string, tag = "7")]
    pub flags: String,
    /// When the image started.
    #[prost(message, optional, tag = "8")]
    pub start_time: Option<Timestamp>,
    /// Login user id.
    #[prost(message, optional, tag = "9")]
    pub auid: Option<u32>,
    /// Its pod.
    #[prost(message, optional, tag = "10")]
    pub pod: Option<Pod>,
    /// First 31 characters of the container id.
    #[prost(string, tag = "11")]
    pub docker: String,
    /// Identity of the parent, or of the previous image of this process.
    #[prost(string, tag = "12")]
    pub parent_exec_id: String,
    /// References that the agent holds.
    #[prost(uint32, tag = "13")]
    pub refcnt: u32,
    /// Capabilities.
    #[prost(message, optional, tag = "14")]
    pub cap: Option<Capabilities>,
    /// Namespaces.
    #[prost(message, optional, tag = "15")]
    pub ns: Option<Namespaces>,
    /// Calling thread.
    #[prost(message, optional, tag = "16")]
    pub tid: Option<u32>,
    /// Credentials at exec.
    #[prost(message, optional, tag = "17")]
    pub process_credentials: Option<ProcessCredentials>,
    /// User.
    #[prost(message, optional, tag = "19")]
    pub user: Option<UserRecord>,
    /// Runs in a container and descends from its first process.
    #[prost(message, optional, tag = "20")]
    pub in_init_tree: Option<bool>,
    /// Environment.
    #[prost(message, repeated, tag = "21")]
    pub environment_variables: Vec<EnvVar>,
}
