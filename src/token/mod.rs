//! Tokens and their storage. This file defines the types `RefreshToken` and `AccessToken`. The submodules own:
//!
//! - `managed`, `app`: the configuration of a token and of its app,
//! - `secret`, `local_secret`: where secret values are stored, and how values on this machine are read,
//! - `version`, `tags`: the versions of a vault secret, and the tags of a version,
//! - `claims`: the claims in a token,
//! - `certificate`: certificates and client assertions.
//!
//! No type here makes a decision or uses a clock, a vault or the network.
//!
//! Invariant: no type here shows a secret through `Debug` or `Display`.

pub mod app;
pub mod managed;
pub mod secret;
pub mod version;
pub mod tags;
pub mod local_secret;
pub mod claims;
pub mod certificate;

use std::fmt;

use chrono::Datelike as _;
use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use uuid::Uuid;

use crate::process::clock::Timestamp;
use crate::token::claims::Claims;

/// Returns the time if its year is 2000 to 2199. Adding a configured duration to such a time cannot overflow. This
/// function checks the times that Perennial reads from tags, headers, answers and the configuration.
pub fn meant(at: Timestamp) -> Option<Timestamp> {
    (2000..2200).contains(&at.year()).then_some(at)
}

/// A refresh token. Its text is wiped from memory when dropped, and is never printed.
#[derive(Clone)]
pub struct RefreshToken(SecretString);

impl RefreshToken {
    /// Creates a token from its text. This function does not trim the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The token's text. Only requests to the issuer and to the vault may contain this text.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether this text can be a refresh token. A refresh token is a single non-empty word without quotes.
    ///
    /// Entra treats white space and quotes around a token as part of the token (docs/azure-facts.md F104).
    pub fn is_plausible(&self) -> bool {
        let text = self.expose();
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\'')
    }
}

impl PartialEq for RefreshToken {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshToken([REDACTED])")
    }
}

/// An access token. Its text is wiped from memory when dropped, and `Debug` does not show it.
#[derive(Clone)]
pub struct AccessToken(SecretString);

impl AccessToken {
    /// Creates a token from its text. This function does not trim the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The token's text. Only requests to the resource and the output of `access-token` may contain this text.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The token's claims, if the token can be parsed.
    pub fn claims(&self) -> Option<Claims> {
        Claims::of_jwt(self.expose())
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken([REDACTED])")
    }
}

/// Creates an id that connects the records of one rotation in Perennial, Entra and the vault's log.
pub fn rotation_id() -> Uuid {
    Uuid::new_v4()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown_by_debug() {
        let shown = format!("{:?} {:?}", RefreshToken::new("0.canary"), AccessToken::new("ey.canary"));

        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn invalid_pasted_text_is_not_plausible() {
        for bad in ["", " ", "a b", "\"0.AX\"", "two\nlines", "{\"x\":1}"] {
            assert!(!RefreshToken::new(bad).is_plausible(), "{bad}");
        }
        assert!(RefreshToken::new("0.AXoA-x_y~z.AgABAAEAAA").is_plausible());
    }
}
