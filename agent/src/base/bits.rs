//! In: the sets that a running process turned out to be in, or no longer. Out: its bits in the map `processes`.

use aya::programs::{ProgramError, RawTracePoint};
use aya::{RawTracePointRunOptions, TestRun};

use super::{BaseError, error};

/// Bits of one word to set, then bits to clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WordChange {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear.
    pub clear: u64,
}

/// A change of one word of a process's bits.
///
/// It is made in the kernel, on the entry itself, so that nothing else in the entry is touched. A fork at the same
/// moment may copy the old bits to the child: whoever changes all processes looks once more for new ones after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BitsChange {
    /// The process.
    pub tgid: u32,
    /// Start of the image that is meant; another image of the same process is left alone.
    pub start: u64,
    /// Index of the word in each of the three.
    pub word: u32,
    /// Sets of this image's binary.
    pub own: WordChange,
    /// Sets of the parent's binary.
    pub parent: WordChange,
    /// Sets of ancestors and earlier images.
    pub inherited: WordChange,
}

pub(super) fn apply(program: &RawTracePoint, change: &BitsChange) -> Result<bool, BaseError> {
    let mut options = RawTracePointRunOptions::new();
    let args = [
        u64::from(change.tgid),
        change.start,
        u64::from(change.word),
        change.own.set,
        change.own.clear,
        change.parent.set,
        change.parent.clear,
        change.inherited.set,
        change.inherited.clear,
    ];
    for (slot, value) in options.args.iter_mut().zip(args) {
        *slot = value;
    }
    let result = program
        .test_run(options)
        .map_err(|source: ProgramError| error::load(super::SET_PROCESS_BITS, source))?;
    Ok(result.return_value == 1)
}
