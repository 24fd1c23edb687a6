//! In: events of an agent's hub, `ferra getevents` on its socket. Out: proof of what it prints and how it ends.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::events::{Hub, bind, serve};
use api::event::{Body, Event, Pod, Process, ProcessExec, ProcessInfo, Subject, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// Nothing may take longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent's event socket.
struct Agent {
    hub: Hub,
    stop: Option<oneshot::Sender<()>>,
    runtime: Option<Runtime>,
}

impl Agent {
    fn start(socket: &Path) -> Agent {
        Agent::with(socket, Hub::new("node-1"))
    }

    fn with(socket: &Path, hub: Hub) -> Agent {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let listener = runtime.block_on(async { bind(socket).unwrap() });
        let served = serve(hub.clone(), listener, async move { drop(stopped.await) });
        runtime.spawn(async move { served.await.unwrap() });
        Agent { hub, stop: Some(stop), runtime: Some(runtime) }
    }

    fn wait_for_subscribers(&self, count: usize) {
        let begun = Instant::now();
        while self.hub.counters().subscribers != count {
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.hub.counters());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(mut self) {
        self.stop.take();
        std::thread::sleep(Duration::from_millis(200));
        self.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(5));
    }
}

/// A directory with a place for a socket.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("events.sock")
    }

    fn getevents(&self, arguments: &[&str]) -> Ferra {
        let address = format!("--server-address=unix://{}", self.socket().display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferra"));
        command.arg("getevents").arg(address).args(arguments).stdin(Stdio::null());
        Ferra(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }
}

struct Ferra(Child);

impl Ferra {
    fn lines(&mut self, count: usize) -> Vec<String> {
        let out = self.0.stdout.as_mut().unwrap();
        let mut read = BufReader::with_capacity(1, out);
        let mut lines = Vec::new();
        for _ in 0..count {
            let mut line = String::new();
            read.read_line(&mut line).unwrap();
            lines.push(line);
        }
        lines
    }

    /// The next line on standard error.
    fn says(&mut self) -> String {
        let mut line = String::new();
        BufReader::with_capacity(1, self.0.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        line
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Exit code, and what is left on standard error.
    fn ends(mut self) -> (Option<i32>, String) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                self.0.kill().unwrap();
                panic!("it does not end");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut err = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (status.code(), err)
    }
}

impl Drop for Ferra {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn exec(pid: u32, pod: Option<&str>, arguments: &str) -> Event {
    let pod = pod.map(|name| Pod { namespace: "default".into(), name: name.into(), ..Pod::default() });
    let info = ProcessInfo {
        pid,
        binary: "/bin/cat".into(),
        arguments: arguments.into(),
        pod: pod.map(Arc::new),
        ..ProcessInfo::default()
    };
    let process = Subject { process: Arc::new(Process::new(info)), tid: pid, refcnt: 0 };
    let body = Body::Exec(ProcessExec { process, parent: None, ancestors: vec![] });
    Event { body, node_name: "node-1".into(), time: Timestamp(1_500_000_000) }
}

#[test]
fn json_is_what_the_agent_knows() {
    let place = Place::new();
    let agent = Agent::start(&place.socket());
    let mut ferra = place.getevents(&[]);
    agent.wait_for_subscribers(1);
    let event = exec(7, Some("xwing"), "a b");
    agent.hub.publish(&event);
    let mut expected = String::new();
    api::json::write_line(&event, &mut expected);
    assert_eq!(ferra.lines(1), [expected]);
}

#[test]
fn compact_shows_the_pods_that_are_asked_for() {
    let place = Place::new();
    let agent = Agent::start(&place.socket());
    let mut ferra = place.getevents(&["-o", "compact", "--pods", "xwing", "--timestamps"]);
    agent.wait_for_subscribers(1);
    for event in
        [exec(1, None, "host"), exec(2, Some("deathstar"), "other"), exec(3, Some("xwing"), "/etc/passwd")]
    {
        agent.hub.publish(&event);
    }
    assert_eq!(
        ferra.lines(1),
        ["1970-01-01T00:00:01.500000000Z 🚀 process default/xwing /bin/cat /etc/passwd\n"]
    );
}

#[test]
fn host_and_namespaces_are_told_apart() {
    let place = Place::new();
    let agent = Agent::start(&place.socket());
    let mut host = place.getevents(&["-o", "compact", "--host"]);
    let mut pods = place.getevents(&["-o", "compact", "-n", "default,other"]);
    agent.wait_for_subscribers(2);
    [exec(1, Some("xwing"), "pod"), exec(2, None, "host"), exec(3, Some("xwing"), "pod")]
        .iter()
        .for_each(|event| agent.hub.publish(event));
    assert_eq!(host.lines(1), ["🚀 process node-1 /bin/cat host\n"]);
    assert_eq!(pods.lines(2), ["🚀 process default/xwing /bin/cat pod\n"; 2]);
}

#[test]
fn it_waits_for_an_agent_that_restarts() {
    let place = Place::new();
    let agent = Agent::start(&place.socket());
    let mut ferra = place.getevents(&["-o", "compact"]);
    agent.wait_for_subscribers(1);
    agent.hub.publish(&exec(1, None, "before"));
    assert_eq!(ferra.lines(1), ["🚀 process node-1 /bin/cat before\n"]);
    agent.end();
    let told = ferra.says();
    assert!(told.contains("waiting for the agent to come back"), "{told}");
    let agent = Agent::start(&place.socket());
    agent.wait_for_subscribers(1);
    agent.hub.publish(&exec(2, None, "after"));
    assert_eq!(ferra.lines(1), ["🚀 process node-1 /bin/cat after\n"]);
    let told = ferra.says();
    assert!(told.contains("the agent is back"), "{told}");
}

#[test]
fn it_can_end_with_its_agent() {
    let place = Place::new();
    let agent = Agent::start(&place.socket());
    let ferra = place.getevents(&["--no-reconnect"]);
    agent.wait_for_subscribers(1);
    agent.end();
    let (code, err) = ferra.ends();
    assert_eq!(code, Some(1), "{err}");
    assert!(err.starts_with("ferra: the agent"), "{err}");
}

#[test]
fn without_an_agent_it_says_where_it_looked() {
    let place = Place::new();
    let (code, err) = place.getevents(&[]).ends();
    assert_eq!(code, Some(1));
    assert!(err.contains("no agent answers at unix://") && err.contains("No such file"), "{err}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferra"));
    let run = command.args(["getevents", "--server-address", "localhost:54321"]).output().unwrap();
    let err = String::from_utf8(run.stderr).unwrap();
    assert!(!run.status.success() && err.contains("use unix:///PATH"), "{err}");
}

#[test]
fn mistakes_are_refused_without_an_agent() {
    let place = Place::new();
    for (arguments, message) in [
        (["--pods", "("], "pod_regex: \"(\" is not a regular expression"),
        (["-e", "PROCESS_FORK"], "unknown event type \"PROCESS_FORK\""),
        (["-l", "a b"], "labels: \"a b\""),
    ] {
        let (code, err) = place.getevents(&arguments).ends();
        assert_eq!(code, Some(1));
        assert!(err.contains(message), "{err}");
    }
}

#[test]
fn a_closed_pipe_ends_it_although_nothing_happens() {
    let place = Place::new();
    let agent = Agent::start(&place.socket());
    let mut ferra = place.getevents(&[]);
    agent.wait_for_subscribers(1);
    drop(ferra.0.stdout.take());
    assert_eq!(ferra.ends(), (Some(0), String::new()));
    agent.wait_for_subscribers(0);
}

#[test]
fn signals_end_it_cleanly() {
    let place = Place::new();
    let agent = Agent::start(&place.socket());
    for signal in [Signal::INT, Signal::TERM] {
        let ferra = place.getevents(&["-o", "compact"]);
        agent.wait_for_subscribers(1);
        ferra.signal(signal);
        assert_eq!(ferra.ends(), (Some(0), String::new()));
        agent.wait_for_subscribers(0);
    }
}

#[test]
fn events_that_it_was_too_slow_for_are_counted() {
    let place = Place::new();
    let agent = Agent::with(&place.socket(), Hub::with_bounds("node-1", 8, usize::MAX));
    let mut ferra = place.getevents(&["-o", "compact"]);
    agent.wait_for_subscribers(1);
    for pid in 0..20_000 {
        agent.hub.publish(&exec(pid, None, ""));
    }
    // Its output goes somewhere, or it would wait for its reader.
    let mut out = ferra.0.stdout.take().unwrap();
    let drain = std::thread::spawn(move || out.read_to_end(&mut Vec::new()));
    let told = ferra.says();
    assert!(told.contains("events are missing here"), "{told}");
    // It may tell of so many gaps that it would wait for the reader of these, too.
    let mut err = ferra.0.stderr.take().unwrap();
    let drain_told = std::thread::spawn(move || err.read_to_end(&mut Vec::new()));
    assert!(agent.hub.counters().lost > 0);
    ferra.signal(Signal::TERM);
    drain.join().unwrap().unwrap();
    drain_told.join().unwrap().unwrap();
}
