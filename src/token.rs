//! The vocabulary of one token: what it is called, where it lives, how it is kept.
//!
//! Owns the types that every other module speaks in. Holds no decision and touches nothing outside
//! itself: no clock, no vault, no network.
//!
//! Invariant: no type here shows a secret through `Debug` or `Display`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use chrono::Datelike as _;
use chrono::Utc;
use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use uuid::Uuid;

use crate::claims::Claims;

/// An instant in UTC.
pub type Timestamp = DateTime<Utc>;

/// An instant that somebody can mean, as read from a tag, a header or the configuration. Whatever is added to one, or taken
/// from it, is in the range of the type.
pub fn meant(at: Timestamp) -> Option<Timestamp> {
    (2000..2200).contains(&at.year()).then_some(at)
}

/// The name an operator gave a token: it appears in logs, metrics and alerts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenName(Arc<str>);

impl TokenName {
    /// Takes any text; `config` decides which names it admits.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A refresh token. Its text is wiped from memory when it is dropped and never printed.
#[derive(Clone)]
pub struct RefreshToken(SecretString);

impl RefreshToken {
    /// Takes the text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text, for the two places that send it: the issuer and the vault.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether this could be a refresh token at all: not empty, one word, no quotes around it.
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
    /// Takes the text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text, for the resource that accepts it and for `access-token`.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What the token says about itself, where it can be read.
    pub fn claims(&self) -> Option<Claims> {
        Claims::of_jwt(self.expose())
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken([REDACTED])")
    }
}

/// The name of a Key Vault secret. Compared without regard to case, as the vault does.
#[derive(Clone, Debug)]
pub struct SecretName(String);

impl SecretName {
    /// Admits what Key Vault admits: 1 to 127 letters, digits and dashes (docs/azure-facts.md F206). The SDK
    /// puts the name into the path unescaped, so this check also keeps `../` out.
    pub fn parse(name: &str) -> Option<Self> {
        let fits = (1..=127).contains(&name.len());
        let clean = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (fits && clean).then(|| Self(name.to_owned()))
    }

    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for SecretName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for SecretName {}

/// Where a secret lives: a vault and a name in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretAddress {
    /// The vault's base URL, without a trailing slash.
    pub vault: Arc<str>,
    /// The secret's name.
    pub name: SecretName,
}

impl SecretAddress {
    /// `contoso` of `https://contoso.vault.azure.net`, as commands want it.
    pub fn vault_name(&self) -> &str {
        let host = self.vault.trim_start_matches("https://");
        host.split(['.', ':', '/']).next().unwrap_or(host)
    }
}

impl fmt::Display for SecretAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/secrets/{}", self.vault, self.name.0)
    }
}

/// Where a secret value comes from. Re-read at each use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A vault secret's newest version.
    Secret(SecretAddress),
    /// A file's content.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A systemd credential, by id, below `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// A value that may stand in the configuration itself or be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Written in the configuration.
    Plain(String),
    /// Looked up.
    From(Source),
}

/// What is asked about an access token after a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Partner Center must accept it, second factor and all.
    PartnerCenter,
    /// Nothing is asked.
    Nothing,
}

/// When things are due. Durations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Age at which the stored token is replaced by a successor.
    pub rotate_after: Duration,
    /// How often the stored token is redeemed to show that it still works.
    pub prove_every: Duration,
    /// How long the issuer's refresh tokens live.
    pub lifetime: Duration,
}

impl Default for Policy {
    /// Entra's 90 days leave a dozen rotations before it matters (docs/azure-facts.md F108).
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            rotate_after: Duration::from_secs(7 * DAY),
            prove_every: Duration::from_secs(DAY / 4),
            lifetime: Duration::from_secs(90 * DAY),
        }
    }
}

/// One token as the operator described it.
#[derive(Clone, Debug)]
pub struct Grant {
    /// What it is called.
    pub name: TokenName,
    /// The tenant that issues it: a GUID or a verified domain.
    pub tenant_id: String,
    /// The app it was issued to.
    pub client_id: Setting,
    /// The app's secret.
    pub client_secret: Source,
    /// The vault secret that Perennial owns.
    pub secret: SecretAddress,
    /// What is asked for when it is redeemed.
    pub scope: String,
    /// What is asked about the access token.
    pub verify: Verify,
    /// The only user it may belong to, by object id.
    pub user_oid: Option<String>,
    /// Who looks after it; free text for alerts.
    pub owner: Option<String>,
    /// When the app's secret ends, where the vault does not say.
    pub app_secret_expires: Option<Timestamp>,
    /// The issuer kills spent tokens: every successor is saved.
    pub strict: bool,
    /// When things are due.
    pub policy: Policy,
}

/// A fresh id that ties together one rotation's records here, at Entra and in the vault's log.
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
    fn names_outside_key_vaults_alphabet_are_refused() {
        for bad in ["", "a/b", "../x", "a_b", "ü", &"a".repeat(128)] {
            assert_eq!(SecretName::parse(bad), None, "{bad}");
        }
        assert_eq!(SecretName::parse("Pc-Token"), SecretName::parse("pc-token"));
    }

    #[test]
    fn pasted_rubbish_is_not_plausible() {
        for bad in ["", " ", "a b", "\"0.AX\"", "two\nlines", "{\"x\":1}"] {
            assert!(!RefreshToken::new(bad).is_plausible(), "{bad}");
        }
        assert!(RefreshToken::new("0.AXoA-x_y~z.AgABAAEAAA").is_plausible());
    }
}
