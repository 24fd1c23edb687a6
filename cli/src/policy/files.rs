//! In: the paths of the command line. Out: the texts there, each with the name that messages give it.

use policy_compiler::check::INPUT_LIMIT;
use std::io::Read;
use std::path::{Path, PathBuf};

/// One input.
#[derive(Debug)]
pub struct Text {
    /// As in messages.
    pub name: String,
    /// What is in it, or why that is unknown.
    pub text: Result<String, String>,
}

/// Reads files, the policies of directories (sorted by name), and standard input for `-`.
pub fn read(paths: &[PathBuf]) -> Vec<Text> {
    paths
        .iter()
        .flat_map(|path| if path == Path::new("-") { vec![standard_input()] } else { at(path) })
        .collect()
}

fn standard_input() -> Text {
    Text { name: "standard input".to_owned(), text: bounded(std::io::stdin().lock()) }
}

fn at(path: &Path) -> Vec<Text> {
    let unreadable = |why: String| vec![Text { name: path.display().to_string(), text: Err(why) }];
    match crate::run::sources::files(path) {
        Err(error) => unreadable(error.to_string()),
        Ok(files) if files.is_empty() => unreadable("the directory has no *.yaml or *.yml file".to_owned()),
        Ok(mut files) => {
            files.sort();
            files.iter().map(|file| open(file)).collect()
        }
    }
}

fn open(path: &Path) -> Text {
    let text = std::fs::File::open(path).map_err(|error| error.to_string()).and_then(bounded);
    Text { name: path.display().to_string(), text }
}

/// Reads one byte more than the compiler takes, so that it refuses what is too long whatever its size.
fn bounded(input: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    let limit = INPUT_LIMIT as u64 + 1;
    input.take(limit).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() > INPUT_LIMIT {
        // The cut may be inside a character.
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        format!("not UTF-8 text: byte {} does not belong to it", error.utf8_error().valid_up_to() + 1)
    })
}
