//! Configuration of the alert sinks and the heartbeat.
//!
//! This module contains only data. URLs and keys are secrets. The types here name only the places where the secrets are
//! stored (`Source`).

use std::sync::Arc;
use std::time::Duration;

use crate::net::address::TargetUrl;
use crate::status::condition::Severity;
use crate::token::secret::Source;

/// A configured destination of alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// The sink's name in the configuration.
    pub name: Arc<str>,
    /// The kind of the sink and its address.
    pub to: Destination,
    /// The minimum severity of conditions that are sent to this sink.
    pub min_severity: Severity,
    /// Name patterns of the tokens whose conditions are sent. In a pattern, `*` stands for any characters. An empty
    /// list matches all tokens.
    pub tokens: Vec<String>,
}

/// Where alerts are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A webhook that receives one `CloudEvents` event for each change.
    Webhook {
        /// The source of the webhook's URL.
        url: Source,
        /// The source of the key that signs events.
        signing_key: Option<Source>,
    },
    /// A Microsoft Teams channel with a Workflows webhook.
    Teams {
        /// The source of the webhook's URL.
        url: Source,
    },
    /// A Slack channel with an incoming webhook.
    Slack {
        /// The source of the webhook's URL.
        url: Source,
    },
    /// A `PagerDuty` service with its Events API.
    PagerDuty {
        /// The source of the service's integration key.
        routing_key: Source,
        /// The base URL of the Events API.
        endpoint: TargetUrl,
    },
    /// One or more mailboxes, reached through a mail server.
    Email(SmtpServer),
}

/// A mail server, the sender and the recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpServer {
    /// The mail server's host name or address.
    pub host: String,
    /// The mail server's port.
    pub port: u16,
    /// Whether the connection starts with TLS. Otherwise STARTTLS is required, except on loopback.
    pub tls_first: bool,
    /// The sender's mail address.
    pub from: String,
    /// The recipients' mail addresses.
    pub to: Vec<String>,
    /// The user name and the source of the password, if the server requires authentication.
    pub login: Option<(String, Source)>,
}

impl Sink {
    /// Whether conditions of this token are sent to this sink.
    pub fn is_about(&self, token: &str) -> bool {
        self.tokens.is_empty() || self.tokens.iter().any(|pattern| fits(pattern, token))
    }
}

impl Destination {
    /// The sources of the destination's secrets.
    pub fn sources(&self) -> Vec<&Source> {
        match self {
            Self::Webhook { url, signing_key } => std::iter::once(url).chain(signing_key).collect(),
            Self::Teams { url } | Self::Slack { url } => vec![url],
            Self::PagerDuty { routing_key, .. } => vec![routing_key],
            Self::Email(server) => server.login.iter().map(|(_, password)| password).collect(),
        }
    }

    /// The kind's name in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Teams { .. } => "teams",
            Self::Slack { .. } => "slack",
            Self::PagerDuty { .. } => "pagerduty",
            Self::Email(_) => "email",
        }
    }

    /// Whether the receiver tracks incidents by their id. Such a receiver recognizes duplicates, and gets a separate
    /// message about each incident.
    pub fn keeps_incidents(&self) -> bool {
        matches!(self, Self::Webhook { .. } | Self::PagerDuty { .. })
    }
}

/// The heartbeat to a monitor. The monitor raises an alarm when this process stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The source of the heartbeat's URL, which is a secret.
    pub url: Source,
    /// The interval between heartbeats.
    pub every: Duration,
}

/// Whether a name matches a pattern. In a pattern, `*` stands for any characters. Case is ignored.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_ascii_lowercase(), name.to_ascii_lowercase());
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_patterns() {
        for (pattern, name, does) in [
            ("a", "A", true),
            ("a", "ab", false),
            ("*", "anything", true),
            ("con*", "contoso", true),
            ("*oso", "contoso", true),
            ("c*t*o", "contoso", true),
            ("c*x*o", "contoso", false),
            ("ab*b", "ab", false),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern, name), does, "{pattern} {name}");
        }
    }
}
