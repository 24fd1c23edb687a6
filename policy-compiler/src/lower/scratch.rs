//! In: programs that need memory. Out: r7 pointing at a scratch slot that nobody else on this CPU uses.
//!
//! Programs on trampolines may be preempted from 5.11 on (only migration is disabled), so two can be half-way on
//! one CPU at the same time, in no particular nesting: a per-CPU buffer alone would be overwritten. Each CPU has
//! four slots with a lock word, taken by compare-and-exchange. Before 5.12 there is no such instruction; there
//! preemption is off while a program runs, and interrupts nest, so a plain test and store is enough.

use super::Lower;
use super::frame::{Helper, scratch, slot};
use crate::emit::{Alu, Cond, FP, Label, R0, R1, R7, Size};
use api::artefact::{SCRATCH_SLOTS_PER_CPU, SharedMap};

impl Lower<'_> {
    /// Takes a slot unless r7 already has one; jumps to `none` if all are taken.
    pub(super) fn acquire_scratch(&mut self, none: Label) {
        let have = self.asm.label();
        self.asm.jump_if(Cond::Ne, R7, 0, have);
        self.asm.call(Helper::CpuId);
        self.asm.alu(Alu::Mul, R0, SCRATCH_SLOTS_PER_CPU as i32);
        self.asm.store(Size::D, FP, slot::SCRATCH_BASE, R0);
        for index in 0..SCRATCH_SLOTS_PER_CPU {
            let next = self.asm.label();
            self.asm.load(Size::D, R1, FP, slot::SCRATCH_BASE);
            self.asm.alu(Alu::Add, R1, index as i32);
            self.asm.store(Size::W, FP, slot::KEY, R1);
            self.lookup(SharedMap::Scratch);
            self.asm.jump_if(Cond::Eq, R0, 0, none);
            self.asm.mov(R7, R0);
            if self.kernel.atomic_fetch() {
                self.asm.mov_imm(R0, 0);
                self.asm.mov_imm(R1, 1);
                self.asm.cmpxchg(R7, scratch::LOCK, R1);
                self.asm.jump_if(Cond::Eq, R0, 0, have);
            } else {
                self.asm.load(Size::D, R0, R7, scratch::LOCK);
                self.asm.jump_if(Cond::Ne, R0, 0, next);
                self.asm.mov_imm(R1, 1);
                self.asm.store(Size::D, R7, scratch::LOCK, R1);
                self.asm.jump(have);
            }
            self.asm.bind(next);
        }
        self.asm.mov_imm(R7, 0);
        self.asm.jump(none);
        self.asm.bind(have);
    }

    /// Gives the slot back, if there is one.
    pub(super) fn release_scratch(&mut self) {
        let none = self.asm.label();
        self.asm.jump_if(Cond::Eq, R7, 0, none);
        self.asm.mov_imm(R1, 0);
        self.asm.store(Size::D, R7, scratch::LOCK, R1);
        self.asm.bind(none);
    }
}
