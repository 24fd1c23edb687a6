//! In: work for the loader, from any task. Out: it done, on the one thread that owns the loader, between two looks at the
//! kernel's records.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::engine::Engine;
use crate::session::{Session, SessionError};

/// Longest wait for records, and so for work to begin.
const WAIT: Duration = Duration::from_millis(50);
/// Records read before work is looked for again.
const BATCH: usize = 4096;
/// Work that may wait, and that is done between two looks at the records. Whoever has more waits for room.
const QUEUE: usize = 256;

/// The thread that owns the loader has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the thread that owns the loader has ended; the log says why")]
pub struct NodeGone;

/// The loader, for tasks.
pub trait Node: Send + Sync + 'static {
    /// Does some work with it.
    fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Engine) -> R + Send + 'static,
    ) -> impl Future<Output = Result<R, NodeGone>> + Send;
}

type Work<E> = Box<dyn FnOnce(&mut E) + Send>;

/// The way to a thread that owns a loader.
pub struct NodeHandle<E> {
    work: mpsc::Sender<Work<E>>,
    pulse: Pulse,
}

impl<E> Clone for NodeHandle<E> {
    fn clone(&self) -> Self {
        NodeHandle { work: self.work.clone(), pulse: self.pulse.clone() }
    }
}

/// The thread's side.
pub struct NodeQueue<E> {
    work: mpsc::Receiver<Work<E>>,
    pulse: Pulse,
}

/// When the thread last came round, and whether it is to end.
#[derive(Clone)]
struct Pulse {
    start: Instant,
    millis: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
}

impl Pulse {
    fn beat(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    fn age(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.millis.load(Ordering::Relaxed)))
    }
}

/// A handle and its queue.
pub fn channel<E>() -> (NodeHandle<E>, NodeQueue<E>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let pulse = Pulse { start: Instant::now(), millis: Arc::default(), ends: Arc::default() };
    (NodeHandle { work: sender, pulse: pulse.clone() }, NodeQueue { work: receiver, pulse })
}

impl<E: 'static> NodeHandle<E> {
    /// Does some work with the loader itself, after what was asked before.
    ///
    /// # Errors
    /// Its thread has ended.
    pub async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut E) -> R + Send + 'static,
    ) -> Result<R, NodeGone> {
        let (answer, answered) = oneshot::channel();
        // Whoever asked may have gone meanwhile.
        let work: Work<E> = Box::new(move |engine| drop(answer.send(work(engine))));
        self.work.send(work).await.map_err(|_| NodeGone)?;
        answered.await.map_err(|_| NodeGone)
    }

    /// Ends the thread; work that waits is not done.
    pub fn end(&self) {
        self.pulse.ends.store(true, Ordering::Relaxed);
    }

    /// How long ago the thread last came round.
    pub fn silence(&self) -> Duration {
        self.pulse.age()
    }
}

impl<E: Engine + 'static> Node for NodeHandle<E> {
    async fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Engine) -> R + Send + 'static,
    ) -> Result<R, NodeGone> {
        self.run(move |engine| work(engine)).await
    }
}

impl NodeQueue<Session> {
    /// Reads records and does what is asked, until it is told to end or all handles are gone.
    ///
    /// # Errors
    /// The records cannot be waited for.
    pub fn serve(
        mut self,
        session: &mut Session,
        mut each: impl FnMut(&api::event::Event),
    ) -> Result<(), SessionError> {
        while !self.pulse.ends() {
            self.pulse.beat();
            session.poll(WAIT, BATCH, &mut each)?;
            for _ in 0..QUEUE {
                match self.work.try_recv() {
                    Ok(work) => work(session),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
        }
        Ok(())
    }
}

/// A loader that is used where it is asked for, without a thread: for thousands of them in one process.
#[derive(Debug)]
pub struct Inline<E>(Arc<Mutex<E>>);

impl<E> Inline<E> {
    /// Takes the loader.
    pub fn new(engine: E) -> Inline<E> {
        Inline(Arc::new(Mutex::new(engine)))
    }
}

impl<E> Inline<E> {
    /// Does some work with the loader itself, at once.
    pub fn now<R>(&self, work: impl FnOnce(&mut E) -> R) -> R {
        // A loader whose test has panicked is still one.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<E> Clone for Inline<E> {
    fn clone(&self) -> Self {
        Inline(Arc::clone(&self.0))
    }
}

impl<E: Engine + Send + 'static> Node for Inline<E> {
    async fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Engine) -> R + Send + 'static,
    ) -> Result<R, NodeGone> {
        Ok(self.now(|engine| work(engine)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_waits_for_room_and_only_an_end_is_an_end() {
        let (node, mut queue) = channel::<usize>();
        let asked: Vec<_> = (0..3 * QUEUE)
            .map(|_| {
                let node = node.clone();
                tokio::spawn(async move { node.run(|count| *count += 1).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(asked.iter().all(|asked| !asked.is_finished()));
        let mut count = 0;
        while count < 3 * QUEUE {
            match queue.work.try_recv() {
                Ok(work) => work(&mut count),
                Err(_) => tokio::task::yield_now().await,
            }
        }
        for asked in asked {
            assert_eq!(asked.await.unwrap(), Ok(()));
        }
        drop(queue);
        assert_eq!(node.run(|_| ()).await, Err(NodeGone));
    }
}
