//! Signing a user in: what is asked for, what may come back, and whether it may be stored.
//!
//! Owns every decision of the interactive sign-in (OAuth authorization code with PKCE, device code, and a
//! token brought from elsewhere), and the words in which a refusal is told together with its cure. Pure:
//! chance and time are arguments; sockets and servers are `cli::login`'s and `azure`'s.
//!
//! Invariants: nothing is accepted that was not asked for here (`state`, `nonce`, verifier); no refusal
//! shows a code, a token or a text that a peer sent.

pub mod attempt;
pub mod cure;
pub mod judge;
pub mod polling;
pub mod redirect;

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde::Deserialize;

use crate::failure::Remedy;
use crate::ports::Redeemed;

/// A sign-in whose answer has arrived and is not judged yet.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The tokens.
    pub redeemed: Redeemed,
    /// What the ID token says; none for a token that was brought from elsewhere.
    pub id: Option<IdClaims>,
}

/// The claims of an ID token that are looked at. It comes from the token endpoint itself over TLS, which
/// stands for its signature (`OpenID` Connect Core 3.1.3.7, 6).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct IdClaims {
    /// App.
    #[serde(default)]
    pub aud: Option<String>,
    /// Tenant.
    #[serde(default)]
    pub tid: Option<String>,
    /// User's object id.
    #[serde(default)]
    pub oid: Option<String>,
    /// What was sent with the authorization request.
    #[serde(default)]
    pub nonce: Option<String>,
}

impl IdClaims {
    /// Reads the payload of a JWT.
    pub fn parse(jwt: &str) -> Option<Self> {
        let payload = jwt.split('.').nth(1)?;
        let json = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        serde_json::from_slice(&json).ok()
    }
}

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
pub struct Refused {
    /// What happened.
    pub why: String,
    /// What to do about it.
    pub cure: String,
    /// Who can.
    pub remedy: Remedy,
}

impl Refused {
    /// Puts the two sentences together.
    pub fn new(remedy: Remedy, why: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { why: why.into(), cure: cure.into(), remedy }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  what to do: {}", self.why, self.cure)
    }
}

impl std::error::Error for Refused {}

/// The scopes to sign in with: those of the grant, a refresh token, and an ID token to know the user by.
pub fn scopes(of_grant: &str) -> String {
    let mut words: Vec<&str> = of_grant.split_ascii_whitespace().collect();
    for word in ["offline_access", "openid", "profile"] {
        if !words.contains(&word) {
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
        assert_eq!(
            scopes("openid api/.default offline_access"),
            "openid api/.default offline_access profile"
        );
    }

    #[test]
    fn an_id_token_is_read_where_it_is_one() {
        let payload = URL_SAFE_NO_PAD.encode(r#"{"aud":"app","tid":"t","nonce":"n","ver":"2.0"}"#);

        let claims = IdClaims::parse(&format!("h.{payload}.s")).expect("readable");

        assert_eq!((claims.aud.as_deref(), claims.nonce.as_deref()), (Some("app"), Some("n")));
        assert_eq!(IdClaims::parse("opaque"), None);
    }
}
