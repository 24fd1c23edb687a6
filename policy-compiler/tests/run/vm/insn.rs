//! In: the 8 bytes of one instruction. Out: its fields, for the interpreter and the structure check.

/// One instruction slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Insn {
    pub code: u8,
    pub dst: u8,
    pub src: u8,
    pub off: i16,
    pub imm: i32,
}

pub const LD: u8 = 0;
pub const LDX: u8 = 1;
pub const ST: u8 = 2;
pub const STX: u8 = 3;
pub const ALU32: u8 = 4;
pub const JMP64: u8 = 5;
pub const JMP32: u8 = 6;
pub const ALU64: u8 = 7;

/// Two-slot 64-bit immediate.
pub const LD_IMM64: u8 = 0x18;
pub const CALL: u8 = 0x85;
pub const EXIT: u8 = 0x95;
pub const JA: u8 = 0x05;

pub const MODE_MEM: u8 = 0x60;
pub const MODE_ATOMIC: u8 = 0xc0;

impl Insn {
    pub fn class(self) -> u8 {
        self.code & 7
    }

    /// Operation of arithmetic and jumps.
    pub fn op(self) -> u8 {
        self.code & 0xf0
    }

    /// The second operand is a register.
    pub fn by_register(self) -> bool {
        self.code & 8 != 0
    }

    /// Mode of loads and stores.
    pub fn mode(self) -> u8 {
        self.code & 0xe0
    }

    /// Bytes of loads and stores.
    pub fn size(self) -> usize {
        [4, 2, 1, 8][usize::from(self.code >> 3 & 3)]
    }

    pub fn is_jump(self) -> bool {
        matches!(self.class(), JMP64 | JMP32) && !matches!(self.code, CALL | EXIT)
    }
}

/// Splits a program into instructions.
pub fn decode(bytes: &[u8]) -> Vec<Insn> {
    assert_eq!(bytes.len() % 8, 0, "a program is a whole number of instructions");
    bytes
        .chunks_exact(8)
        .map(|b| Insn {
            code: b[0],
            dst: b[1] & 15,
            src: b[1] >> 4,
            off: i16::from_le_bytes([b[2], b[3]]),
            imm: i32::from_le_bytes([b[4], b[5], b[6], b[7]]),
        })
        .collect()
}
