//! In: the token that an agent calls with. Out: the node that it speaks for, as the API server says.
//!
//! The API server verifies signature, expiry, audience, and that the pod and the ServiceAccount still exist; the node is
//! bound into the token when the kubelet asks for it, so an agent cannot speak for another node.
//!
//! Each call is looked at when it begins. What the API server says is remembered for up to a minute: so long can a token
//! that was revoked begin calls. A stream that is open is ended after 30 to 45 minutes
//! ([`Limits::stream_life`](crate::fleet::Limits::stream_life)), and at once if its node is deleted: so long does a
//! stream outlive its token at most.

mod claims;
mod remembered;
mod review;

use futures::future::BoxFuture;
use tonic::codegen::http::{HeaderMap, header};
use tonic::{Code, Status};

use crate::model::NodeName;

pub use review::TokenReviews;

/// Bytes of a token. Those of ServiceAccounts have some 1,100; much longer ones are not worth a review.
pub const TOKEN_MAX: usize = 16 << 10;

/// Who knows agents.
pub trait Authenticator: Send + Sync + 'static {
    /// The node of the agent with this token.
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<NodeName, AuthError>>;
}

/// Why a caller is no agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Nothing to tell who it is.
    #[error("no bearer token in the `authorization` metadata")]
    NoToken,
    /// Longer than any token is, or with characters that none has.
    #[error("the bearer token is malformed")]
    Malformed,
    /// The API server does not accept it: expired, revoked, for another audience, or not its own.
    #[error("the API server does not accept the token: {0}")]
    Refused(String),
    /// A token of someone else.
    #[error("`{0}` may not speak for a node: only the agents' ServiceAccount may")]
    NotAnAgent(String),
    /// A token that no kubelet asked for.
    #[error("the token is bound to no node: it must be projected into a pod, on Kubernetes 1.30 or later")]
    NoNode,
    /// Nothing is known of the token.
    #[error("asking the API server about the token: {0}; try again")]
    Unreachable(String),
}

impl From<AuthError> for Status {
    fn from(error: AuthError) -> Status {
        let code = match &error {
            AuthError::NoToken | AuthError::Malformed | AuthError::Refused(_) | AuthError::NoNode => {
                Code::Unauthenticated
            }
            AuthError::NotAnAgent(_) => Code::PermissionDenied,
            AuthError::Unreachable(_) => Code::Unavailable,
        };
        Status::new(code, error.to_string())
    }
}

/// The token of a call.
///
/// # Errors
/// There is none, or it cannot be one.
pub fn bearer(headers: &HeaderMap) -> Result<&str, AuthError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(AuthError::NoToken)?;
    if values.next().is_some() {
        return Err(AuthError::Malformed);
    }
    let value = value.to_str().map_err(|_| AuthError::Malformed)?;
    let (scheme, token) = value.split_once(' ').ok_or(AuthError::NoToken)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(AuthError::NoToken);
    }
    let token = token.trim();
    let plain = |byte: u8| byte.is_ascii_graphic();
    if token.is_empty() || token.len() > TOKEN_MAX || !token.bytes().all(plain) {
        return Err(AuthError::Malformed);
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::codegen::http::HeaderValue;

    fn with(value: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        headers
    }

    #[test]
    fn auth_only_one_bearer_token_is_taken() {
        assert_eq!(bearer(&HeaderMap::new()), Err(AuthError::NoToken));
        assert_eq!(bearer(&with(b"Basic eDp5")), Err(AuthError::NoToken));
        assert_eq!(bearer(&with(b"Bearer")), Err(AuthError::NoToken));
        assert_eq!(bearer(&with(b"Bearer ")), Err(AuthError::Malformed));
        assert_eq!(bearer(&with(b"Bearer a b")), Err(AuthError::Malformed));
        assert_eq!(bearer(&with(b"Bearer \xc3\xa4")), Err(AuthError::Malformed));
        assert_eq!(
            bearer(&with(format!("Bearer {}", "a".repeat(TOKEN_MAX + 1)).as_bytes())),
            Err(AuthError::Malformed)
        );
        assert_eq!(bearer(&with(b"bearer a.b-c_d")), Ok("a.b-c_d"));
        let mut two = with(b"Bearer a");
        two.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer b"));
        assert_eq!(bearer(&two), Err(AuthError::Malformed));
    }
}
