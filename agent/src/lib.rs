//! agent

pub mod base;
pub mod decode;
pub mod kernel;
pub mod loader;
pub mod probe;
pub mod process;
pub mod session;
