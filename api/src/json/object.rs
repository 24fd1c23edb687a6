//! In: fields, in protocol order. Out: JSON text at the end of a buffer.
//!
//! Every method for a plain proto3 field leaves its zero value out; those for wrapped fields (`wrapped`,
//! `boolean`) do not.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::event::Timestamp;
use crate::number::{push_decimal, push_hex, push_signed};

/// An object under construction. [`Object::close`] ends it.
pub(super) struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Starts an object at the end of `out`.
    pub(super) fn open(out: &'a mut String) -> Self {
        out.push('{');
        Object { out, empty: true }
    }

    /// Ends the object.
    pub(super) fn close(self) {
        self.out.push('}');
    }

    /// The text so far, to append the value of a [`Object::key`] to.
    pub(super) fn buffer(&mut self) -> &mut String {
        self.out
    }

    /// Starts a field; its value must follow. Keys are names of the protocol, which need no escapes. Inlined,
    /// because copies of known length cost a few instructions, and others a call each.
    #[inline(always)]
    pub(super) fn key(&mut self, key: &'static str) {
        self.out.push_str(if self.empty { "\"" } else { ",\"" });
        self.empty = false;
        self.out.push_str(key);
        self.out.push_str("\":");
    }

    /// A string.
    #[inline]
    pub(super) fn string(&mut self, key: &'static str, value: &str) {
        if !value.is_empty() {
            self.key(key);
            push_string(self.out, value);
        }
    }

    /// An entry of a map: its key is data.
    pub(super) fn entry(&mut self, key: &str, value: &str) {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        push_string(self.out, key);
        self.out.push(':');
        push_string(self.out, value);
    }

    /// A string that is known to need no escapes: a name of the protocol.
    #[inline]
    pub(super) fn plain_string(&mut self, key: &'static str, value: &str) {
        self.key(key);
        self.out.push('"');
        self.out.push_str(value);
        self.out.push('"');
    }

    /// A string that `write` appends and that needs no escapes.
    #[inline]
    pub(super) fn built_string(&mut self, key: &'static str, write: impl FnOnce(&mut String)) {
        self.key(key);
        self.out.push('"');
        write(self.out);
        self.out.push('"');
    }

    /// A 32-bit number.
    #[inline]
    pub(super) fn number(&mut self, key: &'static str, value: u32) {
        if value != 0 {
            self.wrapped(key, value);
        }
    }

    /// A wrapped 32-bit number: shown if it is 0, too.
    #[inline]
    pub(super) fn wrapped(&mut self, key: &'static str, value: u32) {
        self.key(key);
        push_decimal(self.out, u64::from(value));
    }

    /// A wrapped or chosen signed 32-bit number: shown if it is 0, too.
    #[inline]
    pub(super) fn signed(&mut self, key: &'static str, value: i32) {
        self.key(key);
        push_signed(self.out, i64::from(value));
    }

    /// A wrapped boolean: shown if it is false, too.
    #[inline]
    pub(super) fn boolean(&mut self, key: &'static str, value: bool) {
        self.key(key);
        self.out.push_str(if value { "true" } else { "false" });
    }

    /// A plain boolean.
    pub(super) fn flag(&mut self, key: &'static str, value: bool) {
        if value {
            self.boolean(key, value);
        }
    }

    /// A 64-bit number.
    #[inline]
    pub(super) fn long_number(&mut self, key: &'static str, value: u64) {
        if value != 0 {
            self.built_string(key, |out| push_decimal(out, value));
        }
    }

    /// Bytes, shown if there are none, too.
    pub(super) fn bytes(&mut self, key: &'static str, value: &[u8]) {
        self.built_string(key, |out| STANDARD.encode_string(value, out));
    }

    /// An instant.
    #[inline]
    pub(super) fn time(&mut self, key: &'static str, value: Timestamp) {
        self.built_string(key, |out| value.write_rfc3339(out));
    }

    /// A list of strings.
    pub(super) fn strings<'s>(&mut self, key: &'static str, values: impl Iterator<Item = &'s str>) {
        let mut separator = '[';
        for value in values {
            if separator == '[' {
                self.key(key);
            }
            self.out.push(separator);
            push_string(self.out, value);
            separator = ',';
        }
        if separator == ',' {
            self.out.push(']');
        }
    }

    /// An object as a field.
    #[inline]
    pub(super) fn object(&mut self, key: &'static str) -> Object<'_> {
        self.key(key);
        Object::open(self.out)
    }

    /// A list as a field.
    #[inline]
    pub(super) fn array(&mut self, key: &'static str) -> Array<'_> {
        self.key(key);
        self.out.push('[');
        Array { out: self.out, empty: true }
    }
}

/// A list under construction. [`Array::close`] ends it.
pub(super) struct Array<'a> {
    out: &'a mut String,
    empty: bool,
}

impl Array<'_> {
    /// The text so far, to append the next element to.
    pub(super) fn element(&mut self) -> &mut String {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        self.out
    }

    /// Ends the list.
    pub(super) fn close(self) {
        self.out.push(']');
    }
}

/// Appends a quoted string.
pub(super) fn push_string(out: &mut String, value: &str) {
    out.push('"');
    // Nearly no string has anything to escape.
    if any_needs_escape(value.as_bytes()) {
        push_escaped(out, value);
    } else {
        out.push_str(value);
    }
    out.push('"');
}

/// Looks at all bytes without leaving early, which lets the compiler take 16 at a time.
fn any_needs_escape(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |any, byte| any | needs_escape(*byte))
}

fn needs_escape(byte: u8) -> bool {
    (byte < b' ') | (byte == b'"') | (byte == b'\\')
}

fn push_escaped(out: &mut String, value: &str) {
    let mut clean = 0;
    for (block, bytes) in value.as_bytes().chunks(16).enumerate().filter(|(_, bytes)| any_needs_escape(bytes))
    {
        for (at, byte) in bytes.iter().enumerate().filter(|(_, byte)| needs_escape(**byte)) {
            // Bytes that need escapes are characters of their own: both cuts are between characters.
            let at = block * 16 + at;
            out.push_str(value.get(clean..at).unwrap_or_default());
            push_escape(out, *byte);
            clean = at + 1;
        }
    }
    out.push_str(value.get(clean..).unwrap_or_default());
}

fn push_escape(out: &mut String, byte: u8) {
    match byte {
        b'"' => out.push_str("\\\""),
        b'\\' => out.push_str("\\\\"),
        b'\n' => out.push_str("\\n"),
        b'\r' => out.push_str("\\r"),
        b'\t' => out.push_str("\\t"),
        0x08 => out.push_str("\\b"),
        0x0c => out.push_str("\\f"),
        control => {
            out.push_str("\\u");
            push_hex::<4>(out, u64::from(control));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_characters_have_the_protocols_escapes() {
        let mut out = String::new();
        push_string(&mut out, "a\"b\\c\n\r\t\u{8}\u{c}\u{0}\u{1b}\u{7f}é\u{2028}");
        assert_eq!(out, "\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0000\\u001b\u{7f}é\u{2028}\"");
    }

    #[test]
    fn zero_values_are_left_out_and_wrapped_ones_are_not() {
        let mut out = String::new();
        let mut object = Object::open(&mut out);
        object.string("a", "");
        object.number("b", 0);
        object.long_number("c", 0);
        object.flag("d", false);
        object.strings("e", std::iter::empty());
        object.wrapped("f", 0);
        object.boolean("g", false);
        object.bytes("h", b"");
        object.long_number("i", u64::MAX);
        object.close();
        assert_eq!(out, r#"{"f":0,"g":false,"h":"","i":"18446744073709551615"}"#);
    }

    proptest! {
        #[test]
        fn any_string_is_read_back(text in ".*|\\PC*|[\\x00-\\x7f]*") {
            let mut out = String::new();
            push_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }

        #[test]
        fn any_bytes_made_text_are_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let text = String::from_utf8_lossy(&bytes);
            let mut out = String::new();
            push_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
    }
}
