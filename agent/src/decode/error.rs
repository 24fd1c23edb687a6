//! In: what is wrong with a record. Out: the message for the log, the reason for the counters.

use api::artefact::ArgField;

/// A record that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The record ends before its own end.
    #[error("hook record of {len} bytes has only {have}: the event is lost; report this as a bug")]
    Truncated {
        /// Bytes that it should have.
        len: usize,
        /// Bytes that it has.
        have: usize,
    },
    /// A record of another kind.
    #[error("record of kind {kind} given to the decoder of hook records; report this as a bug")]
    NotAHook {
        /// The kind.
        kind: u16,
    },
    /// No loaded program has this hook: a late record of a program that was replaced.
    #[error("hook {hook} of program {program} is not loaded (any more): the event is lost")]
    UnknownHook {
        /// Id that the agent gave to the program.
        program: u32,
        /// Index in its schemas.
        hook: u16,
    },
    /// The record has another number of arguments than its schema.
    #[error(
        "record of policy {policy} has {found} arguments and its schema {expected}: the event is lost; report this \
         as a bug"
    )]
    ArgumentCount {
        /// Policy name.
        policy: String,
        /// In the record.
        found: u32,
        /// In the schema.
        expected: usize,
    },
    /// An argument reaches over the end of the record.
    #[error("argument {at} reaches over the end of its record: the event is lost; report this as a bug")]
    ArgumentTruncated {
        /// Position in the record.
        at: usize,
    },
    /// An argument does not fit its output field.
    #[error(
        "argument {at} of kind {kind} with {len} bytes does not fit the field {field:?}: the event is lost; report \
         this as a bug"
    )]
    Mismatch {
        /// Position in the record.
        at: usize,
        /// Kind in the record.
        kind: u16,
        /// Bytes of its payload.
        len: u32,
        /// Field that the schema asks for.
        field: ArgField,
    },
}

/// Why a record was not decoded, for counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It ends too early, or an argument in it does.
    Truncated,
    /// It is of another kind.
    NotAHook,
    /// Its hook is not loaded.
    UnknownHook,
    /// It contradicts its schema.
    Schema,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 4] = [Reason::Truncated, Reason::NotAHook, Reason::UnknownHook, Reason::Schema];

    /// Label of the counter.
    pub fn label(self) -> &'static str {
        match self {
            Reason::Truncated => "truncated",
            Reason::NotAHook => "not_a_hook",
            Reason::UnknownHook => "unknown_hook",
            Reason::Schema => "schema",
        }
    }
}

impl DecodeError {
    /// Which counter it belongs to.
    pub fn reason(&self) -> Reason {
        match self {
            DecodeError::Truncated { .. } | DecodeError::ArgumentTruncated { .. } => Reason::Truncated,
            DecodeError::NotAHook { .. } => Reason::NotAHook,
            DecodeError::UnknownHook { .. } => Reason::UnknownHook,
            DecodeError::ArgumentCount { .. } | DecodeError::Mismatch { .. } => Reason::Schema,
        }
    }
}

/// Counts records that were not decoded, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DecodeErrors {
    truncated: u64,
    not_a_hook: u64,
    unknown_hook: u64,
    schema: u64,
}

impl DecodeErrors {
    /// Counts one.
    pub fn count(&mut self, error: &DecodeError) {
        let counter = match error.reason() {
            Reason::Truncated => &mut self.truncated,
            Reason::NotAHook => &mut self.not_a_hook,
            Reason::UnknownHook => &mut self.unknown_hook,
            Reason::Schema => &mut self.schema,
        };
        *counter += 1;
    }

    /// Records not decoded for this reason.
    pub fn of(&self, reason: Reason) -> u64 {
        match reason {
            Reason::Truncated => self.truncated,
            Reason::NotAHook => self.not_a_hook,
            Reason::UnknownHook => self.unknown_hook,
            Reason::Schema => self.schema,
        }
    }

    /// Records not decoded for any reason.
    pub fn total(&self) -> u64 {
        Reason::ALL.into_iter().map(|reason| self.of(reason)).sum()
    }
}
