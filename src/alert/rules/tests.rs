//! Tests of the alert rules: what a sink receives, and when.

use super::*;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy, Trace};
use crate::rotation::samples;

use super::before::tests::{told_before, works};
use crate::alert::forms;
use crate::alert::sink::Destination;
use crate::net::address::TargetUrl;
use crate::rotation::state::State;
use crate::status::condition::Cause;
use crate::status::samples::snapshot;
use crate::token::managed::ManagedToken;
use crate::token::secret::Source;

mod limits;

pub(super) fn now() -> Timestamp {
    Timestamp::from_timestamp(1_770_000_000, 0).expect("in range")
}

pub(super) fn chat() -> Sink {
    Sink {
        name: "chat".into(),
        to: Destination::Slack { url: Source::Env("URL".into()) },
        min_severity: Severity::Warning,
        tokens: Vec::new(),
    }
}

pub(super) fn pager() -> Sink {
    let routing_key = Source::Env("KEY".into());
    let endpoint = TargetUrl::parse("https://x").expect("a URL");
    Sink { to: Destination::PagerDuty { routing_key, endpoint }, ..chat() }
}

fn condition(kind: Kind, severity: Severity, tokens: &[&str], since: Timestamp) -> Condition {
    let cause = Cause::token(&samples::address("token"));
    Condition {
        tokens: tokens.iter().map(|token| (*token).to_owned()).collect(),
        runway_seconds: Some(0),
        trace: Trace::of(50173),
        ..Condition::new(kind, &cause, (severity, Remedy::Login), since)
    }
    .with_texts("as told".into(), "sign in".into())
}

pub(super) fn refused() -> Condition {
    condition(Kind::LoginRequired, Severity::Critical, &["a"], now())
}

/// Returns the event and the condition's kind of each due notification, and records each as delivered.
pub(super) fn told(ledger: &mut SinkState, holding: &[Condition], at: Timestamp) -> Vec<(EventKind, Kind)> {
    let due = ledger.due(&[], holding, at);
    for change in &due {
        ledger.note(change, at);
    }
    due.iter().map(|change| (change.what, change.condition.kind)).collect()
}

#[test]
fn an_incident_is_reported_once_then_daily_then_as_resolved() {
    let mut ledger = SinkState::new(chat(), now());
    let minute = TimeDelta::minutes(1);

    assert_eq!(told(&mut ledger, &[refused()], now()), [(EventKind::Opened, Kind::LoginRequired)]);
    for quiet in [minute, REMIND_EVERY - minute] {
        assert_eq!(told(&mut ledger, &[refused()], now() + quiet), []);
    }
    assert_eq!(ledger.next_at(now() + minute * 2), Some(now() + REMIND_EVERY));
    let tomorrow = now() + REMIND_EVERY;
    assert_eq!(told(&mut ledger, &[refused()], tomorrow), [(EventKind::Reminder, Kind::LoginRequired)]);
    assert_eq!(told(&mut ledger, &[refused()], tomorrow + minute), []);
    assert_eq!(told(&mut ledger, &[], tomorrow + minute * 2), [(EventKind::Resolved, Kind::LoginRequired)]);
    assert_eq!(told(&mut ledger, &[], tomorrow + minute * 3), []);
}

#[test]
fn a_failed_delivery_stays_due_unless_the_condition_has_cleared() {
    let mut ledger = SinkState::new(chat(), now());
    let first = ledger.due(&[], &[refused()], now());

    let later = now() + TimeDelta::hours(1);
    assert_eq!(
        ledger.due(&[], &[refused()], later).first().map(Notification::id),
        first.first().map(Notification::id)
    );
    assert_eq!(ledger.due(&[], &[], later), []);
}

#[test]
fn a_higher_severity_is_reported_at_once_and_a_lower_one_is_not() {
    let of = |severity| condition(Kind::Overdue, severity, &["a"], now());
    let mut ledger = SinkState::new(chat(), now());
    told(&mut ledger, &[of(Severity::Warning)], now());

    let soon = now() + TimeDelta::seconds(1);
    assert_eq!(told(&mut ledger, &[of(Severity::Critical)], soon), [(EventKind::Changed, Kind::Overdue)]);
    assert_eq!(told(&mut ledger, &[of(Severity::Warning)], soon), []);
}

#[test]
fn tokens_that_join_one_by_one_are_reported_at_growing_intervals() {
    let names: Vec<String> = (0..600).map(|n| format!("t{n}")).collect();
    let mut ledger = SinkState::new(chat(), now());
    let mut messages = 0;

    for n in 0..names.len() {
        let joined: Vec<&str> = names[..=n].iter().map(String::as_str).collect();
        let outage = condition(Kind::EntraUnreachable, Severity::Warning, &joined, now());
        let at = now() + TimeDelta::minutes(i64::try_from(n).expect("small"));
        messages += told(&mut ledger, &[outage], at).len();
    }

    assert!((3..=12).contains(&messages), "{messages} in ten hours");
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let outage = condition(Kind::EntraUnreachable, Severity::Warning, &all, now());
    let late = told(&mut ledger, &[outage], now() + REMIND_EVERY);
    assert_eq!(late.len(), 1, "the last ones are told too");
}

#[test]
fn a_token_that_leaves_an_incident_may_join_again() {
    let of = |tokens: &[&str]| condition(Kind::EntraUnreachable, Severity::Warning, tokens, now());
    let mut ledger = SinkState::new(chat(), now());
    told(&mut ledger, &[of(&["a", "b"])], now());

    assert_eq!(told(&mut ledger, &[of(&["a"])], now() + TimeDelta::minutes(5)), []);
    let back = told(&mut ledger, &[of(&["a", "b"])], now() + TimeDelta::minutes(6));
    assert_eq!(back, [(EventKind::Changed, Kind::EntraUnreachable)]);
}

/// Creates the snapshot of a token whose vault denies access. The token has an owner and an app secret that expires in
/// `days` days.
fn refused_by_vault(name: &str, days: i64) -> Snapshot {
    let refused = "Key Vault refused to read this secret";
    let failure = Failure::new(Kind::VaultRefused, Remedy::Operator, FailureSubject::Token, refused);
    let state = samples::proved(samples::version("v", now()), now());
    let app_secret_expires = Some(now() + TimeDelta::days(days));
    let state = State { app_secret_expires, ..samples::failed(state, failure, now(), 1) };
    let secret = samples::address(name);
    let owner = Some(format!("{name}'s operator"));
    snapshot(ManagedToken { secret, owner, ..samples::grant(name) }, &state, now(), now())
}

#[test]
fn a_sink_limited_to_some_tokens_sees_no_others() {
    let all =
        [refused_by_vault("fabrikam", 3), refused_by_vault("contoso", 60), refused_by_vault("tailspin", 70)];
    let holding: Vec<Condition> = condition::conditions(&all, TimeDelta::zero(), now())
        .into_iter()
        .filter(|told| told.kind == Kind::VaultRefused)
        .collect();
    assert_eq!(holding.len(), 1, "one vault, one incident");
    assert_eq!((holding[0].severity, holding[0].tokens.len()), (Severity::Critical, 3));
    let narrowed = |tokens: &[&str], min_severity| {
        let tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
        let sink = Sink { min_severity, tokens, ..chat() };
        SinkState::new(sink, now()).due(&all, &holding, now())
    };

    let [told] = narrowed(&["con*o", "TAILSPIN"], Severity::Warning).try_into().expect("one");
    let told = told.condition;
    assert_eq!(told.id, holding[0].id, "the same incident");
    assert_eq!((told.tokens, told.severity), (vec!["contoso".into(), "tailspin".into()], Severity::Warning));
    assert_eq!(told.owners, ["contoso's operator", "tailspin's operator"]);
    assert_eq!(told.runway_seconds, Some(TimeDelta::days(60).num_seconds()));
    assert!(
        !format!("{}{}", told.summary, told.action).contains("fabrikam"),
        "{} {}",
        told.summary,
        told.action
    );

    assert_eq!(narrowed(&["contoso"], Severity::Critical), [], "only fabrikam's end is near");
    assert_eq!(narrowed(&["nobody"], Severity::Warning), []);
}

#[test]
fn a_reported_incident_does_not_end_when_its_severity_falls() {
    let mut ledger = SinkState::new(Sink { min_severity: Severity::Critical, ..chat() }, now());
    let of = |severity| [condition(Kind::Overdue, severity, &["a"], now())];

    assert_eq!(told(&mut ledger, &of(Severity::Warning), now()), []);
    assert_eq!(told(&mut ledger, &of(Severity::Critical), now()), [(EventKind::Opened, Kind::Overdue)]);
    assert_eq!(told(&mut ledger, &of(Severity::Warning), now()), []);
}

#[test]
fn conditions_without_a_token_go_to_all_sinks_except_a_sinks_own_failure() {
    let sink = Sink { tokens: vec!["b".into()], ..chat() };
    let here = samples::grant("a").deployment;
    let of = |sink| sink_health::undeliverable(sink, &here, "x", (Severity::Warning, now()));

    let due = SinkState::new(sink, now()).due(&[], &[of("chat"), of("other")], now());

    let causes: Vec<&str> = due.iter().map(|change| change.condition.cause.as_str()).collect();
    assert_eq!(causes, ["sink:other"]);
}

#[test]
fn after_a_restart_people_get_no_repetition_and_machines_the_same_id() {
    let old = Condition { since: now() - TimeDelta::hours(30), ..refused() };
    let young = condition(Kind::MfaRequired, Severity::Critical, &["a"], now() - TimeDelta::minutes(2));
    let holding = [old.clone(), young];

    let noted = [works(Some(told_before(&chat(), Kind::LoginRequired)))];
    let mut people = SinkState::new(chat(), now());
    let mut told = |holding: &[Condition], at: Timestamp| {
        let due = people.due(&noted, holding, at);
        for change in &due {
            people.note(change, at);
        }
        due.iter().map(|change| (change.what, change.condition.kind)).collect::<Vec<_>>()
    };
    assert_eq!(told(&holding, now()), [(EventKind::Opened, Kind::MfaRequired)]);
    let later = now() + TimeDelta::hours(18);
    assert_eq!(
        told(&holding, later),
        [(EventKind::Reminder, Kind::LoginRequired)],
        "48 hours after it began"
    );
    assert_eq!(told(&holding[1..], later), [(EventKind::Resolved, Kind::LoginRequired)]);

    let before = SinkState::new(pager(), now() - TimeDelta::hours(31)).due(&[], &holding, now());
    let after = SinkState::new(pager(), now()).due(&[], &holding, now());
    let ids = |due: &[Notification]| due.iter().map(Notification::id).collect::<Vec<_>>();
    assert_eq!((ids(&before), after.len()), (ids(&after), 2));
}

#[test]
fn an_old_condition_without_a_mark_is_reported_after_a_start() {
    let old = Condition { since: now() - TimeDelta::days(3), ..refused() };

    assert_eq!(
        told(&mut SinkState::new(chat(), now()), &[old], now()),
        [(EventKind::Opened, Kind::LoginRequired)]
    );
}

#[test]
fn a_new_owner_or_remedy_is_a_change_and_a_new_order_of_tokens_is_none() {
    let mut ledger = SinkState::new(chat(), now());
    told(&mut ledger, &[refused()], now());

    let operator = Condition { remedy: Remedy::Operator, ..refused() };
    assert_eq!(
        told(&mut ledger, std::slice::from_ref(&operator), now()),
        [(EventKind::Changed, Kind::LoginRequired)]
    );
    assert_eq!(told(&mut ledger, std::slice::from_ref(&operator), now()), []);
    let owned = Condition { owners: vec!["Ben".into()], ..operator };
    assert_eq!(
        told(&mut ledger, std::slice::from_ref(&owned), now()),
        [(EventKind::Changed, Kind::LoginRequired)]
    );
    assert_eq!(told(&mut ledger, &[owned], now()), []);
}

#[test]
fn the_end_names_all_tokens_that_were_ever_in_it_and_how_long_it_lasted() {
    let of = |tokens: &[&str]| condition(Kind::EntraUnreachable, Severity::Warning, tokens, now());
    let mut ledger = SinkState::new(chat(), now());
    told(&mut ledger, &[of(&["a", "b"])], now());
    told(&mut ledger, &[of(&["b"])], now() + TimeDelta::minutes(10));
    told(&mut ledger, &[of(&["b", "c"])], now() + TimeDelta::minutes(20));

    let due = ledger.due(&[], &[], now() + TimeDelta::minutes(90));
    let [over] = due.try_into().expect("one");
    assert_eq!((over.what, over.lasted), (EventKind::Resolved, Some(TimeDelta::minutes(90))));
    assert_eq!(over.condition.tokens, ["a", "b", "c"]);
}

#[test]
fn a_condition_that_may_pass_is_reported_once_it_has_lasted() {
    let late =
        Condition { remedy: Remedy::Retry, ..condition(Kind::Overdue, Severity::Warning, &["a"], now()) };
    let late = [late];
    let mut ledger = SinkState::new(chat(), now());

    assert_eq!(told(&mut ledger, &late, now()), []);
    assert_eq!(ledger.next_at(now()), Some(now() + HELD_FOR));
    assert_eq!(told(&mut ledger, &[], now() + HELD_FOR), [], "it was made up for");
    assert_eq!(told(&mut ledger, &late, now() + HELD_FOR), []);
    assert_eq!(told(&mut ledger, &late, now() + HELD_FOR * 2), [(EventKind::Opened, Kind::Overdue)]);
}

#[test]
fn each_notification_has_an_id_of_its_own() {
    let (day, condition) = (1, refused());
    let change = |what| Notification { what, condition: condition.clone(), lasted: None, day };
    let mut all = vec![Notification { day: 2, ..change(EventKind::Reminder) }];
    let grown = Condition { tokens: vec!["a".into(), "b".into()], ..condition.clone() };
    all.push(Notification { condition: grown, ..change(EventKind::Changed) });
    let other = Condition { remedy: Remedy::Operator, ..condition.clone() };
    all.push(Notification { condition: other, ..change(EventKind::Changed) });
    let other = Condition { owners: vec!["Ben".into()], ..condition.clone() };
    all.push(Notification { condition: other, ..change(EventKind::Changed) });
    // The same incident begins again later. Its notifications need new ids, because a receiver may drop a notification
    // with an id that the receiver already got.
    let again = Condition { since: now() + TimeDelta::hours(1), ..condition.clone() };
    all.extend(
        [EventKind::Opened, EventKind::Resolved]
            .map(|what| Notification { condition: again.clone(), ..change(what) }),
    );
    let kinds = [
        EventKind::Opened,
        EventKind::Changed,
        EventKind::Reminder,
        EventKind::Resolved,
        EventKind::Flapping,
    ];
    all.extend(kinds.map(change));

    let mut ids: Vec<Uuid> = all.iter().map(Notification::id).collect();
    ids.sort_unstable();
    ids.dedup();

    assert_eq!(ids.len(), all.len());
}

#[test]
fn a_test_is_marked_as_one() {
    let test = test_message("chat", &samples::grant("a").deployment, now());

    assert_eq!(test.what, EventKind::Test);
    assert!(test.condition.summary.contains("test") && forms::headline(&[test]).starts_with("Test"));
}
