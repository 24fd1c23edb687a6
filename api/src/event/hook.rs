//! In: the schema of a hook from an artefact, once per loaded program. Out: every event of that hook shares it.

use std::sync::Arc;

use crate::artefact::{ArgField, EventKind, HookSchema};

/// What all events of one hook entry of one policy share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Which event the hook gives.
    pub event: EventKind,
    /// Policy namespace, empty for cluster policies.
    pub policy_namespace: String,
    /// Policy name.
    pub policy_name: String,
    /// Subsystem of a tracepoint, else empty.
    pub subsystem: String,
    /// Attached function, LSM hook, or tracepoint event.
    pub name: String,
    /// `message`, empty if none.
    pub message: String,
    /// `tags`.
    pub tags: Vec<String>,
    /// Arguments in the order of the record, without the return value.
    pub args: Vec<HookArg>,
    /// Return value, if the hook reports it: the argument after `args` in the record.
    pub ret: Option<HookArg>,
}

/// How one argument is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookArg {
    /// Output field.
    pub field: ArgField,
    /// `label`.
    pub label: Option<Arc<str>>,
}

/// A schema that this agent cannot show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// A value of a newer compiler.
    #[error(
        "hook {path} of policy {policy}: {what} {value} is unknown to this agent: compile the policy with the \
         compiler of the agent's version"
    )]
    Unknown {
        /// Policy name.
        policy: String,
        /// Field path of the hook.
        path: String,
        /// `event kind` or `argument field`.
        what: &'static str,
        /// The number found.
        value: i32,
    },
    /// `has_return` without an argument.
    #[error(
        "hook {path} of policy {policy} has a return value but no arguments in its schema: recompile the policy"
    )]
    NoReturn {
        /// Policy name.
        policy: String,
        /// Field path of the hook.
        path: String,
    },
}

impl Hook {
    /// Reads a schema.
    pub fn from_schema(schema: &HookSchema) -> Result<Hook, HookError> {
        let unknown = |what, value| HookError::Unknown {
            policy: schema.policy_name.clone(),
            path: schema.path.clone(),
            what,
            value,
        };
        let event = match EventKind::try_from(schema.event) {
            Ok(EventKind::Unspecified) | Err(_) => return Err(unknown("event kind", schema.event)),
            Ok(event) => event,
        };
        let mut args = Vec::with_capacity(schema.args.len());
        for arg in &schema.args {
            let field = match ArgField::try_from(arg.field) {
                Ok(ArgField::Unspecified) | Err(_) => return Err(unknown("argument field", arg.field)),
                Ok(field) => field,
            };
            // Tracepoint arguments have no labels in the output.
            let labelled = event != EventKind::Tracepoint && !arg.label.is_empty();
            args.push(HookArg { field, label: labelled.then(|| Arc::from(arg.label.as_str())) });
        }
        let ret = match schema.has_return.then(|| args.pop()) {
            Some(None) => {
                return Err(HookError::NoReturn {
                    policy: schema.policy_name.clone(),
                    path: schema.path.clone(),
                });
            }
            Some(arg) => arg,
            None => None,
        };
        let (subsystem, name) = match schema.name.split_once('/') {
            Some((subsystem, name)) if event == EventKind::Tracepoint => (subsystem, name),
            _ => ("", schema.name.as_str()),
        };
        Ok(Hook {
            event,
            policy_namespace: schema.policy_namespace.clone(),
            policy_name: schema.policy_name.clone(),
            subsystem: subsystem.to_owned(),
            name: name.to_owned(),
            message: schema.message.clone(),
            tags: schema.tags.clone(),
            args,
            ret,
        })
    }
}

/// `KprobeAction` of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u32)]
pub enum Action {
    /// None, or a number that this version does not know.
    #[default]
    Unknown = 0,
    /// Plain event.
    Post = 1,
    /// Signal 9 was sent.
    Sigkill = 3,
    /// The return value was replaced.
    Override = 5,
    /// The event is suppressed.
    NoPost = 9,
    /// A signal was sent.
    Signal = 10,
}

impl Action {
    /// All actions that this version performs.
    pub const ALL: [Action; 6] =
        [Action::Unknown, Action::Post, Action::Sigkill, Action::Override, Action::NoPost, Action::Signal];

    /// Action of a record; [`Action::Unknown`] for a number that it does not know.
    pub fn from_number(number: u32) -> Action {
        Self::ALL.into_iter().find(|action| *action as u32 == number).unwrap_or_default()
    }

    /// Enum name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Action::Unknown => "KPROBE_ACTION_UNKNOWN",
            Action::Post => "KPROBE_ACTION_POST",
            Action::Sigkill => "KPROBE_ACTION_SIGKILL",
            Action::Override => "KPROBE_ACTION_OVERRIDE",
            Action::NoPost => "KPROBE_ACTION_NOPOST",
            Action::Signal => "KPROBE_ACTION_SIGNAL",
        }
    }
}
