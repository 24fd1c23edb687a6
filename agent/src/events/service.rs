//! In: requests of those who watch, and their subscriptions. Out: the gRPC service on the socket.

use std::future::Future;
use std::pin::Pin;
use std::time::{SystemTime, UNIX_EPOCH};

use api::event::Timestamp;
use api::filter::Selection;
use api::tetragon::fine_guidance_sensors_server::{FineGuidanceSensors, FineGuidanceSensorsServer};
use api::tetragon::{
    EncodedEvent, GetEventsRequest, GetHealthStatusRequest, GetHealthStatusResponse, GetVersionRequest,
    GetVersionResponse, HealthStatus, HealthStatusResult, HealthStatusType, REQUEST_MAX, loss,
};
use futures::stream::{self, Stream};
use prost::Message;
use tokio::net::UnixListener;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::hub::{Hub, Step, Subscription};
use super::{SUBSCRIBERS_MAX, socket};

/// Streams of one connection: a client has one or two.
const STREAMS_MAX: u32 = 16;

/// The server stopped before it was asked to.
#[derive(Debug, thiserror::Error)]
#[error("the event socket is not served any more: {0}")]
pub struct ServeError(#[from] tonic::transport::Error);

/// Serves the events of `hub` on `listener` until `stop`; then closes the hub, so that all streams end.
///
/// # Errors
/// Connections can no longer be accepted.
pub async fn serve(
    hub: Hub,
    listener: UnixListener,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let service =
        FineGuidanceSensorsServer::new(Events { hub: hub.clone() }).max_decoding_message_size(REQUEST_MAX);
    let stop = async move {
        stop.await;
        hub.close();
    };
    Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .serve_with_incoming_shutdown(service, socket::connections(listener), stop)
        .await?;
    Ok(())
}

struct Events {
    hub: Hub,
}

#[tonic::async_trait]
impl FineGuidanceSensors for Events {
    type GetEventsStream = Pin<Box<dyn Stream<Item = Result<EncodedEvent, Status>> + Send>>;

    async fn get_events(
        &self,
        request: Request<GetEventsRequest>,
    ) -> Result<Response<Self::GetEventsStream>, Status> {
        let selection = Selection::compile(request.get_ref())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let subscription = self.hub.subscribe().ok_or_else(|| {
            Status::resource_exhausted(format!("{SUBSCRIBERS_MAX} clients watch events already: end one"))
        })?;
        let watcher = Watcher { subscription, selection };
        let events =
            stream::unfold(watcher, |mut watcher| async { Some((Ok(watcher.next().await?), watcher)) });
        Ok(Response::new(Box::pin(events)))
    }

    async fn get_health(
        &self,
        request: Request<GetHealthStatusRequest>,
    ) -> Result<Response<GetHealthStatusResponse>, Status> {
        let asked = &request.get_ref().event_set;
        let running = HealthStatus {
            event: HealthStatusType::Status.into(),
            status: HealthStatusResult::Running.into(),
            details: "running".to_owned(),
        };
        let wanted = asked.is_empty() || asked.contains(&running.event);
        let health_status = if wanted { vec![running] } else { Vec::new() };
        Ok(Response::new(GetHealthStatusResponse { health_status }))
    }

    async fn get_version(
        &self,
        _: Request<GetVersionRequest>,
    ) -> Result<Response<GetVersionResponse>, Status> {
        Ok(Response::new(GetVersionResponse { version: env!("CARGO_PKG_VERSION").to_owned() }))
    }
}

/// A subscriber with what it wants.
struct Watcher {
    subscription: Subscription,
    selection: Selection,
}

impl Watcher {
    /// The next event that it wants, or the news that some are missing.
    async fn next(&mut self) -> Option<EncodedEvent> {
        loop {
            match self.subscription.next().await? {
                Step::Event(event) if self.selection.accepts(&event.event) => {
                    self.subscription.hub().count_sent();
                    return Some(event.encoded().clone());
                }
                Step::Event(_) => {}
                Step::Lost(lost) => {
                    tracing::warn!(lost, "a client reads events slower than they come: it has missed some");
                    let node_name = self.subscription.hub().node_name();
                    let message = loss(lost, node_name, now());
                    return Some(EncodedEvent(message.encode_to_vec().into()));
                }
            }
        }
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
