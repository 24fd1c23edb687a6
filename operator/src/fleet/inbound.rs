//! In: messages as they came from an agent. Out: only what is in order; everything else ends the stream.

use api::artefact::POLICY_COUNTERS;
use api::fleet::{
    AgentBody, Applied, CHUNK, Counters, FAILURE_TEXT_MAX, FAILURES_MAX, Hello, POLICIES_MAX, PROFILE_MAX,
    ProfileChunk,
};

use super::ended::Ended;
use super::limits::{GENERATION_MAX, NAME_MAX};
use super::node::Greeting;
use crate::model::KernelDigest;

/// Names of Kubernetes objects are shorter.
const OBJECT_NAME_MAX: usize = 253;
/// A policy's name with its namespace, and the path of a field.
const PATH_MAX: usize = 2 * OBJECT_NAME_MAX + 1024;

/// What a body is called in a status.
pub fn name(body: &AgentBody) -> &'static str {
    match body {
        AgentBody::Hello(_) => "Hello",
        AgentBody::Profile(_) => "ProfileChunk",
        AgentBody::Applied(_) => "Applied",
        AgentBody::Counters(_) => "Counters",
    }
}

/// Checks a hello.
///
/// # Errors
/// Which field is wrong.
pub fn hello(hello: Hello) -> Result<Greeting, Ended> {
    text("Hello.agent_version", &hello.agent_version, NAME_MAX)?;
    text("Hello.kernel_release", &hello.kernel_release, NAME_MAX)?;
    text("Hello.boot_id", &hello.boot_id, NAME_MAX)?;
    let kernel = digest("Hello.kernel_digest", &hello.kernel_digest)?;
    let set_digest = match hello.set_digest.is_empty() {
        true => None,
        false => Some(digest("Hello.set_digest", &hello.set_digest)?),
    };
    if hello.generation > GENERATION_MAX {
        return Err(Ended::invalid("Hello.generation", format!("it is beyond {GENERATION_MAX}")));
    }
    Ok(Greeting {
        kernel: KernelDigest(kernel),
        release: hello.kernel_release,
        agent_version: hello.agent_version,
        generation: hello.generation,
        set_digest,
    })
}

/// Checks the sizes of an answer; what it is an answer to is for the node to know.
///
/// # Errors
/// Which field is wrong.
pub fn applied(applied: &Applied) -> Result<(), Ended> {
    text("Applied.refusal_text", &applied.refusal_text, FAILURE_TEXT_MAX)?;
    at_most("Applied.failures", applied.failures.len(), FAILURES_MAX)?;
    for failure in &applied.failures {
        text("HookFailure.hook", &failure.hook, NAME_MAX)?;
        text("HookFailure.text", &failure.text, FAILURE_TEXT_MAX)?;
        text("HookFailure.path", failure.path.as_deref().unwrap_or(""), PATH_MAX)?;
    }
    Ok(())
}

/// Checks counts.
///
/// # Errors
/// Which field is wrong.
pub fn counters(counters: &Counters) -> Result<(), Ended> {
    at_most("Counters.policies", counters.policies.len(), POLICIES_MAX)?;
    for counts in &counters.policies {
        text("PolicyRef.namespace", &counts.policy.namespace, OBJECT_NAME_MAX)?;
        text("PolicyRef.name", &counts.policy.name, OBJECT_NAME_MAX)?;
        // Later agents may count more.
        at_most("PolicyCounts.values", counts.values.len(), 4 * POLICY_COUNTERS as usize)?;
    }
    Ok(())
}

fn text(field: &'static str, value: &str, most: usize) -> Result<(), Ended> {
    at_most(field, value.len(), most)
}

fn at_most(field: &'static str, count: usize, most: usize) -> Result<(), Ended> {
    if count > most { Err(Ended::invalid(field, format!("{count} are more than {most}"))) } else { Ok(()) }
}

fn digest(field: &'static str, bytes: &[u8]) -> Result<[u8; 32], Ended> {
    bytes.try_into().map_err(|_| Ended::invalid(field, format!("it has {} bytes, not 32", bytes.len())))
}

/// A profile that is being put together.
#[derive(Debug, Default)]
pub struct Upload {
    bytes: Vec<u8>,
}

impl Upload {
    /// Takes a chunk; the whole profile after the last one.
    ///
    /// # Errors
    /// A chunk, or the whole, is too large; or a chunk is empty and not the last.
    pub fn take(&mut self, chunk: &ProfileChunk) -> Result<Option<Vec<u8>>, Ended> {
        at_most("ProfileChunk.data", chunk.data.len(), CHUNK)?;
        if chunk.data.is_empty() && !chunk.last {
            return Err(Ended::invalid("ProfileChunk.data", "it is empty, and more is to come"));
        }
        at_most("the kernel profile", self.bytes.len().saturating_add(chunk.data.len()), PROFILE_MAX)?;
        self.bytes.extend_from_slice(&chunk.data);
        Ok(chunk.last.then(|| std::mem::take(&mut self.bytes)))
    }
}

/// Bounds how many messages come: a bucket that fills with two per second.
#[derive(Debug)]
pub struct Allowance {
    most: u32,
    left: u32,
    filled: std::time::Instant,
}

/// Tokens per second.
const REFILL: u32 = 2;

impl Allowance {
    /// A full bucket.
    pub fn new(most: u32, now: std::time::Instant) -> Allowance {
        Allowance { most, left: most, filled: now }
    }

    /// One more may come, such as the answer to something that was asked.
    pub fn give(&mut self) {
        self.left = self.left.saturating_add(1);
    }

    /// Takes one.
    ///
    /// # Errors
    /// There is none left.
    pub fn take(&mut self, now: std::time::Instant) -> Result<(), Ended> {
        let seconds = now.saturating_duration_since(self.filled).as_secs();
        if seconds > 0 {
            let new = u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(REFILL);
            self.left = self.left.saturating_add(new).min(self.most);
            self.filled = now;
        }
        self.left = self.left.checked_sub(1).ok_or(Ended::TooManyMessages)?;
        Ok(())
    }
}
