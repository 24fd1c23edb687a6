//! In: events from the thread that reads the kernel's records. Out: subscriptions, each at its own pace.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::event::Event;
use tokio::sync::Notify;

use super::ring::{Published, Reader, Ring, Taken};
use super::{BYTES_MAX, EVENTS_MAX, SUBSCRIBERS_MAX};

/// Events taken from the ring at a time: how often its lock is taken, and after how many filtered ones other tasks get
/// their turn.
const BATCH: usize = 64;

/// Where events and subscribers meet. Clones are the same hub.
#[derive(Debug, Clone)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node_name: Arc<str>,
    /// As in the ring, to be read without its lock.
    subscribers: AtomicUsize,
    ring: Mutex<Ring>,
    wake: Notify,
    closed: AtomicBool,
    published: AtomicU64,
    sent: AtomicU64,
    lost: AtomicU64,
    refused: AtomicU64,
}

/// Counts since the start, but for `subscribers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HubCounters {
    /// Subscribers now.
    pub subscribers: usize,
    /// Events published while there were subscribers.
    pub published: u64,
    /// Events sent, once per subscriber.
    pub sent: u64,
    /// Events that a subscriber was too slow for, once per subscriber. It might not have wanted all of them.
    pub lost: u64,
    /// Subscribers refused because there were too many.
    pub refused: u64,
}

impl Hub {
    /// A hub without subscribers, for the events of this node.
    pub fn new(node_name: &str) -> Hub {
        Hub::with_bounds(node_name, EVENTS_MAX, BYTES_MAX)
    }

    /// A hub that holds at most so many events, and bytes of events, for those who have not read them.
    pub fn with_bounds(node_name: &str, events: usize, bytes: usize) -> Hub {
        Hub(Arc::new(Inner {
            node_name: node_name.into(),
            subscribers: AtomicUsize::new(0),
            ring: Mutex::new(Ring::new(events, bytes)),
            wake: Notify::new(),
            closed: AtomicBool::new(false),
            published: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    /// Hands an event to the subscribers. Never waits for them.
    pub fn publish(&self, event: &Event) {
        // Relaxed: who subscribes at this moment may or may not get this event.
        if self.0.subscribers.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.0.published.fetch_add(1, Ordering::Relaxed);
        let event = Arc::new(Published::new(event.clone()));
        self.0.ring().push(event);
        self.0.wake.notify_waiters();
    }

    /// Starts a subscription to the events from now on; `None`: there are [`SUBSCRIBERS_MAX`], or the hub is closed.
    pub fn subscribe(&self) -> Option<Subscription> {
        let mut ring = self.0.ring();
        if self.0.closed.load(Ordering::Acquire) || ring.readers() >= SUBSCRIBERS_MAX {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let reader = ring.join();
        self.0.subscribers.store(ring.readers(), Ordering::Relaxed);
        drop(ring);
        Some(Subscription { hub: self.clone(), reader, batch: VecDeque::new() })
    }

    /// Ends all subscriptions, now and in future.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.wake.notify_waiters();
    }

    /// The node's name.
    pub fn node_name(&self) -> &str {
        &self.0.node_name
    }

    /// What became of the events.
    pub fn counters(&self) -> HubCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HubCounters {
            subscribers: self.0.subscribers.load(Ordering::Relaxed),
            published: read(&self.0.published),
            sent: read(&self.0.sent),
            lost: read(&self.0.lost),
            refused: read(&self.0.refused),
        }
    }

    pub(super) fn count_sent(&self) {
        self.0.sent.fetch_add(1, Ordering::Relaxed);
    }
}

impl Inner {
    /// Nothing that is done under the lock can leave the ring half changed.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What comes next for a subscriber.
#[derive(Debug)]
pub enum Step {
    /// An event.
    Event(Arc<Published>),
    /// This many events are missing here.
    Lost(u64),
}

/// A subscriber's place; it ends when it is dropped.
#[derive(Debug)]
pub struct Subscription {
    hub: Hub,
    reader: Reader,
    batch: VecDeque<Arc<Published>>,
}

impl Subscription {
    /// Waits for what comes next; `None`: the hub is closed.
    pub async fn next(&mut self) -> Option<Step> {
        loop {
            if let Some(event) = self.batch.pop_front() {
                return Some(Step::Event(event));
            }
            // Before looking, so that an event that is published in between wakes it.
            let inner = Arc::clone(&self.hub.0);
            let woken = inner.wake.notified();
            match self.take() {
                Taken::Events => tokio::task::consume_budget().await,
                Taken::Lost(lost) => return Some(Step::Lost(lost)),
                Taken::Nothing if inner.closed.load(Ordering::Acquire) => return None,
                Taken::Nothing => woken.await,
            }
        }
    }

    fn take(&mut self) -> Taken {
        let taken = self.hub.0.ring().take(self.reader, BATCH, &mut self.batch);
        if let Taken::Lost(lost) = taken {
            self.hub.0.lost.fetch_add(lost, Ordering::Relaxed);
        }
        taken
    }

    /// The hub that it is for.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut ring = self.hub.0.ring();
        ring.leave(self.reader);
        self.hub.0.subscribers.store(ring.readers(), Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use api::event::{Body, Process, ProcessExec, ProcessInfo, Subject, Timestamp};

    use super::*;

    pub(in crate::events) fn exec(pid: u32) -> Event {
        let process = Arc::new(Process::new(ProcessInfo { pid, ..ProcessInfo::default() }));
        let process = Subject { process, tid: pid, refcnt: 0 };
        let body = Body::Exec(ProcessExec { process, parent: None, ancestors: vec![] });
        Event { body, node_name: "n".into(), time: Timestamp(1) }
    }

    async fn pid(subscription: &mut Subscription) -> u32 {
        match subscription.next().await {
            Some(Step::Event(event)) => event.event.subject().process.pid,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn subscribers_get_what_comes_after_they_joined() {
        let hub = Hub::new("n");
        hub.publish(&exec(1));
        let mut subscription = hub.subscribe().unwrap();
        hub.publish(&exec(2));
        assert_eq!(pid(&mut subscription).await, 2);
        assert_eq!(hub.counters(), HubCounters { subscribers: 1, published: 1, ..HubCounters::default() });
        drop(subscription);
        assert_eq!(hub.counters().subscribers, 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_waits_is_woken() {
        let hub = Hub::new("n");
        let mut subscription = hub.subscribe().unwrap();
        let publisher = std::thread::spawn({
            let hub = hub.clone();
            move || {
                for pid in 1..=2_000 {
                    hub.publish(&exec(pid));
                    if pid % 100 == 0 {
                        std::thread::sleep(std::time::Duration::from_millis(1));
                    }
                }
            }
        });
        for expected in 1..=2_000 {
            assert_eq!(pid(&mut subscription).await, expected);
        }
        publisher.join().unwrap();
    }

    #[tokio::test]
    async fn too_slow_is_told_at_the_gap() {
        let hub = Hub::with_bounds("n", 4, usize::MAX);
        let mut subscription = hub.subscribe().unwrap();
        (1..=10).for_each(|pid| hub.publish(&exec(pid)));
        assert!(matches!(subscription.next().await, Some(Step::Lost(6))));
        assert_eq!(pid(&mut subscription).await, 7);
        assert_eq!(hub.counters().lost, 6);
    }

    #[tokio::test]
    async fn the_number_of_subscribers_is_bounded() {
        let hub = Hub::new("n");
        let mut all: Vec<_> = (0..SUBSCRIBERS_MAX).map(|_| hub.subscribe().unwrap()).collect();
        assert!(hub.subscribe().is_none());
        all.pop();
        assert!(hub.subscribe().is_some());
        assert_eq!(hub.counters().refused, 1);
    }

    #[tokio::test]
    async fn closing_ends_all_after_what_was_published() {
        let hub = Hub::new("n");
        let mut subscription = hub.subscribe().unwrap();
        hub.publish(&exec(1));
        hub.close();
        assert_eq!(pid(&mut subscription).await, 1);
        assert!(subscription.next().await.is_none());
        assert!(hub.subscribe().is_none());
    }

    #[test]
    fn an_event_is_encoded_once() {
        let published = Published::new(exec(7));
        let (first, second) = (published.encoded().0.as_ptr(), published.encoded().0.as_ptr());
        assert_eq!(first, second);
    }
}
