//! Where a secret value is stored: in a vault, a file, the environment or the configuration.
//!
//! This module owns the names and the locations of secrets. The module never contains the value of a secret.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The name of a Key Vault secret. Comparisons ignore case, as in Key Vault.
#[derive(Clone, Debug)]
pub struct SecretName(String);

impl SecretName {
    /// Accepts the names that Key Vault accepts: 1 to 127 letters, digits and dashes (docs/azure-facts.md F206). The
    /// SDK does not escape the name in the URL path, so this check also rejects `../`.
    pub fn parse(name: &str) -> Option<Self> {
        let fits = (1..=127).contains(&name.len());
        let clean = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (fits && clean).then(|| Self(name.to_owned()))
    }

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

/// The address of a vault secret: the vault's URL and the secret's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretAddress {
    /// The vault's base URL, without a trailing slash. The URL is kept as text, because the exact text identifies
    /// secrets and incidents. Tokens of the same vault share one copy of this text.
    pub vault: Arc<str>,
    pub name: SecretName,
}

impl SecretAddress {
    /// The vault's short name for Azure CLI commands, such as `contoso` for `https://contoso.vault.azure.net`.
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

/// The source of a secret value. The source is read again at each use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The newest version of a vault secret.
    Secret(SecretAddress),
    /// The content of a file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// The id of a systemd credential below `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// A configuration value: either the value itself, or the source from which Perennial reads the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigValue {
    /// The value itself, written in the configuration.
    Plain(String),
    /// The source from which the value is read.
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
