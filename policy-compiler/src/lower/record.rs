//! In: a matching selector. Out: its event (`bpf-programs/c/records.h`), built in scratch memory and copied to the ring
//! buffer once. Arguments of fixed size come first, so that their places are known; the schema gives the order.

use super::actions::Matched;
use super::frame::{Helper, scratch, slot, text_flag};
use super::sockets::{SKB, SOCK, SOCKADDR, Tuple};
use super::{Lower, Lowered};
use crate::emit::{Alu, Cond, FP, Label, R0, R1, R2, R3, R4, R5, R7, R8, Size};
use crate::plan::{Entry, Test};
use crate::resolve::ResolvedArg;
use crate::typed::{ArgType, IntType};
use api::artefact::{PolicyCounter, RelocKind, SharedMap};

/// `struct hook_record`.
const HEADER: i32 = 48;
const RECORD_HOOK: i32 = 5;
/// `struct hook_arg`.
const ARG_HEADER: i32 = 8;

/// `enum arg_kind`, `records.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
enum Kind {
    Int = 1,
    Text = 2,
    Path = 3,
    Bytes = 4,
    Sock = 5,
    Sockaddr = 6,
    Skb = 7,
    Cred = 8,
    None = 9,
}

const ARG_ERROR: i32 = 1;
const ARG_TRUNCATED: i32 = 2;

impl ArgType {
    fn record_kind(self) -> Kind {
        match self {
            ArgType::Auto
            | ArgType::Int(_)
            | ArgType::Capability
            | ArgType::CapSet(_)
            | ArgType::Syscall64 => Kind::Int,
            ArgType::String | ArgType::Filename => Kind::Text,
            ArgType::CharBuf => Kind::Bytes,
            ArgType::File | ArgType::Fd | ArgType::Path | ArgType::Dentry | ArgType::LinuxBinprm => {
                Kind::Path
            }
            ArgType::Sock | ArgType::Socket => Kind::Sock,
            ArgType::Sockaddr => Kind::Sockaddr,
            ArgType::Skb => Kind::Skb,
            ArgType::Cred => Kind::Cred,
            ArgType::Nop => Kind::None,
        }
    }
}

impl Kind {
    /// Payload bytes of kinds with a fixed size.
    fn size(self) -> i32 {
        match self {
            Kind::Int => 8,
            Kind::Sock | Kind::Skb => 64,
            Kind::Sockaddr => 24,
            Kind::Cred => 80,
            Kind::None | Kind::Text | Kind::Path | Kind::Bytes => 0,
        }
    }

    fn is_text(self) -> bool {
        matches!(self, Kind::Text | Kind::Path | Kind::Bytes)
    }
}

/// Positions of an entry's values in its event: fixed sizes first, each group in the order of the policy; the return
/// value is last in the order.
pub(crate) fn record_order(entry: &Entry<'_>, args: &[ResolvedArg]) -> Vec<(usize, usize)> {
    let all = entry.args.iter().chain(&entry.ret).copied().enumerate();
    let is_text = |arg: usize| args.get(arg).is_some_and(|arg| arg.ty.record_kind().is_text());
    let (texts, fixed): (Vec<_>, Vec<_>) = all.partition(|(_, arg)| is_text(*arg));
    fixed.into_iter().chain(texts).collect()
}

impl Lower<'_> {
    /// Writes one event, unless its rate limit forbids.
    pub(super) fn event(&mut self, entry: &Entry<'_>, matched: Matched) -> Lowered<()> {
        let [lost, end] = std::array::from_fn(|_| self.asm.label());
        let order = record_order(entry, &self.program.args);
        let args: Vec<ResolvedArg> =
            order.iter().filter_map(|(_, arg)| self.program.args.get(*arg)).copied().collect();
        let texts: Vec<usize> =
            order.iter().filter_map(|(_, arg)| self.texts.iter().position(|text| text == arg)).collect();
        self.acquire_scratch(lost);
        for text in &texts {
            if !self.is_rendered(entry, matched, *text) {
                self.render(*text)?;
            }
            self.remember_mode(*text)?;
        }
        self.header(matched, args.len());
        let mut at = HEADER;
        let mut words = Vec::new();
        for arg in args.iter().filter(|arg| !arg.ty.record_kind().is_text()) {
            let start = at;
            at = self.fixed_arg(*arg, at)?;
            // Two sockets of one connection after the other are the same thing to a rate limit.
            let cookie = if arg.ty.record_kind() == Kind::Sock { 8 } else { 0 };
            words.extend((start..at - cookie).step_by(8));
        }
        if let Some(limit) = matched.rate_limit {
            self.rate_limit(entry, matched, limit, &words, &texts, end);
        }
        self.asm.mov_imm(R8, 0);
        let share = (scratch::EVENT_TEXT / texts.len().max(1) as i32) & !7;
        for text in &texts {
            at = self.text_arg(*text, at, share.min(scratch::TEXT_MAX));
        }
        self.output(matched, at);
        self.asm.jump(end);
        self.asm.bind(lost);
        self.count(matched.entry, &[PolicyCounter::LostScratch]);
        self.asm.bind(end);
        Ok(())
    }

    /// Whether this selector can only have matched with the text in its region: it has a test that needs the text to
    /// hold. Rendering once more would cost nothing at run time, but the verifier the whole walk.
    fn is_rendered(&self, entry: &Entry<'_>, matched: Matched, text: usize) -> bool {
        let arg = self.texts.get(text);
        let bit = entry.first_bit + usize::from(matched.selector);
        let tests = self.program.banks.get(entry.bank).map(|bank| bank.tests.as_slice()).unwrap_or_default();
        matched.selector != u16::MAX
            && tests.iter().any(|test| {
                matches!(&test.test, Test::Text { arg: of, .. } if Some(of) == arg)
                    && test.holds >> bit & 1 == 1
            })
    }

    fn put_imm(&mut self, size: Size, at: i32, value: i32) {
        self.asm.store_imm(size, R7, (scratch::EVENT + at) as i16, value);
    }

    fn put(&mut self, size: Size, at: i32, value: crate::emit::Reg) {
        self.asm.store(size, R7, (scratch::EVENT + at) as i16, value);
    }

    fn header(&mut self, matched: Matched, args: usize) {
        let known = self.program.banks.iter().flat_map(|bank| &bank.tests);
        let known = known.into_iter().any(|test| matches!(test.test, Test::ProcessSet { .. }));
        self.put_imm(Size::W, 0, RECORD_HOOK | (matched.return_action as i32) << 16);
        self.asm.call(Helper::BootTime);
        self.put(Size::D, 8, R0);
        self.asm.load(Size::D, R0, FP, slot::PID_TGID);
        self.put(Size::W, 20, R0);
        self.asm.alu(Alu::Rsh, R0, 32);
        self.put(Size::W, 16, R0);
        self.process_start(known);
        self.put(Size::D, 24, R0);
        self.asm.store_reloc(R7, (scratch::EVENT + 32) as i16, RelocKind::ProgramId, 0);
        self.put_imm(Size::W, 36, (matched.entry as i32 & 0xffff) | i32::from(matched.selector) << 16);
        self.put_imm(Size::W, 40, matched.action as i32);
        self.put_imm(Size::W, 44, args as i32);
    }

    /// Returns the place after it.
    fn fixed_arg(&mut self, arg: ResolvedArg, at: i32) -> Lowered<i32> {
        let kind = arg.ty.record_kind();
        let [unread, end] = std::array::from_fn(|_| self.asm.label());
        self.put_imm(Size::W, at, kind as i32);
        self.put_imm(Size::W, at + 4, kind.size());
        let payload = at + ARG_HEADER;
        if kind != Kind::Int {
            for word in 0..kind.size() / 8 {
                self.put_imm(Size::D, payload + 8 * word, 0);
            }
        }
        let tuple = |layout: Tuple| Tuple { base: R7, at: (scratch::EVENT + payload) as i16, ..layout };
        match kind {
            Kind::Int => {
                let ty = if let ArgType::Int(ty) = arg.ty { ty } else { int_of(arg.ty) };
                self.scalar(R1, arg, ty, unread)?;
                self.put(Size::D, payload, R1);
            }
            Kind::Sock => self.sock_fields(arg, tuple(SOCK), true, unread)?,
            Kind::Sockaddr => self.sockaddr_fields(arg, tuple(SOCKADDR), unread)?,
            Kind::Skb => self.skb_arg(arg, tuple(SKB), unread)?,
            Kind::Cred => self.cred_arg(arg, payload, unread)?,
            Kind::None | Kind::Text | Kind::Path | Kind::Bytes => {}
        }
        self.asm.jump(end);
        self.asm.bind(unread);
        self.put_imm(Size::W, at, kind as i32 | ARG_ERROR << 16);
        if kind == Kind::Int {
            // Not what an earlier event left there.
            self.put_imm(Size::D, payload, 0);
        }
        self.asm.bind(end);
        Ok(payload + kind.size())
    }

    fn skb_arg(&mut self, arg: ResolvedArg, to: Tuple, unread: Label) -> Lowered<()> {
        self.skb_fields(arg, to, unread)?;
        for (member, at) in [("hash", 0), ("len", 4), ("priority", 8), ("mark", 12)] {
            let off = self.offset("sk_buff", member)?;
            self.load(Size::W, R1, R8, off, false);
            self.asm.store(Size::W, to.base, to.at + at, R1);
        }
        Ok(())
    }

    fn cred_arg(&mut self, arg: ResolvedArg, at: i32, unread: Label) -> Lowered<()> {
        self.fetch(R8, arg.fetch);
        self.asm.jump_if(Cond::Eq, R8, 0, unread);
        let ids = ["uid", "gid", "euid", "egid", "suid", "sgid", "fsuid", "fsgid"];
        for (place, member) in (0..).step_by(4).zip(ids) {
            let off = self.offset("cred", member)?;
            self.load(Size::W, R1, R8, off, false);
            if place == 0 {
                self.jump_if_unread(false, unread);
            }
            self.put(Size::W, at + place, R1);
        }
        for (place, member) in [(32, "cap_permitted"), (40, "cap_effective"), (48, "cap_inheritable")] {
            let off = self.offset("cred", member)?;
            self.load(Size::D, R1, R8, off, false);
            self.put(Size::D, at + place, R1);
        }
        let securebits = self.offset("cred", "securebits")?;
        self.load(Size::W, R1, R8, securebits, false);
        self.put(Size::W, at + 56, R1);
        self.chase(R8, &[("cred", "user_ns")], false)?;
        for (place, member) in [(60, "level"), (64, "owner"), (68, "group"), (72, "ns.inum")] {
            let off = self.offset("user_namespace", member)?;
            self.load(Size::W, R1, R8, off, false);
            self.put(Size::W, at + place, R1);
        }
        Ok(())
    }

    /// The mode of a path argument, kept in the upper half of its slot's first word.
    fn remember_mode(&mut self, text: usize) -> Lowered<()> {
        let arg = self.texts.get(text).and_then(|arg| self.program.args.get(*arg)).copied();
        let Some(arg) = arg.filter(|arg| arg.ty.is_path()) else { return Ok(()) };
        let [none, end] = std::array::from_fn(|_| self.asm.label());
        self.dentry_and_mount(arg, none)?;
        self.asm.load(Size::D, R8, FP, slot::OBJECT);
        self.mode_of_dentry(none)?;
        self.asm.store(Size::H, FP, slot::text(text) + 2, R1);
        self.asm.jump(end);
        self.asm.bind(none);
        self.asm.store_imm(Size::H, FP, slot::text(text) + 2, 0);
        self.asm.bind(end);
        Ok(())
    }

    /// r8: bytes of text so far. Returns the fixed part of the place after it.
    fn text_arg(&mut self, text: usize, at: i32, share: i32) -> i32 {
        let arg = self.texts.get(text).and_then(|arg| self.program.args.get(*arg)).copied();
        let Some(arg) = arg else { return at };
        let kind = arg.ty.record_kind();
        let prefix = if kind == Kind::Text { 0 } else { 8 };
        let fits = self.asm.label();
        self.text_state(R1, text);
        // Flags of the argument from flags of the text.
        self.asm.mov(R3, R1);
        self.asm.alu(Alu::Rsh, R3, text_flag::ERROR.trailing_zeros() as i32);
        self.asm.alu(Alu::And, R3, ARG_ERROR | ARG_TRUNCATED);
        self.asm.mov(R2, R1);
        self.asm.alu(Alu::And, R2, text_flag::LENGTH);
        self.asm.jump_if(Cond::Le, R2, share, fits);
        self.asm.mov_imm(R2, share as u64);
        self.asm.alu(Alu::Or, R3, ARG_TRUNCATED);
        self.asm.bind(fits);
        self.asm.alu(Alu::Lsh, R3, 16);
        self.asm.alu(Alu::Or, R3, kind as i32);
        self.asm.mov(R5, R7);
        self.asm.alu_reg(Alu::Add, R5, R8);
        let place = (scratch::EVENT + at) as i16;
        self.asm.store(Size::W, R5, place, R3);
        self.asm.mov(R4, R2);
        self.asm.alu(Alu::Add, R4, prefix);
        self.asm.store(Size::W, R5, place + 4, R4);
        match kind {
            Kind::Path => {
                self.asm.load(Size::H, R4, FP, slot::text(text) + 2);
                self.asm.store(Size::D, R5, place + 8, R4);
            }
            Kind::Bytes => {
                self.asm.store(Size::D, FP, slot::OBJECT, R2);
                self.asm.store(Size::D, FP, slot::OBJECT2, R8);
                self.buffer_size(arg);
                self.asm.load(Size::D, R2, FP, slot::OBJECT);
                self.asm.load(Size::D, R8, FP, slot::OBJECT2);
                self.bound_text(share);
                self.asm.mov(R5, R7);
                self.asm.alu_reg(Alu::Add, R5, R8);
                self.asm.store(Size::D, R5, place + 8, R1);
            }
            _ => {}
        }
        self.copy_text(text, kind, i32::from(place) + ARG_HEADER + prefix, share);
        at + ARG_HEADER + prefix
    }

    /// Bounds that the verifier lost when r2 and r8 were on the stack.
    fn bound_text(&mut self, share: i32) {
        let ok = self.asm.label();
        self.asm.jump_if(Cond::Le, R2, share, ok);
        self.asm.mov_imm(R2, share as u64);
        self.asm.bind(ok);
        self.asm.alu(Alu::And, R8, 0x3fff);
    }

    /// Copies r2 bytes to r5 + `to` and adds them, padded to 8, to r8.
    fn copy_text(&mut self, text: usize, kind: Kind, to: i32, share: i32) {
        let [none, bounded] = std::array::from_fn(|_| self.asm.label());
        self.asm.jump_if(Cond::Eq, R2, 0, none);
        self.asm.store(Size::D, FP, slot::OBJECT, R2);
        self.asm.mov(R1, R5);
        self.asm.alu(Alu::Add, R1, to);
        if kind == Kind::Path {
            self.asm.load(Size::H, R3, FP, slot::text(text));
            self.asm.alu_reg(Alu::Add, R3, R7);
        } else {
            self.asm.mov(R3, R7);
        }
        self.asm.alu(Alu::Add, R3, scratch::region(text));
        self.asm.call(Helper::ReadKernel);
        self.asm.load(Size::D, R2, FP, slot::OBJECT);
        self.asm.jump_if(Cond::Le, R2, share, bounded);
        self.asm.mov_imm(R2, share as u64);
        self.asm.bind(bounded);
        self.asm.alu(Alu::Add, R2, 7);
        self.asm.alu(Alu::And, R2, 0x1ff8);
        self.asm.alu_reg(Alu::Add, R8, R2);
        self.asm.bind(none);
    }

    fn output(&mut self, matched: Matched, at: i32) {
        let entry = matched.entry;
        let [lost, end] = std::array::from_fn(|_| self.asm.label());
        self.asm.mov(R3, R8);
        self.asm.alu(Alu::Add, R3, at);
        self.asm.jump_if(Cond::Gt, R3, scratch::EVENT_MAX, lost);
        self.put(Size::W, 4, R3);
        self.asm.shared_map(R1, SharedMap::Events);
        self.asm.mov(R2, R7);
        self.asm.alu(Alu::Add, R2, scratch::EVENT);
        self.asm.mov_imm(R4, 0);
        self.asm.call(Helper::RingOutput);
        self.asm.jump_if(Cond::Ne, R0, 0, lost);
        if matched.rate_limit.is_some() {
            self.begin_interval();
        }
        self.count(entry, &[PolicyCounter::Post]);
        self.asm.jump(end);
        self.asm.bind(lost);
        self.count(entry, &[PolicyCounter::LostRing]);
        self.asm.bind(end);
    }
}

fn int_of(ty: ArgType) -> IntType {
    match ty {
        ArgType::Capability => IntType::S32,
        _ => IntType::U64,
    }
}
