//! The place of a secret value: a vault, a file, the environment, or the configuration.
//!
//! Owns the names and places, never the values.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The name of a Key Vault secret. Compared ignoring case, as the vault does.
#[derive(Clone, Debug)]
pub struct SecretName(String);

impl SecretName {
    /// Accepts what Key Vault accepts: 1 to 127 letters, digits and dashes (docs/azure-facts.md F206). The SDK puts
    /// the name into the path unescaped, so this check also keeps `../` out.
    pub fn parse(name: &str) -> Option<Self> {
        let fits = (1..=127).contains(&name.len());
        let clean = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (fits && clean).then(|| Self(name.to_owned()))
    }

    /// The name as written.
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

/// The address of a secret: a vault and a name in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretAddress {
    /// The vault's base URL, without a trailing slash. Text, since it identifies secrets and incidents, and the tokens
    /// of one vault share it.
    pub vault: Arc<str>,
    /// The secret's name.
    pub name: SecretName,
}

impl SecretAddress {
    /// `contoso` of `https://contoso.vault.azure.net`, as Azure CLI commands need it.
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

/// The source of a secret value. Read again at each use.
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

/// A value in the configuration, or its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigValue {
    /// Written in the configuration.
    Plain(String),
    /// Looked up.
    From(Source),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_key_vaults_alphabet_are_refused() {
        for bad in ["", "a/b", "../x", "a_b", "ü", &"a".repeat(128)] {
            assert_eq!(SecretName::parse(bad), None, "{bad}");
        }
        assert_eq!(SecretName::parse("Pc-Token"), SecretName::parse("pc-token"));
    }
}
