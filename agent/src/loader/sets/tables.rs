//! In: the sets in force and their bits. Out: the exec-time tables of the fixed programs, changed entry by entry.

use std::collections::BTreeMap;

use api::artefact::{ProcessSet, SetOp};
use bpf_programs::layout::{
    BINARY_POSTFIX_MAX, BINARY_PREFIX_MAX, BaseConfig, TABLE_CGROUPS, TABLE_PIDS, TABLE_POSTFIX,
    TABLE_PREFIX, bytes_of,
};

use super::{ProcessBit, SetError, SetObjects, Words, set_op};
use crate::kernel::{Errno, Kernel};
use crate::pods::{CgroupId, Place};

/// Contents of the tables. Trie keys without their length: the bytes that must be a prefix of what is looked up.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tables {
    prefix: BTreeMap<Vec<u8>, Words>,
    postfix: BTreeMap<Vec<u8>, Words>,
    pids: BTreeMap<u32, Words>,
    cgroups: BTreeMap<CgroupId, Words>,
    config: u32,
}

impl Tables {
    /// The tables for these sets and the node's workloads.
    pub fn of<'a>(
        sets: impl Iterator<Item = (&'a ProcessSet, ProcessBit)>,
        workloads: &BTreeMap<CgroupId, Place>,
    ) -> Tables {
        let mut tables = Tables::default();
        for (set, bit) in sets {
            tables.add(set, bit, workloads);
        }
        include_shorter(&mut tables.prefix);
        include_shorter(&mut tables.postfix);
        let used = |empty: bool, flag| if empty { 0 } else { flag };
        tables.config = used(tables.prefix.is_empty(), TABLE_PREFIX)
            | used(tables.postfix.is_empty(), TABLE_POSTFIX)
            | used(tables.pids.is_empty(), TABLE_PIDS)
            | used(tables.cgroups.is_empty(), TABLE_CGROUPS);
        tables
    }

    fn add(&mut self, set: &ProcessSet, bit: ProcessBit, workloads: &BTreeMap<CgroupId, Place>) {
        match set_op(set).unwrap_or(SetOp::Unspecified) {
            SetOp::Unspecified => {}
            SetOp::Equal => set.paths.iter().for_each(|path| {
                let whole = path.iter().copied().chain([0]).collect();
                bit.add_to(self.prefix.entry(whole).or_default());
            }),
            SetOp::Prefix => {
                set.paths.iter().for_each(|path| bit.add_to(self.prefix.entry(path.clone()).or_default()));
            }
            SetOp::Postfix => set.paths.iter().for_each(|path| {
                let reversed = path.iter().rev().copied().collect();
                bit.add_to(self.postfix.entry(reversed).or_default());
            }),
            SetOp::Pid => set.pids.iter().for_each(|pid| bit.add_to(self.pids.entry(*pid).or_default())),
            // Each has an entry, if only with zeros: the nearest one counts.
            SetOp::Workloads => workloads.iter().for_each(|(cgroup, place)| {
                let words = self.cgroups.entry(*cgroup).or_default();
                if place.workload.is_in(set) {
                    bit.add_to(words);
                }
            }),
        }
    }

    /// Changes the kernel's tables, which hold `self`, to hold `desired`: first what is new, then what is gone. On
    /// error `self` is what the kernel holds by then, and the next call goes on from there.
    pub fn become_like<K: Kernel>(
        &mut self,
        desired: &Tables,
        kernel: &K,
        objects: &SetObjects<K>,
    ) -> Result<(), SetError> {
        let failed = |table| move |errno| SetError::Table { table, errno };
        change(&mut self.prefix, &desired.prefix, kernel, &objects.prefix, |path| {
            trie_key::<BINARY_PREFIX_MAX>(path)
        })
        .map_err(failed("binary_exact_prefix"))?;
        change(&mut self.postfix, &desired.postfix, kernel, &objects.postfix, |path| {
            trie_key::<BINARY_POSTFIX_MAX>(path)
        })
        .map_err(failed("binary_postfix"))?;
        change(&mut self.pids, &desired.pids, kernel, &objects.pids, |pid| Some(pid.to_ne_bytes().to_vec()))
            .map_err(failed("pid_sets"))?;
        change(&mut self.cgroups, &desired.cgroups, kernel, &objects.cgroups, |id| Some(id.key()))
            .map_err(failed("cgroup_sets"))?;
        if self.config != desired.config {
            let config = BaseConfig { tables: desired.config, zero: 0 };
            kernel.map_update(&objects.config, &[0; 4], bytes_of(&config)).map_err(failed("config"))?;
            self.config = desired.config;
        }
        Ok(())
    }
}

impl Tables {
    /// Makes one entry of `cgroup_sets` these words, or takes it out.
    pub fn set_cgroup<K: Kernel>(
        &mut self,
        cgroup: CgroupId,
        words: Option<Words>,
        kernel: &K,
        objects: &SetObjects<K>,
    ) -> Result<(), SetError> {
        let failed = |errno| SetError::Table { table: "cgroup_sets", errno };
        if self.cgroups.get(&cgroup) == words.as_ref() {
            return Ok(());
        }
        if let Some(words) = words {
            kernel.map_update(&objects.cgroups, &cgroup.key(), bytes_of(&words)).map_err(failed)?;
            self.cgroups.insert(cgroup, words);
        } else {
            kernel.map_delete(&objects.cgroups, &cgroup.key()).map_err(failed)?;
            self.cgroups.remove(&cgroup);
        }
        Ok(())
    }
}

/// The longest match alone is found, so it has to speak for all shorter ones.
fn include_shorter(table: &mut BTreeMap<Vec<u8>, Words>) {
    // Keys come in order, so the prefixes of a key are the last ones before it that it starts with.
    let mut shorter: Vec<(Vec<u8>, Words)> = Vec::new();
    for (key, words) in table.iter_mut() {
        while shorter.last().is_some_and(|(prefix, _)| !key.starts_with(prefix)) {
            shorter.pop();
        }
        if let Some((_, inherited)) = shorter.last() {
            words.iter_mut().zip(inherited).for_each(|(word, more)| *word |= more);
        }
        shorter.push((key.clone(), *words));
    }
}

fn change<Key: Ord + Clone, K: Kernel>(
    now: &mut BTreeMap<Key, Words>,
    desired: &BTreeMap<Key, Words>,
    kernel: &K,
    map: &K::Map,
    encode: impl Fn(&Key) -> Option<Vec<u8>>,
) -> Result<(), Errno> {
    for (key, words) in
        desired.iter().filter(|(key, words)| now.get(*key) != Some(*words)).collect::<Vec<_>>()
    {
        kernel.map_update(map, &encode(key).ok_or(Errno::EINVAL)?, bytes_of(words))?;
        now.insert(key.clone(), *words);
    }
    let gone: Vec<Key> = now.keys().filter(|key| !desired.contains_key(*key)).cloned().collect();
    for key in gone {
        kernel.map_delete(map, &encode(&key).ok_or(Errno::EINVAL)?)?;
        now.remove(&key);
    }
    Ok(())
}

/// `struct binary_prefix_key` or `binary_postfix_key`: the length in bits, then `SIZE` bytes.
fn trie_key<const SIZE: usize>(bytes: &[u8]) -> Option<Vec<u8>> {
    let bits = u32::try_from(bytes.len() * 8).ok()?;
    let mut key = bits.to_ne_bytes().to_vec();
    key.extend_from_slice(bytes);
    if bytes.len() > SIZE {
        return None;
    }
    key.resize(4 + SIZE, 0);
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(op: SetOp, paths: &[&str]) -> ProcessSet {
        let paths = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
        ProcessSet { op: op as i32, paths, ..ProcessSet::default() }
    }

    fn lookup(table: &BTreeMap<Vec<u8>, Words>, text: &[u8]) -> u64 {
        let longest = table.iter().filter(|(key, _)| text.starts_with(key)).max_by_key(|(key, _)| key.len());
        longest.map_or(0, |(_, words)| words[0])
    }

    #[test]
    fn the_longest_match_has_the_bits_of_all_shorter_ones() {
        let sets = [
            set(SetOp::Prefix, &["/usr/"]),
            set(SetOp::Prefix, &["/usr/bin/"]),
            set(SetOp::Equal, &["/usr/bin/id", "/bin/sh"]),
            set(SetOp::Prefix, &["/usr/bin/id"]),
            set(SetOp::Postfix, &["sh", "/bin/sh"]),
        ];
        let tables = Tables::of(sets.iter().zip((0..).map(ProcessBit::new)), &BTreeMap::new());
        let prefix = |path: &str| lookup(&tables.prefix, format!("{path}\0").as_bytes());
        assert_eq!(prefix("/usr/bin/id"), 0b1111);
        assert_eq!(prefix("/usr/bin/idle"), 0b1011);
        assert_eq!(prefix("/usr/bin/ls"), 0b0011);
        assert_eq!(prefix("/usr/lib"), 0b0001);
        assert_eq!(prefix("/bin/sh"), 0b0100);
        assert_eq!(prefix("/bin/shh"), 0);
        let postfix = |path: &str| lookup(&tables.postfix, &path.bytes().rev().collect::<Vec<u8>>());
        assert_eq!((postfix("/usr/bin/sh"), postfix("/bin/zsh"), postfix("/bin/sh2")), (0b10000, 0b10000, 0));
        assert_eq!(tables.config, TABLE_PREFIX | TABLE_POSTFIX);
        assert_eq!(Tables::of([].into_iter(), &BTreeMap::new()).config, 0);
    }

    #[test]
    fn a_key_is_padded_to_the_size_of_its_map() {
        let key = trie_key::<8>(b"/a\0").unwrap();
        assert_eq!(key, [&24u32.to_ne_bytes()[..], b"/a\0\0\0\0\0\0"].concat());
        assert!(trie_key::<8>(&[b'a'; 9]).is_none());
    }
}
