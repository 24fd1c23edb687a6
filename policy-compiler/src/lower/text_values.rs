//! In: text tests on a rendered text. Out: compares with immediates for a few values, one trie look-up for many.
//!
//! The trie answers all prefix and equality tests of an argument at once: equality is the prefix "value, NUL", and
//! each key's value already includes those of its own prefixes, because the kernel returns the longest match only.

use super::frame::{Helper, scratch, slot, text_flag};
use super::{Lower, Lowered};
use crate::emit::{Alu, Cond, FP, Label, R0, R1, R2, R3, R4, R7, R8, R9, Reg, Size};
use crate::plan::{Test, TestUse};
use crate::typed::{ArgType, TextOp};
use api::artefact::{MapEntry, MapKind, MapSpec};
use std::collections::BTreeMap;

/// From this many prefix and equality values on, a trie is used: a look-up costs about as much as eight compares of
/// a path's first bytes.
const TRIE_FROM: usize = 16;
/// Bytes of a trie key: the kernel's limit (`LPM_DATA_SIZE_MAX`).
const TRIE_KEY: usize = 256;
/// Tests that have a bit in a trie's values.
const TEST_BITS: usize = u64::BITS as usize;

/// Where a text lies in its region.
#[derive(Clone, Copy)]
enum Lie {
    /// Written towards the start: ends at a known place.
    Back,
    /// Starts at a known place.
    Front,
}

impl Lie {
    /// Of a rendered argument.
    fn of(ty: ArgType) -> Lie {
        if ty.is_path() { Lie::Back } else { Lie::Front }
    }

    /// Whether the part that `op` compares is missing of a text that is cut: a path lacks its start, other texts their
    /// end.
    fn lacks(self, op: TextOp) -> bool {
        match (self, op) {
            (_, TextOp::Equal) | (Lie::Back, TextOp::Prefix) | (Lie::Front, TextOp::Postfix) => true,
            (Lie::Back, TextOp::Postfix) | (Lie::Front, TextOp::Prefix) => false,
        }
    }
}

/// Selectors with a test of a text of this type that cannot be told when the text is cut.
pub(super) fn undecided(ty: ArgType, tests: &[&TestUse]) -> u64 {
    let lacks = |test: &&&TestUse| matches!(&test.test, Test::Text { op, .. } if Lie::of(ty).lacks(*op));
    tests.iter().filter(lacks).fold(0, |mask, test| mask | test.asked())
}

impl Lower<'_> {
    pub(super) fn text_tests(&mut self, text: usize, tests: &[&TestUse]) -> Lowered<()> {
        let arg = self.texts.get(text).and_then(|arg| self.program.args.get(*arg));
        let lie = arg.map_or(Lie::Front, |arg| Lie::of(arg.ty));
        let buffer = arg.is_some_and(|arg| arg.ty == ArgType::CharBuf);
        let (trie, inline): (Vec<&TestUse>, Vec<&TestUse>) =
            tests.iter().partition(|test| fits_trie(&test.test, buffer));
        let values: usize = trie.iter().map(|test| values_of(&test.test).len()).sum();
        if values >= TRIE_FROM {
            let beyond = self.trie_tests(text, lie, trie);
            self.inline_tests(text, lie, &inline);
            self.inline_tests(text, lie, &beyond);
        } else {
            self.inline_tests(text, lie, tests);
        }
        Ok(())
    }

    fn inline_tests(&mut self, text: usize, lie: Lie, tests: &[&TestUse]) {
        for test in tests {
            let Test::Text { op, values, .. } = &test.test else { continue };
            let [hit, miss, done] = std::array::from_fn(|_| self.asm.label());
            self.asm.source(test.source.clone());
            self.skip_unless_asked(test.asked(), done);
            if lie.lacks(*op) {
                self.text_state(R1, text);
                self.asm.jump_if(Cond::Set, R1, text_flag::TRUNCATED, miss);
            }
            self.text_pointer(text, lie, *op);
            for value in values {
                self.compare(text, lie, *op, value, hit);
            }
            self.asm.bind(miss);
            self.clear(test.holds);
            self.asm.jump(done);
            self.asm.bind(hit);
            self.clear(test.fails);
            self.asm.bind(done);
        }
    }

    /// r2 = length; r8 = the end of the text that has no fixed place, if `op` compares there.
    fn text_pointer(&mut self, text: usize, lie: Lie, op: TextOp) {
        match (lie, op) {
            (Lie::Back, TextOp::Prefix) => self.text_start(text),
            (Lie::Front, TextOp::Postfix) => {
                self.text_state(R8, text);
                self.asm.alu(Alu::And, R8, text_flag::LENGTH);
                self.asm.alu_reg(Alu::Add, R8, R7);
            }
            _ => {}
        }
        self.text_state(R2, text);
        self.asm.alu(Alu::And, R2, text_flag::LENGTH);
    }

    /// r8 = r7 + start of a text that is written towards the start (add the region for its address).
    pub(super) fn text_start(&mut self, text: usize) {
        self.asm.load(Size::H, R8, FP, slot::text(text));
        self.asm.alu(Alu::And, R8, text_flag::LENGTH);
        self.asm.alu_reg(Alu::Add, R8, R7);
    }

    fn compare(&mut self, text: usize, lie: Lie, op: TextOp, value: &[u8], hit: Label) {
        let other = self.asm.label();
        let region = scratch::region(text);
        let len = value.len() as i32;
        let too_short = if op == TextOp::Equal { Cond::Ne } else { Cond::Lt };
        self.asm.jump_if(too_short, R2, len, other);
        let (base, at) = match (lie, op) {
            (Lie::Back, TextOp::Prefix) => (R8, region),
            (Lie::Back, TextOp::Equal | TextOp::Postfix) => (R7, region + scratch::TEXT_MAX - len),
            (Lie::Front, TextOp::Prefix | TextOp::Equal) => (R7, region),
            (Lie::Front, TextOp::Postfix) => (R8, region - len),
        };
        self.compare_bytes(base, at, value, other);
        self.asm.jump(hit);
        self.asm.bind(other);
    }

    fn compare_bytes(&mut self, base: Reg, mut at: i32, mut value: &[u8], other: Label) {
        while !value.is_empty() {
            let size = [Size::D, Size::W, Size::H, Size::B]
                .into_iter()
                .find(|size| usize::from(size.bytes()) <= value.len());
            let size = size.unwrap_or(Size::B);
            let (chunk, rest) = value.split_at(usize::from(size.bytes()));
            let expected = chunk.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
            self.asm.load(size, R3, base, at as i16);
            match size {
                Size::W => self.asm.jump32_if(Cond::Ne, R3, expected as u32 as i32, other),
                _ => self.asm.jump_if_imm(Cond::Ne, R3, expected, R4, other),
            }
            at += i32::from(size.bytes());
            value = rest;
        }
    }

    /// Returns the tests that have no bit in the trie.
    fn trie_tests<'t>(&mut self, text: usize, lie: Lie, tests: Vec<&'t TestUse>) -> Vec<&'t TestUse> {
        let (trie, beyond) = Trie::build(tests);
        let map = self.maps.len() as u32;
        self.maps.push(trie.spec);
        let region = scratch::region(text);
        let [miss, got] = std::array::from_fn(|_| self.asm.label());
        match lie {
            Lie::Back => self.text_start(text),
            Lie::Front => self.asm.mov(R8, R7),
        }
        // Key: length in bits, then the text where it lies; the byte behind it is NUL.
        self.text_state(R2, text);
        if lie.lacks(TextOp::Prefix) {
            self.asm.jump_if(Cond::Set, R2, text_flag::TRUNCATED, miss);
        }
        self.asm.alu(Alu::And, R2, text_flag::LENGTH);
        self.asm.alu(Alu::Add, R2, 1);
        let short = self.asm.label();
        self.asm.jump_if(Cond::Le, R2, TRIE_KEY as i32, short);
        self.asm.mov_imm(R2, TRIE_KEY as u64);
        self.asm.bind(short);
        self.asm.alu(Alu::Lsh, R2, 3);
        self.asm.store(Size::W, R8, (region - 4) as i16, R2);
        self.asm.private_map(R1, map);
        self.asm.mov(R2, R8);
        self.asm.alu(Alu::Add, R2, region - 4);
        self.asm.call(Helper::MapLookup);
        self.asm.jump_if(Cond::Eq, R0, 0, miss);
        self.asm.load(Size::D, R1, R0, 0);
        self.asm.load(Size::D, R2, R0, 8);
        self.asm.jump(got);
        self.asm.bind(miss);
        self.asm.mov_imm(R1, 0);
        self.asm.mov_imm(R2, 0);
        self.asm.bind(got);
        self.asm.store(Size::D, FP, slot::BITS, R2);
        if trie.simple != 0 {
            self.asm.mov_imm(R2, !trie.simple);
            self.asm.alu_reg(Alu::Or, R1, R2);
            self.asm.alu_reg(Alu::And, R9, R1);
        }
        for (bit, test) in trie.others.iter().enumerate() {
            let [hit, done] = std::array::from_fn(|_| self.asm.label());
            self.asm.load(Size::D, R1, FP, slot::BITS);
            self.asm.mov_imm(R2, 1 << bit);
            self.asm.jump_if_reg(Cond::Set, R1, R2, hit);
            self.clear(test.holds);
            self.asm.jump(done);
            self.asm.bind(hit);
            self.clear(test.fails);
            self.asm.bind(done);
        }
        beyond
    }
}

fn values_of(test: &Test) -> &[Vec<u8>] {
    match test {
        Test::Text { values, .. } => values,
        _ => &[],
    }
}

/// A buffer may have a NUL where a text ends, so that it can begin with "value, NUL" and go on.
fn fits_trie(test: &Test, buffer: bool) -> bool {
    match test {
        Test::Text { op: TextOp::Prefix, values, .. } => values.iter().all(|value| value.len() <= TRIE_KEY),
        Test::Text { op: TextOp::Equal, values, .. } => {
            !buffer && values.iter().all(|value| value.len() < TRIE_KEY)
        }
        _ => false,
    }
}

struct Trie<'t> {
    spec: MapSpec,
    /// Selectors that ask one positive test of this trie and nothing else: the first word is their answer.
    simple: u64,
    /// Other tests; the second word has a bit for each.
    others: Vec<&'t TestUse>,
}

impl<'t> Trie<'t> {
    /// A selector may ask several tests, so there can be more of them than bits: those that find none are returned.
    fn build(mut tests: Vec<&'t TestUse>) -> (Trie<'t>, Vec<&'t TestUse>) {
        let (_, all) = Self::divide(&tests);
        let beyond = all.get(TEST_BITS..).unwrap_or_default().to_vec();
        tests.retain(|test| !beyond.iter().any(|other| std::ptr::eq(*other, *test)));
        // Without them, more selectors ask one test only; never fewer.
        let (simple, others) = Self::divide(&tests);
        let mut keys: BTreeMap<Vec<u8>, [u64; 2]> = BTreeMap::new();
        for test in &tests {
            let bit = others.iter().position(|other| std::ptr::eq(*other, *test));
            let words = [test.holds & simple, bit.map_or(0, |bit| 1 << bit)];
            for value in values_of(&test.test) {
                let mut key = value.clone();
                if matches!(test.test, Test::Text { op: TextOp::Equal, .. }) {
                    key.push(0);
                }
                let entry = keys.entry(key).or_default();
                entry.iter_mut().zip(words).for_each(|(have, more)| *have |= more);
            }
        }
        (Trie { spec: spec(inherit(keys)), simple, others }, beyond)
    }

    /// Selectors that ask one positive test and nothing else, and the tests that others ask.
    fn divide(tests: &[&'t TestUse]) -> (u64, Vec<&'t TestUse>) {
        let asked_by = |bit: u32| tests.iter().filter(|test| test.asked() >> bit & 1 == 1).count();
        let simple = (0..u64::BITS)
            .filter(|bit| asked_by(*bit) == 1 && tests.iter().all(|test| test.fails >> bit & 1 == 0))
            .fold(0u64, |mask, bit| mask | 1 << bit);
        (simple, tests.iter().copied().filter(|test| test.asked() & !simple != 0).collect())
    }
}

/// Adds to each key the words of the keys that are its prefixes. Sorted order visits prefixes first.
fn inherit(keys: BTreeMap<Vec<u8>, [u64; 2]>) -> Vec<(Vec<u8>, [u64; 2])> {
    let mut out: Vec<(Vec<u8>, [u64; 2])> = Vec::new();
    let mut chain: Vec<usize> = Vec::new();
    for (key, mut words) in keys {
        while chain.last().is_some_and(|at| out.get(*at).is_some_and(|(prefix, _)| !key.starts_with(prefix)))
        {
            chain.pop();
        }
        if let Some((_, above)) = chain.last().and_then(|at| out.get(*at)) {
            words.iter_mut().zip(above).for_each(|(have, more)| *have |= more);
        }
        chain.push(out.len());
        out.push((key, words));
    }
    out
}

fn spec(keys: Vec<(Vec<u8>, [u64; 2])>) -> MapSpec {
    let entries = keys.iter().map(|(key, words)| {
        let mut bytes = ((key.len() * 8) as u32).to_le_bytes().to_vec();
        bytes.extend(key);
        bytes.resize(4 + TRIE_KEY, 0);
        MapEntry { key: bytes, value: words.iter().flat_map(|word| word.to_le_bytes()).collect() }
    });
    MapSpec {
        kind: MapKind::LpmTrie as i32,
        key_size: 4 + TRIE_KEY as u32,
        value_size: 16,
        max_entries: keys.len() as u32,
        entries: entries.collect(),
    }
}
