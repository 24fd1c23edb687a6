//! In: the text of a policy file. Out: its documents, each as a value tree or as the reason why not.

use serde::de::DeserializeSeed;
use serde_json::Value;

use super::INPUT_LIMIT;
use super::problems::printable;
use super::tree::Tree;
use crate::diagnostic::{Code, Diagnostic};

/// Most documents in one file; a bound on the length of the answer.
const DOCUMENT_LIMIT: usize = 1000;

/// Most flow collections (`[…]`, `{…}`) inside each other. The parser gives up at 128 by itself, but only after it
/// has read everything, in a time that grows with the depth: 1 MB of `[` would take minutes.
const DEPTH_LIMIT: usize = 1000;

/// One document of a file.
pub(super) struct Document {
    /// Line in the file, counted from 1, at which it begins.
    pub(super) line: usize,
    /// Its tree, or why there is none.
    pub(super) content: Result<Value, Diagnostic>,
}

impl Document {
    fn refused(line: usize, message: impl Into<String>, help: &str) -> Self {
        let diagnostic = Diagnostic::error(Code::Malformed, "", message).with_help(help);
        Self { line, content: Err(diagnostic) }
    }
}

/// Parses each document on its own, so that a malformed one does not hide the others.
pub(super) fn split(text: &str) -> Vec<Document> {
    if text.len() > INPUT_LIMIT {
        let message = format!("{} bytes of YAML are more than the limit of {INPUT_LIMIT}", text.len());
        return vec![Document::refused(1, message, "split the policies over several files")];
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    for (line, part) in parts(text) {
        if documents.len() == DOCUMENT_LIMIT {
            let message = format!("more than {DOCUMENT_LIMIT} documents in one file");
            documents.push(Document::refused(line, message, "split the policies over several files"));
            break;
        }
        if !is_blank(part) {
            documents.push(Document { line, content: parse(part, line) });
        }
    }
    if documents.is_empty() {
        documents.push(Document::refused(1, "no document", "a policy begins with `apiVersion` and `kind`"));
    }
    documents
}

/// The text between the lines that begin with `---`, which YAML allows nowhere inside a document.
fn parts(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let marker = line.strip_prefix("---").is_some_and(|rest| rest.trim_start().len() < rest.len());
        if (marker || line == "---") && offset > start {
            parts.push((start_line, text.get(start..offset).unwrap_or_default()));
            (start, start_line) = (offset, number + 1);
        }
        offset += line.len();
    }
    parts.push((start_line, text.get(start..).unwrap_or_default()));
    parts
}

/// Whether a part has nothing but comments, directives and markers.
fn is_blank(part: &str) -> bool {
    part.lines()
        .map(str::trim)
        .all(|line| line.is_empty() || line.starts_with(['#', '%']) || line == "---" || line == "...")
}

fn parse(part: &str, line: usize) -> Result<Value, Diagnostic> {
    if let Some(at) = too_deep(part) {
        let message = format!("more than {DEPTH_LIMIT} values inside each other at line {}", line + at);
        return Err(Diagnostic::error(Code::Malformed, "", message));
    }
    let tree = Tree::new();
    tree.deserialize(serde_yaml::Deserializer::from_str(part)).map_err(|error| {
        let message = printable(&shift_lines(&error.to_string(), line - 1), 300);
        Diagnostic::error(Code::Malformed, "", message)
    })
}

/// The line, counted from 0, at which flow collections are nested too deeply. What is quoted or a comment counts as
/// neither beginning nor end of one; a quote begins where the text of a value may begin.
fn too_deep(part: &str) -> Option<usize> {
    let (mut depth, mut line) = (0_usize, 0);
    let mut quote = None;
    let mut before = b'\n';
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        line += usize::from(byte == b'\n');
        match (quote, byte) {
            (Some(b'"'), b'\\') => {
                bytes.next();
            }
            (Some(end), _) if byte == end => quote = None,
            (Some(_), _) => {}
            (None, b'[' | b'{') => depth += 1,
            (None, b']' | b'}') => depth = depth.saturating_sub(1),
            (None, b'#') if before.is_ascii_whitespace() => {
                bytes.find(|byte| *byte == b'\n');
                line += 1;
            }
            (None, b'"' | b'\'') if depth > 0 && !is_word(before) => quote = Some(byte),
            _ => {}
        }
        if depth > DEPTH_LIMIT {
            return Some(line);
        }
        before = byte;
    }
    None
}

/// Whether a quote behind this byte is part of a word, as in `don't`.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// Line numbers of a parser's message, counted in the part, as line numbers of the file.
fn shift_lines(message: &str, by: usize) -> String {
    let mut shifted = String::with_capacity(message.len());
    let mut rest = message;
    while let Some((before, after)) = rest.split_once("line ") {
        shifted.push_str(before);
        shifted.push_str("line ");
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = after.split_at(digits);
        match number.parse::<usize>() {
            Ok(number) if tail.starts_with(" column ") => {
                shifted.push_str(&number.saturating_add(by).to_string());
            }
            _ => shifted.push_str(number),
        }
        rest = tail;
    }
    shifted.push_str(rest);
    shifted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_independent() {
        let text = "# first\na: 1\n---\nb: [\n--- # third\nc: 3\n---\n# nothing\n";
        let documents = split(text);
        let lines: Vec<_> = documents.iter().map(|document| document.line).collect();
        assert_eq!(lines, [1, 3, 5]);
        assert!(documents[0].content.is_ok());
        assert!(documents[2].content.is_ok());
        let broken = documents[1].content.as_ref().unwrap_err();
        assert!(broken.message.contains("line 5"), "{}", broken.message);
    }

    #[test]
    fn bombs_and_oversize_are_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert!(split(&bomb)[0].content.is_err());
        let text = "x".repeat(400_000);
        let wide = format!("a: &a {text}\nb: [{}]\n", vec!["*a"; 1000].join(", "));
        assert!(split(&wide)[0].content.is_err());
        assert!(split(&"[".repeat(100_000))[0].content.is_err());
        let deep = format!("a:\n{}", "{b: ".repeat(INPUT_LIMIT / 4 - 10));
        let problem = split(&deep).remove(0).content.expect_err("refused before it is parsed");
        assert!(problem.message.contains("inside each other at line 2"), "{}", problem.message);
        assert!(split(&" ".repeat(INPUT_LIMIT + 1))[0].content.is_err());
    }

    #[test]
    fn only_depth_counts() {
        let wide = format!("a: [{}]\n", "[x], {y: 1}, \"[[\", '{{', ".repeat(3000));
        assert_eq!(too_deep(&wide), None);
        assert_eq!(too_deep(&"# [[[[\n- it's [1]\n".repeat(2000)), None);
        assert_eq!(too_deep(&"[\"]\", ']', # ]\n".repeat(1001)), Some(1000));
    }

    #[test]
    fn lines_that_a_policy_makes_up_do_not_overflow() {
        let shift = |message: &str| shift_lines(message, 3);
        assert_eq!(shift("x at line 2 column 1"), "x at line 5 column 1");
        let made_up = format!("unknown `line {} column 1`", usize::MAX);
        assert_eq!(shift(&made_up), made_up);
    }

    #[test]
    fn duplicate_keys_are_refused() {
        let documents = split("a: 1\nb: 2\na: 3\n");
        let error = documents[0].content.as_ref().unwrap_err();
        assert!(error.message.contains("duplicate key `a`"), "{}", error.message);
    }
}
