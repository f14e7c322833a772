//! Signing a user in: what is asked for, what may come back, and whether it may be stored.
//!
//! Owns every decision of the interactive sign-in (OAuth authorization code with PKCE, device code, and a
//! token brought from elsewhere), and the words in which a refusal is told together with its cure. Pure:
//! chance and time are arguments; sockets and servers are `cli::login`'s and `azure`'s.
//!
//! Invariants: nothing is accepted that was not asked for here (`state`, `nonce`, verifier); no refusal
//! shows a code, a token or a text that a peer sent.

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

/// A code that a person types at the issuer's page (RFC 8628, 3.2).
#[derive(Clone, Debug)]
pub struct DeviceCode {
    /// What this program polls with.
    pub device_code: SecretString,
    /// What the person types.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// How long both hold.
    pub expires_in: Duration,
    /// How often to ask.
    pub interval: Duration,
}

/// Why nothing was stored, who can mend it, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// What happened.
    pub summary: String,
    /// What to do about it.
    pub action: String,
    /// Who can.
    pub remedy: Remedy,
}

impl StepFailure {
    /// Puts the two sentences together.
    pub fn new(remedy: Remedy, summary: impl Into<String>, action: impl Into<String>) -> Self {
        Self { summary: summary.into(), action: action.into(), remedy }
    }

    /// The same with its commands typed as they are here.
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

/// The scopes to ask for, at a sign-in and at each redemption: those of the grant, a refresh token, and an ID token to know
/// tenant, app and user by, as Microsoft's own libraries do.
///
/// Entra names the user to those who ask for `profile` (id-token-claims-reference). Where the grant names `openid`, it is
/// left at that: another issuer may refuse what was not granted (RFC 6749, 6).
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
