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

    // The incident ended for the last time at minute 380. So the hour without a change ends at minute 440.
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

/// Begins and ends an incident of this severity every ten minutes, until the sink gets a report of the flapping at
/// minute 50.
fn flapping(severity: Severity) -> (SinkState, Condition) {
    let of = Condition { severity, ..refused() };
    let mut ledger = SinkState::new(chat(), now());
    let mut last = Vec::new();
    for nth in 0..6 {
        let holding = if nth % 2 == 0 { vec![of.clone()] } else { Vec::new() };
        last = told(&mut ledger, &holding, now() + TimeDelta::minutes(nth * 10));
    }
    assert_eq!(last, [(EventKind::Flapping, Kind::LoginRequired)]);
    (ledger, of)
}

#[test]
fn a_flapping_incident_that_gets_graver_is_reported_at_once() {
    let (mut ledger, mild) = flapping(Severity::Warning);
    let at = now() + TimeDelta::minutes(51);

    assert_eq!(told(&mut ledger, &[mild], at), []);
    assert_eq!(told(&mut ledger, &[refused()], at), [(EventKind::Changed, Kind::LoginRequired)]);
    assert_eq!(told(&mut ledger, &[], at), [], "it flaps still");
}

#[test]
fn a_report_of_flapping_does_not_say_how_long_the_incident_lasted() {
    let mut ledger = SinkState::new(chat(), now());
    let mut lasted = Vec::new();
    for nth in 0..6 {
        let at = now() + TimeDelta::minutes(nth * 10);
        let holding = if nth % 2 == 0 { vec![refused()] } else { Vec::new() };
        for change in ledger.due(&[], &holding, at) {
            lasted.push((change.what, change.lasted.map(|lasted| lasted.num_minutes())));
            ledger.note(&change, at);
        }
    }

    assert_eq!(lasted[1], (EventKind::Resolved, Some(10)));
    assert_eq!(lasted.last(), Some(&(EventKind::Flapping, None)));
}

#[test]
fn the_quiet_hour_of_a_flapping_incident_is_no_longer_after_the_clock_was_set_back() {
    let (mut ledger, _) = flapping(Severity::Critical);
    let hour = TimeDelta::hours(1);

    // The clock is back at minute 0, so the recorded changes are in the future.
    assert_eq!(told(&mut ledger, &[], now()), []);
    assert_eq!(told(&mut ledger, &[], now() + hour - TimeDelta::seconds(1)), []);
    assert_eq!(told(&mut ledger, &[], now() + hour), [(EventKind::Resolved, Kind::LoginRequired)]);
}

#[test]
fn the_third_end_within_exactly_six_hours_is_no_flapping() {
    for (first, what) in [(-1, EventKind::Resolved), (0, EventKind::Resolved), (1, EventKind::Flapping)] {
        let mut ledger = SinkState::new(chat(), now());
        let last = TimeDelta::hours(6);
        let mut events = Vec::new();
        for end in [TimeDelta::seconds(first), TimeDelta::hours(3), last] {
            told(&mut ledger, &[refused()], now() + end - TimeDelta::minutes(1));
            events = told(&mut ledger, &[], now() + end);
        }
        assert_eq!(events, [(what, Kind::LoginRequired)], "the first end at second {first}");
    }
}

#[test]
fn one_more_day_of_flapping_is_reported_anew() {
    let (mut ledger, flaps) = flapping(Severity::Critical);
    let at = |minute| now() + TimeDelta::minutes(minute);

    assert_eq!(told(&mut ledger, &[], at(110)), [(EventKind::Resolved, Kind::LoginRequired)]);
    let mut events = Vec::new();
    for nth in 12..18 {
        let holding = if nth % 2 == 0 { vec![flaps.clone()] } else { Vec::new() };
        events.extend(told(&mut ledger, &holding, at(nth * 10)).into_iter().map(|(what, _)| what));
    }
    let [opened, resolved] = [EventKind::Opened, EventKind::Resolved];
    assert_eq!(events, [opened, resolved, opened, resolved, opened, EventKind::Flapping]);
}
