//! Builds the failures that Perennial itself detects during the renewal of a certificate. With a change of the app's
//! certificates, Perennial sends a signed proof to Microsoft Graph. This module also recognizes the errors that may mean that
//! Entra rejected this proof.

use crate::ports::diagnosis::GraphProblem;
use crate::ports::directory::DirectoryError;
use crate::ports::failure::{Failure, Remedy};
use crate::renewal::health::failure;

/// Whether this error may mean that Entra rejected the signed proof for a change of the app's certificates. Entra's
/// code for a rejected proof is not documented (docs/azure-facts.md F608). So an unknown code may also mean a rejected
/// proof.
pub(super) fn is_about_proof(error: &DirectoryError) -> bool {
    matches!(error.problem(), Some(GraphProblem::Token | GraphProblem::UnknownCode))
}

pub(super) fn other_issuer(vault: &str, name: &str) -> Failure {
    let summary =
        format!("vault {vault} does not sign certificate {name} itself, so Perennial creates no new version");
    let action = format!(
        "find the certificate's issuer: `az keyvault certificate show --vault-name {vault} --name {name} --query policy.issuerParameters`; create the new version as this issuer requires; Perennial then registers and uses the new version"
    );
    Failure { action: Some(action.into()), ..failure(Remedy::Operator, summary) }
}

pub(super) fn cannot_sign() -> Failure {
    unusable("the private key of the app's certificate could not sign the request".to_owned())
}

pub(super) fn unusable(summary: String) -> Failure {
    failure(Remedy::Operator, summary)
}
