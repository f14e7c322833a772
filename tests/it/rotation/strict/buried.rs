//! Tests a buried sign-in of a `strict` token. Perennial has overwritten the sign-in with a newer version.

use perennial::rotation::state::State;

use super::*;

/// A mark on a buried sign-in shows only that a redemption has begun. So Perennial must still restore this sign-in.
/// `interleavings/exhaustive.rs` found this case.
#[test]
fn a_buried_sign_in_is_restored_although_its_first_redemption_got_no_answer() {
    play(async |scene| {
        let clock = Clock::running(scene.world.now(), 1.0);
        let mut dying = harness::rotator(&scene.world, clock, &scene.grant, "dying", 1);
        let mut state = dying.prove(State::unknown(scene.world.now()), true).await.state;
        let held = state.pending().expect("it holds a successor").successor.clone();
        scene.world.advance(TimeDelta::seconds(2));
        let sign_in = scene.world.human_signs_in(&scene.partner).expect("may sign in");
        scene.world.advance(TimeDelta::seconds(2));
        harness::writes_and_dies(&scene.world.as_actor("dying"), &held, &scene.partner).await;
        let lost = FaultEffect::Transport(NoResponse::TimedOut);
        scene.world.inject(Fault::of(Peer::Entra, lost).on(Operation::Redeem).times(1));

        let daemon = scene.daemon("next", 2);

        until("it works", 10 * A_MINUTE, || works(&daemon)).await;
        let newest = scene.world.newest_value(&scene.partner.refresh_token).expect("stored");
        assert!(scene.world.descends_from(newest.expose(), sign_in.expose()), "the sign-in stays buried");
    });
}
