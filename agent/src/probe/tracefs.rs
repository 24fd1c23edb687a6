//! In: `events/SUBSYSTEM/EVENT/format` of tracefs. Out: the fields of a tracepoint.

use std::path::Path;

use api::profile::{TracepointField, TracepointFormat};

use crate::kernel::Errno;

/// A format could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Names with a slash or dots would lead elsewhere.
    #[error("it is not a name of a subsystem and an event")]
    NotAName,
    /// The kernel has no such event, or hides it.
    #[error("its format file could not be read: {0}")]
    Unreadable(Errno),
    /// A line of the file is not as expected.
    #[error("a line of its format file was not understood: {0}")]
    NotUnderstood(String),
}

/// Reads one tracepoint's format.
pub fn read_format(tracefs: &Path, subsystem: &str, event: &str) -> Result<TracepointFormat, FormatError> {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    if !is_name(subsystem) || !is_name(event) {
        return Err(FormatError::NotAName);
    }
    let path = tracefs.join("events").join(subsystem).join(event).join("format");
    let text = std::fs::read_to_string(path).map_err(|error| FormatError::Unreadable(error.into()))?;
    Ok(TracepointFormat { subsystem: subsystem.to_owned(), event: event.to_owned(), fields: fields(&text)? })
}

fn fields(text: &str) -> Result<Vec<TracepointField>, FormatError> {
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with("field:"));
    lines.map(|line| field(line).ok_or_else(|| FormatError::NotUnderstood(line.to_owned()))).collect()
}

/// A line like `field:unsigned long args[6]; offset:16; size:48; signed:0;`, with tabs between.
fn field(line: &str) -> Option<TracepointField> {
    let mut parts = line.split(';').map(str::trim);
    let declaration = parts.next()?.strip_prefix("field:")?;
    let (mut offset, mut size, mut signed) = (None, None, None);
    for part in parts {
        match part.split_once(':') {
            Some(("offset", value)) => offset = value.parse().ok(),
            Some(("size", value)) => size = value.parse().ok(),
            Some(("signed", value)) => signed = Some(value == "1"),
            _ => {}
        }
    }
    let (ctype, name, array) = declarator(declaration)?;
    // A length may be written as a name; of an array of characters it is the size.
    let array = match array {
        Some(Length::Elements(count)) => count,
        Some(Length::Named) if ctype.ends_with("char") => size?,
        Some(Length::Named) | None => 0,
    };
    // The kernel derives this from the type's signedness; fields that are no numbers have none in old kernels.
    let signed = signed.unwrap_or(false);
    Some(TracepointField { name, ctype, offset: offset?, size: size?, signed, array })
}

/// How long an array is.
enum Length {
    Elements(u32),
    Named,
}

/// Splits `char comm[16]`, `__data_loc char[] name`, `const char *filename` into type, name and length.
fn declarator(text: &str) -> Option<(String, String, Option<Length>)> {
    let text = text.trim();
    let (text, array) = match text.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) {
        Some((rest, count)) => (rest, Some(count.parse().map_or(Length::Named, Length::Elements))),
        None => (text, None),
    };
    let start = text.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?.checked_add(1)?;
    let (ctype, name) = (text.get(..start)?.trim(), text.get(start..)?);
    if ctype.is_empty() || name.is_empty() {
        return None;
    }
    Some((ctype.to_owned(), name.to_owned(), array))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        let field = field(line).unwrap();
        let TracepointField { name, ctype, offset, size, signed, array } = field;
        format!("{ctype}|{name}|{offset}+{size}|{signed}|{array}")
    }

    #[test]
    fn fields_of_all_shapes_are_read() {
        assert_eq!(
            shown("field:unsigned short common_type;	offset:0;	size:2;	signed:0;"),
            "unsigned short|common_type|0+2|false|0"
        );
        assert_eq!(
            shown("field:unsigned long args[6];	offset:16;	size:48;	signed:0;"),
            "unsigned long|args|16+48|false|6"
        );
        assert_eq!(
            shown("field:__data_loc char[] filename;	offset:8;	size:4;	signed:1;"),
            "__data_loc char[]|filename|8+4|true|0"
        );
        assert_eq!(
            shown("field:const char * filename;	offset:24;	size:8;	signed:0;"),
            "const char *|filename|24+8|false|0"
        );
        assert_eq!(
            shown("field:const char *filename;	offset:24;	size:8;	signed:0;"),
            "const char *|filename|24+8|false|0"
        );
        assert_eq!(
            shown("field:char comm[TASK_COMM_LEN];	offset:8;	size:16;	signed:0;"),
            "char|comm|8+16|false|16"
        );
    }

    #[test]
    fn a_line_without_its_numbers_is_an_error() {
        assert!(field("field:int ret;	offset:8;").is_none());
        assert!(field("field:;	offset:8;	size:4;	signed:1;").is_none());
        assert!(field("field:ret;	offset:8;	size:4;	signed:1;").is_none());
        let text = "name: x\nformat:\n\tfield:int a;\toffset:x;\tsize:4;\n";
        assert!(
            matches!(fields(text), Err(FormatError::NotUnderstood(line)) if line.starts_with("field:int a"))
        );
    }

    #[test]
    fn a_name_cannot_lead_out_of_events() {
        let read = |subsystem, event| read_format(Path::new("/nowhere"), subsystem, event);
        assert_eq!(read("..", "x").unwrap_err(), FormatError::NotAName);
        assert_eq!(read("sched", "a/b").unwrap_err(), FormatError::NotAName);
        assert_eq!(read("sched", "x").unwrap_err(), FormatError::Unreadable(Errno::ENOENT));
    }
}
