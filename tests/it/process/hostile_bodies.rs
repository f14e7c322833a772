//! Tests services that send a hundred megabytes, compressed bodies, or single bytes. The program must not need much
//! memory, must treat each case as a transient failure, and must rotate the token afterwards.

use chrono::TimeDelta;
use perennial::process::clock::Timestamp;
use perennial::sandbox::world::{Fault, FaultEffect, Hostile, Operation, Peer};
use serde_json::Value;

use super::{Stage, is};
use crate::support::child::{Child, eventually};

/// The memory limit of 40 MB, in the kernel's unit: 1 kB is 1,024 bytes.
const MOST_KB: u64 = 40 * 1024;

fn hostile(status: u16, body: Hostile) -> FaultEffect {
    FaultEffect::Hostile { status, body }
}

/// Whether a log event is a transient failure of this kind.
fn passing(event: &Value, token: &str, kind: &str) -> bool {
    is(event, "attempt_failed", token) && event["kind"] == kind && event["remedy"] == "retry"
}

impl Stage {
    /// Makes the services work again, and waits until the daemon proves the token.
    async fn recovers(&self, daemon: &Child) {
        self.world().clear_faults(None);
        let from = daemon.events(0).len();
        daemon.signal("HUP");
        daemon.logs(from, "proved again", |event| is(event, "proved", "one")).await;
    }

    /// Starts a new daemon. If one daemon ran for the whole test, the test's redemptions would reach Perennial's limit
    /// for one user and app.
    async fn fresh_daemon(&self) -> Child {
        let daemon = self.start(&["run"]);
        daemon.logs(0, "proved at the start", |event| is(event, "proved", "one")).await;
        daemon
    }

    fn questions(&self) -> usize {
        self.world().count_calls(Peer::PartnerCenter, None, Timestamp::MIN_UTC)
    }

    async fn rotates_within_bounds(&self, daemon: &Child) {
        let (from, before) = (daemon.events(0).len(), self.versions());
        self.world().advance(TimeDelta::days(8));
        daemon.signal("HUP");
        daemon.logs(from, "rotated", |event| is(event, "rotated", "one")).await;
        assert_eq!(self.versions(), before + 1);
        let peak = daemon.peak_memory();
        assert!(peak < MOST_KB, "{peak} kB at its peak");
    }
}

#[tokio::test]
async fn a_hundred_megabytes_compressed_or_not_use_no_memory() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let identity = Fault::of(Peer::Entra, hostile(200, Hostile::Long)).on(Operation::Identity);
    stage.world().inject(identity);
    let daemon = stage.start(&["run"]);
    daemon.logs(0, "no identity", |event| passing(event, "one", "vault_identity")).await;
    stage.recovers(&daemon).await;
    drop(daemon);

    for body in [Hostile::Long, Hostile::Bomb] {
        let daemon = stage.fresh_daemon().await;
        for (peer, operation, kind) in [
            (Peer::Entra, Operation::Redeem, "entra_unreachable"),
            (Peer::KeyVault, Operation::Get, "vault_unreachable"),
        ] {
            for status in [200, 503] {
                let from = daemon.events(0).len();
                stage.world().inject(Fault::of(peer, hostile(status, body)).on(operation));
                daemon.signal("HUP");
                daemon.logs(from, "a passing fault", |event| passing(event, "one", kind)).await;
                stage.recovers(&daemon).await;
            }
        }
        // The token is rotated regardless of what Partner Center sends.
        let asked = stage.questions();
        stage.world().inject(Fault::of(Peer::PartnerCenter, hostile(200, body)));
        stage.rotates_within_bounds(&daemon).await;
        eventually("it was asked", || (stage.questions() > asked).then_some(())).await;
        stage.recovers(&daemon).await;
    }
    // The vault stores the new version, but sends an unreadable answer.
    let daemon = stage.fresh_daemon().await;
    let save = Fault::of(Peer::KeyVault, hostile(200, Hostile::Long)).on(Operation::Set);
    stage.world().inject(save.after_effect().times(1).about(stage.partner.refresh_token.name.as_str()));
    stage.rotates_within_bounds(&daemon).await;
}

#[tokio::test]
async fn an_endless_slow_answer_times_out() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let (daemon, place) = stage.daemon().await;
    let drip = || hostile(200, Hostile::Drip);
    let redeem = Fault::of(Peer::Entra, drip()).on(Operation::Redeem);
    stage.world().inject(redeem.about(&stage.partner.user_oid));
    let read = Fault::of(Peer::KeyVault, drip()).on(Operation::Get);
    stage.world().inject(read.about(stage.other.refresh_token.name.as_str()));

    daemon.signal("HUP");
    daemon.logs(place, "Entra", |event| passing(event, "one", "entra_unreachable")).await;
    daemon.logs(place, "the vault", |event| passing(event, "other", "vault_unreachable")).await;
    stage.world().clear_faults(None);
    stage.world().inject(Fault::of(Peer::PartnerCenter, drip()));
    stage.rotates_within_bounds(&daemon).await;

    stage.recovers(&daemon).await;
    stage.rotates_within_bounds(&daemon).await;
}
