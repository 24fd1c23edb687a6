//! In: the kernel's boot-time clock, which all records use. Out: wall-clock time for people.

use api::event::Timestamp;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The wall-clock time at which the machine's boot-time clock was 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootClock {
    boot: i128,
}

impl BootClock {
    /// Reads both clocks.
    pub fn new() -> BootClock {
        // A preemption between two readings shows as distance; the closest of a few is right to a microsecond.
        let boot = (0..5)
            .map(|_| {
                let before = nanoseconds(clock_gettime(ClockId::Boottime));
                let wall = nanoseconds(clock_gettime(ClockId::Realtime));
                let after = nanoseconds(clock_gettime(ClockId::Boottime));
                (after - before, wall - (before + after) / 2)
            })
            .min()
            .map_or(0, |(_, boot)| boot);
        BootClock { boot }
    }

    /// Reads both again: the wall clock may have been set since.
    pub fn refresh(&mut self) {
        *self = BootClock::new();
    }

    /// Wall-clock time of a boot time in nanoseconds. Held to what a [`Timestamp`] can be.
    pub fn at(&self, boot: u64) -> Timestamp {
        let wall = self.boot + i128::from(boot);
        Timestamp(u64::try_from(wall.max(0)).unwrap_or(u64::MAX))
    }
}

impl Default for BootClock {
    fn default() -> Self {
        BootClock::new()
    }
}

fn nanoseconds(time: Timespec) -> i128 {
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_now() {
        let clock = BootClock::new();
        let boot = nanoseconds(clock_gettime(ClockId::Boottime));
        let wall = nanoseconds(clock_gettime(ClockId::Realtime));
        let converted = clock.at(u64::try_from(boot).unwrap());
        assert!((i128::from(converted.0) - wall).abs() < 50_000_000, "{converted} is not now");
    }

    #[test]
    fn nonsense_stays_in_range() {
        let clock = BootClock { boot: -5 };
        assert_eq!(clock.at(0), Timestamp(0));
        assert_eq!(BootClock { boot: 1 }.at(u64::MAX), Timestamp(u64::MAX));
    }
}
