//! In: the fleet's decisions about one stream. Out: the task that serves it, which sees the newest only: a slow reader
//! holds nobody up and makes nothing pile up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::compile::CompiledSet;
use super::ended::Ended;

/// One stream of one agent; newer ones have higher numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u64);

impl StreamId {
    /// One that was never given before.
    pub fn next() -> StreamId {
        static LAST: AtomicU64 = AtomicU64::new(0);
        StreamId(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// What the stream's task should do; each field only ever goes forward.
#[derive(Debug, Clone, Default)]
pub struct Mail {
    /// Ask for the kernel's profile.
    pub ask: bool,
    /// Send this set.
    pub offer: Option<Offer>,
    /// End the stream.
    pub end: Option<Ended>,
}

/// A set for one node.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Of this node.
    pub generation: u64,
    /// What.
    pub set: Arc<CompiledSet>,
}
