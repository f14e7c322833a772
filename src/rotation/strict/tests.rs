//! Tests of the marks of redemptions in progress.

use super::*;

use crate::rotation::samples;

const BY: Uuid = Uuid::from_u128(1);

fn now() -> Timestamp {
    Timestamp::from_timestamp(1_770_000_000, 0).expect("in range")
}

fn minutes(count: i64) -> TimeDelta {
    TimeDelta::minutes(count)
}

fn marked(version: &Version, mark: &Mark) -> Version {
    Version { tags: mark.put(&version.tags).expect("there is room"), ..version.clone() }
}

/// Returns a version that another process's redemption has just marked, and the mark.
fn sample() -> (Version, Mark) {
    let version = samples::version("v", now() - minutes(60));
    let mark = Mark::new(&version, BY, "run", now());
    (marked(&version, &mark), mark)
}

#[test]
fn a_mark_is_read_back_and_leaves_other_tags_alone() {
    let (version, mark) = sample();

    assert_eq!(Mark::on(&version), Some(mark.clone()));
    assert_eq!(unmarked(&version), Tags::new());
    let tags = Tags::from([("team", "a")]);
    let tagged = marked(&Version { tags: tags.clone(), ..version.clone() }, &mark);
    assert_eq!(unmarked(&tagged), tags);
    let renewed = mark.renewed(now() + minutes(5));
    assert_eq!(Mark::on(&marked(&version, &renewed)), Some(renewed));
}

#[test]
fn a_mark_is_honored_for_15_minutes_unless_it_is_renewed_or_ones_own() {
    let (version, mark) = sample();
    let free = |version: &Version, claim, after| {
        let now = now() + minutes(after);
        let sighted = Mark::on(version).map(|mark| Box::new((mark, now - SEEN_FOR)));
        may_be_claimed(&mut State { claim, sighted, ..State::unknown(now) }, version, now).is_ok()
    };

    for (after, is_free) in [(-20, true), (-14, false), (0, false), (14, false), (15, true)] {
        assert_eq!(free(&version, None, after), is_free, "{after}");
        assert!(free(&version, Some(BY), after), "{after}");
        assert_eq!(free(&version, Some(Uuid::nil()), after), is_free, "{after}");
    }
    assert!(!mark.is_to_be_renewed(now() + minutes(4)) && mark.is_to_be_renewed(now() + minutes(5)));
    assert!(!free(&marked(&version, &mark.renewed(now() + minutes(5))), None, 19));
}

#[test]
fn an_old_mark_must_be_seen_unchanged_for_a_while() {
    let (version, mark) = sample();
    let mut state = State::unknown(now());
    let mut free =
        |version: &Version, after| may_be_claimed(&mut state, version, now() + minutes(after)).is_ok();

    assert!(!free(&version, 60) && !free(&version, 64) && free(&version, 65));
    let renewed = marked(&version, &mark.renewed(now() + minutes(30)));
    assert!(!free(&renewed, 66) && free(&renewed, 71));
    let fresh = State::unknown(now());
    assert!(may_be_claimed(&mut fresh.clone(), &version, now() + minutes(359)).is_err());
    assert!(may_be_claimed(&mut fresh.clone(), &version, now() + minutes(360)).is_ok());
}

#[test]
fn ones_own_contested_mark_must_stand_for_a_while() {
    let (version, mark) = sample();
    let sighted = Some(Box::new((mark, now())));
    let mut state = State { claim: Some(BY), sighted, ..State::unknown(now()) };
    let mut free = |after| may_be_claimed(&mut state, &version, now() + minutes(after)).is_ok();
    assert!(!free(4) && free(5));
}

#[test]
fn a_copied_or_unreadable_mark_is_ignored() {
    let (version, _) = sample();
    let copy = Version { created: now() + TimeDelta::seconds(1), ..version.clone() };
    assert_eq!(Mark::on(&copy), None);
    for text in ["", "x", "2026-02-02T02:40:00Z", "2026-02-02T02:40:00Z 2026-02-02T02:40:00Z x run"] {
        let tags = Tags::from([(tag::REDEEMING, text)]);
        assert_eq!(Mark::on(&Version { tags, ..version.clone() }), None, "{text}");
    }
}

#[test]
fn a_mark_replaces_only_tags_that_a_failed_redemption_restores() {
    let (version, mark) = sample();
    let full = |own: &[&str]| {
        let mut tags: Tags = own.iter().map(|name| (*name, "x")).collect();
        (tags.len()..MAX_TAGS).for_each(|nth| tags.insert(&format!("foreign-{nth}"), "x"));
        mark.put(&tags)
    };

    let put = full(&[tag::PROVED_AT, tag::VERDICT]).expect("in the place of the verdict");
    assert!(put.contains(tag::PROVED_AT) && !put.contains(tag::VERDICT));
    assert_eq!(put.len(), MAX_TAGS);
    assert!(full(&[tag::PROVED_AT]).is_some());
    assert_eq!(full(&[]), None);
    assert!(unsettled(&version, now() + TimeDelta::seconds(59)).is_none());
    assert!(unsettled(&version, now() + minutes(1)).is_some());
}

#[test]
fn each_failure_says_what_happened_and_what_to_do() {
    let (_, mark) = sample();
    let action = |failure: &Failure| String::from(failure.action.clone().unwrap_or_default());
    let refused = |remedy| Failure {
        is_definite: false,
        ..Failure::new(Kind::LoginRequired, remedy, FailureSubject::Grant, "AADSTS70000")
    };

    let elsewhere = elsewhere(&mark);
    assert!(elsewhere.summary.contains("another process (`run`)"), "{elsewhere:?}");
    assert!(action(&elsewhere).starts_with("keep that process running"), "{elsewhere:?}");
    assert_eq!(action(&no_room()), "remove a tag of another program from the newest version of the secret");
    assert!(
        withheld(refused(Remedy::Operator))
            .summary
            .starts_with("AADSTS70000; the stored token no longer works")
    );
    let lost = lost_answer(refused(Remedy::Login), &mark);
    assert!(lost.is_definite && lost.summary.contains("with the new token was lost"), "{lost:?}");
    assert!(!lost_answer(refused(Remedy::Retry), &mark).is_definite);
}

#[test]
fn each_obstacle_to_a_claim_has_its_kind_and_subject() {
    let (_, mark) = sample();
    for (failure, kind, remedy, about) in [
        (elsewhere(&mark), Kind::Unsaved, Remedy::Retry, FailureSubject::Grant),
        (no_calls_left(), Kind::Overdue, Remedy::Retry, FailureSubject::Saving),
        (too_slow(), Kind::VaultUnreachable, Remedy::Retry, FailureSubject::Saving),
        (no_room(), Kind::VaultRefused, Remedy::Operator, FailureSubject::Saving),
    ] {
        assert_eq!((failure.kind, failure.remedy, failure.about), (kind, remedy, about));
        assert_eq!(is_elsewhere(&failure), kind == Kind::Unsaved, "{kind:?}");
    }
    let unshown = Failure { about: FailureSubject::Token, ..elsewhere(&mark) };
    assert!(!is_elsewhere(&unshown), "this process could not save");
}

#[test]
fn a_mark_taken_over_is_contested_unless_it_is_ones_own_or_very_old() {
    let (version, before) = sample();
    let ours = Mark::new(&version, Uuid::from_u128(2), "run", now());
    for (what, before, claim, minutes, expected) in [
        ("no mark before", None, None, 0, false),
        ("another process's", Some(&before), None, 0, true),
        ("another process's, beside a claim", Some(&before), Some(Uuid::nil()), 0, true),
        ("its own", Some(&before), Some(BY), 0, false),
        ("an old one", Some(&before), None, 359, true),
        ("a very old one", Some(&before), None, 360, false),
    ] {
        let mut state = State { claim, ..State::unknown(now()) };
        let at = now() + TimeDelta::minutes(minutes);
        assert_eq!(is_contest(&mut state, before, &ours, at), expected, "{what}");
        assert_eq!(state.sighted.map(|seen| *seen), expected.then(|| (ours.clone(), at)), "{what}");
    }
}

#[test]
fn a_trial_has_too_many_tags_and_the_same_value() {
    let (version, _) = sample();
    let stored = Stored { version, value: "rt".into(), read_at: None };

    let new = trial(&stored, now());

    assert!(new.tags.len() > MAX_TAGS && !new.tags.contains(tag::REDEEMING));
    assert_eq!((secrecy::ExposeSecret::expose_secret(&new.value), new.expires), ("rt", now()));
}

#[test]
fn a_token_is_not_spent_for_another_user_than_the_configured_one() {
    let wrong = |configured: Option<&str>, noted: Option<&str>, is_ours: bool| {
        let grant = ManagedToken { user_oid: configured.map(str::to_owned), ..samples::grant("t") };
        let mut version = samples::version("v", now());
        if is_ours {
            version.tags.insert(tag::MANAGED_BY, "perennial");
        }
        if let Some(noted) = noted {
            version.tags.insert(tag::USER_OID, noted);
        }
        let failure = wrong_user(&grant, &version);
        assert!(failure.as_ref().is_none_or(|failure| failure.kind == Kind::WrongIdentity));
        failure.is_some()
    };

    assert!(wrong(Some("a"), Some("b"), true));
    assert!(!wrong(Some("a"), Some("A"), true) && !wrong(Some("a"), Some("b"), false));
    assert!(!wrong(None, Some("b"), true) && !wrong(Some("a"), None, true));
}

#[test]
fn a_dropped_only_copy_is_reported_with_the_obstacle_and_nothing_else_is() {
    let pending = samples::pending(samples::version("v", now()), now());
    let mut unsaved = State { phase: Phase::Unsaved(Box::new(pending)), ..State::unknown(now()) };
    assert!(lost(&mut unsaved, now()).is_none() && unsaved.is_unsaved());
    unsaved.pending().expect("held").successor.is_only_copy = true;
    let mut hindered = samples::failed(unsaved.clone(), too_slow(), now(), 1);

    let failure = lost(&mut unsaved, now()).expect("it is lost");
    assert_eq!((failure.kind, failure.remedy), (Kind::LoginRequired, Remedy::Login));
    assert!(failure.summary.contains("is lost; the stored token"), "{failure:?}");
    assert!(matches!(unsaved.phase, Phase::Unproved { due_at } if due_at == now()));
    let failure = lost(&mut hindered, now()).expect("it is lost");
    assert!(failure.summary.contains("is lost (Key Vault answers too slowly"), "{failure:?}");
}

#[test]
fn a_full_version_loses_only_as_many_tags_as_a_mark_needs() {
    let (version, mark) = sample();
    let full = |own: &[&str]| {
        let mut tags: Tags = own.iter().map(|name| (*name, "x")).collect();
        (tags.len()..MAX_TAGS).for_each(|nth| tags.insert(&format!("foreign-{nth}"), "x"));
        tags
    };
    let put = mark.put(&full(&[tag::REFUSED_CODE, tag::PROVED_AT])).expect("there is room");
    assert!(put.contains(tag::PROVED_AT) && !put.contains(tag::REFUSED_CODE));
    let again = mark.put(&put).expect("it replaces itself");
    assert_eq!(again, put);
    assert_eq!(unmarked(&version), Tags::new());
}
