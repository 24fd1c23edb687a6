//! In: arbitrary and mutated text. Out: whether `check` answers without a panic, consistently, the same each time.

use std::fs;

use policy_compiler::check::{Checked, check_yaml};
use proptest::prelude::*;

use super::{folder, yaml_files};

fn consistent(text: &str) {
    let checked = check_yaml(text);
    assert!(!checked.is_empty());
    for Checked { policy, diagnostics, key, .. } in &checked {
        assert_eq!(policy.is_none(), diagnostics.iter().any(|found| found.is_error()));
        assert!(policy.is_none() || key.is_some());
    }
    assert_eq!(checked, check_yaml(text));
}

fn corpus() -> Vec<String> {
    let mut files = yaml_files(&folder("filetests/check"));
    files.extend(yaml_files(&folder("../examples/policies")));
    files.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// Scalars that parsers and limits stumble over.
const TOKENS: [&str; 24] = [
    "-1",
    "0",
    "4294967296",
    "18446744073709551616",
    "-9223372036854775809",
    "1.5",
    ".nan",
    "null",
    "~",
    "true",
    "\"\"",
    "[]",
    "{}",
    "&a",
    "*a",
    "!t",
    "|",
    ">",
    "\u{0}",
    "é",
    "::ffff:1.2.3.4/96",
    "5:1",
    "list:x",
    "---\n",
];

fn mutate(text: &str, edits: &[(usize, usize, usize)]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (line, kind, token) in edits {
        if lines.is_empty() {
            break;
        }
        let at = line % lines.len();
        let token = TOKENS[token % TOKENS.len()];
        match kind % 6 {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at].clone()),
            2 => lines[at].push_str(token),
            3 => {
                if let Some((key, _)) = lines[at].clone().split_once(": ") {
                    lines[at] = format!("{key}: {token}");
                }
            }
            4 => lines[at].insert(0, ' '),
            _ => {
                let other = (at + token.len()) % lines.len();
                lines.swap(at, other);
            }
        }
        if lines.is_empty() {
            break;
        }
    }
    lines.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_is_answered(text in ".{0,300}") {
        consistent(&text);
    }

    #[test]
    fn arbitrary_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        consistent(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn mutated_policies_are_answered(
        case in any::<prop::sample::Index>(),
        edits in prop::collection::vec((0..200_usize, 0..6_usize, 0..24_usize), 1..8),
    ) {
        let corpus = corpus();
        consistent(&mutate(&corpus[case.index(corpus.len())], &edits));
    }
}
