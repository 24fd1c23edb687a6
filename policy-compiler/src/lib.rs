//! From a `TracingPolicy` to eBPF, as a pure function: the same input gives the same bytes.
//!
//! The stages, in order: check, resolve, plan, lower, emit, artefact.

mod artefact;
pub mod btf;
pub mod check;
pub mod diagnostic;
pub mod emit;
pub mod kernel;
mod lower;
mod pipeline;
pub mod plan;
pub mod reference;
pub mod resolve;
pub mod typed;

pub use kernel::Kernel;
pub use pipeline::{Compiled, compile, compile_beside, compile_ranked};
