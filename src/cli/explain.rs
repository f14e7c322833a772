//! The texts with which commands report a failed vault call.

use crate::login::StepFailure;
use crate::ports::{SecretRole, VaultError};
use crate::token::secret::SecretAddress;

/// Returns the reason for a failed call, and what to do about it.
pub(super) fn vault(error: &VaultError, asked: SecretRole, at: &SecretAddress, token: &str) -> StepFailure {
    let failure = error.failure(asked, at);
    let action = failure.action.map_or_else(|| format!("`perennial login {token}`"), String::from);
    StepFailure::new(failure.remedy, failure.summary, action)
}
