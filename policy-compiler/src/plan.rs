//! In: the [`ResolvedHook`]s of all policies. Out: one [`Program`] per attach point, for `lower`.
//!
//! All policies on one attach point share one program. Each selector of each policy is one bit of a candidate
//! mask; a test that several selectors share is evaluated once and clears the bits of all that fail it. What is
//! left when all tests are done are the matching selectors; per hook entry the lowest one wins.

mod build;
mod tests;
mod workloads;

use crate::resolve::{ResolvedArg, ResolvedHook};
use crate::typed::{
    CapabilitySet, IntTest, IntType, IpNet, NamespaceKind, Selector, Side, SockField, TextOp,
};
use api::artefact::{Attach, ProcessSet};

pub use build::plan;

/// Bits of a candidate mask: a register.
pub const BANK_BITS: usize = 64;

/// Bank of entries without selectors.
pub const NO_BANK: usize = usize::MAX;

/// One program to emit.
#[derive(Debug)]
pub struct Program<'a> {
    /// Program type and target.
    pub attach: Attach,
    /// Distinct arguments of all entries.
    pub args: Vec<ResolvedArg>,
    /// Hook entries, in the order of policy keys and documents.
    pub entries: Vec<Entry<'a>>,
    /// Masks with their tests.
    pub banks: Vec<Bank>,
    /// Distinct sets that are tested in the process bits.
    pub sets: Vec<ProcessSet>,
}

/// One hook entry of one policy in a program.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The hook.
    pub hook: ResolvedHook<'a>,
    /// Which part of its work this program does.
    pub role: Role,
    /// Arguments as indices into [`Program::args`].
    pub args: Vec<usize>,
    /// The return value, likewise.
    pub ret: Option<usize>,
    /// Index into [`Program::banks`].
    pub bank: usize,
    /// First bit in the bank; one per selector, or one if there is none.
    pub first_bit: usize,
}

/// Which part of a hook's work a program does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Full,
    /// Entry program of a hook that posts at return: signals and overrides only.
    EnforceOnly,
    /// Return program of a hook that enforces at entry: events only.
    PostOnly,
    /// Entry program of a hook on a kretprobe: keeps the arguments; it has no selectors here.
    Save,
}

/// Up to 64 selectors and their tests.
#[derive(Debug, Default)]
pub struct Bank {
    /// Bits in use.
    pub mask: u64,
    /// Tests in the order of evaluation: cheapest first.
    pub tests: Vec<TestUse>,
}

/// A test and who needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct TestUse {
    /// The test.
    pub test: Test,
    /// Selectors that need it to hold.
    pub holds: u64,
    /// Selectors that need it not to hold.
    pub fails: u64,
    /// Field path of the first selector that asks.
    pub source: String,
}

impl TestUse {
    /// All selectors that ask; a value that cannot be read clears them all.
    pub fn asked(&self) -> u64 {
        self.holds | self.fails
    }
}

/// A test without its negation.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// Thread group id in the initial pid namespace is one of these.
    HostPid(Vec<u32>),
    /// Thread group id in the innermost pid namespace is one of these.
    NamespacePid {
        /// Process ids.
        values: Vec<u32>,
        /// Or that of one of its ancestors, in theirs.
        ancestors: bool,
    },
    /// Process bit.
    ProcessSet {
        /// Index into [`Program::sets`].
        set: usize,
        /// Of the parent.
        parent: bool,
        /// Or of an ancestor.
        inherited: bool,
    },
    /// Namespace inode of the current task is one of these.
    Namespace {
        /// Kind.
        kind: NamespaceKind,
        /// Inode numbers.
        inodes: Vec<u32>,
    },
    /// A capability of `mask` is in the current credentials' set.
    Capabilities {
        /// Set.
        set: CapabilitySet,
        /// Unreadable (so neither holds nor fails) in the host's user namespace.
        namespace_only: bool,
        /// Bits.
        mask: u64,
    },
    /// Integer or capability set.
    Int {
        /// Index into [`Program::args`].
        arg: usize,
        /// Width and sign of the comparison.
        ty: IntType,
        /// Comparison.
        test: IntTest,
    },
    /// `((old ^ new) & new) != 0`.
    CapabilitiesGained {
        /// Index into [`Program::args`].
        old: usize,
        /// Likewise.
        new: usize,
    },
    /// File type bits of `i_mode`.
    FileType {
        /// Index into [`Program::args`].
        arg: usize,
        /// `S_IF*`.
        modes: Vec<u16>,
    },
    /// Address in one of the networks.
    Addr {
        /// Index into [`Program::args`].
        arg: usize,
        /// Which end.
        side: Side,
        /// Networks.
        nets: Vec<IpNet>,
    },
    /// Port in one of the ranges.
    Port {
        /// Index into [`Program::args`].
        arg: usize,
        /// Which end.
        side: Side,
        /// Inclusive.
        ranges: Vec<(u16, u16)>,
    },
    /// Protocol, family or state in one of the ranges.
    SockField {
        /// Index into [`Program::args`].
        arg: usize,
        /// Field.
        field: SockField,
        /// Inclusive.
        ranges: Vec<(u32, u32)>,
    },
    /// Text.
    Text {
        /// Index into [`Program::args`].
        arg: usize,
        /// Part.
        op: TextOp,
        /// Sorted and distinct.
        values: Vec<Vec<u8>>,
    },
}

impl Program<'_> {
    /// Whether it takes part in judging each call once while it is replaced: see [`api::artefact::OVERLAP`].
    pub fn overlaps(&self) -> bool {
        self.attach.flavour().newest_runs_first()
    }
}

impl Entry<'_> {
    /// Selectors with their bit; a hook without selectors has one bit and no selector.
    pub fn selectors(&self) -> Vec<(usize, Option<&Selector>)> {
        let selectors = &self.hook.hook.selectors;
        if selectors.is_empty() {
            return vec![(self.first_bit, None)];
        }
        selectors.iter().enumerate().map(|(i, selector)| (self.first_bit + i, Some(selector))).collect()
    }

    /// Bits of the entry in its bank.
    pub fn mask(&self) -> u64 {
        self.selectors().iter().fold(0, |mask, (bit, _)| mask | 1 << bit)
    }
}
