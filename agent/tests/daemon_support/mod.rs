//! In: tests of the agent's side of the fleet. Out: an operator that does what a test tells it, over real gRPC and TLS on
//! loopback, and agents that call it.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::daemon::backoff::Pace;
use agent::daemon::dial::{Credentials, Operator};
use agent::daemon::simulated::{Options, SharedProfile};
use agent::kernel::fake::FakeKernel;
use api::artefact::{Artefact, Attach, EventKind, Flavour, HookSchema, Reloc, RelocKind, SharedMap};
use api::fleet::fleet_server::{Fleet, FleetServer};
use api::fleet::{
    AgentBody, AgentMessage, Applied, CHUNK, Desired, FetchReply, FetchRequest, Hello, OperatorBody,
    OperatorMessage, SERVER_NAME,
};
use api::profile::KernelProfile;
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

/// Nothing here takes longer, unless something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Certificates of one operator.
#[derive(Clone)]
pub struct Certificates {
    pub ca: Arc<str>,
    certificate: String,
    key: String,
}

impl Certificates {
    pub fn new(name: &str) -> Certificates {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(params, ca_key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        Certificates { ca: ca.into(), certificate: leaf.pem(), key: key.serialize_pem() }
    }
}

/// What artefacts' digests are answered with; also with something else.
type Shelf = Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>;

/// What is shelved so is never given.
pub const NEVER: &[u8] = b"never";

/// Tokens that are no longer good.
type Expired = Arc<Mutex<Vec<String>>>;

/// An operator that does what it is told.
pub struct FakeOperator {
    pub address: SocketAddr,
    pub certificates: Certificates,
    shelf: Shelf,
    fetched: Arc<Mutex<Vec<Vec<u8>>>>,
    expired: Expired,
    calls: mpsc::UnboundedReceiver<Peer>,
    calls_in: mpsc::UnboundedSender<Peer>,
    /// Of its own, so that its end closes all connections.
    server: Option<Runtime>,
}

/// One call of an agent.
pub struct Peer {
    pub authorization: String,
    pub hello: Hello,
    messages: Streaming<AgentMessage>,
    replies: mpsc::Sender<Result<OperatorMessage, Status>>,
}

struct Service {
    shelf: Shelf,
    fetched: Arc<Mutex<Vec<Vec<u8>>>>,
    expired: Expired,
    calls: mpsc::UnboundedSender<Peer>,
}

impl Service {
    /// As the operator does at each call.
    fn authorization<T>(&self, request: &Request<T>) -> Result<String, Status> {
        let token = request.metadata().get("authorization").map(|value| value.to_str().unwrap());
        let token = token.unwrap_or_default().to_owned();
        if token == "Bearer wrong" || self.expired.lock().unwrap().contains(&token) {
            return Err(Status::unauthenticated("the token is for somebody else, or too old"));
        }
        Ok(token)
    }
}

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Fleet for Service {
    type FollowStream = Replies<OperatorMessage>;
    type FetchStream = Replies<FetchReply>;

    async fn follow(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let authorization = self.authorization(&request)?;
        let mut messages = request.into_inner();
        let hello = match messages.message().await?.and_then(|message| message.body) {
            Some(AgentBody::Hello(hello)) => hello,
            other => panic!("the first message is {other:?}"),
        };
        let (replies, stream) = mpsc::channel(16);
        let _ = self.calls.send(Peer { authorization, hello, messages, replies });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn fetch(&self, request: Request<FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        assert!(self.authorization(&request)?.starts_with("Bearer "), "a fetch without a token");
        let digest = request.into_inner().digest;
        self.fetched.lock().unwrap().push(digest.clone());
        let bytes = self.shelf.lock().unwrap().get(&digest).cloned();
        if bytes.as_ref().is_some_and(|bytes| bytes == NEVER) {
            return std::future::pending().await;
        }
        let bytes = bytes.ok_or_else(|| Status::not_found("no such artefact"))?;
        let pieces: Vec<_> = bytes.chunks(CHUNK).map(|data| Ok(FetchReply { data: data.to_vec() })).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces))))
    }
}

impl FakeOperator {
    pub async fn start() -> FakeOperator {
        FakeOperator::start_with(Certificates::new(SERVER_NAME)).await
    }

    pub async fn start_with(certificates: Certificates) -> FakeOperator {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (calls_in, calls) = mpsc::unbounded_channel();
        let (shelf, fetched, expired) = (Shelf::default(), Arc::default(), Expired::default());
        let server = None;
        let mut operator =
            FakeOperator { address, certificates, shelf, fetched, expired, calls, calls_in, server };
        operator.serve(listener);
        operator
    }

    fn serve(&mut self, listener: TcpListener) {
        let service = Service {
            shelf: self.shelf.clone(),
            fetched: self.fetched.clone(),
            expired: self.expired.clone(),
            calls: self.calls_in.clone(),
        };
        let identity = Identity::from_pem(&self.certificates.certificate, &self.certificates.key);
        let tls = ServerTlsConfig::new().identity(identity);
        let router = Server::builder().tls_config(tls).unwrap().add_service(FleetServer::new(service));
        listener.set_nonblocking(true).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            router.serve_with_incoming(TcpListenerStream::new(listener)).await
        });
        self.server = Some(runtime);
    }

    /// Ends all calls; nobody listens any more.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.server.take() {
            runtime.shutdown_background();
        }
        while self.calls.try_recv().is_ok() {}
    }

    /// Listens again, at the same address.
    pub async fn restart(&mut self) {
        let mut listener = TcpListener::bind(self.address);
        // The last one's tasks end in the background.
        while listener.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            listener = TcpListener::bind(self.address);
        }
        self.serve(listener.unwrap());
    }

    /// The next call.
    pub async fn call(&mut self) -> Peer {
        timeout(PATIENCE, self.calls.recv()).await.expect("no agent calls").unwrap()
    }

    /// From now on this token is refused, also to those who are connected.
    pub fn expire(&self, token: &str) {
        self.expired.lock().unwrap().push(format!("Bearer {token}"));
    }

    /// Makes artefacts fetchable; gives the set of them.
    pub fn set(&self, generation: u64, artefacts: &[Artefact]) -> Desired {
        let mut names: Vec<Vec<u8>> = artefacts.iter().map(|one| one.digest().0.to_vec()).collect();
        for artefact in artefacts {
            self.shelve(artefact.digest().0.to_vec(), artefact.encode_to_vec());
        }
        names.sort();
        Desired { generation, artefacts: names }
    }

    /// Answers a digest with these bytes from now on.
    pub fn shelve(&self, digest: Vec<u8>, bytes: Vec<u8>) {
        self.shelf.lock().unwrap().insert(digest, bytes);
    }

    /// Digests that were asked for since the last time.
    pub fn take_fetched(&self) -> usize {
        std::mem::take(&mut *self.fetched.lock().unwrap()).len()
    }

    /// An agent of it, on this kernel.
    pub fn agent(&self, kernel: &FakeKernel) -> Options {
        let credentials = Credentials::Fixed { ca: self.certificates.ca.clone(), token: "a-token".into() };
        let operator = Operator { address: self.address.to_string(), credentials };
        let millis = Duration::from_millis;
        let pace = Pace { shortest: millis(20), longest: millis(200), good: Duration::from_secs(5) };
        let counters_every = millis(200);
        Options { kernel: kernel.clone(), pace, counters_every, ..Options::new(operator, profile()) }
    }
}

impl Drop for FakeOperator {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Peer {
    pub async fn send(&self, body: OperatorBody) {
        // An agent that has gone does not take it.
        let _ = self.replies.send(Ok(OperatorMessage { body: Some(body) })).await;
    }

    pub async fn send_nothing(&self) {
        let _ = self.replies.send(Ok(OperatorMessage { body: None })).await;
    }

    /// The next message that is no counters.
    pub async fn next(&mut self) -> AgentBody {
        loop {
            match self.any().await.expect("the agent has ended the call") {
                AgentBody::Counters(_) => {}
                other => return other,
            }
        }
    }

    /// The next message; `None`: the agent has ended the call.
    pub async fn any(&mut self) -> Option<AgentBody> {
        let message = timeout(PATIENCE, self.messages.next()).await.expect("the agent says nothing");
        message.and_then(Result::ok).map(|message| message.body.expect("an empty message"))
    }

    /// Waits until the agent ends the call.
    pub async fn ended(mut self) {
        while self.any().await.is_some() {}
    }

    /// Ends the call, without a reason or with this one.
    pub async fn close(self, why: Option<Status>) {
        if let Some(status) = why {
            self.replies.send(Err(status)).await.unwrap();
        }
    }

    /// Sends a set and waits for the answer.
    pub async fn apply(&mut self, desired: &Desired) -> Applied {
        self.send(OperatorBody::Desired(desired.clone())).await;
        match self.next().await {
            AgentBody::Applied(applied) => applied,
            other => panic!("{other:?} in place of an answer"),
        }
    }
}

pub fn profile() -> SharedProfile {
    // More than one piece.
    SharedProfile::new(&KernelProfile {
        release: "6.12.0-test".into(),
        btf: vec![7; CHUNK + 100],
        ..KernelProfile::default()
    })
}

/// A program that a fake kernel takes. `version` makes it differ from others on its hook.
pub fn artefact(target: &str, policies: &[&str], version: i32) -> Artefact {
    use agent::kernel::insn::{exit, load_map, mov_imm};
    let [map, end] = load_map(1, 0);
    let schema = |name: &&str| HookSchema {
        policy_name: (*name).into(),
        event: EventKind::Kprobe as i32,
        ..HookSchema::default()
    };
    Artefact {
        attach: Attach { flavour: Flavour::Fentry as i32, target: target.into(), btf_id: 1, syscall: None },
        insns: [map, end, mov_imm(0, version), exit()].concat(),
        relocs: vec![Reloc {
            insn: 0,
            kind: RelocKind::SharedMap as i32,
            index: SharedMap::PolicyCounters as u32,
        }],
        hooks: policies.iter().map(schema).collect(),
        ..Artefact::default()
    }
}

/// Waits until something is so.
pub async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
