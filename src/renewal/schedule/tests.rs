//! Tests of a renewal's steps.

use super::*;
use crate::ports::client::CredentialVerdict;
use crate::ports::directory::ListedSecret;
use crate::renewal::samples::{at, key, listed, look, target, version};
use crate::renewal::state::{Accepted, Trial};
use crate::token::version::Version;

mod failures;

const OURS: &str = "perennial vault/app-secret 0badcafe";
const ZERO: TimeDelta = TimeDelta::zero();

fn minutes(count: i64) -> TimeDelta {
    TimeDelta::minutes(count)
}

/// Returns a look in which the renewal is due and Entra also lists a new secret.
fn due() -> CredentialLook {
    let mut due =
        look(vec![version("v1", Some(key(1)), 0)], vec![listed(1, OURS, 0), listed(2, OURS, 140)], &[1]);
    due.at = at(140);
    due
}

fn new_secret() -> NewSecret {
    NewSecret {
        key_id: key(2),
        value: "a value".into(),
        ends: at(320),
        up: ZERO,
        since: at(140),
        trial: Trial::default(),
        was_sent: false,
    }
}

fn settled() -> NewSecret {
    let accepted = Accepted { first: ZERO, last: minutes(15), count: 16 };
    NewSecret { trial: Trial { accepted: Some(accepted), probed: Some(minutes(15)) }, ..new_secret() }
}

fn trying(new: NewSecret, look: Option<CredentialLook>) -> RenewalState {
    RenewalState { attempt: Some(RenewalAttempt::New(Box::new(new))), look, ..RenewalState::default() }
}

fn at_rest(look: CredentialLook) -> RenewalState {
    RenewalState { look: Some(look), ..RenewalState::default() }
}

fn next(state: &RenewalState, up: TimeDelta) -> RenewalStep {
    target().next(state, up)
}

#[test]
fn a_secret_is_created_when_it_is_due_after_a_fresh_look() {
    assert_eq!(next(&RenewalState::default(), ZERO), RenewalStep::Look);
    assert_eq!(next(&at_rest(due()), minutes(5)), RenewalStep::Create);
    assert_eq!(next(&at_rest(due()), minutes(6)), RenewalStep::Look, "the look is old");
    let early = CredentialLook { at: at(100), ..due() };
    assert_eq!(next(&at_rest(early.clone()), minutes(5)), RenewalStep::Wait(LOOK_EVERY));
    assert_eq!(next(&at_rest(early), LOOK_EVERY), RenewalStep::Look);
}

#[test]
fn at_most_three_secrets_are_created_in_a_day() {
    let mut three = due();
    three.listed.extend([3, 4].map(|nth| (key(nth), listed(nth, OURS, 140))));
    assert_eq!(next(&at_rest(three), ZERO), RenewalStep::Wait(LOOK_EVERY), "as Entra lists them");

    let mut state = at_rest(due());
    state.created = vec![ZERO, ZERO, ZERO];
    assert_eq!(next(&state, ZERO), RenewalStep::Wait(LOOK_EVERY), "as this process remembers them");
    let later = TimeDelta::days(1);
    state.look = Some(CredentialLook { up: later, ..due() });
    assert_eq!(next(&state, later), RenewalStep::Create);
}

#[test]
fn a_new_secret_is_probed_each_minute_for_a_quarter_of_an_hour() {
    let mut new = new_secret();
    let mut up = ZERO;
    let mut probes = 0;
    while !new.trial.is_settled() {
        assert_eq!(next(&trying_same(&new), up), RenewalStep::Probe);
        new.trial.note(CredentialVerdict::Accepted, up);
        probes += 1;
        if !new.trial.is_settled() {
            assert_eq!(next(&trying_same(&new), up), RenewalStep::Wait(up + minutes(1)));
        }
        up += minutes(1);
    }
    assert_eq!((probes, up), (16, minutes(16)));
}

fn trying_same(new: &NewSecret) -> RenewalState {
    let trial = new.trial;
    trying(NewSecret { trial, ..new_secret() }, Some(due()))
}

#[test]
fn a_rejection_begins_the_probes_again_and_a_missing_answer_does_not() {
    for (verdict, settles) in [
        (CredentialVerdict::Rejected, false),
        (CredentialVerdict::NoAnswer, true),
        (CredentialVerdict::Untested, true),
    ] {
        let mut new = new_secret();
        for minute in 0..=16 {
            new.trial.note(if minute == 8 { verdict } else { CredentialVerdict::Accepted }, minutes(minute));
        }
        assert_eq!(new.trial.is_settled(), settles, "{verdict:?}");
    }
    let mut quick = new_secret();
    for second in 0..30 {
        quick.trial.note(CredentialVerdict::Accepted, TimeDelta::seconds(second));
    }
    assert!(!quick.trial.is_settled(), "many probes in a short time prove little");
    let mut rare = new_secret();
    for minute in [0, 10, 20] {
        rare.trial.note(CredentialVerdict::Accepted, minutes(minute));
    }
    assert!(!rare.trial.is_settled(), "few probes in a long time prove little");
}

#[test]
fn a_secret_that_does_not_settle_within_an_hour_is_removed() {
    let state = trying(new_secret(), Some(due()));
    assert_eq!(next(&state, minutes(59)), RenewalStep::Probe);
    assert_eq!(next(&state, minutes(60)), RenewalStep::Remove(key(2), Reason::NotSettled));
    let state = trying(settled(), Some(CredentialLook { up: minutes(61), ..due() }));
    assert_eq!(next(&state, minutes(61)), RenewalStep::Save, "a settled one is kept");
}

#[test]
fn a_settled_secret_is_saved_only_after_another_look() {
    let saved_at = |look: Option<CredentialLook>, up| next(&trying(settled(), look), up);
    assert_eq!(saved_at(None, minutes(16)), RenewalStep::Look);
    assert_eq!(saved_at(Some(CredentialLook { up: minutes(16), ..due() }), minutes(16)), RenewalStep::Save);
    assert_eq!(
        saved_at(Some(CredentialLook { up: minutes(16), ..due() }), minutes(22)),
        RenewalStep::Look,
        "the look is old"
    );

    let mut changed = trying(settled(), Some(CredentialLook { up: minutes(16), ..due() }));
    changed.must_look = true;
    assert_eq!(next(&changed, minutes(16)), RenewalStep::Look, "something changed");

    let renewed = vec![version("v2", Some(key(3)), 140), version("v1", Some(key(1)), 0)];
    let by_another = look(renewed, vec![listed(2, OURS, 140), listed(3, OURS, 140)], &[3]);
    let by_another = CredentialLook { up: minutes(16), at: at(140), ..by_another };
    assert_eq!(saved_at(Some(by_another), minutes(16)), RenewalStep::Remove(key(2), Reason::NotNeeded));
    let late = CredentialLook { up: minutes(16), at: at(140) + SAVED_WITHIN, ..due() };
    assert_eq!(saved_at(Some(late), minutes(16)), RenewalStep::Remove(key(2), Reason::NotSaved));
}

#[test]
fn a_superseded_secret_is_removed_only_while_entra_accepts_the_held_one() {
    let versions = vec![version("v2", Some(key(2)), 140), version("v1", Some(key(1)), 0)];
    let both = || vec![listed(1, OURS, 0), listed(2, OURS, 140)];
    let after = |accepted| {
        let look = look(versions.clone(), both(), &[2]);
        at_rest(CredentialLook { at: at(147), held_is_accepted: accepted, ..look })
    };
    assert_eq!(next(&after(None), ZERO), RenewalStep::TryHeld);
    assert_eq!(next(&after(Some(true)), ZERO), RenewalStep::Remove(key(1), Reason::Superseded));
    assert_eq!(next(&after(Some(true)), minutes(6)), RenewalStep::Look, "the look is old");
    for up in [ZERO, minutes(6)] {
        assert_eq!(next(&after(Some(false)), up), RenewalStep::Wait(LOOK_EVERY));
    }
}

#[test]
fn a_lost_creation_is_looked_for_until_the_list_must_show_it() {
    let lost = || RenewalAttempt::Lost { name: "perennial vault/app-secret 1".to_owned(), up: ZERO };
    let mut state =
        RenewalState { attempt: Some(lost()), look: Some(due()), must_look: true, ..RenewalState::default() };
    assert_eq!(next(&state, minutes(1)), RenewalStep::Look);
    let seen_at = |up, found: &[ListedSecret]| {
        let mut look = CredentialLook { up, ..due() };
        look.listed.extend(found.iter().map(|one| (one.key_id, one.clone())));
        look
    };
    state.learn(seen_at(minutes(1), &[]), &target());
    assert_eq!(next(&state, minutes(1)), RenewalStep::Wait(SETTLED_AFTER), "the list may lag");
    assert_eq!(next(&state, minutes(15)), RenewalStep::Look);
    state.learn(seen_at(minutes(15), &[]), &target());
    assert!(state.attempt.is_none(), "nothing was created");

    state.attempt = Some(lost());
    state.must_look = true;
    state.learn(seen_at(minutes(2), &[listed(5, "perennial vault/app-secret 1", 140)]), &target());
    assert_eq!(next(&state, minutes(2)), RenewalStep::Remove(key(5), Reason::AnswerLost));
}

#[test]
fn a_lost_save_is_found_by_its_key_id_and_repeated_otherwise() {
    let lost = || NewSecret { was_sent: true, ..settled() };
    let mut state = trying(lost(), None);
    let with = |newest: Option<Version>, at: Timestamp| {
        let versions = newest.into_iter().chain([version("v1", Some(key(1)), 0)]).collect();
        let all = vec![listed(1, OURS, 0), listed(2, OURS, 140), listed(3, OURS, 140)];
        CredentialLook { up: minutes(17), at, ..look(versions, all, &[1, 3]) }
    };
    state.learn(with(Some(version("v2", Some(key(2)), 140)), at(140)), &target());
    assert!(state.attempt.is_none() && state.health.troubles.is_empty());

    state = trying(lost(), None);
    state.learn(with(None, at(140)), &target());
    assert_eq!(next(&state, minutes(17)), RenewalStep::Save);

    // If the answer to the save was lost, the vault may still save the secret. So the attempt ends, and Perennial does
    // not remove the secret yet.
    for (case, newest, at) in [
        ("another instance was first", Some(version("v2", Some(key(3)), 140)), at(140)),
        ("it is too late", None, at(140) + SAVED_WITHIN),
    ] {
        state = trying(settled(), None);
        state.learn(with(newest.clone(), at), &target());
        assert!(state.attempt.is_some(), "{case}: it was not sent, so it is removed");
        state = trying(lost(), None);
        state.learn(with(newest, at), &target());
        assert!(state.attempt.is_none(), "{case}");
    }
}

#[test]
fn a_secret_that_somebody_removed_before_it_was_saved_is_given_up() {
    let mut state = trying(settled(), None);
    let mut look = CredentialLook { up: minutes(16), ..due() };
    look.listed.remove(&key(2));
    state.learn(look.clone(), &target());
    assert!(state.attempt.is_none() && state.health.troubles.contains_key(&Part::Renewing));

    let mut state = trying(new_secret(), None);
    state.learn(look, &target());
    assert!(state.attempt.is_some(), "the list may lag behind the creation");
}

#[test]
fn another_writer_is_told_instead_of_more_secrets() {
    let mut state = RenewalState::default();
    let by_hand = vec![version("v2", None, 141), version("v1", Some(key(2)), 140)];
    let look = CredentialLook { at: at(142), ..look(by_hand, vec![listed(2, OURS, 140)], &[]) };
    state.learn(look, &target());
    assert_eq!(next(&state, ZERO), RenewalStep::Wait(LOOK_EVERY));
    let summary = &state.health.troubles[&Part::Renewing].failure.summary;
    assert!(summary.contains("another writer replaced the renewed client secret (version v1"), "{summary}");
    let action = state.health.troubles[&Part::Renewing].failure.action.as_deref();
    assert!(action.is_some_and(|action| action.contains("then store the value of version v1 again")));
}

#[test]
fn an_unwanted_secret_is_removed_after_a_look_at_the_present() {
    let unwanted = || Some(RenewalAttempt::Unwanted { key_id: key(2), reason: Reason::NotTried });
    for (look, must_look, expected) in [
        (None, false, RenewalStep::Look),
        (Some(due()), true, RenewalStep::Look),
        (Some(due()), false, RenewalStep::Remove(key(2), Reason::NotTried)),
    ] {
        let state = RenewalState { attempt: unwanted(), look, must_look, ..RenewalState::default() };
        assert_eq!(next(&state, minutes(1)), expected);
    }
    for (lists_it, is_over) in [(true, false), (false, true)] {
        let mut look = due();
        if !lists_it {
            look.listed.remove(&key(2));
        }
        let mut state = RenewalState { attempt: unwanted(), ..RenewalState::default() };
        state.learn(look, &target());
        assert_eq!(state.attempt.is_none(), is_over);
    }
}

#[test]
fn the_age_of_a_new_secret_and_of_a_look_count_from_their_own_beginning() {
    let hour = minutes(60);
    let young = trying(NewSecret { up: hour, ..new_secret() }, Some(due()));
    assert_eq!(next(&young, minutes(119)), RenewalStep::Probe);
    assert_eq!(next(&young, minutes(120)), RenewalStep::Remove(key(2), Reason::NotSettled));
    let probed = trying(
        NewSecret { trial: Trial { accepted: None, probed: Some(minutes(3)) }, ..new_secret() },
        Some(due()),
    );
    assert_eq!(next(&probed, minutes(4)), RenewalStep::Probe);
    // The renewal becomes due two minutes after the look.
    let early = CredentialLook { at: at(135) - minutes(2), up: hour, ..due() };
    assert_eq!(next(&at_rest(early.clone()), minutes(61)), RenewalStep::Wait(hour + LOOK_EVERY));
    assert_eq!(next(&at_rest(early.clone()), minutes(62)), RenewalStep::Create);
    assert_eq!(next(&at_rest(early), minutes(66)), RenewalStep::Look);
}

#[test]
fn a_forced_renewal_is_due_and_ignores_another_writer() {
    let by_hand = vec![version("v2", None, 141), version("v1", Some(key(2)), 140)];
    let look = CredentialLook { at: at(142), ..look(by_hand, vec![listed(2, OURS, 140)], &[]) };
    let forced = Target { is_forced: true, ..target() };
    assert!(forced.is_due(&look, look.at));
    assert!(target().overwritten(&look, look.at).is_some() && forced.overwritten(&look, look.at).is_none());
    let fine = self::look(vec![version("v1", Some(key(1)), 0)], vec![listed(1, OURS, 0)], &[1]);
    assert!(forced.is_due(&fine, at(1)) && !target().is_due(&fine, at(1)));
}

#[test]
fn an_attempt_is_about_one_secret() {
    let unwanted = RenewalAttempt::Unwanted { key_id: key(2), reason: Reason::NotNeeded };
    let lost = RenewalAttempt::Lost { name: "x".into(), up: ZERO };
    for (attempt, is_of) in
        [(RenewalAttempt::New(Box::new(new_secret())), true), (unwanted, true), (lost, false)]
    {
        assert_eq!((attempt.is_of(key(2)), attempt.is_of(key(3))), (is_of, false), "{attempt:?}");
    }
}
