//! In: named contents. Out: files in a directory, all of them or none.
//!
//! Everything is first written into a hidden directory inside the target, so that a full disk is noticed before any
//! file is in place; renaming into place takes no room.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// One file to be.
#[derive(Debug)]
pub struct Content {
    /// Name without directories.
    pub name: String,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// What failed, on which file.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}: {error}; {outcome}", path.display())]
pub struct WriteError {
    what: &'static str,
    path: PathBuf,
    error: io::Error,
    outcome: &'static str,
}

const UNCHANGED: &str = "nothing was changed there";

/// Puts all files in place, in order, replacing those of the same name.
///
/// # Errors
/// The first failure. Unless it is one of the renames at the end, the directory is as it was.
pub fn write(directory: &Path, contents: &[Content]) -> Result<(), WriteError> {
    let failed = |what, path: &Path, outcome| {
        let path = path.to_owned();
        move |error| WriteError { what, path, error, outcome }
    };
    let made = std::fs::create_dir(directory).is_ok();
    std::fs::create_dir_all(directory).map_err(failed("creating", directory, UNCHANGED))?;
    let hidden = directory.join(format!(".ferra-{}", std::process::id()));
    // Of a process that had this id and was killed.
    let _ = std::fs::remove_dir_all(&hidden);
    let written = std::fs::create_dir(&hidden)
        .map_err(failed("creating", &hidden, UNCHANGED))
        .and_then(|()| {
            contents.iter().try_for_each(|content| {
                let path = hidden.join(&content.name);
                whole(&path, &content.bytes).map_err(failed("writing", &path, UNCHANGED))
            })
        })
        .and_then(|()| {
            contents.iter().try_for_each(|content| {
                let path = directory.join(&content.name);
                std::fs::rename(hidden.join(&content.name), &path).map_err(failed(
                    "putting in place",
                    &path,
                    "files before it in the index are new",
                ))
            })
        });
    // After success it is empty; after a failure the error already tells what matters.
    let _ = std::fs::remove_dir_all(&hidden);
    if written.is_err() && made {
        // Removes it only if it is empty.
        let _ = std::fs::remove_dir(directory);
    }
    written
}

fn whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(bytes)?;
    // Some file systems tell only now that there is no room.
    file.sync_all()
}

/// Removes files that an earlier run made and this one did not; gives those that stay because of an error.
pub fn remove_old(directory: &Path, old: &BTreeSet<String>, new: &[Content]) -> Vec<(PathBuf, io::Error)> {
    let new: BTreeSet<&str> = new.iter().map(|content| content.name.as_str()).collect();
    let gone = old.iter().filter(|name| !new.contains(name.as_str()) && is_plain(name));
    gone.filter_map(|name| {
        let path = directory.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Some((path, error)),
            _ => None,
        }
    })
    .collect()
}

/// A name that this program gives: an index that someone else wrote must not make it remove anything else.
fn is_plain(name: &str) -> bool {
    let suffix = name.ends_with(".artefact") || name.ends_with(".txt");
    suffix && !name.starts_with('.') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(name: &str) -> Content {
        Content { name: name.to_owned(), bytes: name.as_bytes().to_vec() }
    }

    #[test]
    fn all_or_nothing() {
        let directory = std::env::temp_dir().join(format!("ferra-directory-{}", std::process::id()));
        write(&directory, &[content("a.txt"), content("b.txt")]).expect("written");
        let bad = [content("c.txt"), content("no/such/directory.txt")];
        let error = write(&directory, &bad).expect_err("the second file cannot be written").to_string();
        assert!(error.contains("directory.txt") && error.contains(UNCHANGED), "{error}");
        let mut names: Vec<_> = std::fs::read_dir(&directory)
            .expect("there")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a plain name"))
            .collect();
        names.sort();
        assert_eq!(names, ["a.txt", "b.txt"]);
        std::fs::remove_dir_all(&directory).expect("removed");
        write(&directory, &bad).expect_err("as above");
        assert!(!directory.exists(), "a directory made for nothing is gone");
    }

    #[test]
    fn only_own_files_are_removed() {
        for name in ["../x.txt", "/etc/x.txt", "a/b.txt", ".x.txt", "x.yaml"] {
            assert!(!is_plain(name), "{name}");
        }
        assert!(is_plain("fmod_ret-security_file_open.artefact"));
    }
}
