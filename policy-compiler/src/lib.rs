//! From a `TracingPolicy` to eBPF, as a pure function: the same input gives the same bytes.
//!
//! The stages, in order: check, resolve, plan, lower, emit, artefact.

pub mod btf;
pub mod check;
pub mod diagnostic;
pub mod typed;
pub mod reference;
