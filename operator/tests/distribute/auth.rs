//! In: tokens of all kinds. Out: who gets in, with which status the others are refused, and how often the API server is
//! asked; with an API server that a test makes up, and with a real one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewStatus, UserInfo};
use kube::client::Body;
use operator::auth::{AuthError, Authenticator, TokenReviews};
use operator::fleet::Limits;
use tonic::Code;
use tonic::codegen::{Service, http};

use crate::agent::{Agent, dial, hello, with_token};
use crate::operator::{ByName, Operator, limits};
use crate::policies::{Fixture, nodes, policies, policy, profile};

const AGENT: &str = "system:serviceaccount:ferragon:ferragon-agent";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// Answers TokenReviews by a table; `None` fails as a broken connection does.
#[derive(Clone)]
struct FakeApi {
    asked: Arc<AtomicUsize>,
    reviews: Arc<Mutex<Vec<TokenReview>>>,
    up: Arc<std::sync::atomic::AtomicBool>,
}

impl FakeApi {
    fn new() -> FakeApi {
        FakeApi {
            asked: Arc::default(),
            reviews: Arc::default(),
            up: Arc::new(std::sync::atomic::AtomicBool::new(true)),
        }
    }

    fn authenticator(&self) -> Arc<TokenReviews> {
        let client = kube::Client::new(self.clone(), "default");
        Arc::new(TokenReviews::new(client, api::fleet::AUDIENCE, "ferragon", "ferragon-agent"))
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A token that says of itself what an agent's does; what the API server says of it goes by its name.
fn token(name: &str) -> String {
    let claims = serde_json::json!({"sub": AGENT, "aud": [api::fleet::AUDIENCE], "exp": 4_000_000_000_u64, "jti": name});
    let payload =
        serde_json::to_value(k8s_openapi::ByteString(claims.to_string().into_bytes())).expect("base64");
    let payload = payload.as_str().expect("text").replace('+', "-").replace('/', "_");
    format!("e30.{}.c2ln", payload.trim_end_matches('='))
}

const NAMES: [&str; 8] =
    ["good", "expired", "audience", "no-audience", "other", "no-node", "two-nodes", "unsaid"];

fn user(name: &str, nodes: &[&str]) -> TokenReviewStatus {
    let mut extra = std::collections::BTreeMap::new();
    if !nodes.is_empty() {
        extra.insert(NODE_NAME.to_owned(), nodes.iter().map(|node| (*node).to_owned()).collect());
    }
    TokenReviewStatus {
        authenticated: Some(true),
        audiences: Some(vec![api::fleet::AUDIENCE.to_owned()]),
        user: Some(UserInfo { username: Some(name.to_owned()), extra: Some(extra), ..UserInfo::default() }),
        error: None,
    }
}

fn answer(given: &str) -> TokenReviewStatus {
    match NAMES.into_iter().find(|name| token(name) == given).unwrap_or("unknown") {
        "good" => user(AGENT, &["node-1"]),
        "expired" => {
            let error = Some("[invalid bearer token, service account token has expired]".to_owned());
            TokenReviewStatus { authenticated: Some(false), error, ..TokenReviewStatus::default() }
        }
        "audience" => {
            TokenReviewStatus { audiences: Some(vec!["other".to_owned()]), ..user(AGENT, &["node-1"]) }
        }
        "no-audience" => TokenReviewStatus { audiences: None, ..user(AGENT, &["node-1"]) },
        "other" => user("system:serviceaccount:default:ferragon-agent", &["node-1"]),
        "no-node" => user(AGENT, &[]),
        "two-nodes" => user(AGENT, &["node-1", "node-2"]),
        "unsaid" => TokenReviewStatus { authenticated: None, ..user(AGENT, &["node-1"]) },
        _ => TokenReviewStatus::default(),
    }
}

impl Service<http::Request<Body>> for FakeApi {
    type Response = http::Response<Body>;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let fake = self.clone();
        Box::pin(async move {
            fake.asked.fetch_add(1, Ordering::SeqCst);
            if !fake.up.load(Ordering::SeqCst) {
                return Err(std::io::Error::other("connection refused"));
            }
            assert_eq!(request.uri().path(), "/apis/authentication.k8s.io/v1/tokenreviews");
            let body = request.into_body().collect_bytes().await.expect("a body");
            let mut review: TokenReview = serde_json::from_slice(&body).expect("a TokenReview");
            review.status = Some(answer(&review.spec.token));
            fake.reviews.lock().expect("reviews").push(review.clone());
            let body = Body::from(serde_json::to_vec(&review).expect("JSON"));
            Ok(http::Response::builder().status(201).body(body).expect("a response"))
        })
    }
}

async fn code(operator: &Operator, token: &str) -> Code {
    Agent::open_as(operator, token).await.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test]
async fn auth_only_agents_get_in() {
    let api = FakeApi::new();
    let one = policies([policy("one", "tcp_connect")]);
    let operator = Operator::with(one, nodes(&["node-1"]), limits(), api.authenticator()).await;
    let table = [
        ("good", Code::Ok),
        ("expired", Code::Unauthenticated),
        ("audience", Code::Unauthenticated),
        ("no-audience", Code::Unauthenticated),
        ("other", Code::PermissionDenied),
        ("no-node", Code::Unauthenticated),
        ("two-nodes", Code::Unauthenticated),
        ("unsaid", Code::Unauthenticated),
        ("unknown", Code::Unauthenticated),
    ];
    for (token, expected) in table {
        assert_eq!(code(&operator, &self::token(token)).await, expected, "{token}");
    }
    // What does not even claim to be an agent's token is not asked about.
    let asked = api.asked();
    for made_up in ["good", "a.b.c", "agent-of-node-1", &format!("{}.x", token("good"))] {
        assert_eq!(code(&operator, made_up).await, Code::Unauthenticated, "{made_up}");
    }
    assert_eq!(api.asked(), asked);
    let reviews = api.reviews.lock().expect("reviews").clone();
    for review in reviews {
        assert_eq!(review.spec.audiences.as_deref(), Some(&[api::fleet::AUDIENCE.to_owned()][..]));
    }
    // No token; and for a fetch as for a stream.
    let mut client = dial(&operator).await.expect("dial");
    let (_out, messages) = tokio::sync::mpsc::channel::<api::fleet::AgentMessage>(1);
    let silent = client.follow(tokio_stream::wrappers::ReceiverStream::new(messages)).await;
    assert_eq!(silent.unwrap_err().code(), Code::Unauthenticated);
    let fetch = || api::fleet::FetchRequest { digest: vec![0; 32] };
    assert_eq!(client.fetch(fetch()).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(
        client.fetch(with_token(fetch(), &token("other"))).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    operator.end().await;
}

#[tokio::test]
async fn auth_the_node_is_that_of_the_token() {
    let api = FakeApi::new();
    let one = policies([policy("one", "tcp_connect")]);
    let operator = Operator::with(one, nodes(&["node-1"]), limits(), api.authenticator()).await;
    let mut agent = Agent::open_as(&operator, &token("good")).await.expect("a stream");
    agent.say(api::fleet::AgentBody::Hello(hello(&profile(Fixture::Six)))).await;
    let fleet = operator.until("the node is known", |fleet| !fleet.nodes.is_empty()).await;
    assert!(fleet.nodes.contains_key("node-1"));
    operator.end().await;
}

#[tokio::test]
async fn auth_answers_are_cached_and_failures_are_not_answers() {
    let api = FakeApi::new();
    let reviews = api.authenticator();
    for _ in 0..5 {
        assert_eq!(reviews.authenticate(&token("good")).await, Ok("node-1".into()));
        assert!(matches!(reviews.authenticate(&token("expired")).await, Err(AuthError::Refused(_))));
    }
    assert_eq!(api.asked(), 2);
    // Unreachable: told so, and asked again next time; known tokens go on to work.
    api.up.store(false, Ordering::SeqCst);
    assert!(matches!(reviews.authenticate(&token("new")).await, Err(AuthError::Unreachable(_))));
    assert_eq!(reviews.authenticate(&token("good")).await, Ok("node-1".into()));
    assert!(matches!(reviews.authenticate(&token("new")).await, Err(AuthError::Unreachable(_))));
    api.up.store(true, Ordering::SeqCst);
    assert!(matches!(reviews.authenticate(&token("new")).await, Err(AuthError::Refused(_))));
}

#[tokio::test]
async fn auth_a_stream_ends_in_time_and_its_token_is_looked_at_again() {
    let short = Limits { stream_life: Duration::from_millis(400), ..limits() };
    let one = policies([policy("one", "tcp_connect")]);
    let operator = Operator::with(one, nodes(&["a"]), short, Arc::new(ByName)).await;
    let six = profile(Fixture::Six);
    let started = std::time::Instant::now();
    let (mut agent, desired) = Agent::join(&operator, "a", &six).await;
    agent.ack(&desired).await;
    operator.until_programmed("a", "one").await;
    let ended = agent.end().await;
    assert_eq!(ended.code(), Code::Unavailable);
    assert!(ended.message().contains("current token"), "{ended}");
    assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());
    // For status, nothing has happened.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(operator.fleet.borrow().nodes["a"].connected);
    operator.end().await;

    // An agent that does not come back is told of.
    let short =
        Limits { renewal: Duration::from_millis(300), stream_life: Duration::from_millis(400), ..limits() };
    let one = policies([policy("one", "tcp_connect")]);
    let operator = Operator::with(one, nodes(&["a"]), short, Arc::new(ByName)).await;
    let (mut agent, _) = Agent::join(&operator, "a", &six).await;
    agent.end().await;
    operator.until("it is gone", |fleet| !fleet.nodes["a"].connected).await;
    operator.end().await;
}

#[tokio::test]
async fn auth_an_unreachable_api_server_is_not_a_refusal() {
    let api = FakeApi::new();
    api.up.store(false, Ordering::SeqCst);
    let none = policies([]);
    let operator = Operator::with(none, nodes(&["node-1"]), limits(), api.authenticator()).await;
    assert_eq!(code(&operator, &token("good")).await, Code::Unavailable);
    api.up.store(true, Ordering::SeqCst);
    assert_eq!(code(&operator, &token("good")).await, Code::Ok);
    operator.end().await;
}

#[tokio::test]
async fn auth_without_tls_nothing_is_said() {
    let operator = Operator::start(policies([]), nodes(&["a"])).await;
    let plain =
        tonic::transport::Endpoint::from_shared(format!("http://{}", operator.address)).expect("address");
    let channel = plain.connect().await;
    let refused = match channel {
        Err(_) => true,
        Ok(channel) => {
            let mut client = api::fleet::fleet_client::FleetClient::new(channel);
            let fetch = api::fleet::FetchRequest { digest: vec![0; 32] };
            let called = client.fetch(with_token(fetch, "agent-of-a"));
            tokio::time::timeout(Duration::from_secs(5), called).await.expect("an answer").is_err()
        }
    };
    assert!(refused);
    operator.end().await;
}

/// Tokens as the kubelet gets them: for a pod of the agents' ServiceAccount on a node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auth_with_a_real_api_server() {
    let plane = e2e::ControlPlane::start().expect("an API server");
    let pod = |name: &str, account: &str, node: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: ferragon}}\nspec:\n  nodeName: {node}\n  serviceAccountName: {account}\n  containers: [{{name: c, image: none}}]\n"
        )
    };
    let mut objects = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: ferragon}\n".to_owned();
    for account in ["ferragon-agent", "someone-else"] {
        objects += &format!(
            "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {account}, namespace: ferragon}}\n"
        );
    }
    objects += "---\napiVersion: v1\nkind: Node\nmetadata: {name: node-1}\n";
    plane.apply(&objects).expect("objects");
    plane
        .apply(&(pod("agent", "ferragon-agent", "node-1") + &pod("other", "someone-else", "node-1")))
        .expect("pods");
    let token = |account: &str, arguments: &[&str]| {
        let all = [&["create", "token", account, "-n", "ferragon", "--duration=600s"], arguments].concat();
        let output = plane.kubectl(&all).expect("kubectl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a token").trim().to_owned()
    };
    let audience = format!("--audience={}", api::fleet::AUDIENCE);
    let bound = |pod| ["--bound-object-kind=Pod", pod, audience.as_str()];
    let good = token("ferragon-agent", &bound("--bound-object-name=agent"));
    let other = token("someone-else", &bound("--bound-object-name=other"));
    let unbound = token("ferragon-agent", &[&audience]);
    let for_api = token("ferragon-agent", &["--bound-object-kind=Pod", "--bound-object-name=agent"]);

    let config = kube::config::Kubeconfig::read_from(plane.kubeconfig()).expect("kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await.expect("config");
    let client = kube::Client::try_from(config).expect("client");
    let fresh = || TokenReviews::new(client.clone(), api::fleet::AUDIENCE, "ferragon", "ferragon-agent");
    let reviews = fresh();
    assert_eq!(reviews.authenticate(&good).await, Ok("node-1".into()));
    assert!(matches!(reviews.authenticate(&other).await, Err(AuthError::NotAnAgent(_))));
    assert_eq!(reviews.authenticate(&unbound).await, Err(AuthError::NoNode));
    assert!(matches!(reviews.authenticate(&for_api).await, Err(AuthError::Refused(_))));
    assert_eq!(reviews.authenticate("made.up.token").await, Err(AuthError::Malformed));
    // With the pod its token goes; within the minute for which answers are kept, or at once when asked anew.
    plane
        .kubectl(&["delete", "pod", "agent", "-n", "ferragon", "--force", "--grace-period=0"])
        .expect("kubectl");
    let mut refused = false;
    for _ in 0..50 {
        refused = matches!(fresh().authenticate(&good).await, Err(AuthError::Refused(_)));
        if refused {
            break;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(refused, "the token of a pod that is deleted");
}
