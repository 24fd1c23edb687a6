//! In: clients, good and slow. Out: that each is answered or sent away.

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

async fn start(bounds: Bounds) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        "late"
    };
    let router = Router::new().route("/", get(|| async { "hello" })).route("/slow", get(slow));
    let stop = CancellationToken::new();
    (address, stop.clone(), tokio::spawn(serve(listener, None, router, bounds, stop)))
}

async fn ask(address: SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn who_says_nothing_holds_up_nobody_for_long() {
    let bounds = Bounds { connections: 1, idle: Duration::from_millis(100), ..Bounds::WEBHOOK };
    let (address, stop, served) = start(bounds).await;
    let _silent = TcpStream::connect(address).await.unwrap();
    assert!(ask(address, "/").await.ends_with("hello"));
    stop.cancel();
    served.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn what_was_begun_is_answered_before_the_end() {
    let (address, stop, served) = start(Bounds::PROBES).await;
    let asked = tokio::spawn(async move { ask(address, "/slow").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.cancel();
    assert!(asked.await.unwrap().ends_with("late"));
    served.await.unwrap();
}

#[tokio::test]
async fn probes_do_not_wait_behind_silent_connections() {
    let bounds = Bounds { connections: 2, idle: Duration::from_millis(500), ..Bounds::PROBES };
    let (address, stop, served) = start(bounds).await;
    let silent = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut beyond = TcpStream::connect(address).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_millis(300), beyond.read(&mut [0; 1])).await;
    assert!(!matches!(closed.expect("closed at once"), Ok(1..)));
    // They give way soon, though their clients do nothing.
    let mut answered = false;
    for _ in 0..30 {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let mut answer = String::new();
        if socket.write_all(request.as_bytes()).await.is_ok() {
            let _ = socket.read_to_string(&mut answer).await;
        }
        answered |= answer.ends_with("hello");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(answered);
    drop(silent);
    stop.cancel();
    served.await.unwrap();
}
