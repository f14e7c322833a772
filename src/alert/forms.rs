//! What a message looks like at each kind of sink.
//!
//! Owns the wire forms. Pure; gets no secret but the two keys that have to be in it.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::rules::{EventKind, Notification};
use crate::ports::failure::Remedy;
use crate::process::clock::{Timestamp, rfc3339};
use crate::process::relative;
use crate::status::condition::{Condition, Severity};

/// Incidents shown in full in one message; Teams takes about 28 KB (docs/azure-facts.md F501).
const MOST_SHOWN: usize = 10;
/// Names of tokens shown of one incident.
const MOST_NAMES: usize = 10;
/// Characters of a text made elsewhere; what is longer is cut.
const MOST_CHARS: usize = 600;
/// `PagerDuty`'s bound on a summary (docs/azure-facts.md F503).
const PAGERDUTY_SUMMARY: usize = 1024;

/// The form of `data` in an event; a change that a receiver must know about raises it.
const EVENT_TYPE: &str = "dev.perennial.alert";

/// A headline over everything in a message.
pub fn headline(changes: &[Notification]) -> String {
    if let [Notification { what, condition, .. }] = changes {
        return format!("{}: {}{}", word(*what, condition), condition.kind.title(), of_whom(condition));
    }
    let count = |wanted: fn(&Notification) -> bool| changes.iter().filter(|change| wanted(change)).count();
    let over = count(|change| change.what == EventKind::Resolved);
    let critical = count(|change| change.what != EventKind::Resolved && is_critical(change));
    let warnings = changes.len() - over - critical;
    let parts = [(critical, "critical"), (warnings, "to look at"), (over, "over")];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, word)| format!("{count} {word}")).collect();
    format!("Perennial: {}", parts.join(", "))
}

fn is_critical(change: &Notification) -> bool {
    change.condition.severity == Severity::Critical
}

fn word(what: EventKind, condition: &Condition) -> &'static str {
    match (what, condition.severity) {
        (EventKind::Resolved, _) => "Over",
        (EventKind::Test, _) => "Test",
        (EventKind::Reminder, Severity::Critical) => "Still critical",
        (EventKind::Reminder, Severity::Warning) => "Still a warning",
        (EventKind::Changed, Severity::Critical) => "Changed, critical",
        (EventKind::Changed, Severity::Warning) => "Changed, a warning",
        (_, Severity::Critical) => "Critical",
        (_, Severity::Warning) => "Warning",
    }
}

fn of_whom(condition: &Condition) -> String {
    match condition.tokens.as_slice() {
        [] => String::new(),
        [only] => format!(" ({only})"),
        more => format!(" ({} tokens)", more.len()),
    }
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most.saturating_sub(1)) {
        Some((end, _)) if text.chars().count() > most => format!("{}…", &text[..end]),
        _ => text.to_owned(),
    }
}

fn who(condition: &Condition) -> &'static str {
    match condition.remedy {
        Remedy::Login => "whoever can sign in as the user",
        Remedy::Operator => "an operator",
        Remedy::Retry => "nobody; Perennial retries automatically",
    }
}

fn left(condition: &Condition) -> Option<String> {
    condition.runway_seconds.map(|seconds| match seconds {
        0 => "none: no access token can be had any more".to_owned(),
        some => relative::span(chrono::TimeDelta::seconds(some)),
    })
}

/// Name and value of each thing to be said about an incident.
fn facts(change: &Notification, now: Timestamp) -> Vec<(&'static str, String)> {
    let Notification { what, condition, .. } = change;
    let mut facts = Vec::new();
    if !condition.tokens.is_empty() {
        facts.push(("Tokens", condition.names(MOST_NAMES)));
    }
    let since =
        format!("{} ({})", condition.since.format("%Y-%m-%d %H:%M UTC"), relative::ago(condition.since, now));
    if *what == EventKind::Resolved {
        facts.push(("It was", cut(&condition.summary, MOST_CHARS)));
        facts.push(("Since", since));
        return facts;
    }
    facts.push(("What", cut(&condition.summary, MOST_CHARS)));
    facts.push(("Since", since));
    if let Some(left) = left(condition) {
        facts.push(("Time left", left));
    }
    facts.push(("Who can fix it", who(condition).to_owned()));
    if !condition.owners.is_empty() {
        facts.push(("Owner", cut(&condition.owners.join(", "), MOST_CHARS)));
    }
    facts.push(("What to do", cut(&condition.action, MOST_CHARS)));
    if *what != EventKind::Test {
        facts.push(("Runbook", runbook(condition)));
    }
    let ids = condition.trace.parts();
    if !ids.is_empty() {
        facts.push(("For support", ids.join(", ")));
    }
    facts
}

/// Where the runbook tells about a condition: a section is called as the kind.
pub fn runbook(condition: &Condition) -> String {
    format!("docs/runbook.md#{}", condition.kind.as_str())
}

/// How many incidents are not shown.
fn unshown(changes: &[Notification]) -> Option<String> {
    let more = changes.len().checked_sub(MOST_SHOWN).filter(|more| *more > 0)?;
    Some(format!("and {more} more: see the status page"))
}

/// An Adaptive Card for a Workflows webhook (docs/azure-facts.md F501).
pub fn teams(changes: &[Notification], now: Timestamp) -> Value {
    let text = |text: &str| json!({"type": "TextBlock", "text": text, "wrap": true});
    let grave = changes.iter().any(|change| change.what != EventKind::Resolved && is_critical(change));
    let calm = changes.iter().all(|change| matches!(change.what, EventKind::Resolved | EventKind::Test));
    let colour = if grave {
        "Attention"
    } else if calm {
        "Good"
    } else {
        "Warning"
    };
    let heading = json!({"type": "TextBlock", "text": headline(changes), "weight": "Bolder", "size": "Medium",
        "wrap": true, "style": "heading", "color": colour});
    let mut body = vec![heading];
    for change in changes.iter().take(MOST_SHOWN) {
        if changes.len() > 1 {
            let Notification { what, condition, .. } = change;
            let title = format!("{}: {}", word(*what, condition), condition.kind.title());
            body.push(json!({"type": "TextBlock", "text": title, "weight": "Bolder", "wrap": true,
                "separator": true}));
        }
        let facts = facts(change, now).into_iter();
        let facts: Vec<Value> = facts.map(|(title, value)| json!({"title": title, "value": value})).collect();
        body.push(json!({"type": "FactSet", "facts": facts}));
    }
    if let Some(more) = unshown(changes) {
        body.push(text(&more));
    }
    json!({"type": "message", "attachments": [{
        "contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null,
        "content": {"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard",
            "version": "1.2", "msteams": {"width": "full"}, "body": body}}]})
}

/// A message of an incoming webhook (docs/azure-facts.md F502: three letters are escaped).
pub fn slack(changes: &[Notification], now: Timestamp) -> Value {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let section = |text: String| json!({"type": "section", "text": {"type": "mrkdwn", "text": text}});
    let headline = escaped(&headline(changes));
    let mut blocks = vec![section(format!("*{headline}*"))];
    for change in changes.iter().take(MOST_SHOWN) {
        let mut text = String::new();
        if changes.len() > 1 {
            let Notification { what, condition, .. } = change;
            push(
                &mut text,
                format_args!("*{}: {}*\n", word(*what, condition), escaped(condition.kind.title())),
            );
        }
        for (name, value) in facts(change, now) {
            push(&mut text, format_args!("*{name}:* {}\n", escaped(&value)));
        }
        blocks.push(section(cut(text.trim_end(), 2900)));
    }
    if let Some(more) = unshown(changes) {
        blocks.push(section(more));
    }
    json!({"text": headline, "blocks": blocks})
}

/// A mail in plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// One line.
    pub subject: String,
    /// All that there is to say.
    pub text: String,
    /// The same whenever the same is told: a mail that comes twice can be known by it.
    pub id: Uuid,
    /// The incident, where it is about one: mail programs show what refers to it as one thread.
    pub thread: Option<Uuid>,
}

/// A mail about everything in a message.
pub fn mail(changes: &[Notification], now: Timestamp) -> Mail {
    let mut text = String::new();
    for change in changes.iter().take(MOST_SHOWN) {
        let Notification { what, condition, .. } = change;
        push(&mut text, format_args!("{}: {}\n\n", word(*what, condition), condition.kind.title()));
        for (name, value) in facts(change, now) {
            push(&mut text, format_args!("{name}: {value}\n"));
        }
        text.push_str("\n\n");
    }
    if let Some(more) = unshown(changes) {
        push(&mut text, format_args!("{more}\n"));
    }
    let ids: Vec<u8> = changes.iter().flat_map(|change| change.id().into_bytes()).collect();
    let thread = match changes {
        [only] => Some(only.condition.id),
        _ => None,
    };
    let text = format!("{}\n", text.trim_end());
    Mail { subject: headline(changes), text, id: Uuid::new_v5(&Uuid::NAMESPACE_OID, &ids), thread }
}

/// An event of `PagerDuty`'s Events API v2: the incident's id is the `dedup_key`, so that a trigger that is sent
/// again adds to the open incident, and a resolve for none is dropped.
pub fn pagerduty(change: &Notification, routing_key: &str, host: &str, now: Timestamp) -> Value {
    let Notification { what, condition, .. } = change;
    let dedup_key = condition.id.to_string();
    if *what == EventKind::Resolved {
        return json!({"routing_key": routing_key, "event_action": "resolve", "dedup_key": dedup_key});
    }
    let severity = match (what, condition.severity) {
        (EventKind::Test, _) => "info",
        (_, Severity::Critical) => "critical",
        (_, Severity::Warning) => "warning",
    };
    let details: serde_json::Map<String, Value> = facts(change, now)
        .into_iter()
        .map(|(name, value)| (name.to_lowercase().replace(' ', "_"), Value::String(value)))
        .collect();
    json!({"routing_key": routing_key, "event_action": "trigger", "dedup_key": dedup_key, "client": "Perennial",
    "payload": {
        "summary": cut(&format!("{}: {}", headline(std::slice::from_ref(change)), condition.summary),
            PAGERDUTY_SUMMARY),
        "source": host,
        "severity": severity,
        "timestamp": rfc3339(condition.since),
        "component": condition.cause,
        "group": condition.tokens.first(),
        "class": condition.kind.as_str(),
        "custom_details": details,
    }})
}

/// A `CloudEvents` 1.0 event in the structured form (docs/azure-facts.md F504). `source` and `id`
/// together are the same whenever the same thing is told.
pub fn cloud_event(change: &Notification, now: Timestamp) -> Value {
    let Notification { what, condition, .. } = change;
    json!({
        "specversion": "1.0",
        "id": change.id().to_string(),
        "source": "/perennial",
        "type": format!("{EVENT_TYPE}.{}.v1", what.as_str()),
        "time": rfc3339(now),
        "subject": condition.cause,
        "datacontenttype": "application/json",
        "data": {"what": what.as_str(), "title": condition.kind.title(), "runbook": runbook(condition),
            "condition": condition},
    })
}

/// The signature of a message by Standard Webhooks 1.0 ("Signature scheme"): HMAC-SHA256 over id, time and body.
/// A key that begins with `whsec_` is base64 behind that; any other is taken as it is.
pub fn signature(key: &str, id: &str, seconds: i64, body: &str) -> String {
    let decoded = key.strip_prefix("whsec_").and_then(|rest| STANDARD.decode(rest).ok());
    let key = hmac::Key::new(hmac::HMAC_SHA256, decoded.as_deref().unwrap_or(key.as_bytes()));
    let tag = hmac::sign(&key, format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag.as_ref()))
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a string takes whatever is written to it");
}

#[cfg(test)]
mod tests;
