//! While a person is waited for the vault is looked at: what is news then, and what is not.

use chrono::TimeDelta;
use perennial::cli::shipped::ShippedRotator;
use perennial::state::State;
use perennial::version::Version;
use perennial::world::Action;
use perennial::world::Operation;
use perennial::world::Partner;

use crate::lab::Lab;
use crate::lab::grant;
use crate::lab::settle;

/// A token of ours whose user has been switched off, and the process that waits for somebody.
async fn refused(lab: &Lab, partner: &Partner) -> (ShippedRotator, State) {
    lab.world().disable_user(&partner.user_oid, true);
    let mut rotator = lab.rotator(&grant("partner", partner));
    let state = settle(&mut rotator, State::unknown(lab.clock.now())).await;
    assert!(state.awaits_person(), "{state:?}");
    (rotator, state)
}

async fn rotated(lab: &Lab) -> Partner {
    let partner = lab.sandbox.add_partner("partner", TimeDelta::days(2));
    let mut rotator = lab.rotator(&grant("partner", &partner));
    let state = rotator.prove(State::unknown(lab.clock.now()), true).await;
    settle(&mut rotator, state).await;
    partner
}

#[tokio::test]
async fn an_account_that_works_again_is_noticed_once_another_process_has_proved_it() {
    let lab = Lab::start().await;
    let partner = rotated(&lab).await;
    let (mut rotator, state) = refused(&lab, &partner).await;
    let version = state.newest.clone().expect("read");
    assert!(version.is_refused());
    lab.world().disable_user(&partner.user_oid, false);
    settle(&mut lab.rotator(&grant("partner", &partner)), State::unknown(lab.clock.now())).await;

    lab.pass(TimeDelta::minutes(2));
    let state = settle(&mut rotator, state).await;

    assert!(state.failing.is_none(), "{:?}", state.failing);
    assert_eq!(state.newest.map(|newest| newest.id), Some(version.id), "nothing was rotated for it");
}

#[tokio::test]
async fn a_refusal_that_cannot_be_noted_is_no_news_at_each_look() {
    let lab = Lab::start().await;
    let partner = rotated(&lab).await;
    lab.world().change_vault(&partner.refresh_token.vault, |vault| {
        vault.allowed.remove(&Action::Update);
    });
    let (mut rotator, mut state) = refused(&lab, &partner).await;
    assert!(!state.newest.as_ref().is_some_and(Version::is_refused), "as it is stored");

    let since = lab.clock.now();
    while lab.clock.now() < since + TimeDelta::hours(3) {
        lab.pass(TimeDelta::seconds(65));
        state = settle(&mut rotator, state).await;
    }

    let count = |operation| lab.world().count_calls_where(since, |call| call.operation == operation);
    assert_eq!(count(Operation::Redeem), 0);
    assert!(count(Operation::Get) > 150 && count(Operation::Update) >= 2, "it goes on looking and noting");
}
