//! In: argv as the kernel keeps it, paths as the caller gave them. Out: `arguments`, `cwd` and `binary` texts.

use std::borrow::Cow;

/// Joins the arguments after the first by spaces. One that contains a space is put in double quotes, with a space
/// before it even if it is the first (both as users of the event format know it); nothing is escaped.
pub(super) fn join(argv: &[u8]) -> String {
    let mut out = String::new();
    let argv = argv.strip_suffix(b"\0").unwrap_or(argv);
    for (index, argument) in argv.split(|byte| *byte == 0).skip(1).enumerate() {
        let text = String::from_utf8_lossy(argument);
        if text.contains(' ') {
            out.push_str(" \"");
            out.push_str(&text);
            out.push('"');
        } else {
            if index > 0 {
                out.push(' ');
            }
            out.push_str(&text);
        }
    }
    out
}

/// The first argument, if there is one.
pub(super) fn first(argv: &[u8]) -> Option<Cow<'_, str>> {
    argv.split(|byte| *byte == 0).next().filter(|first| !first.is_empty()).map(String::from_utf8_lossy)
}

/// `path` made absolute with `cwd` and cleaned of `.`, `..` and doubled slashes by its text alone; an absolute one is
/// left as the caller gave it.
pub(super) fn absolute(cwd: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_string();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in cwd.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    let joined = parts.join("/");
    if cwd.is_empty() { joined } else { format!("/{joined}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_with_spaces_are_quoted() {
        for (argv, joined) in [
            (&b""[..], ""),
            (b"cat\0", ""),
            (b"cat\0/etc/shadow\0", "/etc/shadow"),
            (b"bash\0-c\0echo hello world\0", "-c \"echo hello world\""),
            (b"x\0a b\0c\0", " \"a b\" c"),
            (b"x\0\0y\0", " y"),
            (b"x\0a\0\0", "a "),
            (b"x\0\"q\"\0t\tt\0", "\"q\" t\tt"),
            (b"x\0cut", "cut"),
            (b"x\0\xff\0", "\u{fffd}"),
        ] {
            assert_eq!(join(argv), joined, "{argv:?}");
        }
    }

    #[test]
    fn relative_paths_are_joined() {
        for (cwd, path, joined) in [
            ("/job", "/bin/cat", "/bin/cat"),
            ("/job", "/bin/../bin/cat", "/bin/../bin/cat"),
            ("/job", "./a", "/job/a"),
            ("/job", "a//b/./c", "/job/a/b/c"),
            ("/job", "../../../x", "/x"),
            ("/", "x", "/x"),
            ("", "./x", "x"),
        ] {
            assert_eq!(absolute(cwd, path), joined, "{cwd} {path}");
        }
    }

    #[test]
    fn the_first_argument_may_be_missing() {
        assert_eq!(first(b""), None);
        assert_eq!(first(b"\0a\0"), None);
        assert_eq!(first(b"sh\0-c\0").as_deref(), Some("sh"));
    }
}
