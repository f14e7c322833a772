//! Tests a stop while a call hangs. If the process holds no successor, it stops at once. Otherwise it stops within the
//! grace period.

use std::time::Duration;

use chrono::TimeDelta;
use perennial::rotation::grace::GRACE;
use perennial::sandbox::world::{Fault, FaultEffect, Operation, Peer};
use tokio::time::Instant;

use super::preload::{Host, Resolver};
use super::{Stage, is};
use crate::support::child::{Child, Ended, eventually};

/// The delay of a call that hangs. It is longer than any test.
const FOR_EVER: FaultEffect = FaultEffect::Delay(Duration::from_secs(3600));

/// The name of the last log event of a process that could not save its successor.
const UNSAVED: &str = "stopped_unsaved";

fn assert_stopped_at_once(ended: &Ended, what: &str) {
    assert_eq!(ended.code, Some(0), "{what}: {}", ended.stderr);
    assert!(!ended.stderr.contains(UNSAVED), "{what}: {}", ended.stderr);
}

#[tokio::test]
async fn a_stop_without_a_held_successor_does_not_wait_for_a_hanging_call() {
    for (peer, operation, calls) in [
        // The second token waits until the first call to the vault has ended, so there is only one call.
        (Peer::KeyVault, Operation::Get, 1),
        (Peer::Entra, Operation::Redeem, 2),
        (Peer::PartnerCenter, Operation::Profile, 2),
        // Both tokens wait for the same access token for the vault, so there is only one request.
        (Peer::Entra, Operation::Identity, 1),
    ] {
        let stage = Stage::set(TimeDelta::zero()).await;
        stage.world().inject(Fault::of(peer, FOR_EVER).on(operation).times(calls));
        let daemon = stage.start(&["run"]);
        eventually("all hang", || stage.world().faults().is_empty().then_some(())).await;

        daemon.signal("TERM");

        assert_stopped_at_once(&daemon.ended("stopped").await, &format!("{operation:?}"));
    }
}

/// A DNS lookup has a thread of its own, which cannot be cancelled.
#[tokio::test]
async fn a_stop_does_not_wait_for_a_dns_lookup() {
    let stage = Stage::set(TimeDelta::zero()).await;
    let host = Host::in_dir(&stage.dir.0);
    host.set_resolver(Resolver::Hangs);
    let daemon = Child::start(&stage.config, &["run"], &host.env());
    daemon.logs(0, "listening", |event| event["event"] == "listening").await;
    let failed = |event: &serde_json::Value| is(event, "attempt_failed", "one");
    daemon.logs(0, "that the name is not found", failed).await;
    daemon.signal("HUP");

    daemon.signal("TERM");

    assert_stopped_at_once(&daemon.ended("stopped").await, "the resolver hangs");
}

#[tokio::test]
async fn a_stop_with_a_held_successor_ends_within_the_grace_period() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let secret = stage.partner.refresh_token.name.as_str();
    stage.world().inject(Fault::of(Peer::KeyVault, FOR_EVER).on(Operation::Set).about(secret).times(1));
    let daemon = stage.start(&["run"]);
    eventually("it hangs", || stage.world().faults().is_empty().then_some(())).await;

    let told_at = Instant::now();
    daemon.signal("TERM");
    let ended = daemon.ended("stopped").await;

    let took = told_at.elapsed();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains(UNSAVED), "{}", ended.stderr);
    assert!(took >= GRACE && took < GRACE + Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn a_pass_that_hangs_can_be_stopped() {
    let stage = Stage::set(TimeDelta::zero()).await;
    stage.world().inject(Fault::of(Peer::KeyVault, FOR_EVER).on(Operation::Get).times(1));
    let pass = stage.start(&["rotate"]);
    eventually("it hangs", || stage.world().faults().is_empty().then_some(())).await;

    pass.signal("TERM");

    let ended = pass.ended("stopped").await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("did not process 2 of 2 tokens"), "{}", ended.stderr);
}
