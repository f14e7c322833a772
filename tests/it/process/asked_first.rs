//! Tests that `status` first asks the running daemon. The output says whether the status comes from the daemon or from
//! the vault's tags.

use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;

use chrono::TimeDelta;
use perennial::process::clock::Timestamp;
use perennial::sandbox::world::{Fault, FaultEffect, Peer};
use serde_json::Value;

use super::Stage;
use crate::support::child::{Child, Ended, eventually, get};

/// Runs `status` for a daemon that listens at `address`.
async fn status_at(stage: &Stage, address: &str, more: &[&str]) -> Ended {
    let args = [&["status"], more].concat();
    let child = Child::start(&stage.config, &args, &[("PERENNIAL__HTTP__LISTEN", address)]);
    child.ended(&args.join(" ")).await
}

fn json_of(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}{}", ended.stdout, ended.stderr))
}

/// Returns the document that a daemon serves.
fn served(address: &str) -> Value {
    let answer = get(address, "/status");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    serde_json::from_str(body).expect("JSON")
}

/// Waits until the daemon shows the first token in this state.
async fn shows(address: &str, state: &str) -> Value {
    let look = || Some(served(address)).filter(|status| status["tokens"][0]["state"] == state);
    eventually(state, look).await
}

/// Starts a listener that sends this answer to every client until the test's process ends.
fn stranger(answer: impl Into<Vec<u8>>) -> String {
    let (listener, answer) = (TcpListener::bind("127.0.0.1:0").expect("a free port"), answer.into());
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let _request = client.read(&mut [0; 4096]);
            let _gone = client.write_all(&answer);
        }
    });
    address
}

fn answer_of(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn status_shows_what_the_running_daemon_knows_and_leaves_the_vault_alone() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let (daemon, _) = stage.daemon().await;
    let address = daemon.address().await;
    shows(&address, "current").await;
    stage.world().inject(Fault::of(Peer::KeyVault, FaultEffect::Status { status: 503, retry_after: None }));
    let asked = stage.world().now();

    let (table, json) =
        (status_at(&stage, &address, &[]).await, status_at(&stage, &address, &["--json"]).await);
    let monitor = status_at(&stage, &address, &["--monitor"]).await;
    let one = status_at(&stage, &address, &["one", "--json"]).await;

    assert_eq!((table.code, json.code, monitor.code), (Some(0), Some(0), Some(0)), "{}", table.stdout);
    let (json, one) = (json_of(&json), json_of(&one));
    assert_eq!((&json["source"], &json["tokens"][0]["state"]), (&"daemon".into(), &"current".into()));
    assert!(json["tokens"][0]["next_step_at"].is_string(), "only a daemon has a next step: {json}");
    let view = json["view"].as_str().expect("a text");
    let at = json["now"].as_str().expect("a time");
    assert_eq!(view, format!("from the running daemon, at {at}"));
    assert_eq!(at.parse::<Timestamp>().expect("a time").date_naive(), asked.date_naive());
    assert!(table.stdout.starts_with("TOKEN  STATE"), "{}", table.stdout);
    let last = table.stdout.lines().last().expect("lines");
    assert!(last.starts_with("From the running daemon, at 2"), "{}", table.stdout);
    let line = "PERENNIAL OK - 2 of 2 current (from the running daemon, at 2";
    assert!(monitor.stdout.starts_with(line), "{}", monitor.stdout);
    let names: Vec<&Value> = one["tokens"].as_array().expect("a list").iter().map(|of| &of["name"]).collect();
    assert_eq!(names, ["one"], "only what was asked for");
}

#[tokio::test]
async fn the_exit_code_of_status_follows_the_daemons_conditions() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let (daemon, _) = stage.daemon().await;
    let address = daemon.address().await;
    stage.world().expire_app_secret(&stage.partner.client_id);
    daemon.signal("HUP");
    let shown = shows(&address, "needs_operator").await;

    let (table, json) =
        (status_at(&stage, &address, &[]).await, status_at(&stage, &address, &["--json"]).await);
    let monitor = status_at(&stage, &address, &["--monitor"]).await;
    let (one, other) =
        (status_at(&stage, &address, &["one"]).await, status_at(&stage, &address, &["other"]).await);

    assert_eq!((table.code, json.code, monitor.code), (Some(4), Some(4), Some(2)), "{}", table.stdout);
    assert_eq!((one.code, other.code), (Some(4), Some(0)), "each by itself: {}", other.stdout);
    let conditions = &json_of(&json)["conditions"];
    assert_eq!(conditions[0]["kind"], "app_credential_refused");
    for part in ["id", "since", "summary", "action", "severity", "remedy", "tokens", "owners", "code"] {
        assert_eq!(conditions[0][part], shown["conditions"][0][part], "{part}");
    }
    assert!(table.stdout.contains("critical app_credential_refused one, for "), "{}", table.stdout);
    assert!(!other.stdout.contains("app_credential_refused"), "{}", other.stdout);
    assert!(monitor.stdout.starts_with("PERENNIAL CRITICAL - app_credential_refused: one ("));

    stage.world().revoke_user(&stage.other.user_oid);
    daemon.signal("HUP");
    eventually("both", || (served(&address)["conditions"].as_array()?.len() == 2).then_some(())).await;
    assert_eq!(status_at(&stage, &address, &[]).await.code, Some(3), "a sign-in comes first");
}

#[tokio::test]
async fn without_its_own_daemon_status_reads_the_vault() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let (daemon, _) = stage.daemon().await;
    let address = daemon.address().await;
    let mut document = shows(&address, "current").await;
    let other = Stage::set(TimeDelta::days(2)).await;
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|at| at.local_addr()).expect("a port").to_string();
    let to_daemon = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://{address}/status\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    let page = answer_of("<html>It works!</html>");
    let endless = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", " ".repeat(4_000_000));
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    document["schema"] = 99.into();
    let newer = answer_of(&document.to_string());
    assert_eq!(other.run_to_end(&["rotate"]).await.code, Some(0));

    for (whose, at, why) in [
        ("nobody", closed, "no daemon answers at "),
        ("silence", silent.local_addr().expect("bound").to_string(), "no daemon answers at "),
        ("a web server", stranger(page), "the server at "),
        ("a redirect", stranger(to_daemon), "the server at "),
        ("an endless body", stranger(endless), "the server at "),
        ("another version", stranger(newer), "the server at "),
        ("another deployment", address.clone(), "the tokens of the daemon at "),
    ] {
        let (json, table) = (status_at(&other, &at, &["--json"]).await, status_at(&other, &at, &[]).await);
        let monitor = status_at(&other, &at, &["--monitor"]).await;

        assert_eq!((json.code, table.code, monitor.code), (Some(0), Some(0), Some(0)), "{whose}");
        let json = json_of(&json);
        assert_eq!((&json["source"], &json["tokens"][0]["state"]), (&"vault".into(), &"current".into()));
        let view = json["view"].as_str().expect("a text");
        assert!(view.starts_with(&format!("from the tags in Key Vault; {why}{at}")), "{whose}: {view}");
        let last = table.stdout.lines().last().expect("lines");
        assert!(last.starts_with(&format!("From the tags in Key Vault; {why}{at}")), "{whose}: {last}");
        assert!(monitor.stdout.contains(&format!(" ({view}) | tokens=2 ")), "{whose}: {}", monitor.stdout);

        let insisted = status_at(&other, &at, &["--source", "daemon"]).await;
        assert_eq!(insisted.code, Some(1), "{whose}: {}", insisted.stdout);
        assert!(insisted.stderr.contains(&format!("{why}{at}")), "{whose}: {}", insisted.stderr);
    }
    let insisted = status_at(&stage, &address, &["--source", "vault", "--json"]).await;
    assert_eq!(json_of(&insisted)["source"], "vault");
    assert_eq!(json_of(&insisted)["view"], "from the tags in Key Vault");
    assert_eq!(
        json_of(&stage.run_to_end(&["status", "--json"]).await)["view"],
        "from the tags in Key Vault; listen of [http] has port 0, so this command does not know the daemon's port"
    );
    stage.world().human_deletes(&stage.partner.refresh_token);
    let deleted = status_at(&stage, &address, &["--source", "vault", "--json"]).await;
    assert_eq!(json_of(&deleted)["view"], "from the tags in Key Vault", "the vault answered");
    stage.world().inject(Fault::of(Peer::KeyVault, FaultEffect::Status { status: 503, retry_after: None }));
    let unread = status_at(&stage, &address, &["--source", "vault", "--json"]).await;
    assert_eq!(json_of(&unread)["view"], "no token could be read from Key Vault");
}

#[tokio::test]
async fn answers_of_another_program_are_never_printed_raw() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let (daemon, _) = stage.daemon().await;
    stage.world().expire_app_secret(&stage.partner.client_id);
    daemon.signal("HUP");
    let address = daemon.address().await;
    let mut document = shows(&address, "needs_operator").await;
    document["conditions"][0]["summary"] = "\u{1b}]0;owned\u{7}all is well\u{202e}".into();
    document["conditions"][0]["action"] = "\u{9b}2J".into();
    document["conditions"][0]["owners"] = serde_json::json!(["\u{1b}[2J"]);

    let played = stranger(answer_of(&document.to_string()));
    for args in [&[][..], &["--json"], &["--monitor"]] {
        let told = status_at(&stage, &played, args).await;
        let raw = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!told.stdout.contains(raw), "{args:?}: {:?}", told.stdout);
        assert!(args.contains(&"--monitor") || told.stdout.contains("all is well"), "{}", told.stdout);
    }
}
