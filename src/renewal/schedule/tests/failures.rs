//! Tests of the failures of a renewal: what is reported, since when, and how long the next step waits.

use super::*;

#[test]
fn waits_double_up_to_an_hour_while_a_part_fails() {
    let mut state = RenewalState::default();
    let waits: Vec<i64> = (0..9)
        .map(|_| {
            state.health.failed(Part::Renewing, failure(Remedy::Retry, "x"), at(0), ZERO);
            state.health.succeeded(Part::Looking);
            let RenewalStep::Wait(until) = next(&state, ZERO) else { panic!("it waits") };
            until.num_minutes()
        })
        .collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    state.hurry();
    assert_eq!(next(&state, ZERO), RenewalStep::Look);
    state.health.succeeded(Part::Renewing);
    state.health.failed(Part::Renewing, failure(Remedy::Retry, "x"), at(0), ZERO);
    assert_eq!(next(&state, ZERO), RenewalStep::Wait(minutes(1)), "the waits begin again");
}

#[test]
fn a_failure_keeps_its_beginning_and_ends_with_its_part() {
    let mut state = RenewalState::default();
    state.health.failed(Part::Looking, failure(Remedy::Retry, "a"), at(1), ZERO);
    state.health.failed(Part::Looking, failure(Remedy::Retry, "b"), at(2), ZERO);
    let trouble = &state.health.troubles[&Part::Looking];
    assert_eq!((trouble.since, &*trouble.failure.summary), (at(1), "b"));
    state.learn(due(), &target());
    assert!(state.health.troubles.is_empty());
}

#[test]
fn a_secret_that_was_given_up_is_told_at_once_and_delays_the_next_step() {
    let mut state = RenewalState::default();
    state.gave_up(Reason::NotSettled, at(1), minutes(5));
    let trouble = &state.health.troubles[&Part::Renewing];

    assert!(trouble.is_told_at_once && trouble.since == at(1));
    let summary = "Perennial removed the new client secret without using it: \
        after an hour, Entra still rejected the secret in some or all tests";
    assert_eq!(&*trouble.failure.summary, summary);
    assert_eq!(next(&state, minutes(5)), RenewalStep::Wait(minutes(6)));
    assert_eq!(next(&state, minutes(6)), RenewalStep::Look);
}

#[test]
fn only_a_failure_that_may_pass_is_told_later() {
    for (remedy, at_once) in [(Remedy::Retry, false), (Remedy::Operator, true), (Remedy::Login, true)] {
        let mut state = RenewalState::default();
        state.health.failed(Part::Looking, failure(remedy, "x"), at(0), ZERO);
        assert_eq!(state.health.troubles[&Part::Looking].is_told_at_once, at_once, "{remedy:?}");
    }
}

#[test]
fn a_pause_that_entra_asks_for_delays_the_next_step_by_at_most_an_hour() {
    for (asked, waits) in [(30, 1), (600, 10), (7_200, 60)] {
        let mut state = RenewalState::default();
        let retry_after = Some(std::time::Duration::from_secs(asked));
        state.health.failed(
            Part::Looking,
            Failure { retry_after, ..failure(Remedy::Retry, "x") },
            at(0),
            ZERO,
        );
        assert_eq!(next(&state, ZERO), RenewalStep::Wait(minutes(waits)), "{asked}");
    }
}

#[test]
fn three_secrets_that_could_not_be_used_are_told_once() {
    let spent = || {
        let mut look = due();
        look.listed.extend([3, 4].map(|nth| (key(nth), listed(nth, OURS, 140))));
        look
    };
    let mut state = RenewalState::default();
    state.learn(spent(), &target());
    let summary = |state: &RenewalState| state.health.troubles[&Part::Renewing].failure.summary.clone();
    assert_eq!(summary(&state), "3 client secrets were created within a day, and none could be used");

    state.health.failed(Part::Renewing, failure(Remedy::Retry, "another failure"), at(141), ZERO);
    state.learn(spent(), &target());
    assert_eq!(summary(&state), "another failure", "it says more");
    assert_eq!(state.created_today(ZERO), 0);
    state.created = vec![ZERO, minutes(1)];
    assert_eq!(state.created_today(TimeDelta::days(1)), 1, "for exactly a day");
}

#[test]
fn a_failure_ends_only_when_what_failed_works() {
    let fine = || {
        let one = look(vec![version("v1", Some(key(1)), 0)], vec![listed(1, OURS, 0)], &[1]);
        CredentialLook { at: at(1), ..one }
    };
    let superseded = || {
        let versions = vec![version("v2", Some(key(2)), 140), version("v1", Some(key(1)), 0)];
        let look = look(versions, vec![listed(1, OURS, 0), listed(2, OURS, 140)], &[2]);
        CredentialLook { at: at(147), ..look }
    };
    for (look, parts) in [(fine(), &[][..]), (superseded(), &[Part::Removing]), (due(), &[Part::Renewing])] {
        let mut state = RenewalState::default();
        for part in [Part::Renewing, Part::Looking, Part::Removing] {
            state.health.failed(part, failure(Remedy::Retry, "x"), at(0), ZERO);
        }
        state.learn(look, &target());
        assert_eq!(state.health.troubles.keys().copied().collect::<Vec<_>>(), parts);
        assert_eq!(state.health.backoff.is_none(), parts.is_empty(), "the wait ends with the last failure");
    }
}
