//! In: tests that must not run beside each other. Out: one of them at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by a test that loads programs of its own or counts what its process holds. A child that another test forks holds
/// this process's links until it calls exec: so who detaches, or starts commands, does it alone.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
