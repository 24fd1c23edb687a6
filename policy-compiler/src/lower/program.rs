//! In: a [`Program`]. Out: its skeleton, with the parts of the sibling modules in their order.

use super::frame::{scratch, slot, text_flag};
use super::{Lower, Lowered};
use crate::diagnostic::{Code, Diagnostic};
use crate::emit::{Alu, Asm, Cond, EmitError, FP, Finished, Helper, Label, R0, R1, R6, R7, R8, R9, Size};
use crate::kernel::Kernel;
use crate::plan::{Bank, Program, Test};
use api::artefact::{Flavour, MapSpec, RelocKind, SharedMap};

/// Emits one program.
///
/// # Errors
/// The kernel lacks a structure member, or the program is larger than eBPF can encode.
pub fn lower(program: &Program<'_>, kernel: &Kernel) -> Result<(Finished, Vec<MapSpec>), Diagnostic> {
    let mut asm = Asm::new();
    let path_function = asm.label();
    let done = asm.label();
    let texts = text_args(program)?;
    let mut lower =
        Lower { asm, kernel, program, maps: Vec::new(), path_function, path_used: false, texts, done };
    lower.prologue()?;
    for bank in 0..program.banks.len() {
        lower.bank(bank)?;
    }
    lower.epilogue();
    if lower.path_used {
        lower.path_function()?;
    } else {
        // Bound, so that it may be named; removed as unreachable.
        lower.asm.bind(path_function);
        lower.asm.exit();
    }
    let at = program.entries.first().map(|entry| entry.hook.hook.path.clone()).unwrap_or_default();
    let finished = lower.asm.finish().map_err(|error| match error {
        EmitError::JumpTooFar => Diagnostic::error(
            Code::Limit,
            at,
            format!(
                "the policies on `{}` together compile to more instructions than eBPF jumps span",
                program.attach.target
            ),
        ),
        EmitError::UnboundLabel => Diagnostic::error(Code::Limit, at, "internal error: a jump has no target"),
    })?;
    Ok((finished, lower.maps))
}

/// Arguments whose text is rendered into scratch regions.
fn text_args(program: &Program<'_>) -> Lowered<Vec<usize>> {
    let texts: Vec<usize> = (0..program.args.len()).filter(|arg| program.args[*arg].ty.is_text()).collect();
    if texts.len() > scratch::REGION_COUNT {
        let at = program.entries.last().map(|entry| entry.hook.hook.path.clone()).unwrap_or_default();
        let message = format!(
            "the policies on `{}` read {} different text arguments; at most {} fit",
            program.attach.target,
            texts.len(),
            scratch::REGION_COUNT
        );
        return Err(Diagnostic::error(Code::Limit, format!("{at}.args"), message));
    }
    Ok(texts)
}

impl Lower<'_> {
    fn prologue(&mut self) -> Lowered<()> {
        let inactive = self.asm.label();
        let go = self.asm.label();
        self.asm.source("is this program the active one");
        self.asm.mov(R6, R1);
        if let Some(number) = self.program.attach.syscall {
            self.asm.load(Size::D, R1, R6, 8);
            self.asm.jump_if(Cond::Ne, R1, number as i32, inactive);
            // The numbers of 32-bit calls mean others.
            self.compat_bit()?;
            self.asm.jump_if(Cond::Ne, R8, 0, inactive);
        }
        self.asm.store_reloc(FP, slot::KEY, RelocKind::ActiveSlot, 0);
        self.lookup(SharedMap::Active);
        self.asm.jump_if(Cond::Eq, R0, 0, inactive);
        self.asm.load(Size::W, R1, R0, 0);
        self.asm.jump_if_reloc(Cond::Eq, R1, RelocKind::ProgramId, 0, go);
        if self.program.overlaps() {
            self.overlap(go, inactive);
        }
        self.asm.bind(inactive);
        self.asm.mov_imm(R0, 0);
        self.asm.exit();
        self.asm.bind(go);
        self.asm.mov_imm(R7, 0);
        self.asm.store(Size::D, FP, slot::RETURN, R7);
        for text in 0..self.texts.len() {
            self.asm.store(Size::D, FP, slot::text(text), R7);
        }
        if self.saves() {
            self.save_registers()?;
        }
        if self.reads_saved() {
            self.find_saved();
        }
        if self.needs_process() {
            self.find_process();
        }
        Ok(())
    }

    fn needs_process(&self) -> bool {
        let banks = self.program.banks.iter();
        banks.flat_map(|bank| &bank.tests).any(|test| matches!(test.test, Test::ProcessSet { .. }))
    }

    fn bank(&mut self, index: usize) -> Lowered<()> {
        let Some(bank) = self.program.banks.get(index) else { return Ok(()) };
        let next = self.asm.label();
        self.asm.source("all selectors are candidates");
        self.candidates(bank.mask);
        self.leave_out_unsaved(index);
        self.cheap_tests(bank, next)?;
        self.texts(bank, next)?;
        let entries = self.program.entries.iter().filter(|entry| entry.bank == index);
        for entry in entries {
            self.entry(entry)?;
        }
        self.asm.bind(next);
        Ok(())
    }

    /// r9 = `mask`, in a way that the verifier does not see through: were the mask a known constant, each test
    /// would double the states it explores.
    fn candidates(&mut self, mask: u64) {
        self.asm.call(Helper::PidTgid);
        self.asm.store(Size::D, FP, slot::PID_TGID, R0);
        self.asm.mov(R9, R0);
        self.asm.mov_imm(R1, mask);
        self.asm.alu_reg(Alu::Xor, R1, R0);
        self.asm.alu_reg(Alu::Xor, R9, R1);
    }

    fn cheap_tests(&mut self, bank: &Bank, next: Label) -> Lowered<()> {
        let mut tuple_of = None;
        for test in bank.tests.iter().filter(|test| !matches!(test.test, Test::Text { .. })) {
            self.asm.source(test.source.clone());
            let skip = self.asm.label();
            let unread = self.asm.label();
            if let Some(arg) = test.test.socket_arg().filter(|arg| tuple_of != Some(*arg)) {
                self.read_tuple(arg, test, bank)?;
                tuple_of = Some(arg);
            }
            self.skip_unless_asked(test.asked(), skip);
            if matches!(test.test, Test::ProcessSet { parent: true, .. }) {
                self.pass_without_parent(skip);
            }
            let hit = self.asm.label();
            self.cheap_test(&test.test, hit, unread)?;
            // Fell through: the test does not hold.
            self.clear(test.holds);
            self.asm.jump(skip);
            self.asm.bind(unread);
            self.clear(test.asked());
            self.asm.jump(skip);
            self.asm.bind(hit);
            self.clear(test.fails);
            self.asm.bind(skip);
            self.asm.jump_if(Cond::Eq, R9, 0, next);
        }
        Ok(())
    }

    /// Jumps to `skip` if no selector of `asked` is a candidate any more.
    pub(super) fn skip_unless_asked(&mut self, asked: u64, skip: Label) {
        self.asm.mov(R1, R9);
        self.asm.and_imm(R1, asked, R0);
        self.asm.jump_if(Cond::Eq, R1, 0, skip);
    }

    /// Removes candidates, again without letting the verifier know which.
    pub(super) fn clear(&mut self, mask: u64) {
        if mask == 0 {
            return;
        }
        self.asm.load(Size::D, R0, FP, slot::PID_TGID);
        self.asm.mov_imm(R1, !mask);
        self.asm.alu_reg(Alu::Xor, R1, R0);
        self.asm.alu_reg(Alu::Xor, R1, R0);
        self.asm.alu_reg(Alu::And, R9, R1);
    }

    fn epilogue(&mut self) {
        self.asm.source("release and return");
        self.asm.bind(self.done);
        self.release_scratch();
        if self.reads_saved() {
            self.drop_saved();
        }
        match self.program.attach.flavour() {
            Flavour::FmodRet | Flavour::Lsm => self.asm.load(Size::D, R0, FP, slot::RETURN),
            _ => self.asm.mov_imm(R0, 0),
        }
        self.asm.exit();
    }
}

const _: () = assert!(text_flag::LENGTH > scratch::TEXT_MAX);
