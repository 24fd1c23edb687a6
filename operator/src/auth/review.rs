//! In: tokens. Out: what the API server's TokenReview says of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::{Api, PostParams};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::remembered::{Remembered, TokenDigest};
use super::{AuthError, Authenticator, claims};
use crate::model::NodeName;

/// Where the kubelet's token request puts the node (Kubernetes 1.30).
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// Reviews at a time; the others wait.
const AT_ONCE: usize = 32;
/// For one review, waiting included.
const WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a reason that the API server gives.
pub(super) const REASON_MAX: usize = 512;

/// Authenticates by TokenReview.
pub struct TokenReviews {
    api: Api<TokenReview>,
    audience: String,
    /// `system:serviceaccount:NAMESPACE:NAME`.
    username: String,
    remembered: Mutex<Remembered>,
    at_once: Arc<Semaphore>,
}

impl TokenReviews {
    /// Knows the agents of this ServiceAccount by their tokens for this audience.
    pub fn new(client: kube::Client, audience: &str, namespace: &str, service_account: &str) -> TokenReviews {
        TokenReviews {
            api: Api::all(client),
            audience: audience.to_owned(),
            username: format!("system:serviceaccount:{namespace}:{service_account}"),
            remembered: Mutex::default(),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, token: &str) -> Result<NodeName, AuthError> {
        let unreachable = |problem: &dyn std::fmt::Display| AuthError::Unreachable(cut(problem.to_string()));
        let _permit = self.at_once.acquire().await.map_err(|problem| unreachable(&problem))?;
        let spec = TokenReviewSpec { audiences: Some(vec![self.audience.clone()]), token: token.to_owned() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer = self.api.create(&PostParams::default(), &review).await;
        let status = answer.map_err(|problem| unreachable(&problem))?.status;
        self.judge(status.ok_or_else(|| unreachable(&"the answer has no status"))?)
    }

    fn judge(&self, status: TokenReviewStatus) -> Result<NodeName, AuthError> {
        if status.authenticated != Some(true) {
            let reason = status.error.unwrap_or_else(|| "it is not valid for this cluster".to_owned());
            return Err(AuthError::Refused(cut(reason)));
        }
        // An authenticator that does not know audiences says none: the token may then be for anyone.
        if !status.audiences.iter().flatten().any(|audience| *audience == self.audience) {
            return Err(AuthError::Refused(format!("it is not for the audience `{}`", self.audience)));
        }
        let user = status.user.unwrap_or_default();
        let username = user.username.unwrap_or_default();
        if username != self.username {
            return Err(AuthError::NotAnAgent(cut(username)));
        }
        let mut names = user.extra.unwrap_or_default().remove(NODE_NAME).unwrap_or_default().into_iter();
        match (names.next(), names.next()) {
            (Some(name), None) if !name.is_empty() => Ok(name.into()),
            _ => Err(AuthError::NoNode),
        }
    }
}

impl Authenticator for TokenReviews {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<NodeName, AuthError>> {
        Box::pin(async move {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            claims::check(token, &self.audience, &self.username, now.as_secs())?;
            let digest = TokenDigest::of(token);
            let known = self.remembered().get(&digest, Instant::now());
            if let Some(answer) = known {
                return answer;
            }
            let answer = match timeout(WITHIN, self.ask(token)).await {
                Ok(answer) => answer,
                Err(_) => Err(AuthError::Unreachable(format!("no answer within {} s", WITHIN.as_secs()))),
            };
            self.remembered().put(digest, &answer, Instant::now());
            answer
        })
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(REASON_MAX));
    text
}
