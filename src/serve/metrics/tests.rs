//! Tests of the metrics text. They use a strict parser of the format that Prometheus documents under
//! `exposition_formats`.

use super::*;

use std::time::Duration;

use chrono::TimeDelta;

use crate::net::calls::CallTarget;
use crate::ports::Acceptance;
use crate::ports::failure::{Failure, FailureSubject, Remedy};
use crate::process::clock::Clock;
use crate::rotation::samples;
use crate::rotation::schedule::Timing;
use crate::rotation::state::State;
use crate::status;
use crate::status::condition::conditions;
use crate::token::managed::{ManagedToken, Verify};

/// A sample: its name, its labels in order, and its value.
type Sample = (String, Vec<(String, String)>, f64);

struct Family {
    kind: String,
    samples: Vec<Sample>,
}

fn now() -> Timestamp {
    "2026-03-08T00:00:00Z".parse().expect("a time")
}

fn grant(name: &str) -> ManagedToken {
    ManagedToken {
        verify: Verify::PartnerCenter,
        app_secret_expires: Some(now() + TimeDelta::days(10)),
        ..samples::grant(name)
    }
}

fn snapshot(name: &str, state: &State) -> Snapshot {
    status::samples::snapshot(grant(name), state, now() + TimeDelta::hours(4), now())
}

fn current() -> State {
    let issued = now() - TimeDelta::days(2);
    let newest = samples::version("a", issued);
    let version = newest.id.clone();
    let mut state = samples::proved(newest, now());
    let accepted = Acceptance {
        accepted: true,
        mfa: None,
        tenant_id: None,
        company: None,
        is_audience: false,
        status: 200,
    };
    state.hear(&version, accepted, now());
    state
}

fn refused() -> State {
    let failure = Failure::new(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant, "x");
    samples::failed(current(), failure, now(), 1)
}

fn scrape(snapshots: Vec<Snapshot>, calls: Calls) -> Scrape {
    let grant = grant("any");
    let timing = Timing::new(&grant.policy, &grant.name, 0.0);
    let tokens = snapshots.iter().map(|of| (&of.grant, &timing));
    let board =
        StatusBoard::new(tokens, Clock::running(now(), 1.0)).with_sinks(std::iter::once("on-call".into()));
    board.deliveries().delivered(0);
    let conditions = conditions(&snapshots, TimeDelta::minutes(9), now());
    for (place, snapshot) in snapshots.into_iter().enumerate() {
        board.publish(place, snapshot);
    }
    Scrape { board, calls: Arc::new(calls), conditions, now: now(), names: true }
}

fn scraped(snapshots: Vec<Snapshot>, calls: Calls) -> BTreeMap<String, Family> {
    let text: Result<String, fmt::Error> = scrape(snapshots, calls).text().collect();
    parse(&text.expect("a string takes it")).unwrap_or_else(|problem| panic!("{problem}"))
}

fn value(families: &BTreeMap<String, Family>, name: &str, labels: &[&str]) -> Option<f64> {
    let of = families[name].samples.iter().find(|(sample, values, _)| {
        sample == name && values.iter().map(|(_, value)| value).eq(labels.iter().copied())
    });
    of.map(|(_, _, value)| *value)
}

#[test]
fn the_contract_is_served_with_its_names_and_labels() {
    let documented: [(&str, &[&str]); 15] = [
        ("perennial_build_info", &["version", "revision", "rustc", "instance"]),
        ("perennial_tokens", &["state"]),
        ("perennial_token_issued_timestamp_seconds", &["token"]),
        ("perennial_token_expiry_timestamp_seconds", &["token"]),
        ("perennial_token_runway_seconds", &["token"]),
        ("perennial_token_proved_timestamp_seconds", &["token"]),
        ("perennial_token_last_rotation_timestamp_seconds", &["token"]),
        ("perennial_token_next_step_timestamp_seconds", &["token"]),
        ("perennial_partner_center_accepts", &["token"]),
        ("perennial_rotations_total", &["token", "outcome"]),
        ("perennial_failures_total", &["kind"]),
        ("perennial_condition", &["kind", "token"]),
        ("perennial_app_secret_expiry_timestamp_seconds", &["client_id"]),
        ("perennial_http_client_request_duration_seconds", &["peer", "operation", "code"]),
        ("perennial_alert_deliveries_total", &["sink", "outcome"]),
    ];
    assert_eq!(METRICS.map(|metric| (metric.name, metric.labels)), documented);

    let calls = Calls::default();
    calls.record(CallTarget::Entra, "redeem", Ok(200), Duration::from_millis(300));
    let mut rotated = snapshot("a", &current());
    rotated.last_rotation_at = Some(now());
    let families = scraped(vec![rotated, snapshot("b", &refused())], calls);

    for metric in &METRICS {
        let family = &families[metric.name];
        assert_eq!(family.kind, metric.kind.as_str(), "{}", metric.name);
        assert!(!family.samples.is_empty(), "{}", metric.name);
        for (name, labels, _) in &family.samples {
            let names = labels.iter().map(|(label, _)| label.as_str()).filter(|label| *label != "le");
            assert!(names.eq(metric.labels.iter().copied()), "{name}");
        }
    }
    assert_eq!(families.len(), METRICS.len());
}

#[test]
fn unknown_values_are_absent_and_counters_begin_at_zero() {
    let families = scraped(vec![snapshot("a", &State::unknown(now()))], Calls::default());

    for name in ["issued", "expiry", "proved", "last_rotation"] {
        let name = format!("perennial_token_{name}_timestamp_seconds");
        assert!(families[&name].samples.is_empty(), "{name}");
    }
    assert!(families["perennial_partner_center_accepts"].samples.is_empty());
    assert_eq!(value(&families, "perennial_rotations_total", &["a", "gave_way"]), Some(0.0));
    assert_eq!(families["perennial_failures_total"].samples.len(), Kind::ALL.len());
    assert_eq!(value(&families, "perennial_failures_total", &["vault_refused"]), Some(0.0));
}

#[test]
fn every_state_is_counted_and_a_rejected_token_has_no_runway() {
    let mut rejected = current();
    let said = Acceptance {
        accepted: false,
        mfa: None,
        tenant_id: None,
        company: None,
        is_audience: false,
        status: 403,
    };
    let version = rejected.newest.as_ref().expect("read").id.clone();
    rejected.hear(&version, said, now());
    let all = [("a", current()), ("b", refused()), ("c", rejected)];
    let all = all.iter().map(|(name, state)| snapshot(name, state)).collect();
    let families = scraped(all, Calls::default());

    let counted = TokenState::ALL.map(|state| value(&families, "perennial_tokens", &[state.as_str()]));
    assert_eq!(counted, [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0].map(Some));
    let runway = |token| value(&families, "perennial_token_runway_seconds", &[token]);
    assert_eq!((runway("a"), runway("b")), (Some(864_000.0), Some(0.0)), "the app's secret ends first");
    assert_eq!(runway("c"), Some(0.0));
    assert_eq!(value(&families, "perennial_condition", &["login_required", "b"]), Some(1.0));
    assert_eq!(value(&families, "perennial_condition", &["clock_skew", ""]), Some(1.0));
    let end = value(&families, "perennial_app_secret_expiry_timestamp_seconds", &["app"]);
    assert_eq!(end, Some(f64::from(u32::try_from(now().timestamp()).expect("small")) + 864_000.0));
}

#[test]
fn a_fleet_is_written_in_pieces_and_none_is_left_out() {
    let fleet = (0..130).map(|n| snapshot(&format!("t{n}"), &current())).collect();

    let families = scraped(fleet, Calls::default());

    assert_eq!(METRICS[2].pieces(130, true).collect::<Vec<_>>(), [0..64, 64..128, 128..130]);
    assert_eq!(families["perennial_rotations_total"].samples.len(), 3 * 130);
    assert_eq!(families["perennial_token_issued_timestamp_seconds"].samples.len(), 130);
    assert_eq!(value(&families, "perennial_tokens", &["current"]), Some(130.0));
}

#[test]
fn where_tokens_are_not_named_only_what_is_of_all_of_them_is_served() {
    let fleet: Vec<Snapshot> = (0..130).map(|n| snapshot(&format!("t{n}"), &refused())).collect();
    let scrape = Scrape { names: false, ..scrape(fleet, Calls::default()) };
    let id = |name: &str| crate::token::version::VersionId(name.into());
    for place in 0..130 {
        let rotated = crate::rotation::event::Event::Rotated(id("a"), id("b"), uuid::Uuid::nil());
        scrape.board.counts().note(place, &rotated);
    }

    let text: Result<String, fmt::Error> = scrape.text().collect();
    let text = text.expect("a string takes it");
    let families = parse(&text).unwrap_or_else(|problem| panic!("{problem}"));

    assert!(!text.contains("\"t0\"") && !text.contains("token=\"t"), "{text}");
    assert_eq!(value(&families, "perennial_tokens", &["needs_login"]), Some(130.0));
    assert_eq!(value(&families, "perennial_condition", &["login_required", ""]), Some(1.0));
    assert_eq!(value(&families, "perennial_rotations_total", &["", "saved"]), Some(130.0));
    assert!(!text.contains("\nperennial_token_runway_seconds{"), "{text}");
}

#[test]
fn odd_names_are_escaped() {
    let odd = "a\\b\"c\nd{e=\"f\"} 1\nö";

    let families = scraped(vec![snapshot(odd, &current())], Calls::default());

    assert!(value(&families, "perennial_token_issued_timestamp_seconds", &[odd]).is_some());
}

#[test]
fn the_histogram_ends_with_all_calls() {
    let calls = Calls::default();
    calls.record(CallTarget::KeyVault, "set", Ok(200), Duration::from_millis(300));
    calls.record(CallTarget::KeyVault, "set", Ok(200), Duration::from_secs(60));

    let families = scraped(Vec::new(), calls);

    let samples = &families["perennial_http_client_request_duration_seconds"].samples;
    let last = samples.iter().rfind(|(name, ..)| name.ends_with("_bucket")).expect("buckets");
    assert_eq!((last.1[3].1.as_str(), last.2), ("+Inf", 2.0));
    let half = samples.iter().find(|(_, labels, _)| labels.last().is_some_and(|(_, le)| le == "0.5"));
    assert_eq!(half.map(|(_, _, count)| *count), Some(1.0));
}

/// Parses the metrics text. Rejects everything that the format does not allow.
fn parse(text: &str) -> Result<BTreeMap<String, Family>, String> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut open = String::new();
    let mut seen = BTreeSet::new();
    let mut help = None;
    if !text.ends_with('\n') {
        return Err("the last line does not end".into());
    }
    for line in text.lines() {
        let bad = |what: &str| format!("{what}: {line}");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, text) = rest.split_once(' ').ok_or_else(|| bad("no help"))?;
            if text.trim() != text || text.contains('\\') {
                return Err(bad("untidy help"));
            }
            help = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(|| bad("no type"))?;
            if help.take().as_deref() != Some(name) || !["gauge", "counter", "histogram"].contains(&kind) {
                return Err(bad("a type without help, or an unknown one"));
            }
            if (kind == "counter") != name.ends_with("_total") {
                return Err(bad("counters, and only they, end in _total"));
            }
            open = name.to_owned();
            let family = Family { kind: kind.to_owned(), samples: Vec::new() };
            if families.insert(open.clone(), family).is_some() {
                return Err(bad("a second family of that name"));
            }
        } else {
            let (series, value) = line.rsplit_once(' ').ok_or_else(|| bad("no value"))?;
            let value: f64 = value.parse().map_err(|_| bad("not a number"))?;
            if !seen.insert(series.to_owned()) {
                return Err(bad("twice"));
            }
            let (name, labels) = parse_series(series).ok_or_else(|| bad("not a series"))?;
            let family = families.get_mut(&open).ok_or_else(|| bad("no family"))?;
            let suffix = name.strip_prefix(open.as_str()).ok_or_else(|| bad("of another family"))?;
            let histogram = ["_bucket", "_sum", "_count"].contains(&suffix);
            if if family.kind == "histogram" { !histogram } else { !suffix.is_empty() } {
                return Err(bad("a suffix that its type does not have"));
            }
            family.samples.push((name, labels, value));
        }
    }
    Ok(families)
}

fn parse_series(series: &str) -> Option<(String, Vec<(String, String)>)> {
    let (name, mut rest) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
        None => (series, ""),
    };
    let word = |text: &str| {
        !text.is_empty()
            && !text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let mut labels = Vec::new();
    while !rest.is_empty() {
        let (label, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at + 1,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    _ => return None,
                }),
                (_, c) => value.push(c),
            }
        };
        rest = &quoted[end..];
        if !rest.is_empty() {
            rest = rest.strip_prefix(',').filter(|rest| !rest.is_empty())?;
        }
        if !word(label) {
            return None;
        }
        labels.push((label.to_owned(), value));
    }
    word(name).then(|| (name.to_owned(), labels))
}
