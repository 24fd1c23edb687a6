//! In: hook records from the ring buffer, and the schemas of the programs that are loaded. Out: argument values for
//! events.
//!
//! Guarantees: no record, however malformed, panics or reads outside of itself; what cannot be decoded is an
//! error with a reason, and [`DecodeErrors`] counts it.

mod argument;
mod error;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api::event::{Action, Argument, Hook};
use bpf_programs::layout::{HookArg, HookRecord, RecordKind, take};

pub use error::{DecodeError, DecodeErrors, Reason};

/// `selector` of records of hooks without selectors.
const NO_SELECTOR: u16 = 0xffff;

/// A decoded hook record.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodedHook {
    /// What all events of the hook share.
    pub hook: Arc<Hook>,
    /// CLOCK_BOOTTIME, nanoseconds.
    pub time: u64,
    /// Calling process, initial pid namespace.
    pub tgid: u32,
    /// Calling thread, initial pid namespace.
    pub tid: u32,
    /// Boot time at which the process image started, nanoseconds; `None` if the kernel's table did not have it.
    pub process_start: Option<u64>,
    /// Selector that matched, by position; `None` for a hook without selectors.
    pub selector: Option<u16>,
    /// Arguments in the order of the policy; placeholders are left out.
    pub args: Vec<Argument>,
    /// Return value, if the hook reports it.
    pub ret: Option<Argument>,
    /// Last action processed.
    pub action: Action,
    /// Last action of `matchReturnActions` processed; a plain event if there were none.
    pub return_action: Action,
}

/// Decodes one record. `hook_of` finds the hook by the id that the agent gave to its program and by its index in
/// the program's schemas.
pub fn decode_hook<'a>(
    record: &[u8],
    hook_of: impl FnOnce(u32, u16) -> Option<&'a Arc<Hook>>,
) -> Result<DecodedHook, DecodeError> {
    let (head, payload) = split(record)?;
    let hook = hook_of(head.program, head.hook)
        .ok_or(DecodeError::UnknownHook { program: head.program, hook: head.hook })?;
    if usize::try_from(head.nargs) != Ok(hook.args.len()) {
        return Err(DecodeError::ArgumentCount {
            policy: hook.policy_name.clone(),
            found: head.nargs,
            expected: hook.args.len(),
        });
    }
    let mut values = values(hook, payload)?;
    let ret = if hook.has_return { values.pop().flatten() } else { None };
    Ok(DecodedHook {
        hook: Arc::clone(hook),
        time: head.header.time,
        tgid: head.tgid,
        tid: head.tid,
        process_start: (head.process_start != 0).then_some(head.process_start),
        selector: (head.selector != NO_SELECTOR).then_some(head.selector),
        args: values.into_iter().flatten().collect(),
        ret,
        action: Action::from_number(head.action),
        return_action: match u32::from(head.header.flags) {
            0 => Action::Post,
            number => Action::from_number(number),
        },
    })
}

/// The values by their positions in the event; `None` for placeholders.
fn values(hook: &Hook, payload: &[u8]) -> Result<Vec<Option<Argument>>, DecodeError> {
    let mut values = vec![None; hook.args.len()];
    let mut left = payload;
    for (at, schema) in hook.args.iter().enumerate() {
        let (arg, bytes) = next_argument(&mut left, at)?;
        // Positions of a hook are places of its values.
        if let Some(value) = values.get_mut(schema.position) {
            *value = argument::decode(schema, at, arg, bytes)?;
        }
    }
    Ok(values)
}

/// The record's head, and the bytes of its arguments: those within the length that it says.
fn split(record: &[u8]) -> Result<(HookRecord, &[u8]), DecodeError> {
    let truncated = |len| DecodeError::Truncated { len, have: record.len() };
    let (head, _) = take::<HookRecord>(record).ok_or(truncated(size_of::<HookRecord>()))?;
    if head.header.kind != RecordKind::Hook as u16 {
        return Err(DecodeError::NotAHook { kind: head.header.kind });
    }
    let len = usize::try_from(head.header.len).unwrap_or(usize::MAX);
    let payload = record.get(size_of::<HookRecord>()..len).ok_or(truncated(len))?;
    Ok((head, payload))
}

/// Takes the next argument, with its padding, off `left`.
fn next_argument<'a>(left: &mut &'a [u8], at: usize) -> Result<(HookArg, &'a [u8]), DecodeError> {
    let truncated = DecodeError::ArgumentTruncated { at };
    let Some((arg, rest)) = take::<HookArg>(left) else { return Err(truncated) };
    let len = usize::try_from(arg.len).unwrap_or(usize::MAX);
    let Some((bytes, rest)) = rest.split_at_checked(len) else { return Err(truncated) };
    // The last argument's padding may be missing: nothing comes after it.
    *left = rest.get(len.next_multiple_of(8) - len..).unwrap_or_default();
    Ok((arg, bytes))
}
