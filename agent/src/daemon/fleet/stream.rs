//! In: one call, from hello to its end. Out: what the two sides have to say to each other in between.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use api::fleet::{
    AgentBody, AgentMessage, Applied, CHUNK, Counters, Desired, OperatorBody, OperatorMessage, POLICIES_MAX,
    PolicyCounts, ProfileChunk,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::fetch::Fetcher;
use super::{Applying, Caller, Ended, Profile};
use crate::daemon::answer;
use crate::daemon::engine::Reading;
use crate::daemon::node::Node;

/// Longest wait for the operator to take the call, or one message.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages on their way.
const QUEUE: usize = 4;

/// Calls once. A call never ends well.
pub(super) async fn follow<N: Node, P: Profile>(caller: &Caller<N, P>) -> Result<Infallible, Ended> {
    let mut client = caller.operator.dial().await?;
    let (sender, messages) = mpsc::channel(QUEUE);
    let (_alive, alive) = watch::channel(());
    let fetcher = Fetcher::new(client.clone(), alive);
    let mut call = Call { caller, sender, fetcher, applying: None, next: None, asked: false };
    call.send(AgentBody::Hello(caller.hello())).await?;
    let taken = timeout(PATIENCE, client.follow(ReceiverStream::new(messages))).await;
    let mut inbound = taken.map_err(|_| Ended::Late("take the call"))??.into_inner();
    caller.established();
    let first = Instant::now() + caller.counters_every;
    let mut ticks = interval_at(first, caller.counters_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = inbound.message() => call.heard(message?.ok_or(Ended::Closed)?)?,
            answer = done(&mut call.applying) => call.applied(answer?).await?,
            _ = ticks.tick() => call.count().await?,
        }
    }
}

struct Call<'a, N, P> {
    caller: &'a Caller<N, P>,
    sender: mpsc::Sender<AgentMessage>,
    fetcher: Fetcher,
    applying: Option<Applying>,
    /// The newest set that came while one was applied.
    next: Option<Desired>,
    /// The profile was asked for.
    asked: bool,
}

impl<N: Node, P: Profile> Call<'_, N, P> {
    async fn send(&self, body: AgentBody) -> Result<(), Ended> {
        send(&self.sender, body).await
    }

    fn heard(&mut self, message: OperatorMessage) -> Result<(), Ended> {
        match message.body.ok_or(Ended::Nonsense("an empty message"))? {
            OperatorBody::ProfileRequest(_) if self.asked => {
                Err(Ended::Nonsense("a second request for the profile"))
            }
            OperatorBody::ProfileRequest(_) => {
                self.asked = true;
                self.upload();
                Ok(())
            }
            OperatorBody::Desired(desired) => {
                self.next = Some(desired);
                self.begin();
                Ok(())
            }
        }
    }

    /// Applies the newest set, if none is being applied.
    fn begin(&mut self) {
        if self.applying.is_some() {
            return;
        }
        if let Some(desired) = self.next.take() {
            let (applier, fetcher) = (self.caller.applier.clone(), self.fetcher.clone());
            self.applying = Some(tokio::spawn(async move { applier.apply(&desired, &fetcher).await }));
        }
    }

    async fn applied(&mut self, answer: Applied) -> Result<(), Ended> {
        self.applying = None;
        // With a token that is read anew the set comes again, and so do its programs.
        if self.fetcher.is_stranger() {
            return Err(Ended::Stranger);
        }
        self.send(AgentBody::Applied(answer)).await?;
        self.begin();
        Ok(())
    }

    async fn count(&self) -> Result<(), Ended> {
        let reading = self.caller.applier.node().with(|engine| engine.reading()).await;
        match reading.map_err(|gone| Ended::Own(gone.to_string()))? {
            Ok(reading) => self.send(AgentBody::Counters(counters(&reading))).await,
            Err(error) => {
                tracing::warn!("{error}");
                Ok(())
            }
        }
    }

    /// On a task of its own, which ends with the call, as nobody takes its messages then.
    fn upload(&self) {
        let (profile, sender) = (self.caller.profile.clone(), self.sender.clone());
        let read = tokio::task::spawn_blocking(move || profile.encode());
        let digest = self.caller.digest.clone();
        tokio::spawn(async move {
            let profile = match read.await {
                Ok(Ok(profile)) => profile,
                Ok(Err(error)) => return tracing::error!("the kernel's profile could not be read: {error}"),
                Err(error) => return tracing::error!("the kernel's profile could not be read: {error}"),
            };
            if profile.digest != digest.get() {
                tracing::warn!("the kernel has changed since the agent was started");
                digest.set(profile.digest);
            }
            let mut pieces = profile.bytes.chunks(CHUNK).peekable();
            while let Some(piece) = pieces.next() {
                let chunk = ProfileChunk { data: piece.to_vec(), last: pieces.peek().is_none() };
                if send(&sender, AgentBody::Profile(chunk)).await.is_err() {
                    return;
                }
            }
            drop(profile);
            crate::kernel::give_back_memory();
        });
    }
}

async fn send(sender: &mpsc::Sender<AgentMessage>, body: AgentBody) -> Result<(), Ended> {
    let sent = timeout(PATIENCE, sender.send(AgentMessage { body: Some(body) })).await;
    sent.map_err(|_| Ended::Late("take a message"))?.map_err(|_| Ended::Closed)
}

/// Waits for the set that is being applied; for ever if there is none.
async fn done(applying: &mut Option<Applying>) -> Result<Applied, Ended> {
    match applying {
        Some(task) => task.await.map_err(|error| Ended::Own(format!("applying a set failed: {error}"))),
        None => pending().await,
    }
}

fn counters(reading: &Reading) -> Counters {
    let policies = reading.policies.iter().take(POLICIES_MAX).map(|counts| PolicyCounts {
        policy: answer::policy(&counts.policy),
        values: counts.values.to_vec(),
    });
    Counters { policies: policies.collect(), lost: reading.lost(), missed: reading.missed_total() }
}
