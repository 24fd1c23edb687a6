//! In: paths of policy files and directories. Out: what changed since the last look.
//!
//! Files are compared by content, so that a rewrite with the same bytes is no change, and however a change is made
//! (in place, rename, a swapped symlink of a mounted ConfigMap) it is seen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What became of one file.
#[derive(Debug)]
pub enum Change {
    /// New or edited: its text.
    Text(String),
    /// It cannot be read.
    Unreadable(String),
    /// Gone.
    Removed,
}

/// The files that are looked at.
#[derive(Debug)]
pub struct Sources {
    paths: Vec<PathBuf>,
    seen: BTreeMap<PathBuf, Result<String, String>>,
}

impl Sources {
    /// Nothing seen yet.
    pub fn new(paths: Vec<PathBuf>) -> Sources {
        Sources { paths, seen: BTreeMap::new() }
    }

    /// Files that differ from the last look, in the order of their paths.
    pub fn changes(&mut self) -> Vec<(PathBuf, Change)> {
        let mut now = BTreeMap::new();
        for path in &self.paths {
            match files(path) {
                Ok(files) => {
                    now.extend(files.into_iter().map(|file| {
                        let text = std::fs::read_to_string(&file).map_err(|error| error.to_string());
                        (file, text)
                    }));
                }
                Err(error) => {
                    now.insert(path.clone(), Err(error.to_string()));
                }
            }
        }
        let mut changes: Vec<_> = now
            .iter()
            .filter(|(path, text)| self.seen.get(*path) != Some(text))
            .map(|(path, text)| {
                let change = text.clone().map_or_else(Change::Unreadable, Change::Text);
                (path.clone(), change)
            })
            .collect();
        changes.extend(
            self.seen
                .keys()
                .filter(|path| !now.contains_key(*path))
                .map(|path| (path.clone(), Change::Removed)),
        );
        self.seen = now;
        changes
    }
}

/// A file is itself; a directory is its visible *.yaml and *.yml files.
///
/// # Errors
/// The file or directory cannot be looked at.
pub fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let yaml = file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if yaml && !hidden && file.is_file() {
            files.push(file);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_new_edited_and_removed_files_and_nothing_else() {
        let dir = std::env::temp_dir().join(format!("ferra-sources-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).expect("a file");
        write("a.yaml", "a");
        write("note.txt", "no");
        write(".hidden.yaml", "no");
        let mut sources = Sources::new(vec![dir.clone()]);
        let names = |changes: Vec<(PathBuf, Change)>| {
            changes
                .into_iter()
                .map(|(path, change)| {
                    let name =
                        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                    (name, matches!(change, Change::Text(_)))
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(names(sources.changes()), [("a.yaml".to_owned(), true)]);
        write("a.yaml", "a");
        assert!(sources.changes().is_empty(), "the same bytes are no change");
        write("a.yaml", "b");
        write("b.yml", "b");
        assert_eq!(names(sources.changes()), [("a.yaml".to_owned(), true), ("b.yml".to_owned(), true)]);
        std::fs::remove_file(dir.join("a.yaml")).expect("removed");
        assert_eq!(names(sources.changes()), [("a.yaml".to_owned(), false)]);
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
