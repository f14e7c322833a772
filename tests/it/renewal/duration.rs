//! Tests how long a renewal takes after `renew` is turned on, in simulated time.

use std::time::Duration;

use chrono::TimeDelta;
use perennial::process::clock::Clock;
use perennial::renewal::daemon::keep_renewed;
use perennial::sandbox::world::World;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::certificates::CertificateScene;
use super::{newest_value, partner_in, policy, renewer};
use crate::support::harness::base;

/// Starts the daemon's loop. Returns the time until `is_renewed` returns true.
macro_rules! time_to {
    ($renewer:expr, $world:expr, $is_renewed:expr) => {{
        let (began, (_reload, reloads)) = ($world.now(), watch::channel(0));
        let task = tokio::spawn(keep_renewed($renewer, CancellationToken::new(), reloads, |_| {}));
        while !$is_renewed() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        task.abort();
        $world.now() - began
    }};
}

#[tokio::test(start_paused = true)]
async fn a_due_credential_is_renewed_within_twenty_minutes_after_the_start() {
    for delay in [0, 120] {
        let (began, clock) = (base(), Clock::running(base(), 1.0));
        let world = World::new(clock.clone(), 1);
        let partner = partner_in(&world, TimeDelta::days(10));
        world.set_propagation(TimeDelta::seconds(delay));
        let at = partner.app_secret.clone();
        let before = newest_value(&world, &at);
        let secret = renewer(&world, &clock, &partner, &at, "one", policy(730, 45));
        let of_secret = time_to!(secret, world, || newest_value(&world, &at) != before);

        let scene = CertificateScene::new(Clock::running(began, 1.0), 1, TimeDelta::days(10));
        scene.world.set_propagation(TimeDelta::seconds(delay));
        let old = scene.newest().id;
        let certificate = scene.renewer("one", policy(730, 45), true);
        let of_certificate = time_to!(certificate, scene.world, || scene.in_use().id != old);

        eprintln!("delay of {delay} s: the secret after {of_secret}, the certificate after {of_certificate}");
        for took in [of_secret, of_certificate] {
            assert!(took >= TimeDelta::minutes(15), "{took}");
        }
        assert!(of_secret <= TimeDelta::minutes(20), "{of_secret}");
        // Before the renewal, Perennial tests the certificate version in use and marks it as accepted. This takes as
        // long as the renewal itself.
        assert!(of_certificate <= TimeDelta::minutes(40), "{of_certificate}");
    }
}
