//! Tests a host's identity service that accepts connections but never answers, or never completes its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::{Stage, is};

/// The request for an identity's token times out after 15 seconds. Other requests time out after 30 seconds. So the
/// test fails if the general timeout applies.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(30);
const DRIP_EVERY: Duration = Duration::from_millis(100);

/// A proxy in front of an identity service. The proxy ends with the test's runtime.
struct Before {
    address: SocketAddr,
    is_deaf: Arc<AtomicBool>,
}

impl Before {
    /// Starts a proxy. While `is_deaf` is true, the proxy answers each client with `drip`. After that, the proxy
    /// forwards each client to the identity service.
    async fn start(service: String, first: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let is_deaf = Arc::new(AtomicBool::new(true));
        let deaf = Arc::clone(&is_deaf);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (service, deaf) = (service.clone(), deaf.load(Ordering::Relaxed));
                tokio::spawn(async move {
                    if deaf {
                        return drip(near, first).await;
                    }
                    let mut far = TcpStream::connect(service).await?;
                    tokio::io::copy_bidirectional(&mut near, &mut far).await.map(|_| ())
                });
            }
        });
        Self { address, is_deaf }
    }
}

/// Sends `first` and then spaces, until the client closes the connection. Sends nothing if `first` is empty.
async fn drip(mut to: TcpStream, first: &str) -> std::io::Result<()> {
    // The proxy first reads the request, because HTTP does not allow an answer before the request.
    to.read_u8().await?;
    to.write_all(first.as_bytes()).await?;
    let mut drops = tokio::time::interval(DRIP_EVERY);
    loop {
        drops.tick().await;
        to.write_all(if first.is_empty() { b"" } else { b" " }).await?;
    }
}

async fn is_given_up_and_taken_up_again(first: &'static str) {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let mut env = stage.app_service().await;
    let (_, endpoint) = env.iter_mut().find(|(name, _)| name == "IDENTITY_ENDPOINT").expect("written");
    let service = reqwest::Url::parse(endpoint).expect("a URL");
    let behind = format!("127.0.0.1:{}", service.port().expect("any"));
    let before = Before::start(behind, first).await;
    *endpoint = format!("http://{}{}", before.address, service.path());
    stage.identify("");
    // The test removes the second token. Otherwise, token `one` could wait for the failure of the second token.
    let text = std::fs::read_to_string(&stage.config).expect("written");
    let (text, _other) = text.rsplit_once("\n[[token]]").expect("two of them");
    std::fs::write(&stage.config, text).expect("our own file");

    let mut daemon = stage.start_in(&env);
    daemon.logs(0, "started", |event| event["event"] == "started").await;
    let started = Instant::now();
    let gives_up = |event: &serde_json::Value| {
        is(event, "attempt_failed", "one")
            && event["kind"] == "vault_identity"
            && event["remedy"] == "retry"
            && event
                .to_string()
                .contains("no managed identity endpoint answers on this host (no answer in time)")
    };
    let place = daemon.logs(0, "that it does not answer", gives_up).await;
    assert!(started.elapsed() < GIVEN_UP_WITHIN, "{first:?}: {:?}\n{}", started.elapsed(), daemon.told());
    assert!(daemon.is_running());

    before.is_deaf.store(false, Ordering::Relaxed);
    daemon.signal("HUP");
    daemon.logs(place, "taken up", |event| is(event, "rotated", "one")).await;
}

/// The cases run concurrently, since each of them takes as long as the program's timeout.
#[tokio::test]
async fn a_silent_or_endless_identity_service_times_out_and_is_retried() {
    tokio::join!(
        is_given_up_and_taken_up_again(""),
        is_given_up_and_taken_up_again("HTTP/1.1 200 OK\r\nx-slow: "),
        is_given_up_and_taken_up_again("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{"),
    );
}
