//! In: paths as a test names them. Out: dentries, mounts and files in memory, and the text that each has for a
//! process with a given root.

use super::{Address, World};

/// A name in a file system.
#[derive(Debug, Clone)]
struct Dentry {
    /// Itself for the root of a file system.
    parent: usize,
    name: Vec<u8>,
    deleted: bool,
    mode: u16,
    address: Address,
}

/// A mounted file system, or a mounted part of one.
#[derive(Debug, Clone)]
struct Mount {
    root: usize,
    /// Where it is mounted; `None` for the first.
    at: Option<Place>,
    address: Address,
}

/// A place in the tree of mounts: what a `struct path` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    mount: usize,
    dentry: usize,
}

/// All names and mounts.
#[derive(Debug, Clone, Default)]
pub struct FileTree {
    dentries: Vec<Dentry>,
    mounts: Vec<Mount>,
}

const DIRECTORY: u16 = 0o040_755;
/// The root of all.
pub const ROOT: Place = Place { mount: 0, dentry: 0 };

/// Names and mount points that are followed towards the root.
const STEPS: usize = 128;
/// Bytes of a path.
const TEXT: usize = 4096;

impl FileTree {
    /// Text of a place for a process with this root as far as it is followed, and whether it is whole. `None`: of the
    /// dentry alone.
    pub fn followed(&self, place: Place, root: Option<Place>) -> (Vec<u8>, bool) {
        let Place { mut mount, mut dentry } = place;
        let mut names: Vec<&[u8]> = Vec::new();
        let mut length = if self.dentries[dentry].deleted { b" (deleted)".len() } else { 0 };
        for _ in 0..STEPS {
            if Some(Place { mount, dentry }) == root {
                return (self.joined(names, place.dentry), true);
            }
            if root.is_some() && dentry == self.mounts[mount].root {
                let Some(above) = self.mounts[mount].at else {
                    return (self.joined(names, place.dentry), true);
                };
                Place { mount, dentry } = above;
                continue;
            }
            if self.dentries[dentry].parent == dentry {
                return (self.joined(names, place.dentry), true);
            }
            length += self.dentries[dentry].name.len() + 1;
            if length > TEXT {
                break;
            }
            names.push(self.dentries[dentry].name.as_slice());
            dentry = self.dentries[dentry].parent;
        }
        (self.joined(names, place.dentry), false)
    }

    /// Text of a place for a process with this root, as `d_path` has it.
    pub fn text(&self, place: Place, root: Place) -> Vec<u8> {
        let Place { mut mount, mut dentry } = place;
        let mut names = Vec::new();
        while (Place { mount, dentry }) != root {
            if dentry == self.mounts[mount].root {
                let Some(above) = self.mounts[mount].at else { break };
                Place { mount, dentry } = above;
                continue;
            }
            names.push(self.dentries[dentry].name.as_slice());
            dentry = self.dentries[dentry].parent;
        }
        self.joined(names, place.dentry)
    }

    /// Text of a dentry alone: from the root of its file system.
    pub fn dentry_text(&self, place: Place) -> Vec<u8> {
        let mut names = Vec::new();
        let mut dentry = place.dentry;
        while self.dentries[dentry].parent != dentry {
            names.push(self.dentries[dentry].name.as_slice());
            dentry = self.dentries[dentry].parent;
        }
        self.joined(names, place.dentry)
    }

    fn joined(&self, names: Vec<&[u8]>, dentry: usize) -> Vec<u8> {
        let mut text: Vec<u8> = names.iter().rev().flat_map(|name| [b"/", *name].concat()).collect();
        if text.is_empty() {
            text.push(b'/');
        }
        if self.dentries[dentry].deleted {
            text.extend(b" (deleted)");
        }
        text
    }

    /// `i_mode`.
    pub fn mode(&self, place: Place) -> u16 {
        self.dentries[place.dentry].mode
    }
}

impl World<'_> {
    pub(super) fn plant_root(&mut self) {
        let root = self.dentry(None, b"/", DIRECTORY);
        self.add_mount(root, None);
    }

    fn dentry(&mut self, parent: Option<usize>, name: &[u8], mode: u16) -> usize {
        let address = self.object("dentry");
        let inode = self.object("inode");
        self.set(inode, "inode", "i_mode", u64::from(mode));
        // Short names lie in the dentry.
        let (inline, room) = self.field("dentry", "d_iname|d_shortname");
        let text =
            if name.len() < room { Address(address.0 + inline) } else { self.place(&[name, b"\0"].concat()) };
        if name.len() < room {
            self.write(text, name);
        }
        let index = self.files.dentries.len();
        let up = parent.map_or(address, |parent| self.files.dentries[parent].address);
        self.set(address, "dentry", "d_parent", up.0);
        self.set(address, "dentry", "d_inode", inode.0);
        self.set(address, "dentry", "d_name|__d_name.name", text.0);
        self.set(address, "dentry", "d_name|__d_name.len", name.len() as u64);
        self.set(address, "dentry", "d_name|__d_name.hash", 0x9e37_79b9);
        // Hashed: the pointer's value does not matter.
        self.set(address, "dentry", "d_hash.pprev", address.0);
        let parent = parent.unwrap_or(index);
        self.files.dentries.push(Dentry { parent, name: name.to_vec(), deleted: false, mode, address });
        index
    }

    fn add_mount(&mut self, root: usize, at: Option<Place>) -> usize {
        let address = self.object("mount");
        let (parent, mountpoint) = match at {
            Some(place) => {
                (self.files.mounts[place.mount].address, self.files.dentries[place.dentry].address)
            }
            // The first mount is its own parent, as in the kernel.
            None => (address, self.files.dentries[root].address),
        };
        self.set(address, "mount", "mnt_parent", parent.0);
        self.set(address, "mount", "mnt_mountpoint", mountpoint.0);
        self.set(address, "mount", "mnt.mnt_root", self.files.dentries[root].address.0);
        self.files.mounts.push(Mount { root, at, address });
        self.files.mounts.len() - 1
    }

    /// Finds a place by its path from the root of all, crossing mounts; missing names become directories, the
    /// last one a file of mode `mode`.
    pub fn open(&mut self, path: &str, mode: u16) -> Place {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        let mut place = ROOT;
        for (index, name) in names.iter().enumerate() {
            let mode = if index + 1 == names.len() { mode } else { DIRECTORY };
            place.dentry = self.child(place.dentry, name.as_bytes(), mode);
            place = self.mounted_at(place);
        }
        place
    }

    fn child(&mut self, parent: usize, name: &[u8], mode: u16) -> usize {
        let all = self.files.dentries.iter().enumerate();
        let found = all.skip(1).find(|(_, d)| d.parent == parent && d.name == name && !d.deleted);
        match found.map(|(index, _)| index) {
            Some(index) => index,
            None => self.dentry(Some(parent), name, mode),
        }
    }

    fn mounted_at(&self, mut place: Place) -> Place {
        while let Some(index) = self.files.mounts.iter().rposition(|mount| mount.at == Some(place)) {
            place = Place { mount: index, dentry: self.files.mounts[index].root };
        }
        place
    }

    /// Mounts a new file system at a path.
    pub fn mount(&mut self, path: &str) {
        let at = self.open(path, DIRECTORY);
        let root = self.dentry(None, b"/", DIRECTORY);
        self.add_mount(root, Some(at));
    }

    /// Mounts what is at `from` at `path` once more.
    pub fn bind(&mut self, from: &str, path: &str) {
        let from = self.open(from, DIRECTORY);
        let at = self.open(path, DIRECTORY);
        self.add_mount(from.dentry, Some(at));
    }

    /// Removes the name; who has it open keeps the file.
    pub fn unlink(&mut self, place: Place) {
        self.files.dentries[place.dentry].deleted = true;
        let address = self.files.dentries[place.dentry].address;
        self.set(address, "dentry", "d_hash.pprev", 0);
    }

    /// From here the way up leads nowhere.
    pub fn lose_parent(&mut self, place: Place) {
        let address = self.files.dentries[place.dentry].address;
        self.set(address, "dentry", "d_parent", super::BAD_KERNEL);
    }

    pub fn dentry_address(&self, place: Place) -> Address {
        self.files.dentries[place.dentry].address
    }

    /// Fills a `struct path` that is a member of something.
    pub fn set_path(&mut self, object: Address, structure: &str, member: &str, place: Place) {
        let mount = self.files.mounts[place.mount].address;
        let vfsmount = self.member(mount, "mount", "mnt");
        self.set(object, structure, &format!("{member}.mnt"), vfsmount.0);
        self.set(object, structure, &format!("{member}.dentry"), self.dentry_address(place).0);
    }

    /// Places a `struct path`.
    pub fn path_object(&mut self, place: Place, root: Place) -> Address {
        let path = self.object("path");
        let mount = self.files.mounts[place.mount].address;
        let vfsmount = self.member(mount, "mount", "mnt");
        self.set(path, "path", "mnt", vfsmount.0);
        self.set(path, "path", "dentry", self.dentry_address(place).0);
        self.paths.insert(path.0, self.files.text(place, root));
        path
    }

    /// Places a `struct file`.
    pub fn file_object(&mut self, place: Place, root: Place) -> Address {
        let file = self.object("file");
        self.set_path(file, "file", "f_path|__f_path", place);
        let dentry = self.dentry_address(place);
        let (offset, _) = self.field("dentry", "d_inode");
        let at = (dentry.0 + offset - super::ARENA) as usize;
        let inode = u64::from_le_bytes(self.arena[at..at + 8].try_into().expect("8 bytes"));
        self.set(file, "file", "f_inode", inode);
        let path = self.member(file, "file", "f_path|__f_path");
        self.paths.insert(path.0, self.files.text(place, root));
        file
    }
}
