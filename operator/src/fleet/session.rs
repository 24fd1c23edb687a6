//! In: one agent's stream, and mail from the hub. Out: commands to the hub, messages to the agent, and the status with
//! which the stream ends.

use std::sync::Arc;
use std::time::Duration;

use api::fleet::{AgentBody, AgentMessage, OperatorBody, OperatorMessage, ProfileChunk, ProfileRequest};
use api::profile::KernelProfile;
use policy_compiler::Kernel;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use super::ended::Ended;
use super::hub::Hub;
use super::inbound::{self, Allowance, Upload};
use super::kernels::Brought;
use super::limits::Limits;
use super::mail::{Mail, Offer, StreamId};
use crate::model::{KernelDigest, NodeName};

/// What leaves, in order.
pub type Outbound = mpsc::Sender<Result<OperatorMessage, Status>>;

/// What all sessions share.
#[derive(Debug)]
pub struct Shared {
    /// Who knows everything.
    pub hub: Hub,
    /// Bounds.
    pub limits: Limits,
    /// One profile is parsed at a time: it takes up to 100 MB.
    pub parsing: Arc<Semaphore>,
    /// This replica stops serving.
    pub stop: CancellationToken,
}

enum Happened {
    Mail(Mail),
    Room(OwnedPermit<Result<OperatorMessage, Status>>),
    Message(AgentBody),
}

/// One stream, from its first message to its end.
pub struct Session {
    node: NodeName,
    stream: StreamId,
    shared: Arc<Shared>,
    inbound: Streaming<AgentMessage>,
    outbound: Outbound,
    kernel: KernelDigest,
    /// Asked for and not complete yet; until then.
    upload: Option<(Upload, Instant)>,
    asked: bool,
    /// To be sent; until then.
    ask: bool,
    offer: Option<Offer>,
    unsent_until: Option<Instant>,
    /// When the token is to be looked at again.
    ends: Instant,
    /// Of the newest offer that was sent or is to be.
    sent_generation: Option<u64>,
}

impl Session {
    /// A stream of an authenticated agent.
    pub fn new(
        node: NodeName,
        shared: Arc<Shared>,
        inbound: Streaming<AgentMessage>,
        outbound: Outbound,
    ) -> Session {
        let stream = StreamId::next();
        let ends = Instant::now() + life(&node, stream, shared.limits.stream_life);
        Session {
            node,
            stream,
            ends,
            shared,
            inbound,
            outbound,
            kernel: KernelDigest([0; 32]),
            upload: None,
            asked: false,
            ask: false,
            offer: None,
            sent_generation: None,
            unsent_until: None,
        }
    }

    /// Serves the stream.
    pub async fn run(mut self) {
        let Err(ended) = self.follow().await;
        self.shared.hub.left(self.node.clone(), self.stream, ended == Ended::Renewal).await;
        match &ended {
            Ended::Closed(_) | Ended::NotLeader | Ended::Renewal | Ended::Replaced => {
                tracing::debug!(node = &*self.node, reason = %ended, "agent's stream has ended");
            }
            _ => tracing::warn!(node = &*self.node, reason = %ended, "ending an agent's stream"),
        }
        // A reader that takes nothing does not get to know why.
        let _ = timeout(Duration::from_secs(1), self.outbound.send(Err(ended.into()))).await;
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, Ended> {
        let mut mail = self.greet().await?;
        let mut allowance = Allowance::new(self.shared.limits.messages, std::time::Instant::now());
        loop {
            let deadline = [self.upload.as_ref().map(|(_, until)| *until), self.unsent_until];
            let deadline = deadline.into_iter().flatten().min();
            let happened = tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => return Err(Ended::NotLeader),
                () = self.outbound.closed() => return Err(closed()),
                () = sleep_until(self.ends) => return Err(Ended::Renewal),
                changed = mail.changed() => {
                    changed.map_err(|_| Ended::NotLeader)?;
                    Happened::Mail(mail.borrow_and_update().clone())
                }
                permit = self.outbound.clone().reserve_owned(), if self.ask || self.offer.is_some() => {
                    Happened::Room(permit.map_err(|_| closed())?)
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    return Err(Ended::TooLate(if self.upload.is_some() { "kernel profile" } else { "reader" }));
                }
                message = self.inbound.message() => Happened::Message(body(message)?),
            };
            match happened {
                Happened::Mail(news) => self.read(news)?,
                Happened::Room(permit) => {
                    allowance.give();
                    self.send(permit);
                }
                Happened::Message(body) => {
                    if !matches!(body, AgentBody::Profile(_)) {
                        allowance.take(std::time::Instant::now())?;
                    }
                    self.take(body).await?;
                }
            }
        }
    }

    /// The profile's request first.
    fn send(&mut self, permit: OwnedPermit<Result<OperatorMessage, Status>>) {
        let body = if std::mem::take(&mut self.ask) {
            Some(OperatorBody::ProfileRequest(ProfileRequest {}))
        } else {
            self.offer.take().map(|offer| OperatorBody::Desired(offer.set.desired(offer.generation)))
        };
        if !self.ask && self.offer.is_none() {
            self.unsent_until = None;
        }
        permit.send(Ok(OperatorMessage { body }));
    }

    async fn greet(&mut self) -> Result<watch::Receiver<Mail>, Ended> {
        let first = timeout(self.shared.limits.greet_within, self.inbound.message());
        let first = tokio::select! {
            first = first => first.map_err(|_| Ended::TooLate("Hello"))?,
            () = self.shared.stop.cancelled() => return Err(Ended::NotLeader),
        };
        let greeting = match body(first)? {
            AgentBody::Hello(hello) => inbound::hello(hello)?,
            other => return Err(Ended::OutOfOrder(inbound::name(&other))),
        };
        self.kernel = greeting.kernel;
        let (mailbox, mail) = watch::channel(Mail::default());
        self.shared.hub.hello(self.node.clone(), self.stream, mailbox, greeting).await?;
        Ok(mail)
    }

    fn read(&mut self, news: Mail) -> Result<(), Ended> {
        if let Some(end) = news.end {
            return Err(end);
        }
        let unsent = Instant::now() + self.shared.limits.send_within;
        if news.ask && !self.asked {
            (self.asked, self.ask) = (true, true);
            self.upload = Some((Upload::default(), Instant::now() + self.shared.limits.upload_within));
            self.unsent_until.get_or_insert(unsent);
        }
        if let Some(offer) = news.offer {
            // A change of the mailbox that is not about the offer shows it again.
            let sent = self.sent_generation.replace(offer.generation);
            if sent != Some(offer.generation) {
                self.offer = Some(offer);
                self.unsent_until.get_or_insert(unsent);
            }
        }
        Ok(())
    }

    async fn take(&mut self, body: AgentBody) -> Result<(), Ended> {
        match body {
            AgentBody::Hello(_) => Err(Ended::OutOfOrder("a second Hello")),
            AgentBody::Profile(chunk) => self.take_chunk(&chunk).await,
            AgentBody::Applied(applied) => {
                inbound::applied(&applied)?;
                self.shared.hub.applied(self.node.clone(), self.stream, applied).await
            }
            AgentBody::Counters(counters) => {
                inbound::counters(&counters)?;
                self.shared.hub.counters(self.node.clone(), self.stream, counters).await
            }
        }
    }

    async fn take_chunk(&mut self, chunk: &ProfileChunk) -> Result<(), Ended> {
        let Some((upload, _)) = &mut self.upload else { return Err(Ended::OutOfOrder("ProfileChunk")) };
        let Some(bytes) = upload.take(chunk)? else { return Ok(()) };
        self.upload = None;
        let brought = Brought { by: self.node.clone(), bytes: bytes.len() };
        let kernel = tokio::select! {
            kernel = parse(self.shared.parsing.clone(), bytes, self.kernel) => kernel?,
            () = self.shared.stop.cancelled() => return Err(Ended::NotLeader),
        };
        tracing::info!(node = &*self.node, release = kernel.release(), "a new kernel in the fleet");
        self.shared.hub.profile(self.kernel, Arc::new(kernel), brought).await
    }
}

/// Different for each stream: agents that came together do not come again together.
fn life(node: &NodeName, stream: StreamId, least: Duration) -> Duration {
    let hash = Sha256::digest(format!("{node} {stream:?}"));
    let share = hash.first().copied().unwrap_or(0);
    least + (least / 2).mul_f64(f64::from(share) / 255.0)
}

fn closed() -> Ended {
    Ended::Closed("its connection is gone".to_owned())
}

fn body(message: Result<Option<AgentMessage>, Status>) -> Result<AgentBody, Ended> {
    match message {
        Ok(Some(message)) => message.body.ok_or_else(|| Ended::invalid("AgentMessage", "it is empty")),
        Ok(None) => Err(Ended::Closed("it has nothing more to say".to_owned())),
        Err(status) => Err(match status.code() {
            Code::InvalidArgument | Code::ResourceExhausted | Code::OutOfRange => {
                Ended::invalid("AgentMessage", status.message())
            }
            _ => Ended::Closed(status.message().to_owned()),
        }),
    }
}

/// Verifies and parses a profile, off the threads that serve streams.
async fn parse(parsing: Arc<Semaphore>, bytes: Vec<u8>, digest: KernelDigest) -> Result<Kernel, Ended> {
    let permit = parsing.acquire_owned().await.map_err(|_| Ended::NotLeader)?;
    let parsed = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        if Sha256::digest(&bytes)[..] != digest.0 {
            return Err(Ended::invalid("the kernel profile", "its SHA-256 is not the digest of the hello"));
        }
        let profile = KernelProfile::decode_bounded(&bytes);
        drop(bytes);
        let profile = profile.map_err(|error| Ended::invalid("the kernel profile", error))?;
        Kernel::new(profile).map_err(|error| Ended::invalid("the kernel profile's BTF", error))
    });
    parsed.await.map_err(|_| {
        Ended::invalid("the kernel profile", "parsing it failed; this is a bug, please report it")
    })?
}
