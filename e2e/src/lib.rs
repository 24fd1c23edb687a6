//! Input: nothing but this host and, when something is built for the first time, the network.
//! Output: a real Kubernetes: its binaries, a control plane for tests, and the parts that a whole cluster is made of.
//!
//! `cargo xtask cluster` makes a whole cluster of these parts, with nodes in VMs; see `e2e/cluster/README.md`.

mod binaries;
pub mod cache;
mod control_plane;
mod credentials;
mod keeper;
pub mod parts;

pub use binaries::{Binaries, Program, binaries};
pub use control_plane::ControlPlane;
pub use credentials::{MAX_NODES, User, kubeconfig};
