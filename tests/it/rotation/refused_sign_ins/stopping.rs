//! Tests a daemon that is stopped while it holds a successor. The newest version is then a sign-in of another user, and
//! the issuer rejects this sign-in.

use std::time::Duration;

use perennial::rotation::daemon::Signals;
use perennial::rotation::liveness::Liveness;
use perennial::rotation::told::Told;
use perennial::rotation::{daemon, grace};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;

/// While the daemon holds a successor, a user signs in, Entra rejects this sign-in, and the daemon is stopped. Returns
/// how often the daemon has tried to redeem this sign-in.
async fn redemptions_while_stopping(error: &str, code: u32) -> usize {
    let world = World::new(Clock::running(harness::base(), 1.0), 7);
    let partner = world.add_partner("contoso", harness::VAULT, None);
    let other = world.add_user(&partner.tenant_id, "other@contoso.onmicrosoft.com", true);
    let grant = harness::grant("contoso", &partner, &Policy::default());
    let mut rotator = harness::rotator(&world, Clock::running(harness::base(), 1.0), &grant, "run", 5);
    let state = rotator.prove(State::unknown(world.now()), true).await.state;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let token = world.sign_in(&other, &partner.client_id).expect("may sign in");
    world.human_writes(&partner.refresh_token, token.expose(), Tags::new()).expect("stored");
    let what = FaultEffect::OAuth { status: 400, error: error.to_owned(), code: Some(code), suberror: None };
    world.inject(Fault::of(Peer::Entra, what).on(Operation::Redeem).about(&other));
    let stop = CancellationToken::new();
    stop.cancel();
    let (_reload, reloads) = watch::channel(0);
    let signals = Signals { stop, reload: reloads, told: Told::default() };

    let task = daemon::keep(rotator, state, signals, Liveness::default(), |_, _, _| ());
    assert!(tokio::time::timeout(grace::GRACE, task).await.is_err(), "it holds a successor: {code}");

    assert_eq!(world.newest_value(&partner.refresh_token), Some(token), "{code}");
    world.count_calls_where(Timestamp::MIN_UTC, |call| {
        call.operation == Operation::Redeem && call.subject == other
    })
}

#[tokio::test(start_paused = true)]
async fn a_stopping_daemon_redeems_a_refused_sign_in_once_or_twice() {
    for (error, code, most) in [
        ("invalid_grant", 53003, 1),
        ("invalid_grant", 999_999, 1),
        ("invalid_grant", 50196, 1),
        ("temporarily_unavailable", 90033, 2),
        ("invalid_client", 7_000_215, 2),
    ] {
        let redemptions = redemptions_while_stopping(error, code).await;

        assert!((1..=most).contains(&redemptions), "{code}: {redemptions} redemptions");
    }
}
