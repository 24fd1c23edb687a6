//! In: a corpus of policies. Out: mutations of them, decided by a seed alone.

use crate::random::Random;

/// Scalars at which parsers and limits change their mind.
const SCALARS: [&str; 36] = [
    "-1",
    "0",
    "1",
    "127",
    "128",
    "255",
    "256",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775808",
    "18446744073709551616",
    "-9223372036854775809",
    "0x10",
    "010",
    "1.5",
    ".inf",
    "null",
    "true",
    "\"\"",
    "[]",
    "{}",
    "&a 1",
    "*a",
    "!t x",
    "|",
    "1:2",
    "2:1",
    ":",
    "list:x",
    "::1/0",
    "::ffff:1.2.3.4/95",
    "CAP_SYS_ADMIN,",
    "\"\\0\"",
    "\"é\"",
    "- - -",
];

/// Words of the language that can stand in for each other; swapping within a group keeps many inputs valid.
const GROUPS: [&[&str]; 10] = [
    &["int", "uint32", "int64", "size_t", "int8", "uint8", "uint16", "ulong", "auto", "nop"],
    &["string", "file", "path", "fd", "dentry", "filename", "linux_binprm", "char_buf"],
    &["sock", "socket", "skb", "sockaddr"],
    &["kernel_cap_t", "cap_effective", "cap_permitted", "cap_inheritable", "capability", "cred", "syscall64"],
    &["NotEqual", "Equal", "GT", "LT", "Mask", "NotInMap", "InMap", "InRange", "NotInRange"],
    &["NotPrefix", "Prefix", "NotPostfix", "Postfix", "Equal", "NotEqual", "FileType", "NotIn"],
    &["NotDAddr", "SAddr", "DAddr", "DPort", "NotSPort", "SPortPriv", "Protocol", "Family", "State"],
    &["Post", "NoPost", "Sigkill", "Signal", "Override", "GetUrl", "NotifyEnforcer"],
    &[
        "kprobes",
        "fentries",
        "tracepoints",
        "lsmhooks",
        "uprobes",
        "options",
        "args",
        "selectors",
        "matchArgs",
        "matchReturnArgs",
        "matchActions",
        "matchReturnActions",
        "matchBinaries",
        "matchPIDs",
        "matchNamespaces",
        "matchCapabilities",
        "index",
        "type",
        "operator",
        "values",
        "action",
        "argError",
        "argSig",
        "rateLimit",
        "returnArg",
        "return",
        "syscall",
        "sizeArgIndex",
        "returnCopy",
        "call",
        "hook",
        "ignore",
        "message",
        "tags",
    ],
    &[
        "security_file_permission",
        "security_file_open",
        "security_mmap_file",
        "security_path_unlink",
        "security_bprm_check",
        "security_socket_connect",
        "security_capset",
        "tcp_connect",
        "tcp_v4_rcv",
        "do_filp_open",
        "vfs_read",
        "fixture_int64",
        "sys_write",
        "sys_read",
        "sys_openat",
        "sys_setuid",
    ],
];

/// Longest input in bytes; larger ones are slow and find nothing that these do not.
const INPUT_LIMIT: usize = 20_000;

/// Inputs to mutate.
#[derive(Debug, Default)]
pub struct Corpus {
    /// Those that are valid policies.
    pub accepted: Vec<String>,
    /// The others.
    pub refused: Vec<String>,
}

impl Corpus {
    /// Adds an input, unless there are enough of its sort.
    pub fn add(&mut self, input: String, accepted: bool) {
        /// Bound on the memory for each sort: 5,000 inputs of at most 20 kB.
        const LIMIT: usize = 5000;
        let pool = if accepted { &mut self.accepted } else { &mut self.refused };
        if pool.len() < LIMIT {
            pool.push(input);
        }
    }
}

/// A source of mutations.
pub struct Mutator {
    random: Random,
}

impl Mutator {
    /// A source that `seed` decides.
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed) }
    }

    /// A mutation of some input. Inputs that were accepted are near to others that will be: they are mutated
    /// more often, and more gently.
    pub fn mutate(&mut self, corpus: &Corpus) -> String {
        let gentle = self.random.below(3) > 0;
        let pool = if gentle { &corpus.accepted } else { &corpus.refused };
        let mut text = self.random.pick(pool).cloned().unwrap_or_default();
        let rounds = if gentle { self.random.below(2) } else { self.random.below(5) };
        for _ in 0..=rounds {
            text = match self.random.below(if gentle { 8 } else { 10 }) {
                0..=3 => self.swap_word(&text),
                4..=6 => self.change_value(&text),
                7 => self.edit_line(&text),
                8 => self.splice(&text, pool),
                _ => self.damage(&text),
            };
        }
        while text.len() > INPUT_LIMIT {
            text.pop();
        }
        text
    }

    /// The start of one input and the end of another.
    fn splice(&mut self, text: &str, pool: &[String]) -> String {
        let other = self.random.pick(pool).map_or("", String::as_str);
        let (head, tail): (Vec<&str>, Vec<&str>) = (text.lines().collect(), other.lines().collect());
        let (head_len, skipped) = (self.random.below(head.len() + 1), self.random.below(tail.len() + 1));
        let lines: Vec<&str> =
            head.into_iter().take(head_len).chain(tail.into_iter().skip(skipped)).collect();
        lines.join("\n")
    }

    /// Some bytes overwritten.
    fn damage(&mut self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=self.random.below(4) {
            let (at, byte) = (self.random.below(bytes.len()), self.random.next() as u8);
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// One word of the language in place of another.
    fn swap_word(&mut self, text: &str) -> String {
        let used = |group: &&[&str]| group.iter().any(|word| text.contains(word));
        let groups: Vec<&[&str]> = GROUPS.iter().copied().filter(used).collect();
        let Some(group) = self.random.pick(&groups).copied() else { return text.to_owned() };
        let present: Vec<&str> = group.iter().copied().filter(|word| text.contains(word)).collect();
        let (Some(from), Some(to)) = (self.random.pick(&present).copied(), self.random.pick(group).copied())
        else {
            return text.to_owned();
        };
        let places: Vec<usize> = text.match_indices(from).map(|(at, _)| at).collect();
        let Some(at) = self.random.pick(&places).copied() else { return text.to_owned() };
        let (before, after) = text.split_at(at);
        format!("{before}{to}{}", after.strip_prefix(from).unwrap_or(after))
    }

    /// Another scalar behind some key.
    fn change_value(&mut self, text: &str) -> String {
        let places: Vec<usize> = text.match_indices(": ").map(|(at, found)| at + found.len()).collect();
        let (Some(at), Some(scalar)) =
            (self.random.pick(&places).copied(), self.random.pick(&SCALARS).copied())
        else {
            return text.to_owned();
        };
        let (before, after) = text.split_at(at);
        let end = after.find([',', '}', ']', '\n']).unwrap_or(after.len());
        format!("{before}{scalar}{}", after.get(end..).unwrap_or_default())
    }

    /// A line removed, doubled, moved or indented otherwise.
    fn edit_line(&mut self, text: &str) -> String {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let at = self.random.below(lines.len());
        let Some(line) = lines.get(at).cloned() else { return text.to_owned() };
        match self.random.below(5) {
            0 => drop(lines.remove(at)),
            1 => {
                for _ in 0..=self.random.below(8) {
                    lines.insert(at, line.clone());
                }
            }
            2 => {
                lines.remove(at);
                let to = self.random.below(lines.len() + 1);
                lines.insert(to, line);
            }
            3 => lines.insert(at, format!("  {line}")),
            _ => {
                let scalar = self.random.pick(&SCALARS).copied().unwrap_or_default();
                lines.insert(at, format!("{line}{scalar}"));
            }
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::{Corpus, Mutator};

    #[test]
    fn a_seed_decides_everything() {
        let mut corpus = Corpus::default();
        corpus.add("spec:\n  kprobes:\n  - call: f\n    type: int\n".to_owned(), true);
        let run = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..200).map(|_| mutator.mutate(&corpus)).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }
}
