//! In: the operator's port. Out: as many agents as asked for: they dial, upload, fetch, verify, answer and count as the
//! real one does, and load nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use api::artefact::Flavour;
use api::fleet::fleet_client::FleetClient;
use api::fleet::{
    AgentBody, AgentMessage, Applied, CHUNK, COUNTERS_INTERVAL_SECONDS, Counters, Desired, FetchRequest,
    Hello, OperatorBody, PolicyCounts, PolicyRef, ProfileChunk, SERVER_NAME,
};
use api::profile::KernelProfile;
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::POLICIES;

/// Which nodes have answered a set, and when the last of them.
struct Acked {
    nodes: BTreeSet<usize>,
    last: Instant,
}

/// What all agents share.
pub struct Agents {
    /// Encoded.
    pub profile: Vec<u8>,
    digest: Vec<u8>,
    endpoint: Endpoint,
    /// By set.
    acked: Mutex<HashMap<Vec<u8>, Acked>>,
    /// The set that was answered last.
    newest: Mutex<Option<(u64, Vec<u8>)>>,
}

impl Agents {
    /// Of this machine's kernel, if its types can be read, so that the profile has its real size.
    pub fn new(port: u16, ca: String) -> Arc<Agents> {
        let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy-compiler/fixtures/kernel-6.btf");
        let btf =
            std::fs::read("/sys/kernel/btf/vmlinux").or_else(|_| std::fs::read(fixture)).unwrap_or_default();
        let profile = KernelProfile {
            release: "scale".to_owned(),
            arch: "x86_64".to_owned(),
            btf,
            flavours: vec![Flavour::Fentry as i32, Flavour::Fexit as i32],
            cpus: 2,
            ..KernelProfile::default()
        }
        .encode_to_vec();
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)).domain_name(SERVER_NAME);
        let endpoint =
            Endpoint::from_shared(format!("https://127.0.0.1:{port}")).and_then(|it| it.tls_config(tls));
        let endpoint = endpoint.expect("the address is well-formed");
        let digest = Sha256::digest(&profile).to_vec();
        Arc::new(Agents { profile, digest, endpoint, acked: Mutex::default(), newest: Mutex::default() })
    }

    fn answered(&self, node: usize, desired: &Desired) {
        let set = desired.set_digest().to_vec();
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.as_ref().is_none_or(|(generation, _)| *generation < desired.generation) {
            *newest = Some((desired.generation, set.clone()));
        }
        drop(newest);
        let mut acked = self.acked.lock().unwrap_or_else(PoisonError::into_inner);
        let acked =
            acked.entry(set).or_insert_with(|| Acked { nodes: BTreeSet::new(), last: Instant::now() });
        acked.nodes.insert(node);
        acked.last = Instant::now();
    }

    /// Answers until now do not count any more.
    pub fn forget(&self) {
        self.acked.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// When the last of all nodes has answered the newest set, some of them since then.
    pub async fn all_have_acked(&self, nodes: usize, since: Instant, until: Instant) -> Result<Instant> {
        loop {
            let (have, last) = self.newest_answers();
            match last {
                Some(last) if have == nodes && last >= since => return Ok(last),
                _ => ensure!(Instant::now() < until, "{have} of {nodes} nodes have answered"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Of the newest set: how many nodes, and when the last.
    fn newest_answers(&self) -> (usize, Option<Instant>) {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let acked = self.acked.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = newest.and_then(|(_, set)| acked.get(&set));
        answers.map_or((0, None), |answers| (answers.nodes.len(), Some(answers.last)))
    }
}

/// Starts these.
pub fn spawn(agents: &Arc<Agents>, nodes: std::ops::Range<usize>) {
    for node in nodes {
        let agents = agents.clone();
        tokio::spawn(async move {
            let mut agent =
                Agent { node, shared: agents, generation: 0, set: Vec::new(), have: BTreeSet::new() };
            // Pods of a DaemonSet do not start in the same instant.
            tokio::time::sleep(Duration::from_secs(5).mul_f64((node as f64 * 0.618).fract())).await;
            let mut wait = Duration::from_secs(1);
            loop {
                let generation = agent.generation;
                let _ = agent.follow().await;
                // As long as nothing works, twice as long each time, and not all at once.
                let jitter = 0.5 + (node as f64 * 0.618).fract();
                wait = if agent.generation > generation { Duration::from_secs(1) } else { wait };
                tokio::time::sleep(wait.mul_f64(jitter)).await;
                wait = (wait * 2).min(Duration::from_secs(30));
            }
        });
    }
}

struct Agent {
    node: usize,
    shared: Arc<Agents>,
    generation: u64,
    set: Vec<u8>,
    have: BTreeSet<Vec<u8>>,
}

impl Agent {
    fn with_token<T>(&self, message: T) -> Result<Request<T>> {
        let mut request = Request::new(message);
        let token = format!("Bearer {}", crate::api::token(&format!("node-{}", self.node)));
        request.metadata_mut().insert("authorization", token.parse()?);
        Ok(request)
    }

    async fn follow(&mut self) -> Result<()> {
        let mut client = FleetClient::new(self.shared.endpoint.connect().await?);
        let (out, messages) = mpsc::channel(4);
        let say = async |body| out.send(AgentMessage { body: Some(body) }).await;
        let hello = Hello {
            agent_version: "scale".to_owned(),
            kernel_release: "scale".to_owned(),
            kernel_digest: self.shared.digest.clone(),
            boot_id: "boot".to_owned(),
            generation: self.generation,
            set_digest: self.set.clone(),
        };
        say(AgentBody::Hello(hello)).await?;
        let mut replies = client.follow(self.with_token(ReceiverStream::new(messages))?).await?.into_inner();
        let interval = Duration::from_secs(COUNTERS_INTERVAL_SECONDS);
        let offset = interval.mul_f64((self.node as f64 * 0.618).fract());
        let mut counting = tokio::time::interval_at(tokio::time::Instant::now() + offset, interval);
        let mut counted = 0;
        loop {
            let message = tokio::select! {
                message = replies.message() => message?,
                _ = counting.tick() => {
                    counted += 1;
                    say(AgentBody::Counters(counters(counted))).await?;
                    continue;
                }
            };
            match message.and_then(|message| message.body) {
                None => bail!("the stream has ended"),
                Some(OperatorBody::ProfileRequest(_)) => {
                    let count = self.shared.profile.len().div_ceil(CHUNK);
                    for (index, data) in self.shared.profile.chunks(CHUNK).enumerate() {
                        let chunk = ProfileChunk { data: data.to_vec(), last: index + 1 == count };
                        say(AgentBody::Profile(chunk)).await?;
                    }
                }
                Some(OperatorBody::Desired(desired)) => {
                    self.fetch(&mut client, &desired).await?;
                    (self.generation, self.set) = (desired.generation, desired.set_digest().to_vec());
                    let set_digest = self.set.clone();
                    let applied = Applied { generation: self.generation, set_digest, ..Applied::default() };
                    say(AgentBody::Applied(applied)).await?;
                    self.shared.answered(self.node, &desired);
                }
            }
        }
    }

    async fn fetch(&mut self, client: &mut FleetClient<Channel>, desired: &Desired) -> Result<()> {
        for digest in &desired.artefacts {
            if self.have.contains(digest) {
                continue;
            }
            let request = self.with_token(FetchRequest { digest: digest.clone() })?;
            let mut chunks = client.fetch(request).await?.into_inner();
            let mut hash = Sha256::new();
            while let Some(chunk) = chunks.message().await? {
                hash.update(&chunk.data);
            }
            ensure!(hash.finalize()[..] == digest[..], "an artefact with another digest");
            self.have.insert(digest.clone());
        }
        self.have.retain(|digest| desired.artefacts.contains(digest));
        Ok(())
    }
}

fn counters(counted: u64) -> Counters {
    let counts = |index: usize| PolicyCounts {
        policy: PolicyRef { namespace: String::new(), name: format!("policy-{index:02}") },
        values: vec![counted * 1000, counted * 1000, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    };
    Counters { policies: (0..POLICIES).map(counts).collect(), lost: 0, missed: 0 }
}
