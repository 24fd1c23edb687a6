//! In: calls of authenticated agents. Out: a session for each stream, and the bytes of artefacts.

use std::pin::Pin;
use std::sync::Arc;

use api::artefact::ArtefactDigest;
use api::fleet::fleet_server::Fleet;
use api::fleet::{AgentMessage, FetchReply, FetchRequest, OperatorMessage};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::ended::Ended;
use super::gate::Caller;
use super::limits::FETCH_CHUNK;
use super::session::{Session, Shared};

/// The fleet's service.
#[derive(Debug)]
pub struct Service(pub Arc<Shared>);

#[tonic::async_trait]
impl Fleet for Service {
    type FollowStream = ReceiverStream<Result<OperatorMessage, Status>>;
    type FetchStream = Pin<Box<dyn Stream<Item = Result<FetchReply, Status>> + Send>>;

    async fn follow(
        &self,
        mut request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let Caller(node) = caller(&mut request)?;
        // One message waits; the newest of the others stays in the mailbox.
        let (outbound, replies) = mpsc::channel(1);
        tokio::spawn(Session::new(node, self.0.clone(), request.into_inner(), outbound).run());
        Ok(Response::new(ReceiverStream::new(replies)))
    }

    async fn fetch(&self, mut request: Request<FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        let Caller(node) = caller(&mut request)?;
        let digest = request.into_inner().digest.try_into();
        let digest =
            digest.map_err(|_| Ended::invalid("FetchRequest.digest", "it does not have 32 bytes"))?;
        let (program, permit) = self.0.hub.fetch(node, ArtefactDigest(digest)).await?;
        // Chunks are made when there is room for them. The permit is held as long as the stream.
        let chunks = tokio_stream::iter(0..program.bytes.len().div_ceil(FETCH_CHUNK));
        let chunk = move |index: usize| {
            let _held = &permit;
            let start = index * FETCH_CHUNK;
            let end = (start + FETCH_CHUNK).min(program.bytes.len());
            Ok(FetchReply { data: program.bytes.get(start..end).unwrap_or_default().to_vec() })
        };
        Ok(Response::new(Box::pin(tokio_stream::StreamExt::map(chunks, chunk))))
    }
}

/// Who calls; the gate has put it there.
fn caller<T>(request: &mut Request<T>) -> Result<Caller, Status> {
    request
        .extensions_mut()
        .remove()
        .ok_or_else(|| Status::unauthenticated("nobody has authenticated this call"))
}
