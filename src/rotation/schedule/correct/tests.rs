//! Tests of the correction of a state after a wrong clock.

use chrono::TimeDelta;
use uuid::Uuid;

use super::*;
use crate::ports::Acceptance;
use crate::ports::answer::Unverified;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use crate::rotation::samples;
use crate::rotation::state::{DAY, RefusedVersion};
use crate::rotation::strict::Mark;
use crate::token::managed::{Policy, TokenName};
use crate::token::version::VersionId;

fn now() -> Timestamp {
    Timestamp::from_timestamp(1_770_000_000, 0).expect("in range")
}

/// Returns a state in which the times of past events and of the next steps are all `at`.
fn all_at(at: Timestamp) -> State {
    let version = samples::version("v", now() - DAY);
    let failure = |remedy| Failure::new(Kind::VaultRefused, remedy, FailureSubject::Grant, "x");
    let state = samples::failed(samples::proved(version.clone(), at), failure(Remedy::Operator), at, 1);
    let mut state = samples::failed(state, failure(Remedy::Retry), at, 1);
    let said = Acceptance {
        accepted: true,
        mfa: None,
        tenant_id: None,
        company: None,
        is_audience: false,
        status: 200,
    };
    state.hear(&version.id, said, at);
    let facts = state.facts_of(&version.id);
    (facts.same_token_at, facts.unverified) = (Some(at), Some((Unverified::default(), at)));
    state.phase = Phase::Unproved { due_at: at };
    state.last_rotation_at = Some(at);
    state.foreign_rotated_at = Some(at);
    state.foreign_writer = Some(ForeignWriter { since: at, seen_at: at });
    state.unburied_at = Some(at);
    state.credential_read_at = Some(at);
    state.sighted = Some(Box::new((Mark::new(&version, Uuid::nil(), "run", at), at)));
    state.mark_after = Some(at);
    let (newest, used) = (VersionId("new".into()), VersionId("old".into()));
    state.older_tried = Some(Box::new((newest.clone(), at)));
    let older = OlderCredential { newest, created: now(), used, tried_at: at, expires: None };
    state.older_credential = Some(Box::new(older));
    let failure = failure(Remedy::Operator);
    state.refused = vec![RefusedVersion { id: VersionId("r".into()), at, failure, is_buried: false }];
    state
}

/// Returns the times of the past events in a state. Also returns the times of the next check, attempt, retry and update
/// of tags.
fn times(state: &State) -> (Vec<Timestamp>, [Timestamp; 4]) {
    let (blocked, outage) = (state.blocked.as_ref().expect("blocked"), state.outage.as_ref().expect("down"));
    let facts = state.facts.as_ref().expect("proved");
    let verdict = facts.verdict.as_ref().expect("heard");
    let writer = state.foreign_writer.expect("there is one");
    let due = match state.phase {
        Phase::Unproved { due_at } => Some(due_at),
        Phase::Current | Phase::Unsaved(_) => None,
    };
    let optional = [
        due.or(state.last_rotation_at),
        state.last_rotation_at,
        state.foreign_rotated_at,
        state.unburied_at,
        state.credential_read_at,
        facts.proved_at,
        facts.same_token_at,
        facts.unverified.map(|(_, since)| since),
        state.sighted.as_ref().map(|seen| seen.1),
        state.older_tried.as_ref().map(|tried| tried.1),
        state.older_credential.as_ref().map(|older| older.tried_at),
    ];
    let past = [blocked.since, outage.since, verdict.at, verdict.since, writer.since, writer.seen_at];
    let past = past.into_iter().chain(optional.map(|at| at.expect("it is set"))).chain([state.refused[0].at]);
    let mark_after = state.mark_after.expect("it is set");
    (past.collect(), [blocked.next_check_at, blocked.again_at, outage.retry_at, mark_after])
}

fn corrected(mut state: State) -> (Vec<Timestamp>, [Timestamp; 4]) {
    let timing = Timing::new(&Policy::default().into(), &TokenName::new("a"), 0.0);
    timing.correct(&mut state, now());
    times(&state)
}

#[test]
fn no_event_is_later_than_now_and_no_wait_longer_than_one_that_begins_now() {
    let hours = TimeDelta::hours;
    let future = all_at(now() + DAY * 3_000);
    let unsaved = State {
        phase: Phase::Unsaved(Box::new(samples::pending(samples::version("v", now()), now()))),
        ..future.clone()
    };

    let (past, waits) = corrected(future);
    assert_eq!(past, vec![now(); past.len()]);
    let longest = TimeDelta::seconds(195);
    assert_eq!(waits.map(|at| at - now()), [longest, hours(24), hours(1), hours(1)]);
    let (past, waits) = corrected(unsaved);
    assert_eq!(past, vec![now(); past.len()]);
    assert_eq!(waits.map(|at| at - now()), [longest, hours(1), hours(1), hours(1)]);
}

#[test]
fn right_times_stay() {
    for at in [now() - TimeDelta::seconds(1), now() - DAY * 300] {
        let state = all_at(at);
        assert_eq!(corrected(state.clone()), times(&state));
    }
}

#[test]
fn calls_that_a_wrong_clock_counted_are_forgotten() {
    let timing = Timing::new(&Policy::default().into(), &TokenName::new("a"), 0.0);
    let mut state = State::unknown(now());
    for noted in [&mut state.redemptions, &mut state.partner_center_calls, &mut state.vault_calls] {
        noted.note(now() + DAY * 300);
        noted.note(now());
    }
    (0..200).for_each(|_| state.watch.note(now() + DAY * 300));

    timing.correct(&mut state, now());

    for noted in [&state.redemptions, &state.partner_center_calls, &state.vault_calls] {
        assert_eq!(noted.room_at(2, 1, now()), now());
        assert_eq!(noted.room_at(1, 1, now()), now() + DAY);
    }
    assert!(state.watch.room_at(1, now()) > now());
    assert!(state.watch.room_at(1, now()) < now() + TimeDelta::minutes(2));
}
