//! The forms of values that a person types, by the rules of the configuration.

use super::rules;

/// The form of a value that a person types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A vault's address.
    Vault,
    /// A tenant's id or domain.
    Tenant,
    /// A GUID.
    Guid,
    /// The name of a vault secret.
    Secret,
    /// The name of a token.
    Token,
}

impl Form {
    /// Checks a value by the rule of the configuration.
    ///
    /// # Errors
    /// What is expected, without the value.
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
