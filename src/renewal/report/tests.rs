//! Tests of what the report tells people about a renewal.

mod certificates;

use super::*;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use crate::renewal::health::{Part, RenewalHealth};
use crate::renewal::look::Reason;
use crate::renewal::samples::{at, key, listed, look, policy, target, version};
use crate::renewal::state::{Accepted, NewSecret, Trial};

const OURS: &str = "perennial vault/app-secret 0badcafe";

fn held() -> CredentialLook {
    look(vec![version("v1", Some(key(1)), 0)], vec![listed(1, OURS, 0)], &[1])
}

fn new(count: u32) -> RenewalAttempt {
    let minutes = TimeDelta::minutes(15);
    let accepted = Some(Accepted { first: TimeDelta::zero(), last: minutes, count });
    RenewalAttempt::New(Box::new(NewSecret {
        key_id: key(2),
        value: "a value".into(),
        ends: at(320),
        up: TimeDelta::zero(),
        since: at(140),
        trial: Trial { accepted, probed: None },
        was_sent: false,
    }))
}

#[test]
fn a_renewal_is_in_one_stage() {
    let lost = RenewalAttempt::Lost { name: "x".into(), up: TimeDelta::zero() };
    let unwanted = RenewalAttempt::Unwanted { key_id: key(2), reason: Reason::NotNeeded };
    let due = || CredentialLook { at: at(140), ..held() };
    for (attempt, look, expected) in [
        (None, None, RenewalStage::Starting),
        (None, Some(held()), RenewalStage::Waiting),
        (None, Some(due()), RenewalStage::Due),
        (Some(lost), Some(due()), RenewalStage::Trying),
        (Some(new(14)), Some(due()), RenewalStage::Trying),
        (Some(new(15)), Some(due()), RenewalStage::Saving),
        (Some(unwanted), None, RenewalStage::Removing),
    ] {
        let state = RenewalState { look, attempt, ..RenewalState::default() };
        assert_eq!(RenewalReport::of(&state, &target(), at(140)).stage, expected);
    }
}

#[test]
fn a_report_names_the_held_secret_its_end_and_the_next_renewal() {
    let mut look = look(
        vec![version("v1", Some(key(1)), 0)],
        vec![listed(1, OURS, 0), listed(3, "a stranger", 60)],
        &[1],
    );
    look.at = at(61);
    let state =
        RenewalState { look: Some(look), first_seen: Some([key(1)].into()), ..RenewalState::default() };

    let report = RenewalReport::of(&state, &target(), at(61));

    assert_eq!((report.key_id, report.ends), (Some(key(1)), Some(at(180))));
    assert_eq!(report.renews_at, Some(at(180) - policy().before));
    assert_eq!(report.strangers.iter().map(|one| one.key_id).collect::<Vec<_>>(), [key(3)]);
    let nothing = RenewalReport::of(&RenewalState::default(), &target(), at(61));
    assert_eq!((nothing.key_id, nothing.ends, nothing.strangers.len()), (None, None, 0));
}

#[test]
fn a_failure_that_may_pass_is_told_after_a_day_and_the_most_important_one_first() {
    let trouble = |is_told_at_once, day| RenewalTrouble {
        failure: Failure::new(
            Kind::AppCredentialRenewalFailed,
            Remedy::Retry,
            FailureSubject::AppCredential,
            format!("of day {day}"),
        ),
        is_told_at_once,
        since: at(day),
    };
    let told = |renewing, looking, now| {
        let troubles = [(Part::Renewing, renewing), (Part::Looking, looking)].into();
        let state =
            RenewalState { health: RenewalHealth { troubles, backoff: None }, ..RenewalState::default() };
        RenewalReport::of(&state, &target(), now).trouble.map(|trouble| trouble.since)
    };
    let second = TimeDelta::seconds(1);

    assert_eq!(told(trouble(false, 1), trouble(false, 2), at(2) - second), None);
    assert_eq!(told(trouble(false, 1), trouble(false, 2), at(2)), Some(at(1)));
    assert_eq!(told(trouble(false, 2), trouble(false, 1), at(2)), Some(at(1)), "the other is too new");
    assert_eq!(told(trouble(false, 3), trouble(true, 3), at(3)), Some(at(3)));
    assert_eq!(told(trouble(false, 1), trouble(true, 2), at(3)), Some(at(1)));
}

#[test]
fn each_secret_on_the_app_is_one_thing_to_perennial() {
    use Standing::{Held, MayBeHeld, NotSaved, Other, Superseded, Unknown};

    let all = vec![
        listed(1, OURS, 0),
        listed(2, OURS, 10),
        listed(3, OURS, 20),
        listed(4, "a stranger", 20),
        listed(5, "of another program", 0),
    ];
    let versions =
        |named: bool| vec![version("v2", named.then(|| key(2)), 10), version("v1", Some(key(1)), 0)];
    let strangers = [key(4)].into();
    let standings = |look: &CredentialLook| {
        let of = |one: &ListedSecret| Standing::of(one, look, &target(), &strangers);
        look.listed.values().map(of).collect::<Vec<_>>()
    };

    let named = look(versions(true), all.clone(), &[2]);
    assert_eq!(standings(&named), [Superseded, Held, NotSaved, Unknown, Other]);
    let unnamed = look(versions(false), all, &[2, 5]);
    assert_eq!(standings(&unnamed), [Superseded, MayBeHeld, NotSaved, Unknown, MayBeHeld]);
    let texts = [Held, MayBeHeld, Superseded, NotSaved, Unknown, Other].map(Standing::text);
    assert_eq!(texts, ["in use", "may be in use", "replaced", "not saved", "unknown", "not Perennial's"]);
}
