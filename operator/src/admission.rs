//! In: reviews of policies that someone is about to store, from the API server. Out: refusals that name each field,
//! warnings, or nothing.
//!
//! Guarantees: the same check and compiler as after the policy is stored; what does not change the specification passes
//! at once, also if the policy was bad before; a review takes no longer than the API server waits; room for a review is
//! taken before it is read, [`BODIES_MAX`] for all, and at most [`Judge::PARALLEL`] are decoded and judged at a time. Nothing is written, so a dry run is like any other.

mod judge;
mod render;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use crds::manifest::PolicyKind;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::{debug, info, warn};

use crate::metrics::{Metrics, Verdict};
use crate::model::{AgentNodes, Fleet, Nodes, PolicyVersion};
use crate::watch::version;

pub use judge::{Judgement, judge};

/// Path of the webhook.
pub const PATH: &str = "/validate";
/// Bytes of a review: the API server takes objects of 3 MiB, and an update has two.
pub const BODY_MAX: usize = 8 << 20;
/// Bytes of all reviews that are being read, or wait to be judged.
pub const BODIES_MAX: usize = 4 * BODY_MAX;
/// Room is given in units of so many bytes.
const UNIT: usize = 4 << 10;
/// For a review to arrive, so that who sends nothing does not hold its room for long.
const ARRIVES_WITHIN: Duration = Duration::from_secs(3);
/// For one review of an API server that does not say how long it waits.
pub const TIME_MAX: Duration = Duration::from_secs(8);
/// Longest time that a webhook's `timeoutSeconds` can say.
const WAITS_MAX: f64 = 30.0;

/// Judges policies.
pub struct Judge {
    fleet: watch::Receiver<Arc<Fleet>>,
    nodes: watch::Receiver<Nodes>,
    agents: AgentNodes,
    refuse_partly: bool,
    metrics: Metrics,
    bodies: Arc<Semaphore>,
    room: Arc<Semaphore>,
}

/// A review as it came, and its room.
type Raw = (Bytes, OwnedSemaphorePermit);

impl Judge {
    /// Policies that are compiled at the same time.
    pub const PARALLEL: usize = 2;

    /// By the fleet as it is at the time of each review, which has agents on these nodes. With `refuse_partly`, a policy
    /// that some kernel cannot run is refused.
    pub fn new(
        fleet: watch::Receiver<Arc<Fleet>>,
        nodes: watch::Receiver<Nodes>,
        agents: AgentNodes,
        refuse_partly: bool,
        metrics: Metrics,
    ) -> Arc<Judge> {
        let bodies = Arc::new(Semaphore::new(BODIES_MAX / UNIT));
        let room = Arc::new(Semaphore::new(Self::PARALLEL));
        Arc::new(Judge { fleet, nodes, agents, refuse_partly, metrics, bodies, room })
    }

    /// The webhook.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new().route(PATH, post(review)).with_state(self)
    }

    async fn review(&self, body: Body) -> Result<AdmissionReview<DynamicObject>, Unanswered> {
        let raw = self.read(body).await?;
        let room = self.room.clone().acquire_owned().await.map_err(|_| Unanswered::Broken)?;
        let (fleet, nodes) = (self.fleet.borrow().clone(), self.nodes.borrow().clone());
        let (agents, refuse_partly) = (self.agents.clone(), self.refuse_partly);
        let work = move || {
            // Held until the work is done, also if nobody waits for it any more.
            let _room = room;
            let (bytes, _held) = raw;
            reviewed(&bytes, |version| judge(version, &fleet, &nodes, &agents, refuse_partly))
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Unanswered::Broken)?
    }

    /// Takes room for a review, as much as its sender says that it has or as much as it may have, and reads it.
    async fn read(&self, body: Body) -> Result<Raw, Unanswered> {
        let size = body.size_hint().upper().and_then(|size| usize::try_from(size).ok()).unwrap_or(BODY_MAX);
        if size > BODY_MAX {
            return Err(Unanswered::Unread(format!("{size} bytes are more than {BODY_MAX}")));
        }
        let units =
            u32::try_from(size.div_ceil(UNIT).max(1)).unwrap_or(u32::MAX).min((BODIES_MAX / UNIT) as u32);
        let held = self.bodies.clone().acquire_many_owned(units).await.map_err(|_| Unanswered::Broken)?;
        match tokio::time::timeout(ARRIVES_WITHIN, to_bytes(body, size)).await {
            Ok(Ok(bytes)) => Ok((bytes, held)),
            Ok(Err(error)) => Err(Unanswered::Unread(error.to_string())),
            Err(_) => {
                Err(Unanswered::Unread(format!("it did not arrive within {} s", ARRIVES_WITHIN.as_secs())))
            }
        }
    }
}

/// Decodes a review and answers it.
fn reviewed(
    bytes: &[u8],
    judge: impl Fn(&PolicyVersion) -> Judgement,
) -> Result<AdmissionReview<DynamicObject>, Unanswered> {
    let review: AdmissionReview<DynamicObject> =
        serde_json::from_slice(bytes).map_err(|error| Unanswered::Unread(error.to_string()))?;
    let request: AdmissionRequest<DynamicObject> =
        review.try_into().map_err(|_| Unanswered::Unread("there is no request in it".to_owned()))?;
    let response = AdmissionResponse::from(&request);
    let Some((kind, mut object)) = to_judge(&request) else {
        return Ok(answer(response, Judgement::silent()).into_review());
    };
    // Of a name that is yet to be generated.
    object.metadata.name.get_or_insert_with(|| "generated".to_owned());
    let key = version::key(kind, &object)
        .ok_or_else(|| Unanswered::Unread("the object has no namespace".to_owned()))?;
    let version = version::read(kind, key, &object);
    let judgement = judge(&version);
    match &judgement {
        Judgement::Refused { message } => info!(policy = %version.key, message, "refused"),
        Judgement::Allowed { warnings } => debug!(policy = %version.key, ?warnings, "allowed"),
    }
    Ok(answer(response, judgement).into_review())
}

/// A review without a judgement. The API server then does what the webhook's `failurePolicy` says.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    /// Not a review.
    #[error("reading the review: {0}")]
    Unread(String),
    /// It took too long.
    #[error("the policy could not be judged within {:.1} s; try again", .0.as_secs_f32())]
    Late(Duration),
    /// A defect.
    #[error("the check broke off")]
    Broken,
}

/// For one review: a fifth less than the API server says that it waits (`?timeout=10s`), so that it hears why there is no
/// answer.
fn limit(uri: &Uri) -> Duration {
    let seconds = uri.query().and_then(|query| {
        let waits = query.split('&').find_map(|pair| pair.strip_prefix("timeout="))?;
        waits.strip_suffix('s')?.parse::<f64>().ok()
    });
    let seconds = seconds.filter(|seconds| (0.0..=WAITS_MAX).contains(seconds));
    seconds.map_or(TIME_MAX, |seconds| Duration::from_secs_f64(seconds * 0.8))
}

async fn review(State(judge): State<Arc<Judge>>, uri: Uri, body: Body) -> Response {
    let (started, limit) = (Instant::now(), limit(&uri));
    let answered = tokio::time::timeout(limit, judge.review(body)).await;
    let answered = answered.unwrap_or(Err(Unanswered::Late(limit)));
    let verdict = match &answered {
        Ok(review) => match &review.response {
            Some(response) if !response.allowed => Verdict::Refused,
            Some(response) if response.warnings.is_some() => Verdict::Warned,
            _ => Verdict::Allowed,
        },
        Err(_) => Verdict::Failed,
    };
    judge.metrics.admission(verdict, started.elapsed());
    match answered {
        Ok(review) => Json(review).into_response(),
        Err(error) => {
            warn!(%error, "a review was not answered");
            let code = match error {
                Unanswered::Unread(_) => StatusCode::BAD_REQUEST,
                Unanswered::Late(_) => StatusCode::SERVICE_UNAVAILABLE,
                Unanswered::Broken => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (code, error.to_string()).into_response()
        }
    }
}

/// The policy to judge; `None` if nothing changes by which it could become bad.
fn to_judge(request: &AdmissionRequest<DynamicObject>) -> Option<(PolicyKind, DynamicObject)> {
    let kind = *PolicyKind::ALL.iter().find(|kind| kind.as_str() == request.kind.kind)?;
    let object = request.object.as_ref()?;
    let stored = match request.operation {
        Operation::Create | Operation::Update if request.sub_resource.is_some() => return None,
        Operation::Create => None,
        Operation::Update => request.old_object.as_ref(),
        Operation::Delete | Operation::Connect => return None,
    };
    let same = |old: &DynamicObject| {
        old.data.get("spec") == object.data.get("spec")
            && version::mode_annotation(old) == version::mode_annotation(object)
    };
    if stored.is_some_and(same) || object.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let mut object = object.clone();
    object.metadata.namespace = object.metadata.namespace.or_else(|| request.namespace.clone());
    Some((kind, object))
}

fn answer(response: AdmissionResponse, judgement: Judgement) -> AdmissionResponse {
    match judgement {
        Judgement::Refused { message } => response.deny(message),
        Judgement::Allowed { warnings } => {
            let mut response = response;
            response.warnings = (!warnings.is_empty()).then_some(warnings);
            response
        }
    }
}

#[cfg(test)]
mod tests;
