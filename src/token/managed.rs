//! The configuration of one token: its name, app, vault secret and policy.
//!
//! `config` creates these values, and all other modules only read them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::process::clock::Timestamp;
use crate::token::app::ManagedApp;
use crate::token::secret::SecretAddress;

/// The operator's name for a token, as it appears in logs, metrics and alerts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenName(Arc<str>);

impl TokenName {
    /// Accepts any text. `config` decides which names are allowed.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How an access token is checked after a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Perennial sends the access token to Partner Center. Partner Center must accept the access token. Partner Center
    /// also checks for MFA.
    PartnerCenter,
    /// The access token is not checked.
    Nothing,
}

/// The time intervals of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The stored token is rotated when it reaches this age.
    pub rotate_after: Duration,
    /// The interval between proofs. A proof redeems the stored token to show that it works.
    pub prove_every: Duration,
    /// The lifetime of the issuer's refresh tokens.
    pub lifetime: Duration,
}

impl Default for Policy {
    /// The default intervals leave room for a dozen rotations within Entra's 90 days (docs/azure-facts.md F108).
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            rotate_after: Duration::from_secs(7 * DAY),
            prove_every: Duration::from_secs(DAY / 4),
            lifetime: Duration::from_secs(90 * DAY),
        }
    }
}

/// The settings that all tokens share. Messages about tokens use these settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Entra's base URL. Messages use this URL for links to admin pages.
    pub authority: String,
    /// The command that starts Perennial on this system, such as `docker exec -it perennial perennial`.
    pub command: String,
    /// The vault secret of the first token. This secret distinguishes the incidents of this deployment from those of
    /// other deployments.
    pub first_secret: Arc<str>,
    /// The name of this process in messages. The default is the host's name.
    pub instance: String,
    /// The URL of the runbook, without the anchor of a section.
    pub runbook_url: Option<String>,
    /// The URL of the status page.
    pub page_url: Option<String>,
}

impl Deployment {
    /// Creates a deployment without a runbook or a status page. Its command is `perennial`.
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

    /// Replaces the first word of each `perennial` command in the text with this deployment's command. The function
    /// recognizes a command by its back-tick.
    pub fn typed(&self, text: &str) -> String {
        typed(text, &self.command)
    }
}

/// Replaces the first word of each `perennial` command in the text with `command`. A command that already starts with
/// `command` stays unchanged, so a second call changes nothing.
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

/// The configuration of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedToken {
    /// The settings shared by all tokens.
    pub deployment: Arc<Deployment>,
    pub name: TokenName,
    /// The tenant: a GUID or a verified domain.
    pub tenant_id: String,
    /// The app to which the token was issued. Tokens of one `[[app]]` share this value.
    pub app: Arc<ManagedApp>,
    /// The vault secret in which Perennial stores the token.
    pub secret: SecretAddress,
    /// The scope that Perennial requests when it redeems the token.
    pub scope: Arc<str>,
    /// How the access token is checked.
    pub verify: Verify,
    /// The object id of the only user to whom the token may belong. `None` allows any user.
    pub user_oid: Option<String>,
    /// The token's owner, as free text for alerts.
    pub owner: Option<String>,
    /// When the app's secret expires, according to the configuration. Perennial uses this date only if the vault has no
    /// such date.
    pub app_secret_expires: Option<Timestamp>,
    /// Whether the issuer invalidates a refresh token when it is redeemed. For such an issuer, Perennial saves every
    /// new refresh token.
    pub strict: bool,
    /// The token's time intervals.
    pub policy: Arc<Policy>,
}

impl ManagedToken {
    /// The vaults that the token needs. The vault that stores the token comes first.
    pub fn vaults(&self) -> Vec<Arc<str>> {
        let mut vaults = vec![self.secret.vault.clone()];
        for at in self.app.in_vaults() {
            if !vaults.contains(&at.vault) {
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
