//! In: the running kernel, or a file with another one's types. Out: the kernel that policies are judged for, and
//! what is only assumed of it.
//!
//! What a kernel can do is found by trying, which takes privileges and the kernel itself. Where either is missing,
//! a kernel that can do everything usual is assumed, and a note says so.

use crate::kernel::{self, more_formats, tracepoints_of};
use api::artefact::Flavour;
use api::profile::KernelProfile;
use policy_compiler::Kernel;
use policy_compiler::btf::Btf;
use policy_compiler::typed::{HookPoint, TypedPolicy};
use std::io::Read;
use std::path::Path;

/// Where a running kernel has its types.
const OWN_TYPES: &str = "/sys/kernel/btf/vmlinux";
/// Longest file of types that is read, in bytes. Kernels with all modules built in have about 20 MB.
const TYPES_LIMIT: u64 = 256 << 20;
/// Inode numbers of the first namespaces of all kernels, in the order of [`KernelProfile::host_namespaces`]. Those
/// of mnt and net are handed out at boot and may differ; these are the usual ones.
const FIRST_NAMESPACES: [u32; 10] = [
    0xefff_fffe,
    0xefff_ffff,
    0xf000_0001,
    0xefff_fffc,
    0xefff_fffc,
    0xf000_0000,
    0xefff_fffa,
    0xefff_fffa,
    0xefff_fffb,
    0xefff_fffd,
];

/// What policies are judged for.
#[derive(Debug)]
pub struct Machine {
    /// For the compiler.
    pub kernel: Kernel,
    /// Abilities were not tried.
    pub assumed: bool,
    /// What a reader of the verdict must know.
    pub notes: Vec<String>,
}

impl Machine {
    /// The kernel with the types in `btf`, else the running one.
    ///
    /// # Errors
    /// A message for the user: there are no usable types.
    pub fn find(btf: Option<&Path>, policies: &[&TypedPolicy]) -> Result<Machine, String> {
        if let Some(path) = btf {
            let mut machine = assumed(path, &path.display().to_string(), policies)?;
            machine.notes.insert(0, format!("judged for the types in {}: {ASSUMPTION}", path.display()));
            return Ok(machine);
        }
        match kernel::running(&tracepoints_of(policies.iter().copied())) {
            Ok((kernel, notes)) => {
                let notes = notes.iter().map(ToString::to_string).collect();
                Ok(Machine { kernel, assumed: false, notes })
            }
            Err(why) => {
                let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
                let mut machine = assumed(Path::new(OWN_TYPES), release.trim(), policies)
                    .map_err(|also| format!("{why}; {also}; give the types of a kernel with --btf FILE"))?;
                machine
                    .notes
                    .insert(0, format!("what this kernel can do was not tried ({why}): {ASSUMPTION}"));
                Ok(machine)
            }
        }
    }
}

const ASSUMPTION: &str = "assumed are all attach mechanisms, `bpf` among the active security modules, no override of \
                          system calls, and the usual numbers of the host's namespaces";

fn assumed(path: &Path, release: &str, policies: &[&TypedPolicy]) -> Result<Machine, String> {
    use Flavour::{Fentry, Fexit, FmodRet, Kprobe, Kretprobe, Lsm, RawTp, TpBtf, Tracepoint};
    let bytes = types(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
    let wrong = |error| format!("{}: {error}; give a copy of a kernel's {OWN_TYPES}", path.display());
    let btf = Btf::parse(bytes.clone()).map_err(wrong)?;
    let mut notes = Vec::new();
    let tracepoints = formats(policies, &mut notes);
    let flavours = [Fentry, Fexit, FmodRet, Lsm, Kprobe, Kretprobe, TpBtf, RawTp, Tracepoint];
    let profile = KernelProfile {
        release: release.to_owned(),
        arch: "x86_64".to_owned(),
        symbols: Vec::new(),
        tracepoints,
        flavours: flavours.map(|flavour| flavour as i32).to_vec(),
        lsms: vec!["bpf".to_owned()],
        fmod_ret_syscalls: false,
        override_return: false,
        // Came with the same release, 5.12.
        atomic_fetch: btf.has_enumerator("bpf_func_id", "BPF_FUNC_check_mtu"),
        cpus: 1,
        host_namespaces: FIRST_NAMESPACES.to_vec(),
        btf: bytes,
    };
    let kernel = Kernel::new(profile).map_err(wrong)?;
    Ok(Machine { kernel, assumed: true, notes })
}

fn types(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path)?.take(TYPES_LIMIT + 1).read_to_end(&mut bytes)?;
    if read as u64 > TYPES_LIMIT {
        let message = format!("more than {} MiB, the limit for types", TYPES_LIMIT >> 20);
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// Types do not tell the formats of tracepoints: the running kernel's are taken.
fn formats(policies: &[&TypedPolicy], notes: &mut Vec<String>) -> Vec<api::profile::TracepointFormat> {
    let formatted = |policy: &&TypedPolicy| {
        policy.hooks.iter().any(|hook| match &hook.point {
            // These are found without.
            HookPoint::Tracepoint { subsystem, event } => {
                subsystem != "raw_syscalls" || !matches!(event.as_str(), "sys_enter" | "sys_exit")
            }
            _ => false,
        })
    };
    if !policies.iter().any(formatted) {
        return Vec::new();
    }
    let formats = more_formats(&tracepoints_of(policies.iter().copied()));
    notes.push(if formats.is_empty() {
        "a kernel's types do not have the formats of its tracepoints, and those of the running kernel cannot be \
         read: policies on formatted tracepoints are refused"
            .to_owned()
    } else {
        "a kernel's types do not have the formats of its tracepoints: those of the running kernel are taken"
            .to_owned()
    });
    formats
}
