//! The configuration of one token: its name, app, vault secret and policy.
//!
//! Pure data: `config` fills it in, everything else reads it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::process::clock::Timestamp;
use crate::token::secret::{ConfigValue, SecretAddress, Source};

/// The operator's name for a token: it appears in logs, metrics and alerts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenName(Arc<str>);

impl TokenName {
    /// Takes any text; `config` decides which names it admits.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The check of an access token after a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Partner Center must accept it, including MFA.
    PartnerCenter,
    /// No check.
    Nothing,
}

/// The intervals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Age at which the stored token is rotated.
    pub rotate_after: Duration,
    /// Interval of redemptions that prove the stored token.
    pub prove_every: Duration,
    /// The lifetime of the issuer's refresh tokens.
    pub lifetime: Duration,
}

impl Default for Policy {
    /// Entra's 90 days leave room for a dozen rotations (docs/azure-facts.md F108).
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            rotate_after: Duration::from_secs(7 * DAY),
            prove_every: Duration::from_secs(DAY / 4),
            lifetime: Duration::from_secs(90 * DAY),
        }
    }
}

/// The settings that all tokens share, for texts about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Entra's base URL, for the pages that an action names.
    pub authority: String,
    /// Perennial's command as it is typed here, such as `docker exec -it perennial perennial`.
    pub command: String,
    /// The vault secret of its first token, which distinguishes its incidents from those of another deployment.
    pub first_secret: Arc<str>,
    /// The name of this process in messages: the host's name, or the configured one.
    pub instance: String,
    /// The runbook's address, without a section.
    pub runbook_url: Option<String>,
    /// The status page's address.
    pub page_url: Option<String>,
}

impl Deployment {
    /// A deployment without links, where commands are typed unchanged.
    pub fn new(authority: &str, instance: &str, first_secret: &str) -> Self {
        Self {
            authority: authority.to_owned(),
            command: "perennial".to_owned(),
            first_secret: first_secret.into(),
            instance: instance.to_owned(),
            runbook_url: None,
            page_url: None,
        }
    }

    /// A text with its commands as they are typed here. In the program's texts, commands are in back-ticks.
    pub fn typed(&self, text: &str) -> String {
        typed(text, &self.command)
    }
}

/// The same for a given command. A second application changes nothing.
pub fn typed(text: &str, command: &str) -> String {
    const PLAIN: &str = "`perennial ";
    let here = format!("`{command} ");
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(PLAIN) {
        let (before, found) = rest.split_at(at);
        let after = found.strip_prefix(&here).unwrap_or(&found[PLAIN.len()..]);
        whole += before;
        whole += &here;
        rest = after;
    }
    whole + rest
}

/// One token as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedToken {
    /// The settings that it shares with the other tokens.
    pub deployment: Arc<Deployment>,
    /// Its name.
    pub name: TokenName,
    /// The tenant: a GUID or a verified domain.
    pub tenant_id: String,
    /// The app's id.
    pub client_id: ConfigValue,
    /// The app's secret.
    pub client_secret: Source,
    /// The vault secret that Perennial owns.
    pub secret: SecretAddress,
    /// The scope of a redemption. Most tokens share the default.
    pub scope: Arc<str>,
    /// The check of the access token.
    pub verify: Verify,
    /// The only user it may belong to, by object id.
    pub user_oid: Option<String>,
    /// Its owner; free text for alerts.
    pub owner: Option<String>,
    /// When the app's secret expires, if the vault does not say.
    pub app_secret_expires: Option<Timestamp>,
    /// The issuer invalidates redeemed tokens: every successor is saved.
    pub strict: bool,
    /// The intervals.
    pub policy: Arc<Policy>,
}

impl ManagedToken {
    /// The vaults that it needs, its own first.
    pub fn vaults(&self) -> Vec<Arc<str>> {
        let mut vaults = vec![self.secret.vault.clone()];
        let id = if let ConfigValue::From(source) = &self.client_id { Some(source) } else { None };
        for source in id.into_iter().chain([&self.client_secret]) {
            if let Source::Secret(at) = source
                && !vaults.contains(&at.vault)
            {
                vaults.push(at.vault.clone());
            }
        }
        vaults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_replaced_only_once() {
        let text = "sign in: `perennial login a`, then `perennial check a`; `az account show`, perennial";
        for (command, wanted) in [
            ("perennial", text),
            (
                "docker exec -it perennial perennial",
                "sign in: `docker exec -it perennial perennial login a`, then `docker exec -it perennial perennial check a`; `az account show`, perennial",
            ),
            (
                "perennial --config /srv/p.toml",
                "sign in: `perennial --config /srv/p.toml login a`, then `perennial --config /srv/p.toml check a`; `az account show`, perennial",
            ),
        ] {
            assert_eq!(typed(text, command), wanted);
            assert_eq!(typed(wanted, command), wanted, "twice");
        }
    }
}
