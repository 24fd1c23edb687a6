//! In: the processes that already run, and sets. Out: their bits in the map `processes`, set by the program
//! `set_process_bits`, which refuses if the process has executed something else meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use api::artefact::{ProcessSet, SetOp};
use bpf_programs::layout::{PROCESS_WORDS, ProcessEntry, take};

use super::workloads::{Workloads, places};
use super::{ProcessBit, Running, RunningProcesses, SetError, SetObjects, Words, set_op};
use crate::kernel::Kernel;
use crate::pods::{CgroupId, Workload};

/// Scans at most. The second finds what was forked or executed during the first; whatever is newer was forked by a
/// process that had its bits, or computed them itself.
pub(super) const SCANS: u32 = 4;
/// Ancestors followed at most: bounds the walk if parents change while they are read.
const ANCESTORS: usize = 1024;

/// What to change in a process.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Change {
    own: Words,
    parent: Words,
    inherited: Words,
}

/// Takes bits away from all processes.
pub fn clear<K: Kernel>(
    kernel: &K,
    objects: &SetObjects<K>,
    running: &impl RunningProcesses,
    stale: &Words,
) -> Result<(), SetError> {
    scan(
        kernel,
        objects,
        running,
        || Ok(BTreeMap::new()),
        |_, process, entry| {
            for (word, mask) in (0u64..).zip(stale) {
                let at = word as usize;
                let is_there = [entry.own, entry.parent, entry.inherited]
                    .iter()
                    .any(|words| words.get(at).is_some_and(|word| word & mask != 0));
                if is_there
                    && !run(kernel, objects, process.tgid, entry.start, word, [0, *mask, 0, *mask, 0, *mask])?
                {
                    return Ok(false);
                }
            }
            Ok(true)
        },
    )
}

/// Gives each process the bits of the sets that it is in.
pub fn evaluate<K: Kernel>(
    kernel: &K,
    objects: &SetObjects<K>,
    running: &impl RunningProcesses,
    workloads: &Workloads,
    sets: &[(ProcessSet, ProcessBit)],
) -> Result<(), SetError> {
    let places = || match sets.iter().any(|(set, _)| set.workloads.is_some()) {
        true => places(running, workloads),
        false => Ok(BTreeMap::new()),
    };
    scan(kernel, objects, running, places, |all, process, entry| {
        let Change { own, parent, inherited } = change(all, process, workloads, sets);
        for word in 0..PROCESS_WORDS {
            let at = |words: &Words| words.get(word).copied().unwrap_or(0);
            let bits = [at(&own), 0, at(&parent), 0, at(&inherited), 0];
            if bits != [0; 6] && !run(kernel, objects, process.tgid, entry.start, word as u64, bits)? {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

/// A process, and the nearest cgroup of a workload that it is in.
struct Seen {
    running: Running,
    cgroup: Option<CgroupId>,
}

type ByTgid = BTreeMap<u32, Seen>;

/// Calls `visit` once for each image of each process; again if it says that the image has changed.
fn scan<K: Kernel>(
    kernel: &K,
    objects: &SetObjects<K>,
    running: &impl RunningProcesses,
    places: impl Fn() -> Result<BTreeMap<u32, CgroupId>, SetError>,
    mut visit: impl FnMut(&ByTgid, &Running, &ProcessEntry) -> Result<bool, SetError>,
) -> Result<(), SetError> {
    let mut done = BTreeSet::new();
    for _ in 0..SCANS {
        // Before /proc: if the process executes something in between, what is read there is not of the image that the
        // entry is of, and the program that sets bits refuses.
        let mut entries = BTreeMap::new();
        let read = &mut |tgid| drop(entries.insert(tgid, entry(kernel, objects, tgid)));
        let processes = running.running(read).map_err(|error| SetError::List(error.into()))?;
        let places = places()?;
        let seen = |running: Running| {
            let cgroup = places.get(&running.tgid).copied();
            (running.tgid, Seen { running, cgroup })
        };
        let processes: ByTgid = processes.into_iter().map(seen).collect();
        let mut found_new = false;
        for Seen { running: process, .. } in processes.values() {
            // Gone, or not in the map: then programs do not know it either.
            let Some(entry) = entries.remove(&process.tgid).transpose()?.flatten() else { continue };
            if done.contains(&(process.tgid, entry.start)) {
                continue;
            }
            found_new = true;
            if visit(&processes, process, &entry)? {
                done.insert((process.tgid, entry.start));
            }
        }
        if !found_new {
            break;
        }
    }
    Ok(())
}

pub(super) fn entry<K: Kernel>(
    kernel: &K,
    objects: &SetObjects<K>,
    tgid: u32,
) -> Result<Option<ProcessEntry>, SetError> {
    let value = kernel.map_lookup(&objects.processes, &tgid.to_ne_bytes());
    let value = value.map_err(|errno| SetError::Process { tgid, errno })?;
    Ok(value.as_deref().and_then(take::<ProcessEntry>).map(|(entry, _)| entry))
}

/// Runs `set_process_bits` on one word: what to set and clear in `own`, `parent` and `inherited`. Whether the process
/// was still the same.
pub(super) fn run<K: Kernel>(
    kernel: &K,
    objects: &SetObjects<K>,
    tgid: u32,
    start: u64,
    word: u64,
    bits: [u64; 6],
) -> Result<bool, SetError> {
    let [a, b, c, d, e, f] = bits;
    let result = kernel.test_run(&objects.set_bits, &[u64::from(tgid), start, word, a, b, c, d, e, f]);
    result.map(|same| same != 0).map_err(|errno| SetError::Process { tgid, errno })
}

fn change(
    all: &ByTgid,
    process: &Running,
    workloads: &Workloads,
    sets: &[(ProcessSet, ProcessBit)],
) -> Change {
    let own = |seen: &Seen| sets_of(&seen.running, workload(seen.cgroup, workloads), sets);
    let mut change = Change { own: all.get(&process.tgid).map(own).unwrap_or_default(), ..Change::default() };
    let mut next = process.parent;
    for generation in 0..ANCESTORS {
        let Some(ancestor) = all.get(&next) else { break };
        let own = own(ancestor);
        if generation == 0 {
            change.parent = own;
        }
        change.inherited.iter_mut().zip(own).for_each(|(word, more)| *word |= more);
        next = ancestor.running.parent;
    }
    change
}

/// That of its cgroup; of the host, if it is in none that is known.
fn workload(cgroup: Option<CgroupId>, workloads: &Workloads) -> &Workload {
    cgroup.and_then(|cgroup| workloads.get(&cgroup)).map_or(&Workload::Host, |place| &place.workload)
}

fn sets_of(process: &Running, workload: &Workload, sets: &[(ProcessSet, ProcessBit)]) -> Words {
    let mut words = Words::default();
    for (set, bit) in sets {
        if contains(set, process) || workload.is_in(set) {
            bit.add_to(&mut words);
        }
    }
    words
}

fn contains(set: &ProcessSet, process: &Running) -> bool {
    let any = |test: fn(&[u8], &[u8]) -> bool| {
        process.exe.as_ref().is_some_and(|exe| set.paths.iter().any(|path| test(exe, path)))
    };
    match set_op(set).unwrap_or(SetOp::Unspecified) {
        SetOp::Unspecified | SetOp::Workloads => false,
        SetOp::Equal => any(|exe, path| exe == path),
        SetOp::Prefix => any(|exe, path| exe.starts_with(path)),
        SetOp::Postfix => any(|exe, path| exe.ends_with(path)),
        SetOp::Pid => set.pids.contains(&process.tgid),
    }
}
