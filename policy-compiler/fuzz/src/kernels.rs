//! In: the types in `policy-compiler/fixtures`. Out: kernels to compile for, from one that can do everything to one
//! that can do little.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use api::artefact::Flavour;
use api::profile::{KernelProfile, TracepointField, TracepointFormat};
use policy_compiler::Kernel;

/// All kernels that each policy is compiled for.
///
/// # Errors
/// The types of one are not there.
pub fn all() -> Result<Vec<Kernel>> {
    let kernel = |profile| Kernel::new(profile).context("loading the types of a kernel");
    profiles()?.into_iter().map(kernel).collect()
}

/// Their profiles, as agents send them.
///
/// # Errors
/// The types of one are not there.
pub fn profiles() -> Result<Vec<KernelProfile>> {
    use Flavour::{Fentry, Fexit, FmodRet, Kprobe, Kretprobe, Lsm, RawTp, TpBtf, Tracepoint};
    Ok(vec![
        profile(
            "kernel-7",
            &[Fentry, Fexit, FmodRet, Lsm, Kprobe, Kretprobe, TpBtf, RawTp, Tracepoint],
            true,
        )?,
        profile("kernel-6", &[Kprobe, Kretprobe, RawTp, Tracepoint], false)?,
        profile("kernel-6", &[TpBtf, RawTp, Tracepoint], true)?,
    ])
}

fn profile(types: &str, flavours: &[Flavour], atomics: bool) -> Result<KernelProfile> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(types).with_extension("btf");
    let btf = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(KernelProfile {
        release: types.to_owned(),
        arch: "x86_64".to_owned(),
        btf,
        symbols: Vec::new(),
        tracepoints: vec![sys_enter(), process_exec()],
        flavours: flavours.iter().map(|flavour| *flavour as i32).collect(),
        lsms: vec!["bpf".to_owned()],
        fmod_ret_syscalls: atomics,
        override_return: !atomics,
        atomic_fetch: atomics,
        cpus: 2,
        host_namespaces: (0..10).map(|kind| 4_026_531_834 + kind).collect(),
    })
}

fn sys_enter() -> TracepointFormat {
    format(
        "raw_syscalls",
        "sys_enter",
        &[("id", "long", 8, 8, true, 0), ("args", "unsigned long[6]", 16, 48, false, 6)],
    )
}

fn process_exec() -> TracepointFormat {
    format(
        "sched",
        "sched_process_exec",
        &[("filename", "__data_loc char[]", 8, 4, false, 0), ("pid", "pid_t", 12, 4, true, 0)],
    )
}

/// A format: the fields that all have, then its own.
fn format(subsystem: &str, event: &str, own: &[(&str, &str, u32, u32, bool, u32)]) -> TracepointFormat {
    let every = [
        ("common_type", "unsigned short", 0, 2, false, 0),
        ("common_flags", "unsigned char", 2, 1, false, 0),
        ("common_preempt_count", "unsigned char", 3, 1, false, 0),
        ("common_pid", "int", 4, 4, true, 0),
    ];
    let field = |&(name, ctype, offset, size, signed, array): &(&str, &str, u32, u32, bool, u32)| {
        TracepointField { name: name.to_owned(), ctype: ctype.to_owned(), offset, size, signed, array }
    };
    TracepointFormat {
        subsystem: subsystem.to_owned(),
        event: event.to_owned(),
        fields: every.iter().chain(own).map(field).collect(),
    }
}
