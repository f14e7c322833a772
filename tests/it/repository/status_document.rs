//! Tests that the schema and the page of the status document match a real document.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::TimeDelta;
use perennial::ports::failure::{Failure, FailureSubject, Kind, Remedy, Trace};
use perennial::process::clock::Timestamp;
use perennial::rotation::schedule::Timing;
use perennial::rotation::state::{Facts, Phase, State};
use perennial::status::document::{Status, StatusSource};
use perennial::status::snapshot::{Periods, Snapshot, TokenState};
use perennial::token::managed::Policy;
use perennial::token::version::{Version, VersionId};
use serde_json::{Value, json};

use super::reference::rows;
use crate::support::harness;
use crate::support::harness::base;

const PAGE: &str = include_str!("../../../docs/status-document.md");

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../docs/status.schema.json")).expect("JSON")
}

/// Returns a document with a token that works and a token that was revoked.
fn document() -> Value {
    let (_, partner) = harness::still_world();
    let now = base();
    let id = VersionId("0123456789abcdef0123456789abcdef".into());
    let newest = Version { id: id.clone(), created: now, enabled: true, expires: None, tags: [].into() };
    let facts = Facts { proved_at: Some(now), ..Facts::of(id) };
    let proved = State {
        phase: Phase::Current,
        newest: Some(newest),
        facts: Some(Box::new(facts)),
        ..State::unknown(now)
    };
    let revoked = Failure {
        is_definite: true,
        trace: Trace {
            code: Some(50173),
            trace_id: Some("00000000-0000-0000-0000-000000000001".to_owned()),
            correlation_id: None,
        },
        ..Failure::new(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant, "Entra refused")
    };
    let drawn = |name: &str, failure: Option<&Failure>| {
        let grant = Arc::new(harness::grant(name, &partner, &Policy::default()));
        let timing = Timing::new(&grant.policy, &grant.name, 0.5);
        let state = match failure {
            Some(failure) => timing.after_failure(proved.clone(), failure.clone(), now, 0.5),
            None => proved.clone(),
        };
        let next = timing.next(&state, now);
        Snapshot::of(&grant, Periods::of(&timing), &state, Some(&next), now)
    };
    let snapshots = [drawn("works", None), drawn("revoked", Some(&revoked))];
    let status = Status::of(&snapshots, TimeDelta::zero(), now, StatusSource::Daemon);
    serde_json::to_value(status).expect("it can be served")
}

/// Validates a value against a schema. The function supports only the part of JSON Schema that docs/status.schema.json
/// uses. In addition, the function rejects every field that the schema does not define.
fn validate(value: &Value, schema: &Value, root: &Value, at: &str) {
    if let Some(path) = schema["$ref"].as_str() {
        let named = root.pointer(path.trim_start_matches('#')).expect("a definition");
        return validate(value, named, root, at);
    }
    let actual = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = match &schema["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    assert!(allowed.contains(&json!(actual)), "{at} is {actual}, not {allowed:?}");
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at}: {value} is none of {words:?}");
    }
    match value {
        Value::String(text) if schema["format"] == "date-time" => {
            assert!(text.parse::<Timestamp>().is_ok(), "{at}: {text}");
        }
        Value::Array(items) => items.iter().for_each(|item| validate(item, &schema["items"], root, at)),
        Value::Object(fields) => {
            assert_eq!(names(fields.keys()), properties(schema), "{at}");
            assert_eq!(properties(schema), required(schema), "{at}");
            for (name, field) in fields {
                validate(field, &schema["properties"][name], root, &format!("{at}.{name}"));
            }
        }
        _ => {}
    }
}

fn names<'a>(all: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    all.into_iter().cloned().collect()
}

fn properties(schema: &Value) -> BTreeSet<String> {
    names(schema["properties"].as_object().expect("properties").keys())
}

fn required(schema: &Value) -> BTreeSet<String> {
    let required = schema["required"].as_array().expect("a list").iter();
    required.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[test]
fn a_real_status_document_has_the_fields_of_the_schema() {
    let (document, schema) = (document(), schema());

    assert_eq!(document["tokens"].as_array().map(Vec::len), Some(2));
    assert_eq!(document["conditions"][0]["code"], 50173);
    validate(&document, &schema, &schema, "status");
}

#[test]
fn the_schema_has_every_kind_and_every_state() {
    let definitions = &schema()["$defs"];

    assert_eq!(definitions["kind"]["enum"], json!(Kind::ALL.map(Kind::as_str)));
    let states = &definitions["token"]["properties"]["state"]["enum"];
    assert_eq!(*states, json!(TokenState::ALL.map(TokenState::as_str)));
}

#[test]
fn the_page_of_the_status_document_has_the_fields_of_the_schema() {
    let schema = schema();
    let tables = [
        ("Top level", &schema),
        ("A token", &schema["$defs"]["token"]),
        ("A condition", &schema["$defs"]["condition"]),
    ];
    for (heading, object) in tables {
        let listed = rows(PAGE, "| Field |").into_iter().filter(|(above, _)| *above == heading);
        let listed: BTreeSet<String> =
            listed.map(|(_, cells)| cells[0].trim_matches('`').to_owned()).collect();

        assert_eq!(listed, properties(object), "{heading}");
    }
}
