//! In: BTF. Out: BTF that is still read, mostly, with types that contradict what readers expect: that refer to themselves,
//! that are of another kind, that have members without end.
//!
//! It knows the format by itself: it must not believe what the reader that it tests believes.

use super::mutate::NUMBERS;
use crate::random::Random;

/// Bytes of the header.
const HEADER: usize = 24;
/// Bytes of a type without what follows it.
const TYPE: usize = 12;
/// Most bytes that an edit adds, and to what size it still adds so many.
const GROWTH: usize = 64 << 10;

const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const TYPEDEF: u32 = 8;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;

/// Changes one thing.
pub fn edit(btf: &mut Vec<u8>, random: &mut Random) {
    let types = starts(btf);
    let Some(at) = random.pick(&types).copied() else { return };
    let id = random.below(types.len() + 1) as u32;
    let number = random.pick(&NUMBERS).copied().unwrap_or(0);
    let value = match random.below(4) {
        0 => number,
        1 => types.iter().position(|start| *start == at).map_or(0, |own| own as u32 + 1),
        _ => id,
    };
    match random.below(10) {
        // What it refers to, or its size.
        0 => put(btf, at + 8, value),
        1 => {
            let name = some_string(btf, random);
            put(btf, at, name);
        }
        // Its kind, how many members it has, whether they are bit fields.
        2 => {
            let info = word(btf, at + 4);
            let info = match random.below(4) {
                0 => (info & !0x1f00_0000) | ((random.below(21) as u32) << 24),
                1 => (info & !0xffff) | random.below(20) as u32,
                2 => info | 0xffff,
                _ => info ^ 0x8000_0000,
            };
            put(btf, at + 4, info);
        }
        3..=5 => {
            let words = (length(btf, at) - TYPE) / 4;
            let place = at + TYPE + 4 * random.below(words);
            put(btf, place, value);
        }
        6 => unname_member(btf, at, id),
        7..=8 => append(btf, types.len() as u32 + 1, random),
        _ => strings(btf, random),
    }
}

fn word(btf: &[u8], at: usize) -> u32 {
    let bytes = btf.get(at..at.saturating_add(4)).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_le_bytes)
}

fn put(btf: &mut [u8], at: usize, value: u32) {
    if let Some(bytes) = btf.get_mut(at..at.saturating_add(4)) {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
}

/// Where each type starts, as far as the types can be followed.
fn starts(btf: &[u8]) -> Vec<usize> {
    let start = word(btf, 4) as usize + word(btf, 8) as usize;
    let end = (start + word(btf, 12) as usize).min(btf.len());
    let (mut at, mut found) = (start, Vec::new());
    while at + TYPE <= end {
        found.push(at);
        at += length(btf, at);
    }
    found
}

/// Bytes of a type.
fn length(btf: &[u8], at: usize) -> usize {
    let info = word(btf, at + 4);
    let members = (info & 0xffff) as usize;
    TYPE + match (info >> 24) & 0x1f {
        1 | 14 | 17 => 4,
        3 => 12,
        4 | 5 | 15 | 19 => 12 * members,
        6 | 13 => 8 * members,
        _ => 0,
    }
}

fn some_string(btf: &[u8], random: &mut Random) -> u32 {
    let length = word(btf, 20);
    match random.below(4) {
        0 => length,
        1 => 0,
        _ => random.below(length as usize) as u32,
    }
}

/// Makes some members of a struct unnamed, so that what is in their type is looked for through them.
fn unname_member(btf: &mut [u8], at: usize, ty: u32) {
    for member in 0..(length(btf, at) - TYPE) / 12 {
        put(btf, at + TYPE + 12 * member, 0);
        put(btf, at + TYPE + 12 * member + 4, ty);
    }
}

/// Adds types to the end; `id` is that of the first.
fn append(btf: &mut Vec<u8>, id: u32, random: &mut Random) {
    let name = some_string(btf, random);
    // Itself, the next, the one before, any.
    let to = [id, id + 1, id - 1, random.below(id as usize + 1) as u32];
    let to = random.pick(&to).copied().unwrap_or(id);
    let members = [0, 1, 2, 6, 40].get(random.below(5)).copied().unwrap_or(0u32);
    let new: Vec<u32> = match random.below(5) {
        0 => vec![0, ARRAY << 24, 0, to, to, 2],
        1 => {
            let member = [if random.below(2) == 0 { 0 } else { name }, to, 8 * random.below(64) as u32];
            let head = [name, (STRUCT << 24) | members, 4096];
            head.into_iter().chain(member.repeat(members as usize)).collect()
        }
        2 => vec![name, TYPEDEF << 24, to],
        3 => vec![name, (FUNC << 24) | 1, to],
        _ => {
            let head = [0, (FUNC_PROTO << 24) | members, to];
            head.into_iter().chain([name, to].repeat(members as usize)).collect()
        }
    };
    let bytes: Vec<u8> = new.iter().flat_map(|word| word.to_le_bytes()).collect();
    let many = random.below(6) == 0 && btf.len() < GROWTH;
    let times = if many { GROWTH / bytes.len() } else { 1 };
    let end = word(btf, 4) as usize + word(btf, 8) as usize + word(btf, 12) as usize;
    if end > btf.len() || btf.len() < HEADER {
        return;
    }
    let bytes = bytes.repeat(times);
    let grown = bytes.len() as u32;
    btf.splice(end..end, bytes);
    for field in [12, 16] {
        let value = word(btf, field).saturating_add(grown);
        put(btf, field, value);
    }
}

/// Joins strings, breaks their encoding, or makes them long.
fn strings(btf: &mut Vec<u8>, random: &mut Random) {
    let start = word(btf, 4) as usize + word(btf, 16) as usize;
    let length = word(btf, 20) as usize;
    let (from, count) = (random.below(length), random.below(length));
    let range = start.saturating_add(from).min(btf.len())..start.saturating_add(from + count).min(btf.len());
    match random.below(3) {
        0 => btf[range].iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b'a'),
        1 => btf[range].iter_mut().take(3).for_each(|byte| *byte = 0xff),
        _ if btf.len() > GROWTH => {}
        _ => {
            let at = range.start;
            btf.splice(at..at, std::iter::repeat_n(b'a', GROWTH));
            put(btf, 20, (length + GROWTH) as u32);
        }
    }
}
