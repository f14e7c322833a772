//! Formats events for `PagerDuty` and for webhooks. These receivers track incidents by id.

use reqwest::Url;
use serde_json::{Value, json};

use super::{Size, TEST_TITLE, cut, facts, headline, runbook, within};
use crate::alert::rules::{EventKind, Notification};
use crate::process::clock::{Timestamp, rfc3339};
use crate::status::condition::{Condition, Severity};
use crate::token::managed::Deployment;

/// The maximum size of an event in bytes, for `PagerDuty` and for webhooks (docs/azure-facts.md F503, F504).
const EVENT_BYTES: usize = 64_000;
/// The maximum length of a `PagerDuty` summary in characters (docs/azure-facts.md F503).
const PAGERDUTY_SUMMARY: usize = 1024;
/// The beginning of every event's type. The type ends with the version of the event's data, such as `v1`.
const EVENT_TYPE: &str = "dev.perennial.alert";

/// Formats an event for the Events API v2 of `PagerDuty`. The incident's id is the `dedup_key`. `PagerDuty` adds a
/// second trigger event to the open incident with the same key. `PagerDuty` ignores a resolve event if no incident with
/// its key is open.
pub fn pagerduty(change: &Notification, routing_key: &str, here: &Deployment, now: Timestamp) -> Value {
    let Notification { what, condition, .. } = change;
    let dedup_key = condition.id.to_string();
    if *what == EventKind::Resolved {
        return json!({"routing_key": routing_key, "event_action": "resolve", "dedup_key": dedup_key});
    }
    let summary = format!("{}: {}", headline(std::slice::from_ref(change)), condition.summary);
    let details = |size: Size| -> serde_json::Map<String, Value> {
        let facts = facts(change, here, size.chars, now).into_iter();
        facts.map(|(name, value)| (name.to_lowercase().replace(' ', "_"), Value::String(value))).collect()
    };
    within(EVENT_BYTES, |size| {
        let mut event = json!({"routing_key": routing_key, "event_action": "trigger", "dedup_key": dedup_key,
        "client": "Perennial",
        "payload": {
            "summary": cut(&summary, PAGERDUTY_SUMMARY),
            "source": here.instance,
            "severity": severity(change),
            "timestamp": rfc3339(condition.since),
            "component": condition.cause,
            "group": condition.tokens.first(),
            "class": class(change),
            "custom_details": details(size),
        }});
        // A link that is not configured is omitted, not sent as null.
        if let Some(page) = &here.page_url {
            event["client_url"] = page.as_str().into();
        }
        if let Some(href) = link(condition, here) {
            event["links"] = json!([{"href": href, "text": "Runbook"}]);
        }
        event
    })
}

/// The severity, or `info` for a test message.
fn severity(Notification { what, condition, .. }: &Notification) -> &'static str {
    match (what, condition.severity) {
        (EventKind::Test, _) => "info",
        (_, Severity::Critical) => "critical",
        (_, Severity::Warning) => "warning",
    }
}

/// The kind of the condition, or `test` for a test message.
fn class(Notification { what, condition, .. }: &Notification) -> &'static str {
    if *what == EventKind::Test { "test" } else { condition.kind.as_str() }
}

/// Formats a `CloudEvents` 1.0 event in structured mode (docs/azure-facts.md F504). If a notification is sent again,
/// its `source` and `id` are the same.
pub fn cloud_event(change: &Notification, here: &Deployment, now: Timestamp) -> Value {
    let Notification { what, condition, lasted, .. } = change;
    let named = condition.tokens.len();
    let form = |most_tokens: usize| {
        let mut shown = json!(condition);
        shown["kind"] = class(change).into();
        shown["severity"] = severity(change).into();
        shown["tokens"] = json!(&condition.tokens[..most_tokens]);
        shown["owners"] = json!(&condition.owners[..most_tokens.min(condition.owners.len())]);
        json!({
            "specversion": "1.0",
            "id": change.id().to_string(),
            "source": source(here),
            "type": format!("{EVENT_TYPE}.{}.v1", what.as_str()),
            "time": rfc3339(now),
            "subject": condition.cause,
            "datacontenttype": "application/json",
            "data": {"what": what.as_str(), "title": if *what == EventKind::Test { TEST_TITLE } else { condition.kind.title() },
                "instance": here.instance, "page": here.page_url, "runbook": link(condition, here),
                "lasted_seconds": lasted.map(|lasted| lasted.num_seconds()), "token_count": named,
                "condition": shown},
        })
    };
    let mut most = named;
    let mut event = form(most);
    while event.to_string().len() > EVENT_BYTES && most > 0 {
        most /= 2;
        event = form(most);
    }
    event
}

/// The instance as a URI reference, as `CloudEvents` requires for `source`.
fn source(here: &Deployment) -> String {
    let mut url = Url::parse("https://perennial/").expect("a URL");
    url.set_path(&here.instance);
    format!("/perennial{}", url.path())
}

/// The link to the runbook's section. `None` if `runbook_url` is not configured.
fn link(condition: &Condition, here: &Deployment) -> Option<String> {
    here.runbook_url.as_ref().map(|_| runbook(condition, here))
}
