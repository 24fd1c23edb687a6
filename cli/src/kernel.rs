//! In: the running kernel. Out: what the compiler must know of it.

use agent::kernel::Linux;
use agent::probe::{Places, ProbeNote, Probed, formats, probe, symbols, types};
use api::artefact::Flavour;
use api::profile::{KernelProfile, TracepointFormat};
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

/// Probes the running kernel.
///
/// # Errors
/// A message for the user: what this host lacks.
pub fn running(tracepoints: &[(String, String)]) -> Result<(Kernel, Vec<ProbeNote>), String> {
    let probed = probed(tracepoints, &[])?;
    Ok((kernel(probed.profile)?, probed.notes))
}

fn probed(tracepoints: &[(String, String)], without: &[Mechanism]) -> Result<Probed, String> {
    let linux = Linux::new().map_err(|errno| format!("this kernel cannot be probed: {errno}"))?;
    let mut probed = probe(&linux, &Places::host(), tracepoints).map_err(|error| error.to_string())?;
    probed
        .profile
        .flavours
        .retain(|flavour| !without.iter().any(|mechanism| mechanism.flavour() as i32 == *flavour));
    Ok(probed)
}

/// The running kernel between compilations: what it can do is kept, its types, some 6 MB, are read again for each, and
/// its function names if they are asked for.
#[derive(Debug)]
pub struct Host {
    /// Without types and names.
    abilities: KernelProfile,
    /// For the first compilation.
    first: Option<Kernel>,
}

impl Host {
    /// Probes the running kernel. Mechanisms in `without` count as absent.
    ///
    /// # Errors
    /// A message for the user: what this host lacks.
    pub fn probe(
        tracepoints: &[(String, String)],
        without: &[Mechanism],
    ) -> Result<(Host, Vec<ProbeNote>), String> {
        let Probed { mut profile, notes } = probed(tracepoints, without)?;
        let btf = std::mem::take(&mut profile.btf);
        let mut host = Host { abilities: profile, first: None };
        host.first = Some(host.with(btf)?);
        Ok((host, notes))
    }

    /// The kernel to compile for.
    ///
    /// # Errors
    /// A message for the user: the types cannot be read any more.
    pub fn kernel(&mut self) -> Result<Kernel, String> {
        match self.first.take() {
            Some(kernel) => Ok(kernel),
            None => self.with(types(&Places::host()).map_err(|error| error.to_string())?),
        }
    }

    fn with(&self, btf: Vec<u8>) -> Result<Kernel, String> {
        kernel(KernelProfile { btf, ..self.abilities.clone() })
    }
}

/// With function names that are read when they are asked for.
fn kernel(profile: KernelProfile) -> Result<Kernel, String> {
    Kernel::with_symbols(profile, || symbols(&Places::host())).map_err(|error| error.to_string())
}

/// Formats of tracepoints that later policies name.
pub fn more_formats(tracepoints: &[(String, String)]) -> Vec<TracepointFormat> {
    formats(&Places::host(), tracepoints, &mut Vec::new())
}
