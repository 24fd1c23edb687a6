//! In: attempts that failed. Out: how long to wait for the next, so that thousands of agents do not call at once.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// What is at once for thousands of agents.
const AT_ONCE: Duration = Duration::from_millis(500);

/// The waits of an agent that calls its operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// After the first failure.
    pub shortest: Duration,
    /// After many.
    pub longest: Duration,
    /// A call that lasted this long is no failure.
    pub good: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Pace { shortest: seconds(1), longest: seconds(30), good: seconds(10) }
    }
}

/// The state of the waits.
#[derive(Debug)]
pub struct Backoff {
    pace: Pace,
    next: Duration,
}

impl Backoff {
    /// Nothing failed yet.
    pub fn new(pace: Pace) -> Backoff {
        Backoff { pace, next: pace.shortest }
    }

    /// The wait after a call that ended well: as good as none, but not the same for all agents.
    pub fn at_once(&mut self) -> Duration {
        self.next = self.pace.shortest;
        self.pace.shortest.min(AT_ONCE).mul_f64(fraction())
    }

    /// The wait after a call that lasted this long: from a half to one and a half of what doubles with each failure.
    pub fn wait_after(&mut self, lasted: Duration) -> Duration {
        if lasted >= self.pace.good {
            self.next = self.pace.shortest;
        }
        let wait = self.next.mul_f64(0.5 + fraction());
        self.next = (self.next * 2).min(self.pace.longest);
        wait
    }
}

/// At random from 0 to 1: each state of the standard library's hasher is keyed anew.
fn fraction() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    // 53 bits are what a double holds.
    (random >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_bound_and_begin_again_after_a_good_call() {
        let mut backoff = Backoff::new(Pace::default());
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let wait = backoff.wait_after(Duration::ZERO);
            let middle = Duration::from_secs(seconds);
            assert!(wait >= middle / 2 && wait <= middle * 3 / 2, "{wait:?} around {middle:?}");
        }
        assert!(backoff.wait_after(Duration::from_secs(11)) <= Duration::from_millis(1500));
    }

    #[test]
    fn no_two_agents_wait_alike() {
        let mut waits: Vec<_> =
            (0..100).map(|_| Backoff::new(Pace::default()).wait_after(Duration::ZERO)).collect();
        waits.sort();
        waits.dedup();
        assert!(waits.len() > 90, "{}", waits.len());
    }
}
