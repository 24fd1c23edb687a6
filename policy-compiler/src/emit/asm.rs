//! In: one call per instruction, from `lower`. Out: a list of [`Insn`] with labels, for [`super::finish`].
//!
//! Encoding: kernel `Documentation/bpf/standardization/instruction-set.rst`, ISA v3 (kernel 5.10 has all of it
//! but the atomic fetch instructions, which are 5.12).

use api::artefact::{RelocKind, SharedMap};

/// A register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reg(pub u8);

/// Return values, scratch.
pub const R0: Reg = Reg(0);
/// Arguments and scratch.
pub const R1: Reg = Reg(1);
/// Arguments and scratch.
pub const R2: Reg = Reg(2);
/// Arguments and scratch.
pub const R3: Reg = Reg(3);
/// Arguments and scratch.
pub const R4: Reg = Reg(4);
/// Arguments and scratch.
pub const R5: Reg = Reg(5);
/// Kept over calls.
pub const R6: Reg = Reg(6);
/// Kept over calls.
pub const R7: Reg = Reg(7);
/// Kept over calls.
pub const R8: Reg = Reg(8);
/// Kept over calls.
pub const R9: Reg = Reg(9);
/// Frame pointer.
pub const FP: Reg = Reg(10);

/// A place in the program, bound once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Label(pub(super) u32);

/// Width of a memory access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Size {
    /// 1 byte.
    B = 0x10,
    /// 2 bytes.
    H = 0x08,
    /// 4 bytes.
    W = 0x00,
    /// 8 bytes.
    D = 0x18,
}

impl Size {
    /// Bytes.
    pub fn bytes(self) -> u8 {
        match self {
            Size::B => 1,
            Size::H => 2,
            Size::W => 4,
            Size::D => 8,
        }
    }

    /// The width of `bytes`, if there is one.
    pub fn of(bytes: u32) -> Option<Size> {
        match bytes {
            1 => Some(Size::B),
            2 => Some(Size::H),
            4 => Some(Size::W),
            8 => Some(Size::D),
            _ => None,
        }
    }
}

/// Arithmetic, 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Alu {
    /// Add.
    Add = 0x00,
    /// Subtract.
    Sub = 0x10,
    /// Multiply.
    Mul = 0x20,
    /// Bitwise or.
    Or = 0x40,
    /// Bitwise and.
    And = 0x50,
    /// Shift left.
    Lsh = 0x60,
    /// Logical shift right.
    Rsh = 0x70,
    /// Bitwise exclusive or.
    Xor = 0xa0,
    /// Copy.
    Mov = 0xb0,
    /// Arithmetic shift right.
    Arsh = 0xc0,
}

/// Condition of a jump, 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cond {
    /// Equal.
    Eq = 0x10,
    /// Unsigned greater.
    Gt = 0x20,
    /// Unsigned greater or equal.
    Ge = 0x30,
    /// A common bit.
    Set = 0x40,
    /// Not equal.
    Ne = 0x50,
    /// Signed greater.
    Sgt = 0x60,
    /// Signed greater or equal.
    Sge = 0x70,
    /// Unsigned less.
    Lt = 0xa0,
    /// Unsigned less or equal.
    Le = 0xb0,
    /// Signed less.
    Slt = 0xc0,
    /// Signed less or equal.
    Sle = 0xd0,
}

/// One instruction (a two-slot load is one entry).
#[derive(Debug, Clone, PartialEq)]
pub struct Insn {
    /// Opcode byte.
    pub op: u8,
    /// Destination register.
    pub dst: u8,
    /// Source register or pseudo source.
    pub src: u8,
    /// Offset of a memory access.
    pub off: i16,
    /// Immediate; all 64 bits only for a two-slot load.
    pub imm: i64,
    /// Target of a jump or of a call within the program.
    pub target: Option<Label>,
    /// What the agent fills into `imm`.
    pub reloc: Option<(RelocKind, u32)>,
}

const OP_LD_IMM64: u8 = 0x18;
const OP_CALL: u8 = 0x85;
const OP_EXIT: u8 = 0x95;
const OP_JA: u8 = 0x05;

impl Insn {
    fn new(op: u8, dst: Reg, src: u8, off: i16, imm: i64) -> Insn {
        Insn { op, dst: dst.0, src, off, imm, target: None, reloc: None }
    }

    /// Number of 8-byte slots.
    pub fn slots(&self) -> usize {
        if self.op == OP_LD_IMM64 { 2 } else { 1 }
    }

    /// Whether control never continues at the next instruction.
    pub fn ends(&self) -> bool {
        self.op == OP_EXIT || self.op == OP_JA
    }

    /// Whether this calls a function of the same program.
    pub fn is_local_call(&self) -> bool {
        self.op == OP_CALL && self.src == 1
    }
}

/// A program under construction.
#[derive(Debug, Default)]
pub struct Asm {
    pub(super) insns: Vec<Insn>,
    /// Instruction index of each label once bound.
    pub(super) labels: Vec<Option<usize>>,
    /// Source path by first instruction index.
    pub(super) sources: Vec<(usize, String)>,
}

impl Asm {
    /// An empty program.
    pub fn new() -> Asm {
        Asm::default()
    }

    /// From here on, instructions come from this policy path.
    pub fn source(&mut self, path: impl Into<String>) {
        self.sources.push((self.insns.len(), path.into()));
    }

    /// A new label, to be bound later.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() as u32 - 1)
    }

    /// Binds `label` to the next instruction.
    pub fn bind(&mut self, label: Label) {
        self.labels[label.0 as usize] = Some(self.insns.len());
    }

    fn push(&mut self, insn: Insn) {
        self.insns.push(insn);
    }

    /// `dst = op(dst, imm)`.
    pub fn alu(&mut self, op: Alu, dst: Reg, imm: i32) {
        self.push(Insn::new(0x07 | op as u8, dst, 0, 0, i64::from(imm)));
    }

    /// `dst = op(dst, src)`.
    pub fn alu_reg(&mut self, op: Alu, dst: Reg, src: Reg) {
        self.push(Insn::new(0x0f | op as u8, dst, src.0, 0, 0));
    }

    /// 32-bit `dst = dst` (zero-extends).
    pub fn zext32(&mut self, dst: Reg) {
        self.push(Insn::new(0x0c | Alu::Mov as u8, dst, dst.0, 0, 0));
    }

    /// Converts the low `bits` (16, 32 or 64) from big-endian to host order, zero-extending.
    pub fn from_be(&mut self, dst: Reg, bits: i32) {
        self.push(Insn::new(0xdc, dst, 0, 0, i64::from(bits)));
    }

    /// `dst = src`.
    pub fn mov(&mut self, dst: Reg, src: Reg) {
        self.alu_reg(Alu::Mov, dst, src);
    }

    /// `dst = imm`, by the shortest instruction.
    pub fn mov_imm(&mut self, dst: Reg, imm: u64) {
        match i32::try_from(imm as i64) {
            Ok(short) => self.alu(Alu::Mov, dst, short),
            Err(_) => self.push(Insn::new(OP_LD_IMM64, dst, 0, 0, imm as i64)),
        }
    }

    /// `dst &= imm`, over `tmp` where the immediate is long.
    pub fn and_imm(&mut self, dst: Reg, imm: u64, tmp: Reg) {
        match i32::try_from(imm as i64) {
            Ok(short) => self.alu(Alu::And, dst, short),
            Err(_) => {
                self.mov_imm(tmp, imm);
                self.alu_reg(Alu::And, dst, tmp);
            }
        }
    }

    /// `dst = *(size *)(src + off)`.
    pub fn load(&mut self, size: Size, dst: Reg, src: Reg, off: i16) {
        self.push(Insn::new(0x61 | size as u8, dst, src.0, off, 0));
    }

    /// `*(size *)(dst + off) = src`.
    pub fn store(&mut self, size: Size, dst: Reg, off: i16, src: Reg) {
        self.push(Insn::new(0x63 | size as u8, dst, src.0, off, 0));
    }

    /// `*(size *)(dst + off) = imm`.
    pub fn store_imm(&mut self, size: Size, dst: Reg, off: i16, imm: i32) {
        self.push(Insn::new(0x62 | size as u8, dst, 0, off, i64::from(imm)));
    }

    /// Atomic `*(u64 *)(dst + off) += src`.
    pub fn atomic_add(&mut self, dst: Reg, off: i16, src: Reg) {
        self.push(Insn::new(0xdb, dst, src.0, off, 0));
    }

    /// Atomic compare and exchange of 8 bytes at `dst + off`: if equal to r0 becomes `src`; r0 = old value.
    pub fn cmpxchg(&mut self, dst: Reg, off: i16, src: Reg) {
        self.push(Insn::new(0xdb, dst, src.0, off, 0xf1));
    }

    /// Jump if `cond(dst, imm)`.
    pub fn jump_if(&mut self, cond: Cond, dst: Reg, imm: i32, target: Label) {
        let mut insn = Insn::new(0x05 | cond as u8, dst, 0, 0, i64::from(imm));
        insn.target = Some(target);
        self.push(insn);
    }

    /// Jump if `cond(dst, src)`.
    pub fn jump_if_reg(&mut self, cond: Cond, dst: Reg, src: Reg, target: Label) {
        let mut insn = Insn::new(0x0d | cond as u8, dst, src.0, 0, 0);
        insn.target = Some(target);
        self.push(insn);
    }

    /// Jump if `cond(low 32 bits of dst, imm)`.
    pub fn jump32_if(&mut self, cond: Cond, dst: Reg, imm: i32, target: Label) {
        let mut insn = Insn::new(0x06 | cond as u8, dst, 0, 0, i64::from(imm));
        insn.target = Some(target);
        self.push(insn);
    }

    /// Jump if `cond(dst, imm)` for any immediate, over `tmp` where it is long.
    pub fn jump_if_imm(&mut self, cond: Cond, dst: Reg, imm: u64, tmp: Reg, target: Label) {
        match i32::try_from(imm as i64) {
            Ok(short) => self.jump_if(cond, dst, short, target),
            Err(_) => {
                self.mov_imm(tmp, imm);
                self.jump_if_reg(cond, dst, tmp, target);
            }
        }
    }

    /// Unconditional jump.
    pub fn jump(&mut self, target: Label) {
        let mut insn = Insn::new(OP_JA, R0, 0, 0, 0);
        insn.target = Some(target);
        self.push(insn);
    }

    /// Calls a helper function: arguments in r1..r5, result in r0.
    pub fn call(&mut self, helper: crate::lower::Helper) {
        self.push(Insn::new(OP_CALL, R0, 0, 0, helper as i64));
    }

    /// Calls a function of this program.
    pub fn call_local(&mut self, target: Label) {
        let mut insn = Insn::new(OP_CALL, R0, 1, 0, 0);
        insn.target = Some(target);
        self.push(insn);
    }

    /// Returns r0.
    pub fn exit(&mut self) {
        self.push(Insn::new(OP_EXIT, R0, 0, 0, 0));
    }

    /// `dst =` a map that all programs share.
    pub fn shared_map(&mut self, dst: Reg, map: SharedMap) {
        self.map(dst, RelocKind::SharedMap, map as u32);
    }

    /// `dst =` a map of this program.
    pub fn private_map(&mut self, dst: Reg, index: u32) {
        self.map(dst, RelocKind::PrivateMap, index);
    }

    fn map(&mut self, dst: Reg, kind: RelocKind, index: u32) {
        // src 1: BPF_PSEUDO_MAP_FD.
        let mut insn = Insn::new(OP_LD_IMM64, dst, 1, 0, 0);
        insn.reloc = Some((kind, index));
        self.push(insn);
    }

    /// `dst =` a 64-bit value that only the agent knows.
    pub fn mov_reloc64(&mut self, dst: Reg, kind: RelocKind, index: u32) {
        let mut insn = Insn::new(OP_LD_IMM64, dst, 0, 0, 0);
        insn.reloc = Some((kind, index));
        self.push(insn);
    }

    /// `dst = op(dst, value that only the agent knows)`.
    pub fn alu_reloc(&mut self, op: Alu, dst: Reg, kind: RelocKind, index: u32) {
        self.alu(op, dst, 0);
        if let Some(last) = self.insns.last_mut() {
            last.reloc = Some((kind, index));
        }
    }

    /// Jump if `cond(dst, value that only the agent knows)`.
    pub fn jump_if_reloc(&mut self, cond: Cond, dst: Reg, kind: RelocKind, index: u32, target: Label) {
        self.jump_if(cond, dst, 0, target);
        if let Some(last) = self.insns.last_mut() {
            last.reloc = Some((kind, index));
        }
    }

    /// `*(u32 *)(dst + off) =` a value that only the agent knows.
    pub fn store_reloc(&mut self, dst: Reg, off: i16, kind: RelocKind, index: u32) {
        self.store_imm(Size::W, dst, off, 0);
        if let Some(last) = self.insns.last_mut() {
            last.reloc = Some((kind, index));
        }
    }
}
