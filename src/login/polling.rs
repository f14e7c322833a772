//! Polling with a device code: interval, duration, and the meaning of each response (RFC 8628, 3.5).

use std::time::Duration;

use chrono::TimeDelta;

use crate::net::backoff::{doubled, heed};
use crate::ports::IssuerError;
use crate::ports::diagnosis::{diagnose, is_of_another_server};
use crate::ports::failure::Remedy;
use crate::process::clock::Timestamp;

/// The polling interval if the issuer does not specify an interval (RFC 8628, 3.2).
const USUAL_INTERVAL: Duration = Duration::from_secs(5);

/// The increase of the interval after `slow_down` (RFC 8628, 3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// The maximum polling interval. This maximum also applies to intervals that the issuer requests.
const SLOWEST: Duration = Duration::from_secs(60);

/// The maximum duration of polling. Entra's device codes last 15 minutes.
const LONGEST: TimeDelta = TimeDelta::minutes(30);

/// The polling interval and the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polling {
    interval: Duration,
    ends_at: Timestamp,
}

/// How to continue after a poll that returned no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollingTurn {
    /// Poll again after this duration.
    Again(Duration),
    /// Stop polling and report this response. Either the response is final, or the response is a temporary failure and
    /// the device code would expire before the next poll.
    Over,
    /// Stop polling, because the device code has expired or would expire before the next poll.
    Expired,
}

impl Polling {
    /// Starts polling with the interval and lifetime that the issuer returned.
    pub fn new(interval: Duration, expires_in: Duration, now: Timestamp) -> Self {
        let interval = if interval.is_zero() { USUAL_INTERVAL } else { interval.min(SLOWEST) };
        let lasts = TimeDelta::from_std(expires_in).unwrap_or(LONGEST).min(LONGEST);
        Self { interval, ends_at: now + lasts }
    }

    /// The wait before the first poll.
    pub fn first(&self) -> Duration {
        self.interval
    }

    /// Decides how to continue after a poll that returned no tokens.
    pub fn after(&mut self, answer: &IssuerError, now: Timestamp) -> PollingTurn {
        match answer {
            IssuerError::Refused(refusal) => match refusal.error.as_str() {
                "authorization_pending" => {}
                "slow_down" => self.interval = (self.interval + SLOWER).min(SLOWEST),
                "expired_token" => return PollingTurn::Expired,
                _ => match diagnose(refusal).remedy {
                    Remedy::Retry if refusal.error != "unreadable" => self.ease(refusal.wait()),
                    Remedy::Retry | Remedy::Login | Remedy::Operator => return PollingTurn::Over,
                },
            },
            // After a timeout, exponential backoff is required (RFC 8628, 3.5).
            IssuerError::Unreachable(_) => self.ease(None),
            IssuerError::Unavailable { status, .. } if is_of_another_server(*status) => {
                return PollingTurn::Over;
            }
            IssuerError::Unavailable { retry_after, .. } => self.ease(*retry_after),
            IssuerError::NotUnderstood(_) | IssuerError::NoRefreshToken => return PollingTurn::Over,
        }
        let next = TimeDelta::from_std(self.interval).unwrap_or(LONGEST);
        if now + next < self.ends_at {
            PollingTurn::Again(self.interval)
        } else if is_pending(answer) {
            PollingTurn::Expired
        } else {
            PollingTurn::Over
        }
    }

    fn ease(&mut self, asked: Option<Duration>) {
        self.interval = heed(doubled(self.interval, SLOWEST, 1), asked, SLOWEST);
    }
}

/// Whether `answer` means that Entra still waits for the user.
fn is_pending(answer: &IssuerError) -> bool {
    let IssuerError::Refused(refusal) = answer else { return false };
    matches!(refusal.error.as_str(), "authorization_pending" | "slow_down")
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::net::no_response::NoResponse;
    use crate::ports::failure::Trace;
    use crate::ports::oauth_error::OAuthError;

    fn start() -> Timestamp {
        "2026-03-01T00:00:00Z".parse().expect("a time")
    }

    fn said(error: &str, code: Option<u32>) -> IssuerError {
        IssuerError::Refused(Box::new(OAuthError {
            status: 400,
            error: error.into(),
            trace: Trace::of(code),
            ..OAuthError::default()
        }))
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn polling_uses_the_issuers_interval_and_obeys_slow_down() {
        let mut polling = Polling::new(seconds(5), seconds(900), start());

        assert_eq!(polling.first(), seconds(5));
        assert_eq!(
            polling.after(&said("authorization_pending", Some(70016)), start()),
            PollingTurn::Again(seconds(5))
        );
        assert_eq!(polling.after(&said("slow_down", None), start()), PollingTurn::Again(seconds(10)));
        assert_eq!(
            polling.after(&said("authorization_pending", None), start()),
            PollingTurn::Again(seconds(10))
        );
        for _ in 0..20 {
            polling.after(&said("slow_down", None), start());
        }
        assert_eq!(polling.after(&said("slow_down", None), start()), PollingTurn::Again(SLOWEST));
        assert_eq!(Polling::new(Duration::ZERO, seconds(900), start()).first(), USUAL_INTERVAL);
    }

    #[test]
    fn polling_backs_off_during_an_outage() {
        let mut polling = Polling::new(seconds(5), seconds(900), start());
        let down = IssuerError::Unreachable(NoResponse::TimedOut);
        let throttled = IssuerError::Unavailable { status: 429, retry_after: Some(seconds(45)) };

        assert_eq!(polling.after(&down, start()), PollingTurn::Again(seconds(10)));
        assert_eq!(polling.after(&down, start()), PollingTurn::Again(seconds(20)));
        assert_eq!(polling.after(&throttled, start()), PollingTurn::Again(seconds(45)));
        assert_eq!(
            polling.after(&said("temporarily_unavailable", None), start()),
            PollingTurn::Again(SLOWEST)
        );
    }

    #[test]
    fn polling_ends_with_the_code_and_with_every_final_error() {
        let mut polling = Polling::new(seconds(5), seconds(900), start());
        let late = start() + TimeDelta::seconds(896);

        assert_eq!(polling.after(&said("authorization_pending", None), late), PollingTurn::Expired);
        assert_eq!(polling.after(&said("expired_token", Some(70019)), start()), PollingTurn::Expired);
        // If the last poll before the deadline fails, polling reports the failure, and not an expired code.
        let throttled = IssuerError::Unavailable { status: 429, retry_after: Some(seconds(60)) };
        for answer in [throttled, said("server_error", Some(90033)), said("invalid_grant", Some(50196))] {
            assert_eq!(polling.after(&answer, late), PollingTurn::Over, "{answer}");
        }
        let filter = IssuerError::Unavailable { status: 403, retry_after: None };
        assert_eq!(polling.after(&filter, start()), PollingTurn::Over);
        for word in ["authorization_declined", "access_denied", "bad_verification_code", "invalid_client"] {
            assert_eq!(polling.after(&said(word, None), start()), PollingTurn::Over, "{word}");
        }
        assert_eq!(polling.after(&said("invalid_grant", Some(53003)), start()), PollingTurn::Over);
        // If another server answers in Entra's place, polling stops at once.
        assert_eq!(polling.after(&IssuerError::NotUnderstood("x"), start()), PollingTurn::Over);
        let endless = Polling::new(seconds(5), Duration::MAX, start());
        assert_eq!(endless.ends_at, start() + LONGEST);
    }
}
