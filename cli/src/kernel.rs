//! In: the running kernel. Out: what the compiler must know of it.

use agent::kernel::Linux;
use agent::probe::{Places, ProbeNote, formats, probe};
use api::artefact::Flavour;
use api::profile::TracepointFormat;
use policy_compiler::Kernel;
use policy_compiler::typed::{HookPoint, TypedPolicy};
use std::collections::BTreeSet;

/// A way to attach programs that can be switched off, where a kernel offers it but it does harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mechanism {
    /// Trampoline at function entry.
    Fentry,
    /// Trampoline at function return.
    Fexit,
    /// Trampoline that can replace a function's body; Override on functions needs it.
    FmodRet,
    /// BPF LSM.
    Lsm,
    /// Breakpoint at function entry.
    Kprobe,
    /// Breakpoint at function return.
    Kretprobe,
    /// Raw tracepoint with types.
    TpBtf,
}

impl Mechanism {
    fn flavour(self) -> Flavour {
        match self {
            Mechanism::Fentry => Flavour::Fentry,
            Mechanism::Fexit => Flavour::Fexit,
            Mechanism::FmodRet => Flavour::FmodRet,
            Mechanism::Lsm => Flavour::Lsm,
            Mechanism::Kprobe => Flavour::Kprobe,
            Mechanism::Kretprobe => Flavour::Kretprobe,
            Mechanism::TpBtf => Flavour::TpBtf,
        }
    }
}

/// The tracepoints whose formats these policies need.
pub fn tracepoints_of<'a>(policies: impl IntoIterator<Item = &'a TypedPolicy>) -> Vec<(String, String)> {
    let hooks = policies.into_iter().flat_map(|policy| &policy.hooks);
    let names: BTreeSet<_> = hooks
        .filter_map(|hook| match &hook.point {
            HookPoint::Tracepoint { subsystem, event } => Some((subsystem.clone(), event.clone())),
            _ => None,
        })
        .collect();
    names.into_iter().collect()
}

/// Probes the running kernel. Mechanisms in `without` count as absent.
///
/// # Errors
/// A message for the user: what this host lacks.
pub fn running(
    tracepoints: &[(String, String)],
    without: &[Mechanism],
) -> Result<(Kernel, Vec<ProbeNote>), String> {
    let linux = Linux::new().map_err(|errno| format!("this kernel cannot be probed: {errno}"))?;
    let mut probed = probe(&linux, &Places::host(), tracepoints).map_err(|error| error.to_string())?;
    probed
        .profile
        .flavours
        .retain(|flavour| !without.iter().any(|mechanism| mechanism.flavour() as i32 == *flavour));
    let kernel = Kernel::new(probed.profile).map_err(|error| error.to_string())?;
    Ok((kernel, probed.notes))
}

/// Formats of tracepoints that later policies name.
pub fn more_formats(tracepoints: &[(String, String)]) -> Vec<TracepointFormat> {
    formats(&Places::host(), tracepoints, &mut Vec::new())
}
