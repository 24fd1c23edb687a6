//! In: an event. Out: whether one condition of a filter holds for it.

use regex_lite::Regex;

use super::labels::LabelSelector;
use crate::event::{Event, EventType, Pod, Process};

/// One condition.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    /// Kind of the event.
    EventTypes(Vec<EventType>),
    /// Policy of the event; events of the process life cycle have none.
    Policies(Vec<String>),
    /// One of these is found in a text of the event.
    Text(Text, Vec<Regex>),
    /// The pod's namespace; empty for events without a pod.
    Namespaces(Vec<String>),
    /// Process id.
    Pids(Vec<u32>),
    /// The pod's labels.
    Labels(Vec<LabelSelector>),
    /// Whether it descends from its container's first process; not known is neither.
    InInitTree(bool),
}

/// A text of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    Binary,
    Arguments,
    ParentBinary,
    ParentArguments,
    Namespace,
    Pod,
    ContainerId,
    ContainerName,
}

impl Condition {
    pub(super) fn holds(&self, event: &Event) -> bool {
        let process: &Process = &event.subject().process;
        match self {
            Condition::EventTypes(types) => types.contains(&event.kind()),
            Condition::Policies(names) => event.hook().is_some_and(|hook| names.contains(&hook.policy_name)),
            Condition::Text(text, patterns) => {
                text.of(event).is_some_and(|text| patterns.iter().any(|pattern| pattern.is_match(text)))
            }
            Condition::Namespaces(names) => {
                let namespace = process.pod.as_ref().map_or("", |pod| &pod.namespace);
                names.iter().any(|name| name == namespace)
            }
            Condition::Pids(pids) => pids.contains(&process.pid),
            Condition::Labels(selectors) => process
                .pod
                .as_ref()
                .is_some_and(|pod| selectors.iter().any(|selector| selector.matches(&pod.labels))),
            Condition::InInitTree(wanted) => process.in_init_tree == Some(*wanted),
        }
    }
}

impl Text {
    /// `None`: the event has no such text.
    fn of(self, event: &Event) -> Option<&str> {
        let process: &Process = &event.subject().process;
        let pod: Option<&Pod> = process.pod.as_deref();
        match self {
            Text::Binary => Some(&process.binary),
            Text::Arguments => Some(&process.arguments),
            Text::ParentBinary => event.parent().map(|parent| parent.binary.as_str()),
            Text::ParentArguments => event.parent().map(|parent| parent.arguments.as_str()),
            Text::Namespace => pod.map(|pod| pod.namespace.as_str()),
            Text::Pod => pod.map(|pod| pod.name.as_str()),
            Text::ContainerId => Some(process.docker.as_str()).filter(|id| !id.is_empty()),
            Text::ContainerName => pod.and_then(|pod| pod.container.as_ref()).map(|one| one.name.as_str()),
        }
    }
}
