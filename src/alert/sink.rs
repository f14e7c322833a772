//! Where alerts and the heartbeat go, as configured.
//!
//! Pure data. Addresses and keys are secrets, so this holds only where to read them.

use std::sync::Arc;
use std::time::Duration;

use crate::net::address::TargetUrl;
use crate::status::condition::Severity;
use crate::token::secret::Source;

/// A configured alert destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// Its name.
    pub name: Arc<str>,
    /// Its kind and address.
    pub to: Destination,
    /// Less severe conditions are not sent.
    pub min_severity: Severity,
    /// Patterns of the tokens whose conditions are sent (`*` stands for any letters); empty for all.
    pub tokens: Vec<String>,
}

/// Where alerts go. Addresses and keys are secrets, so this holds only where to read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// `CloudEvents`, one for each change.
    Webhook {
        /// The address.
        url: Source,
        /// The key that signs what is sent.
        signing_key: Option<Source>,
    },
    /// A Microsoft Teams channel, by a Workflows webhook.
    Teams {
        /// The address.
        url: Source,
    },
    /// A Slack channel, by an incoming webhook.
    Slack {
        /// The address.
        url: Source,
    },
    /// A `PagerDuty` service, by its Events API.
    PagerDuty {
        /// The integration key.
        routing_key: Source,
        /// The API's server.
        endpoint: TargetUrl,
    },
    /// Mailboxes.
    Email(SmtpServer),
}

/// A mail server, the sender and the recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpServer {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether TLS begins with the connection; otherwise STARTTLS is required.
    pub tls_first: bool,
    /// The sender.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
    /// User and password, if the server requires authentication.
    pub login: Option<(String, Source)>,
}

impl Sink {
    /// Whether conditions of this token are sent.
    pub fn is_about(&self, token: &str) -> bool {
        self.tokens.is_empty() || self.tokens.iter().any(|pattern| fits(pattern, token))
    }
}

impl Destination {
    /// The sources of its secrets.
    pub fn sources(&self) -> Vec<&Source> {
        match self {
            Self::Webhook { url, signing_key } => std::iter::once(url).chain(signing_key).collect(),
            Self::Teams { url } | Self::Slack { url } => vec![url],
            Self::PagerDuty { routing_key, .. } => vec![routing_key],
            Self::Email(server) => server.login.iter().map(|(_, password)| password).collect(),
        }
    }

    /// Its name in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Teams { .. } => "teams",
            Self::Slack { .. } => "slack",
            Self::PagerDuty { .. } => "pagerduty",
            Self::Email(_) => "email",
        }
    }

    /// Whether the receiver recognizes an incident by its id. Such a receiver gets one message per incident and
    /// tolerates duplicates.
    pub fn keeps_incidents(&self) -> bool {
        matches!(self, Self::Webhook { .. } | Self::PagerDuty { .. })
    }
}

/// The monitor that raises an alarm when this process stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The address that is pinged; a secret.
    pub url: Source,
    /// The interval.
    pub every: Duration,
}

/// Whether a name matches a pattern, in which `*` stands for any letters. Case is ignored.
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
