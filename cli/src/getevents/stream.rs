//! In: an agent's socket. Out: its events, on an output.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::time::Duration;

use api::tetragon::fine_guidance_sensors_client::FineGuidanceSensorsClient;
use api::tetragon::{GetEventsRequest, GetEventsResponse, Received};
use futures::StreamExt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};

use crate::output::Output;

/// Messages shown before the output is flushed, if as many are there at once.
const BATCH: usize = 256;
/// How long an agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often to look whether anybody still reads the output while there are no events.
const LOOK: Duration = Duration::from_secs(1);

/// Where an agent listens.
#[derive(Debug)]
pub struct Address {
    endpoint: Endpoint,
    shown: String,
}

/// Why there are no more events.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody listens.
    #[error("no agent answers at {address} ({why})")]
    Unreachable {
        /// Where.
        address: String,
        /// How it failed.
        why: String,
    },
    /// The agent says no, or says nothing any more.
    #[error("the agent says: {}", said(.0))]
    Status(Box<Status>),
    /// The agent ended.
    #[error("the agent ended the stream of events")]
    Ended,
    /// Nobody takes the events.
    #[error("{0}")]
    Output(io::Error),
}

fn said(status: &Status) -> String {
    match status.message() {
        "" => format!("{:?}", status.code()),
        message => message.to_owned(),
    }
}

impl Failure {
    /// Trying again would give the same answer.
    pub fn is_final(&self) -> bool {
        match self {
            Failure::Status(status) => matches!(
                status.code(),
                Code::InvalidArgument | Code::OutOfRange | Code::PermissionDenied | Code::Unimplemented
            ),
            Failure::Output(_) => true,
            Failure::Unreachable { .. } | Failure::Ended => false,
        }
    }
}

impl Address {
    /// Reads `unix:///path`.
    pub fn parse(text: &str) -> Result<Address, String> {
        let wrong = || format!("--server-address {text:?} is not a socket of an agent: use unix:///PATH");
        if !text.strip_prefix("unix://").is_some_and(|path| path.starts_with('/')) {
            return Err(wrong());
        }
        let endpoint = Endpoint::from_shared(text.to_owned()).map_err(|_| wrong())?;
        Ok(Address { endpoint: endpoint.connect_timeout(PATIENCE), shown: text.to_owned() })
    }

    /// Starts a stream of events.
    pub async fn subscribe(
        &self,
        request: &GetEventsRequest,
    ) -> Result<Streaming<GetEventsResponse>, Failure> {
        let unreachable = |why| Failure::Unreachable { address: self.shown.clone(), why };
        let channel = self.endpoint.connect().await.map_err(|error| unreachable(reason(&error)))?;
        let mut client = FineGuidanceSensorsClient::new(channel);
        let answer = tokio::time::timeout(PATIENCE, client.get_events(request.clone())).await;
        let answer = answer.map_err(|_| unreachable(format!("no answer in {} s", PATIENCE.as_secs())))?;
        Ok(answer.map_err(|status| Failure::Status(Box::new(status)))?.into_inner())
    }
}

/// The innermost cause: the outer ones say only that something failed.
fn reason(error: &(dyn Error + 'static)) -> String {
    std::iter::successors(Some(error), |&error| error.source())
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// Shows events until there are no more.
pub async fn show(events: Streaming<GetEventsResponse>, output: &mut Output) -> Failure {
    let mut batches = events.ready_chunks(BATCH);
    let mut look = tokio::time::interval(LOOK);
    let mut not_shown = BTreeSet::new();
    loop {
        tokio::select! {
            batch = batches.next() => {
                let Some(batch) = batch else { return Failure::Ended };
                let ended = batch.into_iter().try_for_each(|message| one(message, &mut not_shown, output));
                if let Err(error) = output.flush() {
                    return Failure::Output(error);
                }
                if let Err(status) = ended {
                    return Failure::Status(Box::new(status));
                }
            }
            _ = look.tick() => {
                if reader_is_gone() {
                    return Failure::Output(io::ErrorKind::BrokenPipe.into());
                }
            }
        }
    }
}

fn one(
    message: Result<GetEventsResponse, Status>,
    not_shown: &mut BTreeSet<&'static str>,
    output: &mut Output,
) -> Result<(), Status> {
    match Received::try_from(message?) {
        Ok(Received::Event(event)) => output.event(&event),
        Ok(Received::Lost(lost)) => {
            eprintln!("ferra: {lost} events are missing here: they come faster than they are read");
        }
        // Once for each reason: there may be many.
        Err(unknown) => {
            if not_shown.insert(unknown.what) {
                eprintln!("ferra: {unknown}; further ones are left out without a word");
            }
        }
    }
    Ok(())
}

/// Whether standard output is a pipe that nobody reads any more: without events, no write would tell.
fn reader_is_gone() -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
        && fds.iter().any(|fd| fd.revents().intersects(PollFlags::ERR))
}
