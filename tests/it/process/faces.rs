//! Tests which clients get answers from the program while many other clients are connected.

use std::net::TcpStream as Blocking;
use std::time::Duration;

use chrono::TimeDelta;
use perennial::sandbox::world::{Fault, FaultEffect, Operation, Peer};
use rustix::process::{Resource, Rlimit};
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Stage;
use crate::support::child::{eventually, get};

/// The time limit for an answer. A Kubernetes probe waits for only a second.
const BOUND: Duration = Duration::from_secs(20);

/// This many clients keep connections open. The same number of other clients never complete a request. The number
/// exceeds the program's limit on connections.
const CLIENTS: usize = 1_000;

/// Raises this process's limit of open files, because this process simulates all clients.
fn raise_own_limit() {
    let most = rustix::process::getrlimit(Resource::Nofile).maximum;
    // If raising the limit is not allowed, the old limit stays.
    let _same = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
}

/// Sends the bytes of a request and reads until the server closes the connection.
async fn say(address: &str, request: &str) -> String {
    let asking = async {
        let mut connection = TcpStream::connect(address).await?;
        connection.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    tokio::time::timeout(BOUND, asking).await.expect("an answer in time").expect("an answer")
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

/// Sends a request on an open connection. Returns whether an answer came.
async fn ask(connection: &mut TcpStream, address: &str) -> std::io::Result<bool> {
    let request = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    Ok(connection.read(&mut [0; 1024]).await? > 0)
}

/// Sends two requests per second as long as answers come.
async fn keep_asking(mut connection: TcpStream, address: String) -> std::io::Result<()> {
    let mut turn = tokio::time::interval(Duration::from_millis(500));
    while ask(&mut connection, &address).await? {
        turn.tick().await;
    }
    Ok(())
}

/// Sends half a request and waits. If the server closes the connection, does the same on a new connection.
async fn keep_half_open(address: String) -> std::io::Result<()> {
    let mut turn = tokio::time::interval(Duration::from_millis(500));
    loop {
        let mut connection = TcpStream::connect(&address).await?;
        // The result is ignored, because the server may close the connection at any time.
        let _closed = connection.write_all(b"GET /livez HTTP/1.1\r\nHo").await;
        let _closed = connection.read(&mut [0; 64]).await;
        turn.tick().await;
    }
}

#[tokio::test]
async fn a_foreign_host_name_is_rejected_on_loopback() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let daemon = stage.start(&["run"]);
    let address = daemon.address().await;
    let is_ready = || get(&address, "/readyz").starts_with("HTTP/1.1 200").then_some(());
    eventually("every token was tried", is_ready).await;
    let port = address.rsplit(':').next().expect("a port").to_owned();

    for path in
        ["/", "/status", "/metrics", "/health", "/health?token=one", "/livez", "/readyz", "/healthz", "/no"]
    {
        for host in ["attacker.example", &format!("attacker.example:{port}"), "localhost.attacker.example"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let answer = say(&address, &request).await;
            assert_eq!(status(&answer), "421", "{host} {path}: {answer}");
            assert!(!answer.contains("current") && !answer.contains("perennial_"), "{host} {path}: {answer}");
        }
        for host in [address.as_str(), "localhost", &format!("localhost:{port}"), "[::1]:9464"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let answer = say(&address, &request).await;
            let wanted = if path == "/no" { "404" } else { "200" };
            assert_eq!(status(&answer), wanted, "{host} {path}: {answer}");
        }
    }
    let old = say(&address, "GET /livez HTTP/1.0\r\n\r\n").await;
    assert_eq!(status(&old), "200", "no browser sends none: {old}");
}

#[tokio::test]
async fn probes_are_answered_beside_a_thousand_kept_and_a_thousand_half_open_connections() {
    raise_own_limit();
    let stage = Stage::set(TimeDelta::days(1)).await;
    let daemon = stage.start(&["run"]);
    let address = daemon.address().await;
    let is_ready = || get(&address, "/readyz").starts_with("HTTP/1.1 200").then_some(());
    eventually("every token was tried", is_ready).await;
    let open = || std::fs::read_dir(format!("/proc/{}/fd", daemon.id())).expect("it runs").count();
    let before = open();
    let mut clients = JoinSet::new();
    for nth in 0..CLIENTS {
        let mut connection = TcpStream::connect(&address).await.expect("it listens");
        let answered = tokio::time::timeout(BOUND, ask(&mut connection, &address)).await;
        assert!(answered.is_ok_and(|answered| answered.expect("an answer")), "client {nth}");
        clients.spawn(keep_asking(connection, address.clone()));
        clients.spawn(keep_half_open(address.clone()));
    }

    let mut slowest = Duration::ZERO;
    for path in ["/livez", "/healthz", "/readyz", "/health", "/metrics"].into_iter().cycle().take(50) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        let since = tokio::time::Instant::now();
        assert_eq!(status(&say(&address, &request).await), "200", "{path}");
        slowest = slowest.max(since.elapsed());
    }
    eprintln!("50 probes beside {} other clients: the slowest took {slowest:?}", 2 * CLIENTS);

    let held = open() - before;
    assert!(held <= perennial::serve::http::CONNECTIONS + 8, "{held} connections are held");
}

#[tokio::test]
async fn clients_leave_the_program_descriptors_for_its_own_connections() {
    raise_own_limit();
    let stage = Stage::set(TimeDelta::days(1)).await;
    // With this delay, the clients connect before the program opens its first connection to the vault.
    let wait = Fault::of(Peer::Entra, FaultEffect::Delay(Duration::from_secs(2))).on(Operation::Identity);
    stage.world().inject(wait.times(1));
    let daemon = super::adversity::with_at_most(64, "run", &stage);
    let address = daemon.address().await;

    let held: Vec<Blocking> = (0..200).filter_map(|_| Blocking::connect(&address).ok()).collect();
    assert_eq!(held.len(), 200, "the kernel takes them");
    let request = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&say(&address, &request).await), "200");
    let is_ready = || get(&address, "/readyz").starts_with("HTTP/1.1 200").then_some(());
    eventually("every token was tried", is_ready).await;

    let short = |event: &serde_json::Value| event["event"] == "attempt_failed";
    assert!(!daemon.events(0).iter().any(short), "{}", daemon.told());
    drop(held);
}
