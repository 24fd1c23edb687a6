//! In: an artefact's instruction bytes. Out: readable text with policy paths, for `ferra policy explain` and goldens.

use api::artefact::{Artefact, RelocKind, SharedMap};
use std::fmt::Write;

/// One line per instruction, each run headed by where it came from.
pub fn listing(artefact: &Artefact) -> String {
    let mut out = String::new();
    let mut sources = artefact.source_map.iter().peekable();
    let mut at = 0usize;
    while let Some(slot) = artefact.insns.get(at * 8..at * 8 + 8) {
        while let Some(span) = sources.next_if(|span| span.insn as usize <= at) {
            let _ = writeln!(out, "; {}", span.path);
        }
        let wide = slot.first() == Some(&0x18);
        let high = artefact.insns.get(at * 8 + 12..at * 8 + 16).filter(|_| wide);
        let _ = writeln!(out, "{at:5}: {}", line(artefact, at, slot, high));
        at += if wide { 2 } else { 1 };
    }
    out
}

fn line(artefact: &Artefact, at: usize, slot: &[u8], high: Option<&[u8]>) -> String {
    let byte = |i: usize| slot.get(i).copied().unwrap_or(0);
    let (op, dst, src) = (byte(0), byte(1) & 15, byte(1) >> 4);
    let off = i16::from_le_bytes([byte(2), byte(3)]);
    let imm = i32::from_le_bytes([byte(4), byte(5), byte(6), byte(7)]);
    let imm_text = reloc(artefact, at).unwrap_or_else(|| imm.to_string());
    let to = at as i64 + 1 + i64::from(off);
    let size = ["u32", "u16", "u8", "u64"].get(usize::from(op >> 3 & 3)).copied().unwrap_or("?");
    match op & 7 {
        0 if op == 0x18 => {
            let high = high.and_then(|high| high.try_into().ok()).map_or(0, u32::from_le_bytes);
            let value = u64::from(high) << 32 | u64::from(imm as u32);
            format!("r{dst} = {}", reloc(artefact, at).unwrap_or_else(|| format!("{value:#x}")))
        }
        1 => format!("r{dst} = *({size} *)(r{src} {off:+})"),
        2 => format!("*({size} *)(r{dst} {off:+}) = {imm_text}"),
        3 if op & 0xe0 == 0xc0 => match imm {
            0xf1 => format!("r0 = cmpxchg(*({size} *)(r{dst} {off:+}), r0, r{src})"),
            _ => format!("lock *({size} *)(r{dst} {off:+}) += r{src}"),
        },
        3 => format!("*({size} *)(r{dst} {off:+}) = r{src}"),
        4 | 7 => {
            let (word, operand) =
                (if op & 7 == 4 { "w" } else { "r" }, if op & 8 != 0 { format!("r{src}") } else { imm_text });
            match alu(op) {
                "=" if op == 0xbc => format!("w{dst} = w{src}"),
                "swap" => format!("r{dst} = be{imm} r{dst}"),
                sign => format!("{word}{dst} {sign} {operand}"),
            }
        }
        _ => match op {
            0x85 if src == 1 => format!("call {}", at as i64 + 1 + i64::from(imm)),
            0x85 => format!("call helper#{imm}"),
            0x95 => "exit".to_owned(),
            0x05 => format!("goto {to}"),
            _ => {
                let operand = if op & 8 != 0 { format!("r{src}") } else { imm_text };
                let word = if op & 7 == 6 { "w" } else { "r" };
                format!("if {word}{dst} {} {operand} goto {to}", condition(op))
            }
        },
    }
}

fn alu(op: u8) -> &'static str {
    match op >> 4 {
        0x0 => "+=",
        0x1 => "-=",
        0x2 => "*=",
        0x4 => "|=",
        0x5 => "&=",
        0x6 => "<<=",
        0x7 => ">>=",
        0xa => "^=",
        0xb => "=",
        0xc => "s>>=",
        0xd => "swap",
        _ => "?",
    }
}

fn condition(op: u8) -> &'static str {
    match op >> 4 {
        0x1 => "==",
        0x2 => ">",
        0x3 => ">=",
        0x4 => "&",
        0x5 => "!=",
        0x6 => "s>",
        0x7 => "s>=",
        0xa => "<",
        0xb => "<=",
        0xc => "s<",
        0xd => "s<=",
        _ => "?",
    }
}

fn reloc(artefact: &Artefact, at: usize) -> Option<String> {
    let found = artefact.relocs.binary_search_by_key(&at, |reloc| reloc.insn as usize).ok()?;
    let reloc = artefact.relocs.get(found)?;
    Some(match reloc.kind() {
        RelocKind::SharedMap => format!("map {:?}", SharedMap::try_from(reloc.index as i32).ok()?),
        RelocKind::PrivateMap => format!("map #{}", reloc.index),
        RelocKind::ProgramId => "<program id>".to_owned(),
        RelocKind::ActiveSlot => "<hook slot>".to_owned(),
        RelocKind::PolicyCounters => format!("<counters of hook {}>", reloc.index),
        RelocKind::ProcessSetOffset => format!("<word of process set {}>", reloc.index),
        RelocKind::ProcessSetMask => format!("<bit of process set {}>", reloc.index),
        RelocKind::Unspecified => return None,
    })
}
