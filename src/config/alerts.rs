//! `[[alert]]` and `[heartbeat]`: who is told, and who is to notice when nobody tells any more.

use std::sync::Arc;
use std::time::Duration;

use config::Value;
use config::ValueKind;
use reqwest::Url;

use super::Heartbeat;
use super::grants::local_source;
use super::rules;
use super::walk::Checked;
use super::walk::Problems;
use super::walk::Section;
use super::walk::Wanted;
use crate::alert::Destination;
use crate::alert::Sink;
use crate::condition::Severity;
use crate::token::Source;

/// Keys of `[[alert]]`.
pub(super) const ALERT: &[&str] =
    &["name", "kind", "url", "signing_key", "routing_key", "endpoint", "min_severity", "tokens"];
/// Keys of `[heartbeat]`.
pub(super) const HEARTBEAT: &[&str] = &["url", "every"];

/// Where `PagerDuty` takes events (Events API v2).
const PAGERDUTY: &str = "https://events.pagerduty.com";

/// How often the heartbeat is sent unless told otherwise.
const BEAT: Duration = Duration::from_secs(5 * 60);
/// More pings a minute than five may be dropped (healthchecks, `http_api`).
const SHORTEST_BEAT: Duration = Duration::from_secs(15);
const LONGEST_BEAT: Duration = Duration::from_secs(24 * 60 * 60);

const NO_VAULT: &str =
    "must not be a vault secret: an alert about a vault that cannot be read could not be sent";

pub(super) fn alerts(root: &Section<'_>, list: Option<toml::Value>) -> Checked<Vec<Sink>> {
    let list = match list {
        None => return Ok(Vec::new()),
        Some(toml::Value::Array(list)) => list,
        Some(_) => return Err(root.note("alert", "must be a list: begin each sink with [[alert]]")),
    };
    let problems = root.problems();
    let values = list.into_iter().enumerate();
    let sinks: Vec<Checked<Sink>> = values
        .map(|(index, value)| sink(&format!("alert[{index}]"), super::plain(value), problems))
        .collect();
    let sinks: Vec<Sink> = sinks.into_iter().collect::<Checked<_>>()?;
    for (index, sink) in sinks.iter().enumerate() {
        if sinks[..index].iter().any(|other| other.name.eq_ignore_ascii_case(&sink.name)) {
            return Err(root.note(&format!("alert[{index}].name"), "is also another sink's"));
        }
    }
    Ok(sinks)
}

fn sink(path: &str, value: Value, problems: &Problems) -> Checked<Sink> {
    let section = Section::open(path, Some(value), ALERT, problems)?;
    let kind = section.required("kind", kind);
    let name = section.optional("name", |text| rules::token_name(text).map(|name| name.to_string()));
    let min_severity = section.optional("min_severity", severity);
    let tokens = patterns(&section);
    let kind = kind?;
    let own: &[&str] = match kind {
        "webhook" => &["url", "signing_key"],
        "pagerduty" => &["routing_key", "endpoint"],
        _ => &["url"],
    };
    let strangers = ["url", "signing_key", "routing_key", "endpoint"].iter().filter(|key| !own.contains(key));
    for key in section.present(&strangers.copied().collect::<Vec<_>>()) {
        section.note(key, format!("does not go with kind = \"{kind}\""));
    }
    let url = |key| local_source(&section, key, NO_VAULT);
    let to = match kind {
        "webhook" => {
            let signing_key = section.get("signing_key").map(|_| url("signing_key"));
            Destination::Webhook { url: url("url")?, signing_key: signing_key.transpose()? }
        }
        "teams" => Destination::Teams { url: url("url")? },
        "slack" => Destination::Slack { url: url("url")? },
        _ => {
            let endpoint = section.optional("endpoint", endpoint);
            let routing_key = url("routing_key")?;
            Destination::PagerDuty { routing_key, endpoint: endpoint?.unwrap_or_else(|| PAGERDUTY.into()) }
        }
    };
    Ok(Sink {
        name: name?.map_or_else(|| Arc::from(kind), Arc::from),
        to,
        min_severity: min_severity?.unwrap_or(Severity::Warning),
        tokens: tokens?,
    })
}

pub(super) fn heartbeat(root: &Section<'_>) -> Checked<Option<Heartbeat>> {
    if root.get("heartbeat").is_none() {
        return Ok(None);
    }
    let section = root.section("heartbeat", HEARTBEAT)?;
    let url: Checked<Source> = local_source(&section, "url", NO_VAULT);
    let every = section.optional("every", rules::duration)?.unwrap_or(BEAT);
    if !(SHORTEST_BEAT..=LONGEST_BEAT).contains(&every) {
        return Err(section.note("every", "must be between 15s and 1d"));
    }
    Ok(Some(Heartbeat { url: url?, every }))
}

fn kind(text: &str) -> Result<&'static str, Wanted> {
    let known = ["webhook", "teams", "slack", "pagerduty"].into_iter().find(|kind| *kind == text);
    known.ok_or("must be `webhook`, `teams`, `slack` or `pagerduty`")
}

fn severity(text: &str) -> Result<Severity, Wanted> {
    match text {
        "warning" => Ok(Severity::Warning),
        "critical" => Ok(Severity::Critical),
        _ => Err("must be `warning` or `critical`"),
    }
}

/// A server that is reached over HTTPS, or a stand-in on this machine.
fn endpoint(text: &str) -> Result<String, Wanted> {
    let on_loopback = Url::parse(text).is_ok_and(|url| may_send_to(&url));
    if on_loopback && text.starts_with("http://") {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Ok(rules::trimmed(&rules::base_url(text)?))
}

/// Names of tokens, with `*` for any letters.
fn patterns(section: &Section<'_>) -> Checked<Vec<String>> {
    const WANTED: &str = "must be a list of names in quotes; `*` stands for any letters";
    let Some(value) = section.get("tokens") else { return Ok(Vec::new()) };
    let ValueKind::Array(list) = &value.kind else { return Err(section.note("tokens", WANTED)) };
    let text = |value: &Value| match &value.kind {
        ValueKind::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        _ => None,
    };
    let patterns: Option<Vec<String>> = list.iter().map(text).collect();
    patterns.filter(|patterns| !patterns.is_empty()).ok_or_else(|| section.note("tokens", WANTED))
}

/// Whether something may be sent there: over HTTPS, or without it to this machine itself.
pub fn may_send_to(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    match url.scheme() {
        "https" => url.host().is_some(),
        "http" => loopback,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_in_the_clear_but_to_this_machine() {
        for (url, may) in [
            ("https://hooks.example/x?sig=1", true),
            ("http://127.0.0.1:9/x", true),
            ("http://[::1]:9/x", true),
            ("http://localhost/x", true),
            ("http://hooks.example/x", false),
            ("http://localhost.example/x", false),
            ("ftp://localhost/x", false),
        ] {
            assert_eq!(may_send_to(&url.parse().expect("a URL")), may, "{url}");
        }
    }
}
