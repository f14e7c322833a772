//! Tests of the status document: the content for each token, the document's format, and parsing.

use std::sync::Arc;

use super::*;
use crate::ports::failure::{Failure, FailureSubject, Remedy};
use crate::rotation::samples;
use crate::rotation::state::State;
use crate::status::samples::snapshot;
use crate::token::managed::ManagedToken;

fn now() -> Timestamp {
    Timestamp::from_timestamp(1_770_000_000, 0).expect("in range")
}

fn drawn(name: &str, state: &State) -> Snapshot {
    let grant = ManagedToken { secret: samples::address(name), ..samples::grant(name) };
    snapshot(grant, state, now() + TimeDelta::hours(1), now())
}

fn proved() -> State {
    samples::proved(samples::version("v", now() - TimeDelta::days(1)), now())
}

fn failing(kind: Kind, remedy: Remedy) -> State {
    samples::failed(proved(), Failure::new(kind, remedy, FailureSubject::Token, "as told"), now(), 3)
}

fn status(all: &[Snapshot]) -> Status {
    Status::of(all, TimeDelta::zero(), now(), StatusSource::Daemon)
}

#[test]
fn the_status_is_healthy_unless_a_condition_is_critical() {
    let [fine, late, dead] = [
        ("fine", proved()),
        ("late", failing(Kind::VaultUnreachable, Remedy::Retry)),
        ("dead", failing(Kind::LoginRequired, Remedy::Login)),
    ]
    .map(|(name, state)| drawn(name, &state));

    assert!(status(&[]).healthy && status(std::slice::from_ref(&fine)).healthy);
    assert!(status(&[fine.clone(), late.clone()]).healthy, "a warning");
    let whole = status(&[fine, late, dead]);
    assert!(!whole.healthy);

    let kinds: Vec<&[Kind]> = whole.tokens.iter().map(|token| &*token.conditions).collect();
    assert_eq!(kinds, [&[][..], &[Kind::VaultUnreachable], &[Kind::LoginRequired]]);
    let touching = |name| whole.touching(name).map(|told| told.kind).collect::<Vec<_>>();
    assert_eq!(touching(Some("late")), [Kind::VaultUnreachable]);
    assert_eq!(touching(Some("unknown")), []);
    assert_eq!(touching(None), [Kind::LoginRequired, Kind::VaultUnreachable]);
    let gravest = [Some("fine"), Some("late"), Some("dead"), None].map(|name| whole.gravest(name));
    let (mild, grave) = (Some(Severity::Warning), Some(Severity::Critical));
    assert_eq!(gravest, [None, mild, grave, grave]);
}

#[test]
fn times_are_written_in_whole_seconds_and_unknown_values_as_null() {
    let report = RenewalReport {
        unaccepted: None,
        stage: RenewalStage::Waiting,
        key_id: Some(Uuid::nil()),
        ends: Some(now()),
        renews_at: None,
        trouble: None,
        strangers: Vec::new(),
    };
    let mut known = drawn("a", &proved());
    known.renewal = Some(Arc::new(report));
    let later = now() + TimeDelta::milliseconds(5);
    let all = [known, drawn("b", &State::unknown(now()))];

    let written = serde_json::to_value(Status::of(&all, TimeDelta::zero(), later, StatusSource::Vault));
    let written = written.expect("JSON");

    assert_eq!((&written["now"], &written["source"]), (&rfc3339(now()).into(), &"vault".into()));
    let (a, b) = (&written["tokens"][0], &written["tokens"][1]);
    let time = |hours| Value::from(rfc3339(now() + TimeDelta::hours(hours)));
    for (key, value) in [
        ("name", "a".into()),
        ("stored_in", "https://contoso.vault.azure.net/secrets/a".into()),
        ("state", "current".into()),
        ("version", "v".into()),
        ("issued_at", time(-24)),
        ("signed_in_at", time(-24)),
        ("expires_at", time(89 * 24)),
        ("proved_at", time(0)),
        ("next_step_at", time(1)),
        ("waits_for_turn", false.into()),
        ("last_rotation_at", Value::Null),
        ("partner_center_accepts", Value::Null),
    ] {
        assert_eq!(a[key], value, "{key}");
    }
    let renewal = [("stage", "waiting".into()), ("ends_at", time(0)), ("renews_at", Value::Null)];
    for (key, value) in renewal {
        assert_eq!(a["renewal"][key], value, "{key}");
    }
    assert_eq!(a["renewal"]["key_id"], Uuid::nil().to_string());
    for key in ["version", "issued_at", "expires_at", "proved_at", "runway_seconds", "renewal"] {
        assert_eq!(b[key], Value::Null, "{key}");
    }
}

#[test]
fn a_document_in_another_form_is_not_read() {
    let written = |schema: u32, source| {
        let all = [drawn("a", &proved())];
        let status = Status { schema, ..Status::of(&all, TimeDelta::zero(), now(), source) };
        Status::parse(&serde_json::to_vec(&status).expect("JSON"))
    };

    let read = written(SCHEMA, StatusSource::Daemon).expect("our form");
    assert_eq!((read.now, read.tokens.len()), (now(), 1));
    assert!(written(SCHEMA + 1, StatusSource::Daemon).is_none());
    assert!(written(SCHEMA, StatusSource::Vault).is_none());
}

/// Another process may answer at the daemon's address. A command prints the texts of the answer, so parsing makes the
/// texts safe for a terminal.
#[test]
fn no_text_of_a_document_can_control_a_terminal() {
    let mut status = status(&[drawn("a", &failing(Kind::LoginRequired, Remedy::Login))]);
    status.conditions[0].summary = "gone\u{1b}[2J".to_owned();
    status.tokens[0].name = "a\u{7}".to_owned();

    let read = Status::parse(&serde_json::to_vec(&status).expect("JSON")).expect("our form");

    assert!(read.conditions[0].summary.starts_with("gone") && read.tokens[0].name.starts_with('a'));
    let texts = format!("{}{}", read.conditions[0].summary, read.tokens[0].name);
    assert!(!texts.chars().any(char::is_control), "{texts:?}");
}
