//! Tests of incidents that ended while no process was running.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use super::*;
use crate::alert::rules::EventKind;
use crate::alert::rules::tests::{chat, now, pager, refused, told};
use crate::alert::sink::Sink;
use crate::rotation::samples;
use crate::rotation::state::State;
use crate::status::samples::snapshot;
use crate::token::managed::ManagedToken;
use crate::token::tags::Tags;
use crate::token::version::{Version, tag};

/// Creates the state that a process inherits if the previous process reported a condition of this kind to this sink.
pub(in crate::alert::rules) fn told_before(sink: &Sink, kind: Kind) -> Inherited {
    let mut marks = Marks::default();
    marks.add(
        SinkState::new(sink.clone(), now()).mark(Cause::token(&samples::address("token")).incident(kind)),
    );
    Inherited::Told(marks)
}

/// Creates the snapshot of a token that works. The snapshot has the given inherited state.
pub(in crate::alert::rules) fn works(inherited: Option<Inherited>) -> Snapshot {
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
fn incidents_that_ended_while_no_process_ran_are_resolved_by_marks() {
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

#[test]
fn an_incident_reported_before_is_opened_again_only_at_a_sink_that_keeps_incidents() {
    for (sink, opened) in [(chat(), 0), (pager(), 1)] {
        let reported = works(Some(told_before(&sink, Kind::LoginRequired)));
        let due = SinkState::new(sink, now()).due(&[reported], &[refused()], now());
        assert_eq!(due.iter().filter(|change| change.what == EventKind::Opened).count(), opened, "{due:?}");
    }
}

/// Perennial's first version identified an incident by the token's name and wrote no marks. So the test expects that
/// Perennial closes such an incident and reports it again under its new id.
#[test]
fn a_rejection_reported_by_the_first_version_becomes_one_incident() {
    let found = Some(Inherited::Refused(Kind::LoginRequired));
    let newest = samples::version("a", now());
    let state = State { newest: Some(newest), inherited: found, ..State::unknown(now()) };
    let of = snapshot(samples::grant("a"), &state, now() + TimeDelta::hours(4), now());

    assert_eq!(ended(pager(), &of, &[refused()]), [Kind::LoginRequired]);
    assert_eq!(ended(chat(), &of, &[refused()]), []);
}

#[test]
fn a_success_ends_inherited_incidents_and_a_start_does_not() {
    let newest = samples::version("a", now());
    let inherited = Some(told_before(&chat(), Kind::LoginRequired));
    let unproved = State { newest: Some(newest), inherited, ..State::unknown(now()) };
    let of = snapshot(samples::grant("a"), &unproved, now() + TimeDelta::hours(4), now());

    assert_eq!(ended(chat(), &of, &[]), []);
    assert_eq!(ended(pager(), &of, &[]), []);
}

#[test]
fn incidents_of_this_process_did_not_end_before_it() {
    let mut ledger = SinkState::new(chat(), now());
    told(&mut ledger, &[refused()], now());
    told(&mut ledger, &[], now());

    let found = works(Some(told_before(&chat(), Kind::LoginRequired)));
    assert_eq!(ledger.due(&[found], &[], now()), []);
}

#[test]
fn marks_on_the_version_before_a_sign_in_are_inherited() {
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

fn id_of_sink(sink: &str) -> Uuid {
    Cause::sink(sink, &samples::grant("a").deployment).incident(Kind::AlertUndeliverable)
}

/// Creates the snapshot of a token that works and has these marks of the previous process.
fn marked(name: &str, marked: &[u32]) -> Snapshot {
    let mut marks = Marks::default();
    for mark in marked {
        marks.add(*mark);
    }
    let state = State {
        inherited: Some(Inherited::Told(marks)),
        ..samples::proved(samples::version("v", now()), now())
    };
    let grant = ManagedToken { secret: samples::address(name), ..samples::grant(name) };
    snapshot(grant, &state, now() + TimeDelta::hours(4), now())
}

#[test]
fn a_delivery_failure_that_any_sink_reported_is_known_after_a_restart() {
    let sinks: [Arc<str>; 3] = ["chat".into(), "mail".into(), "pager".into()];
    let told_by_mail = marked("a", &[mark(id_of_sink("chat"), "mail")]);
    let other = marked("b", &[]);
    let known = |sink, of: &[Snapshot]| was_undeliverable(sink, of, &sinks);

    assert!(known("chat", std::slice::from_ref(&told_by_mail)));
    assert!(!known("mail", std::slice::from_ref(&told_by_mail)), "chat failed, and mail did not");
    assert!(!known("chat", std::slice::from_ref(&other)) && !known("chat", &[]));
    assert!(!was_undeliverable("chat", std::slice::from_ref(&told_by_mail), &sinks[..1]), "mail is gone");
    let third = [other.clone(), other.clone(), told_by_mail.clone()];
    assert!(known("chat", &third));
    let fourth = [other.clone(), other.clone(), other, told_by_mail];
    assert!(!known("chat", &fourth), "only the first three tokens carry such a mark");
}

#[test]
fn incidents_that_are_about_no_token_end_at_every_sink_that_was_told() {
    let host = Cause::host(&samples::grant("a").deployment).incident(Kind::ClockSkew);
    let login = Cause::token(&samples::address("a")).incident(Kind::LoginRequired);
    let incidents = [host, login, id_of_sink("chat"), id_of_sink("mail")];
    let of = marked("a", &incidents.map(|incident| mark(incident, "chat")));
    let ended = |tokens: &[&str]| {
        let tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
        let ledger = SinkState::new(Sink { tokens, ..chat() }, now());
        let due =
            ledger.beside(vec!["chat".into(), "mail".into()]).due(std::slice::from_ref(&of), &[], now());
        due.into_iter().map(|told| (told.condition.cause, told.condition.tokens)).collect::<BTreeSet<_>>()
    };
    let of_token = ("token:https://contoso.vault.azure.net/secrets/a".to_owned(), vec!["a".to_owned()]);
    let shared = [("host".to_owned(), vec![]), ("sink:mail".to_owned(), vec![])];

    assert_eq!(ended(&["another"]), shared.clone().into());
    assert_eq!(ended(&[]), shared.into_iter().chain([of_token]).collect());
}

/// A pager gets the ends of at most eight incidents at once. A chat gets the ends of all incidents in one message.
#[test]
fn the_ends_of_many_incidents_are_spread_at_a_sink_that_keeps_incidents() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    for (sink, rounds) in [(pager(), vec![8, 8, 8]), (chat(), vec![10, 0, 0])] {
        let of = |name: &&str| {
            let incident = Cause::token(&samples::address(name)).incident(Kind::LoginRequired);
            marked(name, &[mark(incident, &sink.name)])
        };
        let all: Vec<Snapshot> = names.iter().map(of).collect();
        let mut ledger = SinkState::new(sink, now());
        let mut ended = BTreeSet::new();
        for round in rounds {
            let due = ledger.due(&all, &[], now());
            assert_eq!(due.len(), round);
            for change in &due {
                assert!(ended.insert(change.condition.id), "no end is sent twice");
                ledger.note(change, now());
            }
        }
    }
}

#[test]
fn a_first_sign_in_may_have_been_missed_in_more_than_one_way() {
    let kinds: BTreeSet<Kind> =
        ended(pager(), &works(Some(Inherited::FirstSignIn)), &[]).into_iter().collect();

    assert_eq!(kinds, UNMARKED.into_iter().chain([Kind::NeverSignedIn]).collect());
}

#[test]
fn a_sink_is_sent_no_end_about_a_token_that_is_not_its_own() {
    let elsewhere = Sink { tokens: vec!["b".into()], ..pager() };
    for inherited in [None, Some(Inherited::FirstSignIn), Some(Inherited::Refused(Kind::LoginRequired))] {
        let ends = ended(elsewhere.clone(), &works(inherited.clone()), &[]);
        assert_eq!(ends, [], "{inherited:?}");
    }
}

#[test]
fn an_incident_that_this_process_reported_ends_as_its_own() {
    let sink = chat();
    let noted = [works(Some(told_before(&sink, Kind::LoginRequired)))];
    let mut ledger = SinkState::new(sink, now() - TimeDelta::hours(1));
    assert_eq!(ledger.due(&noted, &[refused()], now()), [], "it is adopted");

    let later = now() + TimeDelta::hours(1);
    let [over] = ledger.due(&noted, &[], later).try_into().expect("one end");

    assert_eq!((over.what, over.lasted), (EventKind::Resolved, Some(TimeDelta::hours(1))));
    assert_eq!(over.condition.summary, refused().summary);
}

#[test]
fn an_incident_of_the_previous_process_began_when_this_process_started_at_the_latest() {
    let of = works(Some(told_before(&chat(), Kind::LoginRequired)));
    let since = |started| {
        let due = SinkState::new(chat(), started).due(std::slice::from_ref(&of), &[], now());
        due.iter().map(|told| (told.condition.since, told.lasted)).collect::<Vec<_>>()
    };
    let hour = TimeDelta::hours(1);

    assert_eq!(since(now() - hour), [(now() - hour, None)]);
    assert_eq!(since(now() + hour), [(now(), None)], "the clock was set back");
}
