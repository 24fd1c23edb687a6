//! In: a program. Out: what the kernel refuses at first sight: bad jumps, unreachable instructions, instructions
//! that the oldest supported kernel does not have.

use super::Trap;
use super::insn::{CALL, EXIT, Insn, JA, JMP32, JMP64, LD, LD_IMM64, LDX, MODE_ATOMIC, MODE_MEM, ST, STX};

/// Checks all instructions.
pub fn check(program: &[Insn]) -> Result<(), Trap> {
    let second_slots = second_slots(program)?;
    let trap = |pc: usize, what: &str| Trap { pc, what: what.to_owned() };
    let mut reached = vec![false; program.len()];
    let mut open = vec![0usize];
    while let Some(pc) = open.pop() {
        let Some(insn) = program.get(pc) else { return Err(trap(pc, "runs past the end")) };
        if second_slots[pc] {
            return Err(trap(pc, "jumps into a 64-bit immediate"));
        }
        if std::mem::replace(&mut reached[pc], true) {
            continue;
        }
        known(*insn).map_err(|what| trap(pc, what))?;
        let target = |offset: i64| {
            usize::try_from(pc as i64 + 1 + offset).map_err(|_| trap(pc, "jumps before the start"))
        };
        match insn.code {
            EXIT => {}
            LD_IMM64 => {
                reached[pc + 1] = true;
                open.push(pc + 2);
            }
            CALL => {
                if insn.src == 1 {
                    open.push(target(i64::from(insn.imm))?);
                }
                open.push(pc + 1);
            }
            JA => open.push(target(i64::from(insn.off))?),
            _ if insn.is_jump() => open.extend([pc + 1, target(i64::from(insn.off))?]),
            _ => open.push(pc + 1),
        }
    }
    match reached.iter().position(|reached| !reached) {
        Some(pc) => Err(trap(pc, "cannot be reached")),
        None => Ok(()),
    }
}

fn second_slots(program: &[Insn]) -> Result<Vec<bool>, Trap> {
    let mut second = vec![false; program.len()];
    let mut pc = 0;
    while pc < program.len() {
        let wide = program[pc].code == LD_IMM64;
        if wide {
            let tail = program.get(pc + 1).filter(|i| i.code == 0 && i.dst == 0 && i.src == 0 && i.off == 0);
            if tail.is_none() {
                return Err(Trap { pc, what: "a 64-bit immediate lacks its second half".to_owned() });
            }
            second[pc + 1] = true;
        }
        pc += if wide { 2 } else { 1 };
    }
    Ok(second)
}

/// Encodings of the third instruction set version, which 5.10 has, and the atomic ones after it.
fn known(insn: Insn) -> Result<(), &'static str> {
    if insn.dst > 10 || insn.src > 10 {
        return Err("names a register that does not exist");
    }
    match insn.class() {
        LD if insn.code != LD_IMM64 => Err("is a packet load"),
        LD => Ok(()),
        LDX | ST if insn.mode() != MODE_MEM => Err("is not a plain load or store"),
        STX if !matches!(insn.mode(), MODE_MEM | MODE_ATOMIC) => Err("is not a plain or atomic store"),
        LDX | ST | STX => Ok(()),
        JMP64 | JMP32 => jump_known(insn),
        _ => alu_known(insn),
    }
}

fn jump_known(insn: Insn) -> Result<(), &'static str> {
    match insn.op() {
        0x00 | 0x80 | 0x90 if insn.class() == JMP32 => Err("is a 32-bit jump, call or exit"),
        0x80 if insn.by_register() || insn.off != 0 || insn.src > 1 => Err("is not a plain call"),
        0x00 | 0x90 if insn.imm != 0 || insn.dst != 0 || insn.src != 0 => Err("has reserved fields set"),
        0xe0.. => Err("is no known jump"),
        _ if insn.by_register() && insn.imm != 0 => Err("has an immediate beside a register"),
        _ => Ok(()),
    }
}

fn alu_known(insn: Insn) -> Result<(), &'static str> {
    let wide = insn.class() == super::insn::ALU64;
    match insn.op() {
        0xe0.. => Err("is no known arithmetic"),
        0xd0 if wide => Err("is a byte swap that kernels before 6.6 lack"),
        0xd0 if !matches!(insn.imm, 16 | 32 | 64) => Err("swaps an odd width"),
        _ if insn.off != 0 => Err("is signed arithmetic that kernels before 6.6 lack"),
        0x30 | 0x90 if !insn.by_register() && insn.imm == 0 => Err("divides by zero"),
        0x60 | 0x70 | 0xc0 if !insn.by_register() && !(0..if wide { 64 } else { 32 }).contains(&insn.imm) => {
            Err("shifts by more than the width")
        }
        op if insn.by_register() && insn.imm != 0 && op != 0xd0 => Err("has an immediate beside a register"),
        _ => Ok(()),
    }
}
