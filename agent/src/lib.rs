//! In: artefacts from the compiler, records from the kernel. Out: programs in the kernel, and events.
//!
//! The privileged part: it loads, attaches, switches, reads and enriches, and knows nothing of policies beyond their
//! artefacts.

mod accept;
pub mod base;
pub mod daemon;
pub mod decode;
pub mod events;
pub mod kernel;
pub mod loader;
pub mod pins;
pub mod pods;
pub mod probe;
pub mod process;
pub mod session;
