//! In: a [`Fetch`] or a pointer with a member offset. Out: instructions that bring the value into a register.
//!
//! Typed pointers load directly (a fault gives 0); others go through bpf_probe_read_kernel. Both clobber r0 to r5.

use super::frame::{Helper, slot};
use super::{Lower, Lowered};
use crate::emit::{Alu, FP, Label, R0, R1, R2, R3, R6, Reg, Size};
use crate::resolve::{Fetch, Held};
use crate::typed::IntType;

impl Lower<'_> {
    /// `dst =` the register-sized value. `dst` is r1 to r5 or r8.
    pub(super) fn fetch(&mut self, dst: Reg, fetch: Fetch) {
        match fetch {
            Fetch::Ctx(word) => self.asm.load(Size::D, dst, R6, i16::from(word) * 8),
            Fetch::CtxRegs(at) => self.asm.load(Size::D, dst, R6, at as i16),
            Fetch::TypedRegs(at) => {
                self.asm.load(Size::D, dst, R6, 0);
                self.asm.load(Size::D, dst, dst, at as i16);
            }
            Fetch::NestedRegs { via, reg } => {
                self.asm.load(Size::D, dst, R6, via as i16);
                self.load(Size::D, dst, dst, reg as i16, false);
            }
            Fetch::Saved(register) => {
                self.asm.load(Size::D, dst, FP, slot::SAVED + i16::from(register) * 8);
            }
            Fetch::SavedNested(reg) => {
                self.asm.load(Size::D, dst, FP, slot::SAVED);
                self.load(Size::D, dst, dst, reg as i16, false);
            }
            Fetch::Record { offset, size, signed } => self.fetch_record(dst, offset, size, signed),
            Fetch::RecordAddress(at) => {
                self.asm.mov(dst, R6);
                self.asm.alu(Alu::Add, dst, i32::from(at));
            }
            Fetch::DataLoc(at) => {
                // Low 16 bits: offset of the data from the start of the record.
                self.asm.load(Size::W, dst, R6, at as i16);
                self.asm.alu(Alu::And, dst, 0xffff);
                self.asm.mov(R0, R6);
                self.asm.alu_reg(Alu::Add, R0, dst);
                self.asm.mov(dst, R0);
            }
            Fetch::Const(value) => self.asm.mov_imm(dst, u64::from(value)),
            Fetch::NotYet => self.asm.mov_imm(dst, u64::MAX),
        }
    }

    fn fetch_record(&mut self, dst: Reg, offset: u16, size: u8, signed: bool) {
        let width = Size::of(u32::from(size)).unwrap_or(Size::D);
        self.asm.load(width, dst, R6, offset as i16);
        if signed {
            self.extend(dst, 64 - 8 * i32::from(width.bytes()), true);
        }
    }

    fn extend(&mut self, dst: Reg, bits: i32, signed: bool) {
        if bits > 0 {
            self.asm.alu(Alu::Lsh, dst, bits);
            self.asm.alu(if signed { Alu::Arsh } else { Alu::Rsh }, dst, bits);
        }
    }

    /// `dst =` the integer as its type holds it: truncated, then extended.
    pub(super) fn fetch_int(&mut self, dst: Reg, fetch: Fetch, ty: IntType) {
        self.fetch(dst, fetch);
        self.convert(dst, ty);
    }

    /// Likewise, of a value of which the kernel holds so many bits.
    pub(super) fn fetch_held(&mut self, dst: Reg, held: Held, ty: IntType) {
        if held.ty.size() < ty.size() {
            self.fetch_int(dst, held.fetch, held.ty);
            if held.ty.signed() && ty.size() < 8 {
                self.convert(dst, ty);
            }
        } else {
            self.fetch_int(dst, held.fetch, ty);
        }
    }

    fn convert(&mut self, dst: Reg, ty: IntType) {
        match ty {
            IntType::U32 => self.asm.zext32(dst),
            IntType::U8 => self.asm.alu(Alu::And, dst, 0xff),
            IntType::U16 => self.asm.alu(Alu::And, dst, 0xffff),
            _ => self.extend(dst, 64 - 8 * i32::from(ty.size()), ty.signed()),
        }
    }

    /// `dst = *(size *)(src + off)`.
    pub(super) fn load(&mut self, size: Size, dst: Reg, src: Reg, off: i16, typed: bool) {
        if typed {
            self.asm.load(size, dst, src, off);
            return;
        }
        self.asm.mov(R3, src);
        self.read_kernel(FP, slot::VALUE, i32::from(size.bytes()), off);
        self.asm.load(size, dst, FP, slot::VALUE);
    }

    /// Reads `len` bytes at r3 + `off` into `base + at`. r0: 0 or negative; on failure the target is zeroed.
    pub(super) fn read_kernel(&mut self, base: Reg, at: i16, len: i32, off: i16) {
        if off != 0 {
            self.asm.alu(Alu::Add, R3, i32::from(off));
        }
        self.asm.mov(R1, base);
        self.asm.alu(Alu::Add, R1, i32::from(at));
        self.asm.mov_imm(R2, len as u64);
        self.asm.call(Helper::ReadKernel);
    }

    /// Follows pointer members: `reg = reg->a->b…`.
    pub(super) fn chase(&mut self, reg: Reg, steps: &[(&str, &str)], typed: bool) -> Lowered<()> {
        for (structure, member) in steps {
            let off = self.offset(structure, member)?;
            self.load(Size::D, reg, reg, off, typed);
        }
        Ok(())
    }

    /// `dst =` the current task; `true` if its members load directly.
    pub(super) fn current_task(&mut self, dst: Reg) -> bool {
        let typed = self.kernel.task_btf() && self.typed_flavour();
        self.asm.call(if typed { Helper::CurrentTaskBtf } else { Helper::CurrentTask });
        self.asm.mov(dst, R0);
        typed
    }

    fn typed_flavour(&self) -> bool {
        use api::artefact::Flavour::*;
        matches!(self.program.attach.flavour(), Fentry | Fexit | FmodRet | Lsm | TpBtf)
    }

    /// Jumps to `target` if the last probe read failed; direct loads cannot fail.
    pub(super) fn jump_if_unread(&mut self, typed: bool, target: Label) {
        if !typed {
            self.asm.jump_if(crate::emit::Cond::Ne, R0, 0, target);
        }
    }
}
