//! In: the running kernel, by trying. Out: its [`KernelProfile`], for the compiler.
//!
//! Guarantees: nothing stays attached or loaded. What merely limits the choice of hooks is a [`ProbeNote`]; what makes
//! every policy impossible is a [`ProbeError`].

mod fleet;
mod host;
mod symbols;
mod tracefs;
mod trial;

use std::path::{Path, PathBuf};

use api::artefact::Flavour;
use api::profile::{KernelProfile, TracepointFormat};

use crate::kernel::{Errno, Kernel};

pub use crate::kernel::btf::Names as BtfNames;
pub use fleet::{FleetProfile, ProfileBytes};
pub use tracefs::FormatError;

/// Where the kernel's pseudo file systems are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
    /// Mount point of tracefs, if it is mounted.
    pub tracefs: Option<PathBuf>,
}

impl Places {
    /// Of this host.
    pub fn host() -> Places {
        Places { proc: "/proc".into(), sys: "/sys".into(), tracefs: crate::kernel::tracefs() }
    }
}

/// A profile, and what it lacks.
#[derive(Debug, Clone, PartialEq)]
pub struct Probed {
    /// For the compiler.
    pub profile: KernelProfile,
    /// For the user.
    pub notes: Vec<ProbeNote>,
}

/// Something that this host does not offer, and what would change that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeNote {
    /// No formats, no tracepoint ids.
    #[error(
        "tracefs is not mounted, so policies on formatted tracepoints cannot be loaded; \
         mount it with `mount -t tracefs tracefs /sys/kernel/tracing`"
    )]
    NoTracefs,
    /// A tracepoint that a policy names has no format.
    #[error("the format of tracepoint {subsystem}/{event} could not be read: {reason}")]
    NoFormat {
        /// Subsystem directory.
        subsystem: String,
        /// Event directory.
        event: String,
        /// Why.
        reason: String,
    },
    /// The list is a message's only; whether LSM programs are called is tried.
    #[error(
        "the active security modules are unknown, as {} could not be read; \
         mount it with `mount -t securityfs securityfs /sys/kernel/security`", .0.display()
    )]
    NoLsmList(PathBuf),
    /// The silent trap: they load and attach.
    #[error(
        "BPF LSM programs attach but are never called: `bpf` is not among the active security modules ({}); \
         add it to the kernel's `lsm=` boot parameter to use lsmhooks", .0.join(",")
    )]
    LsmNeverCalled(Vec<String>),
    /// Kprobes are then checked against BTF alone.
    #[error(
        "the kernel's function names could not be read ({0}); whether a kprobe exists is seen only when it is attached"
    )]
    NoSymbols(Errno),
    /// The agent's own are taken instead.
    #[error(
        "the namespaces of process 1 could not be read ({0}), so the agent's own are taken for the host's; \
         give it CAP_SYS_PTRACE and all capabilities that process 1 has"
    )]
    OwnNamespaces(Errno),
}

/// This kernel cannot run any policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Not even a map.
    #[error(
        "creating a BPF map failed with {0}: run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN, \
         before Linux 5.11 also CAP_SYS_RESOURCE"
    )]
    NotPermitted(Errno),
    /// Any other failure of a map of 4 bytes.
    #[error("creating a BPF map failed with {0}; the kernel needs CONFIG_BPF_SYSCALL=y")]
    NoBpf(Errno),
    /// Programs cannot read what they are to filter on.
    #[error(
        "the kernel is locked down to `confidentiality`, so BPF programs may not read kernel memory; \
         boot with `lockdown=integrity` or without lockdown"
    )]
    LockedDown,
    /// No types.
    #[error(
        "{} could not be read ({errno}): the kernel tells no types; it must be built with CONFIG_DEBUG_INFO_BTF=y", path.display()
    )]
    NoBtf {
        /// What was read.
        path: PathBuf,
        /// How it failed.
        errno: Errno,
    },
    /// Types that make no sense.
    #[error("{} is not valid BTF: {problem}", path.display())]
    BadBtf {
        /// What was read.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A pseudo file that every Linux has.
    #[error("{} could not be read ({errno}); is the file system mounted?", path.display())]
    Unreadable {
        /// What was read.
        path: PathBuf,
        /// How it failed.
        errno: Errno,
    },
}

/// Whom a profile is for.
#[derive(Debug, Clone, Copy)]
enum Scope<'a> {
    /// This host alone, for policies that need the formats of these tracepoints.
    Host(&'a [(String, String)]),
    /// All hosts with this kernel, for any policy: nothing of modules, which each host loads as it needs them.
    Fleet,
}

/// Probes a kernel. `tracepoints` are the (subsystem, event) pairs whose formats the policies need. The profile has no
/// function names: making their list costs the kernel more than all else here, and few policies ask ([`symbols`]).
pub fn probe(
    kernel: &impl Kernel,
    places: &Places,
    tracepoints: &[(String, String)],
) -> Result<Probed, ProbeError> {
    probe_for(kernel, places, Scope::Host(tracepoints))
}

fn probe_for(kernel: &impl Kernel, places: &Places, scope: Scope<'_>) -> Result<Probed, ProbeError> {
    trial::permitted(kernel, &places.sys)?;
    let mut notes = Vec::new();
    let types = read_btf(&places.sys)?;
    let path = btf_path(&places.sys);
    let names = BtfNames::read(&types).map_err(|problem| ProbeError::BadBtf { path, problem })?;
    let abilities = trial::abilities(kernel, &names, places);
    let mut lsms = note(host::lsms(&places.sys), &mut notes);
    if abilities.flavours.contains(&Flavour::Lsm) && lsms.is_empty() {
        // The list is hidden, but this much was seen.
        lsms.push("bpf".to_owned());
    }
    if abilities.lsm_attaches && !abilities.flavours.contains(&Flavour::Lsm) {
        notes.push(ProbeNote::LsmNeverCalled(lsms.clone()));
    }
    let (cpus, symbols, tracepoints) = match scope {
        Scope::Host(wanted) => {
            note(symbols::check(places), &mut notes);
            (host::possible_cpus(&places.sys)?, Vec::new(), formats(places, wanted, &mut notes))
        }
        // No program depends on the number of CPUs.
        Scope::Fleet => {
            let symbols = note(symbols::read(places, false), &mut notes);
            (0, symbols, fleet::formats(places, &names, &mut notes))
        }
    };
    let profile = KernelProfile {
        release: host::release(&places.proc)?,
        arch: std::env::consts::ARCH.to_owned(),
        symbols,
        tracepoints,
        flavours: abilities.flavours.iter().map(|flavour| *flavour as i32).collect(),
        lsms,
        fmod_ret_syscalls: abilities.fmod_ret_syscalls,
        override_return: abilities.override_return,
        atomic_fetch: abilities.atomic_fetch,
        cpus,
        host_namespaces: host::namespaces(&places.proc, &mut notes),
        btf: types,
    };
    Ok(Probed { profile, notes })
}

/// Reads the kernel's types again, which are too large to keep between compilations.
///
/// # Errors
/// They cannot be read any more.
pub fn types(places: &Places) -> Result<Vec<u8>, ProbeError> {
    read_btf(&places.sys)
}

/// Names of functions that kprobes can attach to, those of modules too, sorted; none if they are hidden, which the probe
/// has noted.
pub fn symbols(places: &Places) -> Vec<String> {
    symbols::read(places, true).unwrap_or_default()
}

/// The formats of tracepoints that policies name, without the rest of the probe: for policies that come later.
pub fn formats(
    places: &Places,
    tracepoints: &[(String, String)],
    notes: &mut Vec<ProbeNote>,
) -> Vec<TracepointFormat> {
    let Some(tracefs) = &places.tracefs else {
        notes.push(ProbeNote::NoTracefs);
        return Vec::new();
    };
    let mut formats = Vec::new();
    for (subsystem, event) in tracepoints {
        match tracefs::read_format(tracefs, subsystem, event) {
            Ok(format) => formats.push(format),
            Err(error) => notes.push(ProbeNote::NoFormat {
                subsystem: subsystem.clone(),
                event: event.clone(),
                reason: error.to_string(),
            }),
        }
    }
    formats
}

fn btf_path(sys: &Path) -> PathBuf {
    sys.join("kernel/btf/vmlinux")
}

fn read_btf(sys: &Path) -> Result<Vec<u8>, ProbeError> {
    let path = btf_path(sys);
    std::fs::read(&path).map_err(|error| ProbeError::NoBtf { path, errno: error.into() })
}

fn note<T: Default>(result: Result<T, ProbeNote>, notes: &mut Vec<ProbeNote>) -> T {
    result.unwrap_or_else(|problem| {
        notes.push(problem);
        T::default()
    })
}

#[cfg(test)]
mod tests;
