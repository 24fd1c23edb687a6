//! Input: names, modes and contents of files.
//! Output: a "newc" cpio archive, the form of an initramfs that every kernel unpacks (not compressed: software
//! emulation copies faster than it decompresses).

use std::io::{self, Read, Write};

/// What the entry is, with its permission bits added: file type bits of stat(2).
#[derive(Clone, Copy)]
pub enum Kind {
    File = 0o100_000,
    Folder = 0o040_000,
    Symlink = 0o120_000,
}

/// One entry's fixed part.
pub struct Head<'a> {
    /// Path without leading slash.
    pub name: &'a str,
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Inode number: entries with the same number and more than one link are one file.
    pub inode: u32,
    pub links: u32,
    /// Length of the content in bytes.
    pub size: u32,
}

/// Writes archives; call [`Writer::finish`] at the end.
pub struct Writer<W> {
    out: W,
    /// Bytes written so far; entries and contents are aligned to 4.
    position: u64,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Writer { out, position: 0 }
    }

    /// One entry; `content` must give exactly `head.size` bytes.
    pub fn entry(&mut self, head: &Head<'_>, content: impl Read) -> io::Result<()> {
        let mode = head.kind as u32 | head.mode;
        let fields = [
            head.inode,
            mode,
            0, // uid
            0, // gid
            head.links,
            0, // mtime: fixed, so that the same files give the same archive
            head.size,
            0, // device of the file
            0,
            0, // device number of a node
            0,
            u32::try_from(head.name.len() + 1).map_err(io::Error::other)?,
            0, // checksum: unused in this form
        ];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08X}"));
        }
        self.put(header.as_bytes())?;
        self.put(head.name.as_bytes())?;
        self.put(&[0])?;
        self.align()?;
        let copied = io::copy(&mut content.take(u64::from(head.size)), &mut self.out)?;
        self.position += copied;
        if copied != u64::from(head.size) {
            return Err(io::Error::other(format!("{} shrank while it was read", head.name)));
        }
        self.align()
    }

    /// The end marker.
    pub fn finish(mut self) -> io::Result<()> {
        let end = Head { name: "TRAILER!!!", kind: Kind::File, mode: 0, inode: 0, links: 1, size: 0 };
        self.entry(&end, io::empty())?;
        self.out.flush()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.position += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn align(&mut self) -> io::Result<()> {
        while !self.position.is_multiple_of(4) {
            self.put(&[0])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Head, Kind, Writer};

    #[test]
    fn contents_are_aligned_and_the_end_is_marked() {
        let mut archive = Vec::new();
        let mut writer = Writer::new(&mut archive);
        let head = Head { name: "etc/x", kind: Kind::File, mode: 0o644, inode: 7, links: 1, size: 3 };
        writer.entry(&head, &b"abc"[..]).unwrap();
        writer.finish().unwrap();
        assert_eq!(&archive[..14], b"07070100000007");
        assert_eq!(&archive[110..116], b"etc/x\0");
        assert_eq!(&archive[116..124], b"abc\x00070701"[..8].as_ref());
        assert!(archive.windows(10).any(|window| window == b"TRAILER!!!"));
        assert_eq!(archive.len() % 4, 0);
    }

    #[test]
    fn a_file_that_shrank_is_an_error() {
        let head = Head { name: "x", kind: Kind::File, mode: 0o644, inode: 1, links: 1, size: 9 };
        assert!(Writer::new(Vec::new()).entry(&head, &b"abc"[..]).is_err());
    }
}
