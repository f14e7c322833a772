//! Where alerts and the heartbeat go, as configured.
//!
//! Pure data. Addresses and keys are secrets, so this holds only where to read them.

use std::sync::Arc;
use std::time::Duration;

use crate::net::address::TargetUrl;
use crate::status::condition::Severity;
use crate::token::secret::Source;

/// A place that alerts go to, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// What it is called.
    pub name: Arc<str>,
    /// What it is, and where.
    pub to: Destination,
    /// Nothing less grave is told there.
    pub min_severity: Severity,
    /// The tokens it is told about, with `*` for any letters; all where there is none.
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

/// A mail server, and what it is given to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpServer {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether TLS begins with the connection; otherwise it is asked for (STARTTLS).
    pub tls_first: bool,
    /// Who it comes from.
    pub from: String,
    /// Whom it goes to.
    pub to: Vec<String>,
    /// A user of the server and the password, where it wants to know.
    pub login: Option<(String, Source)>,
}

impl Sink {
    /// Whether it is told about a token of this name.
    pub fn is_about(&self, token: &str) -> bool {
        self.tokens.is_empty() || self.tokens.iter().any(|pattern| fits(pattern, token))
    }
}

impl Destination {
    /// The word in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Teams { .. } => "teams",
            Self::Slack { .. } => "slack",
            Self::PagerDuty { .. } => "pagerduty",
            Self::Email(_) => "email",
        }
    }

    /// Whether the receiver knows an incident again by its id: it gets one message for each, and may get it twice.
    pub fn keeps_incidents(&self) -> bool {
        matches!(self, Self::Webhook { .. } | Self::PagerDuty { .. })
    }
}

/// Who is to notice when this process is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The address that is pinged; a secret.
    pub url: Source,
    /// How often.
    pub every: Duration,
}

/// Whether a name fits a pattern, in which `*` stands for any letters. Case makes no difference.
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
