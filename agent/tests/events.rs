//! In: events published to a hub, clients on its socket. Out: proof of what each client gets.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent::events::{EVENTS_MAX, Hub, SUBSCRIBERS_MAX, bind, serve};
use api::event::{Body, Event, Pod, Process, ProcessExec, ProcessExit, ProcessInfo, Subject, Timestamp};
use api::tetragon::fine_guidance_sensors_client::FineGuidanceSensorsClient;
use api::tetragon::{
    Filter, GetEventsRequest, GetEventsResponse, GetHealthStatusRequest, GetVersionRequest,
    HealthStatusResult, Received,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

type Client = FineGuidanceSensorsClient<Channel>;

struct Agent {
    hub: Hub,
    socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Agent {
    fn start(hub: Hub) -> Agent {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("run/events.sock");
        let listener = bind(&socket).unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = serve(hub.clone(), listener, async move { drop(stopped.await) });
        let served = tokio::spawn(async move { served.await.unwrap() });
        Agent { hub, socket, stop: Some(stop), served, _directory: directory }
    }

    async fn client(&self) -> Client {
        let endpoint = Endpoint::from_shared(format!("unix://{}", self.socket.display())).unwrap();
        Client::new(endpoint.connect().await.unwrap())
    }

    async fn watch(&self, filter: Filter) -> Streaming<GetEventsResponse> {
        let request = GetEventsRequest { allow_list: vec![filter], ..Default::default() };
        self.client().await.get_events(request).await.unwrap().into_inner()
    }
}

fn subject(pid: u32, pod: Option<&str>) -> Subject {
    let pod = pod.map(|name| Pod { namespace: "default".into(), name: name.into(), ..Pod::default() });
    let info = ProcessInfo {
        pid,
        binary: format!("/bin/program-{pid}").into(),
        pod: pod.map(Arc::new),
        ..ProcessInfo::default()
    };
    Subject { process: Arc::new(Process::new(info)), tid: pid, refcnt: 0 }
}

fn exec(pid: u32, pod: Option<&str>) -> Event {
    let body = Body::Exec(ProcessExec { process: subject(pid, pod), parent: None, ancestors: vec![] });
    Event { body, node_name: "node-1".into(), time: Timestamp(1) }
}

fn exit(pid: u32) -> Event {
    let body = Body::Exit(ProcessExit {
        process: subject(pid, None),
        parent: None,
        ancestors: vec![],
        signal: 9,
        status: 0,
        time: Timestamp(2),
    });
    Event { body, node_name: "node-1".into(), time: Timestamp(2) }
}

async fn next(stream: &mut Streaming<GetEventsResponse>) -> Received {
    let message = tokio::time::timeout(Duration::from_secs(20), stream.message()).await;
    message.expect("in time").unwrap().expect("not ended").try_into().unwrap()
}

async fn next_pid(stream: &mut Streaming<GetEventsResponse>) -> u32 {
    match next(stream).await {
        Received::Event(event) => event.subject().process.pid,
        Received::Lost(lost) => panic!("{lost} lost"),
    }
}

#[tokio::test]
async fn clients_get_what_happens_after_they_came() {
    let agent = Agent::start(Hub::new("node-1"));
    agent.hub.publish(&exec(1, None));
    let (mut one, mut other) = (agent.watch(Filter::default()).await, agent.watch(Filter::default()).await);
    let events = [exec(2, Some("xwing")), exit(3)];
    events.iter().for_each(|event| agent.hub.publish(event));
    for stream in [&mut one, &mut other] {
        for event in &events {
            let Received::Event(received) = next(stream).await else { panic!("lost") };
            let (mut sent, mut got) = (String::new(), String::new());
            api::json::write_line(event, &mut sent);
            api::json::write_line(&received, &mut got);
            assert_eq!(got, sent);
        }
    }
    assert_eq!(agent.hub.counters().sent, 4);
}

#[tokio::test]
async fn each_client_gets_what_it_asked_for() {
    let agent = Agent::start(Hub::new("node-1"));
    let mut pods = agent.watch(Filter { pod_regex: vec!["^xwing$".into()], ..Default::default() }).await;
    let mut exits = agent.watch(Filter { event_set: vec![5], ..Default::default() }).await;
    let request = GetEventsRequest {
        deny_list: vec![Filter { namespace: vec!["".into()], ..Default::default() }],
        ..Default::default()
    };
    let mut not_host = agent.client().await.get_events(request).await.unwrap().into_inner();
    for event in
        [exec(1, None), exec(2, Some("tie")), exec(3, Some("xwing")), exit(4), exec(5, Some("xwing"))]
    {
        agent.hub.publish(&event);
    }
    assert_eq!((next_pid(&mut pods).await, next_pid(&mut pods).await), (3, 5));
    assert_eq!(next_pid(&mut exits).await, 4);
    assert_eq!((next_pid(&mut not_host).await, next_pid(&mut not_host).await), (2, 3));
}

#[tokio::test]
async fn a_filter_that_is_not_implemented_is_refused_by_name() {
    let agent = Agent::start(Hub::new("node-1"));
    let mut client = agent.client().await;
    for (filter, field) in [
        (
            Filter { cel_expression: vec!["true".into()], ..Default::default() },
            "allow_list[0]: cel_expression",
        ),
        (Filter { pid_set: vec![1], ..Default::default() }, "allow_list[0]: pid_set"),
        (Filter { pod_regex: vec!["(".into()], ..Default::default() }, "allow_list[0]: pod_regex"),
    ] {
        let request = GetEventsRequest { allow_list: vec![filter], ..Default::default() };
        let status = client.get_events(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with(field), "{status:?}");
    }
    assert_eq!(agent.hub.counters().subscribers, 0);
}

#[tokio::test]
async fn too_large_a_request_is_refused() {
    let agent = Agent::start(Hub::new("node-1"));
    let filter = Filter { policy_names: vec!["p".repeat(api::tetragon::REQUEST_MAX)], ..Default::default() };
    let request = GetEventsRequest { allow_list: vec![filter], ..Default::default() };
    let status = agent.client().await.get_events(request).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_loses_events_is_told_and_holds_nobody_up() {
    let agent = Agent::start(Hub::new("node-1"));
    let mut slow = agent.watch(Filter::default()).await;
    // What the transport holds on the way to a client that does not read (2 MiB, some 10,000 events): far less than this.
    let sent = 8 * EVENTS_MAX as u32;
    let mut quick = agent.watch(Filter { event_set: vec![5], ..Default::default() }).await;
    for pid in 1..=sent {
        agent.hub.publish(&exec(pid, None));
    }
    agent.hub.publish(&exit(sent + 1));
    // It may have been told of a loss of its own: it was not asked to be quick enough for a loop without a pause.
    loop {
        match next(&mut quick).await {
            Received::Event(event) => break assert_eq!(event.subject().process.pid, sent + 1),
            Received::Lost(_) => {}
        }
    }
    let (mut expected, mut told) = (1, 0);
    while expected <= sent + 1 {
        match next(&mut slow).await {
            Received::Event(event) => {
                assert_eq!(event.subject().process.pid, expected);
                expected += 1;
            }
            Received::Lost(lost) => {
                told += lost;
                expected += lost as u32;
            }
        }
    }
    assert!(told >= u64::from(sent) - 4 * EVENTS_MAX as u64, "{told}");
    assert!(agent.hub.counters().lost >= told);
}

#[tokio::test]
async fn the_number_of_clients_is_bounded_and_room_comes_back() {
    let agent = Agent::start(Hub::new("node-1"));
    let mut streams = Vec::new();
    for _ in 0..SUBSCRIBERS_MAX {
        streams.push(agent.watch(Filter::default()).await);
    }
    let mut client = agent.client().await;
    let status = client.get_events(GetEventsRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    streams.truncate(1);
    for _ in 0..200 {
        if agent.hub.counters().subscribers == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(client.get_events(GetEventsRequest::default()).await.is_ok());
}

#[tokio::test]
async fn health_and_version_are_told() {
    let agent = Agent::start(Hub::new("node-1"));
    let mut client = agent.client().await;
    let health = client.get_health(GetHealthStatusRequest::default()).await.unwrap().into_inner();
    assert_eq!(health.health_status[0].status(), HealthStatusResult::Running);
    let version = client.get_version(GetVersionRequest {}).await.unwrap().into_inner().version;
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn stopping_ends_the_streams_and_the_server() {
    let mut agent = Agent::start(Hub::new("node-1"));
    let mut stream = agent.watch(Filter::default()).await;
    agent.hub.publish(&exec(1, None));
    assert_eq!(next_pid(&mut stream).await, 1);
    agent.stop.take();
    assert!(
        tokio::time::timeout(Duration::from_secs(20), stream.message()).await.unwrap().unwrap().is_none()
    );
    drop(stream);
    tokio::time::timeout(Duration::from_secs(20), agent.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_socket_is_for_owner_and_group_and_replaces_its_predecessor() {
    use std::os::unix::fs::PermissionsExt;
    let agent = Agent::start(Hub::new("node-1"));
    let mode = std::fs::metadata(&agent.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let second = bind(&agent.socket).unwrap();
    let accepted = tokio::spawn(async move { second.accept().await.unwrap() });
    tokio::net::UnixStream::connect(&agent.socket).await.unwrap();
    accepted.await.unwrap();
    let error = bind(std::path::Path::new("/proc/no/socket")).unwrap_err().to_string();
    assert!(error.contains("/proc/no/socket") && error.contains("making its directory"), "{error}");
}
