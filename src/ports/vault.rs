//! For each failed call to Key Vault: the cause, who must act, and the command that fixes the failure.
//!
//! This module is pure. `actions` has the commands that fix each failure.

mod actions;

use std::time::Duration;

use thiserror::Error;

use super::{IssuerError, SecretRole, diagnosis};
use crate::net::no_response::NoResponse;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy, Trace};
use crate::token::secret::SecretAddress;

/// Why Key Vault returned HTTP status 403.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// No role assignment grants the data action that the call needs. The response may name this action.
    Rbac {
        /// The data action, such as `Microsoft.KeyVault/vaults/secrets/setSecret/action`.
        action: Option<String>,
        /// The object id of Perennial's identity, as named in the response.
        caller: Option<Box<str>>,
    },
    /// The access policy does not grant the permission that the call needs.
    Policy {
        /// The object id of Perennial's identity, as named in the response.
        caller: Option<Box<str>>,
    },
    /// The vault's firewall blocks this host's address.
    Firewall {
        /// This host's address, as named in the response.
        address: Option<String>,
    },
    /// The vault accepts connections only through private endpoints.
    Connection,
    /// The vault is read-only during a failover.
    ReadOnly,
    /// The vault's network security perimeter blocks this host.
    Perimeter,
    /// A deny assignment forbids the access. A role assignment cannot override a deny assignment.
    Denied,
    /// The secret belongs to a certificate of the vault, so the secret cannot be written.
    OfCertificate,
    /// Key Vault denied access for another reason.
    Other {
        /// Key Vault's error code, which consists of letters. `no code` replaces any other text.
        code: String,
    },
}

/// Why a call to Key Vault failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VaultError {
    /// There was no response.
    #[error("no answer from Key Vault: {0}")]
    Unreachable(NoResponse),
    /// Key Vault throttled the request, Key Vault had an internal error, or another server answered instead.
    #[error("{}", unavailable_text(*.status))]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// The wait that Key Vault requested in `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// This process could not get an access token for Key Vault.
    #[error("cannot authenticate to Key Vault: {why}")]
    NoIdentity {
        /// The reason, without secrets.
        why: String,
        /// Whether the failure may be temporary.
        transient: bool,
        /// Entra's rejection, if Entra rejected the request for the access token.
        refused: Option<Box<IssuerError>>,
        /// What to do. `None` if no remedy is known.
        action: Option<Box<str>>,
    },
    /// Key Vault rejected this process's access token.
    #[error("Key Vault does not accept this process's access token ({})", unauthorized_text(*.akv))]
    Unauthorized {
        /// Key Vault's error number, such as 10032 in `AKV10032`.
        akv: Option<u32>,
    },
    /// Key Vault denies access to Perennial's identity.
    #[error("Key Vault denied access: {}", forbidden_text(.0))]
    Forbidden(Forbidden),
    /// The requested version is disabled.
    #[error("the version is disabled")]
    Disabled,
    /// The secret or version does not exist.
    #[error("the secret does not exist")]
    NotFound,
    /// The secret is deleted and can be recovered.
    #[error("the secret is deleted and can still be recovered")]
    Deleted,
    /// The secret is being deleted or recovered right now.
    #[error("the secret is being deleted or recovered")]
    InTransition,
    /// Key Vault rejected the request, because Perennial sent a wrong request or a limit was reached.
    #[error("Key Vault rejected the request (status {status}, {code})")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// Key Vault's error code, which consists of letters. `no code` replaces any other text.
        code: String,
        /// Whether Key Vault rejected the name of the vault or of the secret.
        is_about_name: bool,
    },
    /// Key Vault's response has a 2xx status but could not be parsed.
    #[error("Key Vault's answer could not be read")]
    NotUnderstood,
}

impl VaultError {
    /// Creates a `NoIdentity` whose cause is not a rejection by Entra.
    pub fn no_identity(why: impl Into<String>, transient: bool) -> Self {
        Self::NoIdentity { why: why.into(), transient, refused: None, action: None }
    }
}

fn unavailable_text(status: u16) -> String {
    match status {
        429 => "Key Vault throttles requests (status 429)".to_owned(),
        status if diagnosis::is_of_another_server(status) => {
            format!("another server answered in place of Key Vault, with status {status}")
        }
        status => format!("Key Vault answered with status {status}"),
    }
}

/// Key Vault returns this error number if it does not yet know the key that signed the access token. A moment later,
/// Key Vault accepts the same token (docs/azure-facts.md F214).
const NO_SIGNING_KEY: u32 = 10046;

/// Describes Key Vault's error numbers for HTTP status 401 (docs/azure-facts.md F214).
fn unauthorized_text(akv: Option<u32>) -> String {
    match akv {
        Some(akv @ 10022) => format!("AKV{akv}: the token is for another audience"),
        Some(akv @ 10032) => format!("AKV{akv}: the token is not from the vault's tenant"),
        Some(akv @ NO_SIGNING_KEY) => {
            format!("AKV{akv}: Key Vault does not find the key that signed the token")
        }
        Some(akv @ 10000) => format!("AKV{akv}: no token arrived"),
        Some(akv) => format!("AKV{akv}"),
        None => "status 401".to_owned(),
    }
}

fn forbidden_text(why: &Forbidden) -> String {
    match why {
        Forbidden::Rbac { action: Some(action), .. } => format!("no role grants {action}"),
        Forbidden::Rbac { action: None, .. } => "no role grants this access".into(),
        Forbidden::Policy { .. } => "no access policy grants this access".into(),
        Forbidden::Firewall { address: Some(address) } => {
            format!("the vault's firewall does not allow {address}")
        }
        Forbidden::Firewall { address: None } => {
            "the vault's firewall does not allow this host's address".into()
        }
        Forbidden::Connection => "the vault accepts connections from private endpoints only".into(),
        Forbidden::ReadOnly => "the vault is read-only during a failover".into(),
        Forbidden::Perimeter => "the vault's network security perimeter does not allow this host".into(),
        Forbidden::Denied => "a deny assignment forbids this access".into(),
        Forbidden::OfCertificate => "this secret belongs to a certificate of the vault".into(),
        Forbidden::Other { code } => format!("forbidden ({code})"),
    }
}

impl VaultError {
    /// Converts this error to a failure with its remedy and text.
    pub fn failure(&self, asked: SecretRole, at: &SecretAddress) -> Failure {
        let is_own = asked == SecretRole::Own;
        let about = if is_own { FailureSubject::Token } else { FailureSubject::CredentialSource };
        let what = match self {
            Self::NotFound | Self::Deleted | Self::InTransition if asked.is_certificate() => {
                self.to_string().replace("secret", "certificate")
            }
            other => other.to_string(),
        };
        let place = if asked.is_certificate() {
            format!("certificate {} of vault {}", at.name.as_str(), at.vault_name())
        } else {
            at.to_string()
        };
        let plain = |kind, remedy| Failure {
            action: self.action(asked, at).map(Into::into),
            vault: Some(at.vault.clone()),
            ..Failure::new(kind, remedy, about, format!("{what} ({place})"))
        };
        match self {
            // If DNS does not know the vault's name, the vault may not exist. So a person must act (docs/azure-facts.md
            // F215).
            Self::Unreachable(NoResponse::NameUnknown) => plain(Kind::VaultUnreachable, Remedy::Operator),
            Self::Unreachable(_)
            | Self::NotUnderstood
            | Self::Unauthorized { akv: Some(NO_SIGNING_KEY) }
            | Self::Forbidden(Forbidden::ReadOnly) => plain(Kind::VaultUnreachable, Remedy::Retry),
            Self::Unavailable { status, retry_after } => Failure {
                retry_after: *retry_after,
                trace: Trace::of(u32::from(*status)),
                ..plain(Kind::VaultUnreachable, Remedy::Retry)
            },
            Self::NoIdentity { refused: Some(refused), .. } => {
                let found = refused.failure();
                // An outage of Entra is always reported as an outage of Entra, even if the requested token was for Key
                // Vault. A user's sign-in does not help here, because Perennial's own identity requested the token. So
                // the remedy `Operator` replaces the remedy `Login`.
                let (kind, remedy) = match found.remedy {
                    Remedy::Retry => (found.kind, Remedy::Retry),
                    Remedy::Login | Remedy::Operator => (Kind::VaultIdentity, Remedy::Operator),
                };
                Failure { retry_after: found.retry_after, trace: found.trace, ..plain(kind, remedy) }
            }
            Self::NoIdentity { transient: true, .. } => plain(Kind::VaultIdentity, Remedy::Retry),
            Self::NoIdentity { transient: false, .. } | Self::Unauthorized { .. } => {
                plain(Kind::VaultIdentity, Remedy::Operator)
            }
            Self::Disabled if is_own => plain(Kind::TurnedOff, Remedy::Operator),
            // Key Vault answers a read of a soft-deleted secret with 404, as for a missing secret (docs/azure-facts.md
            // F213). To distinguish the two cases, Perennial would need a permission for deleted secrets. Only a write
            // gets a different answer, 409.
            Self::NotFound if is_own => plain(Kind::NeverSignedIn, Remedy::Login),
            Self::Forbidden(_) | Self::Deleted | Self::Rejected { .. } | Self::Disabled | Self::NotFound => {
                plain(Kind::VaultRefused, Remedy::Operator)
            }
            Self::InTransition => plain(Kind::VaultUnreachable, Remedy::Retry),
        }
    }
}

#[cfg(test)]
mod tests;
