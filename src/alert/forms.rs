//! The message formats of each kind of sink.
//!
//! This module is pure and owns the wire formats of messages. The only secret in a message is the routing key of
//! `PagerDuty`. Webhook messages are signed with a key, which is not in the message.

use std::fmt::Write as _;

use serde_json::{Value, json};
use uuid::Uuid;

use super::rules::{EventKind, Notification};
use crate::process::clock::Timestamp;
use crate::process::relative;
use crate::status::condition::{Condition, Severity};
use crate::token::managed::Deployment;

mod event;
mod signing;

pub use self::event::{cloud_event, pagerduty};
pub use self::signing::SigningKey;

/// The size limits of one message.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// The maximum number of incidents shown. The other incidents are only counted.
    incidents: usize,
    /// The maximum length in characters of each text about an incident: names, summary, owners and action. Longer texts
    /// are cut.
    chars: usize,
}

const fn size(incidents: usize, chars: usize) -> Size {
    Size { incidents, chars }
}

/// The possible sizes of a message, from the largest to the smallest. Perennial uses the largest size that fits into
/// the receiver's limit. `SIZES[0]` shows every action in full.
const SIZES: [Size; 6] =
    [size(10, 600), size(10, 300), size(10, 150), size(5, 150), size(3, 100), size(1, 60)];
/// The maximum number of token names shown for one incident.
const MOST_NAMES: usize = 10;
/// The maximum size of a Teams message in bytes, with a margin for the message's envelope (docs/azure-facts.md F501).
pub const TEAMS_BYTES: usize = 24_000;
/// The maximum size of a Slack message in bytes (docs/azure-facts.md F502).
pub const SLACK_BYTES: usize = 12_000;
/// The maximum length of a Slack section's text in characters (docs/azure-facts.md F502).
const SLACK_SECTION: usize = 2_900;

/// The title of a test message.
const TEST_TITLE: &str = "Test message";

/// Formats a message in the largest size that fits into `most_bytes`. If no size fits, uses the smallest size.
fn within(most_bytes: usize, form: impl Fn(Size) -> Value) -> Value {
    let [largest, smaller @ ..] = SIZES;
    let mut sizes = smaller.into_iter();
    let mut message = form(largest);
    while message.to_string().len() > most_bytes {
        let Some(smaller) = sizes.next() else { break };
        message = form(smaller);
    }
    message
}

/// The headline of a message, which also serves as the subject of a mail.
pub fn headline(changes: &[Notification]) -> String {
    if let [change] = changes {
        return format!("{}{}", title(change), of_whom(&change.condition));
    }
    let count = |wanted: fn(&Notification) -> bool| changes.iter().filter(|change| wanted(change)).count();
    let resolved = count(|change| change.what == EventKind::Resolved);
    let critical = count(|change| change.what != EventKind::Resolved && is_critical(change));
    let warnings = changes.len() - resolved - critical;
    let warning = if warnings == 1 { "warning" } else { "warnings" };
    let parts = [(critical, "critical"), (warnings, warning), (resolved, "resolved")];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, word)| format!("{count} {word}")).collect();
    format!("Perennial: {}", parts.join(", "))
}

fn is_critical(change: &Notification) -> bool {
    change.what != EventKind::Test && change.condition.severity == Severity::Critical
}

/// The title of a notification: what happened to which condition.
fn title(Notification { what, condition, .. }: &Notification) -> String {
    let word = match (what, condition.severity) {
        (EventKind::Test, _) => return TEST_TITLE.to_owned(),
        (EventKind::Resolved, _) => "Resolved",
        (EventKind::Flapping, _) => "Flapping",
        (EventKind::Reminder, Severity::Critical) => "Still critical",
        (EventKind::Reminder, Severity::Warning) => "Still a warning",
        (EventKind::Changed, Severity::Critical) => "Changed, critical",
        (EventKind::Changed, Severity::Warning) => "Changed, warning",
        (EventKind::Opened, Severity::Critical) => "Critical",
        (EventKind::Opened, Severity::Warning) => "Warning",
    };
    format!("{word}: {}", condition.kind.title())
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

fn left(condition: &Condition) -> Option<String> {
    condition.runway_seconds.map(|seconds| match seconds {
        0 => "none: no access token can be obtained".to_owned(),
        some => relative::span(chrono::TimeDelta::seconds(some)),
    })
}

/// The facts of a notification, each as a name and a value.
fn facts(
    change: &Notification,
    here: &Deployment,
    most: usize,
    now: Timestamp,
) -> Vec<(&'static str, String)> {
    let Notification { what, condition, lasted, .. } = change;
    let mut facts = Vec::new();
    if !condition.tokens.is_empty() {
        facts.push(("Tokens", cut(&condition.names(MOST_NAMES), most)));
    }
    let since = || {
        let ago = relative::ago(condition.since, now);
        format!("{} ({ago})", condition.since.format("%Y-%m-%d %H:%M UTC"))
    };
    match what {
        EventKind::Test => facts.push(("What", cut(&condition.summary, most))),
        EventKind::Resolved => {
            facts.push(("What it was", cut(&condition.summary, most)));
            facts.extend(lasted.map(|lasted| ("It lasted", relative::span(lasted))));
        }
        EventKind::Flapping => {
            facts.push(("What", cut(&condition.summary, most)));
            facts.push((
                "Flapping",
                "the condition began and ended several times. Perennial sends the next message after one hour without a change, or if the severity increases"
                    .to_owned(),
            ));
            facts.push(("Since", since()));
        }
        EventKind::Opened | EventKind::Changed | EventKind::Reminder => {
            facts.push(("What", cut(&condition.summary, most)));
            facts.push(("Since", since()));
        }
    }
    if !matches!(what, EventKind::Resolved | EventKind::Test) {
        facts.extend(left(condition).map(|left| ("Time left", left)));
        facts.push(("Who can fix it", condition.remedy.who(condition.kind).to_owned()));
        if !condition.owners.is_empty() {
            facts.push(("Owner", cut(&condition.owners.join(", "), most)));
        }
    }
    if *what != EventKind::Resolved {
        facts.push(("What to do", cut(&condition.action, most)));
    }
    facts.push(("Instance", here.instance.clone()));
    facts.extend(here.page_url.clone().map(|page| ("Status page", page)));
    if !matches!(what, EventKind::Resolved | EventKind::Test) {
        facts.push(("Runbook", runbook(condition, here)));
        let ids = condition.trace.parts();
        if !ids.is_empty() {
            facts.push(("For support", ids.join(", ")));
        }
    }
    facts
}

/// The link to the runbook section of a condition. The section's name is the kind of the condition.
pub fn runbook(condition: &Condition, here: &Deployment) -> String {
    let section = condition.kind.as_str();
    match &here.runbook_url {
        Some(url) => format!("{url}#{section}"),
        None => format!("docs/runbook.md, section {section}"),
    }
}

/// A text that says how many incidents are not shown.
fn unshown(changes: &[Notification], size: Size, here: &Deployment) -> Option<String> {
    let more = changes.len().checked_sub(size.incidents).filter(|more| *more > 0)?;
    let page = here.page_url.as_deref().unwrap_or("the status page");
    Some(format!("and {more} more: see {page}"))
}

/// Formats an Adaptive Card of at most `most_bytes`, for a Teams Workflows webhook (docs/azure-facts.md F501).
pub fn teams(changes: &[Notification], here: &Deployment, now: Timestamp, most_bytes: usize) -> Value {
    let calm = changes.iter().all(|change| matches!(change.what, EventKind::Resolved | EventKind::Test));
    let colour = if changes.iter().any(|change| change.what != EventKind::Resolved && is_critical(change)) {
        "Attention"
    } else if calm {
        "Good"
    } else {
        "Warning"
    };
    within(most_bytes, |size| {
        let heading = json!({"type": "TextBlock", "text": headline(changes), "weight": "Bolder", "size": "Medium",
            "wrap": true, "style": "heading", "color": colour});
        let mut body = vec![heading];
        for change in changes.iter().take(size.incidents) {
            if changes.len() > 1 {
                body.push(
                    json!({"type": "TextBlock", "text": title(change), "weight": "Bolder", "wrap": true,
                    "separator": true}),
                );
            }
            let facts = facts(change, here, size.chars, now).into_iter();
            let facts: Vec<Value> =
                facts.map(|(title, value)| json!({"title": title, "value": value})).collect();
            body.push(json!({"type": "FactSet", "facts": facts}));
        }
        if let Some(more) = unshown(changes, size, here) {
            body.push(json!({"type": "TextBlock", "text": more, "wrap": true}));
        }
        json!({"type": "message", "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null,
            "content": {"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard",
                "version": "1.2", "msteams": {"width": "full"}, "body": body}}]})
    })
}

/// Formats a message of at most `most_bytes`, for a Slack incoming webhook. Slack requires escapes for three characters
/// (docs/azure-facts.md F502).
pub fn slack(changes: &[Notification], here: &Deployment, now: Timestamp, most_bytes: usize) -> Value {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let section = |text: String| json!({"type": "section", "text": {"type": "mrkdwn", "text": text}});
    let headline = escaped(&headline(changes));
    within(most_bytes, |size| {
        let mut blocks = vec![section(format!("*{headline}*"))];
        for change in changes.iter().take(size.incidents) {
            let mut text = String::new();
            if changes.len() > 1 {
                push(&mut text, format_args!("*{}*\n", escaped(&title(change))));
            }
            for (name, value) in facts(change, here, size.chars, now) {
                push(&mut text, format_args!("*{name}:* {}\n", escaped(&value)));
            }
            blocks.push(section(cut(text.trim_end(), SLACK_SECTION)));
        }
        blocks.extend(unshown(changes, size, here).map(section));
        json!({"text": headline, "blocks": blocks})
    })
}

/// A plain-text mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The subject, which is one line.
    pub subject: String,
    /// The body of the mail.
    pub text: String,
    /// The id of the mail. If the same instance sends a message again, the id is the same, so that mail programs can
    /// recognize the duplicate.
    pub id: Uuid,
    /// The reference to the thread, derived from the incident and the instance. Mail programs group mails with the same
    /// reference into a thread. `None` if the mail is about several incidents.
    pub thread: Option<Uuid>,
}

/// Formats one mail about all `changes`. The mail describes the first ten changes and counts the others.
pub fn mail(changes: &[Notification], here: &Deployment, now: Timestamp) -> Mail {
    let size = SIZES[0];
    let mut text = String::new();
    for change in changes.iter().take(size.incidents) {
        push(&mut text, format_args!("{}\n\n", title(change)));
        for (name, value) in facts(change, here, size.chars, now) {
            push(&mut text, format_args!("{name}: {value}\n"));
        }
        text.push_str("\n\n");
    }
    if let Some(more) = unshown(changes, size, here) {
        push(&mut text, format_args!("{more}\n"));
    }
    let mut ids = here.instance.clone().into_bytes();
    ids.extend(changes.iter().flat_map(|change| change.id().into_bytes()));
    let thread = match changes {
        [only] => Some(Uuid::new_v5(&only.condition.id, here.instance.as_bytes())),
        _ => None,
    };
    let text = format!("{}\n", text.trim_end());
    Mail { subject: headline(changes), text, id: Uuid::new_v5(&Uuid::NAMESPACE_OID, &ids), thread }
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("writing to a string never fails");
}

#[cfg(test)]
mod tests;
