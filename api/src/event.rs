//! In: what the agent decodes from the kernel's records and adds from its process cache. Out: the JSON and the
//! compact encoder, the filters.
//!
//! Guarantees: events own what they hold and share what is the same for many of them (the process, the hook)
//! by reference count, so that they can cross threads and cost few instructions to make.

mod argument;
mod hook;
mod pod;
mod process;
mod text;
mod time;

use std::sync::Arc;

pub use argument::{Argument, CapSetField, FilePath, Packet, Socket, SocketAddress, SyscallAbi, Value};
pub use hook::{Action, Hook, HookArg, HookError};
pub use pod::{Container, Image, Pod};
pub use process::{
    Capabilities, Credentials, EnvVar, ExecId, Namespace, Namespaces, Process, ProcessFlags, ProcessInfo,
    Subject, UserNamespace,
};
pub use text::Text;
pub use time::Timestamp;

pub(crate) use process::Fragment;

/// One event as users see it.
#[derive(Debug, Clone)]
pub struct Event {
    /// What happened.
    pub body: Body,
    /// Node that saw it.
    pub node_name: Arc<str>,
    /// When the kernel saw it.
    pub time: Timestamp,
}

impl Event {
    /// The event's kind.
    pub fn kind(&self) -> EventType {
        match self.body {
            Body::Exec(_) => EventType::ProcessExec,
            Body::Exit(_) => EventType::ProcessExit,
            Body::Kprobe(_) => EventType::ProcessKprobe,
            Body::Tracepoint(_) => EventType::ProcessTracepoint,
            Body::Lsm(_) => EventType::ProcessLsm,
        }
    }

    /// The process that the event is about.
    pub fn subject(&self) -> &Subject {
        match &self.body {
            Body::Exec(event) => &event.process,
            Body::Exit(event) => &event.process,
            Body::Kprobe(event) | Body::Tracepoint(event) | Body::Lsm(event) => &event.process,
        }
    }

    /// The parent of that process, if it is known.
    pub fn parent(&self) -> Option<&Process> {
        match &self.body {
            Body::Exec(event) => event.parent.as_deref(),
            Body::Exit(event) => event.parent.as_deref(),
            Body::Kprobe(event) | Body::Tracepoint(event) | Body::Lsm(event) => event.parent.as_deref(),
        }
    }

    /// The policy hook that gave the event; `None` for the process life cycle.
    pub fn hook(&self) -> Option<&Hook> {
        match &self.body {
            Body::Kprobe(event) | Body::Tracepoint(event) | Body::Lsm(event) => Some(&event.hook),
            Body::Exec(_) | Body::Exit(_) => None,
        }
    }
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Body {
    /// `process_exec`.
    Exec(ProcessExec),
    /// `process_exit`.
    Exit(ProcessExit),
    /// `process_kprobe`: kprobes and fentries.
    Kprobe(HookEvent),
    /// `process_tracepoint`.
    Tracepoint(HookEvent),
    /// `process_lsm`.
    Lsm(HookEvent),
}

/// A process image started, or ran already when the agent started.
#[derive(Debug, Clone)]
pub struct ProcessExec {
    /// The new image.
    pub process: Subject,
    /// Its parent, if known.
    pub parent: Option<Arc<Process>>,
    /// The parent's parent and so on upwards, if asked for.
    pub ancestors: Vec<Arc<Process>>,
}

/// The last thread of a process left.
#[derive(Debug, Clone)]
pub struct ProcessExit {
    /// The image that ended.
    pub process: Subject,
    /// Its parent, if known.
    pub parent: Option<Arc<Process>>,
    /// The parent's parent and so on upwards, if asked for.
    pub ancestors: Vec<Arc<Process>>,
    /// Number of the signal that terminated it; 0 if it exited.
    pub signal: u32,
    /// Exit code; 0 if a signal terminated it.
    pub status: u32,
    /// When it ended.
    pub time: Timestamp,
}

/// A selector of a policy hook matched. Which of the three hook events it is, the [`Body`] says.
#[derive(Debug, Clone)]
pub struct HookEvent {
    /// The calling process.
    pub process: Subject,
    /// Its parent, if known.
    pub parent: Option<Arc<Process>>,
    /// The parent's parent and so on upwards, if asked for.
    pub ancestors: Vec<Arc<Process>>,
    /// What all events of the hook share.
    pub hook: Arc<Hook>,
    /// Arguments in the order of the policy.
    pub args: Vec<Argument>,
    /// Return value, for hooks that report it.
    pub ret: Option<Argument>,
    /// Last action processed.
    pub action: Action,
    /// Last action processed at return; kprobe events only.
    pub return_action: Action,
}

/// Kinds of events, with their protocol numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum EventType {
    /// A process image started.
    ProcessExec = 1,
    /// A process ended.
    ProcessExit = 5,
    /// kprobes and fentries.
    ProcessKprobe = 9,
    /// Tracepoints.
    ProcessTracepoint = 10,
    /// LSM hooks.
    ProcessLsm = 28,
}

impl EventType {
    /// All kinds, by number.
    pub const ALL: [EventType; 5] = [
        EventType::ProcessExec,
        EventType::ProcessExit,
        EventType::ProcessKprobe,
        EventType::ProcessTracepoint,
        EventType::ProcessLsm,
    ];

    /// Enum name in the protocol, e.g. `PROCESS_EXEC`.
    pub fn name(self) -> &'static str {
        match self {
            EventType::ProcessExec => "PROCESS_EXEC",
            EventType::ProcessExit => "PROCESS_EXIT",
            EventType::ProcessKprobe => "PROCESS_KPROBE",
            EventType::ProcessTracepoint => "PROCESS_TRACEPOINT",
            EventType::ProcessLsm => "PROCESS_LSM",
        }
    }

    /// Reads a protocol name in either case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(text))
    }
}
