//! Tests proxies, exceptions from proxies, and private root certificates.

use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::Stage;
use super::alarm::add_sinks;
use crate::support::child::Child;
use crate::support::inbox::Inbox;

/// A proxy on this machine that opens or rejects tunnels. The proxy ends with the test's runtime.
struct Proxy {
    url: String,
    asked_for: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(opens: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("any port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let asked_for = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::clone(&asked_for);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(tunnel(client, Arc::clone(&asked), opens));
            }
        });
        Self { url, asked_for }
    }

    fn asked_for(&self) -> Vec<String> {
        self.asked_for.lock().expect("nobody panics").clone()
    }
}

/// Handles `CONNECT host:port` (RFC 9110, 9.3.6).
async fn tunnel(mut client: TcpStream, asked_for: Arc<Mutex<Vec<String>>>, opens: bool) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split(' ');
    assert_eq!(words.next(), Some("CONNECT"), "nothing goes in the clear");
    let target = words.next().expect("a target").to_owned();
    asked_for.lock().expect("nobody panics").push(target.clone());
    let answer: &[u8] = if opens {
        b"HTTP/1.1 200 Connection established\r\n\r\n"
    } else {
        b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"
    };
    let Ok(()) = client.write_all(answer).await else { return };
    if let (true, Ok(mut server)) = (opens, TcpStream::connect(target).await) {
        // The result is ignored, because either side may close the tunnel at any time.
        let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_used_and_so_are_its_exceptions() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let proxy = Proxy::start(true).await;
    let through = [("HTTPS_PROXY", proxy.url.as_str())];
    let around = [("HTTPS_PROXY", proxy.url.as_str()), ("NO_PROXY", "localhost,.internal")];

    let done = Child::start(&stage.config, &["rotate", "one"], &through).ended("through the proxy").await;
    let tunnels = proxy.asked_for();
    let again = Child::start(&stage.config, &["rotate", "one"], &around).ended("around the proxy").await;

    assert_eq!((done.code, again.code), (Some(0), Some(0)), "{}{}", done.stderr, again.stderr);
    let here = format!("localhost:{}", stage.sandbox.addr.port());
    assert!(!tunnels.is_empty() && tunnels.iter().all(|target| *target == here), "{tunnels:?}");
    assert_eq!(proxy.asked_for(), tunnels, "an exception is one");
}

/// The addresses of the sink and of the heartbeat are secret. A proxy could read them, because these requests use plain
/// HTTP.
#[tokio::test]
async fn a_sink_and_a_heartbeat_on_loopback_bypass_the_proxy() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let (inbox, proxy) = (Inbox::open().await, Proxy::start(true).await);
    add_sinks(&stage, &[("chat", "", inbox.url("/chat"))]);
    let file = stage.dir.0.join("heartbeat");
    std::fs::write(&file, inbox.url("/ping")).expect("writable");
    let config = std::fs::read_to_string(&stage.config).expect("written");
    let more = format!("\n[heartbeat]\nurl = {{ file = \"{}\" }}\n", file.display());
    std::fs::write(&stage.config, config + &more).expect("writable");

    let env = [("HTTP_PROXY", proxy.url.as_str()), ("http_proxy", proxy.url.as_str())];
    let args = ["check", "one", "--no-redeem", "--alerts"];
    let checked = Child::start(&stage.config, &args, &env).ended("checked").await;

    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
    let lines: Vec<String> = inbox.letters().into_iter().map(|letter| letter.line).collect();
    assert_eq!(lines, ["POST /chat", "POST /ping"]);
    assert_eq!(proxy.asked_for(), Vec::<String>::new());
}

#[tokio::test]
async fn a_proxy_that_rejects_is_reported() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let proxy = Proxy::start(false).await;

    let env = [("HTTPS_PROXY", proxy.url.as_str())];
    let refused = Child::start(&stage.config, &["rotate", "one"], &env).ended("refused by the proxy").await;

    assert_eq!(refused.code, Some(1), "it may help to try again: {}", refused.stderr);
    assert!(refused.stderr.contains("proxy"), "{}", refused.stderr);
}

/// The certificate is in the host's own store, where `update-ca-certificates` puts it. So no configuration is needed.
#[tokio::test]
async fn a_private_root_in_the_systems_store_is_trusted() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let text = std::fs::read_to_string(&stage.config).expect("written");
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("ca_file")).collect();
    std::fs::write(&stage.config, without.join("\n")).expect("our own file");
    let store = stage.dir.0.join("ca.pem");
    let store = [("SSL_CERT_FILE", store.to_str().expect("a path of ours"))];

    let stranger = Child::start(&stage.config, &["rotate", "one"], &[]).ended("a stranger's").await;
    let trusted = Child::start(&stage.config, &["rotate", "one"], &store).ended("trusted").await;

    assert!(stranger.stderr.contains("TLS certificate"), "{}", stranger.stderr);
    assert!(stranger.stdout.contains("ca_file of [cloud]"), "{}", stranger.stdout);
    assert_eq!((stranger.code, trusted.code), (Some(1), Some(0)), "{}", trusted.stderr);
}
