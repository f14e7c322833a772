//! Tests of the steps of a certificate's renewal.

use super::*;
use crate::ports::certificate_store::ListedCertificate;
use crate::ports::client::CredentialVerdict;
use crate::renewal::certificate::samples::{look, registered, version};
use crate::renewal::certificate::state::CertificateTrial;
use crate::renewal::samples::{at, key, target};
use crate::renewal::state::Trial;
use crate::token::version::VersionId;

const ZERO: TimeDelta = TimeDelta::zero();

fn minutes(count: i64) -> TimeDelta {
    TimeDelta::minutes(count)
}

fn knowing(look: CertificateLook) -> CertificateState {
    let mut state = CertificateState::default();
    state.learn(look, &target());
    state
}

fn step(state: &CertificateState, up: TimeDelta) -> CertificateStep {
    next(&target(), state, up)
}

fn accepted(nth: u8, accepted_minutes: i64) -> CertificateTrial {
    let mut probes = Trial::default();
    for minute in 0..=accepted_minutes {
        probes.note(CredentialVerdict::Accepted, minutes(minute));
    }
    CertificateTrial { version: VersionId(format!("v{nth}").into()), since: ZERO, probes }
}

/// Returns a look in which the newest version has no tag `accepted-at` yet, and the previous version is in use.
fn new_version(keys: Vec<u8>) -> CertificateLook {
    let versions = vec![version(2, 50, None), version(1, 0, Some(1))];
    look(50, versions, keys.into_iter().map(registered).collect())
}

#[test]
fn a_version_without_the_mark_is_registered_tried_and_marked() {
    let state = knowing(new_version(vec![1]));
    assert_eq!(step(&state, ZERO), CertificateStep::Register);
    assert_eq!(step(&state, minutes(6)), CertificateStep::Look, "the look is too old for a change");

    let registered = CertificateState {
        registered: Some((VersionId("v2".into()), ZERO)),
        ..knowing(new_version(vec![1]))
    };
    assert_eq!(step(&registered, minutes(1)), CertificateStep::Probe, "the list lags behind");
    assert_eq!(step(&registered, minutes(5)), CertificateStep::Probe);
    let again = CertificateState {
        look: Some(CertificateLook { up: minutes(15), ..new_version(vec![1]) }),
        ..registered
    };
    assert_eq!(step(&again, minutes(15)), CertificateStep::Register, "the registration was lost");

    let mut state = knowing(new_version(vec![1, 2]));
    assert_eq!(step(&state, ZERO), CertificateStep::Probe);
    state.trial = Some(accepted(2, 3));
    assert_eq!(step(&state, minutes(3)), CertificateStep::Wait(minutes(4)));
    assert_eq!(step(&state, minutes(4)), CertificateStep::Probe);
    state.trial = Some(accepted(2, 15));
    assert_eq!(step(&state, minutes(15)), CertificateStep::Look);
    state.look = Some(CertificateLook { up: minutes(15), ..new_version(vec![1, 2]) });
    assert_eq!(step(&state, minutes(15)), CertificateStep::Mark);
    state.trial = Some(accepted(1, 15));
    assert_eq!(
        step(&state, minutes(15)),
        CertificateStep::Probe,
        "the probes of another version do not count"
    );
}

#[test]
fn a_certificate_in_use_that_somebody_removed_at_entra_is_registered_again() {
    let versions = || vec![version(2, 50, Some(51)), version(1, 0, Some(1))];
    assert_eq!(step(&knowing(look(55, versions(), vec![registered(1)])), ZERO), CertificateStep::Register);
    let lasting = knowing(look(55, versions(), vec![registered(1), registered(2)]));
    assert_eq!(step(&lasting, ZERO), CertificateStep::Wait(CERTIFICATE_LOOK_EVERY));
}

#[test]
fn a_new_version_is_created_before_the_end_and_never_twice() {
    let due = || look(330, vec![version(1, 0, Some(1))], vec![registered(1)]);
    let state = knowing(due());
    assert_eq!(step(&state, ZERO), CertificateStep::Create);
    assert_eq!(step(&state, minutes(6)), CertificateStep::Look);
    let created = CertificateState { created: vec![ZERO], ..knowing(due()) };
    assert_eq!(step(&created, ZERO), CertificateStep::Wait(minutes(1)), "the vault is still creating it");
    assert_eq!(step(&created, minutes(1)), CertificateStep::Look);
    let late = CertificateLook { up: minutes(15), ..due() };
    let created = CertificateState { look: Some(late.clone()), ..created };
    assert_eq!(step(&created, minutes(15)), CertificateStep::Create, "the vault did not create it");
    let spent = CertificateState { created: vec![ZERO; 3], look: Some(late), ..knowing(due()) };
    assert_eq!(step(&spent, minutes(15)), CertificateStep::Wait(minutes(15) + CERTIFICATE_LOOK_EVERY));
    let lasting = knowing(look(0, vec![version(1, 0, Some(0))], vec![registered(1)]));
    assert_eq!(step(&lasting, ZERO), CertificateStep::Wait(CERTIFICATE_LOOK_EVERY));
    let forced = Target { is_forced: true, ..target() };
    assert_eq!(next(&forced, &lasting, ZERO), CertificateStep::Create);
    let made = CertificateState { created: vec![-minutes(20)], ..lasting };
    assert_eq!(
        next(&forced, &made, ZERO),
        CertificateStep::Wait(CERTIFICATE_LOOK_EVERY),
        "a person asks for one version"
    );
}

#[test]
fn an_old_certificate_is_removed_only_while_entra_accepts_the_newest() {
    let keys = || vec![registered(1), registered(2)];
    let replaced = |answer| {
        let look = look(99, vec![version(2, 50, Some(51)), version(1, 0, Some(1))], keys());
        knowing(CertificateLook { newest_is_accepted: answer, ..look })
    };
    assert_eq!(step(&replaced(None), ZERO), CertificateStep::TryNewest);
    assert_eq!(step(&replaced(Some(true)), ZERO), CertificateStep::Remove(key(1)));
    assert_eq!(step(&replaced(Some(false)), ZERO), CertificateStep::Wait(CERTIFICATE_LOOK_EVERY));
    assert_eq!(step(&replaced(Some(true)), minutes(6)), CertificateStep::Look);
}

#[test]
fn a_version_that_entra_does_not_accept_for_an_hour_is_reported_and_tried_on() {
    let mut state = knowing(new_version(vec![1, 2]));
    state.trial = Some(accepted(2, 0));
    state.report_slow_trial(at(50), minutes(59));
    assert!(state.health.troubles.is_empty());
    state.report_slow_trial(at(50), minutes(60));
    let trouble = &state.health.troubles[&Part::Renewing];
    assert!(trouble.is_told_at_once && trouble.failure.summary.contains("version v2"), "{trouble:?}");
    assert_eq!(step(&state, minutes(60)), CertificateStep::Wait(minutes(61)));
    state.look = Some(CertificateLook { up: minutes(60), ..new_version(vec![1, 2]) });
    assert_eq!(step(&state, minutes(61)), CertificateStep::Probe);
    state.learn(look(50, vec![version(2, 50, Some(50))], vec![registered(2)]), &target());
    assert!(state.health.troubles.is_empty() && state.trial.is_none());
}

#[test]
fn a_registration_by_hand_ends_the_report() {
    let mut state = knowing(new_version(vec![1]));
    state.health.failed(Part::Renewing, failure(Remedy::Operator, "x"), at(50), ZERO);
    state.learn(new_version(vec![1]), &target());
    assert!(!state.health.troubles.is_empty());
    state.learn(new_version(vec![1, 2]), &target());
    assert!(state.health.troubles.is_empty());
}

#[test]
fn a_person_is_told_that_three_versions_do_not_last() {
    let short = |nth: u8| -> ListedCertificate {
        let mut one = version(nth, 100, Some(100));
        one.version.expires = Some(at(110));
        one
    };
    let state = knowing(look(100, vec![short(3), short(2), short(1)], vec![registered(3)]));
    let summary = &state.health.troubles[&Part::Renewing].failure.summary;
    assert!(summary.contains("created 3 versions"), "{summary}");
    assert!(matches!(step(&state, ZERO), CertificateStep::Wait(_)));
}

#[test]
fn the_probes_of_the_newest_version_outlive_a_look_and_those_of_another_do_not() {
    let trial_after = |nth, look| {
        let mut state = CertificateState { trial: Some(accepted(nth, 3)), ..CertificateState::default() };
        state.learn(look, &target());
        state.trial
    };
    assert!(trial_after(2, new_version(vec![1, 2])).is_some());
    assert!(trial_after(1, new_version(vec![1, 2])).is_none());
    let marked = look(50, vec![version(2, 50, Some(50))], vec![registered(2)]);
    assert!(trial_after(2, marked).is_none());
}

#[test]
fn a_version_that_was_created_a_day_ago_no_longer_counts() {
    let day = TimeDelta::days(1);
    let state = CertificateState { created: vec![ZERO, minutes(1)], ..CertificateState::default() };
    for (up, expected) in [(minutes(1), 2), (day - minutes(1), 2), (day, 1), (day + minutes(1), 0)] {
        assert_eq!(state.created_today(up), expected, "{up}");
    }
}

#[test]
fn a_person_can_ask_to_look_at_once() {
    let mut state = knowing(new_version(vec![1, 2]));
    state.health.failed(Part::Renewing, failure(Remedy::Retry, "x"), at(50), ZERO);
    assert!(matches!(step(&state, ZERO), CertificateStep::Wait(_)));
    state.hurry();
    assert_eq!(step(&state, ZERO), CertificateStep::Look);
}

#[test]
fn a_removal_that_failed_is_reported_until_nothing_is_left_to_remove() {
    let keys = || vec![registered(1), registered(2)];
    let replaced = || look(99, vec![version(2, 50, Some(51)), version(1, 0, Some(1))], keys());
    let mut state = knowing(replaced());
    state.health.failed(Part::Removing, failure(Remedy::Operator, "x"), at(99), ZERO);
    state.learn(replaced(), &target());
    assert!(state.health.troubles.contains_key(&Part::Removing));
    state.learn(
        look(99, vec![version(2, 50, Some(51)), version(1, 0, Some(1))], vec![registered(2)]),
        &target(),
    );
    assert!(state.health.troubles.is_empty());
}
