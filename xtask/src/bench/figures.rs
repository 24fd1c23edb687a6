//! Input: the lines that the guest's script printed.
//! Output: the rows' figures.

use std::collections::BTreeMap;

use super::policies::Set;
use super::rows::{Figure, Row};

/// What was measured, by set and operation.
#[derive(Default)]
pub struct Figures {
    /// All measurements: the bare kernel is looked at before and after the rest.
    operations: BTreeMap<(String, String), Vec<u64>>,
    inside: BTreeMap<(String, String), u64>,
    cpu: BTreeMap<String, u64>,
    memory: BTreeMap<String, u64>,
    resident: BTreeMap<String, u64>,
    lost: BTreeMap<String, u64>,
    /// KiB of the policies' own programs and maps, as ferra tells when it is ready.
    own_memory: BTreeMap<String, u64>,
}

/// A row's figures: what is aimed at applies to `added`.
#[derive(Debug, PartialEq, Eq)]
pub struct Value {
    /// The operation without ferra.
    pub bare: Option<u64>,
    /// Below zero is possible: measuring has an error, too.
    pub added: i64,
}

impl Figures {
    /// Takes in a line; lines of other kinds are ignored.
    pub fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |word: &str| word.parse::<u64>().ok();
        match words.as_slice() {
            ["op", set, operation, figure] => {
                let key = ((*set).to_owned(), (*operation).to_owned());
                self.operations.entry(key).or_default().extend(number(figure));
            }
            ["in", set, operation, figure] => {
                let key = ((*set).to_owned(), (*operation).to_owned());
                self.inside.extend(number(figure).map(|figure| (key, figure)));
            }
            ["cpu", set, figure] => put(&mut self.cpu, set, number(figure)),
            ["memory", set, total, ..] => put(&mut self.memory, set, number(total)),
            ["rss", set, now, _most] => put(&mut self.resident, set, number(now)),
            ["said", set, ..] => {
                if let ["ferra:", "ready:", .., own, "KiB", "of", "kernel", "memory"] = &words[2..] {
                    put(&mut self.own_memory, set, number(own));
                }
                if let Some(lost) = losses(&words) {
                    *self.lost.entry((*set).to_owned()).or_default() += lost;
                }
            }
            _ => {}
        }
    }

    /// None if it was not measured.
    pub fn of(&self, row: &Row) -> Option<Value> {
        let set = row.set.name();
        let of = |map: &BTreeMap<String, u64>| map.get(&set).copied();
        let policies = i64::from(row.set.policies().max(1));
        let key = |set: &str, operation: &str| (set.to_owned(), operation.to_owned());
        let operation = |set: &str, operation: &str| mean(self.operations.get(&key(set, operation))?);
        let plain = |added| Some(Value { bare: None, added });
        match row.figure {
            Figure::Added { operation: name, .. } => {
                let bare = operation(&Set::Bare.name(), name)?;
                Some(Value { bare: Some(bare), added: signed(operation(&set, name)?) - signed(bare) })
            }
            Figure::Inside { operation: name, .. } => plain(signed(*self.inside.get(&key(&set, name))?)),
            Figure::Event { .. } => plain(signed(operation(&set, "event")?)),
            Figure::Lost => plain(signed(of(&self.lost)?)),
            Figure::Start => plain(signed(of(&self.cpu)?) / MILLION),
            Figure::Load => {
                let more = signed(of(&self.cpu)?) - signed(*self.cpu.get(&Set::Base.name())?);
                plain(more / policies / MILLION)
            }
            Figure::KernelMemory => plain(signed(of(&self.memory)?) / KIB),
            Figure::PolicyMemory => plain(signed(of(&self.own_memory)?) / policies),
            Figure::Resident => plain(signed(of(&self.resident)?)),
        }
    }
}

fn mean(figures: &[u64]) -> Option<u64> {
    figures.iter().sum::<u64>().checked_div(figures.len() as u64)
}

const MILLION: i64 = 1_000_000;
const KIB: i64 = 1024;

fn signed(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}

fn put(map: &mut BTreeMap<String, u64>, set: &str, figure: Option<u64>) {
    if let Some(figure) = figure {
        map.insert(set.to_owned(), figure);
    }
}

/// The numbers before the word `lost` in a line of ferra's last words.
fn losses(words: &[&str]) -> Option<u64> {
    let at = words.iter().position(|word| word.trim_end_matches(',') == "lost")?;
    words.get(at.checked_sub(1)?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::rows::{Figure, Row};
    use super::{Figures, Set, Value};

    fn figures() -> Figures {
        let mut figures = Figures::default();
        for line in [
            "op bare getpid 348",
            "op bare getpid 352",
            "op raw-syscalls getpid 500",
            "said file-10 ferra: ready: 10 policies on 4 hooks, 2009 KiB of kernel memory",
            "said file-10 ferra: policy a: 3 matched, 3 posted, 0 rate-limited, 7 lost",
            "said file-10 ferra: 9 events, 2 lost by the process programs",
            "noise",
        ] {
            figures.line(line);
        }
        figures
    }

    fn value(set: Set, figure: Figure) -> Option<Value> {
        figures().of(&Row { name: "", title: "", set, figure, target: None, peer: None })
    }

    #[test]
    fn added_is_over_the_bare_kernel() {
        let getpid = Figure::Added { operation: "getpid", count: 1 };
        assert_eq!(value(Set::RawSyscalls, getpid), Some(Value { bare: Some(350), added: 150 }));
        assert_eq!(value(Set::WriteFd, getpid), None);
    }

    #[test]
    fn memory_is_shared_out_and_losses_added_up() {
        assert_eq!(value(Set::File(10), Figure::PolicyMemory), Some(Value { bare: None, added: 200 }));
        assert_eq!(value(Set::File(10), Figure::Lost), Some(Value { bare: None, added: 9 }));
    }
}
