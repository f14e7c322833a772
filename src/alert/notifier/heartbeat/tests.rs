//! Tests, with a simulated clock, that a stalled task or an overdue step stops the heartbeat.

use std::sync::Arc;

use chrono::TimeDelta;

use super::*;
use crate::rotation::samples;

use crate::process::clock::Clock;
use crate::rotation::liveness::STUCK_AFTER;
use crate::rotation::schedule::{Next, Timing};
use crate::rotation::state::State;

fn now() -> Timestamp {
    Timestamp::from_timestamp(1_770_000_000, 0).expect("in range")
}

fn board() -> StatusBoard {
    let grant = samples::grant("a");
    let timing = Timing::new(&grant.policy, &grant.name, 0.0);
    StatusBoard::new(std::iter::once((&Arc::new(grant), &timing)), Clock::running(now(), 1.0))
}

#[tokio::test(start_paused = true)]
async fn a_stalled_task_or_an_untried_step_stops_the_heartbeat() {
    let board = board();
    let publish = Arc::new(board.clone()).publisher(0);
    let next_at = |at| publish(&State::unknown(at), &Next::Wait(at), &[]);
    next_at(now() + TimeDelta::days(1));
    assert_eq!(
        sign_of_life(&board).as_deref(),
        Some("1 token: 1 not checked yet; next step on 2026-02-03 at 02:40 UTC")
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
