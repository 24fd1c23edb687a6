//! In: a file's `i_mode`. Out: the ten characters that `ls -l` shows for it.

/// Appends e.g. `-rw-r--r--`.
pub(crate) fn push(out: &mut String, mode: u16) {
    out.push(file_type(mode));
    // Read, write, execute for owner, group and others; each triple's execute place also shows one special bit.
    for (shift, special, with_execute, without) in
        [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        let bits = mode >> shift;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (bits & 1 != 0, mode & special != 0) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => with_execute,
            (false, true) => without,
        });
    }
}

fn file_type(mode: u16) -> char {
    match mode & 0o170000 {
        0o040000 => 'd',
        0o120000 => 'l',
        0o140000 => 's',
        0o010000 => 'p',
        0o020000 => 'c',
        0o060000 => 'b',
        0o100000 => '-',
        // A file of no type: pseudo files such as those of epoll.
        _ => '-',
    }
}

/// Reads what [`push`] writes; `None` for anything else.
pub(crate) fn parse(text: &str) -> Option<u16> {
    let &[kind, ref bits @ ..] = text.as_bytes() else { return None };
    let bits: &[u8; 9] = bits.try_into().ok()?;
    let mut mode = match kind {
        b'd' => 0o040000,
        b'l' => 0o120000,
        b's' => 0o140000,
        b'p' => 0o010000,
        b'c' => 0o020000,
        b'b' => 0o060000,
        b'-' => 0o100000,
        _ => return None,
    };
    let ([owner, group, others], []) = bits.as_chunks::<3>() else { return None };
    for (triple, shift, special, with_execute, without) in
        [(owner, 6, 0o4000, b's', b'S'), (group, 3, 0o2000, b's', b'S'), (others, 0, 0o1000, b't', b'T')]
    {
        let &[read, write, execute] = triple;
        let bit = |found, set, value| match found {
            b'-' => Some(0),
            found if found == set => Some(value),
            _ => None,
        };
        mode |= (bit(read, b'r', 4)? | bit(write, b'w', 2)?) << shift;
        mode |= match execute {
            b'-' => 0,
            b'x' => 1 << shift,
            found if found == with_execute => special | 1 << shift,
            found if found == without => special,
            _ => return None,
        };
    }
    Some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_shows() {
        // Every type and every combination of the twelve bits.
        for kind in [0o040000, 0o120000, 0o140000, 0o010000, 0o020000, 0o060000, 0o100000] {
            for bits in 0..0o10000 {
                let mut text = String::new();
                push(&mut text, kind | bits);
                assert_eq!(parse(&text), Some(kind | bits), "{text}");
            }
        }
        for wrong in [
            "",
            "-rw-r--r-",
            "-rw-r--r--x",
            "?rw-r--r--",
            "-xw-r--r--",
            "-rwtr--r--",
            "-rw-r--r-s",
            "-éw-r--r",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn shows_what_ls_shows() {
        for (mode, text) in [
            (0o100644, "-rw-r--r--"),
            (0o104755, "-rwsr-xr-x"),
            (0o106644, "-rwSr-Sr--"),
            (0o102711, "-rwx--s--x"),
            (0o041777, "drwxrwxrwt"),
            (0o041776, "drwxrwxrwT"),
            (0o120777, "lrwxrwxrwx"),
            (0o140755, "srwxr-xr-x"),
            (0o010600, "prw-------"),
            (0o020666, "crw-rw-rw-"),
            (0o060660, "brw-rw----"),
            (0o000600, "-rw-------"),
        ] {
            let mut out = String::new();
            push(&mut out, mode);
            assert_eq!(out, text);
        }
    }
}
