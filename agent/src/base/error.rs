//! In: what aya and the system say went wrong. Out: [`BaseError`], which says what to do about it.

use std::fs;
use std::io;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

use crate::kernel::Errno;

/// Lines of a verifier's log that are kept: its end says what is wrong.
const LOG_LINES: usize = 15;

/// Why the fixed programs could not be loaded or used.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// The agent may not use BPF.
    #[error(
        "the kernel refused {what} with {errno}: the agent needs root, or the capabilities CAP_BPF and CAP_PERFMON \
         (before Linux 5.8: CAP_SYS_ADMIN; before 5.11 also CAP_SYS_RESOURCE){lockdown}"
    )]
    NotPermitted {
        /// What was tried.
        what: String,
        /// The system's answer.
        errno: io::Error,
        /// What the kernel's lockdown has to do with it; may be empty.
        lockdown: &'static str,
    },
    /// The kernel does not describe its types.
    #[error(
        "cannot read the kernel's type information (/sys/kernel/btf/vmlinux): a kernel with CONFIG_DEBUG_INFO_BTF=y \
         and a mounted /sys are needed"
    )]
    NoBtf(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The kernel has no memory for a map or a program.
    #[error(
        "no memory for {what} (a ring buffer of {ring_bytes} bytes was asked for): free some, choose a smaller ring \
         buffer, or raise the agent's memory limit (before Linux 5.11: RLIMIT_MEMLOCK)"
    )]
    NoMemory {
        /// What was tried.
        what: String,
        /// Size asked for.
        ring_bytes: u32,
    },
    /// The ring buffer's size cannot be.
    #[error(
        "a ring buffer of {bytes} bytes was asked for: it must be a power of two and at least {page} bytes"
    )]
    RingSize {
        /// Size asked for.
        bytes: u32,
        /// Smallest size.
        page: u32,
    },
    /// A program was refused.
    #[error("the kernel refused the program {program}: {reason}\n{log}")]
    Load {
        /// Name of the program.
        program: &'static str,
        /// The system's answer.
        reason: String,
        /// The end of the verifier's log.
        log: String,
    },
    /// The object could not be made ready for this kernel.
    #[error("cannot prepare the fixed programs for this kernel")]
    Object(#[source] Box<EbpfError>),
    /// A program could not be attached.
    #[error("cannot attach the program {program} to the tracepoint {tracepoint}")]
    Attach {
        /// Name of the program.
        program: &'static str,
        /// Its tracepoint.
        tracepoint: &'static str,
        /// The reason.
        #[source]
        source: Box<ProgramError>,
    },
    /// A map could not be used.
    #[error("cannot use the map {map}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// The reason.
        #[source]
        source: Box<MapError>,
    },
    /// The embedded object lacks a part: it was built from other sources than this agent.
    #[error("the embedded object has no {what}: rebuild the agent")]
    Missing {
        /// Name of a map or program.
        what: &'static str,
    },
    /// The agent has too many files open.
    #[error("cannot duplicate the descriptor of a map: raise the agent's limit of open files")]
    Descriptor(#[source] io::Error),
    /// The kernel does not tell of a program.
    #[error("cannot read how often the kernel skipped the program {program}")]
    Skipped {
        /// Name of the program.
        program: &'static str,
        /// The system's answer.
        #[source]
        source: Errno,
    },
    /// Waiting for records failed.
    #[error("cannot wait for records of the ring buffer")]
    Wait(#[source] io::Error),
}

pub(super) fn no_btf(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BaseError {
    BaseError::NoBtf(source.into())
}

pub(super) fn map(map: &'static str, source: MapError) -> BaseError {
    BaseError::Map { map, source: Box::new(source) }
}

/// Turns a failure to create maps (or to prepare the object) into what it means.
pub(super) fn object(source: EbpfError, ring_bytes: u32) -> BaseError {
    if let EbpfError::MapError(MapError::CreateError { name, io_error }) = &source
        && let Some(error) = known_errno(&format!("the map {name}"), io_error, ring_bytes)
    {
        return error;
    }
    BaseError::Object(Box::new(source))
}

pub(super) fn load(program: &'static str, source: ProgramError) -> BaseError {
    let ProgramError::LoadError { io_error, verifier_log } = source else {
        return BaseError::Load { program, reason: source.to_string(), log: String::new() };
    };
    let log = verifier_log.to_string();
    // EPERM with a log is the verifier's; without one the kernel did not even look at the program.
    if log.trim().is_empty()
        && let Some(error) = known_errno(&format!("the program {program}"), &io_error, 0)
    {
        return error;
    }
    BaseError::Load { program, reason: io_error.to_string(), log: last_lines(&log) }
}

fn known_errno(what: &str, error: &io::Error, ring_bytes: u32) -> Option<BaseError> {
    let errno = rustix::io::Errno::from_io_error(error)?;
    match errno {
        rustix::io::Errno::PERM | rustix::io::Errno::ACCESS => Some(BaseError::NotPermitted {
            what: what.to_string(),
            errno: errno.into(),
            lockdown: lockdown_hint(),
        }),
        rustix::io::Errno::NOMEM => Some(BaseError::NoMemory { what: what.to_string(), ring_bytes }),
        _ => None,
    }
}

fn lockdown_hint() -> &'static str {
    match fs::read_to_string("/sys/kernel/security/lockdown") {
        Ok(state) if state.contains("[confidentiality]") => {
            "; moreover the kernel is locked down to confidentiality, which forbids programs that read kernel \
             memory: boot with lockdown=integrity or less"
        }
        Ok(state) if state.contains("[integrity]") => {
            "; the kernel is locked down to integrity, which some builds take as a reason to forbid tracing"
        }
        _ => "",
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.len().saturating_sub(LOG_LINES);
    lines.get(from..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_keeps_its_end() {
        let log: String = (0..100).map(|line| format!("{line}\n")).collect();
        let kept = last_lines(&log);
        assert!(kept.starts_with("85\n") && kept.ends_with("\n99"), "{kept}");
        assert_eq!(last_lines("one"), "one");
    }

    #[test]
    fn no_permission_names_what_is_needed() {
        let refused =
            MapError::CreateError { name: "events".into(), io_error: io::Error::from_raw_os_error(1) };
        let message = object(EbpfError::MapError(refused), 4096).to_string();
        assert!(message.contains("the map events") && message.contains("CAP_BPF"), "{message}");
    }

    #[test]
    fn other_errors_stay_what_they_are() {
        let refused =
            MapError::CreateError { name: "events".into(), io_error: io::Error::from_raw_os_error(22) };
        assert!(matches!(object(EbpfError::MapError(refused), 4096), BaseError::Object(_)));
    }
}
