//! Tests a buried sign-in that the issuer rejects. Perennial has overwritten the sign-in with a newer version.
//! Perennial must try this sign-in once a day, even if attempts fail for other reasons. As soon as the sign-in works,
//! Perennial must restore it.

use std::time::Duration;

use perennial::net::no_response::NoResponse;

use super::*;

impl Scene {
    /// A process redeems the token. A minute later, the other user signs in. The process overwrites this sign-in and
    /// dies.
    pub(super) async fn buries_a_sign_in(&self, tags: Tags) -> RefreshToken {
        self.buries_a_sign_in_after(TimeDelta::minutes(1), tags).await
    }

    async fn buries_a_sign_in_after(&self, wait: TimeDelta, tags: Tags) -> RefreshToken {
        let mut dies = self.rotator("dies");
        let state = dies.prove(self.unknown(), true).await.state;
        let Phase::Unsaved(pending) = state.phase else { panic!("forced") };
        let held = pending.successor;
        self.world.advance(wait);
        let sign_in = self.signs_in(tags);
        self.world.advance(TimeDelta::minutes(1));
        harness::writes_and_dies(&dies.vault, &held, &self.partner).await;
        self.world.advance(TimeDelta::minutes(1));
        sign_in
    }
}

#[tokio::test]
async fn a_rejected_buried_sign_in_is_retried_daily_and_restored_once_it_works() {
    let scene = Scene::set().await;
    let sign_in = scene.buries_a_sign_in(Tags::new()).await;
    scene.refuse("invalid_grant", Some(530_036));
    let began = scene.world.now();
    let mut rotator = scene.rotator("next");

    let state = settle(&mut rotator, scene.unknown()).await;
    assert!(
        state.failure().is_none() && !scene.follows(&sign_in),
        "what is on top works: {:?}",
        state.failure()
    );
    let state = hours(&scene, &mut rotator, state, 49).await;
    let tried = scene.redemptions_since(began);
    assert!((2..=3).contains(&tried), "{tried} redemptions in two days");

    scene.allow();
    let state = hours(&scene, &mut rotator, state, 49).await;
    assert!(scene.follows(&sign_in) && state.failure().is_none(), "{:?}", state.failure());
}

/// Returns failures that happen during the daily attempt or prevent it.
fn trouble(scene: &Scene) -> Vec<(&'static str, Fault)> {
    let entra = |what: FaultEffect| Fault::of(Peer::Entra, what).on(Operation::Redeem);
    let theirs = |what: FaultEffect| entra(what).about(&scene.other);
    let vault = |what: FaultEffect, on: Operation| Fault::of(Peer::KeyVault, what).on(on);
    let oauth = |error: &str, code: u32| {
        let error = error.to_owned();
        FaultEffect::OAuth { status: 400, error, code: Some(code), suberror: None }
    };
    let status = |status| FaultEffect::Status { status, retry_after: None };
    vec![
        ("no answer", theirs(FaultEffect::Transport(NoResponse::TimedOut))),
        ("a lost answer", theirs(FaultEffect::Transport(NoResponse::TimedOut)).after_effect()),
        ("an outage of Entra", entra(status(503))),
        (
            "throttled",
            theirs(FaultEffect::Status { status: 429, retry_after: Some(Duration::from_secs(900)) }),
        ),
        ("throttled for this user", theirs(oauth("invalid_grant", 50196))),
        ("a page that is no answer", theirs(FaultEffect::Garbage)),
        ("the app's secret refused", theirs(oauth("invalid_client", 7_000_215))),
        ("the app's secret ended", entra(oauth("invalid_client", 7_000_222))),
        ("another policy", theirs(oauth("invalid_grant", 50076))),
        ("the version is not read", vault(status(503), Operation::GetVersion)),
        ("the versions are not listed", vault(status(503), Operation::List)),
        ("the mark is not written", vault(status(503), Operation::Update)),
    ]
}

#[tokio::test]
async fn a_rejected_sign_in_of_the_same_second_is_restored_once_it_works() {
    let scene = Scene::set().await;
    let first = scene.world.sign_in(&scene.partner.user_oid, &scene.partner.client_id).expect("may sign in");
    scene.world.human_writes(&scene.partner.refresh_token, first.expose(), Tags::new()).expect("stored");
    let mark = mark_without_code(&scene, Kind::PolicyBlocked);
    let second = scene.buries_a_sign_in_after(TimeDelta::zero(), mark).await;
    scene.refuse("invalid_grant", Some(53003));
    let mut rotator = scene.rotator("next");
    let state = settle(&mut rotator, scene.unknown()).await;
    assert!(scene.follows(&first) && state.failure().is_none(), "{:?}", state.failure());

    scene.allow();
    hours(&scene, &mut rotator, state, 27).await;
    assert!(scene.follows(&second));

    for start in 0..3 {
        let mut rotator = scene.rotator("again");
        settle(&mut rotator, scene.unknown()).await;
        assert!(scene.follows(&second), "start {start}: the two do not take turns");
    }
}

#[tokio::test]
async fn a_failure_during_the_daily_attempt_does_not_end_the_attempts() {
    let mut wrong = Vec::new();
    for nth in 0..trouble(&Scene::set().await).len() {
        let scene = Scene::set().await;
        let (what, fault) = trouble(&scene).swap_remove(nth);
        let sign_in = scene.buries_a_sign_in(Tags::new()).await;
        scene.refuse("invalid_grant", Some(53003));
        let mut rotator = scene.rotator("next");
        let mut state = settle(&mut rotator, scene.unknown()).await;
        // The policy is removed, but another failure begins and lasts a day. The next daily attempt meets this failure.
        state = hours(&scene, &mut rotator, state, 12).await;
        scene.allow();
        scene.world.inject(fault);
        state = hours(&scene, &mut rotator, state, 24).await;
        scene.allow();

        state = hours(&scene, &mut rotator, state, 27).await;

        if !scene.follows(&sign_in) || state.failure().is_some() {
            wrong.push(format!("{what}: {:?}", state.failure()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
