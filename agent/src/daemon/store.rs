//! In: the set in force, and its artefacts. Out: the same after a restart, without an operator.
//!
//! `DIR/set` is the SHA-256 of what follows, then an encoded `Desired`; `DIR/artefacts/HEX` is an encoded artefact named
//! by its digest. Each file is written beside its place, synced and moved there. Artefacts come before the set that
//! names them, and go after it, so that the set never names what is not there. Whatever is damaged is reported and left
//! out.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use api::artefact::{Artefact, ArtefactDigest};
use api::fleet::{ARTEFACT_MAX, Desired, HOOKS_MAX};
use prost::Message;
use sha2::{Digest, Sha256};

const SET: &str = "set";
const ARTEFACTS: &str = "artefacts";
/// A file on its way to its place.
const NEW: &str = ".new";
const CHECKSUM: usize = 32;
/// Bytes of an encoded set: 34 for each digest, and its generation.
const SET_MAX: u64 = (CHECKSUM + 16 + HOOKS_MAX * 34) as u64;

/// The folder of the state.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
}

/// A file could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{what} {} failed: {error}", path.display())]
pub struct StoreError {
    what: &'static str,
    path: PathBuf,
    error: io::Error,
}

/// What was left out of the stored set.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// A file.
    #[error("{0}; what it held is left out until the operator sends it again")]
    Unreadable(#[from] StoreError),
    /// The set.
    #[error("the stored set {} is damaged; nothing is loaded until the operator sends a set", .0.display())]
    Set(PathBuf),
    /// An artefact.
    #[error("the stored program {} is missing or damaged; it is left out until the operator sends it again", .0.display())]
    Artefact(PathBuf),
}

/// What was stored.
#[derive(Debug, Default)]
pub struct Stored {
    /// The set; `None` if none was ever stored, or it is damaged.
    pub desired: Option<Desired>,
    /// Those of its artefacts that are whole.
    pub artefacts: Vec<Artefact>,
    /// Everything else.
    pub damage: Vec<Damage>,
}

impl Store {
    /// Makes the folders if need be.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn open(root: &Path) -> Result<Store, StoreError> {
        let artefacts = root.join(ARTEFACTS);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&artefacts);
        made.map_err(failed("making the folder", &artefacts))?;
        Ok(Store { root: root.to_owned() })
    }

    /// Reads everything.
    pub fn load(&self) -> Stored {
        let mut stored = Stored::default();
        let desired = match self.read_set() {
            Ok(Some(desired)) => desired,
            Ok(None) => return stored,
            Err(damage) => {
                stored.damage.push(damage);
                return stored;
            }
        };
        for name in &desired.artefacts {
            let digest = digest(name);
            match digest.and_then(|digest| self.artefact(digest).transpose()) {
                Some(Ok(artefact)) => stored.artefacts.push(artefact),
                Some(Err(error)) => stored.damage.push(error.into()),
                None => {
                    let folder = || self.root.join(ARTEFACTS);
                    let place = digest.map_or_else(folder, |digest| self.place(digest));
                    stored.damage.push(Damage::Artefact(place));
                }
            }
        }
        stored.desired = Some(desired);
        stored
    }

    /// One artefact, if it is here and whole. A damaged file is removed, so that its place is free for the whole one.
    ///
    /// # Errors
    /// Its file cannot be read, or cannot be removed.
    pub fn artefact(&self, digest: ArtefactDigest) -> Result<Option<Artefact>, StoreError> {
        let place = self.place(digest);
        let Some(bytes) = read(&place, ARTEFACT_MAX as u64)? else { return Ok(None) };
        let artefact = Artefact::decode(&*bytes).ok().filter(|found| found.digest() == digest);
        if artefact.is_none() {
            fs::remove_file(&place).map_err(failed("removing the damaged file", &place))?;
        }
        Ok(artefact)
    }

    /// Whether a file of this name is here; it was whole when it was written or read.
    pub fn has(&self, digest: ArtefactDigest) -> bool {
        self.place(digest).is_file()
    }

    /// Makes a set the stored one. `artefacts` are those of it that may not be here yet.
    ///
    /// # Errors
    /// Something could not be written; the set stored before stays.
    pub fn save(&self, desired: &Desired, artefacts: &[Artefact]) -> Result<(), StoreError> {
        let wanted: BTreeSet<ArtefactDigest> =
            desired.artefacts.iter().filter_map(|name| digest(name)).collect();
        for artefact in artefacts {
            let digest = artefact.digest();
            if wanted.contains(&digest) && !self.has(digest) {
                write(&self.place(digest), &artefact.encode_to_vec())?;
            }
        }
        if let Some(missing) = wanted.iter().find(|digest| !self.has(**digest)) {
            let error = io::ErrorKind::NotFound.into();
            return Err(failed("finding the program", &self.place(*missing))(error));
        }
        let body = desired.encode_to_vec();
        let file = [Sha256::digest(&body).as_slice(), &body].concat();
        write(&self.root.join(SET), &file)?;
        self.prune(&wanted);
        Ok(())
    }

    /// Removes what the set does not name. What resists is tried again after the next set.
    fn prune(&self, wanted: &BTreeSet<ArtefactDigest>) {
        let wanted: BTreeSet<String> = wanted.iter().map(ToString::to_string).collect();
        for entry in fs::read_dir(self.root.join(ARTEFACTS)).into_iter().flatten().flatten() {
            if !entry.file_name().to_str().is_some_and(|name| wanted.contains(name)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn read_set(&self) -> Result<Option<Desired>, Damage> {
        let path = self.root.join(SET);
        let Some(bytes) = read(&path, SET_MAX)? else { return Ok(None) };
        let whole =
            bytes.split_first_chunk::<CHECKSUM>().filter(|(sum, body)| Sha256::digest(body)[..] == sum[..]);
        let desired = whole.and_then(|(_, body)| Desired::decode(body).ok());
        desired.map(Some).ok_or(Damage::Set(path))
    }

    fn place(&self, digest: ArtefactDigest) -> PathBuf {
        self.root.join(ARTEFACTS).join(digest.to_string())
    }
}

/// A digest as the wire has it; `None` if it has another length.
pub fn digest(name: &[u8]) -> Option<ArtefactDigest> {
    name.try_into().ok().map(ArtefactDigest)
}

/// The bytes of a file, `None` if there is none. One that is too long is cut, and so does not decode.
fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("opening", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(failed("reading", path))?;
    Ok(Some(bytes))
}

/// All or nothing.
fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut new = path.as_os_str().to_owned();
    new.push(NEW);
    let new = PathBuf::from(new);
    let written = write_synced(&new, bytes).and_then(|()| fs::rename(&new, path));
    if let Err(error) = written {
        // Makes room again, if there was none.
        let _ = fs::remove_file(&new);
        return Err(failed("writing", path)(error));
    }
    let folder = path.parent().unwrap_or(path);
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(failed("syncing the folder", folder))
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> StoreError + 'a {
    move |error| StoreError { what, path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::artefact::Attach;

    fn artefact(target: &str) -> Artefact {
        Artefact {
            attach: Attach { target: target.into(), ..Attach::default() },
            insns: vec![7; 80],
            ..Artefact::default()
        }
    }

    fn desired(generation: u64, artefacts: &[Artefact]) -> Desired {
        let mut names: Vec<Vec<u8>> = artefacts.iter().map(|a| a.digest().0.to_vec()).collect();
        names.sort();
        Desired { generation, artefacts: names }
    }

    fn saved(artefacts: &[Artefact]) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.save(&desired(3, artefacts), artefacts).unwrap();
        (folder, store)
    }

    #[test]
    fn a_set_comes_back() {
        let artefacts = [artefact("a"), artefact("b")];
        let (folder, _) = saved(&artefacts);
        let stored = Store::open(folder.path()).unwrap().load();
        assert!(stored.damage.is_empty());
        assert_eq!(stored.desired, Some(desired(3, &artefacts)));
        let found: BTreeSet<_> = stored.artefacts.iter().map(Artefact::digest).collect();
        assert_eq!(found, artefacts.iter().map(Artefact::digest).collect());
    }

    #[test]
    fn nothing_stored_is_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let stored = Store::open(&folder.path().join("new")).unwrap().load();
        assert!(stored.desired.is_none() && stored.damage.is_empty());
    }

    #[test]
    fn artefacts_that_no_set_names_are_removed() {
        let (folder, store) = saved(&[artefact("a"), artefact("b")]);
        store.save(&desired(4, &[artefact("b")]), &[]).unwrap();
        let names: Vec<_> = fs::read_dir(folder.path().join(ARTEFACTS)).unwrap().flatten().collect();
        assert_eq!(names.len(), 1);
        assert!(store.has(artefact("b").digest()));
    }

    #[test]
    fn a_set_is_not_stored_without_its_artefacts() {
        let (_folder, store) = saved(&[artefact("a")]);
        assert!(store.save(&desired(4, &[artefact("a"), artefact("b")]), &[]).is_err());
        assert_eq!(store.load().desired.unwrap().generation, 3);
    }

    /// Any cut and any changed byte.
    #[test]
    fn damage_is_found_wherever_it_is() {
        let (folder, store) = saved(&[artefact("a"), artefact("b")]);
        let set = folder.path().join(SET);
        let whole = fs::read(&set).unwrap();
        for at in 0..whole.len() {
            fs::write(&set, &whole[..at]).unwrap();
            let stored = store.load();
            assert!(stored.desired.is_none() && stored.damage.len() == 1, "cut at {at}");
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&set, &changed).unwrap();
            assert!(store.load().desired.is_none(), "changed at {at}");
        }
        fs::write(&set, &whole).unwrap();
        let place = store.place(artefact("a").digest());
        let whole = fs::read(&place).unwrap();
        for at in 0..whole.len() {
            fs::write(&place, &whole[..at]).unwrap();
            let stored = store.load();
            assert!(stored.artefacts.len() == 1 && stored.damage.len() == 1, "cut at {at}");
            assert!(!place.exists(), "cut at {at}");
        }
        assert_eq!(store.load().damage.len(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_the_set_before() {
        let (folder, store) = saved(&[artefact("a")]);
        fs::create_dir(folder.path().join(ARTEFACTS).join(format!("{}{NEW}", artefact("b").digest())))
            .unwrap();
        let both = [artefact("a"), artefact("b")];
        let error = store.save(&desired(4, &both), &both).unwrap_err();
        assert!(error.to_string().contains("writing"), "{error}");
        assert_eq!(store.load().desired.unwrap().generation, 3);
    }
}
