//! Tests of the waits between notifications, and of changes that cause no notification.

use super::*;

const CHANGED: (EventKind, Kind) = (EventKind::Changed, Kind::EntraUnreachable);

fn second() -> TimeDelta {
    TimeDelta::seconds(1)
}

fn outage(tokens: &[&str]) -> [Condition; 1] {
    [condition(Kind::EntraUnreachable, Severity::Warning, tokens, now())]
}

#[test]
fn the_wait_for_tokens_that_join_doubles_with_each_report() {
    let mut ledger = SinkState::new(chat(), now());
    told(&mut ledger, &outage(&["a"]), now());
    let names = ["a", "b", "c", "d", "e"];
    let mut at = now();
    for (known, minutes) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        let joined = outage(&names[..=known]);
        let due_at = at + TimeDelta::minutes(minutes);
        assert_eq!(told(&mut ledger, &joined, due_at - second()), [], "{minutes} minutes");
        assert_eq!(ledger.next_at(at), Some(due_at));
        assert_eq!(told(&mut ledger, &joined, due_at), [CHANGED], "{minutes} minutes");
        at = due_at;
    }

    let reminder = (EventKind::Reminder, Kind::EntraUnreachable);
    let tomorrow = at + REMIND_EVERY;
    assert_eq!(told(&mut ledger, &outage(&names), tomorrow), [reminder]);
    assert_eq!(ledger.next_at(tomorrow), Some(tomorrow + JOIN_WAIT), "a reminder ends the long waits");
}

#[test]
fn the_next_look_is_after_now() {
    let mut ledger = SinkState::new(chat(), now());
    assert_eq!(ledger.next_at(now()), None);
    told(&mut ledger, &outage(&["a"]), now());

    assert_eq!(ledger.next_at(now()), Some(now() + JOIN_WAIT));
    assert_eq!(ledger.next_at(now() + JOIN_WAIT), Some(now() + REMIND_EVERY));
    assert_eq!(ledger.next_at(now() + REMIND_EVERY), None);
}

#[test]
fn owners_that_come_with_new_tokens_wait_as_these_tokens_do() {
    let mut ledger = SinkState::new(chat(), now());
    let owned = |tokens: &[&str], owners: &[&str]| {
        let owners: Vec<String> = owners.iter().map(|owner| (*owner).to_owned()).collect();
        outage(tokens).map(|told| Condition { owners: owners.clone(), ..told })
    };
    told(&mut ledger, &owned(&["a"], &["Ann"]), now());

    let joined = owned(&["a", "b"], &["Ann", "Ben"]);
    assert_eq!(told(&mut ledger, &joined, now() + second()), []);
    assert_eq!(told(&mut ledger, &joined, now() + JOIN_WAIT), [CHANGED]);
}

/// When the notifications were sent, the clock was a month ahead. Then the clock is corrected.
#[test]
fn no_wait_is_longer_after_the_clock_was_set_back() {
    let ahead = now() + TimeDelta::days(30);
    let reported = || {
        let mut ledger = SinkState::new(chat(), ahead);
        told(&mut ledger, &outage(&["a"]), ahead);
        ledger
    };

    let mut ledger = reported();
    assert_eq!(told(&mut ledger, &outage(&["a"]), now()), []);
    assert_eq!(told(&mut ledger, &outage(&["a"]), now() + REMIND_EVERY - second()), []);
    let reminder = (EventKind::Reminder, Kind::EntraUnreachable);
    assert_eq!(told(&mut ledger, &outage(&["a"]), now() + REMIND_EVERY), [reminder]);

    let (mut joined, longest) = (reported(), TimeDelta::minutes(1024));
    assert_eq!(told(&mut joined, &outage(&["a", "b"]), now()), []);
    assert_eq!(told(&mut joined, &outage(&["a", "b"]), now() + longest - second()), []);
    assert_eq!(told(&mut joined, &outage(&["a", "b"]), now() + longest), [CHANGED]);

    let late = outage(&["a"]).map(|told| Condition { remedy: Remedy::Retry, ..told });
    let mut pending = SinkState::new(chat(), ahead);
    assert_eq!(told(&mut pending, &late, ahead), []);
    assert_eq!(told(&mut pending, &late, now()), []);
    let opened = (EventKind::Opened, Kind::EntraUnreachable);
    assert_eq!(told(&mut pending, &late, now() + HELD_FOR), [opened]);
}

#[test]
fn a_condition_that_may_pass_is_reported_after_thirty_seconds() {
    let late = outage(&["a"]).map(|told| Condition { remedy: Remedy::Retry, ..told });
    let mut ledger = SinkState::new(chat(), now());

    assert_eq!(told(&mut ledger, &late, now()), []);
    assert_eq!(told(&mut ledger, &late, now() + HELD_FOR - second()), []);
    assert_eq!(told(&mut ledger, &late, now() + HELD_FOR), [(EventKind::Opened, Kind::EntraUnreachable)]);
}

/// The previous process has reported the incident to the sink and has left a mark. This mark stays in the snapshot
/// during the whole test.
#[test]
fn an_adopted_incident_is_treated_like_one_of_this_process() {
    let noted = [works(Some(told_before(&chat(), Kind::LoginRequired)))];
    let mut ledger = SinkState::new(chat(), now());
    let mut events = |holding: &[Condition], minutes| {
        let at = now() + TimeDelta::minutes(minutes);
        let due = ledger.due(&noted, holding, at);
        for change in &due {
            ledger.note(change, at);
        }
        due.iter().map(|change| change.what).collect::<Vec<_>>()
    };
    let changed = Condition { remedy: Remedy::Operator, ..refused() };

    assert_eq!(events(&[refused()], 0), []);
    assert_eq!(events(std::slice::from_ref(&changed), 1), [EventKind::Changed]);
    assert_eq!(events(&[changed], 2), []);
    assert_eq!(events(&[], 3), [EventKind::Resolved]);
    assert_eq!(events(&[refused()], 4), [EventKind::Opened], "it is a new incident");
}

#[test]
fn an_adopted_incident_is_reminded_of_on_whole_days_after_its_start() {
    let noted = [works(Some(told_before(&chat(), Kind::LoginRequired)))];
    for (age, first) in [(0, 24), (1, 23), (24, 24), (30, 18), (47, 1)] {
        let old = Condition { since: now() - TimeDelta::hours(age), ..refused() };
        let mut ledger = SinkState::new(chat(), now());

        assert_eq!(ledger.due(&noted, std::slice::from_ref(&old), now()), [], "{age} hours");
        assert_eq!(ledger.next_at(now()), Some(now() + TimeDelta::hours(first)), "{age} hours");
    }
}

#[test]
fn a_notification_is_dated_by_its_day() {
    let midnight = Timestamp::from_timestamp(20_486 * 86_400, 0).expect("in range");
    for (at, day) in [(midnight - second(), 20_485), (midnight, 20_486)] {
        let due = SinkState::new(chat(), at).due(&[], &[refused()], at);
        assert_eq!(due.iter().map(|told| told.day).collect::<Vec<_>>(), [day]);
    }
}

#[test]
fn a_sinks_own_delivery_failure_is_never_sent_to_it() {
    let here = samples::grant("a").deployment;
    let mut ledger = SinkState::new(chat(), now());
    let own = sink_health::undeliverable("chat", &here, "x", (Severity::Critical, now()));

    assert_eq!(told(&mut ledger, &[own], now()), []);
}
