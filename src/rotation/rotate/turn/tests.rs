//! Tests of permits: which permits a step needs, and what the step does without them.

use chrono::TimeDelta;
use tokio::time::Instant;
use uuid::Uuid;

use super::*;
use crate::rotation::rotate::lab::Lab;
use crate::rotation::rotate::samples::{Peers, ours, start};
use crate::rotation::samples::{grant, proved, version};
use crate::rotation::turns::Turns;

const WEEKS: TimeDelta = TimeDelta::weeks(4);

fn limited(peers: &Peers) -> Lab<'_> {
    let mut lab = Lab::new(peers, |_| {});
    lab.rotator.turns = Turns::new(lab.rotator.clock.clone());
    lab
}

fn writes() -> Limited {
    Limited::NewVersions(hash(&grant("t").secret.vault))
}

/// Uses up the permits for new versions.
async fn use_up_writes(lab: &Lab<'_>) {
    for _ in 0..200 {
        lab.rotator.turns.take(writes(), false).await.expect("limited").begin();
    }
}

#[tokio::test(start_paused = true)]
async fn a_proof_needs_permits_for_what_is_known_of_it() {
    let old = version("v", start() - WEEKS);
    let recent = ours("v", "x", -60, "u").version;
    let state = |newest| State { in_line: false, ..proved(newest, start()) };
    let unknown = State::unknown(start());
    let mut same = state(old.clone());
    same.facts_of(&old.id).same_token_at = Some(start());
    let peers = Peers::new();
    for (what, state, next, force, strict, user, expected) in [
        ("a save", state(old.clone()), Next::Save, true, true, None, (false, false)),
        ("a first read", unknown.clone(), Next::Prove, true, true, None, (false, false)),
        ("a first read of a known user", unknown, Next::Prove, true, true, Some("u"), (true, false)),
        ("a proof", state(recent.clone()), Next::Prove, false, false, None, (true, false)),
        ("a forced rotation", state(recent.clone()), Next::Prove, true, false, None, (true, true)),
        ("a strict token", state(recent), Next::Prove, false, true, None, (true, true)),
        ("a rotation that is due", state(old), Next::Prove, false, false, None, (true, true)),
        ("the same token again", same, Next::Prove, true, true, None, (true, false)),
    ] {
        let rotator =
            peers.rotator(|grant| (grant.strict, grant.user_oid) = (strict, user.map(str::to_owned)));

        let Needs { redemption, new_version } = rotator.needs(&state, &next, force);

        assert_eq!((redemption.is_some(), new_version.is_some()), expected, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_waits_for_its_turn_and_keeps_the_permits() {
    let peers = Peers::new();
    let mut lab = limited(&peers);
    use_up_writes(&lab).await;
    lab.state.newest = Some(peers.all().versions[0].version.clone());
    let began = Instant::now();

    lab.rotator.wait_turn(&lab.state, &Next::Prove).await;
    assert_eq!(began.elapsed().as_secs(), 10);
    let turn = lab.rotator.turn.as_ref().expect("it has a turn");
    assert!(turn.covers(lab.rotator.needs(&lab.state, &Next::Prove, false)));
    lab.step(Next::Prove).await;
    lab.step(Next::Save).await;

    assert_eq!(began.elapsed().as_secs(), 10, "the permits were enough");
    assert!(!lab.state.is_unsaved());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_lacks_a_permit_after_its_read_redeems_nothing() {
    let peers = Peers::new();
    let mut lab = limited(&peers);
    use_up_writes(&lab).await;

    lab.step(Next::Prove).await;
    assert_eq!(lab.calls, ["newest"]);
    assert!(lab.state.in_line && lab.state.failure().is_none());
    let state = lab.state.clone();
    let stepped = lab.rotator.prove_in_turn(state, false).await;

    assert!(!stepped.state.in_line && stepped.state.is_unsaved());
    assert_eq!(peers.calls(), ["newest", "list", "app: newest", "redeem rt with s1"]);
}

#[tokio::test(start_paused = true)]
async fn a_command_waits_until_the_token_is_proved() {
    let peers = Peers::new();
    let mut lab = limited(&peers);
    use_up_writes(&lab).await;
    let began = Instant::now();

    let stepped = lab.rotator.prove_in_turn(State::unknown(start()), true).await;

    assert!(stepped.state.is_unsaved());
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(peers.calls(), ["newest", "newest", "list", "app: newest", "redeem rt with s1"]);
    assert_eq!(stepped.events.len(), 2, "those of both attempts: {:?}", stepped.events);
}

#[tokio::test(start_paused = true)]
async fn a_further_redemption_takes_a_permit_of_its_own_or_fails_after_a_while() {
    let peers = Peers::new();
    let lab = limited(&peers);
    let whom = Redeemer::of(&grant("t"), None, None).with_user("a");
    let other = whom.with_user("b");
    let take = async |whom| lab.rotator.turns.take(Limited::Redemptions(whom), false).await;
    let mut attempt = Attempt::new(Uuid::nil());
    attempt.redemption = take(whom).await;

    let permit = lab.rotator.redemption_permit(other, &mut attempt).await.expect("free");
    assert!(permit.is_some_and(|permit| permit.is(Limited::Redemptions(other))));
    let permit = lab.rotator.redemption_permit(whom, &mut attempt).await.expect("the first one");
    assert!(permit.is_some_and(|permit| permit.is(Limited::Redemptions(whom))));
    assert!(attempt.redemption.is_none());

    let mut busy = Vec::new();
    for _ in 0..14 {
        busy.push(take(whom).await);
    }
    let began = Instant::now();
    let failure = lab.rotator.redemption_permit(whom, &mut attempt).await.expect_err("none is free");
    assert_eq!((failure.kind, began.elapsed()), (Kind::EntraThrottled, FURTHER_WITHIN));
}

#[tokio::test(start_paused = true)]
async fn a_save_uses_the_permit_of_its_turn_or_takes_an_urgent_one() {
    let peers = Peers::new();
    let lab = limited(&peers);
    let mut attempt = Attempt::new(Uuid::nil());
    attempt.new_version = lab.rotator.turns.take(writes(), false).await;
    for _ in 0..199 {
        lab.rotator.turns.take(writes(), false).await.expect("limited").begin();
    }
    let began = Instant::now();

    lab.rotator.new_version_permit(&mut attempt).await.expect("its own").begin();
    assert!(began.elapsed().is_zero() && attempt.new_version.is_none());
    let ordinary = async {
        lab.rotator.turns.take(writes(), false).await.expect("limited").begin();
        began.elapsed()
    };
    let urgent = async {
        for _ in 0..3 {
            lab.rotator.new_version_permit(&mut Attempt::new(Uuid::nil())).await.expect("limited").begin();
        }
        began.elapsed()
    };
    let (ordinary, urgent) = tokio::join!(ordinary, urgent);
    assert!(urgent <= ordinary && ordinary.as_secs() == 10, "{urgent:?} {ordinary:?}");
}

#[tokio::test(start_paused = true)]
async fn only_a_token_with_a_held_successor_calls_the_vault_urgently() {
    let peers = Peers::new();
    let mut lab = Lab::new(&peers, |_| {});
    assert!(!lab.rotator.vaults().urgent);

    lab.step(Next::Prove).await;

    assert!(lab.rotator.vaults().urgent);
}
