//! Tests the HTTP endpoints of the shipped program, and of a daemon that runs in this process with a simulated world.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use perennial::daemon;
use perennial::net::calls::Calls;
use perennial::net::http::http_client;
use perennial::net::no_response::NoResponse;
use perennial::process::clock::Clock;
use perennial::sandbox::world::{Fault, FaultEffect, Partner, Peer, World};
use perennial::serve::http;
use perennial::serve::http::Extras;
use perennial::token::managed::Policy;
use perennial::token::version::tag;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::rotation::daemon::{Daemon, Lab};
use crate::support::harness;

/// The time limit for an answer. Everything runs on this machine, so a slower answer is a failure.
const BOUND: Duration = Duration::from_secs(60);

/// A daemon and its server, over a simulated world.
struct Served {
    address: SocketAddr,
    daemon: daemon::Daemon,
    stop: CancellationToken,
    client: reqwest::Client,
    /// At the end of the test, all tasks end at once, as in a crash.
    tasks: JoinSet<()>,
}

impl Served {
    async fn start(world: &World, partners: &[(&str, &Partner)], status: bool) -> Self {
        Self::start_at("127.0.0.1:0", world, partners, status).await
    }

    async fn start_at(listen: &str, world: &World, partners: &[(&str, &Partner)], status: bool) -> Self {
        let clock = Clock::running(world.now(), 1.0);
        let grants: Vec<_> = partners
            .iter()
            .map(|(name, partner)| harness::grant(name, partner, &Policy::default()))
            .collect();
        let rotators: Vec<_> =
            grants.iter().map(|grant| harness::rotator(world, clock.clone(), grant, "run", 1)).collect();
        let daemon = daemon::Daemon::new(rotators, &clock, |board| board);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let listener = TcpListener::bind(listen).await.expect("a free port");
        let mut address = listener.local_addr().expect("it is bound");
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        let extras = Extras { calls: Arc::new(Calls::default()), status };
        tasks.spawn(http::serve(listener, daemon.board().clone(), extras, stop.clone()));
        let client = http_client(None, false).expect("a client");
        Self { address, daemon, stop, client, tasks }
    }

    async fn ask(&self, method: Method, path: &str) -> reqwest::Response {
        let request = self.client.request(method, format!("http://{}{path}", self.address));
        request.send().await.expect("an answer")
    }

    async fn code(&self, path: &str) -> u16 {
        self.ask(Method::GET, path).await.status().as_u16()
    }

    async fn text(&self, path: &str) -> String {
        self.ask(Method::GET, path).await.text().await.expect("text")
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).expect("JSON")
    }

    /// Waits until `wanted` returns true for the published status.
    async fn until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut news = self.daemon.board().subscribe();
        let wait = async {
            loop {
                let status = serde_json::to_value(self.daemon.board().status()).expect("JSON");
                if wanted(&status) {
                    return status;
                }
                news.changed().await.expect("the board is there");
            }
        };
        tokio::time::timeout(BOUND, wait).await.expect("in time")
    }

    /// Sends these bytes and reads until the server closes the connection.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut connection = TcpStream::connect(self.address).await.expect("it listens");
        connection.write_all(bytes).await.expect("it reads");
        let mut answer = Vec::new();
        // A reset connection also counts as closed.
        let _reset = tokio::time::timeout(BOUND, connection.read_to_end(&mut answer)).await.expect("in time");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn state_is(status: &Value, state: &str) -> bool {
    status["tokens"].as_array().expect("a list").iter().all(|token| token["state"] == state)
}

#[tokio::test]
async fn a_healthy_daemon_answers_all_endpoints() {
    let (world, partner) = harness::still_world();
    let served = Served::start(&world, &[("contoso", &partner)], true).await;
    served.until(|status| state_is(status, "current")).await;

    for path in
        ["/livez", "/healthz", "/readyz", "/health", "/health?token=contoso", "/metrics", "/status", "/"]
    {
        assert_eq!(served.code(path).await, 200, "{path}");
    }
    assert_eq!(served.text("/livez").await.trim(), "ok");
    assert_eq!(served.json("/health").await["healthy"], true);
    let status = served.json("/status").await;
    assert_eq!((&status["schema"], &status["source"]), (&2.into(), &"daemon".into()));
    assert!(served.text("/").await.contains("All is well"));
    let metrics = served.text("/metrics").await;
    assert!(metrics.contains("perennial_tokens{state=\"current\"} 1\n"), "{metrics}");
    assert!(
        metrics.contains("perennial_rotations_total{token=\"contoso\",outcome=\"saved\"} 1\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_dead_grant_fails_health_and_not_livez() {
    let (world, partner) = harness::still_world();
    let other = world.add_partner("fabrikam", harness::VAULT, None);
    world.revoke_user(&partner.user_oid);
    let served = Served::start(&world, &[("contoso", &partner), ("fabrikam", &other)], true).await;
    served.until(|status| status["tokens"][0]["state"] == "needs_login").await;
    served.until(|status| status["tokens"][1]["state"] == "current").await;

    assert_eq!((served.code("/livez").await, served.code("/readyz").await), (200, 200));
    assert_eq!(served.code("/health").await, 503);
    assert_eq!(served.code("/health?token=contoso").await, 503);
    assert_eq!(served.code("/health?token=fabrikam").await, 200);
    assert_eq!(served.code("/health?token=nobody").await, 404);
    assert_eq!(served.json("/health").await["critical"], serde_json::json!(["login_required"]));
    assert!(served.text("/").await.contains("Sign-in required"));
    let metrics = served.text("/metrics").await;
    assert!(metrics.contains("perennial_condition{kind=\"login_required\",token=\"contoso\"} 1\n"));
    assert!(metrics.contains("perennial_failures_total{kind=\"login_required\"} 1\n"), "{metrics}");
    assert!(metrics.contains("perennial_token_runway_seconds{token=\"contoso\"} 0\n"));
}

#[tokio::test]
async fn readyz_succeeds_once_every_token_was_tried() {
    let (world, partner) = harness::still_world();
    world.inject(Fault::of(Peer::KeyVault, FaultEffect::Transport(NoResponse::TimedOut)));
    // Each call takes a second, so `/livez` and `/readyz` answer before the first attempt ends.
    world.set_latency(Duration::from_secs(1));
    let served = Served::start(&world, &[("contoso", &partner)], true).await;

    assert_eq!((served.code("/livez").await, served.code("/readyz").await), (200, 503));
    let mut news = served.daemon.board().subscribe();
    let tried = async {
        while !served.daemon.board().is_ready() {
            news.changed().await.expect("it is there");
        }
    };
    tokio::time::timeout(BOUND, tried).await.expect("in time");
    assert_eq!(served.code("/readyz").await, 200);
}

#[tokio::test]
async fn pages_that_name_customers_are_served_only_if_configured() {
    let (world, partner) = harness::still_world();
    let served = Served::start(&world, &[("contoso", &partner)], false).await;

    for path in ["/", "/status", "/health?token=contoso", "/health?token=unknown"] {
        let answer = served.ask(Method::GET, path).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        let text = answer.text().await.expect("text");
        assert!(text.contains("status = true in [http]") && text.lines().count() == 1, "{text}");
    }
    assert_eq!((served.code("/metrics").await, served.code("/health").await), (200, 200));
    let metrics = served.text("/metrics").await;
    assert!(metrics.contains("perennial_tokens{") && !metrics.contains("contoso"), "{metrics}");
}

#[tokio::test]
async fn the_page_reloads_unless_paused() {
    let (world, partner) = harness::still_world();
    let served = Served::start(&world, &[("contoso", &partner)], true).await;

    for (path, refresh) in [("/", true), ("/?other", true), ("/?paused", false), ("/status", false)] {
        let answer = served.ask(Method::GET, path).await;
        let told = answer.headers().get("refresh").map(|value| value.to_str().expect("text"));
        assert_eq!(told, refresh.then_some("15;url=./"), "{path}");
    }
}

#[tokio::test]
async fn every_answer_has_security_headers() {
    let (world, partner) = harness::still_world();
    let served = Served::start(&world, &[("contoso", &partner)], true).await;

    for (method, path, code) in [
        (Method::GET, "/", 200),
        (Method::HEAD, "/", 200),
        (Method::HEAD, "/livez", 200),
        (Method::GET, "/nothing", 404),
        (Method::GET, "/health/", 404),
        (Method::GET, "/health?token=%FF%00", 404),
        (Method::GET, "/health?token=a&token=b", 400),
        (Method::POST, "/", 405),
        (Method::DELETE, "/status", 405),
        (Method::OPTIONS, "/metrics", 405),
        (Method::TRACE, "/livez", 405),
    ] {
        let answer = served.ask(method.clone(), path).await;

        assert_eq!(answer.status().as_u16(), code, "{method} {path}");
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", perennial::serve::page::POLICY),
        ] {
            assert_eq!(answer.headers()[name], value, "{method} {path}");
        }
        if method == Method::HEAD {
            assert!(answer.text().await.expect("text").is_empty());
        }
    }
}

#[tokio::test]
async fn malformed_requests_are_answered_or_closed() {
    let (world, partner) = harness::still_world();
    let served = Served::start(&world, &[("contoso", &partner)], true).await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(5_000));

    for (sent, begins) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], "HTTP/1.1 400"),
        (b"\x00\xff\r\n\r\n", "HTTP/1.1 400"),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "HTTP/1.1 404"),
        (b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\nConnection: close\r\n\r\n", "HTTP/1.1 404"),
        (b"GET //livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "HTTP/1.1 404"),
        (b"GET http://localhost/livez HTTP/1.0\r\n\r\n", "HTTP/1.0 200"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1"),
        (
            b"POST /livez HTTP/1.1\r\nContent-Length: 999999999\r\nConnection: close\r\n\r\nabc",
            "HTTP/1.1 405",
        ),
        (long.as_bytes(), "HTTP/1.1 4"),
        (many.as_bytes(), "HTTP/1.1 431"),
    ] {
        let answer = served.raw(sent).await;

        assert!(answer.is_empty() || answer.starts_with(begins), "{begins}: {answer:.300}");
    }
    assert_eq!(served.code("/livez").await, 200);
}

#[tokio::test]
async fn on_loopback_only_this_machines_names_are_served() {
    let (world, partner) = harness::still_world();
    let served = Served::start(&world, &[("contoso", &partner)], true).await;

    for (sent, code) in [
        ("GET /status HTTP/1.1\r\nHost: attacker.example\r\nConnection: close\r\n\r\n", "421"),
        ("HEAD / HTTP/1.1\r\nHost: attacker.example\r\nConnection: close\r\n\r\n", "421"),
        ("POST / HTTP/1.1\r\nHost: attacker.example\r\nConnection: close\r\n\r\n", "421"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "421"),
        (
            "GET http://attacker.example/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            "421",
        ),
        (
            "GET /status HTTP/1.1\r\nHost: localhost\r\nHost: attacker.example\r\nConnection: close\r\n\r\n",
            "421",
        ),
        ("GET /no/such HTTP/1.0\r\nHost: attacker.example\r\n\r\n", "421"),
        ("GET /livez HTTP/1.0\r\nHost:\r\n\r\n", "421"),
        ("GET /livez HTTP/1.1\r\nHost: [::1]:1\r\nConnection: close\r\n\r\n", "200"),
        ("GET /livez HTTP/1.0\r\n\r\n", "200"),
    ] {
        let answer = served.raw(sent.as_bytes()).await;

        assert_eq!(answer.split(' ').nth(1), Some(code), "{sent}: {answer}");
        assert!(answer.contains("x-content-type-options: nosniff"), "{answer}");
        assert!(code == "200" || !answer.contains("contoso"), "{answer}");
    }
}

#[tokio::test]
async fn beyond_loopback_a_proxy_or_a_service_has_its_own_name() {
    let (world, partner) = harness::still_world();
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let served = Served::start_at(listen, &world, &[("contoso", &partner)], true).await;

        let asked =
            served.raw(b"GET /livez HTTP/1.1\r\nHost: perennial.svc\r\nConnection: close\r\n\r\n").await;

        assert!(asked.starts_with("HTTP/1.1 200"), "{listen}: {asked}");
    }
}

#[tokio::test]
async fn silent_clients_do_not_block_others_for_long() {
    let (world, partner) = harness::still_world();
    let served = Served::start(&world, &[("contoso", &partner)], true).await;

    let mut silent = Vec::new();
    for _ in 0..=http::CONNECTIONS {
        silent.push(TcpStream::connect(served.address).await.expect("it listens"));
    }

    let asked = served.raw(b"GET /livez HTTP/1.0\r\n\r\n").await;
    assert!(asked.starts_with("HTTP/1.0 200"));
}

#[tokio::test]
async fn a_stop_ends_the_server_despite_open_connections() {
    let (world, partner) = harness::still_world();
    let mut served = Served::start(&world, &[("contoso", &partner)], true).await;
    served.until(|status| state_is(status, "current")).await;
    let _idle = TcpStream::connect(served.address).await.expect("it listens");

    served.stop.cancel();

    let ended = async { while served.tasks.join_next().await.is_some() {} };
    tokio::time::timeout(BOUND, ended).await.expect("in time");
    assert!(TcpStream::connect(served.address).await.is_err());
}

#[tokio::test]
async fn after_a_crash_the_same_incidents_continue() {
    let (world, partner) = harness::still_world();
    let healthy = world.add_partner("fabrikam", harness::VAULT, None);
    world.revoke_user(&partner.user_oid);
    let partners = [("contoso", &partner), ("fabrikam", &healthy)];
    let noted = |name: &str, of: &Partner| {
        world.newest_version(&of.refresh_token).is_some_and(|version| version.tags.contains(name))
    };
    let incidents = |status: &Value| {
        let all = status["conditions"].as_array().expect("a list").iter();
        let told = all.map(|one| (one["id"].clone(), one["since"].clone(), one["tokens"].clone()));
        told.filter(|(_, _, tokens)| tokens[0] == "contoso").collect::<Vec<_>>()
    };

    let first = Served::start(&world, &partners, true).await;
    let settled = |_: &Value| noted(tag::REFUSED_AT, &partner) && noted(tag::PROVED_AT, &healthy);
    let before = first.until(settled).await;
    drop(first);
    world.advance(TimeDelta::hours(3));
    // Entra does not answer, so the status comes from the vault's tags.
    world.inject(Fault::of(Peer::Entra, FaultEffect::Transport(NoResponse::TimedOut)));
    let second = Served::start(&world, &partners, true).await;
    let after = second.until(|status| !status["tokens"][1]["version"].is_null()).await;
    assert_eq!(after["tokens"][1]["state"], "current", "{after}");
    assert_eq!(after["tokens"][1]["proved_at"], before["tokens"][1]["proved_at"]);

    world.clear_faults(None);
    second.daemon.reload();
    let after = second.until(|status| status["tokens"][0]["state"] == "needs_login").await;
    let (before, after) = (incidents(&before), incidents(&after));
    assert!(!before.is_empty());
    assert_eq!(before, after);
}

#[tokio::test]
async fn the_program_serves_and_stops() {
    let lab = Lab::start().await;
    let daemon = Daemon::start(&lab, &[]).await;

    daemon.until("/readyz", "ok", BOUND).await;
    daemon.until("/status", "\"state\":\"current\"", BOUND).await;
    let metrics = daemon.text("/metrics").await;
    assert!(
        metrics.contains("perennial_http_client_request_duration_seconds_count{peer=\"entra\""),
        "{metrics}"
    );

    assert!(daemon.stop(BOUND).await.success());
}

#[tokio::test]
async fn an_address_in_use_ends_the_program_with_the_reason() {
    let lab = Lab::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();

    let output = lab.output(&["run"], &[("PERENNIAL__HTTP__LISTEN", &address)]).await;

    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&format!("cannot listen on {address}")) && said.contains("in use"), "{said}");
}
