//! Input: names, modes and contents of files.
//! Output: a tar archive (ustar), the same bytes for the same files.

use anyhow::{Context, Result, bail};

const BLOCK: usize = 512;

/// What an entry is: the type flag of ustar.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File = b'0' as isize,
    Symlink = b'2' as isize,
    Folder = b'5' as isize,
}

/// Collects entries; [`Archive::finish`] gives the bytes.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    /// A file with its content, or a folder.
    pub fn entry(&mut self, path: &str, kind: Kind, mode: u32, content: &[u8]) -> Result<()> {
        self.put(path, kind, mode, "", content)
    }

    /// A symbolic link.
    pub fn symlink(&mut self, path: &str, to: &str) -> Result<()> {
        self.put(path, Kind::Symlink, 0o777, to, &[])
    }

    fn put(&mut self, path: &str, kind: Kind, mode: u32, link: &str, content: &[u8]) -> Result<()> {
        let (prefix, name) = split(path)?;
        if link.len() > 100 {
            bail!("{path} in a tar archive cannot be a link to {link}: longer than 100 bytes");
        }
        let size = if content.len() < 8 << 30 { content.len() } else { bail!("{path} is larger than 8 GiB") };
        let mut head = Vec::with_capacity(BLOCK);
        field(&mut head, 100, name.as_bytes());
        // Owner root, time 0: nothing of the host is in the archive.
        for (width, value) in [(8, mode as usize), (8, 0), (8, 0), (12, size), (12, 0)] {
            field(&mut head, width, format!("{value:0digits$o}", digits = width - 1).as_bytes());
        }
        let sum_at = head.len();
        field(&mut head, 8, b"        ");
        head.push(kind as u8);
        field(&mut head, 100, link.as_bytes());
        field(&mut head, 8, b"ustar\x0000");
        field(&mut head, 32, b"root");
        field(&mut head, 32, b"root");
        field(&mut head, 16, b"");
        field(&mut head, 155, prefix.as_bytes());
        head.resize(BLOCK, 0);
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head.splice(sum_at..sum_at + 8, format!("{sum:06o}\0 ").bytes());
        self.bytes.extend(head);
        self.bytes.extend(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        Ok(())
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }
}

/// A field of fixed width, padded with NUL; the content fits.
fn field(head: &mut Vec<u8>, width: usize, content: &[u8]) {
    let end = head.len() + width;
    head.extend(content);
    head.resize(end, 0);
}

/// Where the path is cut to fit: at most 155 and 100 bytes.
fn split(path: &str) -> Result<(&str, &str)> {
    if path.len() <= 100 {
        return Ok(("", path));
    }
    let fits = |(prefix, name): &(&str, &str)| prefix.len() <= 155 && name.len() <= 100 && !name.is_empty();
    let cuts = path.match_indices('/').map(|(at, _)| (&path[..at], &path[at + 1..]));
    cuts.into_iter().find(fits).with_context(|| format!("{path} is too long a name for a tar archive"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Archive, Kind, split};

    #[test]
    fn tar_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = Archive::default();
        let long = format!("{}/{}", "d".repeat(90), "f".repeat(60));
        archive.entry("bin/", Kind::Folder, 0o755, &[]).unwrap();
        archive.entry("bin/a", Kind::File, 0o750, b"text").unwrap();
        archive.entry(&long, Kind::File, 0o600, &[7; 513]).unwrap();
        archive.symlink("bin/b", "a").unwrap();
        std::fs::write(dir.path().join("x.tar"), archive.finish()).unwrap();
        let list = |arguments: &[&str]| {
            let output = Command::new("tar").args(arguments).current_dir(dir.path()).output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let shown = list(&["--utc", "-tvf", "x.tar"]);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[1].starts_with("-rwxr-x--- root/root         4 1970-01-01 00:00 bin/a"), "{shown}");
        assert!(lines[2].ends_with(&long) && lines[2].contains(" 513 "), "{shown}");
        assert!(lines[3].ends_with("bin/b -> a"), "{shown}");
        assert_eq!(list(&["-xOf", "x.tar", "bin/a"]), "text");
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        assert!(split(&"x".repeat(101)).is_err());
        assert!(split(&format!("{}/{}", "d".repeat(156), "f")).is_err());
        assert!(split(&format!("{}/{}", "d".repeat(155), "f".repeat(100))).is_ok());
    }
}
