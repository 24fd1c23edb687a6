//! In: the policy language's schema, as Rust types. Out: the compiler's front end, the operator, and the
//! CustomResourceDefinitions in `crds/generated/`.
//!
//! This crate is the one place that knows field names, closed sets of values and defaults. It does no I/O.

#[macro_use]
mod closed_set;

pub mod action;
pub mod argument;
mod columns;
pub mod fleet;
pub mod hook;
pub mod list;
pub mod manifest;
mod open;
pub mod operator;
pub mod policy;
pub mod selector;
mod slim;
pub mod status;
pub mod workload;

pub use policy::{TracingPolicy, TracingPolicyNamespaced, TracingPolicyNamespacedSpec, TracingPolicySpec};
