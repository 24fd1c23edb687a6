//! In: encoded messages from nodes that may be hostile. Out: the decoder, only if the message has no more elements than
//! its type allows.
//!
//! An element of a repeated field takes two bytes on the wire and up to 200 in memory: a message of 2 MiB could take
//! 200 MB. So elements are counted before anything is allocated.

#[cfg(feature = "grpc")]
mod codec;

#[cfg(feature = "grpc")]
pub use codec::{BoundedCodec, BoundedDecoder};

/// How many elements a message may have.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// In all repeated fields together, at any depth.
    pub total: usize,
    /// Fields that are counted; others hold nothing that grows beyond its own bytes.
    pub fields: &'static [Repeated],
}

/// A field that is repeated, or has such fields in it.
#[derive(Debug, Clone, Copy)]
pub struct Repeated {
    /// Its tag.
    pub tag: u64,
    /// Elements in one message.
    pub max: usize,
    /// What its elements are.
    pub element: Element,
}

/// What is repeated.
#[derive(Debug, Clone, Copy)]
pub enum Element {
    /// Strings or bytes.
    Bytes,
    /// Numbers, packed or not.
    Number,
    /// Messages with such fields.
    Message(&'static [Repeated]),
}

/// Messages whose elements are counted before they are decoded.
pub trait Shaped {
    /// The bounds.
    const SHAPE: Shape;
}

/// Why a message is not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Not the encoding of any message.
    #[error("the message is cut off or malformed at byte {at}")]
    Malformed {
        /// Bytes that were understood, in the innermost message.
        at: usize,
    },
    /// Too much of something.
    #[error("field {tag} has more than {max} elements")]
    TooMany {
        /// The field's tag.
        tag: u64,
        /// How many are allowed.
        max: usize,
    },
    /// Too much altogether.
    #[error("the message has more than {max} elements")]
    TooManyInAll {
        /// How many are allowed.
        max: usize,
    },
}

impl Shape {
    /// Counts the elements of an encoded message.
    ///
    /// # Errors
    /// There are too many, or the bytes are no message.
    pub fn check(&self, bytes: &[u8]) -> Result<(), ShapeError> {
        let mut left = self.total;
        count(bytes, self.fields, &mut left).map_err(|error| match error {
            ShapeError::TooManyInAll { .. } => ShapeError::TooManyInAll { max: self.total },
            other => other,
        })
    }
}

/// Depth is bounded by that of the tables.
fn count(bytes: &[u8], fields: &[Repeated], left: &mut usize) -> Result<(), ShapeError> {
    let mut seen = vec![0usize; fields.len()];
    let mut wire = Wire { bytes, at: 0 };
    while let Some((tag, value)) = wire.field()? {
        let Some((field, seen)) = fields.iter().zip(&mut seen).find(|(field, _)| field.tag == tag) else {
            continue;
        };
        let new = match (field.element, value) {
            // Each number of a packed field ends with a byte without the highest bit.
            (Element::Number, Some(payload)) => payload.iter().filter(|byte| **byte < 0x80).count(),
            (Element::Message(inner), Some(payload)) => {
                count(payload, inner, left)?;
                1
            }
            _ => 1,
        };
        *seen = seen.saturating_add(new);
        if *seen > field.max {
            return Err(ShapeError::TooMany { tag, max: field.max });
        }
        *left = left.checked_sub(new).ok_or(ShapeError::TooManyInAll { max: 0 })?;
    }
    Ok(())
}

/// A field's tag, and its bytes if it is delimited by its length.
type Field<'a> = (u64, Option<&'a [u8]>);

/// The fields of a message.
struct Wire<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Wire<'a> {
    /// The next field.
    fn field(&mut self) -> Result<Option<Field<'a>>, ShapeError> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => {
                self.varint()?;
                None
            }
            1 => {
                self.take(8)?;
                None
            }
            2 => {
                let length = self.varint()?;
                Some(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                None
            }
            // Groups are not used by any of our messages.
            _ => return Err(ShapeError::Malformed { at: self.at }),
        };
        Ok(Some((key >> 3, value)))
    }

    fn varint(&mut self) -> Result<u64, ShapeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(ShapeError::Malformed { at: self.at })?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ShapeError::Malformed { at: self.at })
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], ShapeError> {
        let cut = ShapeError::Malformed { at: self.at };
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length)).ok_or(cut)?;
        let taken = self.bytes.get(self.at..end).ok_or(cut)?;
        self.at = end;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{
        AgentBody, AgentMessage, Applied, Counters, Desired, FAILURES_MAX, HookFailure, OperatorBody,
        OperatorMessage, POLICIES_MAX, PolicyCounts, PolicyRef,
    };
    use crate::profile::{KernelProfile, TracepointFormat};
    use prost::Message;

    fn agent(body: AgentBody) -> Result<(), ShapeError> {
        let bytes = AgentMessage { body: Some(body) }.encode_to_vec();
        AgentMessage::SHAPE.check(&bytes)
    }

    #[test]
    fn failures_and_their_policies_are_counted() {
        let failures = |count, policies| Applied {
            failures: vec![
                HookFailure {
                    policies: vec![PolicyRef::default(); policies],
                    ..HookFailure::default()
                };
                count
            ],
            ..Applied::default()
        };
        assert_eq!(agent(AgentBody::Applied(failures(FAILURES_MAX, 8))), Ok(()));
        assert_eq!(
            agent(AgentBody::Applied(failures(FAILURES_MAX + 1, 1))),
            Err(ShapeError::TooMany { tag: 3, max: FAILURES_MAX })
        );
        assert!(agent(AgentBody::Applied(failures(1, POLICIES_MAX + 1))).is_err());
    }

    #[test]
    fn numbers_are_counted_packed_or_not() {
        let counts = |values: usize| {
            let policy = PolicyCounts { policy: PolicyRef::default(), values: vec![u64::MAX; values] };
            Counters { policies: vec![policy], ..Counters::default() }
        };
        assert_eq!(agent(AgentBody::Counters(counts(11))), Ok(()));
        assert!(agent(AgentBody::Counters(counts(65))).is_err());
        let unpacked: Vec<u8> = [0x08, 0x01].repeat(3);
        let fields = &[Repeated { tag: 1, max: 2, element: Element::Number }];
        assert_eq!(count(&unpacked, fields, &mut 100), Err(ShapeError::TooMany { tag: 1, max: 2 }));
    }

    #[test]
    fn a_desired_set_holds_no_more_than_a_node() {
        let message = |hooks| OperatorMessage {
            body: Some(OperatorBody::Desired(Desired { generation: 1, artefacts: vec![vec![7; 32]; hooks] })),
        };
        assert_eq!(OperatorMessage::SHAPE.check(&message(1024).encode_to_vec()), Ok(()));
        assert!(OperatorMessage::SHAPE.check(&message(1025).encode_to_vec()).is_err());
    }

    #[test]
    fn all_elements_of_a_profile_together_are_bounded() {
        let tracepoints =
            vec![
                TracepointFormat { fields: vec![Default::default(); 256], ..Default::default() };
                KernelProfile::SHAPE.total / 256 + 1
            ];
        let profile = KernelProfile { tracepoints, ..KernelProfile::default() };
        let error = KernelProfile::SHAPE.check(&profile.encode_to_vec());
        assert_eq!(error, Err(ShapeError::TooManyInAll { max: KernelProfile::SHAPE.total }));
    }

    #[test]
    fn any_bytes_are_answered() {
        for seed in 0..20_000u32 {
            let mut state = seed.wrapping_mul(2_654_435_761) | 1;
            let bytes: Vec<u8> = (0..seed % 40)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 17;
                    state ^= state << 5;
                    (state >> 8) as u8
                })
                .collect();
            let counted = AgentMessage::SHAPE.check(&bytes);
            if AgentMessage::decode(&*bytes).is_ok() {
                // Groups and duplicates apart, what decodes has been understood.
                assert!(!matches!(counted, Err(ShapeError::TooManyInAll { .. })));
            }
        }
        assert_eq!(AgentMessage::SHAPE.check(&[0x0a, 0x05, 1]), Err(ShapeError::Malformed { at: 2 }));
        assert!(AgentMessage::SHAPE.check(&[0xff; 12]).is_err());
    }
}
