//! The texts with which commands report a failed vault call.

use crate::login::StepFailure;
use crate::ports::{SecretRole, VaultError};
use crate::token::secret::SecretAddress;

/// Returns the reason for a failed call, and what to do about it.
pub(super) fn vault(error: &VaultError, asked: SecretRole, at: &SecretAddress, token: &str) -> StepFailure {
    let failure = error.failure(asked, at);
    let sign_in = || {
        format!(
            "sign in with a second factor: `perennial login {token}`; if the token's secret was deleted, recover the secret instead: `az keyvault secret recover --vault-name {} --name {}`",
            at.vault_name(),
            at.name.as_str()
        )
    };
    let action = failure.action.map_or_else(sign_in, String::from);
    StepFailure::new(failure.remedy, failure.summary, action)
}
