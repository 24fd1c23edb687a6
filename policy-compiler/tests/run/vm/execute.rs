//! In: a program and the address of its context. Out: its [`Outcome`].

use super::insn::{ALU32, ALU64, CALL, EXIT, Insn, JMP32, LD_IMM64, LDX, MODE_ATOMIC, ST};
use super::memory::{KERNEL_START, Kind, NULL_PAGE};
use super::{Outcome, Trap, Vm};
use api::artefact::Flavour;

const FRAMES: usize = 8;
/// Bytes of all frames of a call chain together.
const STACK: usize = 512;
const STACK_START: u64 = 0xffff_c000_0000_0000;
/// More than any program here needs; the kernel's own limit is on what it verifies.
const INSTRUCTIONS: u64 = 4_000_000;
/// A map's handle in a register: this plus its number times 256. Nothing is there to read.
pub const MAP_HANDLES: u64 = 0xffff_e000_0000_0000;

/// Registers; `None` is never written.
type Registers = [Option<u64>; 11];

struct Frame {
    saved: [Option<u64>; 4],
    back: usize,
    /// Lowest stack byte that was touched, as depth.
    depth: usize,
    /// Depth of the deepest call chain below.
    below: usize,
}

pub(super) struct Cpu<'a> {
    pub(super) vm: &'a mut Vm,
    pub(super) registers: Registers,
    frames: Vec<Frame>,
    pc: usize,
    /// Records that are reserved and neither submitted nor discarded.
    pub(super) reserved: Vec<u64>,
    /// Number of records ever reserved in this run; each has its own address.
    pub(super) reservations: u64,
}

impl Vm {
    /// Runs a program to its end.
    pub fn run(&mut self, program: &[Insn], ctx: u64) -> Result<Outcome, Trap> {
        let mut cpu = Cpu {
            vm: self,
            registers: [None; 11],
            frames: Vec::new(),
            pc: 0,
            reserved: Vec::new(),
            reservations: 0,
        };
        let outcome = cpu.run(program, ctx);
        let pc = cpu.pc;
        for depth in 0..cpu.frames.len() {
            cpu.vm.memory.remove(stack_base(depth));
        }
        outcome.map_err(|what| Trap { pc, what })
    }
}

fn stack_base(depth: usize) -> u64 {
    STACK_START + depth as u64 * 0x1000
}

impl Cpu<'_> {
    fn run(&mut self, program: &[Insn], ctx: u64) -> Result<Outcome, String> {
        self.registers[1] = Some(ctx);
        self.enter(0)?;
        for instructions in 1..=INSTRUCTIONS {
            let insn = *program.get(self.pc).ok_or("runs past the end")?;
            if insn.code == EXIT {
                let ret = self.read(0)?;
                if self.leave()? {
                    if !self.reserved.is_empty() {
                        return Err("ends with a record reserved".to_owned());
                    }
                    return Ok(Outcome { ret, instructions });
                }
                continue;
            }
            if insn.code == LD_IMM64 {
                let next = program.get(self.pc + 1).ok_or("runs past the end")?;
                let value = self.wide_immediate(insn, next.imm)?;
                self.write(insn.dst, value)?;
                self.pc += 2;
                continue;
            }
            self.step(insn)?;
        }
        Err(format!("has not ended after {INSTRUCTIONS} instructions"))
    }

    fn step(&mut self, insn: Insn) -> Result<(), String> {
        let next = match insn.class() {
            ALU32 | ALU64 => self.arithmetic(insn).map(|()| 0)?,
            super::insn::JMP64 | JMP32 if insn.code == CALL => return self.call(insn),
            super::insn::JMP64 | JMP32 => {
                if self.taken(insn)? {
                    isize::from(insn.off)
                } else {
                    0
                }
            }
            _ => self.access(insn).map(|()| 0)?,
        };
        self.pc = self.pc.checked_add_signed(next + 1).ok_or("jumps before the start")?;
        Ok(())
    }

    pub(super) fn read(&self, register: u8) -> Result<u64, String> {
        self.registers[usize::from(register)].ok_or_else(|| format!("reads r{register}, which nobody wrote"))
    }

    fn write(&mut self, register: u8, value: u64) -> Result<(), String> {
        if register == 10 {
            return Err("writes the frame pointer".to_owned());
        }
        self.registers[usize::from(register)] = Some(value);
        Ok(())
    }

    fn enter(&mut self, back: usize) -> Result<(), String> {
        if self.frames.len() == FRAMES {
            return Err(format!("calls deeper than {FRAMES}"));
        }
        let base = stack_base(self.frames.len());
        // Uninitialised stack is not zero.
        self.vm.memory.add(base, Kind::Stack, vec![0xa5; STACK]);
        let saved = [6, 7, 8, 9].map(|r: usize| self.registers[r]);
        self.frames.push(Frame { saved, back, depth: 0, below: 0 });
        self.registers[6..10].fill(None);
        self.registers[0] = None;
        self.registers[10] = Some(base + STACK as u64);
        Ok(())
    }

    /// Leaves the innermost frame; true when it was the last.
    fn leave(&mut self) -> Result<bool, String> {
        let frame = self.frames.pop().ok_or("leaves no frame")?;
        self.vm.memory.remove(stack_base(self.frames.len()));
        // The kernel rounds frames up to 32 bytes, and an unused one counts as that.
        let total = frame.depth.max(1).next_multiple_of(32) + frame.below;
        if total > STACK {
            return Err(format!("uses {total} bytes of stack over all frames"));
        }
        self.registers[6..10].copy_from_slice(&frame.saved);
        self.registers[1..6].fill(None);
        let Some(caller) = self.frames.last_mut() else { return Ok(true) };
        caller.below = caller.below.max(total);
        self.registers[10] = Some(stack_base(self.frames.len() - 1) + STACK as u64);
        self.pc = frame.back;
        Ok(false)
    }

    fn call(&mut self, insn: Insn) -> Result<(), String> {
        if insn.src == 1 {
            self.enter(self.pc + 1)?;
            self.pc = self.pc.checked_add_signed(insn.imm as isize + 1).ok_or("calls before the start")?;
            return Ok(());
        }
        let result = self.helper(insn.imm as u32)?;
        self.registers[1..6].fill(None);
        self.registers[0] = Some(result as u64);
        self.pc += 1;
        Ok(())
    }

    fn wide_immediate(&mut self, insn: Insn, high: i32) -> Result<u64, String> {
        match insn.src {
            0 => Ok(u64::from(insn.imm as u32) | u64::from(high as u32) << 32),
            1 if (insn.imm as usize) < self.vm.maps.len() => Ok(MAP_HANDLES + (insn.imm as u64) * 256),
            2 => {
                let cpu = self.vm.around.cpu as usize;
                let map = self.vm.maps.get_mut(insn.imm as usize).ok_or("names no map")?;
                Ok(map.lookup(&mut self.vm.memory, &[0; 4], cpu).wrapping_add(high as u32 as u64))
            }
            other => Err(format!("loads an unknown kind of immediate {other}")),
        }
    }

    fn arithmetic(&mut self, insn: Insn) -> Result<(), String> {
        let wide = insn.class() == ALU64;
        const MOV: u8 = 0xb0;
        const NEG: u8 = 0x80;
        const END: u8 = 0xd0;
        let source = match insn.op() {
            NEG | END => 0,
            _ if insn.by_register() => self.read(insn.src)?,
            _ => insn.imm as i64 as u64,
        };
        let old = if insn.op() == MOV { 0 } else { self.read(insn.dst)? };
        let value = match insn.op() {
            END => swap(old, insn.by_register(), insn.imm)?,
            op if wide => alu64(op, old, source)?,
            op => u64::from(alu32(op, old as u32, source as u32)?),
        };
        self.write(insn.dst, value)
    }

    fn taken(&self, insn: Insn) -> Result<bool, String> {
        if insn.op() == 0 {
            return Ok(true);
        }
        let (mut a, mut b) = (self.read(insn.dst)?, insn.imm as i64 as u64);
        if insn.by_register() {
            b = self.read(insn.src)?;
        }
        let (mut sa, mut sb) = (a as i64, b as i64);
        if insn.class() == JMP32 {
            (a, b) = (u64::from(a as u32), u64::from(b as u32));
            (sa, sb) = (i64::from(a as i32), i64::from(b as i32));
        }
        Ok(match insn.op() {
            0x10 => a == b,
            0x20 => a > b,
            0x30 => a >= b,
            0x40 => a & b != 0,
            0x50 => a != b,
            0x60 => sa > sb,
            0x70 => sa >= sb,
            0xa0 => a < b,
            0xb0 => a <= b,
            0xc0 => sa < sb,
            0xd0 => sa <= sb,
            op => return Err(format!("is an unknown jump {op:#x}")),
        })
    }

    fn access(&mut self, insn: Insn) -> Result<(), String> {
        let size = insn.size();
        let pointer = if insn.class() == LDX { insn.src } else { insn.dst };
        let addr = self.read(pointer)?.wrapping_add_signed(i64::from(insn.off));
        if insn.class() == LDX {
            let value = self.load(addr, size)?;
            return self.write(insn.dst, value);
        }
        self.touch(addr, size)?;
        let value = if insn.class() == ST { insn.imm as i64 as u64 } else { self.read(insn.src)? };
        if insn.class() != ST && insn.mode() == MODE_ATOMIC {
            return self.atomic(insn, addr, value);
        }
        self.vm.memory.write(addr, &value.to_le_bytes()[..size])
    }

    /// Rules of stack accesses: aligned, and counted for the depth.
    pub(super) fn touch(&mut self, addr: u64, size: usize) -> Result<(), String> {
        let Some((Kind::Stack, base, offset)) = self.vm.memory.locate(addr, size) else { return Ok(()) };
        if size <= 8 && size.is_power_of_two() && offset % size != 0 {
            return Err(format!("accesses {size} bytes of stack at {offset}, not aligned"));
        }
        if let Some(frame) = self.frames.get_mut(((base - STACK_START) / 0x1000) as usize) {
            frame.depth = frame.depth.max(STACK - offset);
        }
        Ok(())
    }

    fn load(&mut self, addr: u64, size: usize) -> Result<u64, String> {
        self.touch(addr, size)?;
        let typed = self.vm.typed();
        match self.vm.memory.locate(addr, size) {
            None if typed && !(NULL_PAGE..KERNEL_START).contains(&addr) => return Ok(0),
            Some((Kind::Kernel, ..)) if !typed => {
                return Err(format!("loads kernel memory at {addr:#x} without bpf_probe_read_kernel"));
            }
            Some((Kind::User, ..)) => return Err(format!("loads user memory at {addr:#x}")),
            Some((Kind::Ctx, _, offset)) => ctx_rule(self.vm.around.flavour, offset, size)?,
            _ => {}
        }
        let mut value = [0; 8];
        value[..size].copy_from_slice(self.vm.memory.read(addr, size)?);
        Ok(u64::from_le_bytes(value))
    }

    fn atomic(&mut self, insn: Insn, addr: u64, source: u64) -> Result<(), String> {
        let size = insn.size();
        if size < 4 || !addr.is_multiple_of(size as u64) {
            return Err("is an atomic access that is not aligned".to_owned());
        }
        const FETCH: i32 = 1;
        const XCHG: i32 = 0xe1;
        const CMPXCHG: i32 = 0xf1;
        if insn.imm != 0 && !self.vm.around.atomic_fetch {
            return Err("is an atomic instruction that this kernel lacks".to_owned());
        }
        let old = self.load(addr, size)?;
        let cut = |value: u64| if size == 4 { u64::from(value as u32) } else { value };
        let new = match insn.imm & !FETCH {
            _ if insn.imm == XCHG => source,
            _ if insn.imm == CMPXCHG => {
                if cut(self.read(0)?) == old {
                    source
                } else {
                    old
                }
            }
            0x00 => old.wrapping_add(source),
            0x40 => old | source,
            0x50 => old & source,
            0xa0 => old ^ source,
            other => return Err(format!("is an unknown atomic operation {other:#x}")),
        };
        self.vm.memory.write(addr, &new.to_le_bytes()[..size])?;
        match insn.imm {
            CMPXCHG => self.write(0, old),
            imm if imm & FETCH != 0 => self.write(insn.src, old),
            _ => Ok(()),
        }
    }
}

/// What each program type may load of its context.
fn ctx_rule(flavour: Flavour, offset: usize, size: usize) -> Result<(), String> {
    let fine = match flavour {
        Flavour::Kprobe | Flavour::Kretprobe => offset.is_multiple_of(size),
        // The first word of a tracepoint's record belongs to perf.
        Flavour::Tracepoint => offset.is_multiple_of(size) && offset >= 8,
        _ => size == 8 && offset.is_multiple_of(8),
    };
    fine.then_some(()).ok_or_else(|| format!("loads {size} bytes of its context at {offset}"))
}

fn swap(value: u64, to_big: bool, width: i32) -> Result<u64, String> {
    Ok(match (width, to_big) {
        (16, false) => u64::from(value as u16),
        (32, false) => u64::from(value as u32),
        (64, false) => value,
        (16, true) => u64::from((value as u16).swap_bytes()),
        (32, true) => u64::from((value as u32).swap_bytes()),
        (64, true) => value.swap_bytes(),
        _ => return Err(format!("swaps {width} bits")),
    })
}

fn alu64(op: u8, a: u64, b: u64) -> Result<u64, String> {
    Ok(match op {
        0x00 => a.wrapping_add(b),
        0x10 => a.wrapping_sub(b),
        0x20 => a.wrapping_mul(b),
        0x30 => a.checked_div(b).unwrap_or(0),
        0x40 => a | b,
        0x50 => a & b,
        0x60 => a.wrapping_shl(b as u32),
        0x70 => a.wrapping_shr(b as u32),
        0x80 => a.wrapping_neg(),
        0x90 => a.checked_rem(b).unwrap_or(a),
        0xa0 => a ^ b,
        0xb0 => b,
        0xc0 => (a as i64).wrapping_shr(b as u32) as u64,
        _ => return Err(format!("is unknown arithmetic {op:#x}")),
    })
}

fn alu32(op: u8, a: u32, b: u32) -> Result<u32, String> {
    Ok(match op {
        0x60 => a.wrapping_shl(b),
        0x70 => a.wrapping_shr(b),
        0xc0 => (a as i32).wrapping_shr(b) as u32,
        op => alu64(op, u64::from(a), u64::from(b))? as u32,
    })
}
