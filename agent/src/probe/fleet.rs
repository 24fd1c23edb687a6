//! In: the running kernel. Out: a profile that any policy can be compiled with, the same bytes on every host that runs
//! this kernel.
//!
//! Of 15 MB or more, so that between two uses only what was tried is kept; the rest is read again.

use std::path::Path;

use api::artefact::Flavour;
use api::profile::{KernelProfile, TracepointFormat};
use prost::Message;
use sha2::{Digest, Sha256};

use super::{Places, ProbeError, ProbeNote, Scope, btf_path, probe_for, read_btf, symbols, tracefs};
use crate::kernel::Kernel;
use crate::kernel::btf::Names;

/// The profile of the running kernel.
#[derive(Debug, Clone)]
pub struct FleetProfile {
    places: Places,
    /// Without types, symbols and tracepoints.
    tried: KernelProfile,
    digest: [u8; 32],
}

/// An encoded profile.
#[derive(Debug, Clone)]
pub struct ProfileBytes {
    /// SHA-256 of the bytes.
    pub digest: [u8; 32],
    /// The encoding.
    pub bytes: Vec<u8>,
}

impl ProfileBytes {
    /// Encodes a profile.
    pub fn of(profile: &KernelProfile) -> ProfileBytes {
        let bytes = profile.encode_to_vec();
        ProfileBytes { digest: Sha256::digest(&bytes).into(), bytes }
    }
}

impl FleetProfile {
    /// Probes the kernel. Mechanisms in `without` count as absent.
    ///
    /// # Errors
    /// This kernel cannot run any policy.
    pub fn probe(
        kernel: &impl Kernel,
        places: &Places,
        without: &[Flavour],
    ) -> Result<(FleetProfile, Vec<ProbeNote>), ProbeError> {
        let mut probed = probe_for(kernel, places, Scope::Fleet)?;
        let profile = &mut probed.profile;
        profile.flavours.retain(|flavour| !without.iter().any(|absent| *absent as i32 == *flavour));
        let digest = ProfileBytes::of(profile).digest;
        let tried =
            KernelProfile { btf: Vec::new(), symbols: Vec::new(), tracepoints: Vec::new(), ..probed.profile };
        Ok((FleetProfile { places: places.clone(), tried, digest }, probed.notes))
    }

    /// `uname -r`.
    pub fn release(&self) -> &str {
        &self.tried.release
    }

    /// SHA-256 of the encoding.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Reads everything again. Its digest is [`FleetProfile::digest`], unless the kernel was patched meanwhile.
    ///
    /// # Errors
    /// The types cannot be read any more.
    pub fn encode(&self) -> Result<ProfileBytes, ProbeError> {
        let btf = read_btf(&self.places.sys)?;
        let path = btf_path(&self.places.sys);
        let names = Names::read(&btf).map_err(|problem| ProbeError::BadBtf { path, problem })?;
        let tracepoints = formats(&self.places, &names, &mut Vec::new());
        let symbols = symbols::read(&self.places, false).unwrap_or_default();
        Ok(ProfileBytes::of(&KernelProfile { btf, symbols, tracepoints, ..self.tried.clone() }))
    }
}

/// Formats of all tracepoints that are part of the kernel itself, sorted.
pub(super) fn formats(
    places: &Places,
    names: &Names<'_>,
    notes: &mut Vec<ProbeNote>,
) -> Vec<TracepointFormat> {
    let Some(tracefs) = &places.tracefs else {
        notes.push(ProbeNote::NoTracefs);
        return Vec::new();
    };
    let mut formats = Vec::new();
    for subsystem in folders(&tracefs.join("events")) {
        for event in folders(&tracefs.join("events").join(&subsystem)) {
            // The formats of a few, such as those of ftrace itself, are not of the usual form.
            if is_built_in(&subsystem, &event, names)
                && let Ok(format) = tracefs::read_format(tracefs, &subsystem, &event)
            {
                formats.push(format);
            }
        }
    }
    formats
}

/// Tracepoints of modules and those that somebody has made (`kprobe_events`) are not in the kernel's types. System calls
/// are in their own way, and always the kernel's.
fn is_built_in(subsystem: &str, event: &str, names: &Names<'_>) -> bool {
    subsystem == "syscalls" || names.typedef(&format!("btf_trace_{event}")).is_some()
}

/// Names of the folders in a folder, sorted.
fn folders(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut names: Vec<String> = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}
