//! In: nothing. Out: the kernels that tests compile for: fixture types with the features that real ones have.

use api::artefact::Flavour;
use api::profile::{KernelProfile, TracepointField, TracepointFormat};

/// What a kernel can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Everything, older structure layout.
    Trampolines6,
    /// Everything, newer structure layout, fmod_ret on system calls.
    Trampolines7,
    /// Only probes on perf events and no atomic fetch, as on kernels without trampolines; bpf_override_return.
    Probes6,
    /// Only tracepoints, as under lockdown without a PMU.
    Tracepoints7,
}

pub const VARIANTS: [Variant; 4] =
    [Variant::Trampolines6, Variant::Trampolines7, Variant::Probes6, Variant::Tracepoints7];

/// Inode numbers of process 1's namespaces, in the order of the profile.
pub const HOST_NAMESPACES: [u32; 10] = [
    4_026_531_838,
    4_026_531_839,
    4_026_531_841,
    4_026_531_836,
    4_026_531_836,
    4_026_531_840,
    4_026_531_834,
    4_026_531_834,
    4_026_531_835,
    4_026_531_837,
];

impl Variant {
    pub fn fixture(self) -> &'static str {
        match self {
            Variant::Trampolines6 | Variant::Probes6 => "kernel-6",
            Variant::Trampolines7 | Variant::Tracepoints7 => "kernel-7",
        }
    }

    fn flavours(self) -> Vec<Flavour> {
        use Flavour::{Fentry, Fexit, FmodRet, Kprobe, Kretprobe, Lsm, RawTp, TpBtf, Tracepoint};
        match self {
            Variant::Trampolines6 | Variant::Trampolines7 => {
                vec![Fentry, Fexit, FmodRet, Lsm, Kprobe, Kretprobe, TpBtf, RawTp, Tracepoint]
            }
            Variant::Probes6 => vec![Kprobe, Kretprobe, RawTp, Tracepoint],
            Variant::Tracepoints7 => vec![TpBtf, RawTp, Tracepoint],
        }
    }

    pub fn atomic_fetch(self) -> bool {
        self != Variant::Probes6
    }

    pub fn profile(self) -> KernelProfile {
        let path = format!("{}/fixtures/{}.btf", env!("CARGO_MANIFEST_DIR"), self.fixture());
        KernelProfile {
            release: format!("{self:?}"),
            arch: "x86_64".to_owned(),
            btf: std::fs::read(path).expect("the fixture is there"),
            symbols: Vec::new(),
            tracepoints: formats(),
            flavours: self.flavours().into_iter().map(|flavour| flavour as i32).collect(),
            lsms: vec!["lockdown".to_owned(), "bpf".to_owned()],
            fmod_ret_syscalls: self == Variant::Trampolines7,
            override_return: self == Variant::Probes6,
            atomic_fetch: self.atomic_fetch(),
            cpus: 2,
            host_namespaces: HOST_NAMESPACES.to_vec(),
        }
    }
}

fn field(name: &str, ctype: &str, offset: u32, size: u32, signed: bool, array: u32) -> TracepointField {
    TracepointField { name: name.to_owned(), ctype: ctype.to_owned(), offset, size, signed, array }
}

fn format(subsystem: &str, event: &str, own: Vec<TracepointField>) -> TracepointFormat {
    let mut fields = vec![
        field("common_type", "unsigned short", 0, 2, false, 0),
        field("common_flags", "unsigned char", 2, 1, false, 0),
        field("common_preempt_count", "unsigned char", 3, 1, false, 0),
        field("common_pid", "int", 4, 4, true, 0),
    ];
    fields.extend(own);
    TracepointFormat { subsystem: subsystem.to_owned(), event: event.to_owned(), fields }
}

/// Three real events, and one that has a field of every shape.
pub fn formats() -> Vec<TracepointFormat> {
    vec![
        format(
            "raw_syscalls",
            "sys_enter",
            vec![field("id", "long", 8, 8, true, 0), field("args", "unsigned long[6]", 16, 48, false, 6)],
        ),
        format(
            "syscalls",
            "sys_enter_openat",
            vec![
                field("__syscall_nr", "int", 8, 4, true, 0),
                field("dfd", "int", 16, 8, false, 0),
                field("filename", "const char *", 24, 8, false, 0),
                field("flags", "int", 32, 8, false, 0),
            ],
        ),
        format(
            "syscalls",
            "sys_enter_write",
            vec![
                field("__syscall_nr", "int", 8, 4, true, 0),
                field("fd", "unsigned int", 16, 8, false, 0),
                field("buf", "const char *", 24, 8, false, 0),
                field("count", "size_t", 32, 8, false, 0),
            ],
        ),
        format(
            "fixture",
            "shapes",
            vec![
                field("a", "s8", 8, 1, true, 0),
                field("b", "u8", 9, 1, false, 0),
                field("c", "s16", 10, 2, true, 0),
                field("d", "u16", 12, 2, false, 0),
                field("e", "int", 16, 4, true, 0),
                field("f", "unsigned int", 20, 4, false, 0),
                field("g", "s64", 24, 8, true, 0),
                field("h", "u64", 32, 8, false, 0),
                field("comm", "char[16]", 40, 16, false, 16),
                field("name", "__data_loc char[]", 56, 4, false, 0),
            ],
        ),
    ]
}
