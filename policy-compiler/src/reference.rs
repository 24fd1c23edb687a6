//! In: checked policies and a [`Call`], a description of what happened at a hook. Out: what each policy makes of
//! it, for tests to compare compiled programs with.
//!
//! This defines what a policy means. It is written to be obviously right, not to be fast, and shares nothing
//! with the stages that compile: no plan, no process bits, no BTF, only the language's rules.

mod argument;
mod call;
mod process;
mod verdict;
mod workload;

#[cfg(test)]
mod tests;

pub use argument::{argument_matches, buffer_bytes};
pub use call::{
    Ancestor, Call, Capabilities, Namespaces, PathValue, Process, SkbValue, SockValue, SockaddrValue, Value,
};
pub use verdict::{Effect, Evaluator, EventFate, Match};
pub use workload::{Pod, Workload};
