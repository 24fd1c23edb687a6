//! In: policies and nodes from the Kubernetes API, kernels and answers from the agents. Out: programs to the agents, the
//! truth to each policy's `status`, and refusals at admission.
//!
//! The parts talk through the values of [`model`], each published by one part and watched by others:
//!
//! ```text
//! watch ──▶ Policies, Nodes ──▶ fleet (compile, distribute) ──▶ Fleet ──▶ status (write)
//!                                     ▲      ▼                    └─────▶ admission (judge)
//!                                     agents
//! ```

pub mod admission;
pub mod auth;
pub mod certs;
pub mod config;
pub mod drain;
pub mod events;
pub mod fleet;
pub mod http;
pub mod leading;
pub mod lease;
pub mod metrics;
pub mod model;
pub mod patience;
pub mod status;
pub mod watch;

/// Under this name the operator writes; what others wrote stays theirs.
pub const FIELD_MANAGER: &str = "ferragon-operator";
