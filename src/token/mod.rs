//! Tokens and their storage: the token types here; beside them each token's configuration (`managed`), the places of
//! secret values (`secret`, `local_secret`), and a vault secret's versions with their tags.
//!
//! No type here makes a decision or uses a clock, a vault or the network.
//!
//! Invariant: no type here shows a secret through `Debug` or `Display`.

pub mod managed;
pub mod secret;
pub mod version;
pub mod tags;
pub mod local_secret;
pub mod claims;

use std::fmt;

use chrono::Datelike as _;
use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use uuid::Uuid;

use crate::process::clock::Timestamp;
use crate::token::claims::Claims;

/// A realistic instant, as read from a tag, a header or the configuration. Adding or subtracting any span of this
/// program stays in the range of the type.
pub fn meant(at: Timestamp) -> Option<Timestamp> {
    (2000..2200).contains(&at.year()).then_some(at)
}

/// A refresh token. Its text is wiped from memory when dropped, and is never printed.
#[derive(Clone)]
pub struct RefreshToken(SecretString);

impl RefreshToken {
    /// Takes the text unchanged.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text, for the two places that send it: the issuer and the vault.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether this can be a refresh token: not empty, one word, without quotes.
    ///
    /// Whitespace and quotes have been significant to Entra since 2019 (docs/azure-facts.md F104).
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

/// An access token. Wiped when dropped and never printed.
#[derive(Clone)]
pub struct AccessToken(SecretString);

impl AccessToken {
    /// Takes the text unchanged.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text, for the resource that accepts it and for `access-token`.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The token's claims, if it can be parsed.
    pub fn claims(&self) -> Option<Claims> {
        Claims::of_jwt(self.expose())
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken([REDACTED])")
    }
}

/// A new id that connects one rotation's records here, at Entra and in the vault's log.
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
