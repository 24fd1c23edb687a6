//! In: the texts of new images. Out: the same, or their beginnings when those of all images would take too much memory.
//!
//! A process may have arguments of 260 KiB, and there is no bound to how fast processes come. Forks share the texts of
//! their origin, and a parent's are kept by its children: so what counts is each text once, until nobody has it.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use api::event::{Process, ProcessFlags, Text};

/// Bytes of long texts held before they are cut. A node with some thousand processes holds less than a megabyte.
const LIMIT: usize = 32 << 20;
/// Bytes up to which a text is not counted: what images are reckoned with.
const SHORT: usize = 128;
/// Bytes of a path that stay when it is cut. Together with the others' at most 1.3 KiB for each image.
const PATH: usize = 1024;
/// Texts that come after one look at what is still held before the next, while there is no room.
const PATIENCE: u32 = 1024;

/// The texts of all images.
pub(super) struct Texts {
    long: VecDeque<(Weak<str>, usize)>,
    /// Of those, what was held at the last look, and all since.
    bytes: usize,
    limit: usize,
    patience: u32,
    cut: u64,
}

impl Texts {
    pub(super) fn new() -> Texts {
        Texts::with_limit(LIMIT)
    }

    pub(super) fn with_limit(limit: usize) -> Texts {
        Texts { long: VecDeque::new(), bytes: 0, limit, patience: 0, cut: 0 }
    }

    /// Whether it is time to look at what is still held.
    pub(super) fn is_due(&mut self) -> bool {
        let is_full = self.bytes >= self.limit;
        if is_full && self.patience > 0 {
            self.patience -= 1;
            return false;
        }
        is_full
    }

    /// Forgets what nobody has any more. Whether that makes room: enough, that looking stays rare.
    pub(super) fn look(&mut self) -> bool {
        self.long.retain(|(text, _)| text.strong_count() > 0);
        self.bytes = self.long.iter().map(|(_, bytes)| bytes).sum();
        let has_room = self.bytes <= self.limit / 8 * 7;
        self.patience = if has_room { 0 } else { PATIENCE };
        has_room
    }

    /// What the image is to hold: the process, or one with shorter texts that says so.
    pub(super) fn keep(&mut self, process: Arc<Process>) -> Arc<Process> {
        let is_long = |text: &&Text| text.len() > SHORT;
        let texts = [&process.cwd, &process.binary, &process.arguments];
        let kept = match self.bytes >= self.limit && texts.iter().any(is_long) {
            true => {
                self.cut += 1;
                Arc::new(cut(&process))
            }
            false => Arc::clone(&process),
        };
        for text in [&kept.cwd, &kept.binary, &kept.arguments].into_iter().filter(is_long) {
            self.bytes += text.len();
            self.long.push_back((text.downgrade(), text.len()));
        }
        kept
    }

    /// Images whose texts were cut.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }
}

fn cut(process: &Process) -> Process {
    process.with(|info| {
        for (text, limit, flag) in [
            (&mut info.arguments, SHORT, ProcessFlags::TRUNC_ARGS),
            (&mut info.cwd, SHORT, ProcessFlags::ERROR_PATH_RESOLUTION_CWD),
            (&mut info.binary, PATH, ProcessFlags::ERROR_FILENAME),
        ] {
            if text.len() > limit {
                *text = text.get(..text.floor_char_boundary(limit)).unwrap_or_default().into();
                info.flags |= flag;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::event::ProcessInfo;

    fn process(arguments: usize) -> Arc<Process> {
        let arguments = "ä".repeat(arguments / 2).into();
        Arc::new(Process::new(ProcessInfo { arguments, ..ProcessInfo::default() }))
    }

    #[test]
    fn what_is_held_is_bounded_and_what_is_not_makes_room() {
        let mut texts = Texts::with_limit(100_000);
        let add = |texts: &mut Texts| {
            if texts.is_due() {
                texts.look();
            }
            texts.keep(process(10_000))
        };
        let all: Vec<_> = (0..1_000).map(|_| add(&mut texts)).collect();
        let held: usize = all.iter().map(|process| process.arguments.len()).sum();
        assert!(held <= 110_000 + 1_000 * SHORT && texts.cut() == 990, "{held} {}", texts.cut());
        assert!(all[999].flags.contains(ProcessFlags::TRUNC_ARGS) && all[0].flags == ProcessFlags::default());
        drop(all);
        (0..PATIENCE + 1).for_each(|_| drop(add(&mut texts)));
        assert_eq!(add(&mut texts).arguments.len(), 10_000);
    }

    #[test]
    fn a_text_that_many_have_counts_once() {
        let mut texts = Texts::with_limit(100_000);
        let origin = texts.keep(process(10_000));
        let forks: Vec<_> = (0..1_000).map(|pid| origin.with(|info| info.pid = pid)).collect();
        assert!(!texts.is_due() && forks[999].arguments.as_ptr() == origin.arguments.as_ptr());
    }
}
