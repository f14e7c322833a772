//! Checks the values that a person types for `init`. The rules are the same as for the configuration.

use super::rules;

/// The kind of value that a person types. Each kind has its own rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The address of a vault.
    Vault,
    /// The id or domain of a tenant.
    Tenant,
    Guid,
    /// The name of a vault secret.
    Secret,
    /// The name of a token.
    Token,
}

impl Form {
    /// Checks whether `text` has this form, by the same rule as the configuration.
    ///
    /// # Errors
    /// Returns a description of the expected form. The description does not contain the value.
    pub fn check(self, text: &str) -> Result<(), &'static str> {
        match self {
            Self::Vault => rules::vault_url(text).map(drop),
            Self::Tenant => rules::tenant(text).map(drop),
            Self::Guid => rules::guid(text).map(drop),
            Self::Secret => rules::secret_name(text).map(drop),
            Self::Token => rules::token_name(text).map(drop),
        }
    }
}
