//! agent

pub mod kernel;
