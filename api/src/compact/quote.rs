//! In: text from processes, which they choose. Out: text that cannot disturb a terminal or be taken for two words.

use crate::number::push_hex;

/// Appends `text` as it is, or, if it has a space or a character that cannot be printed, in quotes with escapes.
pub(super) fn push(out: &mut String, text: &str) {
    if text.chars().all(|c| c != ' ' && printable(c)) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            _ if printable(c) => out.push(c),
            _ => push_escape(out, u32::from(c)),
        }
    }
    out.push('"');
}

fn push_escape(out: &mut String, c: u32) {
    match c {
        0..=0x7f => {
            out.push_str("\\x");
            push_hex::<2>(out, u64::from(c));
        }
        0x80..=0xffff => {
            out.push_str("\\u");
            push_hex::<4>(out, u64::from(c));
        }
        _ => {
            out.push_str("\\U");
            push_hex::<8>(out, u64::from(c));
        }
    }
}

/// Letters, marks, numbers, punctuation, symbols and the ASCII space.
fn printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // The standard library knows, but says so only by escaping. Behind another character it leaves marks alone,
    // and what it escapes becomes several characters.
    String::from_iter(['a', c]).escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str) -> String {
        let mut out = String::new();
        push(&mut out, text);
        out
    }

    #[test]
    fn plain_words_stay_as_they_are() {
        for text in
            ["", "cilium.io", "/etc/passwd", "a\"b\\c", "ünïcödé", "日本", "e\u{301}", "\u{fffd}", "🚀"]
        {
            assert_eq!(quoted(text), text);
        }
    }

    #[test]
    fn spaces_and_what_cannot_be_printed_bring_quotes_and_escapes() {
        for (text, expected) in [
            ("a b", r#""a b""#),
            ("a\nb", r#""a\nb""#),
            ("\x1b[31m", r#""\x1b[31m""#),
            ("\x00\x7f\x07\x08\x0b\x0c\r\t", r#""\x00\x7f\a\b\v\f\r\t""#),
            ("a \"b\" \\", r#""a \"b\" \\""#),
            ("\u{a0}", r#""\u00a0""#),
            ("\u{200b}\u{202e}", r#""\u200b\u202e""#),
            ("\u{e000}\u{10ffff}", r#""\ue000\U0010ffff""#),
            ("é \u{301}", "\"é \u{301}\""),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }
}
