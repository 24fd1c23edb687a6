//! In: map helpers' keys and values. Out: addresses of values in [`Memory`], with the kernel's rules per kind.

use std::collections::BTreeMap;

use super::memory::{Kind, Memory};

pub const ENOENT: i64 = -2;
pub const E2BIG: i64 = -7;
pub const EEXIST: i64 = -17;
pub const EINVAL: i64 = -22;

/// Kinds of maps that programs of this project use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKind {
    Array,
    PerCpuArray,
    Hash,
    LruHash,
    LpmTrie,
    RingBuf,
}

#[derive(Debug, Clone)]
struct Slot {
    /// Addresses of the value, one per CPU for per-CPU kinds, else one.
    values: Vec<u64>,
    used: u64,
}

/// One map; its values live in [`Memory`].
#[derive(Debug, Clone)]
pub struct Map {
    pub name: String,
    pub kind: MapKind,
    pub key_size: usize,
    pub value_size: usize,
    pub max_entries: usize,
    cpus: usize,
    slots: BTreeMap<Vec<u8>, Slot>,
    clock: u64,
    /// Where this map's next value goes.
    next: u64,
}

/// Room between the values of two maps.
const MAP_SPACING: u64 = 1 << 32;
const VALUES_START: u64 = 0xffff_c900_0000_0000;

impl Map {
    /// `number` must differ from that of any other map of the same memory.
    pub fn new(name: &str, number: u32, kind: MapKind, sizes: (usize, usize, usize), cpus: usize) -> Self {
        let (key_size, value_size, max_entries) = sizes;
        Self {
            name: name.to_owned(),
            kind,
            key_size,
            value_size,
            max_entries,
            cpus: if kind == MapKind::PerCpuArray { cpus } else { 1 },
            slots: BTreeMap::new(),
            clock: 0,
            next: VALUES_START + u64::from(number) * MAP_SPACING,
        }
    }

    /// bpf_map_lookup_elem: the value's address, or 0.
    pub fn lookup(&mut self, memory: &mut Memory, key: &[u8], cpu: usize) -> u64 {
        self.clock += 1;
        match self.kind {
            MapKind::Array | MapKind::PerCpuArray => {
                let index = u32::from_le_bytes(key.try_into().expect("array keys have 4 bytes"));
                if index as usize >= self.max_entries {
                    return 0;
                }
                if !self.slots.contains_key(key) {
                    self.insert(memory, key, &vec![0; self.value_size]);
                }
                let slot = &self.slots[key];
                slot.values[if self.cpus == 1 { 0 } else { cpu }]
            }
            MapKind::Hash | MapKind::LruHash => match self.slots.get_mut(key) {
                Some(slot) => {
                    slot.used = self.clock;
                    slot.values[0]
                }
                None => 0,
            },
            MapKind::LpmTrie => self.longest_prefix(key).map_or(0, |key| self.slots[&key].values[0]),
            MapKind::RingBuf => panic!("ring buffers have no elements"),
        }
    }

    /// The entry with the longest prefix of `key`, among those not longer than the key's own prefix length.
    fn longest_prefix(&self, key: &[u8]) -> Option<Vec<u8>> {
        let bits = |key: &[u8]| u32::from_le_bytes(key[..4].try_into().expect("4 bytes")) as usize;
        let bit = |key: &[u8], i: usize| key[4 + i / 8] >> (7 - i % 8) & 1;
        let covers = |entry: &&Vec<u8>| {
            bits(entry) <= bits(key) && (0..bits(entry)).all(|i| bit(entry, i) == bit(key, i))
        };
        self.slots.keys().filter(covers).max_by_key(|entry| bits(entry)).cloned()
    }

    /// bpf_map_update_elem.
    pub fn update(&mut self, memory: &mut Memory, key: &[u8], value: &[u8], flags: u64) -> i64 {
        const NOEXIST: u64 = 1;
        const EXIST: u64 = 2;
        let fixed = matches!(self.kind, MapKind::Array | MapKind::PerCpuArray);
        let there = if fixed { self.lookup(memory, key, 0) != 0 } else { self.slots.contains_key(key) };
        match flags {
            NOEXIST if there => return EEXIST,
            EXIST if !there => return ENOENT,
            0 | NOEXIST | EXIST => {}
            _ => return EINVAL,
        }
        if self.kind == MapKind::LpmTrie && (key[0] as usize) > (self.key_size - 4) * 8 {
            return EINVAL;
        }
        if !there {
            if fixed {
                return E2BIG;
            }
            if self.slots.len() >= self.max_entries && !self.evict(memory) {
                return E2BIG;
            }
            self.insert(memory, key, value);
            return 0;
        }
        for address in self.slots[key].values.clone() {
            memory.get_mut(address).expect("values are in memory").bytes.copy_from_slice(value);
        }
        0
    }

    fn evict(&mut self, memory: &mut Memory) -> bool {
        if self.kind != MapKind::LruHash {
            return false;
        }
        let oldest = self.slots.iter().min_by_key(|(_, slot)| slot.used).map(|(key, _)| key.clone());
        oldest.is_some_and(|key| self.delete(memory, &key) == 0)
    }

    fn insert(&mut self, memory: &mut Memory, key: &[u8], value: &[u8]) {
        self.clock += 1;
        let values = (0..self.cpus).map(|_| {
            let at = self.next;
            // A gap, so that an access past a value hits nothing.
            self.next += (self.value_size as u64).next_multiple_of(8) + 64;
            memory.add(at, Kind::MapValue, value.to_vec());
            at
        });
        let values = values.collect();
        self.slots.insert(key.to_vec(), Slot { values, used: self.clock });
    }

    /// bpf_map_delete_elem.
    pub fn delete(&mut self, memory: &mut Memory, key: &[u8]) -> i64 {
        match self.slots.remove(key) {
            Some(slot) => {
                slot.values.into_iter().for_each(|at| drop(memory.remove(at)));
                0
            }
            None => ENOENT,
        }
    }

    /// Copies of one entry's values, one per CPU; as user space reads them.
    pub fn values(&self, memory: &Memory, key: &[u8]) -> Option<Vec<Vec<u8>>> {
        let slot = self.slots.get(key)?;
        Some(
            slot.values
                .iter()
                .map(|at| memory.get(*at).expect("values are in memory").bytes.clone())
                .collect(),
        )
    }

    pub fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.slots.keys()
    }
}
