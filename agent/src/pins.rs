//! In: links that are to outlive the agent. Out: files for them on a BPF file system, and their removal.
//!
//! `ROOT/vLAYOUT/INSTANCE/LINK`: each process that loads programs has a folder of its own, so that a new agent attaches
//! everything before it lets go of what its predecessor left. Nothing here follows symbolic links, nor touches what
//! does not have this form.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::loader::PolicyName;

/// Changes with what is in an instance's folder.
const LAYOUT: u32 = 1;
/// Magic number of BPF file systems (include/uapi/linux/magic.h).
const BPF_FS_MAGIC: u32 = 0xcafe_4a11;
/// How names of pins begin.
const FIXED: &str = "fixed-";
const HOOK: &str = "hook-";
const COUNTS: &str = "counts-";
/// How the name of the folder begins that tells the generation of the set that an instance runs.
const SET: &str = "set-";
/// Processes before this one whose pins are left alone until a whole set runs: the oldest may be the one that runs most.
const PREDECESSORS: usize = 2;
/// Longest name of a pin: below the 255 bytes of a file name.
const NAME_MAX: usize = 240;

/// Pins could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Not where pins can be.
    #[error(
        "{} is not on a BPF file system, so nothing can outlive the agent: \
         mount one with `mount -t bpf bpf /sys/fs/bpf`, and into the agent's container", .0.display()
    )]
    NotBpf(PathBuf),
    /// A folder or a file.
    #[error("{what} {} failed: {error}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// How it failed.
        error: io::Error,
    },
}

/// The pins of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinDirectory {
    root: PathBuf,
    own: PathBuf,
}

/// Whether pins can be made at a path, or will be once its missing folders are made.
///
/// # Errors
/// They cannot.
pub fn check_bpf_file_system(root: &Path) -> Result<(), PinError> {
    let existing = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let found = rustix::fs::statfs(existing).map_err(|errno| failed("looking at", existing)(errno.into()))?;
    let is_bpf = u32::try_from(found.f_type).is_ok_and(|kind| kind == BPF_FS_MAGIC);
    if is_bpf { Ok(()) } else { Err(PinError::NotBpf(root.to_owned())) }
}

impl PinDirectory {
    /// Makes a folder for this process. Whether it is on a BPF file system, [`check_bpf_file_system`] tells.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(root: &Path) -> Result<PinDirectory, PinError> {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let instance = format!("{:010}{:09}-{}", now.tv_sec, now.tv_nsec, std::process::id());
        let own = root.join(format!("v{LAYOUT}")).join(instance);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&own);
        made.map_err(failed("making the folder", &own))?;
        Ok(PinDirectory { root: root.to_owned(), own })
    }

    /// Where to pin the link of a fixed program.
    pub fn place_of_fixed(&self, program: &str) -> PathBuf {
        self.place(&format!("{FIXED}{program}"))
    }

    /// Where to pin the link of a policies' program. Its number is never used twice in a process.
    pub fn place_of_hook(&self, program: u32, hook: &str) -> PathBuf {
        self.place(&format!("{HOOK}{program}-{hook}"))
    }

    /// Where to pin the map of counters for what it counts of one policy, if its name is not too long for a file's.
    pub fn place_of_counts(&self, index: u32, policy: &PolicyName) -> Option<PathBuf> {
        let PolicyName { namespace, name } = policy;
        let name = format!("{COUNTS}{index}-{namespace}_{name}");
        (name.len() <= NAME_MAX).then(|| self.place(&name))
    }

    /// What other processes have pinned in this way, with index and policy.
    pub fn counts_of_others(&self) -> Vec<(PathBuf, u32, PolicyName)> {
        let others = instances(&self.root).into_iter().filter(|instance| *instance != self.own);
        let pins = others.flat_map(|instance| entries(&instance));
        pins.filter_map(|pin| counted(&pin).map(|(index, policy)| (pin, index, policy))).collect()
    }

    /// Tells successors which set this process runs.
    ///
    /// # Errors
    /// The mark cannot be made.
    pub fn mark(&self, generation: u64) -> Result<(), PinError> {
        let place = self.place(&format!("{SET}{generation}"));
        match fs::DirBuilder::new().mode(0o700).create(&place) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("making the mark", &place)(error));
            }
            _ => {}
        }
        // The greatest counts: a mark that resists is harmless.
        entries(&self.own).iter().filter(|pin| **pin != place && marked(pin).is_some()).for_each(|old| {
            let _ = fs::remove_dir(old);
        });
        Ok(())
    }

    /// Letters, digits, `_` and `-` stay: the file system takes no dots.
    fn place(&self, name: &str) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        self.own.join(name.chars().map(plain).take(NAME_MAX).collect::<String>())
    }

    /// Removes what other processes have pinned, and gives the number of pins. What runs by them alone ends.
    ///
    /// # Errors
    /// The first that resisted; the others are removed.
    pub fn remove_others(&self) -> Result<usize, PinError> {
        remove(&self.root, |instance| instance != self.own)
    }

    /// The same, but for those who ran a newer set than this generation: that one could not be stored, and nobody has said
    /// since that it is not wanted.
    ///
    /// # Errors
    /// The first that resisted; the others are removed.
    pub fn remove_older(&self, generation: u64) -> Result<usize, PinError> {
        remove(&self.root, |instance| instance != self.own && ran(instance) <= generation)
    }

    /// Removes the pins of other processes that no policy depends on, as far as that can be told before this one runs a
    /// whole set: those without a policies' program, and of the others all but the oldest few, so that an agent that
    /// cannot be started for long does not fill the kernel.
    ///
    /// # Errors
    /// The first that resisted; the others are removed.
    pub fn trim_others(&self) -> Result<usize, PinError> {
        let others = instances(&self.root).into_iter().filter(|instance| *instance != self.own);
        let hooked: Vec<PathBuf> = others.filter(|instance| has_hooks(instance)).collect();
        // Of those with the newest set the newest: it may be the only one that has it.
        let newest = hooked.iter().max_by_key(|instance| ran(instance)).filter(|instance| ran(instance) > 0);
        let kept: Vec<PathBuf> = hooked.iter().take(PREDECESSORS).chain(newest).cloned().collect();
        remove(&self.root, |instance| instance != self.own && !kept.iter().any(|kept| kept == instance))
    }

    /// Removes this process's pins and its folder.
    ///
    /// # Errors
    /// The first that resisted; the others are removed.
    pub fn remove_own(&self) -> Result<usize, PinError> {
        remove(&self.root, |instance| instance == self.own)
    }
}

/// Removes every pin of this product.
///
/// # Errors
/// The first that resisted; the others are removed.
pub fn remove_all(root: &Path) -> Result<usize, PinError> {
    let removed = remove(root, |_| true)?;
    match fs::remove_dir(root) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("removing", root)(error)),
        _ => Ok(removed),
    }
}

fn remove(root: &Path, chosen: impl Fn(&Path) -> bool) -> Result<usize, PinError> {
    let mut removed = 0;
    let mut first = None;
    let mut keep = |result: Result<(), PinError>| match result {
        Ok(()) => true,
        Err(error) => {
            first.get_or_insert(error);
            false
        }
    };
    for instance in instances(root).into_iter().filter(|instance| chosen(instance)) {
        for pin in entries(&instance) {
            if marked(&pin).is_some() {
                keep(fs::remove_dir(&pin).map_err(failed("removing the mark", &pin)));
                continue;
            }
            let gone = fs::remove_file(&pin).map_err(failed("removing the pin", &pin));
            removed += usize::from(keep(gone));
        }
        keep(fs::remove_dir(&instance).map_err(failed("removing the folder", &instance)));
    }
    // Other instances may still be there.
    for folder in layouts(root).iter().map(PathBuf::as_path).chain([root]) {
        let _ = fs::remove_dir(folder);
    }
    first.map_or(Ok(removed), Err)
}

/// Names of policies have dots in place of which there is `_`, namespaces have neither.
fn counted(pin: &Path) -> Option<(u32, PolicyName)> {
    let name = pin.file_name()?.to_str()?.strip_prefix(COUNTS)?;
    let (index, policy) = name.split_once('-')?;
    let (namespace, name) = policy.split_once('_')?;
    Some((index.parse().ok()?, PolicyName { namespace: namespace.to_owned(), name: name.replace('_', ".") }))
}

fn has_hooks(instance: &Path) -> bool {
    let is_hook = |pin: &PathBuf| {
        pin.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(HOOK))
    };
    entries(instance).iter().any(is_hook)
}

/// The generation in a mark's name.
fn marked(pin: &Path) -> Option<u64> {
    pin.file_name()?.to_str()?.strip_prefix(SET)?.parse().ok()
}

/// The generation of the set that an instance runs; 0 if it did not tell.
fn ran(instance: &Path) -> u64 {
    entries(instance).iter().filter_map(|pin| marked(pin)).max().unwrap_or(0)
}

/// Of one layout the oldest first.
fn instances(root: &Path) -> Vec<PathBuf> {
    layouts(root).iter().flat_map(|layout| entries(layout)).filter(|path| is_folder(path)).collect()
}

fn layouts(root: &Path) -> Vec<PathBuf> {
    let is_layout = |path: &PathBuf| {
        let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix('v'));
        number.is_some_and(|number| number.parse::<u32>().is_ok()) && is_folder(path)
    };
    entries(root).into_iter().filter(is_layout).collect()
}

fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = found.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> PinError + 'a {
    move |error| PinError::File { what, path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_has_a_folder_and_removes_those_of_others() {
        let root = tempfile::tempdir().unwrap();
        let first = PinDirectory::create(root.path()).unwrap();
        fs::write(first.place_of_hook(1, "lsm:bpf_lsm_file_open"), "").unwrap();
        let old_layout = root.path().join("v0/somebody");
        fs::create_dir_all(&old_layout).unwrap();
        fs::write(old_layout.join("link"), "").unwrap();
        let second = PinDirectory::create(root.path()).unwrap();
        fs::write(second.place_of_fixed("process_exec"), "").unwrap();
        assert_eq!(second.remove_others().unwrap(), 2);
        assert!(
            second.place_of_fixed("process_exec").exists() && !first.own.exists() && !old_layout.exists()
        );
        assert_eq!(second.remove_own().unwrap(), 1);
        assert!(!second.own.exists());
    }

    #[test]
    fn an_agent_that_is_started_over_and_over_leaves_a_bounded_number_of_pins() {
        let root = tempfile::tempdir().unwrap();
        let idle = PinDirectory::create(root.path()).unwrap();
        fs::write(idle.place_of_fixed("process_exec"), "").unwrap();
        let mut hooked = Vec::new();
        for _ in 0..5 {
            let pins = PinDirectory::create(root.path()).unwrap();
            fs::write(pins.place_of_hook(1, "f"), "").unwrap();
            hooked.push(pins);
        }
        let last = PinDirectory::create(root.path()).unwrap();
        assert_eq!(last.trim_others().unwrap(), 4);
        let there: Vec<bool> = hooked.iter().map(|pins| pins.own.exists()).collect();
        assert_eq!(there, [true, true, false, false, false]);
        assert!(!idle.own.exists() && last.own.exists());
    }

    /// A set that could not be stored is not undone by a successor that knows the one before alone.
    #[test]
    fn pins_of_a_newer_set_than_the_stored_one_stay() {
        let root = tempfile::tempdir().unwrap();
        let with_set = |generation| {
            let pins = PinDirectory::create(root.path()).unwrap();
            fs::write(pins.place_of_hook(1, "f"), "").unwrap();
            pins.mark(generation).unwrap();
            pins
        };
        let [old, newer] = [with_set(9), with_set(9)];
        newer.mark(10).unwrap();
        assert_eq!(entries(&newer.own).iter().filter_map(|pin| marked(pin)).collect::<Vec<_>>(), [10]);
        let third = with_set(9);
        assert_eq!(third.remove_older(9).unwrap(), 1);
        assert!(!old.own.exists() && newer.own.exists() && third.own.exists());
        assert_eq!(third.trim_others().unwrap(), 0);
        assert_eq!(third.remove_older(10).unwrap(), 1);
        assert!(!newer.own.exists());
        assert_eq!(third.remove_own().unwrap(), 1);
        assert!(!third.own.exists() && !third.root.exists());
    }

    #[test]
    fn only_what_has_the_form_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir_all(outside.path().join("instance")).unwrap();
        fs::write(outside.path().join("instance/precious"), "").unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("v7")).unwrap();
        fs::create_dir(root.path().join("other")).unwrap();
        fs::write(root.path().join("other/file"), "").unwrap();
        assert!(remove_all(root.path()).is_err(), "the root is not empty, so it stays");
        assert!(outside.path().join("instance/precious").exists() && root.path().join("other/file").exists());
        assert!(matches!(check_bpf_file_system(root.path()), Err(PinError::NotBpf(_))));
    }

    #[test]
    fn nothing_pinned_is_nothing_removed() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(remove_all(&root.path().join("never")).unwrap(), 0);
    }

    #[test]
    fn names_are_made_plain() {
        let pins = PinDirectory { root: "/r".into(), own: "/r/v1/i".into() };
        assert_eq!(pins.place_of_hook(7, "kprobe:a.b/c 1-2"), Path::new("/r/v1/i/hook-7-kprobe_a_b_c_1-2"));
        assert!(pins.place(&"x".repeat(500)).file_name().unwrap().len() <= NAME_MAX);
    }
}
