//! In: protobuf messages from an agent. Out: the events that they say.
//!
//! An agent may be newer than its reader: fields that are not known are not read, an argument of a kind that is not
//! known says so in its place, and an event of a kind that is not known is an error that names what is missing.

mod argument;
mod process;

use std::sync::Arc;

use super::event::{EventBody, GetEventsResponse, ProcessExit, ProcessKprobe, ProcessLsm, ProcessTracepoint};
use super::process::{Process, Timestamp};
use crate::artefact::EventKind;
use crate::event::{self, Action, Body, Event, Hook, HookEvent};

/// What one message of the stream says.
#[derive(Debug, Clone)]
pub enum Received {
    /// Something happened.
    Event(Event),
    /// This many events before it did not reach this reader.
    Lost(u64),
}

/// A message that cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an event cannot be shown, its {what} is not known here ({found:?}): use the ferra of the agent's version"
)]
pub struct UnknownPart {
    /// Name of the part.
    pub what: &'static str,
    /// What was found there, if it can be shown.
    pub found: String,
}

impl UnknownPart {
    fn new(what: &'static str, found: &str) -> UnknownPart {
        UnknownPart { what, found: found.to_owned() }
    }
}

impl TryFrom<GetEventsResponse> for Received {
    type Error = UnknownPart;

    fn try_from(message: GetEventsResponse) -> Result<Received, UnknownPart> {
        let body = match message.event {
            None => return Err(UnknownPart::new("kind", "")),
            Some(EventBody::RateLimitInfo(info)) => {
                return Ok(Received::Lost(info.number_of_dropped_process_events));
            }
            Some(EventBody::ProcessExec(exec)) => Body::Exec(event::ProcessExec {
                process: process::subject(exec.process)?,
                parent: exec.parent.map(relative).transpose()?,
                ancestors: exec.ancestors.into_iter().map(relative).collect::<Result<_, _>>()?,
            }),
            Some(EventBody::ProcessExit(exit)) => Body::Exit(process_exit(exit)?),
            Some(EventBody::ProcessKprobe(event)) => Body::Kprobe(kprobe(event)?),
            Some(EventBody::ProcessTracepoint(event)) => Body::Tracepoint(tracepoint(event)?),
            Some(EventBody::ProcessLsm(event)) => Body::Lsm(lsm(event)?),
        };
        Ok(Received::Event(Event {
            body,
            node_name: message.node_name.into(),
            time: timestamp(message.time.unwrap_or_default()),
        }))
    }
}

fn process_exit(exit: ProcessExit) -> Result<event::ProcessExit, UnknownPart> {
    let signal = match exit.signal.as_str() {
        "" => 0,
        name => crate::names::signal_number(name).ok_or_else(|| UnknownPart::new("signal", name))?,
    };
    Ok(event::ProcessExit {
        process: process::subject(exit.process)?,
        parent: exit.parent.map(relative).transpose()?,
        ancestors: exit.ancestors.into_iter().map(relative).collect::<Result<_, _>>()?,
        signal,
        status: exit.status,
        time: timestamp(exit.time.unwrap_or_default()),
    })
}

fn kprobe(event: ProcessKprobe) -> Result<HookEvent, UnknownPart> {
    Ok(HookEvent {
        process: process::subject(event.process)?,
        parent: event.parent.map(relative).transpose()?,
        ancestors: event.ancestors.into_iter().map(relative).collect::<Result<_, _>>()?,
        hook: hook(EventKind::Kprobe, event.function_name, event.policy_name, event.message, event.tags),
        args: event.args.into_iter().map(argument::argument).collect::<Result<_, _>>()?,
        ret: event.r#return.map(argument::argument).transpose()?,
        action: Action::from_number(event.action),
        return_action: Action::from_number(event.return_action),
    })
}

fn tracepoint(event: ProcessTracepoint) -> Result<HookEvent, UnknownPart> {
    let name = format!("{}/{}", event.subsys, event.event);
    Ok(HookEvent {
        process: process::subject(event.process)?,
        parent: event.parent.map(relative).transpose()?,
        ancestors: event.ancestors.into_iter().map(relative).collect::<Result<_, _>>()?,
        hook: hook(EventKind::Tracepoint, name, event.policy_name, event.message, event.tags),
        args: event.args.into_iter().map(argument::argument).collect::<Result<_, _>>()?,
        ret: None,
        action: Action::from_number(event.action),
        return_action: Action::Unknown,
    })
}

fn lsm(event: ProcessLsm) -> Result<HookEvent, UnknownPart> {
    Ok(HookEvent {
        process: process::subject(event.process)?,
        parent: event.parent.map(relative).transpose()?,
        ancestors: event.ancestors.into_iter().map(relative).collect::<Result<_, _>>()?,
        hook: hook(EventKind::Lsm, event.function_name, event.policy_name, event.message, event.tags),
        args: event.args.into_iter().map(argument::argument).collect::<Result<_, _>>()?,
        ret: None,
        action: Action::from_number(event.action),
        return_action: Action::Unknown,
    })
}

/// `name` of a tracepoint: subsystem, slash, event.
fn hook(
    event: EventKind,
    name: String,
    policy_name: String,
    message: String,
    tags: Vec<String>,
) -> Arc<Hook> {
    let (subsystem, name) = match name.split_once('/') {
        Some((subsystem, name)) if event == EventKind::Tracepoint => (subsystem.to_owned(), name.to_owned()),
        _ => (String::new(), name),
    };
    Arc::new(Hook {
        event,
        // The protocol does not tell.
        policy_namespace: String::new(),
        policy_name,
        subsystem,
        name,
        message,
        tags,
        // How records of the kernel are read; there are none here.
        args: Vec::new(),
        has_return: false,
    })
}

/// A process that is not the event's own.
fn relative(message: Process) -> Result<Arc<event::Process>, UnknownPart> {
    process::process(message).map(Arc::new)
}

/// Times outside of what [`event::Timestamp`] reaches become its nearest.
fn timestamp(time: Timestamp) -> event::Timestamp {
    let (seconds, nanos) = (u64::try_from(time.seconds).unwrap_or(0), u64::try_from(time.nanos).unwrap_or(0));
    event::Timestamp(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}
