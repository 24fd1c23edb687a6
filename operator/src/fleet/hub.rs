//! In: commands of sessions, policies, nodes, and compiled sets. Out: the [`World`] kept up to date, in one task, and the
//! fleet published at a bounded rate.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use api::artefact::ArtefactDigest;
use api::fleet::{Applied, Counters};
use policy_compiler::Kernel;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::compile::{CompiledSet, Program, SetKey, compile_set};
use super::ended::Ended;
use super::kernels::Brought;
use super::limits::Limits;
use super::mail::{Mail, StreamId};
use super::node::{Greeting, Now};
use super::world::World;
use crate::model::{Fleet, KernelDigest, NodeName, Nodes, Policies};

/// Commands that wait; sessions wait when there are more, and their agents with them.
const QUEUE: usize = 1024;
/// Commands that are worked off before anything else is looked at.
const BATCH: usize = 256;

type Reply<T> = oneshot::Sender<Result<T, Ended>>;
type Artefact = (Arc<Program>, OwnedSemaphorePermit);

#[derive(Debug)]
enum Command {
    Hello {
        node: NodeName,
        stream: StreamId,
        mailbox: watch::Sender<Mail>,
        greeting: Greeting,
        reply: Reply<()>,
    },
    Profile {
        digest: KernelDigest,
        kernel: Arc<Kernel>,
        brought: Brought,
    },
    Applied {
        node: NodeName,
        stream: StreamId,
        applied: Applied,
        reply: Reply<()>,
    },
    Counters {
        node: NodeName,
        stream: StreamId,
        counters: Counters,
        reply: Reply<()>,
    },
    Left {
        node: NodeName,
        stream: StreamId,
        renews: bool,
    },
    Fetch {
        node: NodeName,
        digest: ArtefactDigest,
        reply: Reply<Artefact>,
    },
}

/// What sessions call.
#[derive(Debug, Clone)]
pub struct Hub(mpsc::Sender<Command>);

impl Hub {
    /// A hub, and what [`run`] works off.
    pub fn new() -> (Hub, Commands) {
        let (commands, receiver) = mpsc::channel(QUEUE);
        (Hub(commands), Commands(receiver))
    }

    async fn call<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Ended> {
        let (reply, answer) = oneshot::channel();
        self.0.send(command(reply)).await.map_err(|_| Ended::NotLeader)?;
        answer.await.map_err(|_| Ended::NotLeader)?
    }

    /// See [`World::hello`].
    pub async fn hello(
        &self,
        node: NodeName,
        stream: StreamId,
        mailbox: watch::Sender<Mail>,
        greeting: Greeting,
    ) -> Result<(), Ended> {
        self.call(|reply| Command::Hello { node, stream, mailbox, greeting, reply }).await
    }

    /// See [`World::learn`].
    pub async fn profile(
        &self,
        digest: KernelDigest,
        kernel: Arc<Kernel>,
        brought: Brought,
    ) -> Result<(), Ended> {
        self.0.send(Command::Profile { digest, kernel, brought }).await.map_err(|_| Ended::NotLeader)
    }

    /// See [`World::applied`].
    pub async fn applied(&self, node: NodeName, stream: StreamId, applied: Applied) -> Result<(), Ended> {
        self.call(|reply| Command::Applied { node, stream, applied, reply }).await
    }

    /// See [`World::count`].
    pub async fn counters(&self, node: NodeName, stream: StreamId, counters: Counters) -> Result<(), Ended> {
        self.call(|reply| Command::Counters { node, stream, counters, reply }).await
    }

    /// See [`World::left`].
    pub async fn left(&self, node: NodeName, stream: StreamId, renews: bool) {
        // Without a hub there is nobody who could want to know.
        let _ = self.0.send(Command::Left { node, stream, renews }).await;
    }

    /// See [`World::fetch`].
    pub async fn fetch(&self, node: NodeName, digest: ArtefactDigest) -> Result<Artefact, Ended> {
        self.call(|reply| Command::Fetch { node, digest, reply }).await
    }
}

/// Commands to work off.
#[derive(Debug)]
pub struct Commands(mpsc::Receiver<Command>);

/// Other inputs, and the output.
#[derive(Debug)]
pub struct Channels {
    /// All policies.
    pub policies: watch::Receiver<Policies>,
    /// All nodes.
    pub nodes: watch::Receiver<Nodes>,
    /// What is known.
    pub fleet: watch::Sender<Arc<Fleet>>,
}

/// Runs until told to stop, or until an input ends.
pub async fn run(mut commands: Commands, mut channels: Channels, limits: Limits, stop: CancellationToken) {
    let policies = channels.policies.borrow_and_update().clone();
    let nodes = channels.nodes.borrow_and_update().clone();
    let mut world = World::new(limits.clone(), policies, nodes);
    let mut jobs: JoinSet<Result<CompiledSet, SetKey>> = JoinSet::new();
    let mut ticks = interval(limits.publish_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut gathered: Option<tokio::time::Instant> = None;
    loop {
        while let Some(job) = world.start_compilation() {
            jobs.spawn(async move {
                let key = job.key;
                let work = move || compile_set(key, &job.kernel, &job.selection);
                tokio::task::spawn_blocking(work).await.map_err(|_| key)
            });
        }
        tokio::select! {
            () = stop.cancelled() => break,
            Some(done) = jobs.join_next() => match done {
                Ok(Ok(set)) => world.compiled(set, now()),
                Ok(Err(key)) => world.compilation_failed(key, now()),
                Err(error) => tracing::error!(%error, "a compilation was lost"),
            },
            changed = channels.policies.changed() => match changed {
                Ok(()) => drop(gathered.get_or_insert(tokio::time::Instant::now() + limits.gather)),
                Err(_) => break,
            },
            changed = channels.nodes.changed() => match changed {
                Ok(()) => world.set_labels(channels.nodes.borrow_and_update().clone(), now()),
                Err(_) => break,
            },
            () = sleep_until(gathered.unwrap_or_else(tokio::time::Instant::now)), if gathered.is_some() => {
                gathered = None;
                world.set_policies(channels.policies.borrow_and_update().clone(), now());
            }
            _ = ticks.tick() => {
                world.tick(now());
                if let Some(fleet) = world.publish() {
                    channels.fleet.send_replace(Arc::new(fleet));
                }
            }
            command = commands.0.recv() => {
                let Some(command) = command else { break };
                obey(&mut world, command);
                for _ in 1..BATCH {
                    let Ok(command) = commands.0.try_recv() else { break };
                    obey(&mut world, command);
                }
            }
        }
    }
}

fn obey(world: &mut World, command: Command) {
    // Whoever does not wait for its answer any more has ended.
    match command {
        Command::Hello { node, stream, mailbox, greeting, reply } => {
            let _ = reply.send(world.hello(&node, stream, mailbox, greeting, now()));
        }
        Command::Profile { digest, kernel, brought } => world.learn(digest, kernel, brought, now()),
        Command::Applied { node, stream, applied, reply } => {
            let _ = reply.send(world.applied(&node, stream, &applied, now()));
        }
        Command::Counters { node, stream, counters, reply } => {
            let _ = reply.send(world.count(&node, stream, &counters));
        }
        Command::Left { node, stream, renews } => world.left(&node, stream, renews, now()),
        Command::Fetch { node, digest, reply } => {
            let _ = reply.send(world.fetch(&node, &digest));
        }
    }
}

fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { instant: Instant::now(), unix_ms: u64::try_from(since.as_millis()).unwrap_or(0) }
}
