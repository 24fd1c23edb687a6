//! In: a token as it came. Out: whether it says of itself what an agent's says.
//!
//! Nothing is verified here: anybody can write such a token. But one that does not even claim to be an agent's costs no
//! TokenReview, and so no place among those of real agents.

use k8s_openapi::ByteString;
use serde::Deserialize;
use serde_json::Value;

use super::AuthError;

/// The API server's clock may be behind; it decides.
const LEEWAY_SECONDS: u64 = 300;

/// The claims that are looked at.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    aud: Audiences,
    exp: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

impl Audiences {
    fn has(&self, audience: &str) -> bool {
        match self {
            Audiences::One(one) => one == audience,
            Audiences::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}

/// Checks what a token says of itself, at this time (seconds since 1970).
///
/// # Errors
/// It is no token of a ServiceAccount, for another audience, expired, or of someone else.
pub(super) fn check(token: &str, audience: &str, username: &str, now: u64) -> Result<(), AuthError> {
    let claims = decode(token).ok_or(AuthError::Malformed)?;
    if !claims.aud.has(audience) {
        return Err(AuthError::Refused(format!("it is not for the audience `{audience}`")));
    }
    if claims.exp.saturating_add(LEEWAY_SECONDS) <= now {
        return Err(AuthError::Refused("it has expired".to_owned()));
    }
    if claims.sub != username {
        let mut sub = claims.sub;
        sub.truncate(sub.floor_char_boundary(super::review::REASON_MAX));
        return Err(AuthError::NotAnAgent(sub));
    }
    Ok(())
}

fn decode(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    // Base64 for URLs and without padding, as `ByteString` does not take it.
    let mut text: String = payload
        .chars()
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            c => c,
        })
        .collect();
    text.extend(std::iter::repeat_n('=', (4 - text.len() % 4) % 4));
    let ByteString(bytes) = serde_json::from_value(Value::String(text)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const AGENT: &str = "system:serviceaccount:ferragon:ferragon-agent";

    fn token(claims: &Value) -> String {
        let bytes = serde_json::to_value(ByteString(claims.to_string().into_bytes())).unwrap();
        let payload = bytes.as_str().unwrap().replace('+', "-").replace('/', "_");
        format!("e30.{}.c2ln", payload.trim_end_matches('='))
    }

    fn checked(claims: &Value) -> Result<(), AuthError> {
        check(&token(claims), "ferragon-operator", AGENT, 1_000_000)
    }

    #[test]
    fn auth_tokens_that_do_not_claim_to_be_an_agents_are_not_asked_about() {
        let good = |aud: Value| json!({"sub": AGENT, "aud": aud, "exp": 1_000_001, "iss": "ÿ?>~"});
        assert_eq!(checked(&good(json!(["other", "ferragon-operator"]))), Ok(()));
        assert_eq!(checked(&good(json!("ferragon-operator"))), Ok(()));
        assert!(matches!(checked(&good(json!(["other"]))), Err(AuthError::Refused(_))));
        let of = |sub: &str, exp: u64| json!({"sub": sub, "aud": "ferragon-operator", "exp": exp});
        assert_eq!(checked(&of("someone", 1_000_001)), Err(AuthError::NotAnAgent("someone".to_owned())));
        assert!(matches!(checked(&of(AGENT, 999_000)), Err(AuthError::Refused(_))));
        assert_eq!(checked(&of(AGENT, 999_900)), Ok(()), "the API server's clock counts");
        for odd in ["", "a", "a.b.c", "..", "e30.e30.x", "a.b.c.d", "e30.W10.x", "e30.é.x"] {
            assert_eq!(check(odd, "ferragon-operator", AGENT, 0), Err(AuthError::Malformed), "{odd}");
        }
    }
}
