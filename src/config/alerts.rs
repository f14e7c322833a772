//! Parses `[[alert]]` (alert destinations) and `[heartbeat]` (dead-man's switch).

use std::sync::Arc;
use std::time::Duration;

use config::Value;
use reqwest::Url;

use super::grants::local_source;
use super::rules;
use super::walk::{Checked, Problems, Section, Wanted};
use crate::alert::sink::{Destination, Heartbeat, Sink, SmtpServer, fits};
use crate::net::address::TargetUrl;
use crate::status::condition::Severity;
use crate::token::managed::ManagedToken;
use crate::token::secret::Source;

/// The keys of `[[alert]]`.
pub(super) const ALERT: &[&str] = &[
    "name",
    "kind",
    "url",
    "signing_key",
    "routing_key",
    "endpoint",
    "server",
    "from",
    "to",
    "username",
    "password",
    "min_severity",
    "tokens",
];
/// The keys of `[[alert]]` that are valid only for some kinds of sink.
const OF_A_KIND: [&str; 9] =
    ["url", "signing_key", "routing_key", "endpoint", "server", "from", "to", "username", "password"];
/// The keys whose value says where a secret is stored.
const SECRETS: [&str; 4] = ["url", "signing_key", "routing_key", "password"];
/// The keys of `[heartbeat]`.
pub(super) const HEARTBEAT: &[&str] = &["url", "every"];

/// The default interval of the heartbeat.
const BEAT: Duration = Duration::from_secs(5 * 60);
/// The shortest interval of the heartbeat. If a receiver gets more than five pings a minute, it may drop some
/// (docs/azure-facts.md F505).
const SHORTEST_BEAT: Duration = Duration::from_secs(15);
const LONGEST_BEAT: Duration = Duration::from_secs(24 * 60 * 60);

const NO_VAULT: &str =
    "must not be a vault secret: Perennial must be able to send an alert about an unreadable vault";

pub(super) fn alerts(root: &Section<'_>, list: Option<toml::Value>) -> Checked<Vec<Sink>> {
    let list = match list {
        None => return Ok(Vec::new()),
        Some(toml::Value::Array(list)) => list,
        Some(_) => return Err(root.note("alert", "must be a list: start each sink with [[alert]]")),
    };
    let problems = root.problems();
    let values = list.into_iter().enumerate();
    let sinks: Vec<Checked<Sink>> = values
        .map(|(index, value)| sink(&format!("alert[{index}]"), super::plain(value), problems))
        .collect();
    let sinks: Vec<Sink> = sinks.into_iter().collect::<Checked<_>>()?;
    for (index, sink) in sinks.iter().enumerate() {
        if sinks[..index].iter().any(|other| other.name.eq_ignore_ascii_case(&sink.name)) {
            return Err(root.note(&format!("alert[{index}].name"), "is already the name of another sink"));
        }
    }
    Ok(sinks)
}

/// Reports each pattern in an alert's `tokens` that matches no token. Such a pattern has no effect.
pub(super) fn narrowed_to_some(root: &Section<'_>, sinks: &[Sink], tokens: &[ManagedToken]) -> Checked<()> {
    let mut all = Ok(());
    for (index, sink) in sinks.iter().enumerate() {
        for (place, pattern) in sink.tokens.iter().enumerate() {
            if !tokens.iter().any(|grant| fits(pattern, grant.name.as_str())) {
                let key = format!("alert[{index}].tokens[{place}]");
                all = Err(root.note(&key, "matches no configured token"));
            }
        }
    }
    all
}

fn sink(path: &str, value: Value, problems: &Problems) -> Checked<Sink> {
    let section = Section::open(path, Some(value), ALERT, problems)?;
    let kind = section.required("kind", kind);
    let name = section.optional("name", |text| rules::token_name(text).map(|name| name.to_string()));
    let min_severity = section.optional("min_severity", severity);
    let tokens = section.list("tokens", TOKENS, |text| Ok(text.to_owned()));
    let url = |key| local_source(&section, key, NO_VAULT);
    if kind.is_err() {
        // An invalid `kind` must not hide a second mistake: a key in `SECRETS` that contains the secret itself instead
        // of its source.
        section.present(&SECRETS).into_iter().map(url).for_each(drop);
    }
    let kind = kind?;
    let own: &[&str] = match kind {
        "webhook" => &["url", "signing_key"],
        "pagerduty" => &["routing_key", "endpoint"],
        "email" => &["server", "from", "to", "username", "password"],
        _ => &["url"],
    };
    let strangers = OF_A_KIND.iter().filter(|key| !own.contains(key));
    for key in section.present(&strangers.copied().collect::<Vec<_>>()) {
        section.note(key, format!("is not valid for kind = \"{kind}\""));
    }
    let to = match kind {
        "webhook" => {
            let signing_key = section.get("signing_key").map(|_| url("signing_key"));
            Destination::Webhook { url: url("url")?, signing_key: signing_key.transpose()? }
        }
        "teams" => Destination::Teams { url: url("url")? },
        "slack" => Destination::Slack { url: url("url")? },
        "email" => Destination::Email(post(&section)?),
        _ => {
            let endpoint = section.optional("endpoint", endpoint);
            let routing_key = url("routing_key")?;
            Destination::PagerDuty { routing_key, endpoint: endpoint?.unwrap_or_else(pagerduty) }
        }
    };
    Ok(Sink {
        name: name?.map_or_else(|| Arc::from(kind), Arc::from),
        to,
        min_severity: min_severity?.unwrap_or(Severity::Warning),
        tokens: tokens?.unwrap_or_default(),
    })
}

/// Parses a mail server and the recipients.
fn post(section: &Section<'_>) -> Checked<SmtpServer> {
    let server = section.required("server", mail_server);
    let from = section.required("from", mailbox);
    let to = section
        .list("to", "must be a list of at least one address in quotes", mailbox)
        .and_then(|to| to.ok_or_else(|| section.note("to", "is required: the recipients of the mail")));
    let username = section.optional("username", |text| Ok(text.to_owned()));
    let password = section.get("password").map(|_| local_source(section, "password", NO_VAULT)).transpose();
    let login = match (username?, password?) {
        (Some(username), Some(password)) => Some((username, password)),
        (None, None) => None,
        (Some(_), None) => return Err(section.note("password", "is required with `username`")),
        (None, Some(_)) => return Err(section.note("username", "is required with `password`")),
    };
    let (tls_first, host, port) = server?;
    let to = to?;
    Ok(SmtpServer { host, port, tls_first, from: from?, to, login })
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
    let known = ["webhook", "teams", "slack", "pagerduty", "email"].into_iter().find(|kind| *kind == text);
    known.ok_or("must be `webhook`, `teams`, `slack`, `pagerduty` or `email`")
}

fn severity(text: &str) -> Result<Severity, Wanted> {
    match text {
        "warning" => Ok(Severity::Warning),
        "critical" => Ok(Severity::Critical),
        _ => Err("must be `warning` or `critical`"),
    }
}

/// Returns the default endpoint of `PagerDuty` (Events API v2, docs/azure-facts.md F503).
fn pagerduty() -> TargetUrl {
    TargetUrl::parse("https://events.pagerduty.com").expect("it begins with https://")
}

/// Parses the address of an HTTPS server, or of a simulated server on loopback.
fn endpoint(text: &str) -> Result<TargetUrl, Wanted> {
    let stand_in = text.starts_with("http://").then(|| TargetUrl::parse(text).ok()).flatten();
    stand_in.map_or_else(|| rules::base_url(text).map(TargetUrl::from), Ok)
}

/// Parses the address of a mail server. Returns whether the connection starts with TLS. Also returns the host and the
/// port. The default port is 465 if the connection starts with TLS, else 587 (RFC 8314, 3.3).
fn mail_server(text: &str) -> Result<(bool, String, u16), Wanted> {
    const WANTED: &str =
        "must be smtps://host (port 465) or smtp://host (port 587); add :port for another port";
    let url = Url::parse(text).map_err(|_| WANTED)?;
    let (tls_first, usual) = match url.scheme() {
        "smtps" => (true, 465),
        "smtp" => (false, 587),
        _ => return Err(WANTED),
    };
    let more = url.has_authority() && url.username().is_empty() && url.password().is_none();
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    let host = url.host_str().filter(|host| more && bare && !host.is_empty()).ok_or(WANTED)?;
    Ok((tls_first, host.trim_matches(['[', ']']).to_owned(), url.port().unwrap_or(usual)))
}

fn mailbox(text: &str) -> Result<String, Wanted> {
    let address: Result<lettre::Address, _> = text.parse();
    address
        .map(|address| address.to_string())
        .map_err(|_| "must be an email address, such as on-call@contoso.com")
}

const TOKENS: &str = "must be a list of names in quotes; `*` matches any characters";
