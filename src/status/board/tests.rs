//! Tests of the board: who is notified of a change, and what the board adds to the conditions of the tokens.

use super::*;

use tokio::time::advance;

use crate::ports::failure::{Failure, FailureSubject, Remedy};
use crate::renewal::report::RenewalStage;
use crate::rotation::samples;
use crate::status::condition::Severity;
use crate::token::tags::Tags;
use crate::token::version::VersionId;

const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);

/// Creates a clock that follows Tokio's paused time. The test advances this time.
fn clock() -> Clock {
    Clock::running(Timestamp::from_timestamp(1_770_000_000, 0).expect("in range"), 1.0)
}

fn board(names: &[&str], clock: Clock) -> StatusBoard {
    let grant = |name: &&str| {
        let grant = ManagedToken { secret: samples::address(name), ..samples::grant(name) };
        let timing = Timing::new(&grant.policy, &grant.name, 0.0);
        (Arc::new(grant), timing)
    };
    let all: Vec<(Arc<ManagedToken>, Timing)> = names.iter().map(grant).collect();
    StatusBoard::new(all.iter().map(|(grant, timing)| (grant, timing)), clock)
}

fn refused() -> Failure {
    Failure::new(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant, "as told")
}

fn miss(severity: Severity) -> Miss {
    Miss { why: "it answered 403".into(), permanent: true, severity }
}

/// Returns the kinds of the current conditions, in order.
fn kinds(board: &StatusBoard) -> Vec<Kind> {
    board.drawn(|_, holding, _| holding.iter().map(|told| told.kind).collect())
}

/// Runs `act`. Returns whether the readers were notified, and whether the alert sinks were notified.
fn notifies(board: &StatusBoard, act: impl FnOnce()) -> (bool, bool) {
    let (readers, sinks) = (board.subscribe(), board.subscribe_to_news());
    act();
    (readers.has_changed().unwrap_or_default(), sinks.has_changed().unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn a_check_that_finds_nothing_new_is_no_news_to_the_sinks() {
    let clock = clock();
    let now = clock.now();
    let board = board(&["a"], clock.clone());
    let publish = Arc::new(board.clone()).publisher(0);
    let is_news = |state: &State, minutes| {
        notifies(&board, || publish(state, &Next::Wait(now + TimeDelta::minutes(minutes)), &[]))
    };

    let mut state = samples::failed(State::unknown(now), refused(), now, 1);
    assert_eq!(is_news(&state, 1), (true, true), "it fails");
    if let Some(blocked) = &mut state.blocked {
        blocked.checks += 1;
        blocked.next_check_at += TimeDelta::minutes(1);
        blocked.failure.trace.trace_id = Some("another request".into());
    }
    assert_eq!(is_news(&state, 2), (true, false), "it was looked at");
    clock.observe(clock.now() + TimeDelta::minutes(9));
    assert_eq!(is_news(&state, 2), (true, true), "the clock is found wrong");
    assert_eq!(is_news(&state, 2), (true, false));
    state.blocked = None;
    assert_eq!(is_news(&state, 3), (true, true), "it is mended");
}

#[tokio::test(start_paused = true)]
async fn a_published_state_is_counted_and_shown_for_its_own_token() {
    let clock = clock();
    let now = clock.now();
    let board = board(&["a", "b"], clock);
    let state = samples::failed(State::unknown(now), refused(), now, 1);
    let failed = |failure| Event::Failed { failure, is_new: true, attempts: None, saving: false };

    Arc::new(board.clone()).publisher(1)(&state, &Next::Wait(now), &[failed(Box::new(refused()))]);

    assert_eq!(board.counts().failures(Kind::LoginRequired), 1);
    let status = board.status();
    assert_eq!(status.source, StatusSource::Daemon);
    let shown: Vec<&[Kind]> = status.tokens.iter().map(|token| &*token.conditions).collect();
    assert_eq!(shown, [&[][..], &[Kind::LoginRequired]]);
    assert!(!board.is_ready(), "the first token was not tried yet");
    board.publish(0, board.read(|all| all[1].clone()));
    assert!(board.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_waits_for_its_turn_does_not_delay_readiness() {
    let clock = clock();
    let now = clock.now();
    let board = board(&["a"], clock);
    assert!(!board.is_ready());

    let waiting = State { in_line: true, ..State::unknown(now) };
    Arc::new(board.clone()).publisher(0)(&waiting, &Next::Wait(now), &[]);

    assert!(board.is_ready());
}

#[tokio::test(start_paused = true)]
async fn every_replaced_snapshot_notifies_the_readers_and_the_sinks() {
    let board = board(&["a"], clock());
    let mut later = board.read(|all| all[0].clone());
    later.version = Some(VersionId("v".into()));

    assert_eq!(notifies(&board, || board.publish(0, later.clone())), (true, true));
    assert_eq!(board.read(<[Snapshot]>::to_vec), [later]);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_is_shown_for_the_tokens_of_its_app_and_told_once() {
    let board = board(&["a", "b", "c"], clock());
    let publish = board.renewal_publisher(vec![0, 2]);
    let report = |stage| RenewalReport {
        unaccepted: None,
        stage,
        key_id: None,
        ends: None,
        renews_at: None,
        trouble: None,
        strangers: Vec::new(),
    };
    let stages = || -> Vec<Option<RenewalStage>> {
        board.read(|all| all.iter().map(|of| of.renewal.as_ref().map(|told| told.stage)).collect())
    };

    let waiting = Some(RenewalStage::Waiting);
    assert_eq!(notifies(&board, || publish(report(RenewalStage::Waiting))), (true, true));
    assert_eq!(stages(), [waiting, None, waiting]);
    assert_eq!(notifies(&board, || publish(report(RenewalStage::Waiting))), (false, false));
    assert_eq!(notifies(&board, || publish(report(RenewalStage::Due))), (true, true));

    // A new state of the token does not erase the renewal report from the token's snapshot.
    let now = board.clock().now();
    Arc::new(board.clone()).publisher(0)(&State::unknown(now), &Next::Wait(now), &[]);
    let due = Some(RenewalStage::Due);
    assert_eq!(stages(), [due, None, due]);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_a_sinks_health_notifies_the_readers_and_the_other_sinks() {
    let board = board(&["a"], clock()).with_sinks(["chat".into(), "mail".into()].into_iter());
    let told = (true, true);

    assert_eq!(notifies(&board, || board.missed(0, miss(Severity::Warning))), told);
    assert_eq!(notifies(&board, || board.missed(0, miss(Severity::Warning))), (false, false), "known");
    assert_eq!(kinds(&board), [Kind::AlertUndeliverable]);
    assert_eq!(notifies(&board, || board.all_delivered(0)), told);
    assert_eq!(notifies(&board, || board.all_delivered(0)), (false, false), "nothing has ended");
    assert_eq!(kinds(&board), []);
    assert_eq!(notifies(&board, || board.inherit_trouble(1)), told);
    assert_eq!(notifies(&board, || board.inherit_trouble(1)), (false, false), "adopted once");
    assert_eq!(kinds(&board), [Kind::AlertUndeliverable]);
    assert_eq!(board.deliveries().troubled_since(1), Some(board.clock().now()));
}

#[tokio::test(start_paused = true)]
async fn the_gravest_condition_is_first_whatever_it_is_about() {
    let clock = clock();
    clock.observe(clock.now() + TimeDelta::minutes(9));
    let board = board(&["a"], clock).with_sinks(std::iter::once("chat".into()));

    board.missed(0, miss(Severity::Critical));

    assert_eq!(kinds(&board), [Kind::AlertUndeliverable, Kind::ClockSkew]);
}

/// `TRIED_WITHIN` counts from the creation of the board. In a test or a demo, the clock may have started long before
/// the board.
#[tokio::test(start_paused = true)]
async fn a_token_that_was_never_checked_is_overdue_15_minutes_after_the_start() {
    let clock = clock();
    advance(60 * MINUTE).await;
    let board = board(&["a"], clock.clone());

    advance(15 * MINUTE).await;
    assert_eq!(kinds(&board), []);
    let due_at = clock.now();
    advance(2 * MINUTE).await;
    assert_eq!(kinds(&board), [Kind::Overdue]);
    assert_eq!(board.drawn(|_, holding, _| holding[0].since), due_at);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_is_dated_from_its_first_sight_until_it_is_right() {
    let clock = clock();
    let board = board(&["a"], clock.clone()).with_sinks(std::iter::once("chat".into()));
    board.missed(0, miss(Severity::Warning));
    let missed_at = clock.now();
    let since = || -> Vec<(Kind, Timestamp)> {
        board.drawn(|_, holding, _| holding.iter().map(|told| (told.kind, told.since)).collect())
    };

    advance(MINUTE).await;
    clock.observe(clock.now() + TimeDelta::minutes(9));
    let seen_at = clock.now();
    let both = [(Kind::AlertUndeliverable, missed_at), (Kind::ClockSkew, seen_at)];
    assert_eq!(since(), both);
    advance(MINUTE).await;
    assert_eq!(since(), both, "the start does not move");

    clock.set_by(TimeDelta::minutes(9));
    assert_eq!(since().len(), 1, "the clock was set right");
    clock.set_by(TimeDelta::minutes(-9));
    assert_eq!(since()[1], (Kind::ClockSkew, clock.now()), "a new fault has a new start");
}

#[tokio::test(start_paused = true)]
async fn the_first_tokens_of_an_incident_carry_its_mark() {
    let names = ["a", "b", "c", "d", "e"];
    let board = board(&names, clock());
    let marked = |mark: u32| -> Vec<&str> {
        let is_marked = |place: &usize| {
            board.told().of(*place).on(&Tags::new()).is_some_and(|marks| marks.contains(mark))
        };
        (0..names.len()).filter(is_marked).map(|place| names[place]).collect()
    };
    let tokens = ["b", "d", "unknown", "e"].map(str::to_owned);

    board.note_told(1, &tokens[..2]);
    board.note_told(2, &tokens);
    board.note_told(3, &[]);

    assert_eq!(marked(1), ["b", "d"]);
    assert_eq!(marked(2), ["b", "d"], "only the first three may carry it");
    assert_eq!(marked(3), ["a", "b", "c"], "of an incident without tokens");
}
