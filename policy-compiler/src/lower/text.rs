//! In: text arguments. Out: their text in scratch regions, once per event, however many tests and events need it.

use super::frame::{Helper, scratch, slot, text_flag};
use super::{Lower, Lowered, text_values};
use crate::emit::{Alu, Cond, FP, Label, R0, R1, R2, R3, R7, R8, R9, Reg, Size};
use crate::plan::{Bank, Test, TestUse};
use crate::resolve::ResolvedArg;
use crate::typed::ArgType;
use api::artefact::PolicyCounter;

impl Lower<'_> {
    /// All text tests of a bank, argument by argument.
    pub(super) fn texts(&mut self, bank: &Bank, next: Label) -> Lowered<()> {
        for text in 0..self.texts.len() {
            let arg = self.texts.get(text).copied();
            let tests: Vec<&TestUse> = bank
                .tests
                .iter()
                .filter(|test| matches!(&test.test, Test::Text { arg: of, .. } if Some(*of) == arg))
                .collect();
            let Some(first) = tests.first() else { continue };
            let asked = tests.iter().fold(0, |mask, test| mask | test.asked());
            let [skip, lost, unread] = std::array::from_fn(|_| self.asm.label());
            self.asm.source(first.source.clone());
            self.skip_unless_asked(asked, skip);
            self.prefilter(text, &tests, skip)?;
            self.skip_unless_asked(asked, skip);
            self.acquire_scratch(lost);
            self.render(text)?;
            self.text_state(R1, text);
            self.asm.jump_if(Cond::Set, R1, text_flag::ERROR, unread);
            self.count_undecided(text, &tests, bank);
            self.text_tests(text, &tests)?;
            self.asm.jump(skip);
            self.asm.bind(lost);
            self.lost_decision(bank, asked);
            self.asm.bind(unread);
            self.clear(asked);
            self.asm.bind(skip);
            self.asm.jump_if(Cond::Eq, R9, 0, next);
        }
        Ok(())
    }

    /// What a cut text lacks cannot be told: such tests do not hold, and their selectors are counted as lost decisions.
    fn count_undecided(&mut self, text: usize, tests: &[&TestUse], bank: &Bank) {
        let arg = self.texts.get(text).and_then(|arg| self.program.args.get(*arg));
        let undecided = arg.map_or(0, |arg| text_values::undecided(arg.ty, tests));
        if undecided == 0 {
            return;
        }
        let [cut, whole] = std::array::from_fn(|_| self.asm.label());
        self.text_state(R1, text);
        self.asm.jump_if(Cond::Set, R1, text_flag::TRUNCATED, cut);
        self.asm.jump(whole);
        self.asm.bind(cut);
        self.lost_decision(bank, undecided);
        self.asm.bind(whole);
    }

    /// Counts for the policies of which a selector of `asked` still is a candidate.
    fn lost_decision(&mut self, bank: &Bank, asked: u64) {
        let program = self.program;
        for (index, entry) in program.entries.iter().enumerate() {
            let here = program.banks.get(entry.bank).is_some_and(|of| std::ptr::eq(of, bank));
            if here && entry.mask() & asked != 0 {
                let fine = self.asm.label();
                self.skip_unless_asked(entry.mask() & asked, fine);
                self.count(index, &[PolicyCounter::LostScratch]);
                self.asm.bind(fine);
            }
        }
    }

    /// Renders the `text`th argument unless it is there already. Needs a scratch slot in r7.
    pub(super) fn render(&mut self, text: usize) -> Lowered<()> {
        let arg = self.texts.get(text).and_then(|arg| self.program.args.get(*arg)).copied();
        let Some(arg) = arg else { return Ok(()) };
        let [have, unread] = std::array::from_fn(|_| self.asm.label());
        self.text_state(R1, text);
        self.asm.jump_if(Cond::Set, R1, text_flag::READY, have);
        match arg.ty {
            ArgType::String | ArgType::Filename => self.render_string(text, arg, unread)?,
            ArgType::CharBuf => self.render_buffer(text, arg, unread),
            _ => self.render_path(text, arg, unread)?,
        }
        self.asm.jump(have);
        self.asm.bind(unread);
        self.asm.mov_imm(R1, (text_flag::READY | text_flag::ERROR) as u64);
        self.set_text_state(text, R1);
        self.asm.bind(have);
        Ok(())
    }

    /// `dst` = length and flags.
    pub(super) fn text_state(&mut self, dst: Reg, text: usize) {
        self.asm.load(Size::D, dst, FP, slot::text(text));
        self.asm.alu(Alu::Rsh, dst, 32);
    }

    /// Length and flags from `src`, which is clobbered; the text starts where its region does.
    fn set_text_state(&mut self, text: usize, src: Reg) {
        self.asm.alu(Alu::Lsh, src, 32);
        self.asm.store(Size::D, FP, slot::text(text), src);
    }

    fn render_path(&mut self, text: usize, arg: ResolvedArg, unread: Label) -> Lowered<()> {
        self.path_used = true;
        self.dentry_and_mount(arg, unread)?;
        self.asm.mov(R1, R7);
        self.asm.alu(Alu::Add, R1, scratch::region(text));
        self.asm.load(Size::D, R2, FP, slot::OBJECT);
        self.asm.load(Size::D, R3, FP, slot::OBJECT2);
        self.asm.call_local(self.path_function);
        self.asm.mov(R1, R0);
        self.asm.zext32(R1);
        self.asm.jump_if(Cond::Gt, R1, scratch::TEXT_MAX, unread);
        // Bit 32 of the result becomes the flag.
        self.asm.alu(Alu::Rsh, R0, 32);
        self.asm.alu(Alu::Lsh, R0, text_flag::TRUNCATED.trailing_zeros() as i32);
        self.asm.mov_imm(R2, scratch::TEXT_MAX as u64);
        self.asm.alu_reg(Alu::Sub, R2, R1);
        self.asm.alu_reg(Alu::Or, R2, R0);
        self.asm.alu(Alu::Or, R2, text_flag::READY);
        self.asm.alu(Alu::Lsh, R2, 32);
        self.asm.alu_reg(Alu::Or, R2, R1);
        self.asm.store(Size::D, FP, slot::text(text), R2);
        Ok(())
    }

    /// A NULL pointer is the empty string.
    fn render_string(&mut self, text: usize, arg: ResolvedArg, unread: Label) -> Lowered<()> {
        let [empty, whole, done] = std::array::from_fn(|_| self.asm.label());
        self.fetch(R8, arg.fetch);
        self.asm.jump_if(Cond::Eq, R8, 0, empty);
        let kernel = arg.ty == ArgType::Filename || !arg.user;
        if arg.ty == ArgType::Filename {
            self.chase(R8, &[("filename", "name")], arg.typed)?;
        }
        self.asm.mov(R1, R7);
        self.asm.alu(Alu::Add, R1, scratch::region(text));
        // One more than is kept, to tell a text that just fits from one that is cut.
        self.asm.mov_imm(R2, scratch::TEXT_MAX as u64 + 1);
        self.asm.mov(R3, R8);
        self.asm.call(if kernel { Helper::ReadKernelStr } else { Helper::ReadUserStr });
        self.asm.jump_if(Cond::Sle, R0, 0, unread);
        // The result counts the NUL.
        self.asm.mov(R1, R0);
        self.asm.alu(Alu::Sub, R1, 1);
        self.asm.alu(Alu::Or, R1, text_flag::READY);
        self.asm.jump_if(Cond::Le, R0, scratch::TEXT_MAX, whole);
        self.asm.mov_imm(R1, ((scratch::TEXT_MAX - 1) | text_flag::READY | text_flag::TRUNCATED) as u64);
        self.asm.bind(whole);
        self.set_text_state(text, R1);
        self.asm.jump(done);
        self.asm.bind(empty);
        self.asm.store_imm(Size::B, R7, scratch::region(text) as i16, 0);
        self.asm.mov_imm(R1, text_flag::READY as u64);
        self.set_text_state(text, R1);
        self.asm.bind(done);
        Ok(())
    }

    /// Bytes with a length; what is asked beyond 4,095 bytes is cut.
    fn render_buffer(&mut self, text: usize, arg: ResolvedArg, unread: Label) {
        let [whole, got] = std::array::from_fn(|_| self.asm.label());
        self.buffer_size(arg);
        self.asm.mov(R8, R1);
        // A negative length is an error code or nonsense.
        self.asm.jump_if(Cond::Slt, R8, 0, unread);
        self.asm.jump_if(Cond::Lt, R8, scratch::TEXT_MAX, whole);
        self.asm.mov_imm(R8, (scratch::TEXT_MAX - 1) as u64 | text_flag::TRUNCATED as u64);
        self.asm.bind(whole);
        self.asm.alu(Alu::Or, R8, text_flag::READY);
        self.asm.mov(R1, R8);
        self.set_text_state(text, R1);
        self.fetch(R3, arg.fetch);
        self.asm.mov(R1, R7);
        self.asm.alu(Alu::Add, R1, scratch::region(text));
        self.asm.mov(R2, R8);
        self.asm.alu(Alu::And, R2, scratch::TEXT_MAX - 1);
        self.asm.jump_if(Cond::Eq, R2, 0, got);
        self.asm.call(if arg.user { Helper::ReadUser } else { Helper::ReadKernel });
        self.asm.jump_if(Cond::Ne, R0, 0, unread);
        self.asm.bind(got);
        // A NUL behind the bytes, for exact matches in a trie.
        self.asm.alu(Alu::And, R8, scratch::TEXT_MAX - 1);
        self.asm.alu_reg(Alu::Add, R8, R7);
        self.asm.store_imm(Size::B, R8, scratch::region(text) as i16, 0);
    }

    /// r1 = the asked size of a buffer.
    pub(super) fn buffer_size(&mut self, arg: ResolvedArg) {
        match arg.size {
            Some(size) => self.fetch_int(R1, size.fetch, size.ty),
            None => self.asm.mov_imm(R1, 0),
        }
    }
}
