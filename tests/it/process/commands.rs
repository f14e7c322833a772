//! Tests the commands `status` and `health`, and the daemon under a supervisor, against the sandbox.

use std::os::unix::net::UnixDatagram;
use std::process::Output;
use std::time::Duration;

use perennial::token::version::tag;
use serde_json::Value;

use crate::rotation::daemon::{Daemon, Lab};

const BOUND: Duration = Duration::from_secs(60);

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[tokio::test]
async fn status_shows_the_vaults_tags_and_redeems_nothing() {
    let lab = Lab::start().await;
    let new = lab.output(&["status", "--monitor"], &[]).await;
    assert_eq!(code(&new), Some(3), "nobody has proved it yet: {}", said(&new));
    assert_eq!(code(&lab.output(&["rotate"], &[]).await), Some(0));
    let redeemed = lab.sandbox.world().grants().len();

    let table = lab.output(&["status"], &[]).await;
    let json = lab.output(&["status", "partner-center", "--json"], &[]).await;
    let monitor = lab.output(&["status", "--monitor"], &[]).await;

    assert_eq!((code(&table), code(&json), code(&monitor)), (Some(0), Some(0), Some(0)));
    let text = said(&table);
    assert!(text.starts_with("TOKEN           STATE    PROVED"), "{text}");
    assert!(text.contains("\npartner-center  current  ") && !text.contains('\u{1b}'), "{text}");
    let status: Value = serde_json::from_str(&said(&json)).expect("JSON");
    assert_eq!((&status["source"], &status["healthy"]), (&"vault".into(), &true.into()));
    let token = &status["tokens"][0];
    assert_eq!((&token["state"], &token["next_step_at"]), (&"current".into(), &Value::Null));
    assert!(token["proved_at"].is_string() && token["partner_center_accepts"] == true, "{token}");
    assert!(
        said(&monitor).starts_with("PERENNIAL OK - 1 of 1 current (from the tags in Key Vault; "),
        "{}",
        said(&monitor)
    );
    assert_eq!(lab.sandbox.world().grants().len(), redeemed);
}

#[tokio::test]
async fn actions_use_the_configured_command() {
    let lab = Lab::start().await;
    let here = ("PERENNIAL__ALERTS__COMMAND", "docker exec -it perennial perennial");
    let all = async |situation: &str| {
        let one = ["access-token", "partner-center"];
        for args in [&["rotate"][..], &["status"], &["check"], &["verify"], &one] {
            let told = lab.output(args, &[here]).await;
            let text = said(&told) + &String::from_utf8_lossy(&told.stderr);
            let typed = text.contains("`docker exec -it perennial perennial login partner-center`");
            assert!(typed && !text.contains("`perennial "), "{situation}, {args:?}: {text}");
        }
    };

    lab.sandbox.world().revoke_user(&lab.partner.user_oid);
    all("revoked").await;
    lab.sandbox.world().human_deletes(&lab.partner.refresh_token);
    lab.sandbox.world().human_purges(&lab.partner.refresh_token);
    all("never signed in").await;
}

#[tokio::test]
async fn status_reads_a_rejection_from_the_tags() {
    let lab = Lab::start().await;
    lab.sandbox.world().retag(&lab.partner.refresh_token, |tags| {
        tags.insert(tag::REFUSED_KIND, "mfa_required");
        tags.insert(tag::REFUSED_AT, "2026-01-02T03:04:05Z");
    });

    let json = lab.output(&["status", "--json"], &[]).await;
    let monitor = lab.output(&["status", "--monitor"], &[]).await;

    let status: Value = serde_json::from_str(&said(&json)).expect("JSON");
    assert_eq!((&status["tokens"][0]["state"], &status["healthy"]), (&"needs_login".into(), &false.into()));
    assert_eq!(status["tokens"][0]["runway_seconds"], 0);
    assert_eq!(status["conditions"][0]["kind"], "mfa_required");
    assert_eq!(code(&json), Some(3), "somebody must sign in");
    assert_eq!(code(&monitor), Some(2));
    assert!(said(&monitor).starts_with("PERENNIAL CRITICAL - mfa_required: partner-center ("));
}

#[tokio::test]
async fn an_unreadable_token_has_exit_code_1() {
    let lab = Lab::start().await;
    lab.sandbox.world().remove_vault(&lab.sandbox.origin);
    let nowhere = ("PERENNIAL__VAULT__URL", "https://127.0.0.1:1");

    let unread = lab.output(&["status"], &[nowhere]).await;
    let monitor = lab.output(&["status", "--monitor"], &[nowhere]).await;
    let mistaken = lab.output(&["status", "--monitor"], &[("PERENNIAL__HTTP__LISTEN", "here")]).await;
    let unknown = lab.output(&["status", "nobody", "--monitor"], &[]).await;

    assert_eq!((code(&unread), code(&monitor)), (Some(1), Some(3)), "{}", said(&unread));
    assert!(said(&unread).contains("vault_unreachable"), "{}", said(&unread));
    assert_eq!((code(&mistaken), code(&unknown)), (Some(3), Some(3)));
    let line = said(&mistaken);
    assert!(line.starts_with("PERENNIAL UNKNOWN - ") && line.lines().count() == 1, "{line}");
    assert_eq!(code(&lab.output(&["status", "nobody"], &[]).await), Some(2));
}

#[tokio::test]
async fn a_mistyped_monitor_is_unknown_and_not_critical() {
    let lab = Lab::start().await;

    for mistyped in [
        &["status", "--monitor", "--nosuch"][..],
        &["status", "--monitor", "--json"],
        &["status", "--monito"],
    ] {
        assert_eq!(code(&lab.output(mistyped, &[]).await), Some(3), "{mistyped:?}");
    }
    assert_eq!(code(&lab.output(&["status", "--nosuch"], &[]).await), Some(2));
    assert_eq!(code(&lab.output(&["status", "--monitor", "--help"], &[]).await), Some(0));
}

#[tokio::test]
async fn health_asks_the_daemon() {
    let lab = Lab::start().await;
    let daemon = Daemon::start(&lab, &[]).await;
    let listen = ("PERENNIAL__HTTP__LISTEN", daemon.address.as_str());

    let alive = lab.output(&["health"], &[listen]).await;
    assert_eq!((code(&alive), said(&alive)), (Some(0), format!("{}: alive\n", daemon.address)));

    let address = daemon.address.clone();
    daemon.kill();
    let gone = lab.output(&["health"], &[("PERENNIAL__HTTP__LISTEN", &address)]).await;
    assert_eq!(code(&gone), Some(1));
    assert!(said(&gone).contains("no answer"), "{}", said(&gone));
}

#[tokio::test]
async fn after_kill_9_what_was_found_out_is_still_known() {
    let lab = Lab::start().await;
    let world = lab.sandbox.world();
    let first = Daemon::start(&lab, &[]).await;
    first.until("/status", "\"state\":\"current\"", BOUND).await;
    first.kill();
    world.revoke_user(&lab.partner.user_oid);
    let second = Daemon::start(&lab, &[]).await;
    second.until("/health", "login_required", BOUND).await;
    let noted = async {
        let tagged = || world.newest_version(&lab.partner.refresh_token).is_some_and(|it| it.is_refused());
        while !tagged() {
            second.text("/livez").await;
        }
    };
    tokio::time::timeout(BOUND, noted).await.expect("in time");
    let before = incident(&second.text("/status").await);
    second.kill();

    let third = Daemon::start(&lab, &[]).await;
    let after = third.until("/status", "needs_login", BOUND).await;

    assert_eq!(incident(&after), before);
    assert!(before.2.is_string(), "it was proved before: {before:?}");
}

/// Returns the id and the start of the condition `login_required`, and when the token was last proved.
fn incident(status: &str) -> (Value, Value, Value) {
    let status: Value = serde_json::from_str(status).expect("JSON");
    let all = status["conditions"].as_array().expect("a list").iter();
    let refused = all.clone().find(|one| one["kind"] == "login_required").expect("it holds");
    (refused["id"].clone(), refused["since"].clone(), status["tokens"][0]["proved_at"].clone())
}

#[tokio::test]
async fn systemd_gets_the_status() {
    let lab = Lab::start().await;
    let path = lab.dir.join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(BOUND)).expect("a bound");
    let told = move || {
        let mut datagram = [0; 1024];
        let length = socket.recv(&mut datagram).expect("in time");
        String::from_utf8_lossy(&datagram[..length]).trim().to_owned()
    };
    let path = path.display().to_string();
    let env = [("NOTIFY_SOCKET", path.as_str()), ("WATCHDOG_USEC", "200000")];

    let daemon = Daemon::start(&lab, &env).await;

    let heard = tokio::task::spawn_blocking(move || {
        let wanted = ["READY=1", "STATUS=1 token: 1 current; next step ", "WATCHDOG=1"];
        let mut heard: Vec<String> = Vec::new();
        while !wanted.iter().all(|begin| heard.iter().any(|line| line.starts_with(begin))) {
            heard.push(told());
        }
        told
    });
    let told = heard.await.expect("no panic");

    assert!(daemon.stop(BOUND).await.success());
    let last = tokio::task::spawn_blocking(move || {
        loop {
            let line = told();
            if line == "STOPPING=1" {
                return line;
            }
        }
    });
    assert_eq!(last.await.expect("no panic"), "STOPPING=1");
}

#[tokio::test]
async fn no_core_is_ever_written() {
    let lab = Lab::start().await;
    let daemon = Daemon::start(&lab, &[]).await;

    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.id())).expect("it runs");

    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
}
