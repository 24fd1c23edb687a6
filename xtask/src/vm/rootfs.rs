//! Input: host files and the command to run.
//! Output: the guest's root file system as an initramfs.

mod elf;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cpio;

/// Where Debian's busybox-static and bash-static put their programs.
const BUSYBOX: &str = "/bin/busybox";
const BASH: &str = "/bin/bash-static";

/// Fixed small files of the guest.
const TEXTS: [(&str, u32, &str); 7] = [
    ("init", 0o755, include_str!("init.sh")),
    (
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/false\n\
         user:x:1000:1000:user:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("etc/group", 0o644, "root:x:0:\ndaemon:x:1:\nuser:x:1000:\nnogroup:x:65534:\n"),
    ("etc/shadow", 0o640, "root:*:19000:0:99999:7:::\nuser:*:19000:0:99999:7:::\n"),
    ("etc/hostname", 0o644, "vm\n"),
    ("etc/hosts", 0o644, "127.0.0.1 localhost vm\n::1 localhost\n"),
    (
        "etc/fstab",
        0o644,
        "sysfs /sys sysfs defaults 0 0\n\
         devpts /dev/pts devpts gid=0,mode=620 0 0\n\
         tmpfs /dev/shm tmpfs mode=1777 0 0\n\
         tmpfs /tmp tmpfs mode=1777 0 0\n\
         tmpfs /run tmpfs mode=755 0 0\n\
         tracefs /sys/kernel/tracing tracefs defaults 0 0\n\
         securityfs /sys/kernel/security securityfs defaults 0 0\n\
         bpf /sys/fs/bpf bpf mode=700 0 0\n\
         cgroup2 /sys/fs/cgroup cgroup2 nsdelegate 0 0\n",
    ),
];

/// One thing in the guest's file system.
enum Node {
    Folder,
    Symlink(String),
    Text {
        mode: u32,
        bytes: Vec<u8>,
    },
    Host {
        mode: u32,
        path: PathBuf,
    },
    /// One of the names of busybox. Hard links, so that a process's executable is what its path says.
    Applet,
}

/// The guest's files by path without leading slash; a folder sorts before what is in it.
pub struct Rootfs {
    nodes: BTreeMap<String, Node>,
}

impl Rootfs {
    /// A small Debian-like root: merged /usr, busybox under its applets' names, bash if it is here.
    pub fn with_busybox() -> Result<Self> {
        let mut rootfs = Rootfs { nodes: BTreeMap::new() };
        for folder in
            ["dev", "proc", "sys", "run", "tmp", "root", "usr/bin", "usr/sbin", "usr/local/bin", "var"]
        {
            rootfs.put(folder, Node::Folder)?;
        }
        rootfs.put("bin", Node::Symlink("usr/bin".into()))?;
        rootfs.put("sbin", Node::Symlink("usr/sbin".into()))?;
        for (path, mode, text) in TEXTS {
            rootfs.put(path, Node::Text { mode, bytes: text.into() })?;
        }
        if elf::interpreter(Path::new(BUSYBOX)).ok() != Some(None) {
            bail!("{BUSYBOX} is missing or not static: apt-get install busybox-static (or: make setup)");
        }
        let list = Command::new(BUSYBOX).arg("--list").output().context("running busybox --list")?;
        for applet in String::from_utf8_lossy(&list.stdout).lines() {
            rootfs.put(&format!("usr/bin/{applet}"), Node::Applet)?;
        }
        rootfs.put("usr/bin/busybox", Node::Applet)?;
        if Path::new(BASH).is_file() {
            rootfs.add(Path::new(BASH), "/usr/bin/bash")?;
        }
        Ok(rootfs)
    }

    /// The same, with bash for sure.
    pub fn with_bash() -> Result<Self> {
        if !Path::new(BASH).is_file() {
            bail!("{BASH} is missing: apt-get install bash-static (or: make setup)");
        }
        Self::with_busybox()
    }

    /// `HOST[:GUEST]` of the command line. GUEST is absolute; one that ends with a slash is a folder to put it in.
    pub fn add_argument(&mut self, argument: &str) -> Result<()> {
        let (host, guest) = match argument.rsplit_once(":/") {
            Some((host, guest)) if !Path::new(argument).exists() => (host, format!("/{guest}")),
            _ => (argument, "/root/".to_owned()),
        };
        let host = Path::new(host);
        let guest = match (guest.ends_with('/'), host.canonicalize()) {
            (_, Err(error)) => bail!("--file {argument}: {}: {error}", host.display()),
            (false, _) => guest,
            (true, Ok(real)) => {
                let name = host.file_name().or(real.file_name()).context("--file: / cannot be given")?;
                format!("{guest}{}", name.to_string_lossy())
            }
        };
        self.add(host, &guest)
    }

    /// A host file, or a folder with all that is in it, at an absolute guest path.
    pub fn add(&mut self, host: &Path, guest: &str) -> Result<()> {
        let tell = || format!("reading {} for the VM", host.display());
        let meta = host.metadata().with_context(tell)?;
        if meta.is_dir() {
            self.put(guest, Node::Folder)?;
            for entry in host.read_dir().with_context(tell)? {
                let entry = entry.with_context(tell)?;
                self.add(&entry.path(), &format!("{guest}/{}", entry.file_name().to_string_lossy()))?;
            }
            return Ok(());
        }
        if !meta.is_file() {
            bail!("{} is neither a file nor a folder", host.display());
        }
        if let Ok(Some(interpreter)) = elf::interpreter(host) {
            eprintln!(
                "xtask: {} needs {interpreter}, which the guest has not: link it statically",
                host.display()
            );
        }
        self.put(guest, Node::Host { mode: meta.permissions().mode() & 0o7777, path: host.to_owned() })
    }

    /// What init runs: one argument is a shell line, several are a program and its arguments.
    pub fn set_command(&mut self, command: &[String]) -> Result<()> {
        let script = match command {
            [line] => line.clone(),
            words => format!("exec {}", words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")),
        };
        self.put("etc/vm/command", Node::Text { mode: 0o644, bytes: (script + "\n").into_bytes() })
    }

    /// Adds a node, and the folders above it. A second one of the same name takes the place of the first.
    fn put(&mut self, path: &str, node: Node) -> Result<()> {
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.is_empty() || parts.contains(&"..") {
            bail!("{path:?} is not a path for a file in the guest");
        }
        if parts.len() > 1 && matches!(parts[0], "bin" | "sbin") {
            parts.insert(0, "usr");
        }
        for depth in 1..parts.len() {
            let above = self.nodes.entry(parts[..depth].join("/")).or_insert(Node::Folder);
            if !matches!(above, Node::Folder) {
                bail!(
                    "/{} in the guest is no folder, so {path} cannot be put there",
                    parts[..depth].join("/")
                );
            }
        }
        self.nodes.insert(parts.join("/"), node);
        Ok(())
    }

    /// Writes the initramfs.
    pub fn write(&self, to: &Path) -> Result<()> {
        let file = File::create(to).with_context(|| format!("creating {}", to.display()))?;
        let mut archive = cpio::Writer::new(BufWriter::with_capacity(1 << 20, file));
        let applets = self.nodes.values().filter(|node| matches!(node, Node::Applet)).count();
        let mut shared = Some(File::open(BUSYBOX).context("opening busybox")?);
        for (inode, (name, node)) in (2..).zip(&self.nodes) {
            write_node(&mut archive, inode, name, node, (u32::try_from(applets)?, &mut shared))
                .with_context(|| format!("writing /{name} into {}", to.display()))?;
        }
        archive.finish().with_context(|| format!("writing {}", to.display()))
    }
}

/// Inode number that all names of busybox share.
const BUSYBOX_INODE: u32 = 1;

/// Writes one entry. `busybox` is how many names it has, and its content until the first of them has been written.
fn write_node<W: Write>(
    archive: &mut cpio::Writer<W>,
    inode: u32,
    name: &str,
    node: &Node,
    (names, busybox): (u32, &mut Option<File>),
) -> io::Result<()> {
    let head = |kind, mode, size: u64| {
        let size = u32::try_from(size).map_err(|_| io::Error::other("larger than 4 GiB"))?;
        Ok::<_, io::Error>(cpio::Head { name, kind, mode, inode, links: 1, size })
    };
    match node {
        Node::Folder => archive.entry(&head(cpio::Kind::Folder, 0o755, 0)?, io::empty()),
        Node::Symlink(to) => {
            archive.entry(&head(cpio::Kind::Symlink, 0o777, to.len() as u64)?, to.as_bytes())
        }
        Node::Text { mode, bytes } => {
            archive.entry(&head(cpio::Kind::File, *mode, bytes.len() as u64)?, &bytes[..])
        }
        Node::Host { mode, path } => {
            let file = File::open(path)?;
            archive.entry(&head(cpio::Kind::File, *mode, file.metadata()?.len())?, file)
        }
        Node::Applet => {
            let content = busybox.take();
            let size = content.as_ref().map_or(Ok(0), |file| Ok::<_, io::Error>(file.metadata()?.len()))?;
            let first =
                cpio::Head { inode: BUSYBOX_INODE, links: names, ..head(cpio::Kind::File, 0o755, size)? };
            match content {
                Some(file) => archive.entry(&first, file),
                None => archive.entry(&first, io::empty()),
            }
        }
    }
}

/// A word that the shell reads back as it is.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::{Node, Rootfs, quote};

    fn empty() -> Rootfs {
        Rootfs { nodes: Default::default() }
    }

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quote("a b$'c"), r"'a b$'\''c'");
    }

    #[test]
    fn merged_usr_paths_land_in_usr() {
        let mut rootfs = empty();
        rootfs.put("/bin/ferra", Node::Folder).unwrap();
        assert_eq!(rootfs.nodes.keys().collect::<Vec<_>>(), ["usr", "usr/bin", "usr/bin/ferra"]);
    }

    #[test]
    fn paths_that_leave_the_root_are_refused() {
        for path in ["", "/", "../x", "/a/../../b"] {
            assert!(empty().put(path, Node::Folder).is_err(), "{path}");
        }
    }

    #[test]
    fn a_file_is_no_folder() {
        let mut rootfs = empty();
        rootfs.put("/a", Node::Symlink("x".into())).unwrap();
        assert!(rootfs.put("/a/b", Node::Folder).is_err());
    }
}
