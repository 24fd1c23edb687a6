//! agent

pub mod base;
pub mod kernel;
pub mod probe;
pub mod process;
