//! In: events. Out: lines on standard output, many to one write.

use api::compact::{self, Style};
use api::event::Event;
use api::json;
use std::io::{self, IsTerminal, Write};

/// Text held back until the end of a batch of records; a longer batch is written in pieces of this size.
const BUFFER: usize = 64 * 1024;

/// How events are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// One line for people.
    Compact,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Standard output with its format.
#[derive(Debug)]
pub struct Output {
    format: Format,
    style: Style,
    buffer: String,
    failed: Option<io::Error>,
}

impl Output {
    /// Nothing written yet.
    pub fn new(format: Format, color: Color, timestamps: bool) -> Output {
        let color = match color {
            Color::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            Color::Always => true,
            Color::Never => false,
        };
        let style = Style { color, timestamps };
        Output { format, style, buffer: String::with_capacity(2 * BUFFER), failed: None }
    }

    /// Adds a line.
    pub fn event(&mut self, event: &Event) {
        match self.format {
            Format::Json => json::write_line(event, &mut self.buffer),
            Format::Compact => compact::write_line(event, self.style, &mut self.buffer),
        }
        if self.buffer.len() >= BUFFER {
            self.write();
        }
    }

    fn write(&mut self) {
        if self.failed.is_none() && !self.buffer.is_empty() {
            let mut out = io::stdout().lock();
            self.failed = out.write_all(self.buffer.as_bytes()).and_then(|()| out.flush()).err();
        }
        self.buffer.clear();
    }

    /// Writes what is held back.
    ///
    /// # Errors
    /// Standard output does not take it: its reader is gone, or its disk is full.
    pub fn flush(&mut self) -> io::Result<()> {
        self.write();
        self.failed.take().map_or(Ok(()), Err)
    }
}
