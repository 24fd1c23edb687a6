//! In: calls as they arrive. Out: those of agents, with the name of their node; nothing of a call's body is read before.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

use crate::auth::{Authenticator, bearer};
use crate::model::NodeName;

/// The node whose agent calls.
#[derive(Debug, Clone)]
pub struct Caller(pub NodeName);

/// Lets agents through to a service.
#[derive(Clone)]
pub struct Gate<S> {
    inner: S,
    authenticator: Arc<dyn Authenticator>,
}

impl<S> Gate<S> {
    /// A gate in front of a service.
    pub fn new(inner: S, authenticator: Arc<dyn Authenticator>) -> Gate<S> {
        Gate { inner, authenticator }
    }
}

impl<S> Service<http::Request<Body>> for Gate<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        // The one that is ready is used; its clone takes its place.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let authenticator = self.authenticator.clone();
        Box::pin(async move {
            let node = match bearer(request.headers()) {
                Ok(token) => authenticator.authenticate(token).await,
                Err(error) => Err(error),
            };
            match node {
                Ok(node) => {
                    request.extensions_mut().insert(Caller(node));
                    inner.call(request).await
                }
                Err(error) => {
                    tracing::warn!(%error, "refusing a call");
                    Ok(tonic::Status::from(error).into_http())
                }
            }
        })
    }
}

impl<S: NamedService> NamedService for Gate<S> {
    const NAME: &'static str = S::NAME;
}
