//! In: events, and what the user asked for. Out: whether to show an event.
//!
//! Conditions that are asked for and not implemented are refused, never ignored. Requests come from other processes,
//! so what they may cost is bounded.

mod condition;
mod labels;

use regex_lite::{Regex, RegexBuilder};

use crate::event::{Event, EventType};
use crate::tetragon::{self, GetEventsRequest};
use condition::{Condition, Text};
use labels::LabelSelector;

/// Filters in one request.
pub const FILTERS_MAX: usize = 64;
/// Regular expressions in one request.
pub const PATTERNS_MAX: usize = 64;
/// Bytes of one compiled regular expression: a hundred paths fit. With [`PATTERNS_MAX`], 16 MiB for a request.
const PATTERN_SIZE_MAX: usize = 256 * 1024;
/// Kinds of events that the protocol has and that never happen here: asking for them is no mistake.
const NEVER_SENT: [i32; 6] = [11, 12, 27, 29, 40_000, 40_001];

/// Conditions on events. All that are given must hold; of several values in one condition, one must.
#[derive(Debug, Clone, Default)]
pub struct Filter(Vec<Condition>);

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
    #[error("{field}: {given:?} is not a regular expression: {why}")]
    Pattern {
        /// Field of the filter.
        field: &'static str,
        /// As given.
        given: String,
        /// What is wrong with it.
        why: String,
    },
    /// Not a label selector.
    #[error("labels: {part:?} in {given:?} is not a requirement on labels such as app=web")]
    Labels {
        /// As given.
        given: String,
        /// What is wrong with it.
        part: String,
    },
    /// A field of the protocol that is not implemented.
    #[error("{field} is not implemented: leave it out")]
    Unsupported {
        /// The field.
        field: &'static str,
    },
    /// More than a request may have.
    #[error("there are {given} {what}, at most {limit} can be used in a request")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        given: usize,
        /// How many there may be.
        limit: usize,
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
    ///
    /// # Errors
    /// The first value that is none.
    pub fn parse(
        event_types: &[String],
        policy_names: &[String],
        binaries: &[String],
    ) -> Result<Filter, FilterError> {
        Filter::compile(&tetragon::Filter {
            event_set: event_types.iter().map(|given| event_type(given)).collect::<Result<_, _>>()?,
            policy_names: policy_names.to_vec(),
            binary_regex: binaries.to_vec(),
            ..tetragon::Filter::default()
        })
    }

    /// Reads one filter of a request.
    ///
    /// # Errors
    /// The first field that is not implemented, or value that is none.
    pub fn compile(asked: &tetragon::Filter) -> Result<Filter, FilterError> {
        refuse_unsupported(asked)?;
        let mut conditions = Vec::new();
        if !asked.event_set.is_empty() {
            conditions.push(Condition::EventTypes(event_types(&asked.event_set)?));
        }
        if !asked.policy_names.is_empty() {
            conditions.push(Condition::Policies(asked.policy_names.clone()));
        }
        if !asked.namespace.is_empty() {
            conditions.push(Condition::Namespaces(asked.namespace.clone()));
        }
        if !asked.pid.is_empty() {
            conditions.push(Condition::Pids(asked.pid.clone()));
        }
        conditions.extend(asked.in_init_tree.map(Condition::InInitTree));
        if !asked.labels.is_empty() {
            conditions.push(Condition::Labels(selectors(&asked.labels)?));
        }
        // Last, because they cost most.
        for (text, field, patterns) in texts(asked) {
            if !patterns.is_empty() {
                let patterns =
                    patterns.iter().map(|given| pattern(field, given)).collect::<Result<_, _>>()?;
                conditions.push(Condition::Text(text, patterns));
            }
        }
        Ok(Filter(conditions))
    }

    /// Whether to show `event`.
    pub fn accepts(&self, event: &Event) -> bool {
        self.0.iter().all(|condition| condition.holds(event))
    }
}

/// Which events a client wants.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    allow: Vec<Filter>,
    deny: Vec<Filter>,
}

/// A request that is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// One of its filters.
    #[error("{list}[{at}]: {error}")]
    Filter {
        /// `allow_list` or `deny_list`.
        list: &'static str,
        /// Place in it.
        at: usize,
        /// What is wrong there.
        error: FilterError,
    },
    /// The request as a whole.
    #[error("{0}")]
    Request(FilterError),
}

impl Selection {
    /// Reads a request.
    ///
    /// # Errors
    /// It asks for what is not implemented, for what is nonsense, or for too much.
    pub fn compile(request: &GetEventsRequest) -> Result<Selection, SelectionError> {
        if !request.field_filters.is_empty() {
            return Err(SelectionError::Request(FilterError::Unsupported { field: "field_filters" }));
        }
        if request.aggregation_options.is_some() {
            return Err(SelectionError::Request(FilterError::Unsupported { field: "aggregation_options" }));
        }
        let filters = || request.allow_list.iter().chain(&request.deny_list);
        let patterns = filters().flat_map(texts).map(|(_, _, patterns)| patterns.len()).sum();
        for (what, given, limit) in
            [("filters", filters().count(), FILTERS_MAX), ("regular expressions", patterns, PATTERNS_MAX)]
        {
            if given > limit {
                return Err(SelectionError::Request(FilterError::TooMany { what, given, limit }));
            }
        }
        let compile = |list: &'static str, filters: &[tetragon::Filter]| {
            let one = |(at, filter)| {
                Filter::compile(filter).map_err(|error| SelectionError::Filter { list, at, error })
            };
            filters.iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()
        };
        Ok(Selection {
            allow: compile("allow_list", &request.allow_list)?,
            deny: compile("deny_list", &request.deny_list)?,
        })
    }

    /// Whether to send `event`.
    pub fn accepts(&self, event: &Event) -> bool {
        (self.allow.is_empty() || self.allow.iter().any(|filter| filter.accepts(event)))
            && !self.deny.iter().any(|filter| filter.accepts(event))
    }
}

/// Number of an event type by its name, in either case.
///
/// # Errors
/// There is no such type.
pub fn event_type(name: &str) -> Result<i32, FilterError> {
    let known = EventType::parse(name).map(|kind| kind as i32);
    known.ok_or_else(|| FilterError::EventType { given: name.to_owned() })
}

fn event_types(numbers: &[i32]) -> Result<Vec<EventType>, FilterError> {
    let mut types = Vec::new();
    for number in numbers {
        match EventType::ALL.into_iter().find(|kind| *kind as i32 == *number) {
            Some(kind) => types.push(kind),
            None if NEVER_SENT.contains(number) => {}
            None => return Err(FilterError::EventType { given: number.to_string() }),
        }
    }
    Ok(types)
}

fn refuse_unsupported(asked: &tetragon::Filter) -> Result<(), FilterError> {
    for (field, given) in [
        ("pid_set", !asked.pid_set.is_empty()),
        ("cel_expression", !asked.cel_expression.is_empty()),
        ("ancestor_binary_regex", !asked.ancestor_binary_regex.is_empty()),
        // Events have neither, so that a filter by them would accept none or all.
        ("capabilities", asked.capabilities.is_some()),
        ("health_check", asked.health_check.is_some()),
    ] {
        if given {
            return Err(FilterError::Unsupported { field });
        }
    }
    Ok(())
}

fn texts(asked: &tetragon::Filter) -> [(Text, &'static str, &[String]); 8] {
    [
        (Text::Namespace, "namespace_regex", &asked.namespace_regex),
        (Text::Pod, "pod_regex", &asked.pod_regex),
        (Text::ContainerName, "container_name_regex", &asked.container_name_regex),
        (Text::ContainerId, "container_id", &asked.container_id),
        (Text::Binary, "binary_regex", &asked.binary_regex),
        (Text::ParentBinary, "parent_binary_regex", &asked.parent_binary_regex),
        (Text::Arguments, "arguments_regex", &asked.arguments_regex),
        (Text::ParentArguments, "parent_arguments_regex", &asked.parent_arguments_regex),
    ]
}

fn pattern(field: &'static str, given: &str) -> Result<Regex, FilterError> {
    RegexBuilder::new(given).size_limit(PATTERN_SIZE_MAX).build().map_err(|error| FilterError::Pattern {
        field,
        given: given.to_owned(),
        why: error.to_string(),
    })
}

fn selectors(asked: &[String]) -> Result<Vec<LabelSelector>, FilterError> {
    let read = |given: &String| {
        LabelSelector::parse(given).map_err(|part| FilterError::Labels { given: given.clone(), part })
    };
    asked.iter().map(read).collect()
}

#[cfg(test)]
mod tests;
