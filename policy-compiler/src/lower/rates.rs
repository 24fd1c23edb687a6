//! In: a selector with a rate limit. Out: its event only if none with the same key passed within the interval.
//!
//! Key: hook, selector, scope (thread, process or all) and the first 40 bytes of each argument, hashed to 64 bits. The
//! interval begins when the event is in the ring buffer: one that is lost keeps no other back.

use super::Lower;
use super::actions::Matched;
use super::frame::{Helper, scratch, slot, text_flag};
use crate::emit::{Alu, Cond, FP, Label, R0, R1, R2, R3, R4, R7, R8, Size};
use crate::plan::Entry;
use crate::typed::{RateLimit, RateScope};
use api::artefact::{PolicyCounter, SharedMap};

/// Bytes of each argument that count.
const SAMPLE: i32 = 40;
/// Odd, from the digits of the golden ratio: spreads each word over the upper bits.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl Lower<'_> {
    /// Jumps to `end` if the event is suppressed; else leaves key and time for [`Lower::begin_interval`]. `fixed`: places of the words of arguments of fixed size.
    pub(super) fn rate_limit(
        &mut self,
        entry: &Entry<'_>,
        matched: Matched,
        limit: RateLimit,
        fixed: &[i32],
        texts: &[usize],
        end: Label,
    ) {
        let [pass, suppressed, go] = std::array::from_fn(|_| self.asm.label());
        self.asm.mov_imm(R8, seed(entry, matched));
        match limit.scope {
            RateScope::Thread => self.asm.load(Size::D, R1, FP, slot::PID_TGID),
            RateScope::Process => self.asm.load(Size::W, R1, FP, slot::PID_TGID + 4),
            RateScope::Global => self.asm.mov_imm(R1, 0),
        }
        self.mix();
        for word in fixed.iter().copied() {
            self.asm.load(Size::D, R1, R7, (scratch::EVENT + word) as i16);
            self.mix();
        }
        for text in texts {
            self.mix_text(*text);
        }
        self.asm.store(Size::D, FP, slot::KEY, R8);
        self.lookup(SharedMap::RateLimit);
        self.asm.load(Size::D, R1, R7, (scratch::EVENT + 8) as i16);
        self.asm.jump_if(Cond::Eq, R0, 0, pass);
        self.asm.load(Size::D, R2, R0, 0);
        self.asm.mov(R3, R1);
        self.asm.alu_reg(Alu::Sub, R3, R2);
        self.asm.jump_if_imm(Cond::Lt, R3, u64::from(limit.interval_ms) * 1_000_000, R4, suppressed);
        self.asm.bind(pass);
        self.asm.store(Size::D, FP, slot::BITS, R1);
        self.asm.jump(go);
        self.asm.bind(suppressed);
        self.count(matched.entry, &[PolicyCounter::RateLimited]);
        self.asm.jump(end);
        self.asm.bind(go);
    }

    /// Remembers that the event has passed.
    pub(super) fn begin_interval(&mut self) {
        self.update(SharedMap::RateLimit, slot::KEY, slot::BITS);
    }

    /// r8 = hash(r8, r1).
    fn mix(&mut self) {
        self.asm.alu_reg(Alu::Xor, R8, R1);
        self.asm.mov_imm(R2, MULTIPLIER);
        self.asm.alu_reg(Alu::Mul, R8, R2);
        self.asm.mov(R1, R8);
        self.asm.alu(Alu::Rsh, R1, 32);
        self.asm.alu_reg(Alu::Xor, R8, R1);
    }

    fn mix_text(&mut self, text: usize) {
        let [whole, empty] = std::array::from_fn(|_| self.asm.label());
        let path = self
            .texts
            .get(text)
            .and_then(|arg| self.program.args.get(*arg))
            .is_some_and(|arg| arg.ty.is_path());
        for word in 0..SAMPLE / 8 {
            self.asm.store_imm(Size::D, FP, slot::SAMPLE + 8 * word as i16, 0);
        }
        self.text_state(R2, text);
        self.asm.alu(Alu::And, R2, text_flag::LENGTH);
        self.asm.jump_if(Cond::Eq, R2, 0, empty);
        self.asm.jump_if(Cond::Le, R2, SAMPLE, whole);
        self.asm.mov_imm(R2, SAMPLE as u64);
        self.asm.bind(whole);
        self.asm.mov(R3, R7);
        if path {
            self.asm.load(Size::H, R1, FP, slot::text(text));
            self.asm.alu_reg(Alu::Add, R3, R1);
        }
        self.asm.alu(Alu::Add, R3, scratch::region(text));
        self.asm.mov(R1, FP);
        self.asm.alu(Alu::Add, R1, i32::from(slot::SAMPLE));
        self.asm.call(Helper::ReadKernel);
        self.asm.bind(empty);
        for word in 0..SAMPLE / 8 {
            self.asm.load(Size::D, R1, FP, slot::SAMPLE + 8 * word as i16);
            self.mix();
        }
    }
}

/// Distinguishes hooks and selectors; stable over recompilation.
fn seed(entry: &Entry<'_>, matched: Matched) -> u64 {
    let text = format!("{}\0{}\0{}", entry.hook.policy.key, entry.hook.hook.path, matched.selector);
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
