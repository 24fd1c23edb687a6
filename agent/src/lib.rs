//! agent

pub mod kernel;
pub mod probe;
