//! Which conditions hold, drawn from states as a daemon has them.

use super::*;
use crate::failure::Failure;
use crate::samples;
use crate::schedule::Next;
use crate::schedule::Timing;
use crate::state::Phase;
use crate::state::State;
use crate::token::Grant;
use crate::version::Version;
use std::sync::Arc;

fn now() -> Timestamp {
    Timestamp::from_timestamp(1_770_000_000, 0).expect("in range")
}

/// The kinds that hold for a token proved three days ago, in that phase and failing so many times.
fn kinds(phase: Phase, failing: Option<(Kind, Remedy, u32)>) -> Vec<Kind> {
    let failing = failing.map(|(kind, remedy, attempts)| Failing {
        failure: Failure::new(kind, remedy, About::Token, "as told"),
        since: now() - TimeDelta::days(2),
        attempts,
        retry_at: now(),
        version: None,
    });
    kinds_of_state(&State { phase, failing: failing.map(Box::new), ..proved_three_days_ago() })
}

fn proved_three_days_ago() -> State {
    let proved_at = Some(now() - TimeDelta::days(3));
    State { phase: Phase::Current, newest: Some(version()), proved_at, ..State::unknown(now()) }
}

fn kinds_of_state(state: &State) -> Vec<Kind> {
    let grant =
        Grant { secret: samples::address("partner-refresh-token"), ..samples::grant("partner-center") };
    let timing = Timing::new(&grant.policy, &grant.name, 0.0);
    let snapshot = Snapshot::of(&Arc::new(grant), &timing, state, &Next::Wait(now()), now());
    conditions(&[snapshot], TimeDelta::zero(), now()).iter().map(|condition| condition.kind).collect()
}

fn version() -> Version {
    samples::version("v", now() - TimeDelta::days(3))
}

fn unsaved() -> Phase {
    Phase::Unsaved(Box::new(samples::held(version(), now())))
}

#[test]
fn late_is_told_only_where_nothing_else_says_why() {
    let retry = Remedy::Retry { after: None };
    let off = Phase::Off { look_at: now() };
    let waiting = || Phase::Waiting { look_at: now(), again_at: now() };

    assert_eq!(kinds(Phase::Current, None), [Kind::Overdue]);
    assert_eq!(kinds(Phase::Current, Some((Kind::EntraUnreachable, retry, 2))), [Kind::Overdue]);
    assert_eq!(kinds(Phase::Current, Some((Kind::EntraUnreachable, retry, 3))), [Kind::EntraUnreachable]);
    assert_eq!(kinds(waiting(), Some((Kind::LoginRequired, Remedy::Login, 1))), [Kind::LoginRequired]);
    assert_eq!(kinds(off, Some((Kind::TurnedOff, Remedy::Operator, 1))), [Kind::TurnedOff]);
}

#[test]
fn a_write_that_fails_once_is_no_incident() {
    let down = |attempts| Some((Kind::VaultUnreachable, Remedy::Retry { after: None }, attempts));

    assert!(!kinds(unsaved(), down(1)).contains(&Kind::Unsaved));
    let mut told = kinds(unsaved(), down(3));
    told.sort();
    assert_eq!(told, [Kind::VaultUnreachable, Kind::Unsaved]);
}

#[test]
fn a_successor_that_was_held_for_days_is_not_late_once_it_is_saved() {
    let saved = State { last_rotation_at: Some(now()), ..proved_three_days_ago() };

    assert_eq!(kinds_of_state(&saved), []);
}
