//! Input: a file.
//! Output: the dynamic loader it needs, if it is a dynamically linked program.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// PT_INTERP of elf(5).
const INTERPRETER: u32 = 3;

/// The dynamic loader that a 64-bit little-endian ELF program names; None if it names none or is no such program.
pub fn interpreter(path: &Path) -> io::Result<Option<String>> {
    let file = File::open(path)?;
    let mut header = [0; 64];
    if file.read_at(&mut header, 0)? < header.len() || !header.starts_with(b"\x7fELF\x02\x01") {
        return Ok(None);
    }
    let table = number(&header[32..40]);
    let size = number(&header[54..56]);
    let count = number(&header[56..58]);
    for index in 0..count {
        let mut entry = [0; 56];
        file.read_exact_at(&mut entry, table.saturating_add(index * size))?;
        if number(&entry[..4]) == u64::from(INTERPRETER) {
            // A path; longer ones than PATH_MAX (4096 bytes) are not paths.
            let mut name = vec![0; number(&entry[32..40]).min(4096) as usize];
            file.read_exact_at(&mut name, number(&entry[8..16]))?;
            return Ok(Some(String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned()));
        }
    }
    Ok(None)
}

/// Up to eight bytes, lowest first.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::interpreter;

    #[test]
    fn a_dynamic_program_names_its_loader() {
        // Tests are linked dynamically on this target.
        let me = std::env::current_exe().unwrap();
        assert!(interpreter(&me).unwrap().unwrap().contains("ld-linux"));
    }

    #[test]
    fn other_files_need_no_loader() {
        assert_eq!(
            interpreter(Path::new(file!()).file_name().map(|_| Path::new("/proc/self/status")).unwrap())
                .unwrap(),
            None
        );
    }
}
