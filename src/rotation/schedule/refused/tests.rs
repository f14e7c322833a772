//! Tests of the tags for a rejection, and of how long an answer stays valid. The versions differ in age and in the
//! number of free tags.

use std::time::Duration;

use super::*;
use crate::ports::failure::{Kind, Remedy, Trace};
use crate::rotation::samples;

fn at(minutes: i64) -> Timestamp {
    let start: Timestamp = "2026-03-01T00:00:00Z".parse().expect("a time");
    start + TimeDelta::minutes(minutes)
}

const A_DAY: i64 = 24 * 60;

fn version(foreign_tags: usize) -> Version {
    let tags = (0..foreign_tags).map(|n| (format!("team-{n}"), "x")).collect();
    Version { tags, ..samples::version("v", at(0)) }
}

fn ours() -> Version {
    Version { tags: [(tag::MANAGED_BY, "perennial/0.1.0 run")].into(), ..version(0) }
}

fn condemned() -> Failure {
    let failure = Failure::new(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant, "x");
    Failure { trace: Trace::of(50173), token_condemned: true, ..failure }
}

fn policy() -> Failure {
    let failure = Failure::new(Kind::PolicyBlocked, Remedy::Operator, FailureSubject::Grant, "x");
    Failure { trace: Trace::of(53003), ..failure }
}

fn rubbish() -> Failure {
    let failure = Failure::new(Kind::LoginRequired, Remedy::Operator, FailureSubject::Grant, "x");
    Failure { never_was_a_token: true, ..failure }
}

fn marked(version: &Version, failure: &Failure, now: Timestamp) -> Version {
    let tags = refusal_tags(version, failure, now, now).expect("there is room, and they are new");
    Version { tags, ..version.clone() }
}

#[test]
fn a_foreign_invalid_value_is_final_after_a_day_and_a_policy_never() {
    for (failure, version, minutes, is_final_then) in [
        (condemned(), version(0), 0, true),
        (policy(), version(0), 0, false),
        (policy(), version(0), 400 * A_DAY, false),
        (policy(), ours(), 400 * A_DAY, false),
        (rubbish(), version(0), 0, false),
        (rubbish(), version(0), A_DAY - 1, false),
        (rubbish(), version(0), A_DAY, true),
        (rubbish(), ours(), 0, true),
    ] {
        assert_eq!(is_final(&failure, &version, at(minutes)), is_final_then, "{failure:?} {minutes}");
        assert_eq!(is_known_dead(&marked(&version, &failure, at(minutes))), is_final_then, "{failure:?}");
    }
}

#[test]
fn a_mark_without_room_for_its_code_is_not_final_and_one_without_any_room_is_not_made() {
    for (foreign, mark, is_final) in [(12, true, true), (13, true, false), (14, false, false)] {
        let tags = refusal_tags(&version(foreign), &condemned(), at(1), at(1));

        assert_eq!(tags.is_some(), mark, "{foreign}");
        let noted = tags.map(|tags| Version { tags, ..version(foreign) });
        assert!(noted.as_ref().is_none_or(|noted| noted.tags.len() <= MAX_TAGS), "{foreign}");
        assert_eq!(noted.is_some_and(|noted| is_known_dead(&noted)), is_final, "{foreign}");
    }
}

#[test]
fn a_rejection_is_recorded_once_and_again_when_it_changes() {
    let dead = marked(&version(0), &condemned(), at(1));
    assert_eq!(refusal_tags(&dead, &condemned(), at(9), at(9)), None);

    let blocked = marked(&dead, &policy(), at(9));
    assert!(!is_known_dead(&blocked) && blocked.is_refused());
    assert_eq!(refusal_tags(&blocked, &policy(), at(99), at(99)), None);

    let mut of_the_first_version = dead.clone();
    of_the_first_version.tags.remove(tag::REFUSED_CODE);
    assert!(!is_known_dead(&of_the_first_version));
    assert!(is_known_dead(&marked(&of_the_first_version, &condemned(), at(9))));
}

#[test]
fn a_mark_that_was_copied_from_an_older_version_does_not_condemn() {
    let copied = Version { created: at(5), ..marked(&version(0), &condemned(), at(1)) };
    assert!(!is_known_dead(&copied));

    // A rejection cannot be older than its version. So the tag records the creation of the version, not the earlier
    // start of the failure.
    let tags = refusal_tags(&copied, &condemned(), at(1), at(9)).expect("its own mark");
    assert!(is_known_dead(&Version { tags, ..copied }));
}

#[test]
fn a_code_that_stands_beside_a_refusal_of_another_kind_does_not_condemn() {
    let mut after_a_rollback = marked(&version(0), &policy(), at(1));
    after_a_rollback.tags.insert(tag::REFUSED_CODE, "AADSTS50173");

    assert!(!is_known_dead(&after_a_rollback));
    assert!(!marked(&after_a_rollback, &policy(), at(9)).tags.contains(tag::REFUSED_CODE));
}

#[test]
fn an_answer_holds_as_long_as_its_remedy_says() {
    let retry = |after| Failure {
        retry_after: after,
        ..Failure::new(Kind::EntraUnreachable, Remedy::Retry, FailureSubject::Grant, "x")
    };
    let app = Failure::new(Kind::AppCredentialRefused, Remedy::Operator, FailureSubject::AppCredential, "x");
    for (failure, lasts) in [
        (policy(), AGAIN_AFTER),
        (retry(None), STANDS_AT_LEAST),
        (retry(Some(Duration::from_secs(1))), STANDS_AT_LEAST),
        (retry(Some(Duration::from_secs(900))), TimeDelta::minutes(15)),
        (retry(Some(Duration::MAX)), TimeDelta::hours(1)),
        (app, STANDS_AT_LEAST),
    ] {
        let mut state = State::unknown(at(0));
        remember(&mut state, &version(0), &failure, at(0));
        let stands = |now| standing(&state, &version(0), now) == Some(&failure);

        assert!(stands(at(0)) && stands(at(0) + lasts - TimeDelta::seconds(1)), "{failure:?}");
        assert!(!stands(at(0) + lasts) && !stands(at(-1)), "{failure:?}: also by a clock that was set back");
        let may_ask = |now| may_ask_again(&state, now);
        assert!(!may_ask(at(0)) && may_ask(at(0) + lasts) && may_ask(at(-1)), "{failure:?}");
    }
}

#[test]
fn an_invalid_value_is_redeemed_once_more_before_it_is_overwritten() {
    let mut state = State::unknown(at(0));
    remember(&mut state, &version(0), &rubbish(), at(1));

    assert!(standing(&state, &version(0), at(A_DAY - 1)).is_some());
    assert!(standing(&state, &version(0), at(A_DAY)).is_none());
}

#[test]
fn a_sighup_forgets_final_rejections_and_nothing_else() {
    let mut state = State { searched: Some(version(0).id), ..State::unknown(at(0)) };
    let looping = Failure { remedy: Remedy::Retry, retry_after: Some(Duration::from_secs(900)), ..policy() };
    remember(&mut state, &version(0), &looping, at(0));
    ask_again(&mut state);
    assert!(standing(&state, &version(0), at(1)).is_some() && state.searched.is_some());

    remember(&mut state, &version(0), &policy(), at(0));
    ask_again(&mut state);
    assert!(standing(&state, &version(0), at(1)).is_none() && state.searched.is_none());
}

#[test]
fn only_the_latest_rejections_are_remembered() {
    let mut state = State::unknown(at(0));
    let numbered = |n: i64| samples::version(&format!("v{n}"), at(n));
    for n in 0..99 {
        remember(&mut state, &numbered(n), &policy(), at(n));
    }

    assert_eq!(state.refused.len(), REMEMBERED);
    assert!(standing(&state, &numbered(98), at(99)).is_some());
}
