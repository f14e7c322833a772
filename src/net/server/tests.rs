//! Tests for loopback host names, for the choice of the connection to close, and for opening and closing connections.

use super::*;

use std::sync::atomic::{AtomicBool, Ordering};

use axum::Extension;
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

#[test]
fn only_loopback_names_are_this_machine() {
    for (host, here) in [
        ("localhost", true),
        ("LocalHost:9464", true),
        ("127.0.0.1", true),
        ("127.0.0.1:1", true),
        ("127.8.9.10:65535", true),
        ("[::1]", true),
        ("[::1]:9464", true),
        ("[0:0:0:0:0:0:0:1]:9464", true),
        ("[::ffff:127.0.0.1]", true),
        ("", false),
        (":9464", false),
        ("attacker.example", false),
        ("attacker.example:9464", false),
        ("localhost.attacker.example", false),
        ("127.0.0.1.nip.io", false),
        ("foo.localhost", false),
        ("localhost@attacker.example", false),
        ("user@localhost", false),
        ("localhost:", false),
        ("localhost:x", false),
        ("localhost:99999", false),
        ("localhost:80:80", false),
        ("localhost 127.0.0.1", false),
        ("127.1", false),
        ("2130706433", false),
        ("0x7f.0.0.1", false),
        ("0.0.0.0", false),
        ("10.0.0.1", false),
        ("169.254.169.254", false),
        ("::1", false),
        ("[::]", false),
        ("[::1", false),
        ("[::1]x", false),
        ("[localhost]", false),
        ("[2001:db8::1]", false),
        ("[fe80::1%25lo]", false),
    ] {
        assert_eq!(names_this_machine(host, None), here, "{host:?}");
    }
    for (host, ours) in
        [("localhost:8400", true), ("[::1]:8400", true), ("localhost", true), ("localhost:8401", false)]
    {
        assert_eq!(names_this_machine(host, Some(8400)), ours, "{host:?}");
    }
}

#[test]
fn every_name_that_a_request_gives_counts() {
    let is_for_us = |uri: &str, hosts: &[&str]| {
        let named = hosts.iter().map(|host| (header::HOST, host.parse().expect("a header's value")));
        is_for_this_machine(&uri.parse().expect("a target"), &named.collect())
    };

    assert!(is_for_us("/status", &[]), "an old client that is no browser");
    assert!(is_for_us("/status", &["localhost"]));
    assert!(is_for_us("http://127.0.0.1:9464/status", &["localhost:9464"]));
    assert!(!is_for_us("http://attacker.example/status", &["localhost"]));
    assert!(!is_for_us("attacker.example:1", &[]));
    assert!(!is_for_us("/status", &["localhost", "attacker.example"]));
    assert!(!is_for_us("/status", &["attacker.example", "localhost"]));
    assert!(!is_for_us("/status", &["größe"]));
}

/// Returns the indices of the connections that lost their slots to other connections.
fn lost(all: &[Slot]) -> Vec<usize> {
    let lost = |(index, slot): (usize, &Slot)| slot.lost.is_cancelled().then_some(index);
    all.iter().enumerate().filter_map(lost).collect()
}

#[test]
fn a_new_connection_gets_the_slot_of_the_one_that_was_idle_for_longest() {
    let slots = Slots::new(3);
    let mut all: Vec<Slot> = (0..3).map(|_| slots.take()).collect();
    for (index, activity) in
        [(2, Activity::Busy), (0, Activity::Busy), (2, Activity::Idle), (0, Activity::Idle)]
    {
        all[index].is_now(activity);
    }

    all.push(slots.take());
    assert_eq!(lost(&all), [2], "answered first of those that are idle");
    all.push(slots.take());
    assert_eq!(lost(&all), [0, 2]);
    all.push(slots.take());
    assert_eq!(lost(&all), [0, 1, 2], "none is idle: the oldest that was never answered");
    assert_eq!(slots.lock().connections.len(), 3);
    drop(all);
    assert!(slots.lock().connections.is_empty(), "a slot is free again when its connection has ended");
}

#[test]
fn a_kept_connection_does_not_lose_its_slot() {
    let slots = Slots::new(2);
    let kept = slots.take();
    kept.is_now(Activity::Busy);
    kept.connection().keep();

    let others: Vec<Slot> = (0..5).map(|_| slots.take()).collect();
    assert!(!kept.lost.is_cancelled());
    assert_eq!(lost(&others), [0, 1, 2, 3]);
    kept.is_now(Activity::Idle);
    let _next = slots.take();
    assert!(kept.lost.is_cancelled(), "it was answered");
    assert!(slots.free_one() && slots.free_one() && !slots.free_one(), "there is no other left");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_finish_times_out() {
    let (slots, stop) = (Slots::new(1), CancellationToken::new());
    let never = || pending::<io::Result<()>>();
    let started = Instant::now();

    let slot = slots.take();
    assert_eq!(opened(never(), &slot, &stop).await, None);
    assert_eq!(started.elapsed(), OPEN_WITHIN);
    let _next = slots.take();
    assert_eq!(opened(never(), &slot, &stop).await, None, "its slot is lost");
    stop.cancel();
    assert_eq!(opened(never(), &slots.take(), &stop).await, None, "the server ends");
    assert_eq!(started.elapsed(), OPEN_WITHIN);
}

const LIMITS: ClientLimits = ClientLimits {
    connections: 8,
    head_within: Duration::from_secs(60),
    head_bytes: 8192,
    connection_lives: Duration::from_secs(60),
    keep_alive: false,
};

/// Starts a server on a free port. If `first_is_slow` is true, the handshake of the first connection never ends.
async fn served(routes: Router, first_is_slow: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let is_slow = Arc::new(AtomicBool::new(first_is_slow));
    let open = move |tcp| {
        let is_slow = is_slow.swap(false, Ordering::Relaxed);
        async move { if is_slow { pending().await } else { Ok(tcp) } }
    };
    tokio::spawn(serve(vec![listener], open, routes, LIMITS, CancellationToken::new()));
    address
}

/// Sends a request and returns everything received until the connection ends.
async fn answer(client: &mut TcpStream) -> String {
    client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("an end");
    answer
}

#[tokio::test]
async fn a_slow_handshake_delays_no_other_client() {
    let peer = async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string();
    let address = served(Router::new().route("/", get(peer)), true).await;
    let _slow = TcpStream::connect(address).await.expect("accepted");
    let mut client = TcpStream::connect(address).await.expect("accepted");

    let answer = tokio::time::timeout(OPEN_WITHIN / 2, answer(&mut client)).await.expect("in time");

    let own = client.local_addr().expect("an address").to_string();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(&own), "{answer}");
}

#[tokio::test]
async fn a_connection_that_is_cut_ends_without_an_answer() {
    let cut = async |Extension(connection): Extension<Connection>| {
        connection.cut();
        "never sent"
    };
    let address = served(Router::new().route("/", get(cut)), false).await;
    let mut client = TcpStream::connect(address).await.expect("accepted");

    assert_eq!(answer(&mut client).await, "");
}
