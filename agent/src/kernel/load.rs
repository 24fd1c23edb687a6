//! In: a program to load. Out: its descriptor, or why the kernel refused it, with the end of the verifier's log.
#![allow(unsafe_code)]

use std::os::fd::OwnedFd;

use api::artefact::Flavour;

use super::Errno;
use super::attr::{Attr, Command};
use super::insn::INSN_SIZE;
use super::spec::ProgramSpec;

/// First size of the verifier's log buffer, bytes: enough for a few hundred instructions.
const LOG_FIRST: usize = 1 << 16;
/// Last size, bytes. What older kernels allow at most (UINT_MAX >> 8).
const LOG_LAST: usize = (1 << 24) - 1;
/// Lines of the log that are kept: the state before the failing instruction and the verdict.
const LOG_LINES: usize = 15;
/// Loads that the kernel asks to try again (a signal came in while verifying) before giving up.
const TRIES: u32 = 5;

/// The kernel refused a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{errno}")]
pub struct Rejection {
    /// How.
    pub errno: Errno,
    /// Last lines of the verifier's log; empty if it was refused before verifying.
    pub log: String,
    /// Instruction that the verifier stopped at.
    pub insn: Option<u32>,
}

impl Rejection {
    /// From the verifier's whole log.
    pub fn new(errno: Errno, log: &str) -> Rejection {
        let lines: Vec<&str> = log.lines().filter(|line| !is_statistics(line)).collect();
        let end =
            lines.iter().position(|line| line.starts_with("Verification failed: ")).unwrap_or(lines.len());
        let (steps, explanation) = lines.split_at(end);
        let tail = steps.get(steps.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
        let kept: Vec<&str> = tail.iter().copied().chain(without_listings(explanation)).collect();
        let insn = explained_insn(explanation)
            .or_else(|| steps.iter().rev().find_map(|line| insn_of(line)))
            .or_else(|| steps.iter().rev().find_map(|line| mentioned_insn(line)));
        Rejection { errno, log: kept.join("\n"), insn }
    }
}

/// Closing lines about the verifier's own work, which hide the verdict above them.
fn is_statistics(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with("processed ") || line.starts_with("verification time")
}

/// What kernels from 7.x on explain behind the log: the reason and the suggestion, without the instructions between,
/// which the log has shown.
fn without_listings<'a>(explanation: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let mut shown = true;
    explanation.iter().copied().filter(move |line| {
        if !line.starts_with(' ') {
            shown = !matches!(*line, "At:" | "Causal path:");
        }
        shown
    })
}

/// The instruction under `At:`.
fn explained_insn(explanation: &[&str]) -> Option<u32> {
    let at = explanation.iter().position(|line| *line == "At:")?;
    explanation.get(at + 1).and_then(|line| mentioned_insn(line))
}

/// The number of the instruction that a line of the log shows: `12: (85) call …`.
fn insn_of(line: &str) -> Option<u32> {
    let (number, rest) = line.split_once(": ")?;
    if rest.starts_with('(') { number.parse().ok() } else { None }
}

/// As in `unreachable insn 12`, which is found before any instruction is looked at.
fn mentioned_insn(line: &str) -> Option<u32> {
    let (_, rest) = line.split_once("insn ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// `enum bpf_prog_type` and `enum bpf_attach_type` of a flavour.
fn kernel_type(flavour: Flavour) -> Option<(u32, u32)> {
    Some(match flavour {
        Flavour::Unspecified => return None,
        Flavour::Kprobe | Flavour::Kretprobe => (2, 0),
        Flavour::Tracepoint => (5, 0),
        Flavour::RawTp => (17, 0),
        Flavour::TpBtf => (26, 23),
        Flavour::Fentry => (26, 24),
        Flavour::Fexit => (26, 25),
        Flavour::FmodRet => (26, 26),
        Flavour::Lsm => (29, 27),
    })
}

/// Loads, first without a log, which is faster, and once more with one if that fails.
pub fn load(spec: &ProgramSpec<'_>) -> Result<OwnedFd, Rejection> {
    let errno = match load_once(spec, None) {
        Ok(fd) => return Ok(fd),
        Err(errno) => errno,
    };
    let mut size = LOG_FIRST;
    loop {
        let mut log = vec![0; size];
        match load_once(spec, Some(&mut log)) {
            Ok(fd) => return Ok(fd),
            // Kernels before 6.4 cut the end off, which is the part that says why.
            Err(Errno::ENOSPC) if size < LOG_LAST => size = (size * 8).min(LOG_LAST),
            // The log's own trouble is not the program's.
            Err(Errno::ENOSPC) => return Err(Rejection::new(errno, text(&log))),
            Err(errno) => return Err(Rejection::new(errno, text(&log))),
        }
    }
}

/// Up to the closing zero.
fn text(log: &[u8]) -> &str {
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    let log = log.get(..end).unwrap_or_default();
    match std::str::from_utf8(log) {
        Ok(text) => text,
        // The verifier writes ASCII; what is cut in between is still readable up to there.
        Err(error) => {
            log.get(..error.valid_up_to()).and_then(|log| std::str::from_utf8(log).ok()).unwrap_or("")
        }
    }
}

fn load_once(spec: &ProgramSpec<'_>, mut log: Option<&mut [u8]>) -> Result<OwnedFd, Errno> {
    let (kind, attach_type) = kernel_type(spec.flavour).ok_or(Errno::EINVAL)?;
    if !spec.insns.len().is_multiple_of(INSN_SIZE) {
        return Err(Errno::EINVAL);
    }
    let count = u32::try_from(spec.insns.len() / INSN_SIZE).map_err(|_| Errno(libc::E2BIG))?;
    let mut tries = 0;
    loop {
        let mut attr = Attr::new()
            .u32(0, kind)
            .u32(4, count)
            .input(8, spec.insns)
            .input(16, c"GPL".to_bytes_with_nul())
            .name(48, spec.name)
            .u32(68, attach_type)
            .u32(108, spec.btf_id);
        if let Some(log) = log.as_deref_mut() {
            let size = u32::try_from(log.len()).map_err(|_| Errno::EINVAL)?;
            attr = attr.u32(24, 1).u32(28, size).output(32, log);
        }
        // SAFETY: `insn_cnt` and `log_size` are the sizes of the buffers, the license ends with a zero, and
        // BPF_PROG_LOAD gives a new descriptor.
        match unsafe { attr.open(Command::ProgLoad) } {
            Err(Errno(libc::EAGAIN)) if tries < TRIES => tries += 1,
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_and_its_instruction_are_kept() {
        let mut log: String = (0..40).map(|n| format!("{n}: (b7) r0 = {n}\n")).collect();
        log +=
            "R1 invalid mem access 'scalar'\nverification time 12 usec\nstack depth 0\nprocessed 40 insns\n";
        let rejection = Rejection::new(Errno(libc::EACCES), &log);
        assert_eq!(rejection.insn, Some(39));
        assert!(rejection.log.ends_with("39: (b7) r0 = 39\nR1 invalid mem access 'scalar'\nstack depth 0"));
        assert_eq!(rejection.log.lines().count(), LOG_LINES);
    }

    #[test]
    fn an_explanation_is_kept_without_its_listings() {
        let log = "1: (b7) r1 = 0                        ; R1=0\n2: (79) r0 = *(u64 *)(r1 +0)\n\
                   R1 invalid mem access 'scalar'\n\nVerification failed: Invalid dereference\n\nReason:\n  \
                   R1 is no pointer.\n\nAt:\n  insn 2\n       | ^-- error: here\n      3 | (95) exit\n\n\
                   Causal path:\n  insn 1\n\nSuggestion:\n  Reload it.\n\nprocessed 3 insns\n";
        let rejection = Rejection::new(Errno(libc::EACCES), log);
        assert_eq!(rejection.insn, Some(2));
        let end = "R1 invalid mem access 'scalar'\nVerification failed: Invalid dereference\n\
                   Reason:\n  R1 is no pointer.\nSuggestion:\n  Reload it.";
        assert!(rejection.log.ends_with(end), "{}", rejection.log);
    }

    #[test]
    fn an_instruction_that_was_never_reached_is_found_in_the_text() {
        let rejection = Rejection::new(Errno::EINVAL, "unreachable insn 2\nprocessed 0 insns\n");
        assert_eq!((rejection.insn, rejection.log.as_str()), (Some(2), "unreachable insn 2"));
    }

    #[test]
    fn register_states_are_no_instructions() {
        assert_eq!(insn_of("7: R1=ctx(off=0,imm=0) R10=fp0"), None);
        assert_eq!(insn_of("from 3 to 7: (95) exit"), None);
        assert_eq!(insn_of("7: (95) exit"), Some(7));
    }

    #[test]
    fn half_an_instruction_is_refused_here() {
        let spec = ProgramSpec { flavour: Flavour::RawTp, btf_id: 0, insns: &[0; 12], name: "half" };
        assert_eq!(load_once(&spec, None).err(), Some(Errno::EINVAL));
    }
}
