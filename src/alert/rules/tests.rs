//! Every rule of what a sink is told, and when.

use super::*;
use crate::ports::failure::{Failure, FailureSubject, Remedy, Trace};
use crate::rotation::samples;

use super::before::UNMARKED;
use crate::alert::forms;
use crate::alert::sink::Destination;
use crate::net::address::TargetUrl;
use crate::rotation::state::{Inherited, State};
use crate::rotation::told::Marks;
use crate::status::condition::Cause;
use crate::status::samples::snapshot;
use crate::token::managed::ManagedToken;
use crate::token::secret::Source;
use crate::token::tags::Tags;
use crate::token::version::{Version, tag};

fn now() -> Timestamp {
    Timestamp::from_timestamp(1_770_000_000, 0).expect("in range")
}

fn chat() -> Sink {
    Sink {
        name: "chat".into(),
        to: Destination::Slack { url: Source::Env("URL".into()) },
        min_severity: Severity::Warning,
        tokens: Vec::new(),
    }
}

fn pager() -> Sink {
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

fn refused() -> Condition {
    condition(Kind::LoginRequired, Severity::Critical, &["a"], now())
}

/// What is due, by what and token; then taken as delivered.
fn told(ledger: &mut SinkState, holding: &[Condition], at: Timestamp) -> Vec<(EventKind, Kind)> {
    let due = ledger.due(&[], holding, at);
    for change in &due {
        ledger.note(change, at);
    }
    due.iter().map(|change| (change.what, change.condition.kind)).collect()
}

#[test]
fn an_incident_is_told_once_then_daily_then_once_more_when_it_is_over() {
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
fn what_was_not_delivered_is_still_due_and_what_passed_meanwhile_is_not() {
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
fn a_graver_incident_is_told_at_once_and_a_milder_one_is_not() {
    let of = |severity| condition(Kind::Overdue, severity, &["a"], now());
    let mut ledger = SinkState::new(chat(), now());
    told(&mut ledger, &[of(Severity::Warning)], now());

    let soon = now() + TimeDelta::seconds(1);
    assert_eq!(told(&mut ledger, &[of(Severity::Critical)], soon), [(EventKind::Changed, Kind::Overdue)]);
    assert_eq!(told(&mut ledger, &[of(Severity::Warning)], soon), []);
}

#[test]
fn tokens_that_join_one_by_one_are_told_ever_more_rarely() {
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
fn who_leaves_and_comes_back_has_joined_again() {
    let of = |tokens: &[&str]| condition(Kind::EntraUnreachable, Severity::Warning, tokens, now());
    let mut ledger = SinkState::new(chat(), now());
    told(&mut ledger, &[of(&["a", "b"])], now());

    assert_eq!(told(&mut ledger, &[of(&["a"])], now() + TimeDelta::minutes(5)), []);
    let back = told(&mut ledger, &[of(&["a", "b"])], now() + TimeDelta::minutes(6));
    assert_eq!(back, [(EventKind::Changed, Kind::EntraUnreachable)]);
}

/// A token whose vault refuses it, with an owner, and so many days before its app's secret ends.
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
fn a_sink_with_tokens_of_its_own_sees_nothing_of_the_others() {
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
fn what_was_told_is_not_over_when_it_is_less_grave() {
    let mut ledger = SinkState::new(Sink { min_severity: Severity::Critical, ..chat() }, now());
    let of = |severity| [condition(Kind::Overdue, severity, &["a"], now())];

    assert_eq!(told(&mut ledger, &of(Severity::Warning), now()), []);
    assert_eq!(told(&mut ledger, &of(Severity::Critical), now()), [(EventKind::Opened, Kind::Overdue)]);
    assert_eq!(told(&mut ledger, &of(Severity::Warning), now()), []);
}

#[test]
fn what_concerns_no_token_is_everybodys_but_a_sinks_own_trouble() {
    let sink = Sink { tokens: vec!["b".into()], ..chat() };
    let here = samples::grant("a").deployment;
    let of = |sink| sink_health::undeliverable(sink, &here, "x", (Severity::Warning, now()));

    let due = SinkState::new(sink, now()).due(&[], &[of("chat"), of("other")], now());

    let causes: Vec<&str> = due.iter().map(|change| change.condition.cause.as_str()).collect();
    assert_eq!(causes, ["sink:other"]);
}

#[test]
fn after_a_restart_people_are_not_told_again_and_machines_are_under_the_same_id() {
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
fn what_is_old_and_noted_nowhere_is_told_after_a_start() {
    let old = Condition { since: now() - TimeDelta::days(3), ..refused() };

    assert_eq!(
        told(&mut SinkState::new(chat(), now()), &[old], now()),
        [(EventKind::Opened, Kind::LoginRequired)]
    );
}

#[test]
fn what_passes_by_itself_is_told_only_once_it_has_held() {
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
fn each_thing_that_is_told_has_an_id_of_its_own() {
    let (day, condition) = (1, refused());
    let change = |what| Notification { what, condition: condition.clone(), day };
    let mut all = vec![Notification { day: 2, ..change(EventKind::Reminder) }];
    let grown = Condition { tokens: vec!["a".into(), "b".into()], ..condition.clone() };
    all.push(Notification { condition: grown, ..change(EventKind::Changed) });
    all.extend([EventKind::Opened, EventKind::Changed, EventKind::Reminder, EventKind::Resolved].map(change));

    let mut ids: Vec<Uuid> = all.iter().map(Notification::id).collect();
    ids.sort_unstable();
    ids.dedup();

    assert_eq!(ids.len(), all.len());
}

/// The mark of a process that has told this sink that this kind of condition of the token holds.
fn told_before(sink: &Sink, kind: Kind) -> Inherited {
    let mut marks = Marks::default();
    marks.add(
        SinkState::new(sink.clone(), now()).mark(Cause::token(&samples::address("token")).incident(kind)),
    );
    Inherited::Told(marks)
}

/// A token that works, of which this was found at the start.
fn works(inherited: Option<Inherited>) -> Snapshot {
    let newest = samples::version("a", now());
    let state = State { inherited, ..samples::proved(newest, now()) };
    snapshot(samples::grant("a"), &state, now() + TimeDelta::hours(4), now())
}

fn ended(sink: Sink, of: &Snapshot, open: &[Condition]) -> Vec<Kind> {
    let mut ledger = SinkState::new(sink, now());
    let due = ledger.due(std::slice::from_ref(of), open, now());
    let over = due.iter().filter(|change| change.what == EventKind::Resolved);
    let kinds = over.map(|change| change.condition.kind).collect();
    for change in &due {
        ledger.note(change, now());
    }
    assert_eq!(ledger.due(std::slice::from_ref(of), open, now()), [], "told once");
    kinds
}

#[test]
fn what_ended_while_nobody_was_there_is_told_by_the_marks_in_the_vault() {
    let refused_before = works(Some(told_before(&chat(), Kind::LoginRequired)));
    let other = Sink { name: "other".into(), ..chat() };
    let first = works(Some(Inherited::FirstSignIn));
    let noted = works(Some(Inherited::Refused(Kind::AccountDisabled)));

    assert_eq!(ended(chat(), &refused_before, &[]), [Kind::LoginRequired]);
    assert_eq!(ended(chat(), &refused_before, &[refused()]), [], "it holds again");
    let at_pager = ended(pager(), &works(Some(told_before(&pager(), Kind::LoginRequired))), &[refused()]);
    assert!(!at_pager.contains(&Kind::LoginRequired), "it holds again, for who keeps incidents too");
    assert_eq!(ended(other, &refused_before, &[]), [], "another sink was not told");
    assert_eq!(ended(chat(), &first, &[]), [], "people were told nothing that ended");
    assert!(ended(pager(), &first, &[]).contains(&Kind::NeverSignedIn), "it drops what it does not know");
    assert_eq!(ended(chat(), &noted, &[]), [], "no mark says that people were told");
    let by_two_names = ended(pager(), &noted, &[]).into_iter().filter(|kind| *kind == Kind::AccountDisabled);
    assert_eq!(by_two_names.count(), 2, "the first version wrote no marks, and had another id for it");
    assert_eq!(
        ended(pager(), &works(Some(Inherited::SignIn)), &[]),
        [],
        "it is not known yet what was before"
    );
    let unmarked: BTreeSet<Kind> = ended(pager(), &works(None), &[]).into_iter().collect();
    assert_eq!(unmarked, UNMARKED.into(), "what no tag could say");
}

/// The first version knew the incident by the token's name, and wrote no marks: it is closed, and told under its new id.
#[test]
fn a_refusal_that_the_first_version_told_is_one_incident_from_now_on() {
    let found = Some(Inherited::Refused(Kind::LoginRequired));
    let newest = samples::version("a", now());
    let state = State { newest: Some(newest), inherited: found, ..State::unknown(now()) };
    let of = snapshot(samples::grant("a"), &state, now() + TimeDelta::hours(4), now());

    assert_eq!(ended(pager(), &of, &[refused()]), [Kind::LoginRequired]);
    assert_eq!(ended(chat(), &of, &[refused()]), []);
}

#[test]
fn a_success_ends_what_was_told_before_and_a_start_does_not() {
    let newest = samples::version("a", now());
    let inherited = Some(told_before(&chat(), Kind::LoginRequired));
    let unproved = State { newest: Some(newest), inherited, ..State::unknown(now()) };
    let of = snapshot(samples::grant("a"), &unproved, now() + TimeDelta::hours(4), now());

    assert_eq!(ended(chat(), &of, &[]), []);
    assert_eq!(ended(pager(), &of, &[]), []);
}

#[test]
fn what_this_process_has_told_itself_did_not_end_before_it() {
    let mut ledger = SinkState::new(chat(), now());
    told(&mut ledger, &[refused()], now());
    told(&mut ledger, &[], now());

    let found = works(Some(told_before(&chat(), Kind::LoginRequired)));
    assert_eq!(ledger.due(&[found], &[], now()), []);
}

#[test]
fn the_marks_on_the_version_before_a_sign_in_say_what_was_told() {
    let version = |id: &str, seconds, tags: &[(&str, &str)]| {
        let tags: Tags = tags.iter().copied().collect();
        Version { tags, ..samples::version(id, now() + TimeDelta::seconds(seconds)) }
    };
    let told = [(tag::TOLD, "0000002a")];
    let (old, marked, sign_in) = (version("a", 0, &[]), version("b", 1, &told), version("c", 2, &[]));
    let proved = version("d", 3, &[(tag::PROVED_AT, "2027-01-01T00:00:00Z")]);
    let found = Some(Inherited::Told(Marks::on(&marked.tags)));

    assert_eq!(
        [&marked, &sign_in, &proved].map(Inherited::on),
        [found.clone(), Some(Inherited::SignIn), None]
    );
    assert_eq!(Inherited::before(&sign_in, &[old.clone(), sign_in.clone(), marked.clone()]), found);
    let again = version("e", 4, &[]);
    assert_eq!(
        Inherited::before(&again, &[marked, sign_in.clone(), again.clone()]),
        found,
        "signed in twice"
    );
    assert_eq!(Inherited::before(&sign_in, &[old, sign_in.clone()]), None);
    assert_eq!(Inherited::before(&sign_in, std::slice::from_ref(&sign_in)), Some(Inherited::FirstSignIn));
}

#[test]
fn a_test_is_marked_as_one() {
    let test = test_message("chat", &samples::grant("a").deployment, now());

    assert_eq!(test.what, EventKind::Test);
    assert!(test.condition.summary.contains("test") && forms::headline(&[test]).starts_with("Test"));
}
