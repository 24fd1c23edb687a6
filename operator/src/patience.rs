//! In: calls of the API server. Out: their answers, or an error if none comes: a connection that is half dead tells nobody.
//!
//! Watches are no such calls: they are silent while nothing changes.

use std::time::Duration;

/// For one call.
pub const CALL: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(30) };

/// The answer to a call.
///
/// # Errors
/// Those of the call; or it took longer than [`CALL`].
pub async fn within<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    let late = |_| {
        let problem = format!("the API server has not answered within {CALL:?}");
        Err(kube::Error::Service(problem.into()))
    };
    tokio::time::timeout(CALL, call).await.unwrap_or_else(late)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::task::{Context, Poll};

    use kube::client::Body;
    use tonic::codegen::{Service, http};

    /// Takes every request and says nothing.
    #[derive(Clone)]
    struct Silent;

    impl Service<http::Request<Body>> for Silent {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = std::future::Pending<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Request<Body>) -> Self::Future {
            std::future::pending()
        }
    }

    #[tokio::test]
    async fn an_api_server_that_does_not_answer_is_an_error() {
        let client = kube::Client::new(Silent, "default");
        let labels = crate::lease::Labels::new(client.clone(), "ferragon", "pod");
        let said = labels.step_back().await.unwrap_err().to_string();
        assert!(said.contains("has not answered within 200ms"), "{said}");
        let store = crate::certs::CertStore::new();
        let said =
            crate::certs::Keeper::new(client, "ferragon", store).ensure().await.unwrap_err().to_string();
        assert!(said.contains("reading Secret") && said.contains("within 200ms"), "{said}");
    }
}
