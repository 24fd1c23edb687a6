//! In: the running kernel. Out: what the compiler must know of it.

use agent::kernel::Linux;
use agent::probe::{Places, ProbeNote, formats, probe};
use api::profile::TracepointFormat;
use policy_compiler::Kernel;
use policy_compiler::typed::{HookPoint, TypedPolicy};
use std::collections::BTreeSet;

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
    let linux = Linux::new().map_err(|errno| format!("this kernel cannot be probed: {errno}"))?;
    let probed = probe(&linux, &Places::host(), tracepoints).map_err(|error| error.to_string())?;
    let kernel = Kernel::new(probed.profile).map_err(|error| error.to_string())?;
    Ok((kernel, probed.notes))
}

/// Formats of tracepoints that later policies name.
pub fn more_formats(tracepoints: &[(String, String)]) -> Vec<TracepointFormat> {
    formats(&Places::host(), tracepoints, &mut Vec::new())
}
