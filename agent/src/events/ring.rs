//! In: events, and how far each subscriber has read. Out: the events that some subscriber still has to read.
//!
//! One ring serves all subscribers, so that memory does not grow with their number. An event leaves when all have read
//! it, or when there is no room for newer ones.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use api::event::{Argument, Event, Pod, ProcessInfo, Value};
use api::tetragon::{EncodedEvent, encode};
use prost::Message;

/// Place of an event in the order of all events.
type Place = u64;

/// A subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reader(u64);

/// An event on its way to subscribers.
#[derive(Debug)]
pub struct Published {
    /// The event.
    pub event: Event,
    encoded: OnceLock<EncodedEvent>,
    weight: usize,
}

impl Published {
    pub(super) fn new(event: Event) -> Published {
        let weight = weight(&event);
        Published { event, encoded: OnceLock::new(), weight }
    }

    /// Its wire form, made by the first who asks.
    pub fn encoded(&self) -> &EncodedEvent {
        self.encoded.get_or_init(|| EncodedEvent(encode(&self.event).encode_to_vec().into()))
    }
}

/// Bytes that an event takes here, about, with its wire form.
fn weight(event: &Event) -> usize {
    // The structures themselves; all texts once as they are (shared, but perhaps with nobody any more) and once encoded.
    const FIXED: usize = 2048;
    let parent = event.parent().map_or(0, |parent| process_weight(parent));
    let process = process_weight(&event.subject().process);
    let args = match &event.body {
        api::event::Body::Kprobe(hook) | api::event::Body::Tracepoint(hook) | api::event::Body::Lsm(hook) => {
            hook.args.iter().chain(&hook.ret).map(argument_weight).sum()
        }
        api::event::Body::Exec(_) | api::event::Body::Exit(_) => 0,
    };
    FIXED + 2 * (process + parent + args)
}

fn process_weight(process: &ProcessInfo) -> usize {
    let environment: usize = process.environment.iter().map(|one| one.key.len() + one.value.len()).sum();
    let texts = process.binary.len() + process.arguments.len() + process.cwd.len() + process.user.len();
    texts + environment + process.pod.as_deref().map_or(0, pod_weight)
}

fn pod_weight(pod: &Pod) -> usize {
    // Of an entry of a map: two strings, and their part of a node.
    const ENTRY: usize = 64;
    let entries = pod.labels.iter().chain(&pod.annotations);
    let entries: usize = entries.map(|(key, value)| ENTRY + key.len() + value.len()).sum();
    let container = pod.container.as_ref().map_or(0, |container| {
        let image = container.image.as_ref().map_or(0, |image| image.id.len() + image.name.len());
        container.id.len() + container.name.len() + image
    });
    let names = pod.namespace.len() + pod.name.len() + pod.uid.len() + pod.workload.len();
    names + pod.workload_kind.len() + container + entries
}

fn argument_weight(argument: &Argument) -> usize {
    let heap = match &argument.value {
        Value::String(text) | Value::Error(text) => text.len(),
        Value::Bytes(bytes) | Value::TruncatedBytes { bytes, .. } => bytes.len(),
        Value::Path(file) | Value::File(file) | Value::LinuxBinprm(file) => file.path.len(),
        _ => 0,
    };
    // A value is at most as large as the largest of those that have no heap of unknown size.
    128 + heap
}

/// What a subscriber gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// This many events went before it read them.
    Lost(u64),
    /// The next events were added to its batch.
    Events,
    /// There are no events that it has not read.
    Nothing,
}

/// The events that some subscriber still has to read.
#[derive(Debug)]
pub(super) struct Ring {
    events: VecDeque<Arc<Published>>,
    /// Place of the first of them.
    first: Place,
    bytes: usize,
    /// Place of the next event to read, by subscriber.
    readers: BTreeMap<Reader, Place>,
    next_reader: u64,
    events_max: usize,
    bytes_max: usize,
}

impl Ring {
    pub(super) fn new(events_max: usize, bytes_max: usize) -> Ring {
        let (events, readers) = (VecDeque::new(), BTreeMap::new());
        Ring { events, first: 0, bytes: 0, readers, next_reader: 0, events_max, bytes_max }
    }

    /// Adds a subscriber that gets all events from now on.
    pub(super) fn join(&mut self) -> Reader {
        let reader = Reader(self.next_reader);
        self.next_reader += 1;
        self.readers.insert(reader, self.end());
        reader
    }

    /// Removes a subscriber, and what only it had to read.
    pub(super) fn leave(&mut self, reader: Reader) {
        self.readers.remove(&reader);
        self.forget_read();
    }

    pub(super) fn readers(&self) -> usize {
        self.readers.len()
    }

    fn end(&self) -> Place {
        self.first + self.events.len() as u64
    }

    /// Adds an event, in the place of the oldest if there is no room.
    pub(super) fn push(&mut self, event: Arc<Published>) {
        if self.readers.is_empty() {
            return;
        }
        self.bytes += event.weight;
        self.events.push_back(event);
        // The newest stays, however large it is.
        while self.events.len() > self.events_max || (self.bytes > self.bytes_max && self.events.len() > 1) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= event.weight;
            self.first += 1;
        }
    }

    /// Adds up to `limit` events to `batch`, or says how many are lost.
    pub(super) fn take(
        &mut self,
        reader: Reader,
        limit: usize,
        batch: &mut VecDeque<Arc<Published>>,
    ) -> Taken {
        let (first, end) = (self.first, self.end());
        let Some(next) = self.readers.get_mut(&reader) else { return Taken::Nothing };
        if *next < first {
            let lost = first - *next;
            *next = first;
            return Taken::Lost(lost);
        }
        if *next == end {
            return Taken::Nothing;
        }
        // Places in the ring fit a usize: it has at most `events_max` events.
        let from = (*next - first) as usize;
        batch.extend(self.events.iter().skip(from).take(limit).cloned());
        *next = end.min(*next + limit as u64);
        self.forget_read();
        Taken::Events
    }

    fn forget_read(&mut self) {
        let end = self.end();
        let unread = self.readers.values().copied().min().unwrap_or(end);
        while self.first < unread {
            self.drop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::hub::tests::exec;

    fn published(pid: u32) -> Arc<Published> {
        Arc::new(Published::new(exec(pid)))
    }

    fn take(ring: &mut Ring, reader: Reader, limit: usize) -> (Taken, Vec<u32>) {
        let mut batch = VecDeque::new();
        let taken = ring.take(reader, limit, &mut batch);
        (taken, batch.iter().map(|one| one.event.subject().process.pid).collect())
    }

    #[test]
    fn each_reads_all_and_what_all_have_read_goes() {
        let mut ring = Ring::new(10, usize::MAX);
        ring.push(published(0));
        let a = ring.join();
        ring.push(published(1));
        let b = ring.join();
        ring.push(published(2));
        assert_eq!(take(&mut ring, a, 8), (Taken::Events, vec![1, 2]));
        assert_eq!(ring.events.len(), 1);
        assert_eq!(take(&mut ring, b, 8), (Taken::Events, vec![2]));
        assert_eq!((ring.events.len(), ring.bytes), (0, 0));
        assert_eq!(take(&mut ring, a, 8), (Taken::Nothing, vec![]));
        ring.push(published(3));
        ring.leave(a);
        assert_eq!(take(&mut ring, a, 8), (Taken::Nothing, vec![]));
        assert_eq!(take(&mut ring, b, 8), (Taken::Events, vec![3]));
    }

    #[test]
    fn the_slow_lose_the_oldest_and_know_how_many() {
        let mut ring = Ring::new(4, usize::MAX);
        let (slow, quick) = (ring.join(), ring.join());
        let mut seen = vec![];
        for pid in 1..=7 {
            ring.push(published(pid));
            seen.extend(take(&mut ring, quick, 8).1);
        }
        assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(take(&mut ring, slow, 2), (Taken::Lost(3), vec![]));
        assert_eq!(take(&mut ring, slow, 2), (Taken::Events, vec![4, 5]));
        ring.push(published(8));
        assert_eq!(take(&mut ring, slow, 8), (Taken::Events, vec![6, 7, 8]));
    }

    #[test]
    fn large_events_count_by_their_bytes() {
        let weight = published(1).weight;
        let mut ring = Ring::new(1_000, 3 * weight);
        let reader = ring.join();
        (1..=10).for_each(|pid| ring.push(published(pid)));
        assert_eq!((ring.events.len(), ring.bytes), (3, 3 * weight));
        assert_eq!(take(&mut ring, reader, 8), (Taken::Lost(7), vec![]));
        // One that is larger than all the room there is passes alone.
        let mut ring = Ring::new(1_000, 1);
        let reader = ring.join();
        (1..=2).for_each(|pid| ring.push(published(pid)));
        assert_eq!(take(&mut ring, reader, 8), (Taken::Lost(1), vec![]));
        assert_eq!(take(&mut ring, reader, 8), (Taken::Events, vec![2]));
    }

    #[test]
    fn an_event_weighs_all_that_it_holds() {
        use api::event::{Body, Process};
        let long = || "x".repeat(10_000);
        let pod = Pod { labels: [("l".to_owned(), long())].into(), ..Pod::default() };
        let large = |pid| {
            let mut event = exec(pid);
            if let Body::Exec(exec) = &mut event.body {
                let parent = ProcessInfo { arguments: long().into(), ..ProcessInfo::default() };
                exec.parent = Some(Arc::new(Process::new(parent)));
                let pod = Some(Arc::new(pod.clone()));
                exec.process.process = Arc::new(exec.process.process.with(|info| info.pod = pod));
            }
            Published::new(event)
        };
        let published = large(1);
        assert!(published.weight >= 20_000 + published.encoded().0.len(), "{}", published.weight);
        let mut ring = Ring::new(1_000, 100_000);
        ring.join();
        (1..=100).for_each(|pid| ring.push(Arc::new(large(pid))));
        assert_eq!(ring.events.len(), 2);
    }

    #[test]
    fn without_readers_nothing_is_held() {
        let mut ring = Ring::new(4, usize::MAX);
        ring.push(published(1));
        let reader = ring.join();
        ring.push(published(2));
        ring.leave(reader);
        assert_eq!((ring.events.len(), ring.bytes, ring.readers()), (0, 0, 0));
    }
}
