//! In: the kernel's types. Out: what loads, attaches and is called, found with trivial programs.
//!
//! Each trial program returns 0 at once, which changes nothing even where its return value counts, and is detached
//! before the next one is tried. The hooks are seldom reached, so that nothing is slowed down either.

use std::path::Path;

use api::artefact::Flavour;

use super::{Places, ProbeError, host};
use crate::kernel::btf::Names;
use crate::kernel::insn::{
    add_imm, call, cmpxchg64, exit, load_map_value, mov, mov_imm, store32_imm, store64_imm,
};
use crate::kernel::trivial::{IGNORE, Insn, attach_and_detach, load};
use crate::kernel::{AttachPoint, Errno, Kernel, MapShape, MapType};

/// Functions with a security hook that only administration reaches; the first that a kernel has is tried.
const FUNCTIONS: [&str; 3] = ["security_syslog", "security_settime64", "security_quotactl"];
/// System calls that only administration makes.
const SYSTEM_CALLS: [&str; 2] = ["sethostname", "setdomainname"];
/// Tracepoints of the scheduler that every kernel has and seldom reaches.
const TRACEPOINTS: [&str; 2] = ["sched_kthread_stop", "sched_process_exit"];
const HELPER_PROBE_READ_KERNEL: i32 = 113;
const HELPER_OVERRIDE_RETURN: i32 = 58;
/// Called by each bpf(2), so that the trial can tell whether it is called at all.
const LSM_HOOK: &str = "bpf_lsm_bpf";

/// What works.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Loads, attaches, and (LSM) is called.
    pub flavours: Vec<Flavour>,
    /// LSM programs attach, whether or not they are called.
    pub lsm_attaches: bool,
    /// See `KernelProfile`.
    pub fmod_ret_syscalls: bool,
    /// See `KernelProfile`.
    pub override_return: bool,
    /// See `KernelProfile`.
    pub atomic_fetch: bool,
}

/// Whether BPF may be used at all.
pub fn permitted(kernel: &impl Kernel, sys: &Path) -> Result<(), ProbeError> {
    kernel.map_create(&word("trial")).map_err(|errno| match errno {
        Errno(libc::EPERM | libc::EACCES) => ProbeError::NotPermitted(errno),
        _ => ProbeError::NoBpf(errno),
    })?;
    if load(kernel, Flavour::RawTp, 0, &IGNORE).is_none() {
        return Err(ProbeError::NotPermitted(Errno::EPERM));
    }
    let locked_down = host::confidential(sys).unwrap_or_else(|| {
        let read = [
            mov(1, 10),
            add_imm(1, -8),
            mov_imm(2, 8),
            mov_imm(3, 0),
            call(HELPER_PROBE_READ_KERNEL),
            mov_imm(0, 0),
            exit(),
        ];
        load(kernel, Flavour::RawTp, 0, &read).is_none()
    });
    if locked_down { Err(ProbeError::LockedDown) } else { Ok(()) }
}

/// Tries everything.
pub fn abilities(kernel: &impl Kernel, names: &Names<'_>, places: &Places) -> Abilities {
    let lsm = names.function(LSM_HOOK).map_or(Lsm::Absent, |id| try_lsm(kernel, id));
    let works = |flavour: &Flavour| match flavour {
        Flavour::Unspecified => false,
        Flavour::Lsm => lsm == Lsm::Called,
        Flavour::Fentry | Flavour::Fexit | Flavour::FmodRet => {
            function(names).is_some_and(|(_, id)| attach_and_detach(kernel, *flavour, id, ""))
        }
        Flavour::Kprobe | Flavour::Kretprobe => {
            function(names).is_some_and(|(name, _)| attach_and_detach(kernel, *flavour, 0, name))
        }
        Flavour::TpBtf => {
            let ids = TRACEPOINTS.iter().find_map(|name| names.typedef(&format!("btf_trace_{name}")));
            ids.is_some_and(|id| attach_and_detach(kernel, *flavour, id, ""))
        }
        Flavour::RawTp => TRACEPOINTS.iter().any(|name| attach_and_detach(kernel, *flavour, 0, name)),
        Flavour::Tracepoint => {
            let works = |name: &&str| attach_and_detach(kernel, *flavour, 0, &format!("sched/{name}"));
            places.tracefs.is_some() && TRACEPOINTS.iter().any(works)
        }
    };
    Abilities {
        flavours: FLAVOURS.into_iter().filter(works).collect(),
        lsm_attaches: lsm != Lsm::Absent,
        fmod_ret_syscalls: system_call(names)
            .is_some_and(|id| attach_and_detach(kernel, Flavour::FmodRet, id, "")),
        override_return: load(kernel, Flavour::Kprobe, 0, &override_return()).is_some(),
        atomic_fetch: load(kernel, Flavour::RawTp, 0, &compare_exchange()).is_some(),
    }
}

/// In the order of the profile.
const FLAVOURS: [Flavour; 9] = [
    Flavour::Fentry,
    Flavour::Fexit,
    Flavour::FmodRet,
    Flavour::Lsm,
    Flavour::Kprobe,
    Flavour::Kretprobe,
    Flavour::TpBtf,
    Flavour::RawTp,
    Flavour::Tracepoint,
];

fn function<'a>(names: &Names<'_>) -> Option<(&'a str, u32)> {
    FUNCTIONS.iter().find_map(|name| Some((*name, names.function(name)?)))
}

fn system_call(names: &Names<'_>) -> Option<u32> {
    let prefix = if cfg!(target_arch = "aarch64") { "__arm64_sys_" } else { "__x64_sys_" };
    SYSTEM_CALLS.iter().find_map(|name| names.function(&format!("{prefix}{name}")))
}

fn override_return() -> [Insn; 4] {
    [mov_imm(2, 0), call(HELPER_OVERRIDE_RETURN), mov_imm(0, 0), exit()]
}

fn compare_exchange() -> [Insn; 6] {
    [store64_imm(10, -8, 0), mov_imm(0, 0), mov_imm(1, 1), cmpxchg64(10, -8, 1), mov_imm(0, 0), exit()]
}

#[derive(Debug, PartialEq, Eq)]
enum Lsm {
    /// Does not load or does not attach.
    Absent,
    /// Attaches in vain.
    NeverCalled,
    /// Works.
    Called,
}

/// Attaches a program that sets a word, and looks at the word: the look-up is itself a reason to call it.
fn try_lsm(kernel: &impl Kernel, btf_id: u32) -> Lsm {
    let Ok(map) = kernel.map_create(&word("lsm_called")) else {
        return Lsm::Absent;
    };
    let [first, second] = load_map_value(1, kernel.map_number(&map));
    let Some(program) =
        load(kernel, Flavour::Lsm, btf_id, &[first, second, store32_imm(1, 0, 1), mov_imm(0, 0), exit()])
    else {
        return Lsm::Absent;
    };
    let Ok(link) = kernel.attach(&program, &AttachPoint { flavour: Flavour::Lsm, target: LSM_HOOK }) else {
        return Lsm::Absent;
    };
    let called = matches!(kernel.map_lookup(&map, &[0; 4]), Ok(Some(value)) if value != [0; 4]);
    match kernel.detach(link) {
        Ok(()) if called => Lsm::Called,
        _ => Lsm::NeverCalled,
    }
}

fn word(name: &'static str) -> MapShape {
    MapShape { kind: MapType::Array, key_size: 4, value_size: 4, max_entries: 1, name }
}
