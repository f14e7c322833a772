//! A vault that does not do what is needed, as the commands tell it.

use crate::login::Refused;
use crate::ports::{Asked, VaultError};
use crate::token::secret::SecretAddress;

/// Says why a call failed, and what to do about it.
pub(super) fn vault(error: &VaultError, asked: Asked, at: &SecretAddress, token: &str) -> Refused {
    let failure = error.failure(asked, at);
    let cure = failure.cure.map_or_else(|| format!("`perennial login {token}`"), String::from);
    Refused::new(failure.remedy, failure.summary, cure)
}
