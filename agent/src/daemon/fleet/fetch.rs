//! In: a digest. Out: the bytes that the operator gives for it, within bounds of size and time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::artefact::ArtefactDigest;
use api::fleet::{ARTEFACT_MAX, FetchRequest, Refusal};
use tokio::sync::watch;

use crate::daemon::answer::Refused;
use crate::daemon::applier::Fetch;
use crate::daemon::dial::Client;

/// Longest wait for the next piece.
const PIECE: Duration = Duration::from_secs(60);

/// Fetches over the connection of a call.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: Client,
    stranger: Arc<AtomicBool>,
    /// Its sender is dropped when the call ends.
    call: watch::Receiver<()>,
}

impl Fetcher {
    /// For the call that has the sender of `call`.
    pub fn new(client: Client, call: watch::Receiver<()>) -> Fetcher {
        Fetcher { client, stranger: Arc::default(), call }
    }

    /// Whether the operator has not known this agent any more: nothing is given on this connection.
    pub fn is_stranger(&self) -> bool {
        self.stranger.load(Ordering::Relaxed)
    }
}

impl Fetch for Fetcher {
    async fn fetch(&self, digest: ArtefactDigest) -> Result<Vec<u8>, Refused> {
        let mut call = self.call.clone();
        tokio::select! {
            fetched = self.fetch_all(digest) => fetched,
            // Nothing is ever sent: its sender has gone.
            _ = call.changed() => {
                let text = format!("the program {digest} was not fetched: the call to the operator has ended");
                Err(Refused::new(Refusal::Unfetched, text))
            }
        }
    }
}

impl Fetcher {
    async fn fetch_all(&self, digest: ArtefactDigest) -> Result<Vec<u8>, Refused> {
        let failed = |why: String| {
            let text = format!("the program {digest} could not be fetched: {why}");
            Refused::new(Refusal::Unfetched, text)
        };
        let late = |_| failed("no answer".to_owned());
        let status = |status: tonic::Status| {
            if status.code() == tonic::Code::Unauthenticated {
                self.stranger.store(true, Ordering::Relaxed);
            }
            failed(format!("{} ({})", status.message(), status.code()))
        };
        let request = FetchRequest { digest: digest.0.to_vec() };
        let mut client = self.client.clone();
        let reply = tokio::time::timeout(PIECE, client.fetch(request)).await.map_err(late)?;
        let mut pieces = reply.map_err(status)?.into_inner();
        let mut bytes = Vec::new();
        loop {
            let piece = tokio::time::timeout(PIECE, pieces.message()).await.map_err(late)?;
            let Some(piece) = piece.map_err(status)? else { return Ok(bytes) };
            if piece.data.is_empty() {
                return Err(failed("it came in empty pieces".to_owned()));
            }
            if bytes.len() + piece.data.len() > ARTEFACT_MAX {
                let text = format!("the program {digest} has more than {ARTEFACT_MAX} bytes");
                return Err(Refused::new(Refusal::BadArtefact, text));
            }
            bytes.extend_from_slice(&piece.data);
        }
    }
}
