//! In: hook records written while a hook's program was switched. Out: which of them tell of a call that its
//! successor has told of already.
//!
//! While old and new program overlap (see `Artefact::overlaps`), both see a call, the newer one first. So a record of
//! an older program that repeats one of a newer program on the same hook, from the same thread, for the same policy
//! hook and with the same values, is the same call. Outside of a switch nothing is looked at.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use bpf_programs::layout::{HookRecord, take};

use crate::loader::Schemas;

/// Records written during a switch are read at once after it; this long leaves room for a busy reader.
const AFTER: Duration = Duration::from_secs(2);
/// Records of newer programs that wait for their repetition. A switch takes microseconds.
const WAITING: usize = 256;

/// Tells repetitions.
#[derive(Debug, Default)]
pub struct Overlap {
    until: Option<Instant>,
    waiting: VecDeque<(u32, u64)>,
    repeated: u64,
}

impl Overlap {
    /// Programs have been switched.
    pub fn begin(&mut self, now: Instant) {
        self.until = Some(now + AFTER);
    }

    /// Stops looking when the time has come.
    pub fn end(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
            self.waiting.clear();
        }
    }

    /// Repetitions so far.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Whether the record repeats an earlier one.
    pub fn repeats(&mut self, record: &[u8], schemas: &Schemas) -> bool {
        if self.until.is_none() {
            return false;
        }
        let Some((program, call)) = identity(record, schemas) else { return false };
        let first = self.waiting.iter().position(|(newer, known)| *known == call && *newer > program);
        if let Some(first) = first {
            self.waiting.remove(first);
            self.repeated += 1;
            return true;
        }
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((program, call));
        false
    }
}

/// The program, and a hash of hook, policy hook, thread and values.
fn identity(record: &[u8], schemas: &Schemas) -> Option<(u32, u64)> {
    let (head, payload) = take::<HookRecord>(record)?;
    let schema = schemas.get(head.program)?;
    let entry = schema.entries.get(usize::from(head.hook))?;
    let mut hasher = DefaultHasher::new();
    (&schema.hook, &entry.policy_namespace, &entry.policy_name, &entry.path).hash(&mut hasher);
    (head.tgid, head.tid, payload).hash(&mut hasher);
    Some((head.program, hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loader::{HookKey, ProgramSchema};
    use api::artefact::{Flavour, HookSchema};
    use std::mem::offset_of;

    fn schemas() -> Schemas {
        let schemas = Schemas::default();
        for program in 1..=3 {
            let hook = HookKey { flavour: Flavour::FmodRet, target: "f".into(), syscall: None };
            let entry = HookSchema {
                policy_name: "p".into(),
                path: "spec.kprobes[0]".into(),
                ..HookSchema::default()
            };
            schemas.add(program, ProgramSchema { hook, entries: vec![entry] });
        }
        schemas
    }

    fn record(program: u32, tid: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<HookRecord>()];
        bytes[offset_of!(HookRecord, program)..][..4].copy_from_slice(&program.to_ne_bytes());
        bytes[offset_of!(HookRecord, tid)..][..4].copy_from_slice(&tid.to_ne_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn the_older_programs_record_of_a_call_is_left_out_once() {
        let (schemas, now) = (schemas(), Instant::now());
        let mut overlap = Overlap::default();
        overlap.begin(now);
        let mut told =
            |program, tid, payload: &[u8]| !overlap.repeats(&record(program, tid, payload), &schemas);
        assert!(told(1, 7, b"same"), "before the switch");
        assert!(told(2, 7, b"same"), "the next call, seen by the new program");
        assert!(!told(1, 7, b"same"), "and by the old one");
        assert!(told(1, 7, b"same"), "a further record of the old program is a call of its own");
        assert!(told(1, 8, b"same") && told(1, 7, b"other"), "other threads, other values");
    }

    #[test]
    fn nothing_is_left_out_when_nothing_is_switched() {
        let (schemas, now) = (schemas(), Instant::now());
        let mut overlap = Overlap::default();
        for program in [2, 1] {
            assert!(!overlap.repeats(&record(program, 7, b"same"), &schemas));
        }
        overlap.begin(now);
        overlap.end(now + AFTER);
        for program in [2, 1] {
            assert!(!overlap.repeats(&record(program, 7, b"same"), &schemas));
        }
        assert_eq!(overlap.repeated(), 0);
    }
}
