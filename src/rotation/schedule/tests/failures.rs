//! Tests of the waits after a failure, and of the times of the next step.

use super::*;
use crate::rotation::state::PendingSave;

fn of(kind: Kind, remedy: Remedy, about: FailureSubject) -> Failure {
    Failure::new(kind, remedy, about, "x")
}

fn unsaved(is_only_copy: bool) -> State {
    let mut pending: PendingSave = held();
    pending.successor.is_only_copy = is_only_copy;
    State { phase: Phase::Unsaved(Box::new(pending)), ..current(ours()) }
}

const MINUTE: TimeDelta = TimeDelta::minutes(1);

#[test]
fn the_next_attempt_depends_on_what_a_person_must_fix() {
    use FailureSubject::{AppCredential, CredentialSource, Grant, History, Saving, Token};
    let seconds = TimeDelta::seconds;
    for (state, abouts, wait) in [
        (current(ours()), &[Grant, Token, History, Saving, AppCredential, CredentialSource][..], DAY),
        (unsaved(false), &[Grant, Token, History, Saving], seconds(130)),
        (unsaved(true), &[Grant, Token, History, Saving], seconds(65)),
        (unsaved(false), &[AppCredential, CredentialSource], MINUTE * 60),
        (unsaved(true), &[AppCredential, CredentialSource], MINUTE * 60),
    ] {
        for about in abouts {
            let failure = of(Kind::VaultRefused, Remedy::Operator, *about);
            let after = timing().after_failure(state.clone(), failure, at(1), 0.5);
            let blocked = after.blocked.as_ref().expect("a person must act");
            assert_eq!(blocked.again_at - at(1), wait, "{about:?}");
            assert_eq!(blocked.next_check_at - at(1), seconds(65), "{about:?}");
            assert_eq!(after.is_unsaved(), state.is_unsaved(), "{about:?}");
            let due_now = matches!(after.phase, Phase::Unproved { due_at } if due_at == at(1));
            assert_eq!(due_now, !state.is_unsaved(), "{about:?}");
        }
    }
}

#[test]
fn a_rejection_that_is_not_definite_is_confirmed_by_a_second_one() {
    let doubtful =
        |remedy| Failure { is_definite: false, ..of(Kind::LoginRequired, remedy, FailureSubject::Grant) };
    let confirmed = |state: &State| state.blocked.as_ref().expect("blocked").is_confirmed;
    let again = |state: &State, from| state.blocked.as_ref().expect("blocked").again_at - from;

    let first = timing().after_failure(current(ours()), doubtful(Remedy::Login), at(0), 0.5);
    assert_eq!((confirmed(&first), again(&first, at(0))), (false, MINUTE));
    let second = timing().after_failure(first.clone(), doubtful(Remedy::Login), at(1), 0.5);
    assert_eq!((confirmed(&second), again(&second, at(1))), (true, DAY));
    assert_eq!(second.blocked.as_ref().map(|blocked| blocked.since), Some(at(0)));
    let other = Failure { kind: Kind::PolicyBlocked, ..doubtful(Remedy::Login) };
    let other = timing().after_failure(first, other, at(1), 0.5);
    assert_eq!(
        (confirmed(&other), other.blocked.as_ref().map(|blocked| blocked.since)),
        (false, Some(at(1)))
    );

    // However often Entra rejects a new credential, the rejection does not count as confirmed.
    let fresh = timing().after_failure(current(ours()), doubtful(Remedy::Retry), at(0), 0.5);
    let fresh = timing().after_failure(fresh, doubtful(Remedy::Retry), at(1), 0.5);
    assert_eq!((confirmed(&fresh), again(&fresh, at(1))), (false, MINUTE * 2));
    let held = timing().after_failure(unsaved(false), doubtful(Remedy::Retry), at(1), 0.5);
    assert_eq!((confirmed(&held), again(&held, at(1))), (false, TimeDelta::seconds(130)));
}

#[test]
fn a_repeated_rejection_keeps_its_number_of_checks() {
    let refused = || of(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant);
    let mut state = timing().after_failure(current(ours()), refused(), at(0), 0.5);
    state.blocked.as_mut().expect("refused").checks = 7;

    let state = timing().after_failure(state, refused(), at(1), 0.5);

    assert_eq!(state.blocked.map(|blocked| blocked.checks), Some(7));
}

#[test]
fn the_start_of_an_incident_is_read_from_the_version_and_is_never_in_the_future() {
    let refused = (tag::REFUSED_KIND, "login_required");
    for (tags, since) in [
        (&[refused, (tag::REFUSED_AT, "2025-10-01T00:00:00Z")][..], "2025-10-01T00:00:00Z"),
        (&[refused, (tag::REFUSED_AT, "2025-12-01T00:00:00Z")], "2025-10-09T08:53:20Z"),
        (
            &[(tag::REFUSED_KIND, "policy_blocked"), (tag::REFUSED_AT, "2025-10-01T00:00:00Z")],
            "2025-10-09T08:53:20Z",
        ),
        (&[refused], "2025-10-09T08:53:20Z"),
        (&[(tag::VERDICT, "no_refresh_token 2025-10-02T00:00:00Z")], "2025-10-09T08:53:20Z"),
    ] {
        let failure = of(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant);
        let state = timing().after_failure(current(version(tags)), failure, at(0), 0.5);
        assert_eq!(state.blocked.map(|blocked| rfc3339(blocked.since)).as_deref(), Some(since), "{tags:?}");
    }
    let noted = version(&[(tag::VERDICT, "no_refresh_token 2025-10-02T00:00:00Z")]);
    let failure = of(Kind::NoRefreshToken, Remedy::Operator, FailureSubject::Grant);
    let state = timing().after_failure(current(noted), failure, at(0), 0.5);
    assert_eq!(state.blocked.map(|blocked| rfc3339(blocked.since)).as_deref(), Some("2025-10-02T00:00:00Z"));
}

#[test]
fn a_value_that_is_no_token_is_tried_daily_once_its_predecessor_may_replace_it() {
    let useless = || Failure { never_was_a_token: true, ..failure(Remedy::Operator) };
    for (hours, next) in [(0, 24), (23, 24), (24, 48), (30, 54)] {
        let state = timing().after_failure(current(version(&[])), useless(), at(hours), 0.5);
        assert_eq!(state.blocked.map(|blocked| blocked.again_at), Some(at(next)), "{hours}");
    }
    let state = timing().after_failure(current(version(&[])), useless(), at(23), 0.5);
    let state = timing().after_failure(state, failure(RETRY), at(24), 0.5);
    let retry_at = state.outage.map(|outage| outage.retry_at);
    assert_eq!(state.blocked.map(|blocked| blocked.again_at), retry_at, "as soon as the obstacle is gone");
}

#[test]
fn an_outage_delays_the_checks_and_the_redemption_of_a_blocked_token() {
    let refused = of(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant);
    let state = timing().after_failure(current(ours()), refused, at(0), 0.5);

    let state = timing().after_failure(state, failure(RETRY), at(10), 0.5);

    let blocked = state.blocked.expect("still refused");
    assert_eq!((blocked.next_check_at, blocked.again_at), (at(10) + WATCH_EVERY, at(13)));
}

#[test]
fn the_only_copy_is_saved_and_another_processs_redemption_is_checked_every_minute() {
    let elsewhere = || of(Kind::Unsaved, RETRY, FailureSubject::Grant);
    let wait = |state: State, failure: Failure, attempts| {
        let outage = Outage { failure: failure.clone(), since: at(0), attempts, retry_at: at(0) };
        let mut state = State { outage: Some(Box::new(outage)), ..state };
        (0..20).for_each(|_| state.redemptions.note(at(0)));
        timing().after_failure(state, failure, at(1), 0.999).outage.expect("an outage").retry_at - at(1)
    };
    let look = delta(strict::LOOK_EVERY);

    assert_eq!(wait(unsaved(true), failure(RETRY), 20), look);
    assert_eq!(wait(current(ours()), elsewhere(), 20), look);
    assert_eq!(wait(unsaved(false), failure(RETRY), 20), MINUTE * 60);
    assert!(wait(current(ours()), failure(RETRY), 20) > MINUTE * 60, "the redemptions are spread");
}

#[test]
fn an_outage_counts_its_attempts_and_heeds_a_pause_of_at_most_an_hour() {
    let asked = |seconds| Failure { retry_after: Some(Duration::from_secs(seconds)), ..failure(RETRY) };
    let mut state = State::unknown(at(0));
    for (attempts, seconds, wait) in [(1, 0, 2), (2, 100, 100), (3, 7_200, 3_600)] {
        state = timing().after_failure(state, asked(seconds), at(0), 0.5);
        let outage = state.outage.as_ref().expect("an outage");
        let waited = (outage.retry_at - at(0)).num_seconds();
        assert_eq!((outage.attempts, waited), (attempts, wait), "{seconds}");
    }
}

#[test]
fn an_outage_of_another_kind_is_a_new_incident_that_keeps_the_number_of_attempts() {
    let first = timing().after_failure(current(ours()), failure(RETRY), at(0), 0.5);
    for (kind, since) in [(Kind::EntraUnreachable, at(0)), (Kind::VaultUnreachable, at(2))] {
        let next = of(kind, RETRY, FailureSubject::Grant);

        let state = timing().after_failure(first.clone(), next, at(2), 0.5);

        let outage = state.outage.expect("an outage");
        assert_eq!((outage.since, outage.attempts), (since, 2), "{kind:?}");
    }
}

#[test]
fn waits_grow_from_seconds_to_an_hour() {
    let wait = |attempts, sample| retry_wait(attempts, None, None, sample).as_secs_f64();
    for (attempts, sample, seconds) in [
        (0, 0.0, 1.0),
        (0, 0.5, 2.5),
        (1, 0.5, 15.0),
        (2, 0.0, 60.0),
        (2, 0.75, 90.0),
        (3, 0.75, 180.0),
        (4, 0.75, 360.0),
        (8, 0.9, 3_600.0),
        (u32::MAX, 0.0, 60.0),
    ] {
        assert!((wait(attempts, sample) - seconds).abs() < 0.001, "{attempts} {sample}");
    }
    let near = |minutes| retry_wait(20, None, Some(MINUTE * minutes), 0.9).as_secs();
    assert_eq!((near(40), near(21), near(20), near(-5)), (120, 63, 3_600, 3_600));
}

#[test]
fn checks_while_a_person_must_act_have_a_limit_of_their_own() {
    let waiting = |about| {
        let state =
            samples::failed(current(ours()), of(Kind::VaultRefused, Remedy::Operator, about), at(0), 1);
        let mut state = State { mark_after: Some(at(99)), ..state };
        state.blocked.as_mut().expect("blocked").again_at = at(24);
        state.vault_calls = full_day();
        state
    };
    let mut state = waiting(FailureSubject::Token);
    assert_eq!(timing().next(&state, at(1)), Next::CheckVault);
    (0..88).for_each(|_| state.watch.note(at(1)));
    let Next::Wait(next) = timing().next(&state, at(1)) else { panic!("the burst is used up") };
    assert!(next > at(1) + MINUTE && next < at(1) + MINUTE * 3, "{next}");
    let blocked = state.blocked.take();
    let held = State { blocked, ..State { phase: unsaved(false).phase, ..state } };
    assert_eq!(timing().next(&held, at(24)), Next::Save, "a held successor does not wait for checks");
}

fn full_day() -> crate::rotation::state::Recent {
    let mut state = State::unknown(at(0));
    state.note_vault_calls(60, at(0));
    state.vault_calls
}

#[test]
fn a_blocked_token_is_redeemed_when_it_is_due_and_checked_before_that() {
    let state = |checked: i64, again: i64, redemptions: usize| {
        let refused = of(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant);
        let mut state = samples::failed(current(ours()), refused, at(0), 1);
        state.mark_after = Some(at(999));
        let blocked = state.blocked.as_mut().expect("blocked");
        (blocked.next_check_at, blocked.again_at) = (at(checked), at(again));
        (0..redemptions).for_each(|_| state.redemptions.note(at(0)));
        state
    };
    for (checked, again, redemptions, expected) in [
        (3, 2, 0, Next::Prove),
        (1, 2, 0, Next::Prove),
        (3, 3, 0, Next::Wait(at(3))),
        (3, 4, 0, Next::Wait(at(3))),
        (2, 4, 0, Next::CheckVault),
        (3, 1, 24, Next::Wait(at(24))),
        (2, 3, 24, Next::CheckVault),
    ] {
        let next = timing().next(&state(checked, again, redemptions), at(2));
        assert_eq!(next, expected, "{checked} {again} {redemptions}");
    }
    assert_eq!(timing().next(&state(3, 3, 0), at(3)), Next::Prove, "both are due");
}

#[test]
fn an_outage_or_a_failure_decides_when_a_held_successor_is_saved() {
    let saved_at = |retry, again| {
        let mut state = unsaved(false);
        if let Some(hours) = again {
            state = samples::failed(state, failure(Remedy::Operator), at(hours), 1);
        }
        if let Some(hours) = retry {
            state = samples::failed(state, failure(RETRY), at(hours), 1);
        }
        match timing().next(&state, at(1)) {
            Next::Wait(at) => Some(at),
            Next::Save => None,
            other => panic!("{other:?}"),
        }
    };

    assert_eq!(saved_at(None, None), None);
    assert_eq!(saved_at(Some(2), None), Some(at(2)));
    assert_eq!(saved_at(None, Some(3)), Some(at(3)));
    assert_eq!(saved_at(Some(2), Some(3)), Some(at(2)));
    assert_eq!(saved_at(Some(1), Some(3)), None);
}

#[test]
fn times_are_spread_by_the_sample_of_a_process() {
    let policy: Arc<Policy> = Policy::default().into();
    let of = |sample| Timing::new(&policy, &TokenName::new("a"), sample);
    let hours = |span: TimeDelta| span.as_seconds_f64() / 3_600.0;

    assert!((hours(of(0.0).prove_every) - 6.0).abs() < 0.02);
    assert!((hours(of(1.0).prove_every) - 5.88).abs() < 0.02);
    assert!((hours(of(1.0).rotate_after() - of(0.0).rotate_after()) - 168.0 * 0.02).abs() < 0.02);
    assert_eq!(of(0.0).limits(), Limits::of(&policy));
    let short = Policy { lifetime: Duration::from_secs(60), ..Policy::default() };
    let short = Timing::new(&short.into(), &TokenName::new("a"), 0.0);
    assert_eq!(short.policy().lifetime, Duration::from_secs(60));
    let version = version(&[(tag::ISSUED_AT, "2025-10-01T00:00:00Z")]);
    assert_eq!(rfc3339(of(0.0).expires_at(&version)), "2025-12-30T00:00:00Z");
}

#[test]
fn a_rejection_is_recorded_only_on_its_own_version_and_once_it_is_certain() {
    let refused = of(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant);
    let state = samples::failed(current(ours()), refused, at(0), 1);
    let recorded = |change: &dyn Fn(&mut State)| {
        let mut state = state.clone();
        change(&mut state);
        matches!(timing().next(&state, at(1)), Next::UpdateTags(_))
    };
    let blocked = |state: &mut State, change: &dyn Fn(&mut Blocked)| {
        change(state.blocked.as_mut().expect("refused"));
    };

    assert!(recorded(&|_| {}));
    assert!(!recorded(&|state| blocked(state, &|known| known.version = Some(VersionId("other".into())))));
    assert!(!recorded(&|state| blocked(state, &|known| known.is_confirmed = false)));
    assert!(!recorded(&|state| blocked(state, &|known| known.failure.kind = Kind::TurnedOff)), "it is off");
    assert!(!recorded(&|state| state.phase = unsaved(false).phase));
    assert!(!recorded(&|state| state.newest = None));
    assert!(!recorded(&|state| state.mark_after = Some(at(1) + MINUTE)));
    assert!(recorded(&|state| state.mark_after = Some(at(1))));
}
