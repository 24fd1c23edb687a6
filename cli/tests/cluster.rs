//! In: an API server's answers. Out: proof of what `ferra get` and `ferra describe` make of them.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

/// A server that knows a few objects, with a kubeconfig for it.
struct Server {
    kubeconfig: PathBuf,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start(objects: fn(&str) -> Option<Value>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("kubeconfig");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": format!("http://{}", listener.local_addr().unwrap())}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "team-a"}}]
        });
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                std::thread::spawn(move || answer(&connection.unwrap(), objects));
            }
        });
        Server { kubeconfig, _directory: directory }
    }

    fn ferra(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferra"));
        finished(command.args(arguments).env("KUBECONFIG", &self.kubeconfig))
    }
}

fn finished(command: &mut Command) -> (i32, String, String) {
    let run = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (run.status.code().unwrap(), text(run.stdout), text(run.stderr))
}

fn answer(connection: &TcpStream, objects: fn(&str) -> Option<Value>) {
    let mut requests = BufReader::new(connection);
    loop {
        let mut line = String::new();
        if requests.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap().split('?').next().unwrap().to_owned();
        while line.trim() != "" {
            line.clear();
            requests.read_line(&mut line).unwrap();
        }
        let (status, body) = match objects(&path) {
            Some(body) => ("200 OK", body),
            None => {
                let message = "not here";
                (
                    "404 Not Found",
                    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                                          "message": message, "reason": "NotFound", "code": 404}),
                )
            }
        };
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut out = connection;
        out.write_all((head + &body).as_bytes()).unwrap();
    }
}

const API: &str = "/apis/cilium.io/v1alpha1";

fn policy(kind: &str, namespace: Option<&str>, name: &str) -> Value {
    json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "generation": 1},
        "spec": {"kprobes": [{"call": "fd_install", "syscall": "wrong shape"}]},
        "status": {"observedGeneration": 1, "mode": "monitor", "hooks": 1,
                   "nodes": {"desired": 2, "programmed": 2, "failed": 0, "summary": "2/2"}}
    })
}

fn list(kind: &str, items: &[Value]) -> Value {
    json!({"apiVersion": "cilium.io/v1alpha1", "kind": format!("{kind}List"), "metadata": {}, "items": items})
}

fn fleet(path: &str) -> Option<Value> {
    let wide = policy("TracingPolicy", None, "wide");
    let of = |namespace| policy("TracingPolicyNamespaced", Some(namespace), "local");
    let path = path.strip_prefix(API).unwrap_or(path);
    Some(match path {
        "/tracingpolicies" => list("TracingPolicy", &[wide]),
        "/tracingpolicies/wide" => wide,
        "/tracingpoliciesnamespaced" => list("TracingPolicyNamespaced", &[of("team-a"), of("team-b")]),
        "/namespaces/team-a/tracingpoliciesnamespaced" => list("TracingPolicyNamespaced", &[of("team-a")]),
        "/namespaces/team-b/tracingpoliciesnamespaced" => list("TracingPolicyNamespaced", &[of("team-b")]),
        "/namespaces/team-b/tracingpoliciesnamespaced/local" => of("team-b"),
        "/api/v1/namespaces/ferragon/configmaps/ferragon-fleet" => json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ferragon-fleet"},
            "data": {
                "nodes.json": r#"[{"node":"node-1","kernel":"6.1.0","agentVersion":"0.1.0","generation":3,"desiredGeneration":3,"connected":true,"failingHooks":["kprobe/f: ENOENT"]}]"#,
                "omitted": "12"
            }
        }),
        _ => return None,
    })
}

#[test]
fn policies_of_each_scope() {
    let server = Server::start(fleet);
    let shown = |arguments: &[&str]| {
        let (code, out, err) = server.ferra(&[&["get", "policies"], arguments].concat());
        assert_eq!(code, 0, "{err}");
        let first = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join("/");
        out.lines().skip(1).map(first).collect::<Vec<_>>()
    };
    assert_eq!(shown(&[]), ["-/wide", "team-a/local"]);
    assert_eq!(shown(&["-A"]), ["-/wide", "team-a/local", "team-b/local"]);
    assert_eq!(shown(&["-n", "team-b"]), ["team-b/local"]);
    assert_eq!(shown(&["wide"]), ["-/wide"]);
    assert_eq!(shown(&["local", "-n", "team-b"]), ["team-b/local"]);
}

#[test]
fn objects_come_as_json_and_yaml() {
    let server = Server::start(fleet);
    let (_, out, _) = server.ferra(&["get", "policies", "-A", "-o", "json"]);
    let list: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    let (_, out, _) = server.ferra(&["get", "policies", "wide", "-o", "yaml"]);
    assert!(out.contains("kind: TracingPolicy\n") && out.contains("name: wide\n"), "{out}");
}

#[test]
fn nodes_come_from_the_operators_list() {
    let server = Server::start(fleet);
    let (code, out, err) = server.ferra(&["get", "nodes", "-o", "wide"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("node-1   Failing   6.1.0    0.1.0   3"), "{out}");
    assert!(out.contains("kprobe/f: ENOENT"), "{out}");
    assert!(err.contains("12 more nodes are not listed"), "{err}");
    let (code, _, err) = server.ferra(&["get", "nodes", "--operator-namespace", "other"]);
    assert_eq!(code, 1);
    assert!(err.contains("no ConfigMap ferragon-fleet in namespace \"other\""), "{err}");
}

#[test]
fn one_policy_is_described() {
    let server = Server::start(fleet);
    let (code, out, err) = server.ferra(&["describe", "policy", "local", "-n", "team-b"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("Name:         local\nNamespace:    team-b\n"), "{out}");
    let (code, _, err) = server.ferra(&["describe", "policy", "local"]);
    assert_eq!(code, 1);
    assert!(err.contains("no cluster-wide policy \"local\": add -n NAMESPACE"), "{err}");
}

#[test]
fn without_the_definitions_it_says_so() {
    let server = Server::start(|_| None);
    let (code, _, err) = server.ferra(&["get", "policies"]);
    assert_eq!(code, 1);
    assert!(err.contains("has no tracingpolicies: is Ferragon installed there?"), "{err}");
}

#[test]
fn without_a_cluster_it_says_so() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferra"));
    let nowhere = command.args(["get", "nodes"]).env_clear().env("HOME", "/nonexistent");
    let (code, _, err) = finished(nowhere);
    assert_eq!(code, 1);
    assert!(err.contains("no cluster is configured: set $KUBECONFIG"), "{err}");
}

#[test]
fn a_cluster_that_is_down_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    // Nobody listens on port 1.
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "c", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferra"));
    let (code, _, err) = finished(command.args(["get", "policies"]).env("KUBECONFIG", kubeconfig));
    assert_eq!(code, 1);
    assert!(err.contains("https://127.0.0.1:1") && err.contains("refused"), "{err}");
}
