//! In: programs that the loader has loaded. Out: for the decoder, what a record's program id means.
//!
//! A record may still lie in the ring buffer when its program is gone, so schemas outlive programs for a while.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use api::artefact::HookSchema;

use super::hook::HookKey;

/// Time in which the reader has surely drained what a program wrote before it was replaced: it polls in milliseconds.
const RETIRED_FOR: Duration = Duration::from_secs(60);
/// Schemas of replaced programs kept at most: about 1 KiB each, so 256 KiB. Reached only by more than four
/// replacements in each second.
const RETIRED: usize = 256;

/// How to decode one program's records.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgramSchema {
    /// Where it is attached.
    pub hook: HookKey,
    /// By `hook_record.hook`.
    pub entries: Vec<HookSchema>,
}

/// Schemas by program id; clones share one table.
#[derive(Debug, Clone, Default)]
pub struct Schemas {
    table: Arc<RwLock<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    schemas: BTreeMap<u32, Arc<ProgramSchema>>,
    retired: VecDeque<(Instant, u32)>,
}

impl Schemas {
    /// The schema of a program that runs or has run lately.
    pub fn get(&self, program: u32) -> Option<Arc<ProgramSchema>> {
        self.read().schemas.get(&program).cloned()
    }

    /// Adds a program, before it can write a record.
    pub(crate) fn add(&self, program: u32, schema: ProgramSchema) {
        self.write().schemas.insert(program, Arc::new(schema));
    }

    /// Forgets a program that never wrote a record.
    pub(super) fn forget(&self, program: u32) {
        self.write().schemas.remove(&program);
    }

    /// Forgets a program soon, and those whose time has come now.
    pub(super) fn retire(&self, program: u32, now: Instant) {
        let mut table = self.write();
        table.retired.push_back((now, program));
        while let Some((since, oldest)) = table.retired.front().copied() {
            if table.retired.len() <= RETIRED && now.saturating_duration_since(since) < RETIRED_FOR {
                break;
            }
            table.retired.pop_front();
            table.schemas.remove(&oldest);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        // Nothing panics between two steps of a change, so that even a poisoned table is whole.
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::artefact::Flavour;

    fn schema() -> ProgramSchema {
        ProgramSchema {
            hook: HookKey { flavour: Flavour::RawTp, target: "x".into(), syscall: None },
            entries: Vec::new(),
        }
    }

    #[test]
    fn a_retired_schema_stays_for_a_while() {
        let (schemas, start) = (Schemas::default(), Instant::now());
        (1..=3).for_each(|program| schemas.add(program, schema()));
        schemas.retire(1, start);
        schemas.retire(2, start + RETIRED_FOR - Duration::from_secs(1));
        assert!(schemas.get(1).is_some());
        schemas.retire(3, start + RETIRED_FOR);
        assert!(schemas.get(1).is_none() && schemas.get(2).is_some() && schemas.get(3).is_some());
    }

    #[test]
    fn retired_schemas_are_bounded() {
        let (schemas, now) = (Schemas::default(), Instant::now());
        for program in 0..1000 {
            schemas.add(program, schema());
            schemas.retire(program, now);
        }
        assert_eq!(schemas.read().schemas.len(), RETIRED);
        assert!(schemas.get(999).is_some() && schemas.get(1000 - RETIRED as u32 - 1).is_none());
    }
}
