//! Tests a host whose clock is wrong, at the start or later. Many tokens use one clock, as in `run`.

use std::time::Duration;

use chrono::TimeDelta;
use perennial::net::no_response::NoResponse;
use perennial::ports::failure::Kind;
use perennial::sandbox::world::{Fault, FaultEffect, Peer};
use perennial::status::board::StatusBoard;
use perennial::token::managed::Policy;

use crate::support::harness;
use crate::support::host::on_a_host;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn forty_tokens_are_current_within_seconds_whichever_way_the_clock_is_wrong_at_the_start() {
    for ahead in [
        TimeDelta::hours(10),
        TimeDelta::days(60),
        TimeDelta::days(400),
        TimeDelta::minutes(4),
        TimeDelta::hours(-10),
        TimeDelta::days(-400),
    ] {
        let current = on_a_host(ahead, 40, &async |host| {
            tokio::time::sleep(Duration::from_secs(25)).await;
            host.current()
        });

        assert_eq!(current, 40, "{ahead} ahead");
    }
}

#[test]
fn all_tokens_are_current_soon_after_an_outage_on_a_host_whose_clock_is_wrong() {
    for ahead in [TimeDelta::hours(10), TimeDelta::days(400), TimeDelta::days(-400)] {
        let current = on_a_host(ahead, 10, &async |host| {
            host.world.inject(Fault::of(Peer::KeyVault, FaultEffect::Transport(NoResponse::TimedOut)));
            tokio::time::sleep(HOUR * 7).await;
            host.world.clear_faults(None);
            // The wait between two attempts is at most an hour.
            tokio::time::sleep(HOUR + Duration::from_secs(60)).await;
            host.current()
        });

        assert_eq!(current, 10, "{ahead} ahead");
    }
}

#[test]
fn a_clock_that_jumps_in_the_middle_of_a_year_costs_no_token() {
    for (by, outage) in [
        (TimeDelta::minutes(7), false),
        (TimeDelta::days(400), false),
        (TimeDelta::days(400), true),
        (TimeDelta::days(-400), false),
        (TimeDelta::days(-400), true),
        (TimeDelta::hours(-10), true),
    ] {
        on_a_host(TimeDelta::zero(), 4, &async |host| {
            tokio::time::sleep(DAY * 30).await;
            host.clock.set_by(by);
            if outage {
                host.world.inject(Fault::of(Peer::KeyVault, FaultEffect::Transport(NoResponse::TimedOut)));
            }
            tokio::time::sleep(HOUR * 3).await;
            host.world.clear_faults(None);
            host.clock.set_by(-by);
            tokio::time::sleep(HOUR * 2).await;

            assert_eq!((host.current(), host.holding()), (4, vec![]), "{by}, outage: {outage}");
            tokio::time::sleep(DAY * 120).await;
            assert_eq!((host.current(), host.alive()), (4, 4), "{by}, outage: {outage}");
        });
    }
}

#[test]
fn a_vault_that_once_reports_a_wrong_time_costs_no_token() {
    for by in [TimeDelta::days(400), TimeDelta::days(-400), TimeDelta::hours(3)] {
        on_a_host(TimeDelta::zero(), 4, &async |host| {
            tokio::time::sleep(DAY * 30).await;
            host.clock.observe(host.world.now() + by);
            tokio::time::sleep(HOUR * 8).await;

            assert_eq!(host.current(), 4, "{by}");
            tokio::time::sleep(DAY * 120).await;
            assert_eq!((host.current(), host.alive()), (4, 4), "{by}");
        });
    }
}

/// The status board must report the token without the help of the token's task, because the task's first step may be
/// blocked.
#[test]
fn a_token_that_was_never_tried_is_reported_within_15_minutes() {
    for ahead in [TimeDelta::zero(), TimeDelta::days(60), TimeDelta::days(-60)] {
        on_a_host(ahead, 3, &async |host| {
            let grant = harness::grant("stuck", &host.partners[0], &Policy::default());
            let rotator = harness::rotator(&host.world, host.clock.clone(), &grant, "run", 1);
            let board =
                StatusBoard::new(std::iter::once((&rotator.grant, &rotator.timing)), host.clock.clone());
            let told = || {
                let told = |conditions: Vec<perennial::status::condition::Condition>| {
                    conditions.iter().any(|condition| condition.kind == Kind::Overdue)
                };
                board.drawn(|_, conditions, _| told(conditions))
            };

            tokio::time::sleep(Duration::from_secs(15 * 60)).await;
            assert!(!told(), "{ahead}: its turn may come yet");
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(told(), "{ahead}");
            assert_eq!(host.current(), 3, "{ahead}: the others are");
        });
    }
}
