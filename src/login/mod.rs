//! Signing in a user: the request, the valid responses, and whether the token in a response may be stored.
//!
//! This module owns every decision of a sign-in, and the text and the action for each rejection. The sign-in methods
//! are the OAuth authorization code with PKCE, the device code, and an imported token. This module is pure: random
//! bytes and time are arguments. `cli::login` and `azure` own sockets and requests.
//!
//! Invariants: Only responses to this program's own request are accepted. `state`, `nonce` and the PKCE verifier
//! connect a response to its request. No error text shows a code, a token or unchecked text from a peer.

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

/// A device code and its user code (RFC 8628, 3.2).
#[derive(Clone, Debug)]
pub struct DeviceCode {
    /// The code with which this program polls the token endpoint.
    pub device_code: SecretString,
    /// The code that the user types.
    pub user_code: String,
    /// The URL of the page on which the user types the user code.
    pub verification_uri: String,
    /// How long the two codes are valid.
    pub expires_in: Duration,
    /// The polling interval.
    pub interval: Duration,
}

/// Why a sign-in step failed, who must act, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// One sentence that says what failed and why.
    pub summary: String,
    /// What to do.
    pub action: String,
    /// Who must act.
    pub remedy: Remedy,
}

impl StepFailure {
    /// Creates a failure from its summary and action.
    pub fn new(remedy: Remedy, summary: impl Into<String>, action: impl Into<String>) -> Self {
        Self { summary: summary.into(), action: action.into(), remedy }
    }

    /// Replaces `perennial` in the commands of the action by this deployment's command.
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

/// The scopes of each sign-in and redemption. The result contains the configured scopes of the token, `offline_access`
/// for a refresh token, and `openid` for an ID token. Microsoft's libraries request the same scopes.
///
/// Entra names the user only if `profile` is requested (id-token-claims-reference). If the configured scope contains
/// `openid`, this function does not add `profile`, because an issuer other than Entra may reject a scope that was not
/// granted (RFC 6749, 6).
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
