//! Tests bad environments: no free file descriptors, and a second program that uses the same token.

use std::net::TcpStream;
use std::time::Duration;

use chrono::TimeDelta;
use perennial::net::no_response::NoResponse;
use perennial::sandbox::server::ConfigRequest;
use perennial::sandbox::world::{Fault, FaultEffect, Operation, Peer};

use super::{Stage, is};
use crate::support::child::{Child, eventually};
use crate::support::harness::Scratch;
use crate::support::lab;

/// Starts the program with a command and a limit of `files` open files. `ulimit -n` limits the numbers of the
/// descriptors, and not how many files are open. So the script adds 1 to the limit for each number above 2 that is
/// already in use.
pub(super) fn with_at_most(files: u32, command: &str, stage: &Stage) -> Child {
    let shell = format!(
        "limit={files}; number=3; \
         while [ $number -lt $limit ]; do \
             if [ -e /proc/self/fd/$number ]; then limit=$((limit + 1)); fi; \
             number=$((number + 1)); \
         done; \
         ulimit -n $limit && exec \"$0\" {command}"
    );
    Child::start_through(&["sh", "-c", &shell], &stage.config)
}

/// Returns the address at which the daemon listens.
fn address(daemon: &Child) -> Option<String> {
    daemon.events(0).iter().find_map(|event| Some(event["address"].as_str()?.to_owned()))
}

#[tokio::test]
async fn without_file_descriptors_the_daemon_waits_and_continues() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let daemon = with_at_most(14, "run", &stage);
    let place = daemon.logs(0, "proved", |event| is(event, "proved", "one")).await;
    let address = eventually("served", || address(&daemon)).await;

    // These connections use up the descriptors, so a new connection to the vault has to wait for a free descriptor.
    let held: Vec<TcpStream> = (0..48).filter_map(|_| TcpStream::connect(&address).ok()).collect();
    stage.world().inject(Fault::of(Peer::KeyVault, FaultEffect::Transport(NoResponse::Cut)).times(4));
    daemon.signal("HUP");
    let failed = |event: &serde_json::Value| event["event"] == "attempt_failed";
    let place = daemon.logs(place, "that nothing can be opened", failed).await;
    assert!(daemon.events(0).iter().filter(|event| failed(event)).all(|event| event["remedy"] == "retry"));
    drop(held);
    stage.world().clear_faults(None);
    daemon.signal("HUP");

    daemon.logs(place, "proved again", |event| is(event, "proved", "one")).await;
}

/// The exit code must not be 78, because a supervisor does not restart the program after 78, and free descriptors may
/// be available again soon.
#[tokio::test]
async fn a_start_without_file_descriptors_is_no_wrong_configuration() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    // Three descriptors are stdin, stdout and stderr. With eight more, the program can start.
    for most in 4..11 {
        let ended = with_at_most(most, "rotate", &stage).ended("it cannot start").await;

        assert_eq!(ended.code, Some(1), "{most}: {}", ended.stderr);
        assert!(ended.stderr.contains("Too many open files"), "{most}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn new_files_are_private_to_the_user() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let daemon = Child::start_through(&["sh", "-c", "umask 000 && exec \"$0\" run"], &stage.config);
    daemon.logs(0, "proved", |event| is(event, "proved", "one")).await;

    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).expect("it runs");

    assert_eq!(status.lines().find(|line| line.starts_with("Umask:")), Some("Umask:\t0077"));
}

/// The environment variable `TWO_INSTANCES` sets the number of rotations. With 40, the test takes some minutes.
#[tokio::test]
async fn two_programs_on_one_token_lose_nothing_and_write_little() {
    let rotations = std::env::var("TWO_INSTANCES").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let sandbox = lab::any_sandbox().await;
    let partner = sandbox.add_partner("one", TimeDelta::days(1));
    let dir = Scratch::new();
    let request = ConfigRequest {
        tokens: &[("one", &partner)],
        rotate_after: Some(Duration::from_secs(10)),
        prove_every: Some(Duration::from_secs(10)),
        strict: false,
    };
    let config = sandbox.write_config(&dir.0, &request).expect("a directory of our own").config;
    let world = sandbox.world();
    let started_at = world.now();
    let programs = [Child::start(&config, &["run"], &[]), Child::start(&config, &["run"], &[])];

    for nth in 1..=rotations {
        eventually(&format!("rotation {nth}"), || {
            let versions = world.versions_of(&partner.refresh_token);
            (versions.len() > nth).then_some(())
        })
        .await;
        let stored = world.newest_value(&partner.refresh_token).expect("stored");
        assert!(world.is_alive(stored.expose()));
        assert!(world.newest_version(&partner.refresh_token).expect("stored").enabled);
    }

    let saved =
        |program: &Child| program.events(0).iter().filter(|event| is(event, "rotated", "one")).count();
    let (by_first, by_second) = (saved(&programs[0]), saved(&programs[1]));
    let written = world.versions_of(&partner.refresh_token).len() - 1;
    let redeemed =
        world.count_calls(Peer::Entra, Some(Operation::Redeem), chrono::DateTime::<chrono::Utc>::MIN_UTC);
    eprintln!("{written} versions written, {by_first} and {by_second} rotations, {redeemed} redemptions");
    // Both programs may rotate the token at the same time, so each due rotation may write two versions. More versions
    // are an error, even on a slow machine.
    let due = usize::try_from((world.now() - started_at).num_seconds() / 10).expect("time passes") + 1;
    assert!(written <= 2 * due, "{written} versions where {due} were due");
    for program in &programs {
        assert!(program.events(0).iter().all(|event| event["level"] != "ERROR"));
    }
}
