//! In: programs on kprobes whose hooks report at return, and on kretprobes. Out: the argument registers of a call, kept
//! from its entry to its return.
//!
//! One call per thread and function is remembered: of a function that calls itself, the innermost. An entry is
//! dropped when it has been used, so that a return whose entry was not seen finds nothing rather than old values.

use super::frame::{Helper, slot};
use super::{Lower, Lowered};
use crate::emit::{Alu, Cond, FP, R0, R1, R2, R3, R4, R6, Size};
use crate::plan::Role;
use crate::resolve::Fetch;
use api::artefact::SharedMap;

/// Argument registers, as members of `struct pt_regs`.
const REGISTERS: [&str; api::artefact::SAVED_REGISTERS as usize] = ["di", "si", "dx", "cx", "r8", "r9"];

impl Lower<'_> {
    /// Whether this program keeps the arguments.
    pub(super) fn saves(&self) -> bool {
        self.program.entries.iter().any(|entry| entry.role == Role::Save)
    }

    /// Whether this program reads what was kept.
    pub(super) fn reads_saved(&self) -> bool {
        let is_saved = |fetch: Fetch| matches!(fetch, Fetch::Saved(_) | Fetch::SavedNested(_));
        self.program
            .args
            .iter()
            .any(|arg| is_saved(arg.fetch) || arg.size.is_some_and(|size| is_saved(size.fetch)))
    }

    pub(super) fn save_registers(&mut self) -> Lowered<()> {
        self.asm.source("keep the arguments for the return");
        self.saved_key();
        for (place, name) in (0..).step_by(8).zip(REGISTERS) {
            let at = self.offset("pt_regs", name)?;
            self.asm.load(Size::D, R1, R6, at);
            self.asm.store(Size::D, FP, slot::TUPLE + place, R1);
        }
        self.asm.shared_map(R1, SharedMap::SavedRegisters);
        self.asm.mov(R2, FP);
        self.asm.alu(Alu::Add, R2, i32::from(slot::SAVED_KEY));
        self.asm.mov(R3, FP);
        self.asm.alu(Alu::Add, R3, i32::from(slot::TUPLE));
        self.asm.mov_imm(R4, 0);
        self.asm.call(Helper::MapUpdate);
        Ok(())
    }

    /// Leaves the program if the call's entry was not seen.
    pub(super) fn find_saved(&mut self) {
        self.asm.source("find the arguments kept at entry");
        self.saved_key();
        self.asm.shared_map(R1, SharedMap::SavedRegisters);
        self.asm.mov(R2, FP);
        self.asm.alu(Alu::Add, R2, i32::from(slot::SAVED_KEY));
        self.asm.call(Helper::MapLookup);
        self.asm.jump_if(Cond::Eq, R0, 0, self.done);
        self.asm.store(Size::D, FP, slot::SAVED, R0);
    }

    pub(super) fn drop_saved(&mut self) {
        self.asm.shared_map(R1, SharedMap::SavedRegisters);
        self.asm.mov(R2, FP);
        self.asm.alu(Alu::Add, R2, i32::from(slot::SAVED_KEY));
        self.asm.call(Helper::MapDelete);
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
