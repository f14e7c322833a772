//! How one token is looked after: what it is called, which app and vault secret it belongs to, when things are due.
//!
//! Pure data: `config` fills it in, everything else reads it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::process::clock::Timestamp;
use crate::token::secret::{ConfigValue, SecretAddress, Source};

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
pub struct ManagedToken {
    /// Entra's base URL, with a slash at its end: for the pages that an action names.
    pub authority: Arc<str>,
    /// What it is called.
    pub name: TokenName,
    /// The tenant that issues it: a GUID or a verified domain.
    pub tenant_id: String,
    /// The app it was issued to.
    pub client_id: ConfigValue,
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
