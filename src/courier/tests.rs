//! When something is sent, by a clock that tests move.

use super::*;
use crate::samples;

use crate::clock::Clock;
use crate::pulse::STUCK_AFTER;
use crate::schedule::Next;
use crate::schedule::Timing;
use crate::state::State;

fn now() -> Timestamp {
    Timestamp::from_timestamp(1_770_000_000, 0).expect("in range")
}

fn board() -> Board {
    let grant = samples::grant("a");
    let timing = Timing::new(&grant.policy, &grant.name, 0.0);
    Board::new(std::iter::once((&Arc::new(grant), &timing)), Clock::running(now(), 1.0))
}

#[tokio::test(start_paused = true)]
async fn a_task_that_stands_still_and_a_step_that_is_not_tried_are_silence() {
    let board = board();
    let next_at = |at| board.publisher(0)(&State::unknown(at), &Next::Wait(at));
    next_at(now() + TimeDelta::days(1));
    assert_eq!(
        sign_of_life(&board).as_deref(),
        Some("1 token: 1 not known yet; next step on 2026-02-03 at 02:40 UTC")
    );

    tokio::time::advance(STUCK_AFTER + Duration::from_secs(1)).await;
    assert_eq!(sign_of_life(&board), None, "the task shows no life");
    board.pulses().of(0).beat();
    assert!(sign_of_life(&board).is_some(), "it does again");

    let now = board.clock().now();
    next_at(now - TRIED_WITHIN);
    assert!(sign_of_life(&board).is_some(), "a step takes its time");
    next_at(now - TRIED_WITHIN - TimeDelta::seconds(1));
    assert_eq!(sign_of_life(&board), None, "what is due is not tried");
}

#[test]
fn waits_double_up_to_a_bound_and_heed_what_the_receiver_asks() {
    let missed = |after| Undelivered { why: String::new(), is_settled: false, after };
    let longest = |attempts| wait(attempts, &missed(None), 1.0);

    assert_eq!([0, 1, 2].map(longest), [2, 4, 8].map(Duration::from_secs));
    assert_eq!(longest(40), LONGEST_WAIT);
    assert_eq!(wait(0, &missed(None), 0.0), FIRST_WAIT / 2);
    let asked = Duration::from_secs(120);
    assert_eq!(wait(0, &missed(Some(asked)), 1.0), asked);
}
