//! Tests of the notifications about an incident that begins and ends repeatedly.

use chrono::TimeDelta;

use crate::alert::rules::tests::{chat, now, refused, told};
use crate::alert::rules::{EventKind, SinkState};
use crate::ports::failure::Kind;
use crate::status::condition::{Condition, Severity};

#[test]
fn three_ends_in_six_hours_are_reported_once_as_flapping() {
    let minutes = TimeDelta::minutes;
    let kinds = |told: Vec<(EventKind, Kind)>| told.into_iter().map(|(what, _)| what).collect::<Vec<_>>();
    let mut ledger = SinkState::new(chat(), now());
    let mut all = Vec::new();
    for nth in 0..20 {
        let holding = if nth % 2 == 0 { vec![refused()] } else { Vec::new() };
        all.extend(kinds(told(&mut ledger, &holding, now() + minutes(nth * 20))));
    }
    assert_eq!(
        all,
        [
            EventKind::Opened,
            EventKind::Resolved,
            EventKind::Opened,
            EventKind::Resolved,
            EventKind::Opened,
            EventKind::Flapping
        ]
    );

    // The incident ended for good at minute 380.
    assert_eq!(kinds(told(&mut ledger, &[], now() + minutes(439))), []);
    assert_eq!(ledger.next_at(now() + minutes(439)), Some(now() + minutes(440)));
    assert_eq!(kinds(told(&mut ledger, &[], now() + minutes(440))), [EventKind::Resolved]);
    assert_eq!(
        kinds(told(&mut ledger, &[refused()], now() + minutes(441))),
        [EventKind::Opened],
        "told like any other"
    );
}

#[test]
fn a_flapping_incident_is_reported_again_after_an_hour_without_change() {
    let minutes = TimeDelta::minutes;
    let mut ledger = SinkState::new(chat(), now());
    for nth in 0..7 {
        let holding = if nth % 2 == 0 { vec![refused()] } else { Vec::new() };
        told(&mut ledger, &holding, now() + minutes(nth * 10));
    }
    let graver = Condition { severity: Severity::Critical, ..refused() };
    assert_eq!(told(&mut ledger, std::slice::from_ref(&graver), now() + minutes(119)), []);
    let after = told(&mut ledger, &[graver], now() + minutes(120));
    assert_eq!(after, [(EventKind::Reminder, Kind::LoginRequired)]);
}

#[test]
fn an_incident_that_ends_rarely_does_not_flap() {
    let mut ledger = SinkState::new(chat(), now());
    let ends = (0..10).filter(|nth| {
        let at = now() + TimeDelta::hours(nth * 3);
        told(&mut ledger, &[refused()], at);
        told(&mut ledger, &[], at + TimeDelta::hours(1)) == [(EventKind::Resolved, Kind::LoginRequired)]
    });
    assert_eq!(ends.count(), 10);
}
