//! In: an [`Asm`]. Out: [`Finished`] bytes: unreachable instructions removed (the kernel refuses them), labels
//! resolved, relocations and sources by slot index.

use super::asm::{Asm, Insn};
use api::artefact::{Reloc, SourceSpan};

/// What an artefact takes over.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Finished {
    /// Instructions, 8 bytes each.
    pub bytes: Vec<u8>,
    /// By slot index, ascending.
    pub relocs: Vec<Reloc>,
    /// By first slot index, ascending.
    pub sources: Vec<SourceSpan>,
}

/// The program does not fit eBPF's encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmitError {
    /// A jump over more than 32,767 instructions.
    JumpTooFar,
    /// A label was never bound, or lies behind the last instruction: a bug of `lower`.
    UnboundLabel,
}

impl Asm {
    fn target(&self, insn: &Insn) -> Result<Option<usize>, EmitError> {
        let Some(label) = insn.target else { return Ok(None) };
        let at = self.labels.get(label.0 as usize).copied().flatten();
        at.filter(|at| *at < self.insns.len()).map(Some).ok_or(EmitError::UnboundLabel)
    }

    fn reachable(&self) -> Result<Vec<bool>, EmitError> {
        let mut seen = vec![false; self.insns.len()];
        let mut work = vec![0];
        while let Some(start) = work.pop() {
            for at in start..self.insns.len() {
                if std::mem::replace(&mut seen[at], true) {
                    break;
                }
                work.extend(self.target(&self.insns[at])?.filter(|target| !seen[*target]));
                if self.insns[at].ends() {
                    break;
                }
            }
        }
        Ok(seen)
    }

    /// Encodes the program.
    ///
    /// # Errors
    /// [`EmitError`].
    pub fn finish(&self) -> Result<Finished, EmitError> {
        let live = self.reachable()?;
        // Slot index of each instruction, counting only live ones.
        let mut slots = Vec::with_capacity(self.insns.len() + 1);
        let mut next = 0usize;
        for (insn, live) in self.insns.iter().zip(&live) {
            slots.push(next);
            next += if *live { insn.slots() } else { 0 };
        }
        slots.push(next);
        let mut out = Finished::default();
        for (at, insn) in self.insns.iter().enumerate().filter(|(at, _)| live[*at]) {
            let distance = match self.target(insn)? {
                Some(target) => slots[target] as i64 - slots[at] as i64 - 1,
                None => 0,
            };
            if let Some((kind, index)) = insn.reloc {
                out.relocs.push(Reloc { insn: slots[at] as u32, kind: kind as i32, index });
            }
            encode(insn, distance, &mut out.bytes)?;
        }
        out.sources = self.source_spans(&slots, next);
        Ok(out)
    }

    fn source_spans(&self, slots: &[usize], end: usize) -> Vec<SourceSpan> {
        let mut spans: Vec<SourceSpan> = Vec::new();
        for (at, path) in &self.sources {
            let insn = slots.get(*at).copied().unwrap_or(end) as u32;
            if insn as usize >= end {
                break;
            }
            match spans.last_mut() {
                Some(last) if last.insn == insn => last.path.clone_from(path),
                Some(last) if last.path == *path => {}
                _ => spans.push(SourceSpan { insn, path: path.clone() }),
            }
        }
        spans
    }
}

fn encode(insn: &Insn, distance: i64, out: &mut Vec<u8>) -> Result<(), EmitError> {
    let (off, imm) = if insn.is_local_call() {
        (insn.off, distance)
    } else if insn.target.is_some() {
        (i16::try_from(distance).map_err(|_| EmitError::JumpTooFar)?, insn.imm)
    } else {
        (insn.off, insn.imm)
    };
    let mut slot = |op: u8, regs: u8, off: i16, imm: u32| {
        out.extend([op, regs]);
        out.extend(off.to_le_bytes());
        out.extend(imm.to_le_bytes());
    };
    slot(insn.op, insn.dst | insn.src << 4, off, imm as u32);
    if insn.slots() == 2 {
        slot(0, 0, 0, (imm >> 32) as u32);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::asm::{Alu, Cond, R0, R1};
    use super::*;

    #[test]
    fn dead_code_is_removed_and_jumps_still_land() {
        let mut asm = Asm::new();
        let end = asm.label();
        asm.mov_imm(R0, 1 << 40);
        asm.jump_if(Cond::Eq, R1, 0, end);
        asm.jump(end);
        asm.mov_imm(R0, 7);
        asm.bind(end);
        asm.exit();
        let done = asm.finish().expect("encodes");
        assert_eq!(done.bytes.len(), 8 * 5);
        assert_eq!(done.bytes[16..20], [0x15, 1, 1, 0]);
        assert_eq!(done.bytes[24..28], [0x05, 0, 0, 0]);
    }

    #[test]
    fn far_jumps_and_unbound_labels_are_errors() {
        let mut asm = Asm::new();
        let far = asm.label();
        asm.jump_if(Cond::Eq, R1, 0, far);
        (0..40_000).for_each(|_| asm.alu(Alu::Add, R1, 1));
        asm.bind(far);
        asm.exit();
        assert_eq!(asm.finish(), Err(EmitError::JumpTooFar));
        let mut asm = Asm::new();
        let nowhere = asm.label();
        asm.jump(nowhere);
        assert_eq!(asm.finish(), Err(EmitError::UnboundLabel));
    }
}
