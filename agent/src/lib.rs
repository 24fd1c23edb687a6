//! agent

pub mod base;
pub mod decode;
pub mod kernel;
pub mod probe;
pub mod loader;
pub mod process;
