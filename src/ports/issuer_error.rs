//! The errors of the token endpoint. `diagnosis` gives the meaning of Entra's own errors.

use std::time::Duration;

use thiserror::Error;

use crate::net::no_response::NoResponse;
use crate::ports::advice::Advice;
use crate::ports::diagnosis::{diagnose, is_of_another_server};
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy, Trace};
use crate::ports::oauth_error::OAuthError;

/// Why a request to the token endpoint failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IssuerError {
    /// There was no response.
    #[error("no answer from Entra: {0}")]
    Unreachable(NoResponse),
    /// The response has no OAuth body. Such a response comes from a gateway, from a proxy, or from a service that
    /// throttles (docs/azure-facts.md F127).
    #[error("{}", unavailable_text(*.status))]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// The wait that the service requested in `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The response has a 2xx status but is not a valid token response.
    #[error("Entra's answer could not be read: {0}")]
    NotUnderstood(&'static str),
    /// The response has no refresh token, so the redeemed token stays in use.
    #[error("Entra returned no refresh token")]
    NoRefreshToken,
    /// Entra returned an OAuth error.
    #[error("Entra refused: {}", refusal_text(.0))]
    Refused(Box<OAuthError>),
}

fn unavailable_text(status: u16) -> String {
    if is_of_another_server(status) {
        return format!("another server answered in place of Entra, with status {status}");
    }
    format!("Entra answered with status {status}")
}

/// The text for a rejection: the OAuth error, the number, and the meaning of the number in a few words.
fn refusal_text(refusal: &OAuthError) -> String {
    let meaning = diagnose(refusal).meaning;
    match refusal.trace.code {
        Some(code) if meaning.is_empty() => {
            format!("{}, AADSTS{code} (a code that Perennial does not know)", refusal.error)
        }
        Some(code) => format!("{}, AADSTS{code} ({meaning})", refusal.error),
        None => match refusal.b2c_code {
            Some(code) => format!("{}, AADB2C{code}", refusal.error),
            None => refusal.error.clone(),
        },
    }
}

impl IssuerError {
    /// Converts this error to a failure with its remedy and text.
    pub fn failure(&self) -> Failure {
        let retry = |kind, advice| Failure {
            advice: Some(advice),
            ..Failure::new(kind, Remedy::Retry, FailureSubject::Grant, self.to_string())
        };
        match self {
            Self::Unreachable(why) => retry(Kind::EntraUnreachable, Advice::Network(*why)),
            Self::NotUnderstood(_) => retry(Kind::EntraUnreachable, Advice::Intercepted),
            Self::Unavailable { status, retry_after } => {
                let (kind, advice) = match status {
                    429 => (Kind::EntraThrottled, Advice::Throttled),
                    _ if is_of_another_server(*status) => (Kind::EntraUnreachable, Advice::Intercepted),
                    _ => (Kind::EntraUnreachable, Advice::Outage),
                };
                Failure {
                    retry_after: *retry_after,
                    trace: Trace::of(u32::from(*status)),
                    ..retry(kind, advice)
                }
            }
            Self::NoRefreshToken => {
                let summary = self.to_string();
                Failure::new(Kind::NoRefreshToken, Remedy::Operator, FailureSubject::Grant, summary)
            }
            Self::Refused(refusal) => {
                let found = diagnose(refusal);
                let about = match found.kind {
                    Kind::AppCredentialRefused => FailureSubject::AppCredential,
                    _ => FailureSubject::Grant,
                };
                Failure {
                    advice: Some(found.advice),
                    is_definite: found.is_definite,
                    retry_after: refusal.wait(),
                    trace: refusal.trace.clone(),
                    token_condemned: refusal.condemns_token(),
                    never_was_a_token: refusal.never_was_a_token(),
                    ..Failure::new(found.kind, found.remedy, about, self.to_string())
                }
            }
        }
    }
}
