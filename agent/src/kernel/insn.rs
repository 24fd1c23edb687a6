//! In: what a small program should do. Out: its instructions, as bytes.
//!
//! Only what the probe's trial programs and the tests need; policies are compiled elsewhere.

/// Size of one instruction, bytes.
pub const INSN_SIZE: usize = 8;
/// Opcode of the two-slot load of a 64-bit immediate.
pub const LD_IMM64: u8 = 0x18;

/// `struct bpf_insn`.
pub const fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> [u8; INSN_SIZE] {
    let off = off.to_le_bytes();
    let imm = imm.to_le_bytes();
    [code, src << 4 | dst, off[0], off[1], imm[0], imm[1], imm[2], imm[3]]
}

/// `dst = imm`.
pub const fn mov_imm(dst: u8, imm: i32) -> [u8; INSN_SIZE] {
    insn(0xb7, dst, 0, 0, imm)
}

/// `dst = src`.
pub const fn mov(dst: u8, src: u8) -> [u8; INSN_SIZE] {
    insn(0xbf, dst, src, 0, 0)
}

/// `dst += imm`.
pub const fn add_imm(dst: u8, imm: i32) -> [u8; INSN_SIZE] {
    insn(0x07, dst, 0, 0, imm)
}

/// `*(u32 *)(dst + off) = imm`.
pub const fn store32_imm(dst: u8, off: i16, imm: i32) -> [u8; INSN_SIZE] {
    insn(0x62, dst, 0, off, imm)
}

/// `*(u64 *)(dst + off) = imm`.
pub const fn store64_imm(dst: u8, off: i16, imm: i32) -> [u8; INSN_SIZE] {
    insn(0x7a, dst, 0, off, imm)
}

/// `dst = *(u32 *)(src + off)`.
pub const fn load32(dst: u8, src: u8, off: i16) -> [u8; INSN_SIZE] {
    insn(0x61, dst, src, off, 0)
}

/// `if dst == imm goto off`.
pub const fn jeq_imm(dst: u8, imm: i32, off: i16) -> [u8; INSN_SIZE] {
    insn(0x15, dst, 0, off, imm)
}

/// `if dst != imm goto off`.
pub const fn jne_imm(dst: u8, imm: i32, off: i16) -> [u8; INSN_SIZE] {
    insn(0x55, dst, 0, off, imm)
}

/// `lock *(u64 *)(dst + off) += src`.
pub const fn atomic_add64(dst: u8, off: i16, src: u8) -> [u8; INSN_SIZE] {
    insn(0xdb, dst, src, off, 0)
}

/// `r0 = cmpxchg((u64 *)(dst + off), r0, src)`; kernels before 5.12 refuse it.
pub const fn cmpxchg64(dst: u8, off: i16, src: u8) -> [u8; INSN_SIZE] {
    insn(0xdb, dst, src, off, 0xf1)
}

/// Calls a helper by its number.
pub const fn call(helper: i32) -> [u8; INSN_SIZE] {
    insn(0x85, 0, 0, 0, helper)
}

/// Returns r0.
pub const fn exit() -> [u8; INSN_SIZE] {
    insn(0x95, 0, 0, 0, 0)
}

/// `dst = the map with this number`.
pub const fn load_map(dst: u8, number: i32) -> [[u8; INSN_SIZE]; 2] {
    [insn(LD_IMM64, dst, 1, 0, number), insn(0, 0, 0, 0, 0)]
}

/// `dst = address of the first value of the array map with this number`.
pub const fn load_map_value(dst: u8, number: i32) -> [[u8; INSN_SIZE]; 2] {
    [insn(LD_IMM64, dst, 2, 0, number), insn(0, 0, 0, 0, 0)]
}
