//! Tests that all mistakes in a configuration are reported together, with their key paths and without any value.

use chrono::TimeDelta;
use serde_json::Value;

use super::Stage;
use crate::support::child::{Child, Ended, eventually};
use crate::support::harness::Scratch;

/// A word that the tests use in every value that must not be shown.
const CANARY: &str = "c4n4ry";

const MISTAKES: &str = include_str!("../config/five_mistakes.toml");

const KEYS: [&str; 5] =
    ["htpp", "policy.rotate_after", "token[0].client_secret", "token[0].name", "vault.url"];

async fn ended(args: &[&str]) -> Ended {
    let dir = Scratch::new();
    std::fs::create_dir_all(&dir.0).expect("a directory of our own");
    let config = dir.0.join("perennial.toml");
    std::fs::write(&config, MISTAKES).expect("writable");
    Child::start(&config, args, &[("RUST_LOG", "trace")]).ended("it cannot start").await
}

#[tokio::test]
async fn five_mistakes_are_five_lines_for_people() {
    for command in ["run", "rotate"] {
        let ended = ended(&[command, "--log-format", "pretty"]).await;

        assert_eq!((ended.code, ended.stdout.as_str()), (Some(78), ""), "{command}");
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert!(lines[0].ends_with("perennial.toml cannot be used"), "{}", ended.stderr);
        let mut keys: Vec<&str> =
            lines[1..].iter().filter_map(|line| line.trim().split(": ").next()).collect();
        keys.sort_unstable();
        assert_eq!(keys, KEYS, "{}", ended.stderr);
        assert!(!ended.stderr.contains(CANARY), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn five_mistakes_are_five_events_for_machines() {
    for command in ["run", "rotate"] {
        let ended = ended(&[command, "--log-format", "json"]).await;

        assert_eq!((ended.code, ended.stdout.as_str()), (Some(78), ""), "{command}");
        let events = ended.stderr.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
        let errors: Vec<Value> = events.filter(|event| event["level"] == "ERROR").collect();
        let mut keys: Vec<&str> = errors.iter().filter_map(|event| event["key"].as_str()).collect();
        keys.sort_unstable();
        assert_eq!(keys, KEYS, "{}", ended.stderr);
        assert!(errors.iter().all(|event| event["problem"].is_string()), "{}", ended.stderr);
        assert!(!ended.stderr.contains(CANARY), "{}", ended.stderr);
    }
}

/// `run`, `rotate` and `status` must end with the exit code 78 and name the key. No command may panic.
#[tokio::test]
async fn an_impossibly_old_app_secret_expiry_is_reported_at_the_start() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let text = std::fs::read_to_string(&stage.config).expect("written");
    let odd = text.replacen("[[token]]", "[[token]]\napp_secret_expires = \"-262143-01-01\"", 1);
    std::fs::write(&stage.config, odd).expect("our own file");

    for command in ["run", "rotate", "status"] {
        let ended = stage.run_to_end(&[command]).await;

        assert_eq!(ended.code, Some(78), "{command}: {}", ended.stderr);
        assert!(ended.stderr.contains("token[0].app_secret_expires"), "{command}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn an_unrealistic_span_on_the_command_line_is_wrong_use() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let dir = stage.dir.0.join("sandbox");
    let dir = dir.to_str().expect("text");

    for args in [
        &["check", "one", "--no-redeem", "--wait", "99999999999d"][..],
        &["login", "one", "--timeout", "99999999999d"],
        &["sandbox", "--dir", dir, "--listen", "127.0.0.1:0", "--age", "99999999999d"],
    ] {
        let ended = stage.run_to_end(args).await;

        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("must be"), "{args:?}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn a_second_sandbox_does_not_replace_the_files_of_the_first() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let dir = stage.dir.0.join("sandbox");
    let args = ["sandbox", "--dir", dir.to_str().expect("text"), "--listen", "127.0.0.1:0"];
    let first = stage.start(&args);
    eventually("it has written its files", || dir.join("perennial.toml").exists().then_some(())).await;
    let before = std::fs::read(dir.join("ca.pem")).expect("written");

    let second = stage.run_to_end(&args).await;

    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(second.stderr.contains("another sandbox uses"), "{}", second.stderr);
    assert_eq!(std::fs::read(dir.join("ca.pem")).expect("kept"), before);
    first.signal("TERM");
    assert_eq!(first.ended("stopped").await.code, Some(0));
    let third = stage.start(&args);
    eventually("it has files of its own", || {
        (std::fs::read(dir.join("ca.pem")).ok()? != before).then_some(())
    })
    .await;
    drop(third);
}
