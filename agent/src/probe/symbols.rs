//! In: the kernel's lists of functions. Out: names that kprobes can attach to, sorted.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;

use super::{Places, ProbeNote};

/// Below tracefs.
const TRACEABLE: &str = "available_filter_functions";
/// Below /proc.
const ALL: &str = "kallsyms";

/// From tracefs if it may be read, which knows what can be traced; else all text symbols of /proc/kallsyms. Those of
/// modules (and of other BPF programs, which kallsyms lists as if they were) only if asked for.
pub fn read(places: &Places, with_modules: bool) -> Result<Vec<String>, ProbeNote> {
    let wanted = |text| lines(text).filter(move |line| with_modules || !line.ends_with(b"]"));
    let traceable = places.tracefs.as_ref().map(|path| fs::read(path.join(TRACEABLE)));
    let names: BTreeSet<&[u8]>;
    let text;
    match traceable {
        Some(Ok(functions)) if !functions.is_empty() => {
            text = functions;
            names = wanted(&text).filter_map(|line| line.split(|byte| *byte == b' ').next()).collect();
        }
        _ => {
            text = fs::read(places.proc.join(ALL)).map_err(|error| ProbeNote::NoSymbols(error.into()))?;
            names = wanted(&text).filter_map(text_symbol).collect();
        }
    }
    let names = names.into_iter().filter(|name| is_function(name));
    Ok(names.filter_map(|name| std::str::from_utf8(name).ok()).map(str::to_owned).collect())
}

/// Whether there will be names to read.
pub fn check(places: &Places) -> Result<(), ProbeNote> {
    let begins = |path: PathBuf| File::open(path).and_then(|mut file| file.read(&mut [0; 64]));
    let traceable = places.tracefs.as_ref().map(|path| begins(path.join(TRACEABLE)));
    match traceable {
        Some(Ok(1..)) => Ok(()),
        _ => begins(places.proc.join(ALL)).map(drop).map_err(|error| ProbeNote::NoSymbols(error.into())),
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// Name of a line `ADDRESS t NAME [\t[MODULE]]`, if it is code.
fn text_symbol(line: &[u8]) -> Option<&[u8]> {
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t'));
    let (_, kind, name) = (words.next()?, words.next()?, words.next()?);
    matches!(kind, b"t" | b"T" | b"w" | b"W").then_some(name)
}

/// Not padding before a function, nor a part of one that the compiler moved away.
fn is_function(name: &[u8]) -> bool {
    !name.is_empty()
        && !name.starts_with(b"__pfx_")
        && !name.starts_with(b"__cfi_")
        && !name.starts_with(b"__ftrace_invalid_address_")
        && !name.ends_with(b".cold")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_told_from_data() {
        assert_eq!(text_symbol(b"0000000000000000 T vfs_read"), Some(&b"vfs_read"[..]));
        assert_eq!(text_symbol(b"0000000000000000 t nf_hook\t[nf_tables]"), Some(&b"nf_hook"[..]));
        assert_eq!(text_symbol(b"0000000000000000 D jiffies"), None);
        assert_eq!(text_symbol(b"0000000000000000"), None);
    }

    #[test]
    fn padding_and_cold_parts_are_left_out() {
        assert!(is_function(b"vfs_read"));
        assert!(!is_function(b"__pfx_vfs_read"));
        assert!(!is_function(b"vfs_read.cold"));
    }
}
