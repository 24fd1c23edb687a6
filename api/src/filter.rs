//! In: events, and what the user asked for. Out: whether to show an event.

use regex_lite::Regex;

use crate::event::{Event, EventType};

/// Conditions on events. All that are given must hold; of several values in one condition, one must.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    event_types: Vec<EventType>,
    policy_names: Vec<String>,
    binaries: Vec<Regex>,
}

/// A value that no condition can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Not one of the events there are.
    #[error("unknown event type {given:?}: use one of {}", known_types())]
    EventType {
        /// As given.
        given: String,
    },
    /// Not a regular expression.
    #[error("{given:?} is not a regular expression for binaries: {why}")]
    Binary {
        /// As given.
        given: String,
        /// What is wrong with it.
        why: String,
    },
}

fn known_types() -> String {
    EventType::ALL.map(EventType::name).join(", ")
}

impl Filter {
    /// Reads the values of the command line. Empty lists are no conditions.
    ///
    /// `event_types`: protocol names in either case. `policy_names`: exact. `binaries`: regular expressions for a
    /// part of the binary's path.
    pub fn parse(
        event_types: &[String],
        policy_names: &[String],
        binaries: &[String],
    ) -> Result<Filter, FilterError> {
        let event_types = event_types.iter().map(|given| {
            EventType::parse(given).ok_or_else(|| FilterError::EventType { given: given.clone() })
        });
        let binaries = binaries.iter().map(|given| {
            Regex::new(given)
                .map_err(|error| FilterError::Binary { given: given.clone(), why: error.to_string() })
        });
        Ok(Filter {
            event_types: event_types.collect::<Result<_, _>>()?,
            policy_names: policy_names.to_vec(),
            binaries: binaries.collect::<Result<_, _>>()?,
        })
    }

    /// Whether to show `event`. Events of the process life cycle have no policy.
    pub fn accepts(&self, event: &Event) -> bool {
        let policy = event.hook().map(|hook| &hook.policy_name);
        let binary = &event.subject().process.binary;
        (self.event_types.is_empty() || self.event_types.contains(&event.kind()))
            && (self.policy_names.is_empty() || policy.is_some_and(|name| self.policy_names.contains(name)))
            && (self.binaries.is_empty() || self.binaries.iter().any(|regex| regex.is_match(binary)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::artefact::{EventKind, HookSchema};
    use crate::event::{
        Action, Body, Hook, HookEvent, Process, ProcessExec, ProcessInfo, Subject, Timestamp,
    };

    fn event(binary: &str, policy: Option<&str>) -> Event {
        let info = ProcessInfo { binary: binary.into(), ..ProcessInfo::default() };
        let process = Subject { process: Arc::new(Process::new(info)), tid: 1, refcnt: 0 };
        let body = match policy {
            None => Body::Exec(ProcessExec { process, parent: None, ancestors: vec![] }),
            Some(policy) => {
                let schema = HookSchema {
                    policy_name: policy.into(),
                    event: EventKind::Lsm as i32,
                    ..HookSchema::default()
                };
                Body::Lsm(HookEvent {
                    process,
                    parent: None,
                    ancestors: vec![],
                    hook: Arc::new(Hook::from_schema(&schema).unwrap()),
                    args: vec![],
                    ret: None,
                    action: Action::Post,
                    return_action: Action::Unknown,
                })
            }
        };
        Event { body, node_name: "n".into(), time: Timestamp(0) }
    }

    fn filter(types: &[&str], policies: &[&str], binaries: &[&str]) -> Result<Filter, FilterError> {
        let [types, policies, binaries] = [types, policies, binaries]
            .map(|list| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        Filter::parse(&types, &policies, &binaries)
    }

    #[test]
    fn no_condition_accepts_everything() {
        let filter = filter(&[], &[], &[]).unwrap();
        assert!(filter.accepts(&event("", None)) && filter.accepts(&event("/bin/sh", Some("p"))));
    }

    #[test]
    fn each_condition_must_hold_with_one_of_its_values() {
        let filter = filter(&["process_lsm", "PROCESS_EXEC"], &["p", "q"], &["^/usr/bin/", "cat$"]).unwrap();
        for (binary, policy, accepted) in [
            ("/usr/bin/id", Some("p"), true),
            ("/bin/cat", Some("q"), true),
            ("/bin/catx", Some("q"), false),
            ("/usr/bin/id", Some("r"), false),
            ("/usr/bin/id", None, false),
        ] {
            assert_eq!(filter.accepts(&event(binary, policy)), accepted, "{binary} {policy:?}");
        }
    }

    #[test]
    fn event_types_are_compared() {
        let filter = filter(&["PROCESS_EXIT"], &[], &[]).unwrap();
        assert!(!filter.accepts(&event("/bin/cat", None)));
    }

    #[test]
    fn bad_values_are_named() {
        let error = filter(&["PROCESS_FORK"], &[], &[]).unwrap_err().to_string();
        assert!(
            error.contains("\"PROCESS_FORK\"") && error.contains("PROCESS_EXEC, PROCESS_EXIT"),
            "{error}"
        );
        let error = filter(&[], &[], &["a("]).unwrap_err().to_string();
        assert!(error.contains("\"a(\""), "{error}");
    }
}
