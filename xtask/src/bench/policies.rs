//! Input: the example policies.
//! Output: the sets of policies that the benchmark loads, as files.

use std::fs;

use anyhow::{Context, Result};

use crate::workspace;

/// What is loaded while operations run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Set {
    /// Nothing at all: ferra does not run.
    Bare,
    /// No policy.
    Base,
    /// So many file policies: the example, below /etc/, and others that watch other folders.
    File(u32),
    WriteFd,
    RawSyscalls,
    /// The example: connections to this host do not match.
    Connect,
    /// The opposite.
    ConnectMatching,
}

impl Set {
    /// A word.
    pub fn name(self) -> String {
        match self {
            Set::Bare => "bare".to_owned(),
            Set::Base => "base".to_owned(),
            Set::File(count) => format!("file-{count}"),
            Set::WriteFd => "write-fd".to_owned(),
            Set::RawSyscalls => "raw-syscalls".to_owned(),
            Set::Connect => "connect".to_owned(),
            Set::ConnectMatching => "connect-matching".to_owned(),
        }
    }

    /// How many policies that is.
    pub fn policies(self) -> u32 {
        match self {
            Set::Bare | Set::Base => 0,
            Set::File(count) => count,
            Set::WriteFd | Set::RawSyscalls | Set::Connect | Set::ConnectMatching => 1,
        }
    }

    /// The policies' texts.
    pub fn texts(self) -> Result<Vec<String>> {
        Ok(match self {
            Set::Bare | Set::Base => Vec::new(),
            Set::File(count) => {
                let text = example("file-monitoring")?;
                (0..count).map(|number| elsewhere(&text, number)).collect()
            }
            Set::WriteFd => vec![example("write-fd")?],
            Set::RawSyscalls => vec![example("raw-syscalls")?],
            Set::Connect => vec![example("tcp-connect")?],
            Set::ConnectMatching => vec![example("tcp-connect")?.replace("NotDAddr", "DAddr")],
        })
    }
}

fn example(name: &str) -> Result<String> {
    let path = workspace::root().join("examples/policies").join(name).with_extension("yaml");
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// The file policy for another folder; number 0 is the example itself.
fn elsewhere(text: &str, number: u32) -> String {
    if number == 0 {
        return text.to_owned();
    }
    // Different first letters: policies for one folder would share a compare.
    text.replace("/etc/", &format!("/{number}-data/watched/"))
        .replace("name: file-monitoring", &format!("name: file-monitoring-{number}"))
}

#[cfg(test)]
mod tests {
    use super::{Set, elsewhere};

    #[test]
    fn each_policy_of_a_set_has_a_name_and_a_folder_of_its_own() {
        let text = "name: file-monitoring\n- /etc/\n";
        assert_eq!(elsewhere(text, 0), text);
        assert_eq!(elsewhere(text, 7), "name: file-monitoring-7\n- /7-data/watched/\n");
    }

    #[test]
    fn the_examples_are_there_and_match_what_the_sets_change_in_them() {
        assert!(Set::File(2).texts().unwrap()[1].contains("name: file-monitoring-1"));
        assert!(Set::ConnectMatching.texts().unwrap()[0].contains(" DAddr"));
        for set in [Set::WriteFd, Set::RawSyscalls, Set::Connect] {
            assert_eq!(set.texts().unwrap().len(), 1);
        }
    }
}
