//! Tests hosts whose clock is wrong or jumps, while the services' clocks are right.

use chrono::TimeDelta;
use perennial::sandbox::server::ConfigRequest;
use perennial::sandbox::world::{Fault, FaultEffect, Operation, Peer};
use serde_json::Value;

use super::preload::Host;
use super::{Stage, is};
use crate::support::child::{Child, eventually, get};

impl Stage {
    /// Sets the clock of the simulated host.
    fn set_clock(&self, to: &str) {
        Host::in_dir(&self.dir.0).set_clock(to);
    }

    /// Sets the clock of the simulated host, and starts the daemon there. The host's monotonic clocks stay right.
    fn daemon_by_another_clock(&self, clock: &str) -> Child {
        self.set_clock(clock);
        Child::start(&self.config, &["run"], &Host::in_dir(&self.dir.0).env())
    }

    /// Returns the time from now to the expiry of the newest version.
    fn lasts(&self) -> TimeDelta {
        let newest = self.world().newest_version(&self.partner.refresh_token).expect("stored");
        newest.expires.expect("an end") - self.world().now()
    }
}

fn proved(event: &Value) -> bool {
    is(event, "proved", "one")
}

fn rotated(event: &Value) -> bool {
    is(event, "rotated", "one")
}

fn lasts_90_days(lasts: TimeDelta) -> bool {
    lasts > TimeDelta::days(89) && lasts <= TimeDelta::days(90)
}

async fn neither_hastens_nor_delays(off: &str) {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let daemon = stage.daemon_by_another_clock(off);

    // The daemon rotates the user's sign-in exactly once.
    let place = daemon.logs(0, "rotated", rotated).await;
    let place = daemon.logs(place, "proved", proved).await;
    assert_eq!(stage.versions(), 2, "{off}: not at once again");
    assert!(lasts_90_days(stage.lasts()), "{off}: {}", stage.lasts());
    let address = daemon.address().await;
    let told = || get(&address, "/status").contains(r#""kind":"clock_skew""#).then_some(());
    eventually("it is told", told).await;

    stage.world().advance(TimeDelta::days(8));
    daemon.logs(place, "rotated when it is time", rotated).await;
    assert_eq!(stage.versions(), 3, "{off}");
    assert!(lasts_90_days(stage.lasts()), "{off}: {}", stage.lasts());
}

/// The daemon uses the vault's time to decide when a proof or a rotation is due. The host's clock is a year ahead or
/// behind.
#[tokio::test]
async fn a_clock_that_is_a_year_off_does_not_move_any_step() {
    tokio::join!(neither_hastens_nor_delays("+365d"), neither_hastens_nor_delays("-365d"));
}

/// Simulates a host that slept. When it wakes up, its clock is right, but its timers have not advanced.
#[tokio::test]
async fn after_ten_days_of_sleep_due_steps_run_once() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let daemon = stage.daemon_by_another_clock("+0");
    let place = daemon.logs(0, "taken over", rotated).await;
    let place = daemon.logs(place, "proved", proved).await;

    stage.world().advance(TimeDelta::days(10));
    stage.set_clock("+10d");

    // The daemon checks the token without a signal.
    let place = daemon.logs(place, "rotated", rotated).await;
    daemon.logs(place, "proved", proved).await;
    assert_eq!(stage.versions(), 3);
    assert!(lasts_90_days(stage.lasts()), "{}", stage.lasts());
    let address = daemon.address().await;
    assert!(!get(&address, "/status").contains(r#""kind":"clock_skew""#), "both clocks agree");
}

/// The host's clock is in 1970, as after a flat battery. The sandbox's certificate is valid only from 1975 on.
#[tokio::test]
async fn a_certificate_that_is_invalid_by_the_clock_causes_a_hint() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let daemon = stage.daemon_by_another_clock("@1970-01-02 00:00:00");

    let hint = |event: &Value| {
        is(event, "attempt_failed", "one")
            && event["kind"] == "vault_unreachable"
            && event["remedy"] == "retry"
            && event.to_string().contains("according to this host's clock")
    };
    let place = daemon.logs(0, "that the clock may be wrong", hint).await;

    stage.set_clock("+0");
    daemon.signal("HUP");
    daemon.logs(place, "goes on", rotated).await;
}

/// Many tokens share one clock, and the vault's first answer corrects this clock for all tokens.
#[tokio::test]
async fn forty_tokens_on_a_host_that_is_ten_hours_ahead_are_all_proved_at_once() {
    const TOKENS: usize = 40;
    let stage = Stage::set(TimeDelta::days(1)).await;
    let names: Vec<String> = (0..TOKENS).map(|nth| format!("token-{nth}")).collect();
    let partners: Vec<_> =
        names.iter().map(|name| stage.sandbox.add_partner(name, TimeDelta::days(1))).collect();
    let tokens: Vec<_> = names.iter().map(String::as_str).zip(&partners).collect();
    let request = ConfigRequest { tokens: &tokens, rotate_after: None, prove_every: None, strict: false };
    let config = stage.sandbox.write_config(&stage.dir.0, &request).expect("a directory of our own").config;
    stage.set_clock("+10h");
    let daemon = Child::start(&config, &["run"], &Host::in_dir(&stage.dir.0).env());

    let is_proved = |name: &String| daemon.events(0).iter().any(|event| is(event, "proved", name));
    eventually("all are proved", || names.iter().all(is_proved).then_some(())).await;

    assert!(names.iter().all(is_proved));
}

/// The grace period of a pass is measured with a monotonic clock.
#[tokio::test]
async fn a_pass_ends_after_its_grace_period_although_the_clock_is_set_back() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let secret = stage.partner.refresh_token.name.as_str();
    let no_role = FaultEffect::Coded {
        status: 403,
        code: "Forbidden".into(),
        inner: Some("ForbiddenByRbac".into()),
        retry_after: None,
    };
    stage.world().inject(Fault::of(Peer::KeyVault, no_role).on(Operation::Set).about(secret));
    stage.set_clock("+60d");
    let pass = Child::start(&stage.config, &["rotate", "one"], &Host::in_dir(&stage.dir.0).env());
    let refused = |event: &Value| is(event, "attempt_failed", "one") && event["kind"] == "vault_refused";
    pass.logs(0, "that it may not write", refused).await;

    stage.set_clock("-60d");

    let ended = pass.ended("after the grace").await;
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
}
