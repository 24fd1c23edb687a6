//! Input: what a thing is made of, as a digest, and how to make it.
//! Output: the folder with it, below `${XDG_CACHE_HOME:-~/.cache}/ferragon`, made at the first use.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

/// How many versions of a thing are kept: clones of the repository may need different ones at the same time.
const KEPT: usize = 2;

/// Touched at each use.
const USED: &str = ".used";

/// What is kept between runs, outside the repository.
///
/// # Errors
/// Neither XDG_CACHE_HOME nor HOME is set.
pub fn root() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    Ok(base
        .context(
            "neither XDG_CACHE_HOME nor HOME is set; set one, kernels and the test cluster are kept there",
        )?
        .join("ferragon"))
}

/// A digest of inputs; their order counts, and where one ends and the next begins.
pub fn digest<'a>(inputs: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for input in inputs {
        hash.update(u64::try_from(input.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(input);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The folder `cluster/KIND-DIGEST` of the cache. If it is not there, `make` fills a folder that is then renamed, so
/// that a folder of that name is always complete. One process at a time makes a thing of a kind; others wait. Versions
/// that have not been used for the longest time are removed.
///
/// # Errors
/// `make` failed, or the cache cannot be written.
pub fn keep(kind: &str, digest: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    keep_in(&root()?.join("cluster"), kind, digest, make)
}

fn keep_in(
    parent: &Path,
    kind: &str,
    digest: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let tell = || format!("writing into {}", parent.display());
    fs::create_dir_all(parent).with_context(tell)?;
    let folder = parent.join(format!("{kind}-{digest}"));
    // Most calls: no lock, so that many processes at once do not wait for each other. What was just used is not removed.
    if folder.is_dir() && File::create(folder.join(USED)).is_ok() {
        return Ok(folder);
    }
    let lock = File::create(parent.join(format!("{kind}.lock"))).with_context(tell)?;
    if lock.try_lock().is_err() {
        eprintln!("cluster: waiting while another process makes {kind} …");
        lock.lock().with_context(|| format!("locking {kind} in {}", parent.display()))?;
    }
    if !folder.is_dir() {
        let work =
            tempfile::Builder::new().prefix(&format!(".{kind}-")).tempdir_in(parent).with_context(tell)?;
        make(work.path())?;
        let made = work.keep();
        fs::rename(&made, &folder)
            .with_context(|| format!("renaming {} to {}", made.display(), folder.display()))?;
    }
    File::create(folder.join(USED)).with_context(tell)?;
    prune(parent, kind)?;
    Ok(folder)
}

/// Removes all but the versions of a kind that were used last, and what a killed process left half made.
fn prune(parent: &Path, kind: &str) -> Result<()> {
    let (mut versions, mut abandoned) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(parent).with_context(|| format!("reading {}", parent.display()))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_version(&name, kind) {
            let used = fs::metadata(entry.path().join(USED)).and_then(|meta| meta.modified());
            versions.push((used.unwrap_or(SystemTime::UNIX_EPOCH), entry.path()));
        } else if is_work(&name, kind) {
            abandoned.push(entry.path());
        }
    }
    versions.sort_by(|(left, _), (right, _)| right.cmp(left));
    let old = versions.into_iter().skip(KEPT).map(|(_, path)| path);
    for old in old.chain(abandoned) {
        fs::remove_dir_all(&old).with_context(|| format!("removing {}", old.display()))?;
    }
    Ok(())
}

/// `KIND-DIGEST`; another kind's name may begin with this one's.
fn is_version(name: &str, kind: &str) -> bool {
    let digest = name.strip_prefix(kind).and_then(|rest| rest.strip_prefix('-'));
    digest.is_some_and(|digest| digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// `.KIND-` and six letters: a folder in which [`keep`] makes something. We hold the lock, so nobody is at it.
fn is_work(name: &str, kind: &str) -> bool {
    let random = name.strip_prefix('.').and_then(|name| name.strip_prefix(kind)?.strip_prefix('-'));
    random.is_some_and(|random| random.len() == 6 && random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread::sleep;
    use std::time::Duration;

    use super::{KEPT, digest, keep_in};

    #[test]
    fn inputs_are_told_apart_where_they_meet() {
        assert_ne!(digest([&b"ab"[..], b"c"]), digest([&b"a"[..], b"bc"]));
        assert_eq!(digest([&b"ab"[..]]).len(), 16);
    }

    #[test]
    fn a_thing_is_made_once_and_only_when_it_succeeded() {
        let parent = tempfile::tempdir().unwrap();
        let key = digest([]);
        assert!(keep_in(parent.path(), "x", &key, |_| anyhow::bail!("no")).is_err());
        let fill = |dir: &std::path::Path| Ok(fs::write(dir.join("a"), "1")?);
        let made = keep_in(parent.path(), "x", &key, fill).unwrap();
        let again = keep_in(parent.path(), "x", &key, |_| panic!("made twice")).unwrap();
        let busy = fs::File::open(parent.path().join("x.lock")).unwrap();
        busy.lock().unwrap();
        keep_in(parent.path(), "x", &key, |_| panic!("made twice")).unwrap();
        assert_eq!((made.clone(), "1".to_owned()), (again, fs::read_to_string(made.join("a")).unwrap()));
    }

    #[test]
    fn old_versions_go_and_other_kinds_stay() {
        let parent = tempfile::tempdir().unwrap();
        let key = |number: u8| digest([&[number][..]]);
        keep_in(parent.path(), "x-1", &key(0), |_| Ok(())).unwrap();
        fs::create_dir(parent.path().join(".x-aB3dE6")).unwrap();
        for number in 0..4 {
            keep_in(parent.path(), "x", &key(number), |_| Ok(())).unwrap();
            sleep(Duration::from_millis(20));
        }
        let left = |prefix: &str| {
            let names = fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
            names.retain(|name| name.starts_with(prefix) && !name.ends_with(".lock"));
            names.sort();
            names
        };
        let mut newest = vec![format!("x-{}", key(2)), format!("x-{}", key(3)), format!("x-1-{}", key(0))];
        newest.sort();
        assert_eq!(left("x-"), newest);
        assert_eq!(left("."), Vec::<String>::new());
        assert_eq!(newest.len(), KEPT + 1);
    }
}
