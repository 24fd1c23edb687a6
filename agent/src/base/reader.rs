//! In: the ring buffer `events`. Out: records as bytes, in the order in which they were written.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::BaseError;

/// A wake-up from inside of a program invites its preemption, so the fixed programs leave it to the reader to look for what
/// they wrote.
pub const LOOK: Duration = Duration::from_millis(50);

/// The one reader of the ring buffer.
pub struct RecordReader {
    ring: RingBuf<MapData>,
}

impl RecordReader {
    pub(super) fn new(ring: RingBuf<MapData>) -> RecordReader {
        RecordReader { ring }
    }

    /// Waits until there is a record, at most `timeout` or [`LOOK`]: records of the fixed programs wake nobody. False: none
    /// is known of. A signal ends the wait early.
    pub fn wait(&self, timeout: Duration) -> Result<bool, BaseError> {
        let mut fds = [PollFd::new(&self.ring, PollFlags::IN)];
        let timeout = timeout.min(LOOK);
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(BaseError::Wait(errno.into())),
        }
    }

    /// Gives up to `limit` records to `each` without waiting; returns how many. Space is free for new records as
    /// soon as `each` returns.
    pub fn drain(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> usize {
        for count in 0..limit {
            match self.ring.next() {
                Some(record) => each(&record),
                None => return count,
            }
        }
        limit
    }
}

impl AsFd for RecordReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
