//! The texts of the commands for a failed vault call.

use crate::login::StepFailure;
use crate::ports::{SecretRole, VaultError};
use crate::token::secret::SecretAddress;

/// Returns the reason for a failed call, and the action against it.
pub(super) fn vault(error: &VaultError, asked: SecretRole, at: &SecretAddress, token: &str) -> StepFailure {
    let failure = error.failure(asked, at);
    let action = failure.action.map_or_else(|| format!("`perennial login {token}`"), String::from);
    StepFailure::new(failure.remedy, failure.summary, action)
}
