//! In: programs on kprobes whose hooks report at return, and on kretprobes. Out: the argument registers of a call, kept
//! from its entry to its return.
//!
//! One call per thread and function is remembered: of a function that calls itself, the innermost. An entry is
//! dropped when it has been used, so that a return whose entry was not seen finds nothing rather than old values. Hooks
//! that ask for nothing but the return value are seen all the same.

use super::frame::{Helper, slot};
use super::{Lower, Lowered};
use crate::emit::{Alu, Cond, FP, R0, R1, R2, R6, Size};
use crate::plan::{Entry, Role};
use crate::resolve::{Fetch, ResolvedArg};
use api::artefact::{PolicyCounter, SharedMap};

/// Argument registers, as members of `struct pt_regs`.
const REGISTERS: [&str; api::artefact::SAVED_REGISTERS as usize] = ["di", "si", "dx", "cx", "r8", "r9"];

fn is_saved(arg: &ResolvedArg) -> bool {
    let saved = |fetch: Fetch| matches!(fetch, Fetch::Saved(_) | Fetch::SavedNested(_));
    saved(arg.fetch) || arg.size.is_some_and(|size| saved(size.fetch))
}

impl Lower<'_> {
    /// Whether this program keeps the arguments.
    pub(super) fn saves(&self) -> bool {
        self.program.entries.iter().any(|entry| entry.role == Role::Save)
    }

    /// Whether this program reads what was kept.
    pub(super) fn reads_saved(&self) -> bool {
        self.program.args.iter().any(is_saved)
    }

    /// Whether a hook entry does.
    fn entry_reads_saved(&self, entry: &Entry<'_>) -> bool {
        let args = entry.args.iter().chain(&entry.ret).filter_map(|arg| self.program.args.get(*arg));
        args.into_iter().any(is_saved)
    }

    pub(super) fn save_registers(&mut self) -> Lowered<()> {
        self.asm.source("keep the arguments for the return");
        self.saved_key();
        for (place, name) in (0..).step_by(8).zip(REGISTERS) {
            let at = self.offset("pt_regs", name)?;
            self.asm.load(Size::D, R1, R6, at);
            self.asm.store(Size::D, FP, slot::TUPLE + place, R1);
        }
        self.update(SharedMap::SavedRegisters, slot::SAVED_KEY, slot::TUPLE);
        Ok(())
    }

    /// Copies the registers; zeros if the call's entry was not seen. The zeros and the answer are made of something of which
    /// the verifier knows no bit: what it knows of the one case it would have to follow through the whole program again.
    pub(super) fn find_saved(&mut self) {
        let done = self.asm.label();
        self.asm.source("find the arguments kept at entry");
        self.asm.call(Helper::PidTgid);
        self.asm.mov(R1, R0);
        self.asm.alu_reg(Alu::Xor, R1, R0);
        for place in (0..).step_by(8).take(REGISTERS.len()) {
            self.asm.store(Size::D, FP, slot::SAVED + place, R1);
        }
        self.asm.store(Size::D, FP, slot::SAVED_FOUND, R1);
        self.saved_key();
        self.call_on(Helper::MapLookup, SharedMap::SavedRegisters, slot::SAVED_KEY);
        self.asm.jump_if(Cond::Eq, R0, 0, done);
        for place in (0..).step_by(8).take(REGISTERS.len()) {
            self.asm.load(Size::D, R1, R0, place);
            self.asm.store(Size::D, FP, slot::SAVED + place, R1);
        }
        self.asm.load(Size::D, R2, FP, slot::SAVED_FOUND);
        self.asm.mov_imm(R1, 1);
        self.asm.alu_reg(Alu::Xor, R1, R2);
        self.asm.store(Size::D, FP, slot::SAVED_FOUND, R1);
        self.asm.bind(done);
    }

    /// Without the arguments, the hook entries of a bank that read them are left out, and their policies told.
    pub(super) fn leave_out_unsaved(&mut self, bank: usize) {
        let program = self.program;
        let all = program.entries.iter().enumerate().filter(|(_, entry)| entry.bank == bank);
        let readers: Vec<(usize, u64)> = all
            .filter(|(_, entry)| self.entry_reads_saved(entry))
            .map(|(index, entry)| (index, entry.mask()))
            .collect();
        if readers.is_empty() {
            return;
        }
        let found = self.asm.label();
        self.asm.source("the arguments of calls whose entry was not seen");
        self.asm.load(Size::D, R1, FP, slot::SAVED_FOUND);
        self.asm.jump_if(Cond::Ne, R1, 0, found);
        for (index, _) in &readers {
            self.count(*index, &[PolicyCounter::LostScratch]);
        }
        self.clear(readers.iter().fold(0, |mask, (_, bits)| mask | bits));
        self.asm.bind(found);
    }

    pub(super) fn drop_saved(&mut self) {
        self.call_on(Helper::MapDelete, SharedMap::SavedRegisters, slot::SAVED_KEY);
    }

    /// Thread in the upper half, function in the lower.
    fn saved_key(&mut self) {
        let function = self.program.attach.target.bytes();
        let function =
            function.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        self.asm.call(Helper::PidTgid);
        self.asm.alu(Alu::Lsh, R0, 32);
        self.asm.mov_imm(R1, u64::from(function));
        self.asm.alu_reg(Alu::Or, R0, R1);
        self.asm.store(Size::D, FP, slot::SAVED_KEY, R0);
    }
}
