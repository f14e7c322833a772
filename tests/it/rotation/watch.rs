//! While a person must act, Perennial checks the vault every minute for a change. Tests which answers of the vault show
//! a change, and which do not.

use std::sync::Arc;

use chrono::TimeDelta;
use perennial::cli::azure_clients::AzureRotator;
use perennial::ports::failure::Kind;
use perennial::rotation::state::{Phase, State};
use perennial::sandbox::world::{Action, Distortion, Fault, FaultEffect, Operation, Partner, Peer};
use perennial::token::secret::{ConfigValue, SecretAddress, SecretName, Source};
use perennial::token::tags::Tags;
use perennial::token::version::Version;

use crate::support::harness;
use crate::support::lab::{Lab, grant, settle};

/// Returns a process that waits for a fix, because the user of its token is disabled.
async fn refused(lab: &Lab, partner: &Partner) -> (AzureRotator, State) {
    lab.world().disable_user(&partner.user_oid, true);
    let mut rotator = lab.rotator(&grant("partner", partner));
    let state = settle(&mut rotator, State::unknown(lab.clock.now())).await;
    assert!(state.awaits_person(), "{state:?}");
    (rotator, state)
}

async fn rotated(lab: &Lab) -> Partner {
    let partner = lab.sandbox.add_partner("partner", TimeDelta::days(2));
    let mut rotator = lab.rotator(&grant("partner", &partner));
    let state = rotator.prove(State::unknown(lab.clock.now()), true).await.state;
    settle(&mut rotator, state).await;
    partner
}

#[tokio::test]
async fn an_account_enabled_again_is_noticed_after_another_process_proved_it() {
    let lab = Lab::start().await;
    let partner = rotated(&lab).await;
    let (mut rotator, state) = refused(&lab, &partner).await;
    let version = state.newest.clone().expect("read");
    assert!(version.is_refused());
    lab.world().disable_user(&partner.user_oid, false);
    settle(&mut lab.rotator(&grant("partner", &partner)), State::unknown(lab.clock.now())).await;

    lab.pass(TimeDelta::minutes(2));
    let state = settle(&mut rotator, state).await;

    assert!(state.failure().is_none(), "{:?}", state.failure());
    assert_eq!(state.newest.map(|newest| newest.id), Some(version.id), "nothing was rotated for it");
}

#[tokio::test]
async fn a_rejection_that_cannot_be_recorded_is_not_reported_at_each_check() {
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

#[tokio::test]
async fn a_new_reason_for_a_read_failure_is_reported() {
    let lab = Lab::start().await;
    let partner = rotated(&lab).await;
    let vault = partner.refresh_token.vault.clone();
    lab.world().change_vault(&vault, |vault| {
        vault.allowed.remove(&Action::GetSecret);
    });
    let mut rotator = lab.rotator(&grant("partner", &partner));
    let kind = |state: &State| state.failure().map(|failure| failure.kind);
    let state = settle(&mut rotator, State::unknown(lab.clock.now())).await;
    assert_eq!(kind(&state), Some(Kind::VaultRefused));
    lab.world().human_deletes(&partner.refresh_token);
    lab.world().human_purges(&partner.refresh_token);
    lab.world().change_vault(&vault, |vault| vault.allowed = Action::ALL.into());

    lab.pass(TimeDelta::minutes(2));
    let state = settle(&mut rotator, state).await;

    assert_eq!(kind(&state), Some(Kind::NeverSignedIn), "the role is there now");
}

#[tokio::test]
async fn a_credential_of_two_secrets_is_checked_within_the_same_limit() {
    let lab = Lab::start().await;
    let partner = rotated(&lab).await;
    let world = lab.world();
    let app_id =
        SecretAddress { name: SecretName::parse("app-id").expect("a name"), ..partner.app_secret.clone() };
    world.store_app_secret(&app_id, &partner.client_id, None);
    world.expire_app_secret(&partner.client_id);
    let mut grant = grant("partner", &partner);
    Arc::make_mut(&mut grant.app).client_id = ConfigValue::From(Source::Secret(app_id));
    let mut rotator = lab.rotator(&grant);
    let mut state = settle(&mut rotator, State::unknown(lab.clock.now())).await;
    assert!(state.awaits_person(), "{state:?}");

    let since = lab.clock.now();
    while lab.clock.now() < since + TimeDelta::hours(6) {
        lab.pass(TimeDelta::seconds(65));
        state = settle(&mut rotator, state).await;
    }

    let calls = world.count_calls_where(since, |call| call.operation == Operation::Get);
    assert!((250..=1500 / 4).contains(&calls), "{calls} in six hours");
}

#[tokio::test]
async fn a_new_version_is_not_covered_by_the_previous_proof() {
    let lab = Lab::start().await;
    let partner = rotated(&lab).await;
    let mut rotator = lab.rotator(&grant("partner", &partner));
    let state = settle(&mut rotator, State::unknown(lab.clock.now())).await;
    assert!(state.proved_at().is_some());
    lab.world().human_signs_in(&partner).expect("may sign in");
    let down = FaultEffect::Status { status: 503, retry_after: None };
    lab.world().inject(Fault::of(Peer::Entra, down).on(Operation::Redeem));

    let state = rotator.prove(state, false).await.state;

    assert_eq!(state.proved_at(), None, "nobody has redeemed it");
}

/// A process has buried a sign-in and died. When the next process redeems this sign-in, the issuer returns no
/// successor.
#[tokio::test]
async fn a_buried_sign_in_without_a_successor_blocks_no_proof() {
    let lab = Lab::start().await;
    let partner = rotated(&lab).await;
    let (world, at) = (lab.world(), &partner.refresh_token);
    let mut dies = lab.rotator(&grant("partner", &partner));
    let state = dies.prove(State::unknown(lab.clock.now()), true).await.state;
    let Phase::Unsaved(pending) = state.phase else { panic!("forced") };
    let held = pending.successor;
    let other = world.add_user(&partner.tenant_id, "other@partner.onmicrosoft.com", true);
    let theirs = world.sign_in(&other, &partner.client_id).expect("may sign in");
    world.advance(TimeDelta::minutes(1));
    world.human_writes(at, theirs.expose(), Tags::new());
    world.advance(TimeDelta::minutes(1));
    harness::writes_and_dies(&dies.vault, &held, &partner).await;
    world.inject(Fault::of(Peer::Entra, FaultEffect::Distort(Distortion::NoRefreshToken)).about(&other));

    let mut rotator = lab.rotator(&grant("partner", &partner));
    let state = rotator.prove(State::unknown(lab.clock.now()), false).await.state;

    assert!(state.failure().is_none() && state.proved_at().is_some(), "{:?}", state.failure());
    let redeemed = world.calls_since(lab.clock.now() - TimeDelta::minutes(1));
    assert!(redeemed.iter().any(|call| call.subject == other), "it was tried");
}
