//! In: diagnostics, names, messages of any length. Out: text of one line and bounded length, for people.

use policy_compiler::diagnostic::Diagnostic;

/// Names that are spelt out.
pub(crate) const NAMES: usize = 5;

/// A diagnostic on one line.
pub(crate) fn line(diagnostic: &Diagnostic) -> String {
    let Diagnostic { path, message, help, .. } = diagnostic;
    let place = if path.is_empty() { String::new() } else { format!("{path}: ") };
    match help {
        Some(help) => one_line(&format!("{place}{message}; {help}")),
        None => one_line(&format!("{place}{message}")),
    }
}

/// `text` without line breaks and other control characters.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_control()).map(str::trim).filter(|part| !part.is_empty()).collect();
    words.join(" ")
}

/// At most `limit` bytes of `text`, on one line; what was cut off shows as `…`.
pub(crate) fn clip(text: &str, limit: usize) -> String {
    let text = one_line(text);
    if text.len() <= limit {
        return text;
    }
    let room = limit.saturating_sub('…'.len_utf8());
    let end = (0..=room).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// `3 nodes`, `1 node`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// The first few things of many, in order, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Some5<T> {
    /// The first five.
    pub(crate) first: Vec<T>,
    /// All.
    pub(crate) count: usize,
}

impl<T> Default for Some5<T> {
    fn default() -> Self {
        Some5 { first: Vec::new(), count: 0 }
    }
}

impl<T> Some5<T> {
    /// One more.
    pub(crate) fn push(&mut self, item: T) {
        if self.first.len() < NAMES {
            self.first.push(item);
        }
        self.count += 1;
    }
}

impl Some5<&str> {
    /// `a, b, c and 2 others`.
    pub(crate) fn names(&self) -> String {
        let names = self.first.join(", ");
        match self.count.saturating_sub(self.first.len()) {
            0 => names,
            more => format!("{names} and {}", counted(more, "other")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy_compiler::diagnostic::Code;

    #[test]
    fn text_is_one_line_of_bounded_length() {
        assert_eq!(clip("a\n  b\t\u{1b}c", 100), "a b c");
        assert_eq!(clip("äöü", 6), "äöü");
        assert_eq!(clip("äöüä", 7), "äö…");
        assert_eq!(clip("äöü", 3), "…");
        let problem = Diagnostic::error(Code::UnknownFunction, "spec.kprobes[0].call", "no `x`");
        assert_eq!(
            line(&problem.clone().with_help("did you mean `y`?")),
            "spec.kprobes[0].call: no `x`; did you mean `y`?"
        );
        assert_eq!(line(&Diagnostic::error(Code::Malformed, "", "bad")), "bad");
    }

    #[test]
    fn five_names_are_spelt_out() {
        let mut names = Some5::default();
        for name in ["a", "b", "c", "d", "e"] {
            names.push(name);
        }
        assert_eq!(names.names(), "a, b, c, d, e");
        names.push("f");
        assert_eq!(names.names(), "a, b, c, d, e and 1 other");
    }
}
