//! Tests of when the steps of a token happen: first examples, then properties for any input.

use proptest::prelude::*;

use super::*;
use crate::ports::failure::Kind;
use crate::process::clock::rfc3339;
use crate::rotation::samples;
use crate::rotation::state::PendingSave;
use crate::rotation::told::Marks;
use crate::token::version::VersionId;

mod failures;

fn at(hours: i64) -> Timestamp {
    Timestamp::from_timestamp(1_760_000_000 + hours * 3600, 0).expect("in range")
}

fn timing() -> Timing {
    Timing::new(&Policy::default().into(), &TokenName::new("partner-center"), 0.5)
}

fn version(tags: &[(&str, &str)]) -> Version {
    Version { tags: tags.iter().copied().collect(), ..samples::version("v1", at(0)) }
}

fn ours() -> Version {
    version(&[(tag::MANAGED_BY, "perennial/0.1.0 run"), (tag::PROVED_AT, "2025-10-09T08:53:20Z")])
}

fn current(version: Version) -> State {
    samples::proved(version, at(0))
}

fn failure(remedy: Remedy) -> Failure {
    Failure::new(Kind::EntraUnreachable, remedy, FailureSubject::Grant, "x")
}

const RETRY: Remedy = Remedy::Retry;

#[test]
fn a_token_is_proved_at_start_and_then_within_prove_every() {
    let timing = timing();

    assert_eq!(timing.next(&State::unknown(at(0)), at(0)), Next::Prove);
    let Next::Wait(due) = timing.next(&current(ours()), at(0)) else { panic!("not due") };
    assert!(due > at(5) && due <= at(6), "{due}");
    assert_eq!(timing.next(&current(ours()), at(6)), Next::Prove);
}

#[test]
fn a_rotation_is_due_about_a_week_after_the_token_was_issued() {
    let timing = timing();

    assert!(!timing.rotation_is_due(&ours(), &current(ours()), at(6 * 24)));
    assert!(timing.rotation_is_due(&ours(), &current(ours()), at(8 * 24)));
}

#[test]
fn a_foreign_version_is_rotated_at_once_but_only_once_a_day() {
    let timing = timing();
    let foreign = version(&[]);
    let mut state = current(foreign.clone());

    assert!(timing.rotation_is_due(&foreign, &state, at(1)));
    state.foreign_rotated_at = Some(at(0));
    assert!(!timing.rotation_is_due(&foreign, &state, at(23)));
    assert!(timing.rotation_is_due(&foreign, &state, at(24)));
}

#[test]
fn rotations_are_spread_by_name_within_a_tenth() {
    let policy = Arc::new(Policy::default());
    let mut due: Vec<Timestamp> = Vec::new();
    for n in 0..200 {
        let timing = Timing::new(&policy, &TokenName::new(&format!("customer-{n}")), 0.999);
        due.push(timing.rotate_at(&version(&[])));
    }
    due.sort();

    assert!(due[0] > at(6 * 24) && due[199] < at(8 * 24));
    assert!(due[150] - due[50] > TimeDelta::hours(10), "{} {}", due[50], due[150]);
}

#[test]
fn a_blocked_token_is_checked_every_minute_and_redeemed_daily() {
    let timing = timing();

    let state = timing.after_failure(current(ours()), failure(Remedy::Login), at(0), 0.5);

    assert!(matches!(timing.next(&state, at(0)), Next::UpdateTags(_)), "a refusal is noted");
    let state = State { mark_after: Some(at(99)), ..state };
    assert_eq!(timing.next(&state, at(0)), Next::Wait(at(0) + WATCH_EVERY));
    assert_eq!(timing.next(&state, at(1)), Next::CheckVault);
    let mut state = state;
    state.blocked.as_mut().expect("refused").next_check_at = at(25);
    assert_eq!(timing.next(&state, at(24)), Next::Prove);
}

#[test]
fn a_rejection_recorded_by_an_earlier_process_is_the_same_incident() {
    let noted =
        version(&[(tag::REFUSED_AT, "2025-10-01T00:00:00Z"), (tag::REFUSED_KIND, "entra_unreachable")]);

    let state = timing().after_failure(current(noted), failure(Remedy::Login), at(0), 0.5);

    let since = state.blocked.expect("refused").since;
    assert_eq!(rfc3339(since), "2025-10-01T00:00:00Z");
}

#[test]
fn a_proof_is_recorded_at_most_daily() {
    let timing = timing();
    let mut state = current(ours());

    state.facts_of(&ours().id).proved_at = Some(at(23));
    assert!(!matches!(timing.next(&state, at(23)), Next::UpdateTags(_)));
    state.facts_of(&ours().id).proved_at = Some(at(24));
    let Next::UpdateTags(tags) = timing.next(&state, at(24)) else { panic!("a mark") };
    assert_eq!(tags[tag::PROVED_AT], rfc3339(at(24)));
}

#[test]
fn the_daily_redemption_limit_postpones_a_proof() {
    let timing = timing();
    let mut state = State::unknown(at(0));
    (0..24).for_each(|n| state.redemptions.note(at(0) + TimeDelta::minutes(n)));

    assert_eq!(timing.next(&state, at(1)), Next::Wait(at(24)));
}

#[test]
fn a_held_successor_is_saved_at_once_and_retried_at_least_hourly() {
    let timing = timing();
    let mut state = current(ours());
    state.phase = Phase::Unsaved(Box::new(held()));
    assert_eq!(timing.next(&state, at(0)), Next::Save);

    for attempt in 0..40 {
        state = timing.after_failure(state, failure(RETRY), at(attempt), 0.999);
        let retry_at = state.outage.as_ref().expect("down").retry_at;
        assert!(state.is_unsaved() && retry_at <= at(attempt + 1));
    }
}

fn held() -> PendingSave {
    samples::pending(ours(), at(0))
}

proptest! {
    #[test]
    fn waits_are_bounded(attempts: u32, sample in 0.0..1.0f64, left in -90i64..90 * 24 * 60, after in 0u64..1_000_000) {
        let asked = Some(Duration::from_secs(after));
        let left = Some(TimeDelta::minutes(left));

        let wait = retry_wait(attempts, asked, left, sample);

        prop_assert!(wait >= Duration::from_secs(1) && wait <= LONGEST);
        prop_assert!(wait >= Duration::from_secs(after).min(LONGEST));
    }

    #[test]
    fn waits_get_shorter_near_the_expiry(attempts in 2u32..100, sample in 0.0..1.0f64, left in 21i64..90 * 24 * 60) {
        let wait = retry_wait(attempts, None, Some(TimeDelta::minutes(left)), sample);

        prop_assert!(delta(wait) <= TimeDelta::minutes(left) / 20);
        prop_assert!(wait >= SHORTEST);
    }

    /// The quick retries at the start of an outage must not use up the redemptions of the whole day.
    #[test]
    fn in_an_outage_of_days_entra_is_never_left_alone_for_long(samples in prop::collection::vec(0.0..1.0f64, 100)) {
        let timing = timing();
        let mut samples = samples.iter().cycle();
        let mut state = State::unknown(at(0));
        let (mut now, mut last) = (at(0), at(0));
        while now < at(14 * 24) {
            match timing.next(&state, now) {
                Next::Wait(until) => now = until,
                step => {
                    prop_assert_eq!(step, Next::Prove);
                    let most = if now < at(2 * 24) { 120 } else { 61 };
                    prop_assert!(now - last <= TimeDelta::minutes(most), "{last} to {now}");
                    last = now;
                    state.redemptions.note(now);
                    let sample = samples.next().copied().unwrap_or_default();
                    state = timing.after_failure(state, failure(RETRY), now, sample);
                }
            }
        }
    }

    #[test]
    fn a_long_outage_is_tried_about_hourly(attempts in 14u32..1000, sample in 0.05..1.0f64) {
        prop_assert_eq!(retry_wait(attempts, None, None, sample), LONGEST);
    }
}

#[test]
fn facts_about_one_token_do_not_apply_to_the_next() {
    let refused = Failure::new(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant, "revoked");
    let mut state = timing().after_failure(current(ours()), refused, at(1), 0.5);
    state.newest = Some(Version { id: VersionId("a sign-in".into()), ..ours() });

    let state = timing().after_failure(state, failure(RETRY), at(2), 0.5);

    let outage = state.outage.expect("Entra does not answer");
    assert_eq!((outage.failure.kind, outage.since), (Kind::EntraUnreachable, at(2)));
    assert!(state.blocked.is_none(), "nobody knows yet whether the sign-in is good");
}

#[test]
fn a_timeout_does_not_clear_a_permanent_failure() {
    let timing = timing();
    let refused = Failure::new(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant, "x");
    let state = timing.after_failure(current(ours()), refused, at(0), 0.5);

    let state = timing.after_failure(state, failure(RETRY), at(24), 0.5);

    let blocked = state.blocked.as_ref().expect("refused");
    assert_eq!((blocked.failure.kind, blocked.since), (Kind::LoginRequired, at(0)));
    assert_eq!(blocked.again_at, at(27), "neither at once, which would hammer, nor only in a day");
    let outage = state.outage.as_ref().expect("both are known");
    assert_eq!((outage.failure.kind, outage.since, outage.attempts), (Kind::EntraUnreachable, at(24), 1));

    let answered = Failure::new(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant, "x");
    let state = timing.after_failure(state, answered, at(27), 0.5);
    assert!(state.outage.is_none(), "an answer ends an outage");
    assert_eq!(state.blocked.expect("still refused").since, at(0));
}

#[test]
fn alternating_faults_are_one_outage() {
    let timing = timing();
    let mut state = current(ours());
    for turn in 0..10 {
        let kind = if turn % 2 == 0 { Kind::VaultUnreachable } else { Kind::EntraUnreachable };
        state = timing.after_failure(
            state,
            Failure::new(kind, RETRY, FailureSubject::Grant, "x"),
            at(turn),
            0.999,
        );
    }

    assert_eq!(state.outage.expect("down").retry_at, at(10));
}

#[test]
fn an_invalid_value_is_retried_when_its_predecessor_may_replace_it() {
    let useless = Failure { never_was_a_token: true, ..failure(Remedy::Operator) };

    let state = timing().after_failure(current(version(&[])), useless, at(3), 0.5);

    assert_eq!(state.blocked.expect("unusable").again_at, at(24));
}

#[test]
fn a_rotation_waits_for_a_day_with_room_for_all_pages_of_its_list_and_a_proof_does_not() {
    let timing = timing();
    let mut state = State { listed: 18 * 25, mark_after: Some(at(999)), ..current(ours()) };
    (0..40).for_each(|n| state.vault_calls.note(at(190) + TimeDelta::seconds(n)));

    assert_eq!(timing.next(&State { listed: 25, ..state.clone() }, at(191)), Next::Prove, "it is due");
    let Next::Wait(at_last) = timing.next(&state, at(191)) else { panic!("26 of 60 are not left") };
    assert_eq!(at_last, at(214) + TimeDelta::seconds(5));
    let unread = State { newest: None, ..state };
    assert_eq!(timing.next(&unread, at(191)), Next::Prove);
}

#[test]
fn a_successor_saved_late_is_not_recorded_repeatedly() {
    let version = Version { created: at(5), ..version(&[(tag::MANAGED_BY, "perennial/0.1.0 run")]) };
    let mut state = samples::proved(version.clone(), at(0));
    let said = crate::ports::Acceptance {
        accepted: true,
        mfa: None,
        tenant_id: None,
        company: None,
        is_audience: false,
        status: 200,
    };
    state.hear(&version.id, said, at(0));

    for _ in 0..3 {
        if let Next::UpdateTags(tags) = timing().next(&state, at(5)) {
            state.newest.as_mut().expect("read").tags = tags;
        }
    }

    let next = timing().next(&state, at(5));
    assert!(!matches!(next, Next::UpdateTags(_)), "{next:?}");
}

/// The recorded proof tells the next process that a daemon has proved the version that `login` wrote.
#[test]
fn the_first_proof_of_a_sign_in_is_recorded_and_the_sign_in_itself_is_not() {
    let (by, time) = ("perennial/0.1.0 login", rfc3339(at(0)));
    let written = version(&[(tag::MANAGED_BY, by), (tag::PROVED_AT, &time), (tag::ISSUED_AT, &time)]);
    let recorded = |hours| {
        let state = samples::proved(written.clone(), at(hours));
        matches!(timing().next(&state, at(hours)), Next::UpdateTags(_))
    };

    assert!(!recorded(0));
    assert!(recorded(1));
}

#[test]
fn attempts_are_spread_over_the_day_unless_a_successor_is_held() {
    let retry_at = |phase| {
        let mut state = State { phase, ..current(ours()) };
        (0..20).for_each(|n| state.redemptions.note(at(0) + TimeDelta::minutes(n)));
        timing().after_failure(state, failure(RETRY), at(1), 0.5).outage.expect("an outage").retry_at
    };

    let held = retry_at(Phase::Unsaved(Box::new(samples::pending(ours(), at(0)))));

    assert!(held < at(1) + TimeDelta::minutes(5), "{held}");
    assert!(retry_at(Phase::Current) > at(1) + TimeDelta::minutes(30));
}

#[test]
fn vault_calls_wait_for_the_daily_limit_unless_a_person_is_awaited() {
    let timing = timing();
    let mut full = current(ours());
    full.note_vault_calls(60, at(0));
    let mut watching = samples::failed(current(ours()), failure(Remedy::Login), at(0), 1);
    watching.vault_calls = full.vault_calls.clone();

    assert_eq!(timing.room_for_vault_calls(&full, 1, at(1)), at(24));
    assert_eq!(timing.room_for_vault_calls(&full, 0, at(1)), at(1), "no call needs room");
    assert_eq!(timing.room_for_vault_calls(&watching, 1, at(1)), at(1), "checks have their own limit");
}

#[test]
fn a_token_that_may_not_be_rotated_yet_is_only_proved() {
    let timing = timing();
    let mut state = current(ours());
    state.facts.as_mut().expect("proved").proved_at = Some(at(8 * 24));
    assert!(timing.due_at(&state, at(8 * 24)) <= at(8 * 24), "the rotation is due");

    state.facts.as_mut().expect("proved").same_token_at = Some(at(0));
    assert!(timing.due_at(&state, at(8 * 24)) > at(8 * 24 + 5), "the issuer returns the same token");

    let mut foreign = current(version(&[]));
    foreign.foreign_rotated_at = Some(at(0));
    assert!(timing.due_at(&foreign, at(1)) > at(5), "a foreign version is rotated once a day");
}

#[test]
fn marks_of_alerts_are_written_when_the_vault_can_accept_them() {
    let timing = timing();
    let mut marks = Marks::default();
    marks.add(1);
    let told = |state: State| {
        let state = State { told: Some(marks.clone()), ..state };
        timing.told_tags(&state, at(1)).is_some()
    };
    let outage = |kind| Failure::new(kind, RETRY, FailureSubject::Token, "x");
    let after = |mark_after| State { mark_after: Some(mark_after), ..current(ours()) };
    let unsaved = Phase::Unsaved(Box::new(samples::pending(ours(), at(0))));

    assert!(told(current(ours())) && told(after(at(1))) && !told(after(at(2))));
    assert!(!told(State { phase: unsaved, ..current(ours()) }), "the marks go with the successor");
    assert!(!told(samples::failed(current(ours()), outage(Kind::VaultUnreachable), at(0), 1)));
    assert!(told(samples::failed(current(ours()), outage(Kind::EntraUnreachable), at(0), 1)));
}
