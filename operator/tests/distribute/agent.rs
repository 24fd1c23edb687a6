//! In: what a test wants an agent to say. Out: what the operator answers, over real gRPC and TLS.

use std::collections::BTreeSet;
use std::time::Duration;

use api::artefact::Artefact;
use api::fleet::fleet_client::FleetClient;
use api::fleet::{
    AgentBody, AgentMessage, Applied, Counters, Desired, FailureStage, FetchRequest, Hello, HookFailure,
    OperatorBody, OperatorMessage, PolicyCounts, PolicyRef, ProfileChunk, SERVER_NAME,
};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::operator::Operator;
use crate::policies::sha256;

pub const SOON: Duration = Duration::from_secs(10);

pub async fn dial(operator: &Operator) -> Result<FleetClient<Channel>, tonic::transport::Error> {
    let tls =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&operator.ca)).domain_name(SERVER_NAME);
    let endpoint = Endpoint::from_shared(format!("https://{}", operator.address)).expect("address");
    Ok(FleetClient::new(endpoint.tls_config(tls)?.connect().await?))
}

pub fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = MetadataValue::try_from(format!("Bearer {token}")).expect("ASCII");
    request.metadata_mut().insert("authorization", value);
    request
}

/// A hello of a node that runs nothing.
pub fn hello(profile: &[u8]) -> Hello {
    Hello {
        agent_version: "0.1.0".to_owned(),
        kernel_release: "6.1.0-test".to_owned(),
        kernel_digest: sha256(profile),
        boot_id: "boot".to_owned(),
        generation: 0,
        set_digest: Vec::new(),
    }
}

pub struct Agent {
    pub client: FleetClient<Channel>,
    token: String,
    out: mpsc::Sender<AgentMessage>,
    replies: Streaming<OperatorMessage>,
}

impl Agent {
    /// Opens a stream without saying anything.
    pub async fn open(operator: &Operator, node: &str) -> Result<Agent, Status> {
        Agent::open_as(operator, &format!("agent-of-{node}")).await
    }

    pub async fn open_as(operator: &Operator, token: &str) -> Result<Agent, Status> {
        let mut client = dial(operator).await.expect("dial");
        let (out, messages) = mpsc::channel(64);
        let replies = client.follow(with_token(ReceiverStream::new(messages), token)).await?.into_inner();
        Ok(Agent { client, token: token.to_owned(), out, replies })
    }

    /// Says hello, and uploads the profile if it is asked for; gives the first set.
    pub async fn join(operator: &Operator, node: &str, profile: &[u8]) -> (Agent, Desired) {
        Agent::join_with(operator, node, profile, hello(profile)).await
    }

    pub async fn join_with(
        operator: &Operator,
        node: &str,
        profile: &[u8],
        hello: Hello,
    ) -> (Agent, Desired) {
        let mut agent = Agent::open(operator, node).await.expect("a stream");
        agent.say(AgentBody::Hello(hello)).await;
        match agent.next().await {
            OperatorBody::Desired(desired) => (agent, desired),
            OperatorBody::ProfileRequest(_) => {
                agent.upload(profile).await;
                let desired = agent.desired().await;
                (agent, desired)
            }
        }
    }

    pub async fn say(&mut self, body: AgentBody) {
        // If the stream has ended, what is read next says why.
        let _ = self.out.send(AgentMessage { body: Some(body) }).await;
    }

    pub async fn upload(&mut self, profile: &[u8]) {
        let mut chunks = profile.chunks(10_000).peekable();
        while let Some(chunk) = chunks.next() {
            let chunk = ProfileChunk { data: chunk.to_vec(), last: chunks.peek().is_none() };
            self.say(AgentBody::Profile(chunk)).await;
        }
    }

    async fn read(&mut self) -> Result<Option<OperatorBody>, Status> {
        let message = tokio::time::timeout(SOON, self.replies.message()).await.expect("an answer in time");
        message.map(|message| message.map(|message| message.body.expect("a body")))
    }

    /// The next message, or the status that the stream ends with.
    pub async fn try_next(&mut self) -> Result<Option<OperatorBody>, Status> {
        self.read().await
    }

    pub async fn next(&mut self) -> OperatorBody {
        self.read().await.expect("the stream is open").expect("the stream is open")
    }

    pub async fn desired(&mut self) -> Desired {
        match self.next().await {
            OperatorBody::Desired(desired) => desired,
            OperatorBody::ProfileRequest(_) => panic!("asked for a profile"),
        }
    }

    /// Reads sets until one is so: several changes may come as one set or as several.
    pub async fn desired_where(&mut self, holds: impl Fn(&Desired) -> bool) -> Desired {
        loop {
            let desired = self.desired().await;
            if holds(&desired) {
                return desired;
            }
        }
    }

    /// Nothing comes.
    pub async fn quiet(&mut self) {
        let came = tokio::time::timeout(Duration::from_millis(300), self.replies.message()).await;
        assert!(came.is_err(), "{came:?}");
    }

    /// With which status the stream ends.
    pub async fn end(&mut self) -> Status {
        loop {
            match self.read().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without a status"),
                Err(status) => return status,
            }
        }
    }

    pub async fn fetch(&mut self, digest: &[u8]) -> Result<Vec<u8>, Status> {
        let request = with_token(FetchRequest { digest: digest.to_vec() }, &self.token);
        let mut chunks = self.client.fetch(request).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.message().await? {
            assert!(chunk.data.len() <= api::fleet::CHUNK);
            bytes.extend(chunk.data);
        }
        assert_eq!(sha256(&bytes), digest, "an artefact with another digest");
        Ok(bytes)
    }

    /// All artefacts of a set.
    pub async fn fetch_all(&mut self, desired: &Desired) -> Vec<Artefact> {
        let mut artefacts = Vec::new();
        for digest in &desired.artefacts {
            let bytes = self.fetch(digest).await.expect("an artefact of the set");
            artefacts.push(Artefact::decode(&*bytes).expect("an artefact"));
        }
        artefacts
    }

    /// Names of the policies in a set.
    pub async fn policies_of(&mut self, desired: &Desired) -> BTreeSet<String> {
        let artefacts = self.fetch_all(desired).await;
        artefacts.iter().flat_map(|artefact| &artefact.hooks).map(|hook| hook.policy_name.clone()).collect()
    }

    pub async fn answer(&mut self, desired: &Desired, failures: Vec<HookFailure>) {
        let set_digest = desired.set_digest().to_vec();
        let applied = Applied { generation: desired.generation, set_digest, failures, ..Applied::default() };
        self.say(AgentBody::Applied(applied)).await;
    }

    pub async fn ack(&mut self, desired: &Desired) {
        self.answer(desired, Vec::new()).await;
    }

    pub async fn count(&mut self, policy: &str, matches: u64) {
        let policy = PolicyRef { namespace: String::new(), name: policy.to_owned() };
        let counts = PolicyCounts { policy, values: vec![matches] };
        self.say(AgentBody::Counters(Counters { policies: vec![counts], lost: 0, missed: 0 })).await;
    }
}

/// The verifier refuses an artefact.
pub fn failure(digest: &[u8], path: Option<&str>, kept: bool) -> HookFailure {
    HookFailure {
        hook: "fentry:function".to_owned(),
        digest: digest.to_vec(),
        policies: Vec::new(),
        stage: FailureStage::Load as i32,
        errno: 22,
        text: "the verifier says no".to_owned(),
        path: path.map(str::to_owned),
        kept,
    }
}
