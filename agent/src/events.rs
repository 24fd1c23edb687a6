//! In: events from the thread that reads the kernel's records. Out: those who watch them, over gRPC on a unix socket.
//!
//! Guarantees:
//! * without a subscriber an event costs one load;
//! * a slow subscriber holds nobody up and takes bounded memory: the oldest events that it has not read go, are counted,
//!   and it is told how many where they are missing;
//! * an event is encoded once, however many subscribers want it, and not at all if none does.

mod hub;
mod ring;
mod service;
mod socket;

pub use hub::{Hub, HubCounters, Step, Subscription};
pub use ring::Published;
pub use service::{ServeError, serve};
pub use socket::{BindError, bind};

/// Subscribers at a time.
pub const SUBSCRIBERS_MAX: usize = 64;
/// Events held for subscribers that have not read them yet.
pub const EVENTS_MAX: usize = 10_000;
/// Bytes of these events, about: 10,000 of the usual 2 to 3 KiB fit; ten times larger ones do not.
pub const BYTES_MAX: usize = 48 << 20;
