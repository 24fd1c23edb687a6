//! In: a program that its hook's word in `active` does not name alone. Out: while that word says that two programs
//! overlap, the newer one marks the call that it judges, and the older one lets a marked call pass.
//!
//! The mark belongs to the thread: between two programs of one hook it does nothing else. A newer program that refuses the
//! call ends it before the older one, so its mark stays; the thread's next call begins with the newer one again, which
//! writes the same.
//!
//! What is left on the stack here lies where whole words are written first thing afterwards: of anything else verifiers
//! would think that it matters, and follow the whole program once for each way through this part.

use super::Lower;
use super::frame::{Helper, slot};
use crate::emit::{Alu, Cond, FP, Label, R0, R1, R7, Size};
use api::artefact::{OVERLAP, RelocKind, SharedMap};

/// Key in the map.
const THREAD: i16 = slot::PID_TGID;
/// Value in the map.
const PROGRAM: i16 = slot::RETURN;

impl Lower<'_> {
    /// r1 = the word, zero-extended. Jumps to `go` if this program is to judge the call, else to `inactive`.
    pub(super) fn overlap(&mut self, go: Label, inactive: Label) {
        let newer = self.asm.label();
        self.asm.source("while two programs overlap: has the other one judged this call");
        // The flag is the sign.
        self.asm.jump32_if(Cond::Sge, R1, 0, inactive);
        self.asm.mov(R7, R1);
        self.asm.alu(Alu::And, R7, (OVERLAP - 1) as i32);
        self.asm.call(Helper::PidTgid);
        self.asm.store(Size::D, FP, THREAD, R0);
        self.asm.jump_if_reloc(Cond::Eq, R7, RelocKind::ProgramId, 0, newer);
        self.call_on(Helper::MapLookup, SharedMap::Judged, THREAD);
        self.asm.jump_if(Cond::Eq, R0, 0, go);
        self.asm.load(Size::D, R1, R0, 0);
        // Of an earlier switch.
        self.asm.jump_if_reg(Cond::Ne, R1, R7, go);
        self.call_on(Helper::MapDelete, SharedMap::Judged, THREAD);
        self.asm.jump(inactive);
        self.asm.bind(newer);
        self.asm.store(Size::D, FP, PROGRAM, R7);
        self.update(SharedMap::Judged, THREAD, PROGRAM);
        self.asm.jump(go);
    }
}
