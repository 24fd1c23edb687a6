//! In: the first artefact that refers to a shared map. Out: that map, made once, and kept for all later programs.
//!
//! Each map exists only from the first program on that needs it: an agent without policies holds none of them.

use std::collections::BTreeMap;

use api::artefact::{POLICY_COUNTERS, SAVED_REGISTERS, SCRATCH_SIZE, SCRATCH_SLOTS_PER_CPU, SharedMap};

use super::policies::POLICIES;
use crate::kernel::{Errno, Kernel, MapShape, MapType};

/// Hooks with a program at once. A word each, which the kernel rounds up to 8 bytes: 32 KiB.
pub const HOOKS: u32 = 4096;
/// Keys of rate limits remembered: 32,768 x about 80 bytes = 2.5 MiB.
const RATE_LIMITS: u32 = 32_768;
/// Calls between entry and return at once: 8,192 x about 120 bytes = 1 MiB.
const SAVED_CALLS: u32 = 8192;
/// Threads between two programs of one hook at once, and those whose last such call ended in the first: about 90 KiB.
const JUDGED: u32 = 1024;
/// Bytes of one policy's counters on one CPU.
pub const COUNTERS_SIZE: u32 = POLICY_COUNTERS * 8;

/// The maps that all programs share.
#[derive(Debug)]
pub struct SharedMaps<K: Kernel> {
    possible_cpus: u32,
    maps: BTreeMap<SharedMap, K::Map>,
}

impl<K: Kernel> SharedMaps<K> {
    /// The two that the fixed programs brought.
    pub fn new(possible_cpus: u32, events: K::Map, processes: K::Map) -> Self {
        let maps = BTreeMap::from([(SharedMap::Events, events), (SharedMap::Processes, processes)]);
        SharedMaps { possible_cpus, maps }
    }

    /// A map, made if need be.
    pub fn get(&mut self, kernel: &K, map: SharedMap) -> Result<&K::Map, Errno> {
        use std::collections::btree_map::Entry;
        match self.maps.entry(map) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let shape = shape(map, self.possible_cpus).ok_or(Errno::EINVAL)?;
                Ok(place.insert(kernel.map_create(&shape)?))
            }
        }
    }

    /// A map, if it has been made.
    pub fn existing(&self, map: SharedMap) -> Option<&K::Map> {
        self.maps.get(&map)
    }

    /// Those that have been made.
    pub fn iter(&self) -> impl Iterator<Item = (SharedMap, &K::Map)> {
        self.maps.iter().map(|(map, object)| (*map, object))
    }
}

/// What a map is called in reports and in the kernel.
pub fn name(map: SharedMap) -> &'static str {
    match map {
        SharedMap::Unspecified => "unknown",
        SharedMap::Events => "events",
        SharedMap::Processes => "processes",
        SharedMap::Active => "active",
        SharedMap::Scratch => "scratch",
        SharedMap::PolicyCounters => "policy_counters",
        SharedMap::RateLimit => "rate_limit",
        SharedMap::SavedRegisters => "saved_registers",
        SharedMap::Judged => "judged",
    }
}

fn shape(map: SharedMap, possible_cpus: u32) -> Option<MapShape> {
    let (kind, key_size, value_size, max_entries) = match map {
        SharedMap::Active => (MapType::Array, 4, 4, HOOKS),
        SharedMap::Scratch => {
            (MapType::Array, 4, SCRATCH_SIZE, possible_cpus.checked_mul(SCRATCH_SLOTS_PER_CPU)?)
        }
        SharedMap::PolicyCounters => (MapType::PerCpuArray, 4, COUNTERS_SIZE, POLICIES),
        SharedMap::RateLimit => (MapType::LruHash, 8, 8, RATE_LIMITS),
        SharedMap::SavedRegisters => (MapType::LruHash, 8, SAVED_REGISTERS * 8, SAVED_CALLS),
        SharedMap::Judged => (MapType::LruHash, 8, 8, JUDGED),
        // Made by the fixed programs.
        SharedMap::Unspecified | SharedMap::Events | SharedMap::Processes => return None,
    };
    Some(MapShape { kind, key_size, value_size, max_entries, name: name(map) })
}
