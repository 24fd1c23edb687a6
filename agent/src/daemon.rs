//! In: the operator's sets, over gRPC; the set stored on disk. Out: this node's kernel running them, whether or not there
//! is an operator, and whether or not there is an agent.
//!
//! Two kinds of threads: one owns the session (kernel, records, processes) and does what the others ask between two looks
//! at the records; a small async runtime talks to the operator, to those who read events, and to those who look after
//! the agent's health.

pub mod answer;
pub mod applier;
pub mod backoff;
pub mod dial;
pub mod engine;
pub mod fleet;
pub mod node;
pub mod store;
