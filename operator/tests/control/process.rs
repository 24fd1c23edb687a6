//! In: the operator's binary. Out: replicas as processes, ended when dropped.

use std::process::{Child, Command, Stdio};

use crate::plane::{NAMESPACE, Plane};

/// One replica.
pub struct Replica {
    child: Child,
    pub pod: String,
    pub http: u16,
    pub fleet: u16,
    pub log: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

/// Ports that nobody listens on now.
fn ports() -> [u16; 3] {
    let listen = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    [listen(), listen(), listen()].map(|listener| listener.local_addr().unwrap().port())
}

impl Replica {
    pub fn start(plane: &Plane, pod: &str) -> Replica {
        let [http, fleet, webhook] = ports();
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let child = Command::new(env!("CARGO_BIN_EXE_ferragon-operator"))
            .args(["--log-level", "info,operator=debug", "--namespace", NAMESPACE, "--pod", pod])
            .args(["--http-address", &format!("127.0.0.1:{http}")])
            .args(["--fleet-address", &format!("127.0.0.1:{fleet}")])
            .args(["--webhook-address", &format!("127.0.0.1:{webhook}")])
            .env("KUBECONFIG", plane.operator_kubeconfig())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Replica { child, pod: pod.to_owned(), http, fleet, log, _folder: folder }
    }

    /// Sends a signal by name, such as `STOP`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }

    /// What an HTTP path answers: status and body.
    pub async fn ask(&self, path: &str) -> Option<(u16, String)> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", self.http)).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        let read = socket.read_to_string(&mut answer);
        tokio::time::timeout(std::time::Duration::from_secs(5), read).await.ok()?.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// Waits until a path answers with this status.
    pub async fn answers(&self, path: &str, status: u16, seconds: u64) -> String {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
        loop {
            let answer = self.ask(path).await;
            match answer {
                Some((found, body)) if found == status => return body,
                _ => {}
            }
            let log = || std::fs::read_to_string(&self.log).unwrap_or_default();
            assert!(std::time::Instant::now() < deadline, "{path} of {}: {answer:?}\n{}", self.pod, log());
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    /// Whether it says that it leads.
    pub async fn leads(&self) -> bool {
        let metrics = self.ask("/metrics").await.map(|(_, text)| text).unwrap_or_default();
        metrics.lines().any(|line| line == "ferragon_operator_leader 1")
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
