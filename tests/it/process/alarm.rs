//! Tests the daemon's messages to people: one when an incident begins, and one when the incident ends.

use chrono::TimeDelta;
use perennial::token::version::tag;

use super::{Stage, failed_with, is};
use crate::support::child::{Child, eventually};
use crate::support::inbox::Inbox;

/// Adds sinks to the stage's configuration. Each tuple contains a sink's name, its further lines of configuration, and
/// its address.
pub(super) fn add_sinks(stage: &Stage, sinks: &[(&str, &str, String)]) {
    let mut text = std::fs::read_to_string(&stage.config).expect("written");
    for (name, more, url) in sinks {
        let file = stage.dir.0.join(name);
        std::fs::write(&file, url).expect("writable");
        let file = file.display();
        let keys = format!("name = \"{name}\"\nkind = \"slack\"\nurl = {{ file = \"{file}\" }}\n{more}\n");
        text += "\n[[alert]]\n";
        text += &keys;
    }
    std::fs::write(&stage.config, text).expect("writable");
}

fn headlines(inbox: &Inbox) -> Vec<String> {
    let text =
        |letter: &crate::support::inbox::Letter| letter.json()["text"].as_str().expect("a text").to_owned();
    inbox.letters().iter().map(text).collect()
}

async fn told(inbox: &Inbox, count: usize) -> Vec<String> {
    eventually("so many messages", || Some(headlines(inbox)).filter(|all| all.len() >= count)).await
}

const OPENED: &str = "Critical: Sign-in required (one)";
const OVER: &str = "Resolved: Sign-in required (one)";

/// Makes the daemon check the token `times` times. Waits after each check until the rejection is in the log.
async fn refused_again(daemon: &Child, mut place: usize, times: usize) {
    for _ in 0..times {
        daemon.signal("HUP");
        place = daemon.logs(place, "refused again", |event| failed_with(event, "login_required")).await;
    }
}

#[tokio::test]
async fn one_alert_is_followed_by_one_resolution() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let inbox = Inbox::open().await;
    add_sinks(&stage, &[("chat", "", inbox.url("/canary-path"))]);
    let (daemon, place) = stage.daemon().await;

    stage.world().revoke_user(&stage.partner.user_oid);
    daemon.signal("HUP");
    let place = daemon.logs(place, "the refusal", |event| failed_with(event, "login_required")).await;
    let first = told(&inbox, 1).await;
    assert_eq!(first, [OPENED], "{:?}", inbox.letters());
    refused_again(&daemon, place, 3).await;

    stage.world().human_signs_in(&stage.partner).expect("signed in");
    daemon.signal("HUP");
    daemon.logs(place, "taken up", |event| is(event, "proved", "one")).await;
    assert_eq!(told(&inbox, 2).await, [OPENED, OVER]);
    let message = inbox.letters()[0].body.clone();
    assert!(message.contains("perennial login one") && message.contains("AADSTS50173"), "{message}");

    daemon.signal("TERM");
    let ended = daemon.ended("stopped").await;
    assert!(!ended.stderr.contains("canary-path"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_restart_repeats_nothing_and_resolves_what_ended_meanwhile() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let inbox = Inbox::open().await;
    add_sinks(&stage, &[("chat", "", inbox.url("/"))]);
    let (daemon, place) = stage.daemon().await;
    stage.world().revoke_user(&stage.partner.user_oid);
    daemon.signal("HUP");
    daemon.logs(place, "the refusal", |event| failed_with(event, "login_required")).await;
    told(&inbox, 1).await;
    let secret = &stage.partner.refresh_token;
    let noted = || stage.world().newest_version(secret).filter(|version| version.tags.contains(tag::TOLD));
    eventually("it is noted that this was told", noted).await;
    daemon.signal("TERM");
    daemon.ended("stopped").await;
    // No process runs for four minutes. The next process must not report the condition again.
    stage.world().advance(TimeDelta::minutes(4));

    let second = stage.start(&["run"]);
    let place = second.logs(0, "still refused", |event| failed_with(event, "login_required")).await;
    refused_again(&second, place, 2).await;
    second.signal("TERM");
    second.ended("stopped").await;
    assert_eq!(headlines(&inbox), [OPENED]);

    stage.world().human_signs_in(&stage.partner).expect("signed in");
    let third = stage.start(&["run"]);
    third.logs(0, "taken over", |event| is(event, "rotated", "one")).await;
    assert_eq!(told(&inbox, 2).await, [OPENED, OVER]);
    third.signal("TERM");
    third.ended("stopped").await;
}

#[tokio::test]
async fn a_failing_sink_is_reported_at_the_other() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let (broken, other) = (Inbox::open().await, Inbox::open().await);
    broken.answer(404);
    add_sinks(&stage, &[("broken", "", broken.url("/")), ("other", "tokens = [\"other\"]", other.url("/"))]);
    let (daemon, _) = stage.daemon().await;

    stage.world().revoke_user(&stage.partner.user_oid);
    daemon.signal("HUP");

    assert_eq!(told(&other, 1).await, ["Critical: An alert could not be delivered"]);
    let message = other.letters()[0].body.clone();
    assert!(message.contains("delivery to the alert sink broken failed: HTTP status 404"));
    daemon.signal("TERM");
    daemon.ended("stopped").await;
}

#[tokio::test]
async fn the_heartbeat_is_sent_while_the_daemon_runs_and_ends_with_it() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let inbox = Inbox::open().await;
    let file = stage.dir.0.join("heartbeat");
    std::fs::write(&file, inbox.url("/ping/canary-id")).expect("writable");
    let config = std::fs::read_to_string(&stage.config).expect("written");
    let more = format!("\n[heartbeat]\nurl = {{ file = \"{}\" }}\n", file.display());
    std::fs::write(&stage.config, config + &more).expect("writable");

    let (daemon, _) = stage.daemon().await;

    let ping = eventually("a ping", || inbox.letters().first().cloned()).await;
    assert_eq!(ping.line, "POST /ping/canary-id");
    assert!(ping.body.starts_with("2 tokens: "), "{}", ping.body);
    daemon.signal("TERM");
    let ended = daemon.ended("stopped").await;
    assert!(!ended.stderr.contains("canary"), "{}", ended.stderr);
    assert_eq!(inbox.letters().len(), 1, "the next one would be due in five minutes");
}

#[tokio::test]
async fn check_sends_a_marked_test_through_every_sink() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let (good, broken) = (Inbox::open().await, Inbox::open().await);
    broken.answer(410);
    add_sinks(&stage, &[("chat", "", good.url("/a")), ("gone", "", broken.url("/b"))]);

    let checked = stage.run_to_end(&["check", "one", "--alerts", "--json"]).await;

    assert_eq!(checked.code, Some(4), "{}", checked.stdout);
    let steps: Vec<serde_json::Value> = serde_json::from_str(&checked.stdout).expect("a list");
    let alerts: Vec<_> = steps.iter().filter(|step| step["step"] == "alert").collect();
    assert_eq!(alerts.len(), 2, "{}", checked.stdout);
    assert_eq!((&alerts[0]["outcome"], &alerts[1]["outcome"]), (&"ok".into(), &"failed".into()));
    let [message] = headlines(&good).try_into().expect("one");
    assert!(message.to_lowercase().contains("test"), "{message}");
}
