//! In: what the API server said of tokens. Out: the same again for a short while, so that a fleet that dials again does
//! not flood the API server.
//!
//! Tokens are kept as their SHA-256 only.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::AuthError;
use crate::model::NodeName;

/// A good token is asked about again after.
pub const GOOD_FOR: Duration = Duration::from_secs(60);
/// A bad one: short, as the reason may have gone (a clock, a ServiceAccount that has just been made).
pub const BAD_FOR: Duration = Duration::from_secs(5);
/// Answers that are kept: two for each of 8,192 nodes; 100 bytes each.
const MOST: usize = 16_384;
/// Of these, bad ones: who makes tokens up does not push out those of agents.
const MOST_BAD: usize = 1024;

/// SHA-256 of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Of a token.
    pub fn of(token: &str) -> TokenDigest {
        TokenDigest(Sha256::digest(token).into())
    }
}

/// Answers by token.
#[derive(Debug, Default)]
pub struct Remembered {
    good: HashMap<TokenDigest, (NodeName, Instant)>,
    bad: HashMap<TokenDigest, (AuthError, Instant)>,
}

impl Remembered {
    /// The answer, if it is not too old.
    pub fn get(&self, token: &TokenDigest, now: Instant) -> Option<Result<NodeName, AuthError>> {
        let good = self.good.get(token).filter(|(_, until)| *until > now).map(|(node, _)| Ok(node.clone()));
        let bad =
            || self.bad.get(token).filter(|(_, until)| *until > now).map(|(error, _)| Err(error.clone()));
        good.or_else(bad)
    }

    /// Keeps an answer; none that the API server did not give.
    pub fn put(&mut self, token: TokenDigest, answer: &Result<NodeName, AuthError>, now: Instant) {
        match answer {
            Ok(node) => {
                make_room(&mut self.good, MOST - MOST_BAD, now);
                self.good.insert(token, (node.clone(), now + GOOD_FOR));
            }
            Err(AuthError::Unreachable(_)) => {}
            Err(error) => {
                make_room(&mut self.bad, MOST_BAD, now);
                self.bad.insert(token, (error.clone(), now + BAD_FOR));
            }
        }
    }
}

/// Old answers go first, then all: each is only a question more.
fn make_room<T>(answers: &mut HashMap<TokenDigest, (T, Instant)>, most: usize, now: Instant) {
    if answers.len() >= most {
        answers.retain(|_, (_, until)| *until > now);
    }
    if answers.len() >= most {
        answers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auth_answers_are_kept_for_a_short_while() {
        let (start, mut answers) = (Instant::now(), Remembered::default());
        let (good, bad) = (TokenDigest::of("good"), TokenDigest::of("bad"));
        answers.put(good, &Ok("node-1".into()), start);
        answers.put(bad, &Err(AuthError::NoNode), start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(answers.get(&good, at(59)), Some(Ok("node-1".into())));
        assert_eq!(answers.get(&good, at(60)), None);
        assert_eq!(answers.get(&bad, at(4)), Some(Err(AuthError::NoNode)));
        assert_eq!(answers.get(&bad, at(5)), None);
    }

    #[test]
    fn auth_answers_are_bounded_and_bad_ones_push_out_no_good_one() {
        let (now, mut answers) = (Instant::now(), Remembered::default());
        let good = TokenDigest::of("good");
        answers.put(good, &Ok("node-1".into()), now);
        for i in 0..5000 {
            answers.put(TokenDigest::of(&format!("made up {i}")), &Err(AuthError::NoNode), now);
        }
        assert!(answers.bad.len() <= MOST_BAD, "{}", answers.bad.len());
        assert_eq!(answers.get(&good, now), Some(Ok("node-1".into())));
        let unreachable = Err(AuthError::Unreachable("refused".to_owned()));
        answers.put(TokenDigest::of("x"), &unreachable, now);
        assert_eq!(answers.get(&TokenDigest::of("x"), now), None);
    }
}
