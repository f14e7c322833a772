//! Interprets a receiver's response by its HTTP status and its body. A body can report a failure even if the status is
//! 200.
//!
//! Only known body formats are parsed. Perennial shows only a status or a lower-case word from a body.

use std::time::Duration;

use serde_json::Value;

use crate::net::no_response::NoResponse;

/// The longest wait that Perennial accepts from a receiver. If a receiver requests a longer wait, Perennial waits only
/// this long.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);
/// The wait after HTTP status 410 Gone (docs/azure-facts.md F504).
pub(super) const GONE_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The response of a receiver.
#[derive(Clone, Debug)]
pub struct Received {
    /// The HTTP status.
    pub status: u16,
    /// The wait that the receiver requested in `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The reason for a rejection, if the body contains a rejection in a known format.
    pub refusal: Option<Refusal>,
}

/// A failed delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// The reason in Perennial's own words, without a URL or a secret.
    pub why: String,
    /// Whether an operator must act, because retries cannot succeed.
    pub permanent: bool,
    /// Whether the receiver rejected this particular message. The receiver may accept other messages.
    pub message_rejected: bool,
    /// The wait that the receiver requested, or the wait after status 410.
    pub after: Option<Duration>,
}

impl Undelivered {
    pub(super) fn settled(why: impl Into<String>) -> Self {
        Self { permanent: true, ..Self::passing(why) }
    }

    /// Creates a failure that may be temporary.
    pub fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), permanent: false, message_rejected: false, after: None }
    }
}

/// Decides by the response whether the message was delivered.
pub(super) fn judged(answer: Result<Received, NoResponse>) -> Result<(), Undelivered> {
    let answer = answer.map_err(|why| Undelivered::passing(format!("no answer: {why}")))?;
    let Received { status, retry_after, refusal } = answer;
    let (status, why) = match (status, refusal) {
        (_, Some(Refusal::Status(behind))) => {
            (behind, format!("HTTP status {status} from the webhook, but HTTP status {behind} from Teams"))
        }
        (200..=299, Some(Refusal::Word(word))) => (400, format!("HTTP status {status} ({word})")),
        (_, Some(Refusal::Word(word))) => (status, format!("HTTP status {status} ({word})")),
        (_, None) => (status, format!("HTTP status {status}")),
    };
    match status {
        200..=299 => Ok(()),
        410 => Err(Undelivered { after: Some(GONE_WAIT), ..Undelivered::settled(why) }),
        408 | 425 | 429 | 500.. => {
            let after = retry_after.map(|after| after.min(LONGEST_ASKED));
            Err(Undelivered { after, ..Undelivered::passing(why) })
        }
        400 | 413 | 422 => Err(Undelivered { message_rejected: true, ..Undelivered::settled(why) }),
        _ => Err(Undelivered::settled(why)),
    }
}

/// A rejection that a response body reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The HTTP status of the service behind the webhook. Teams returns the status 200 and writes the status 413 or 429
    /// into the body's text (docs/azure-facts.md F501).
    Status(u16),
    /// Slack's error code (docs/azure-facts.md F502), or `refused` for a code with unexpected characters.
    Word(String),
}

impl Refusal {
    /// Reads a response body. `None` if the body does not report a rejection.
    pub fn in_body(body: &[u8]) -> Option<Self> {
        const TEAMS: &str = "Microsoft Teams endpoint returned HTTP error ";
        let text = std::str::from_utf8(body).ok()?.trim();
        if let Some((_, rest)) = text.split_once(TEAMS) {
            let digits = rest.get(..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
            return digits.parse().ok().filter(|status| *status >= 400).map(Self::Status);
        }
        if text != "ok" && is_word(text) {
            return Some(Self::Word(text.to_owned()));
        }
        let body: Value = serde_json::from_str(text).ok()?;
        let word = body["error"].as_str().filter(|_| body["ok"] == false)?;
        Some(Self::Word(if is_word(word) { word.to_owned() } else { "refused".to_owned() }))
    }
}

/// Whether a text is an error code such as `invalid_blocks`. A word without an underscore does not count, because it
/// may be ordinary text.
fn is_word(text: &str) -> bool {
    let is_short = (3..=40).contains(&text.len()) && text.contains('_');
    is_short && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_body_that_means_failure_is_a_rejection() {
        let teams = |status| {
            format!(
                "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error {status} with ContextId tcid=0"
            )
        };
        let word = |word: &str| Some(Refusal::Word(word.to_owned()));
        for (body, refusal) in [
            (teams("413"), Some(Refusal::Status(413))),
            (teams("429"), Some(Refusal::Status(429))),
            (teams("200"), None),
            (teams("4"), None),
            ("1".to_owned(), None),
            ("ok".to_owned(), None),
            (String::new(), None),
            ("invalid_blocks".to_owned(), word("invalid_blocks")),
            (r#"{"ok":false,"error":"channel_not_found"}"#.to_owned(), word("channel_not_found")),
            ("{\"ok\":false,\"error\":\"\\u001b[31m secret\"}".to_owned(), word("refused")),
            (r#"{"ok":true}"#.to_owned(), None),
            (r#"{"status":"success","dedup_key":"x"}"#.to_owned(), None),
            ("<html>not_found</html>".to_owned(), None),
        ] {
            assert_eq!(Refusal::in_body(body.as_bytes()), refusal, "{body}");
        }
    }
}
