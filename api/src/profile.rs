//! In: the agent's probes of a kernel. Out: the compiler's resolve stage.

use prost::Message;

use crate::shape::{Element, Repeated, Shape, ShapeError, Shaped};

/// What the compiler must know of a kernel. Features are found by trying, never from a version.
#[derive(Clone, PartialEq, Message)]
pub struct KernelProfile {
    /// `uname -r`, for messages only.
    #[prost(string, tag = "1")]
    pub release: String,
    /// `x86_64`.
    #[prost(string, tag = "2")]
    pub arch: String,
    /// `/sys/kernel/btf/vmlinux`.
    #[prost(bytes = "vec", tag = "3")]
    pub btf: Vec<u8>,
    /// Function names that kprobes can attach to, sorted; empty if unknown (then BTF decides).
    #[prost(string, repeated, tag = "4")]
    pub symbols: Vec<String>,
    /// Formats of the tracepoints that the policies name.
    #[prost(message, repeated, tag = "5")]
    pub tracepoints: Vec<TracepointFormat>,
    /// Attach mechanisms that work.
    #[prost(enumeration = "crate::artefact::Flavour", repeated, tag = "6")]
    pub flavours: Vec<i32>,
    /// Active LSMs, `/sys/kernel/security/lsm`.
    #[prost(string, repeated, tag = "7")]
    pub lsms: Vec<String>,
    /// fmod_ret works on system call functions (first seen in 7.3).
    #[prost(bool, tag = "8")]
    pub fmod_ret_syscalls: bool,
    /// bpf_override_return works (CONFIG_BPF_KPROBE_OVERRIDE).
    #[prost(bool, tag = "9")]
    pub override_return: bool,
    /// Atomic fetch instructions (5.12).
    #[prost(bool, tag = "10")]
    pub atomic_fetch: bool,
    /// Possible CPUs.
    #[prost(uint32, tag = "11")]
    pub cpus: u32,
    /// Inode numbers of process 1's namespaces, in the order of `NamespaceKind` of the compiler (uts, ipc, mnt,
    /// pid, pid_for_children, net, time, time_for_children, cgroup, user); 0 where the kernel has none.
    #[prost(uint32, repeated, tag = "12")]
    pub host_namespaces: Vec<u32>,
}

/// Why bytes are not a usable profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Too much of something.
    #[error("the kernel profile is refused: {0}")]
    Shape(#[from] ShapeError),
    /// Not the encoding of a profile.
    #[error("the kernel profile does not decode: {0}")]
    Decode(#[from] prost::DecodeError),
}

impl KernelProfile {
    /// Decodes a profile that may come from a hostile node, within the memory that [`Shaped::SHAPE`] states.
    ///
    /// # Errors
    /// It has more elements than any kernel, or does not decode.
    pub fn decode_bounded(bytes: &[u8]) -> Result<KernelProfile, ProfileError> {
        Self::SHAPE.check(bytes)?;
        Ok(Self::decode(bytes)?)
    }
}

/// A kernel has some 60,000 symbols (200,000 with all modules) and 2,500 tracepoints with 10 fields each. A million
/// elements take at most 100 MB (a field of a tracepoint: 88 bytes) until they are put together.
impl Shaped for KernelProfile {
    const SHAPE: Shape = Shape {
        total: 1 << 20,
        fields: &[
            Repeated { tag: 4, max: 1 << 19, element: Element::Bytes },
            Repeated {
                tag: 5,
                max: 1 << 14,
                element: Element::Message(&[Repeated { tag: 3, max: 256, element: Element::Message(&[]) }]),
            },
            Repeated { tag: 6, max: 64, element: Element::Number },
            Repeated { tag: 7, max: 64, element: Element::Bytes },
            Repeated { tag: 12, max: 64, element: Element::Number },
        ],
    };
}

/// The tracefs format of one tracepoint.
#[derive(Clone, PartialEq, Message)]
pub struct TracepointFormat {
    /// Subsystem directory.
    #[prost(string, tag = "1")]
    pub subsystem: String,
    /// Event directory.
    #[prost(string, tag = "2")]
    pub event: String,
    /// Fields in file order, common ones included.
    #[prost(message, repeated, tag = "3")]
    pub fields: Vec<TracepointField>,
}

/// One field of a tracepoint.
#[derive(Clone, PartialEq, Message)]
pub struct TracepointField {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// C type as in the file, without the name, e.g. `unsigned long`, `__data_loc char[]`.
    #[prost(string, tag = "2")]
    pub ctype: String,
    /// Bytes from the start of the record.
    #[prost(uint32, tag = "3")]
    pub offset: u32,
    /// Bytes.
    #[prost(uint32, tag = "4")]
    pub size: u32,
    /// Signed.
    #[prost(bool, tag = "5")]
    pub signed: bool,
    /// Elements if it is a fixed array, else 0.
    #[prost(uint32, tag = "6")]
    pub array: u32,
}
