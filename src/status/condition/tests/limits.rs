//! Tests of limits: the exact second at which a condition opens, and the symptoms that share one condition.

use super::*;
use crate::ports::answer::Unverified;
use crate::rotation::schedule::{Next, Timing};
use crate::status::snapshot::Periods;

fn second() -> TimeDelta {
    TimeDelta::seconds(1)
}

fn hours(hours: i64) -> TimeDelta {
    TimeDelta::hours(hours)
}

fn failure(kind: Kind, remedy: Remedy) -> Failure {
    Failure::new(kind, remedy, FailureSubject::Grant, "as told")
}

/// A token that was proved now.
fn fresh() -> State {
    samples::proved(version(), now())
}

/// Creates the snapshot of a token that Perennial does not check at Partner Center.
fn unasked(state: &State) -> Snapshot {
    snapshot(samples::grant("a"), state, now(), now())
}

fn told(of: &Snapshot) -> Vec<(Kind, Timestamp)> {
    let all = conditions(std::slice::from_ref(of), TimeDelta::zero(), now());
    all.into_iter().map(|told| (told.kind, told.since)).collect()
}

#[test]
fn a_clock_error_of_up_to_five_minutes_is_tolerated() {
    let all = [unasked(&fresh()), unasked(&fresh())];
    let kinds = |skew: TimeDelta| -> Vec<Kind> {
        conditions(&all, skew, now()).iter().map(|told| told.kind).collect()
    };
    let limit = TimeDelta::minutes(5);

    assert_eq!((kinds(limit), kinds(-limit)), (vec![], vec![]));
    let skewed = vec![Kind::ClockSkew];
    assert_eq!((kinds(limit + second()), kinds(-limit - second())), (skewed.clone(), skewed), "once for all");
}

#[test]
fn a_token_that_was_never_tried_is_overdue_after_15_minutes_of_uptime() {
    let waiting = State { in_line: true, ..State::unknown(now()) };
    let all = [unasked(&State::unknown(now())), unasked(&fresh()), unasked(&waiting)];
    let found = |up| untried(&all, up, now());

    assert_eq!(found(TRIED_WITHIN), []);
    let [told] = found(TRIED_WITHIN + second()).try_into().expect("the first token only");
    assert_eq!((told.kind, told.since, told.remedy), (Kind::Overdue, now() - second(), Remedy::Retry));
    assert_eq!(told.tokens, ["a"]);
}

/// Cases: the time since the last proof, the time since the last rotation, the version's age, and how long a step has
/// been overdue.
#[test]
fn a_step_is_overdue_after_twice_its_interval_or_a_day() {
    let grant = samples::grant("a");
    // The rotation age depends on the token's name, so the test asks `Timing` for this age.
    let rotate_after = Timing::new(&grant.policy, &grant.name, 0.0).rotate_after();
    let (proof, rotation) = (hours(12), rotate_after + TimeDelta::days(1));
    for (what, proved, rotated, age, overdue) in [
        ("proved in time", proof, None, hours(1), None),
        ("proved too long ago", proof + second(), None, hours(1), Some(second())),
        ("saved in time since", proof + second(), Some(proof), hours(1), None),
        ("saved too long ago", proof + hours(9), Some(proof + second()), hours(1), Some(second())),
        ("rotated in time", hours(0), None, rotation, None),
        ("not rotated in time", hours(0), None, rotation + second(), Some(second())),
        ("neither", proof + second(), None, rotation + hours(1), Some(hours(1))),
    ] {
        let newest = samples::version("v", now() - age);
        let last_rotation_at = rotated.map(|ago| now() - ago);
        let state = State { last_rotation_at, ..samples::proved(newest, now() - proved) };

        assert_eq!(overdue_since(&unasked(&state), now()), overdue.map(|late| now() - late), "{what}");
        let in_line = unasked(&State { in_line: true, ..state });
        assert_eq!(overdue_since(&in_line, now()), None, "{what}, and waits for its turn");
    }
}

#[test]
fn the_first_proof_of_a_version_is_overdue_after_15_minutes() {
    let due = |ago| {
        let state = State { newest: Some(version()), ..State::unknown(now() - ago) };
        overdue_since(&unasked(&state), now())
    };

    assert_eq!(due(TRIED_WITHIN), None);
    assert_eq!(due(TRIED_WITHIN + second()), Some(now() - second()));
}

#[test]
fn an_expired_token_is_not_overdue_too() {
    let newest = samples::version("v", now() - TimeDelta::days(100));
    let state = samples::proved(newest, now() - TimeDelta::days(20));

    assert_eq!(told(&unasked(&state)), [(Kind::TokenExpired, now() - TimeDelta::days(10))]);
}

#[test]
fn a_rejection_belongs_to_the_expiry_only_if_it_came_after_it() {
    let end = now() - TimeDelta::days(10);
    let newest = || samples::version("v", end - TimeDelta::days(90));
    let refused = |kind, since| {
        let unproved = State { newest: Some(newest()), ..State::unknown(now()) };
        told(&unasked(&samples::failed(unproved, failure(kind, Remedy::Login), since, 1)))
    };
    let login = Kind::LoginRequired;

    assert_eq!(refused(login, end), [(Kind::TokenExpired, end)]);
    assert_eq!(refused(login, now()), [(Kind::TokenExpired, end)]);
    assert_eq!(refused(login, end - second()), [(login, end - second())]);
    let policy = refused(Kind::PolicyBlocked, now());
    assert_eq!(policy, [(Kind::TokenExpired, end), (Kind::PolicyBlocked, now())]);
}

#[test]
fn a_failure_is_reported_at_once_if_no_further_attempt_follows() {
    let grant = Arc::new(samples::grant("a"));
    let periods = Periods::of(&Timing::new(&grant.policy, &grant.name, 0.0));
    let kinds = |state: &State, next: Option<&Next>| -> Vec<Kind> {
        told(&Snapshot::of(&grant, periods, state, next, now())).into_iter().map(|(kind, _)| kind).collect()
    };
    let wait = Next::Wait(now());
    let down =
        |attempts| samples::failed(fresh(), failure(Kind::EntraUnreachable, Remedy::Retry), now(), attempts);
    let mut refused = samples::failed(fresh(), failure(Kind::LoginRequired, Remedy::Login), now(), 1);

    assert_eq!(kinds(&down(2), Some(&wait)), []);
    assert_eq!(kinds(&down(3), Some(&wait)), [Kind::EntraUnreachable]);
    assert_eq!(kinds(&down(1), None), [Kind::EntraUnreachable], "a single command");
    assert_eq!(kinds(&refused, Some(&wait)), [Kind::LoginRequired]);
    refused.blocked.as_mut().expect("refused").is_confirmed = false;
    assert_eq!(kinds(&refused, Some(&wait)), []);
    assert_eq!(kinds(&refused, None), [Kind::LoginRequired], "a single command");
}

#[test]
fn of_two_failures_of_one_kind_the_one_for_a_person_is_reported() {
    let blocked = |kind| samples::failed(fresh(), failure(kind, Remedy::Operator), now() - hours(2), 1);
    let and_down = |kind| {
        let down = failure(Kind::VaultIdentity, Remedy::Retry);
        told(&unasked(&samples::failed(blocked(kind), down, now() - hours(1), 3)))
    };

    assert_eq!(and_down(Kind::VaultIdentity), [(Kind::VaultIdentity, now() - hours(2))]);
    let both = and_down(Kind::PolicyBlocked);
    assert_eq!(both, [(Kind::PolicyBlocked, now() - hours(2)), (Kind::VaultIdentity, now() - hours(1))]);
}

#[test]
fn a_held_successor_is_reported_since_its_save_fails() {
    let held = State { phase: unsaved(), ..fresh() };
    let since = now() - hours(1);
    let down = samples::failed(held.clone(), failure(Kind::VaultUnreachable, Remedy::Retry), since, 3);
    let denied = samples::failed(held.clone(), failure(Kind::Unsaved, Remedy::Operator), since, 1);

    assert_eq!(told(&unasked(&held)), [], "it is being saved");
    assert_eq!(told(&unasked(&down)), [(Kind::VaultUnreachable, since), (Kind::Unsaved, since)]);
    assert_eq!(told(&unasked(&denied)), [(Kind::Unsaved, since)], "the failure says it already");
}

/// A strict issuer invalidates a refresh token when the token is redeemed. Programs then have no working token until
/// Perennial saves the successor.
#[test]
fn a_held_successor_of_a_strict_issuer_is_the_only_working_token() {
    let state = State { phase: unsaved(), ..fresh() };
    let state = samples::failed(state, failure(Kind::VaultUnreachable, Remedy::Retry), now(), 3);
    for strict in [false, true] {
        let of = snapshot(ManagedToken { strict, ..samples::grant("a") }, &state, now(), now());
        let all = conditions(&[of], TimeDelta::zero(), now());
        let unsaved = all.iter().find(|told| told.kind == Kind::Unsaved).expect("reported");
        assert_eq!(unsaved.summary.contains("no program has a working token"), strict, "{}", unsaved.summary);
    }
}

#[test]
fn facts_of_the_last_proof_are_reported_with_their_start() {
    let since = now() - hours(1);
    let mut state = fresh();
    state.facts_of(&version().id).same_token_at = Some(since);
    state.facts_of(&version().id).unverified = Some((Unverified::default(), since));

    let found = told(&unasked(&state));

    assert_eq!(found, [(Kind::IdentityUnverified, since), (Kind::SameRefreshToken, since)]);
}

#[test]
fn one_outage_of_several_tokens_is_one_condition_with_the_worst_of_each() {
    let outage = |name: &str, owner: &str, age: i64, since| {
        let state = samples::proved(samples::version("v", now() - TimeDelta::days(age)), now());
        let state = samples::failed(state, failure(Kind::EntraUnreachable, Remedy::Retry), since, 3);
        let grant = ManagedToken {
            secret: samples::address(name),
            owner: Some(owner.to_owned()),
            ..samples::grant(name)
        };
        snapshot(grant, &state, now(), now())
    };
    let of_all = |all: &[Snapshot]| -> Condition {
        let mut told = conditions(all, TimeDelta::zero(), now());
        told.retain(|told| told.kind == Kind::EntraUnreachable);
        let [one] = told.try_into().expect("one");
        one
    };
    let young = outage("a", "zoe", 1, now());
    let old = outage("b", "ann", 85, now() - hours(1));
    let third = outage("c", "zoe", 1, now());
    for all in [[young.clone(), old.clone(), third.clone()], [old, young, third]] {
        let told = of_all(&all);

        assert_eq!((told.severity, told.since), (Severity::Critical, now() - hours(1)));
        assert_eq!(told.runway_seconds, Some(TimeDelta::days(5).num_seconds()));
        assert_eq!((told.tokens.len(), &*told.owners), (3, &["ann".to_owned(), "zoe".to_owned()][..]));
    }
}

#[test]
fn the_kinds_of_a_token_are_those_of_all_its_conditions() {
    let of = |kind, tokens: &[&str]| {
        let cause = Cause::token(&samples::address("token"));
        let new = Condition::new(kind, &cause, (Severity::Warning, Remedy::Retry), now());
        Condition { tokens: tokens.iter().map(|name| (*name).to_owned()).collect(), ..new }
    };
    let all = [of(Kind::Overdue, &["a", "b"]), of(Kind::ClockSkew, &[]), of(Kind::Unsaved, &["b"])];

    let kinds = kinds_by_token(&all);

    let both = vec![Kind::Overdue, Kind::Unsaved];
    assert_eq!(kinds, [("a", vec![Kind::Overdue]), ("b", both)].into());
}

#[test]
fn a_delivery_failure_belongs_to_the_sink_of_exactly_this_name() {
    let here = samples::grant("a").deployment;
    let of_chat = undeliverable("chat", &here, "x", (Severity::Warning, now()));
    let named_alike = Condition { kind: Kind::Overdue, ..of_chat.clone() };

    assert!(of_chat.is_of_sink("chat"));
    assert!(!of_chat.is_of_sink("chat2") && !of_chat.is_of_sink("cha") && !named_alike.is_of_sink("chat"));
}

#[test]
fn an_outage_becomes_critical_with_a_tenth_of_the_lifetime_left() {
    let lifetime = TimeDelta::days(90);
    let of = |kind, left: Option<TimeDelta>| severity(kind, left, lifetime);
    let nine = TimeDelta::days(9);

    for kind in [Kind::EntraUnreachable, Kind::Overdue, Kind::AppSecretExpiring, Kind::Unsaved] {
        assert_eq!(of(kind, Some(nine)), Severity::Critical, "{kind:?}");
        assert_eq!(of(kind, Some(nine + second())), Severity::Warning, "{kind:?}");
        assert_eq!(of(kind, None), Severity::Warning, "{kind:?}: the end is unknown");
    }
    assert_eq!(of(Kind::LoginRequired, Some(lifetime)), Severity::Critical);
    assert_eq!(of(Kind::ClockSkew, Some(TimeDelta::zero())), Severity::Warning);
}

#[test]
fn conditions_are_sorted_by_severity_start_kind_and_cause() {
    let of = |name: &str, kind, severity, since| {
        let cause = Cause::token(&samples::address(name));
        Condition::new(kind, &cause, (severity, Remedy::Retry), since)
    };
    let (grave, mild) = (Severity::Critical, Severity::Warning);
    let sorted = [
        of("z", Kind::Overdue, grave, now()),
        of("z", Kind::Overdue, mild, now() - second()),
        of("z", Kind::Unsaved, mild, now()),
        of("a", Kind::Overdue, mild, now()),
        of("b", Kind::Overdue, mild, now()),
    ];
    let mut mixed = sorted.clone();
    mixed.reverse();

    sort(&mut mixed);

    assert_eq!(mixed, sorted);
}
