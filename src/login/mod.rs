//! Signing a user in: the request, the valid answers, and whether an answer may be stored.
//!
//! Owns every decision of the interactive sign-in (OAuth authorization code with PKCE, device code, and an imported
//! token), and the text of each rejection with its action. Pure: randomness and time are arguments; `cli::login` and
//! `azure` own sockets and requests.
//!
//! Invariants: only answers to this program's own request are accepted (`state`, `nonce`, verifier); no text shows a
//! code, a token or a peer's words.

pub mod authorization_request;
pub mod explain;
pub mod judge;
pub mod polling;
pub mod redirect;

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;

use crate::ports::failure::Remedy;
use crate::token::managed::Deployment;

/// A device code (RFC 8628, 3.2).
#[derive(Clone, Debug)]
pub struct DeviceCode {
    /// The code that this program polls with.
    pub device_code: SecretString,
    /// The code that the user types.
    pub user_code: String,
    /// The page on which the user types it.
    pub verification_uri: String,
    /// How long both codes are valid.
    pub expires_in: Duration,
    /// The polling interval.
    pub interval: Duration,
}

/// Why a step failed, who must act, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// What happened.
    pub summary: String,
    /// What to do.
    pub action: String,
    /// Who must act.
    pub remedy: Remedy,
}

impl StepFailure {
    /// Combines summary and action.
    pub fn new(remedy: Remedy, summary: impl Into<String>, action: impl Into<String>) -> Self {
        Self { summary: summary.into(), action: action.into(), remedy }
    }

    /// The same, with Perennial's commands as they are typed in this deployment.
    #[must_use]
    pub fn typed(self, here: &Deployment) -> Self {
        Self { action: here.typed(&self.action), ..self }
    }
}

impl fmt::Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  what to do: {}", self.summary, self.action)
    }
}

impl std::error::Error for StepFailure {}

/// The scopes of each sign-in and redemption: the token's own, a refresh token, and an ID token that names tenant,
/// app and user, as in Microsoft's own libraries.
///
/// Entra names the user only if `profile` is requested (id-token-claims-reference). If the token's scope names
/// `openid`, nothing is added: another issuer may reject a scope that was not granted (RFC 6749, 6).
pub fn scopes(of_grant: &str) -> String {
    let mut words: Vec<&str> = of_grant.split_ascii_whitespace().collect();
    let more = if words.contains(&"openid") { &[][..] } else { &["openid", "profile"] };
    for word in ["offline_access"].iter().chain(more) {
        if !words.contains(word) {
            words.push(word);
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_and_an_id_token_are_asked_for_once() {
        assert_eq!(scopes("api/x"), "api/x offline_access openid profile");
        assert_eq!(scopes("profile api/x"), "profile api/x offline_access openid");
        assert_eq!(scopes("openid api/.default offline_access"), "openid api/.default offline_access");
        assert_eq!(scopes("openid"), "openid offline_access");
    }
}
