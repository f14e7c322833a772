//! Tests an invalid value that is newer than a rejected sign-in. The tests show which older versions may replace this
//! value.

use super::*;

#[tokio::test]
async fn a_rescue_puts_the_newest_sign_in_on_top_once_its_policy_is_lifted() {
    for fresh_process in [false, true] {
        let scene = Scene::set().await;
        let mut rotator = scene.rotator("run");
        let state = settle(&mut rotator, scene.unknown()).await;
        scene.refuse("invalid_grant", Some(53003));
        let sign_in = scene.signs_in(Tags::new());
        let state = look_now(&mut rotator, state).await;
        assert_eq!(kind(&state), Some(Kind::PolicyBlocked));
        assert!(scene.version_of(&sign_in).is_refused(), "it is noted");
        scene.pass(&rotator, TimeDelta::hours(1));
        scene.pastes_rubbish();
        let mut state = settle(&mut rotator, state).await;
        assert_eq!(kind(&state), Some(Kind::LoginRequired));

        scene.allow();
        if fresh_process {
            (rotator, state) = (scene.rotator("next"), scene.unknown());
        }
        let state = hours(&scene, &mut rotator, state, 49).await;

        assert!(
            scene.follows(&sign_in) && state.failure().is_none(),
            "{fresh_process}: {:?}",
            state.failure()
        );
    }
}

#[tokio::test]
async fn while_the_policy_holds_a_rescue_puts_nothing_older_over_the_sign_in() {
    let scene = Scene::set().await;
    let mut rotator = scene.rotator("run");
    let state = settle(&mut rotator, scene.unknown()).await;
    scene.refuse("invalid_grant", Some(530_003));
    let sign_in = scene.signs_in(Tags::new());
    scene.pass(&rotator, TimeDelta::hours(1));
    let state = look_now(&mut rotator, state).await;
    let rubbish = scene.pastes_rubbish();
    let state = look_now(&mut rotator, state).await;
    scene.pass(&rotator, TimeDelta::minutes(1));
    let began = scene.world.now();

    let state = hours(&scene, &mut rotator, state, 49).await;
    assert_eq!((scene.newest(), kind(&state)), (rubbish, Some(Kind::LoginRequired)));
    let tried = scene.redemptions_since(began);
    assert!((1..=2).contains(&tried), "{tried} redemptions in two days");

    scene.allow();
    let state = hours(&scene, &mut rotator, state, 49).await;
    assert!(scene.follows(&sign_in) && state.failure().is_none(), "{:?}", state.failure());
}
