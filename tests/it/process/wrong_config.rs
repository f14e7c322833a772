//! A configuration with mistakes: all of them at once, by key path, and nothing of what stands there.

use serde_json::Value;

use super::child::Child;
use super::child::Ended;
use crate::harness::Scratch;

/// A word that stands for everything that must not be shown.
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
