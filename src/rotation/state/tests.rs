//! Tests of the state: which failures a success clears, what other writers' versions mean, and how long a verdict stays
//! valid.

use super::*;
use crate::ports::Acceptance;
use crate::ports::failure::{Kind, Remedy};
use crate::rotation::samples;
use crate::token::managed::Policy;
use crate::token::version::{tag, verdict};

#[test]
fn a_success_clears_only_failures_of_the_same_subject() {
    let now = Timestamp::UNIX_EPOCH;
    let version = samples::version("v", now);
    let of = |about, remedy| Failure::new(Kind::VaultRefused, remedy, about, "as told");
    for remedy in [Remedy::Operator, Remedy::Retry] {
        let failed = of(FailureSubject::History, remedy);
        let mut state = samples::failed(samples::proved(version.clone(), now), failed, now, 3);

        state.clear_failures_about(FailureSubject::AppCredential);
        assert!(state.failure().is_some(), "{remedy:?}: something else worked");
        state.clear_failures_about(FailureSubject::History);
        assert_eq!(state.failure(), None, "{remedy:?}");
    }
}

#[test]
fn facts_move_only_from_the_version_that_they_are_about() {
    let now = Timestamp::UNIX_EPOCH;
    let id = |name: &str| VersionId(name.into());
    let mut state = samples::proved(samples::version("v", now), now);

    state.carry_facts(&id("other"), &id("w"));
    assert_eq!(state.facts.as_ref().map(|facts| facts.version.clone()), Some(id("v")));
    state.carry_facts(&id("v"), &id("w"));
    assert_eq!(state.facts.as_ref().map(|facts| facts.version.clone()), Some(id("w")));
}

#[test]
fn a_second_foreign_version_within_a_day_is_reported_and_a_first_one_is_not() {
    let now = Timestamp::UNIX_EPOCH + DAY * 10;
    let hour = TimeDelta::hours(1);
    let mut state = samples::proved(samples::version("v", now), now);

    state.note_foreign_version(now);
    assert_eq!(state.foreign_writer, None);
    state.foreign_rotated_at = Some(now - hour);
    state.note_foreign_version(now);
    assert_eq!(state.foreign_writer, Some(ForeignWriter { since: now, seen_at: now }));
    state.foreign_rotated_at = None;
    state.note_foreign_version(now + hour);
    assert_eq!(state.foreign_writer, Some(ForeignWriter { since: now, seen_at: now + hour }));
}

#[test]
fn a_sign_in_is_expected_after_a_rejection_by_entra_or_by_partner_center() {
    let now = Timestamp::UNIX_EPOCH;
    let proved = samples::proved(samples::version("v", now), now);
    let failed =
        |remedy| Failure::new(Kind::AppCredentialRefused, remedy, FailureSubject::AppCredential, "x");
    let asked = |state: &State| state.awaits_sign_in();

    assert!(!asked(&proved));
    assert!(asked(&samples::failed(proved.clone(), failed(Remedy::Login), now, 1)));
    assert!(!asked(&samples::failed(proved.clone(), failed(Remedy::Operator), now, 1)));
    for (accepted, mfa, expected) in
        [(true, None, false), (false, None, true), (true, Some(false), true), (true, Some(true), false)]
    {
        let mut heard = proved.clone();
        heard.hear(&VersionId("v".into()), answer(accepted, mfa), now);
        assert_eq!(asked(&heard), expected, "{accepted} {mfa:?}");
    }
}

fn answer(accepted: bool, mfa: Option<bool>) -> Acceptance {
    Acceptance {
        accepted,
        mfa,
        tenant_id: None,
        company: None,
        is_audience: false,
        status: if accepted { 200 } else { 403 },
    }
}

#[test]
fn a_repeated_verdict_keeps_its_beginning_and_another_one_does_not() {
    let now = Timestamp::UNIX_EPOCH;
    let hour = TimeDelta::hours(1);
    let mut state = samples::proved(samples::version("v", now), now);
    let mut heard = |accepted, mfa, at| {
        state.hear(&VersionId("v".into()), answer(accepted, mfa), at);
        let verdict = state.facts.as_ref().and_then(|facts| facts.verdict.clone()).expect("a verdict");
        (verdict.since, verdict.at)
    };

    assert_eq!(heard(false, None, now), (now, now));
    assert_eq!(heard(false, None, now + hour), (now, now + hour));
    assert_eq!(heard(false, Some(false), now + hour * 2), (now + hour * 2, now + hour * 2));
    assert_eq!(heard(true, None, now + hour * 3), (now + hour * 3, now + hour * 3));
}

#[test]
fn a_recorded_acceptance_that_is_older_than_its_version_was_copied_and_does_not_count() {
    let created = Timestamp::from_timestamp(1_760_000_000, 0).expect("in range");
    for (word, minutes, kind) in [
        ("usable", 0, Some(None)),
        ("usable", -5, Some(None)),
        ("usable", -6, None),
        ("partner_center_refused", -6, Some(Some(Kind::PartnerCenterRefused))),
        ("login_required", 0, None),
    ] {
        let mut version = samples::version("v1", created);
        let at = created + TimeDelta::minutes(minutes);
        version.tags.insert(tag::VERDICT, &verdict(word, at));

        assert_eq!(Noted::on(&version), kind.map(|kind| Noted { kind, at }), "{word} {minutes}");
    }
}

#[test]
fn limits_grow_with_the_proofs_that_the_policy_asks_for() {
    let of = |prove_every, rotate_after| {
        let hours = |count: u64| std::time::Duration::from_secs(count * 3600);
        let policy = Policy {
            prove_every: hours(prove_every),
            rotate_after: hours(rotate_after),
            ..Policy::default()
        };
        let limits = Limits::of(&policy);
        (limits.redemptions, limits.partner_center_calls, limits.vault_calls)
    };

    assert_eq!(of(6, 168), (24, 12, 60));
    assert_eq!(of(3, 6), (24, 24, 96), "12 steps are too many for the usual limits");
    assert_eq!(of(3, 8), (24, 12, 60));
    assert_eq!(of(1, 168), (48, 48, 192));
    assert_eq!(of(1, 1), (96, 96, 384));
}

#[test]
fn a_clock_correction_moves_the_waits_of_both_slots_by_the_same_span() {
    let now = Timestamp::UNIX_EPOCH + DAY * 10;
    let failure = |remedy| Failure::new(Kind::VaultRefused, remedy, FailureSubject::History, "as told");
    let state = samples::proved(samples::version("v", now), now);
    let blocked = samples::failed(state, failure(Remedy::Operator), now, 1);
    let mut state = samples::failed(blocked, failure(Remedy::Retry), now, 1);

    state.shift_waits(DAY);

    let (blocked, outage) = (state.blocked.expect("blocked"), state.outage.expect("an outage"));
    assert_eq!((blocked.next_check_at, blocked.again_at, outage.retry_at), (now + DAY, now + DAY, now + DAY));
    assert_eq!((blocked.since, outage.since), (now, now));
}

#[test]
fn a_save_needs_room_for_its_list_once_it_has_written() {
    let now = Timestamp::UNIX_EPOCH;
    let version = samples::version("v", now);
    let mut state = State { listed: 60, ..samples::proved(version.clone(), now) };
    assert_eq!((state.calls_of_a_list(), state.calls_of_a_rotation(), state.calls_of_a_save()), (3, 10, 1));

    state.phase = Phase::Unsaved(Box::new(samples::pending(version, now)));
    assert_eq!(state.calls_of_a_save(), 1);
    state.pending().expect("held").written = Some(VersionId("w".into()));

    assert_eq!(state.calls_of_a_save(), 5);
}

#[test]
fn the_vault_is_watched_while_a_person_or_another_process_must_act_or_a_token_may_be_lost() {
    let now = Timestamp::UNIX_EPOCH;
    let proved = samples::proved(samples::version("v", now), now);
    let failed =
        |kind, remedy, about| samples::failed(proved.clone(), Failure::new(kind, remedy, about, "x"), now, 1);
    let unsaved = |is_only_copy| {
        let mut pending = samples::pending(samples::version("v", now), now);
        pending.successor.is_only_copy = is_only_copy;
        State { phase: Phase::Unsaved(Box::new(pending)), ..proved.clone() }
    };
    let grant = FailureSubject::Grant;
    for (state, is_watching, stake) in [
        (proved.clone(), false, Stake::Nothing),
        (failed(Kind::LoginRequired, Remedy::Login, grant), true, Stake::Nothing),
        (failed(Kind::EntraUnreachable, Remedy::Retry, grant), false, Stake::Nothing),
        (failed(Kind::Unsaved, Remedy::Retry, grant), true, Stake::Nothing),
        (unsaved(false), false, Stake::Successor),
        (unsaved(true), true, Stake::Successor),
    ] {
        assert_eq!((state.is_watching(), state.stake()), (is_watching, stake), "{:?}", state.failure());
    }
}

#[test]
fn a_vault_without_a_version_to_update_or_without_an_answer_is_away() {
    let now = Timestamp::UNIX_EPOCH;
    let away = |kind, remedy| {
        let failure = Failure::new(kind, remedy, FailureSubject::Token, "x");
        samples::failed(samples::proved(samples::version("v", now), now), failure, now, 1)
    };
    for (kind, is_away, is_off) in [
        (Kind::VaultUnreachable, true, false),
        (Kind::VaultIdentity, true, false),
        (Kind::SecretDeleted, true, false),
        (Kind::NeverSignedIn, true, false),
        (Kind::TurnedOff, false, true),
        (Kind::LoginRequired, false, false),
    ] {
        assert_eq!(away(kind, Remedy::Retry).vault_is_away(), is_away, "{kind:?}");
        let blocked = away(kind, Remedy::Operator);
        assert_eq!((blocked.vault_is_away(), blocked.is_off()), (is_away, is_off), "{kind:?}");
    }
}

#[test]
fn versions_of_another_writer_a_day_apart_are_no_incident() {
    let now = Timestamp::UNIX_EPOCH + DAY * 10;
    let second = TimeDelta::seconds(1);
    let noted = |rotated: Option<Timestamp>, seen: Option<Timestamp>| {
        let mut state = samples::proved(samples::version("v", now), now);
        state.foreign_rotated_at = rotated;
        state.foreign_writer = seen.map(|seen_at| ForeignWriter { since: seen_at - DAY * 2, seen_at });
        state.note_foreign_version(now);
        state.foreign_writer.filter(|writer| writer.seen_at == now).map(|writer| writer.since)
    };

    assert_eq!(noted(Some(now - DAY), None), None);
    assert_eq!(noted(Some(now - DAY + second), None), Some(now));
    assert_eq!(noted(None, Some(now - DAY)), None);
    assert_eq!(noted(None, Some(now - DAY + second)), Some(now - DAY * 3 + second));
    assert_eq!(noted(Some(now), Some(now - DAY)), Some(now), "a new incident");
}
