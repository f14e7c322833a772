//! Tests which token waits, in which order, and for how long.

use std::cell::RefCell;

use super::*;
use crate::process::clock::Timestamp;
use crate::rotation::pace::LOOP_SPAN;

fn turns() -> Turns {
    Turns::new(Clock::running(Timestamp::from_timestamp(1_770_000_000, 0).expect("in range"), 1.0))
}

const WRITES: Limited = Limited::NewVersions(1);

async fn use_up(turns: &Turns, what: Limited, count: usize) {
    for _ in 0..count {
        turns.take(what, false).await.expect("limited").begin();
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_tokens_get_permits_in_order_and_urgent_ones_first() {
    let turns = turns();
    use_up(&turns, WRITES, 200).await;
    let order = RefCell::new(Vec::new());
    let wait = async |name: &'static str, urgent| {
        let _slot = turns.take(WRITES, urgent).await;
        order.borrow_mut().push(name);
    };

    tokio::join!(wait("a", false), wait("b", false), wait("c", true), wait("d", false), wait("e", true));

    assert_eq!(*order.borrow(), ["c", "e", "a", "b", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_blocks_no_other_and_leaves_nothing() {
    let turns = turns();
    use_up(&turns, WRITES, 200).await;
    let given_up = tokio::time::timeout(Duration::from_secs(1), turns.take(WRITES, true)).await;
    assert!(given_up.is_err());

    let since = tokio::time::Instant::now();
    turns.take(WRITES, false).await.expect("limited");

    assert!(since.elapsed() <= Duration::from_secs(10), "{:?}", since.elapsed());
    assert!(turns.0.expect("limited").lock().queues.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_token_waits_for_a_step_with_only_scarcer_permits() {
    let turns = turns();
    let needs = Needs { redemption: None, new_version: Some(1) };
    use_up(&turns, WRITES, 200).await;
    let step = turns.complete(Turn::default(), Needs::default(), 1, false).await;
    let waiting = turns.complete(step, needs, 1, false);
    let mut waiting = std::pin::pin!(waiting);
    assert!(futures::poll!(waiting.as_mut()).is_pending());

    let mut steps = Vec::new();
    for _ in 0..56 {
        steps.push(turns.take(Limited::Steps, false).await);
    }
    drop(steps);
    let turn = waiting.await;

    assert!(turn.step.is_some() && turn.covers(needs));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_tokens_of_one_user_get_their_turn_in_time() {
    let turns = turns();
    let started = tokio::time::Instant::now();
    let what = Limited::Redemptions(Redeemer::of(&crate::rotation::samples::grant("t"), None, None));
    let all = (0..10_000).map(|_| async { turns.take(what, false).await.expect("limited").begin() });

    futures::future::join_all(all).await;

    assert_eq!(started.elapsed().as_secs() / LOOP_SPAN.as_secs(), 10_000 / 14);
}

#[tokio::test(start_paused = true)]
async fn without_limits_no_token_waits() {
    let turns = Turns::default();
    let needs = Needs { redemption: None, new_version: Some(1) };
    for _ in 0..1_000 {
        let mut turn = turns.complete(Turn::default(), needs, 1, false).await;
        assert!(turns.add_at_once(&mut turn, needs));
        assert!(turns.take(WRITES, false).await.is_none());
    }
}

/// A turn does not ask for a permit that it already has. In this test, the turn has the last permit of a limit, so a
/// request for a second permit of this limit would have to wait.
#[tokio::test(start_paused = true)]
async fn a_turn_takes_only_the_permits_that_it_lacks() {
    let redeemer = Redeemer::of(&crate::rotation::samples::grant("a"), None, None);
    let both = Needs { redemption: Some(redeemer), new_version: Some(1) };
    for (first, what, others) in [
        (Needs { new_version: None, ..both }, Limited::Redemptions(redeemer), 13),
        (Needs { redemption: None, ..both }, WRITES, 199),
    ] {
        let turns = turns();
        use_up(&turns, what, others).await;
        let turn = turns.complete(Turn::default(), first, 1, false).await;
        let since = tokio::time::Instant::now();
        let turn = turns.complete(turn, both, 1, false).await;
        assert!(turn.covers(both) && since.elapsed().is_zero(), "{first:?}: {:?}", since.elapsed());
        assert_eq!(busy(&turns, redeemer), (1, 1), "{first:?}");
        drop(turn);

        let mut turn = turns.complete(Turn::default(), first, 1, false).await;
        assert!(turns.add_at_once(&mut turn, both), "{first:?}");
        assert_eq!(busy(&turns, redeemer), (1, 1), "{first:?}");
    }
}

/// Returns the numbers of permits in use for redemptions and for new versions.
fn busy(turns: &Turns, redeemer: Redeemer) -> (usize, usize) {
    let state = turns.0.as_ref().expect("limited").lock();
    let busy = |what| state.usage.busy(what);
    (busy(Limited::Redemptions(redeemer)), busy(WRITES))
}

#[tokio::test(start_paused = true)]
async fn a_turn_keeps_its_last_permit_when_another_one_is_missing() {
    let redeemer = Redeemer::of(&crate::rotation::samples::grant("a"), None, None);
    let redemptions = Limited::Redemptions(redeemer);
    let needs = Needs { redemption: Some(redeemer), new_version: Some(1) };
    for (first, (held, others), (missing, all)) in [
        (Needs { redemption: None, ..needs }, (WRITES, 199), (redemptions, 14)),
        (Needs { new_version: None, ..needs }, (redemptions, 13), (WRITES, 200)),
    ] {
        let turns = turns();
        use_up(&turns, held, others).await;
        use_up(&turns, missing, all).await;
        let mut turn = turns.complete(Turn::default(), first, 1, false).await;

        assert!(!turns.add_at_once(&mut turn, needs), "{missing:?}");

        assert!(turn.covers(first) && !turn.covers(needs), "{missing:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_permit_belongs_to_its_limit_until_the_answer_names_a_user() {
    let turns = turns();
    let unknown = Redeemer::of(&crate::rotation::samples::grant("a"), None, None);
    let named = Limited::Redemptions(unknown.with_user("u"));
    let mut permit = turns.take(Limited::Redemptions(unknown), false).await.expect("limited");
    assert!(permit.is(Limited::Redemptions(unknown)) && !permit.is(named) && !permit.is(WRITES));

    permit.belongs_to("u");

    assert!(permit.is(named) && !permit.is(Limited::Redemptions(unknown)));
    let mut write = turns.take(WRITES, false).await.expect("limited");
    write.belongs_to("u");
    assert!(write.is(WRITES), "only a redemption has a user");
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_limited_time_is_urgent_and_ends() {
    let turns = turns();
    use_up(&turns, WRITES, 200).await;
    let since = tokio::time::Instant::now();
    assert!(turns.take_within(Duration::from_secs(9), WRITES).await.is_err());
    assert_eq!(since.elapsed().as_secs(), 9);

    assert!(turns.take_within(Duration::from_secs(9), WRITES).await.is_ok_and(|permit| permit.is_some()));
    assert_eq!(since.elapsed().as_secs(), 10);
    assert!(Turns::default().take_within(Duration::ZERO, WRITES).await.is_ok_and(|permit| permit.is_none()));
}
