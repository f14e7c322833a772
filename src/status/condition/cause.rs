//! Causes of conditions. Logs and messages show the name of a cause. The incident id depends on the cause and the kind.

use std::sync::Arc;

use uuid::Uuid;

use crate::ports::failure::Kind;
use crate::status::snapshot::Snapshot;
use crate::token::managed::{Deployment, TokenName};
use crate::token::secret::SecretAddress;

/// The UUID namespace of all incident ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x7065_7265_6e6e_6961_6c00_0000_0000_0001);

/// The cause of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    name: String,
    /// The vault secret of the deployment's first token. This secret is part of the incident id, so that two
    /// deployments have different incidents. `None` if `name` contains a token's own vault secret, because all
    /// deployments with this secret share the incident.
    deployment: Option<Arc<str>>,
}

impl Cause {
    /// A token, identified by its vault secret.
    pub fn token(secret: &SecretAddress) -> Self {
        Self { name: format!("token:{secret}"), deployment: None }
    }

    /// The host on which the process runs.
    pub fn host(deployment: &Deployment) -> Self {
        Self::shared("host".to_owned(), deployment)
    }

    /// An alert sink.
    pub fn sink(name: &str, deployment: &Deployment) -> Self {
        Self::shared(format!("sink:{name}"), deployment)
    }

    /// The app of a token. All tokens of one app share the failures of the app's credential.
    pub(super) fn app(of: &Snapshot) -> Self {
        match of.client_id() {
            Some(client_id) => {
                Self::shared(format!("app:{}/{client_id}", of.grant.tenant_id), &of.grant.deployment)
            }
            None => Self { name: format!("app:{}", of.grant.secret), deployment: None },
        }
    }

    /// Entra, as the token's issuer.
    pub(super) fn issuer(of: &Snapshot) -> Self {
        Self::shared(format!("issuer:{}", of.grant.deployment.authority), &of.grant.deployment)
    }

    /// A vault that this token needs.
    pub(super) fn vault(url: &str, of: &Snapshot) -> Self {
        Self::shared(format!("vault:{url}"), &of.grant.deployment)
    }

    /// The identity for Key Vault.
    pub(super) fn identity(of: &Snapshot) -> Self {
        Self::shared("identity:[vault]".to_owned(), &of.grant.deployment)
    }

    /// A token identified by its name, as in Perennial's first version. In that version, two deployments could give the
    /// same name to different tokens (docs/upgrading.md).
    pub fn token_by_name(name: &TokenName) -> Self {
        Self { name: format!("token:{name}"), deployment: None }
    }

    fn shared(name: String, deployment: &Deployment) -> Self {
        Self { name, deployment: Some(deployment.first_secret.clone()) }
    }

    /// The name of the cause, as in logs and messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The incident id of this cause for a kind of condition. All processes of a deployment compute the same id.
    pub fn incident(&self, kind: Kind) -> Uuid {
        let Self { name, deployment } = self;
        let shared = deployment.as_ref().map_or_else(String::new, |first| format!("@{first}"));
        Uuid::new_v5(&NAMESPACE, format!("{}/{name}{shared}", kind.as_str()).as_bytes())
    }
}

/// All causes that a condition of this kind can have if it affects this token.
pub fn causes(kind: Kind, of: &Snapshot) -> Vec<Cause> {
    match kind {
        Kind::EntraUnreachable | Kind::EntraThrottled => vec![Cause::issuer(of)],
        Kind::VaultUnreachable | Kind::VaultIdentity | Kind::VaultRefused => {
            of.grant.vaults().into_iter().map(|url| Cause::vault(&url, of)).collect()
        }
        Kind::AppSecretExpiring => vec![Cause::app(of), Cause::identity(of)],
        Kind::AppSecretExpiryUnknown
        | Kind::AppCertificateUnregistered
        | Kind::AppCredentialRenewalFailed
        | Kind::AppCredentialUnknown => vec![Cause::app(of)],
        Kind::AppCredentialRefused | Kind::AppMisconfigured | Kind::UnknownCode => {
            vec![Cause::token(&of.grant.secret), Cause::app(of)]
        }
        Kind::ClockSkew => vec![Cause::host(&of.grant.deployment)],
        // The cause of this kind is always an alert sink and never depends on a token.
        Kind::AlertUndeliverable => Vec::new(),
        _ => vec![Cause::token(&of.grant.secret)],
    }
}

#[cfg(test)]
mod tests;
