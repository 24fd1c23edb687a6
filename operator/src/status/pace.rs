//! In: the status that was written last and the one that should be. Out: when to write.
//!
//! What a user waits for is written within a second. Progress through many nodes is written at growing intervals, so
//! that a change costs a number of writes that does not depend on the number of nodes: at most five in the first 15
//! seconds, then four a minute. Counters alone are written every 15 seconds.

use std::time::Duration;

use crds::status::TracingPolicyStatus;
use tokio::time::Instant;

/// Between two writes of one policy.
const SHORTEST: Duration = Duration::from_secs(1);
/// Between two writes that only tell counters, and the longest wait for progress.
const COUNTERS: Duration = Duration::from_secs(15);

/// What is new in a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing.
    None,
    /// Only what was counted.
    Counters,
    /// Numbers and names of nodes, messages.
    Progress,
    /// A condition, the generation, the mode.
    State,
}

/// Compares two statuses.
pub(super) fn news(before: Option<&TracingPolicyStatus>, now: &TracingPolicyStatus) -> News {
    let Some(before) = before else { return News::State };
    if before == now {
        return News::None;
    }
    let conditions = |status: &TracingPolicyStatus| {
        let of =
            status.conditions.iter().map(|condition| (condition.kind, condition.status, condition.reason));
        of.collect::<Vec<_>>()
    };
    if before.observed_generation != now.observed_generation
        || before.mode != now.mode
        || before.hooks != now.hooks
        || conditions(before) != conditions(now)
    {
        return News::State;
    }
    let counted = TracingPolicyStatus { matches: now.matches, enforced: now.enforced, ..before.clone() };
    if counted == *now { News::Counters } else { News::Progress }
}

/// The pace of one policy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    last: Instant,
    /// Writes of progress since the last news of state.
    steps: u32,
}

impl Pace {
    /// After a first write.
    pub(super) fn new(now: Instant) -> Pace {
        Pace { last: now, steps: 0 }
    }

    /// When these news are due.
    pub(super) fn due(&self, news: News) -> Instant {
        self.last
            + match news {
                News::None | News::State => SHORTEST,
                News::Progress => COUNTERS.min(SHORTEST * 2_u32.saturating_pow(self.steps)),
                News::Counters => COUNTERS,
            }
    }

    /// After a write.
    pub(super) fn wrote(&mut self, news: News, now: Instant) {
        self.last = now;
        self.steps = match news {
            News::State => 0,
            News::Progress => self.steps.saturating_add(1),
            News::None | News::Counters => self.steps,
        };
    }

    /// After a write that failed.
    pub(super) fn failed(&mut self, now: Instant) {
        self.last = now + SHORTEST * 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_slows_down_and_state_does_not_wait() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.due(News::State), start + SHORTEST);
        assert_eq!(pace.due(News::Counters), start + COUNTERS);
        let mut writes = 0;
        let mut now = start;
        // Progress at every moment of a rollout that takes a minute.
        while now < start + Duration::from_secs(60) {
            now = pace.due(News::Progress);
            pace.wrote(News::Progress, now);
            writes += 1;
        }
        assert!(writes <= 8, "{writes}");
        assert_eq!(pace.due(News::State), now + SHORTEST);
        pace.wrote(News::State, now);
        assert_eq!(pace.due(News::Progress), now + SHORTEST);
    }
}
