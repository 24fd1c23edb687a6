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
    /// Values in the order of the record: arguments, and the return value if the hook reports it.
    pub args: Vec<HookArg>,
    /// Whether the value with the highest position is the return value.
    pub has_return: bool,
}

/// How one argument is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookArg {
    /// Output field.
    pub field: ArgField,
    /// `label`.
    pub label: Option<Arc<str>>,
    /// Place in the event; below the number of values of the hook, and no other value's.
    pub position: usize,
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
    /// `has_return` without a value.
    #[error(
        "hook {path} of policy {policy} has a return value but no values in its schema: recompile the policy"
    )]
    NoReturn {
        /// Policy name.
        policy: String,
        /// Field path of the hook.
        path: String,
    },
    /// Two values at one position, or a position that is too high.
    #[error(
        "hook {path} of policy {policy} has a value at position {position}, which is taken or beyond its {count} \
         values: recompile the policy"
    )]
    Position {
        /// Policy name.
        policy: String,
        /// Field path of the hook.
        path: String,
        /// The position.
        position: u32,
        /// Values of the hook.
        count: usize,
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
        if schema.has_return && schema.args.is_empty() {
            return Err(HookError::NoReturn {
                policy: schema.policy_name.clone(),
                path: schema.path.clone(),
            });
        }
        let positions = positions(schema)?;
        let mut args = Vec::with_capacity(schema.args.len());
        for (arg, position) in schema.args.iter().zip(positions) {
            let field = match ArgField::try_from(arg.field) {
                Ok(ArgField::Unspecified) | Err(_) => return Err(unknown("argument field", arg.field)),
                Ok(field) => field,
            };
            // Tracepoint arguments have no labels in the output.
            let labelled = event != EventKind::Tracepoint && !arg.label.is_empty();
            args.push(HookArg { field, label: labelled.then(|| Arc::from(arg.label.as_str())), position });
        }
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
            has_return: schema.has_return,
        })
    }
}

/// The positions of a schema's values, each checked to be a place of its own.
fn positions(schema: &HookSchema) -> Result<Vec<usize>, HookError> {
    let count = schema.args.len();
    let mut taken = vec![false; count];
    let mut positions = Vec::with_capacity(count);
    for arg in &schema.args {
        let position = usize::try_from(arg.position).unwrap_or(usize::MAX);
        match taken.get_mut(position) {
            Some(taken) if !*taken => *taken = true,
            _ => {
                return Err(HookError::Position {
                    policy: schema.policy_name.clone(),
                    path: schema.path.clone(),
                    position: arg.position,
                    count,
                });
            }
        }
        positions.push(position);
    }
    Ok(positions)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artefact::ArgSchema;

    fn schema(args: &[(ArgField, u32)], has_return: bool) -> HookSchema {
        let arg = |(field, position): &(ArgField, u32)| ArgSchema {
            field: *field as i32,
            label: "l".into(),
            position: *position,
        };
        HookSchema {
            policy_name: "p".into(),
            path: "spec.kprobes[0]".into(),
            event: EventKind::Kprobe as i32,
            args: args.iter().map(arg).collect(),
            has_return,
            ..HookSchema::default()
        }
    }

    #[test]
    fn a_tracepoint_has_two_names_and_no_labels() {
        let tracepoint = HookSchema {
            event: EventKind::Tracepoint as i32,
            name: "sched/sched_switch".into(),
            ..schema(&[(ArgField::Int, 0)], false)
        };
        let hook = Hook::from_schema(&tracepoint).unwrap();
        assert_eq!((hook.subsystem.as_str(), hook.name.as_str()), ("sched", "sched_switch"));
        assert_eq!(hook.args[0].label, None);
        let function = HookSchema { name: "a/b".into(), ..schema(&[(ArgField::Int, 0)], false) };
        let hook = Hook::from_schema(&function).unwrap();
        assert_eq!((hook.subsystem.as_str(), hook.name.as_str()), ("", "a/b"));
        assert_eq!(hook.args[0].label.as_deref(), Some("l"));
    }

    #[test]
    fn what_this_version_does_not_know_is_refused() {
        let event = HookSchema { event: 99, ..schema(&[], false) };
        for schema in [event, schema(&[(ArgField::Unspecified, 0)], false)] {
            let error = Hook::from_schema(&schema).unwrap_err();
            assert!(matches!(error, HookError::Unknown { .. }), "{error}");
            assert!(error.to_string().contains("spec.kprobes[0] of policy p"), "{error}");
        }
    }

    #[test]
    fn positions_are_a_permutation() {
        let int = ArgField::Int;
        let hook = Hook::from_schema(&schema(&[(int, 1), (int, 2), (int, 0)], true)).unwrap();
        assert_eq!(hook.args.iter().map(|arg| arg.position).collect::<Vec<_>>(), [1, 2, 0]);
        for args in [&[(int, 1)][..], &[(int, 0), (int, 0)], &[(int, u32::MAX), (int, 0)]] {
            let error = Hook::from_schema(&schema(args, false)).unwrap_err();
            assert!(matches!(error, HookError::Position { .. }), "{error}");
        }
        let error = Hook::from_schema(&schema(&[], true)).unwrap_err();
        assert!(matches!(error, HookError::NoReturn { .. }), "{error}");
    }
}
