//! In: pieces of long arguments, which come before the exec record that they belong to. Out: the arguments whole.

use std::collections::HashMap;

use super::ImageKey;

/// Bytes of arguments that wait at most: 16 execs with the longest arguments that the kernel side sends (260 KiB).
/// The exec record follows its pieces at once, so more than a few wait only if exec records were lost.
const LIMIT: usize = 16 * 260 * 1024;

/// Pieces whose exec record has not come yet.
#[derive(Default)]
pub(super) struct PendingArguments {
    /// Bytes so far, in order from the first piece on.
    by_key: HashMap<ImageKey, Pieces>,
    bytes: usize,
    orphaned: u64,
}

struct Pieces {
    first: u32,
    text: Vec<u8>,
}

impl PendingArguments {
    /// Keeps a piece that starts at byte `offset` of the arguments. One that does not continue the pieces before it
    /// is dropped: something in between was lost, and the text must not close over the gap.
    pub(super) fn add(&mut self, key: ImageKey, offset: u32, piece: &[u8]) {
        if self.bytes + piece.len() > LIMIT {
            self.orphaned += self.by_key.len() as u64;
            self.by_key.clear();
            self.bytes = 0;
        }
        let pieces = self.by_key.entry(key).or_insert_with(|| Pieces { first: offset, text: Vec::new() });
        if u64::from(pieces.first) + pieces.text.len() as u64 == u64::from(offset) {
            pieces.text.extend_from_slice(piece);
            self.bytes += piece.len();
        }
    }

    /// What came for this exec, if it continues at byte `offset` of its arguments.
    pub(super) fn take(&mut self, key: ImageKey, offset: u32) -> Option<Vec<u8>> {
        let pieces = self.by_key.remove(&key)?;
        self.bytes -= pieces.text.len();
        (pieces.first == offset).then_some(pieces.text)
    }

    /// Execs whose pieces were dropped because their record did not come.
    pub(super) fn orphaned(&self) -> u64 {
        self.orphaned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ImageKey = ImageKey { tgid: 5, start: 9 };

    #[test]
    fn pieces_come_together_in_order() {
        let mut pending = PendingArguments::default();
        pending.add(KEY, 4, b"abc");
        pending.add(KEY, 7, b"de");
        assert_eq!(pending.take(KEY, 4).as_deref(), Some(&b"abcde"[..]));
        assert_eq!((pending.take(KEY, 4), pending.bytes), (None, 0));
    }

    #[test]
    fn nothing_is_joined_over_a_gap() {
        let mut pending = PendingArguments::default();
        pending.add(KEY, 4, b"abc");
        pending.add(KEY, 9, b"x");
        assert_eq!(pending.take(KEY, 4).as_deref(), Some(&b"abc"[..]));
        pending.add(KEY, 9, b"x");
        assert_eq!(pending.take(KEY, 4), None);
        assert_eq!(pending.bytes, 0);
    }

    #[test]
    fn pieces_without_an_exec_are_bounded() {
        let mut pending = PendingArguments::default();
        let piece = vec![0; 16 * 1024];
        for tgid in 0..1000 {
            pending.add(ImageKey { tgid, start: 1 }, 0, &piece);
            assert!(pending.bytes <= LIMIT);
        }
        assert!(pending.orphaned() > 0);
    }
}
