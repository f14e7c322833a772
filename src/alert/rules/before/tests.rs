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
use crate::token::tags::Tags;
use crate::token::version::{Version, tag};

/// The mark of a process that reported this kind of condition to this sink.
pub(in crate::alert::rules) fn told_before(sink: &Sink, kind: Kind) -> Inherited {
    let mut marks = Marks::default();
    marks.add(
        SinkState::new(sink.clone(), now()).mark(Cause::token(&samples::address("token")).incident(kind)),
    );
    Inherited::Told(marks)
}

/// Creates a token that works and whose snapshot has the given inherited state.
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
