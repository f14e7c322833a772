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

/// What all tokens of a configuration share, for the texts about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Entra's base URL, for the pages that an action names.
    pub authority: String,
    /// How a command of Perennial's is typed here, as `docker exec -it perennial perennial`.
    pub command: String,
    /// The vault secret of its first token: what tells its incidents from those of another deployment.
    pub first_secret: Arc<str>,
    /// What messages call this process: the host's name, or what the configuration says.
    pub instance: String,
    /// Where the runbook can be read, without the name of a section.
    pub runbook_url: Option<String>,
    /// Where the status page can be opened.
    pub page_url: Option<String>,
}

impl Deployment {
    /// One without links, where commands are typed as they are.
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

    /// A text whose commands are typed as they are here. In texts of the program each stands in back-ticks.
    pub fn typed(&self, text: &str) -> String {
        typed(text, &self.command)
    }
}

/// The same for a command by itself. Typing twice is the same as typing once.
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

/// One token as the operator described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedToken {
    /// What it shares with the other tokens.
    pub deployment: Arc<Deployment>,
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
    /// What is asked for when it is redeemed. Most tokens share the usual one.
    pub scope: Arc<str>,
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
    fn a_command_is_typed_as_it_is_here_however_often_a_text_is_read() {
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
