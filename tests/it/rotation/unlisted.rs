//! Tests an invalid value that is newer than a working token, while Perennial cannot list or read the secret's
//! versions. Perennial must report this problem until Perennial can read the versions. Then Perennial must replace the
//! invalid value without a person's help.

use std::time::Duration;

use chrono::TimeDelta;
use perennial::ports::failure::Kind;
use perennial::sandbox::world::{Action, Fault, FaultEffect, Operation, Peer};
use perennial::token::tags::Tags;

use crate::support::host::{Host, on_a_host};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Returns, for each hour, the kinds of the current conditions.
async fn told_hourly(host: &Host, hours: usize) -> Vec<Vec<Kind>> {
    let mut told = Vec::new();
    for _ in 0..hours {
        tokio::time::sleep(HOUR).await;
        told.push(host.holding());
    }
    told
}

fn paste_rubbish(host: &Host) {
    host.world.human_writes(&host.partners[0].refresh_token, "pasted rubbish", Tags::new());
}

#[test]
fn a_missing_right_to_list_is_reported_until_it_is_assigned() {
    for right in [Action::ReadMetadata, Action::GetSecret] {
        on_a_host(TimeDelta::zero(), 1, &async |host| {
            tokio::time::sleep(HOUR).await;
            paste_rubbish(host);
            // Perennial may replace an invalid value with its predecessor only after a day.
            tokio::time::sleep(HOUR * 25).await;
            host.world.change_vault(&host.partners[0].refresh_token.vault, |vault| {
                vault.allowed.remove(&right);
            });
            paste_rubbish(host);
            tokio::time::sleep(HOUR * 32).await;
            let calls = host.world.count_calls(Peer::KeyVault, None, host.world.now() - TimeDelta::days(1));

            let told = told_hourly(host, 24).await;
            assert!(told.iter().all(|kinds| !kinds.is_empty()), "{right:?}: {told:?}");
            assert!(calls <= 1_500, "{right:?}: {calls} calls a day");
            host.world.change_vault(&host.partners[0].refresh_token.vault, |vault| {
                vault.allowed = Action::ALL.into();
            });
            tokio::time::sleep(HOUR * 26).await;

            assert_eq!((host.alive(), host.current()), (1, 1), "{right:?}: {:?}", host.holding());
        });
    }
}

#[test]
fn an_unanswered_list_at_the_start_is_retried_and_reported() {
    for minutes in [1, 10, 50] {
        on_a_host(TimeDelta::zero(), 1, &async |host| {
            paste_rubbish(host);
            // The vault's first answer corrects the host's clock. This correction must not make a wait longer.
            host.world.advance(TimeDelta::days(2));
            let down = FaultEffect::Status { status: 503, retry_after: None };
            host.world.inject(Fault::of(Peer::KeyVault, down).on(Operation::List));
            let since = host.world.now();

            tokio::time::sleep(MINUTE * minutes).await;
            let calls = host.world.count_calls(Peer::KeyVault, None, since);
            // During this time, the token needs a sign-in, so the daemon checks the vault every minute.
            let most = 30 + usize::try_from(minutes).expect("few");
            assert!(calls <= most, "{minutes} min: {calls} calls");
            if minutes > 1 {
                let told = host.holding();
                assert!(told.contains(&Kind::VaultUnreachable), "{minutes} min: {told:?}");
            }
            host.world.clear_faults(None);
            tokio::time::sleep(HOUR + MINUTE).await;

            assert_eq!((host.alive(), host.current()), (1, 1), "{minutes} min: {:?}", host.holding());
        });
    }
}
