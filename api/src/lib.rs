//! The wire: what the operator (or `ferra run`) and the node agent say to each other, and what both say to the
//! user.

pub mod artefact;
pub mod compact;
pub mod event;
pub mod filter;
pub mod fleet;
pub mod json;
pub mod names;
pub mod profile;
pub mod shape;
pub mod syscalls;
pub mod tetragon;

mod number;
mod permission;
