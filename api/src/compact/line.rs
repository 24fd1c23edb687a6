//! In: the parts of a line, in order. Out: the line, its parts coloured and separated by single spaces.

use std::fmt::Write;

use super::quote;
use crate::event::{Event, Process};
use crate::names::CAPABILITIES;

/// What a part is, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    /// What happened.
    Event,
    /// Where.
    Place,
    /// Who.
    Binary,
    /// With what.
    Detail,
    /// How it ended.
    Outcome,
    /// That it may do nearly everything.
    Privilege,
}

impl Paint {
    /// Terminal escape that starts the colour.
    fn start(self) -> &'static str {
        match self {
            Paint::Event => "\x1b[34m",
            Paint::Place => "\x1b[33m",
            Paint::Binary => "\x1b[32m",
            Paint::Detail => "\x1b[36m",
            Paint::Outcome => "\x1b[31m",
            Paint::Privilege => "\x1b[35m",
        }
    }
}

const RESET: &str = "\x1b[0m";

/// Bit of CAP_SYS_ADMIN, the one capability that lines show.
const SYS_ADMIN: u32 = 21;
/// Column of that trailer: right of what fits most lines.
const TRAILER_COLUMN: usize = 120;

/// A line under construction. [`Line::head`] starts it, [`Line::end`] ends it.
pub(super) struct Line<'a> {
    event: &'a Event,
    out: &'a mut String,
    color: bool,
    /// Offset in `out` at which the line starts.
    start: usize,
}

impl<'a> Line<'a> {
    pub(super) fn new(event: &'a Event, color: bool, out: &'a mut String) -> Self {
        let start = out.len();
        Line { event, out, color, start }
    }

    /// What happened, where, and by which binary. `symbol` ends with the space that separates it from `name`.
    pub(super) fn head(&mut self, symbol: &str, name: &str) {
        self.painted(Paint::Event, |out| {
            let _ = write!(out, "{symbol}{name:<7}");
        });
        let process: &'a Process = &self.event.subject().process;
        match &process.pod {
            Some(pod) => self.plain(Paint::Place, format_args!("{}/{}", pod.namespace, pod.name)),
            None => self.text(Paint::Place, &self.event.node_name),
        }
        self.text(Paint::Binary, &process.binary);
    }

    /// A part that a process may have chosen.
    pub(super) fn text(&mut self, paint: Paint, text: &str) {
        self.out.push(' ');
        self.painted(paint, |out| quote::push(out, text));
    }

    /// A part that is ours.
    pub(super) fn plain(&mut self, paint: Paint, text: std::fmt::Arguments) {
        self.out.push(' ');
        self.painted(paint, |out| {
            let _ = out.write_fmt(text);
        });
    }

    /// Adds the trailer, if the process has the privilege that it names, and the newline.
    pub(super) fn end(mut self) {
        let caps = &self.event.subject().process.cap;
        if caps.is_some_and(|caps| caps.effective & (1 << SYS_ADMIN) != 0) {
            let columns = self.out.get(self.start..).map_or(0, visible_chars);
            for _ in columns..TRAILER_COLUMN {
                self.out.push(' ');
            }
            self.plain(Paint::Privilege, format_args!("🛑 {}", CAPABILITIES.show(SYS_ADMIN)));
        }
        self.out.push('\n');
    }

    fn painted(&mut self, paint: Paint, write: impl FnOnce(&mut String)) {
        if !self.color {
            return write(self.out);
        }
        self.out.push_str(paint.start());
        let start = self.out.len();
        write(self.out);
        if self.out.len() == start {
            // Nothing to colour.
            self.out.truncate(start - paint.start().len());
        } else {
            self.out.push_str(RESET);
        }
    }
}

/// Characters of `text` without the colour escapes, the only escapes that a line has.
fn visible_chars(text: &str) -> usize {
    let mut in_escape = false;
    text.chars()
        .filter(|c| match (in_escape, c) {
            (false, '\x1b') => {
                in_escape = true;
                false
            }
            (true, 'm') => {
                in_escape = false;
                false
            }
            (inside, _) => !inside,
        })
        .count()
}
