//! For each failed call to Key Vault: the cause, who must act, and the command that fixes the failure.
//!
//! This module is pure and owns the Azure CLI commands for each rejection by Key Vault (docs/azure-facts.md F204,
//! F214).

use std::net::Ipv4Addr;
use std::time::Duration;

use thiserror::Error;

use super::{IssuerError, SecretRole, diagnosis};
use crate::net::no_response::NoResponse;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy, Trace};
use crate::token::secret::SecretAddress;

/// Why Key Vault returned HTTP status 403.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// No role assignment grants the data action. The response may name the action.
    Rbac {
        /// The data action, such as `Microsoft.KeyVault/vaults/secrets/setSecret/action`.
        action: Option<String>,
        /// The object id of Perennial's identity, as named in the response.
        caller: Option<Box<str>>,
    },
    /// The access policy does not grant the permission.
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
    /// The vault's network security perimeter blocks this host.
    Perimeter,
    /// A deny assignment forbids the access. No role assignment can allow the access.
    Denied,
    /// The secret belongs to a certificate of the vault, so the secret cannot be written.
    OfCertificate,
    /// Key Vault denied access for another reason.
    Other {
        /// Key Vault's code, reduced to letters.
        code: String,
    },
}

/// Why a call to Key Vault failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VaultError {
    /// There was no response.
    #[error("no answer from Key Vault: {0}")]
    Unreachable(NoResponse),
    /// Key Vault had an internal error or throttled the request.
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
        /// What to do. `None` if the reason does not say what helps.
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
    #[error("there is no such secret")]
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
        /// Key Vault's error code, reduced to letters and digits.
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

/// Describes Key Vault's error numbers for HTTP status 401 (docs/azure-facts.md F214).
fn unauthorized_text(akv: Option<u32>) -> String {
    match akv {
        Some(akv @ 10022) => format!("AKV{akv}: it is for another audience"),
        Some(akv @ 10032) => format!("AKV{akv}: it is from a tenant other than the vault's"),
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
            // DNS knows the vault's name only while the vault exists (docs/azure-facts.md F215).
            Self::Unreachable(NoResponse::NameUnknown) => plain(Kind::VaultUnreachable, Remedy::Operator),
            Self::Unreachable(_) | Self::NotUnderstood => plain(Kind::VaultUnreachable, Remedy::Retry),
            Self::Unavailable { status, retry_after } => Failure {
                retry_after: *retry_after,
                trace: Trace::of(u32::from(*status)),
                ..plain(Kind::VaultUnreachable, Remedy::Retry)
            },
            Self::NoIdentity { refused: Some(refused), .. } => {
                let found = refused.failure();
                // An outage of Entra is always reported as an outage of Entra, even if the requested token was for Key
                // Vault. An app cannot sign in like a user. So a failure with the remedy `Login` gets the remedy
                // `Operator` here.
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
            // For a soft-deleted secret, Key Vault answers a write with 409, but a read with 404, as for a missing
            // secret (docs/azure-facts.md F213). To tell a soft-deleted secret from a missing secret by a read,
            // Perennial would need one more permission, for deleted secrets.
            Self::NotFound if is_own => plain(Kind::NeverSignedIn, Remedy::Login),
            Self::Forbidden(_) | Self::Deleted | Self::Rejected { .. } | Self::Disabled | Self::NotFound => {
                plain(Kind::VaultRefused, Remedy::Operator)
            }
            Self::InTransition => plain(Kind::VaultUnreachable, Remedy::Retry),
        }
    }

    /// What to do, with the command that fixes the failure, if there is one. `None` if a user must sign in.
    fn action(&self, asked: SecretRole, at: &SecretAddress) -> Option<String> {
        let (name, vault) = (at.name.as_str(), at.vault_name());
        let object = if asked.is_certificate() { "certificate" } else { "secret" };
        Some(match self {
            Self::Forbidden(why) => allow(why, asked, at),
            Self::Unreachable(why) => {
                let way = diagnosis::network(*why, &at.vault, diagnosis::RETRIED);
                format!("{way}; check that the vault exists: `az keyvault show --name {vault}`")
            }
            Self::Unavailable { status: 429, .. } => format!(
                "wait: Perennial retries automatically; if the throttling lasts, find what else calls the vault: Azure portal, Key vaults, {vault}, Insights"
            ),
            Self::NotUnderstood => diagnosis::intercepted(&at.vault),
            Self::Unavailable { status, .. } if diagnosis::is_of_another_server(*status) => {
                diagnosis::intercepted(&at.vault)
            }
            Self::Unavailable { .. } => format!(
                "wait: Perennial retries automatically; if the problem lasts, see https://azure.status.microsoft, and check the proxy between this host and {}",
                at.vault
            ),
            Self::NoIdentity { action: Some(action), .. } => action.clone().into(),
            Self::NoIdentity { transient: true, .. } => {
                "wait: Perennial retries automatically; if the problem lasts, check this host's identity service, and what else requests tokens from it"
                    .into()
            }
            Self::NoIdentity { .. } => {
                "check [vault] credential in the configuration; `perennial check` tests it".into()
            }
            Self::Unauthorized { akv: Some(10022) } => format!(
                "set name of [cloud] to {}, the cloud of vault {vault}; if name already has this value, this host's identity service issues tokens for another audience: restart that service, or set another credential in [vault]",
                cloud_of(&at.vault)
            ),
            Self::Unauthorized { akv: Some(10000) } => format!(
                "if this happens only sometimes, wait: Perennial retries automatically; otherwise, exempt vault {vault} from the proxy between this host and the vault, because the proxy removes the header Authorization"
            ),
            Self::Unauthorized { akv: Some(10032) } => format!(
                "set tenant_id of [vault] to the tenant of vault {vault}: `az keyvault show --name {vault} --query properties.tenantId`"
            ),
            Self::Unauthorized { .. } => format!(
                "check this host's clock (`timedatectl set-ntp true` sets it) and [vault] credential (`perennial check` tests it); during an outage of Key Vault ({vault}), wait: see https://azure.status.microsoft"
            ),
            Self::Disabled => format!(
                "enable the newest version of the {object}: `az keyvault {object} set-attributes --vault-name {vault} --name {name} --enabled true`"
            ),
            Self::NotFound if asked == SecretRole::Own => return None,
            Self::NotFound if asked.is_certificate() => format!(
                "recover the certificate: `az keyvault certificate recover --vault-name {vault} --name {name}`; if the certificate was never there or was purged, create it: `az keyvault certificate create --vault-name {vault} --name {name} --policy \"$(az keyvault certificate get-default-policy)\"`; if the name in the configuration is wrong, correct it"
            ),
            Self::NotFound => format!(
                "recover the secret: `az keyvault secret recover --vault-name {vault} --name {name}`; if the secret was never there or was purged, run this, paste the value and press Ctrl-D: `az keyvault secret set --vault-name {vault} --name {name} --file /dev/stdin --output none`; if the name in the configuration is wrong, correct it"
            ),
            Self::Deleted => {
                format!("recover the {object}: `az keyvault {object} recover --vault-name {vault} --name {name}`")
            }
            Self::InTransition => "wait a minute: Perennial retries automatically".into(),
            Self::Rejected { is_about_name: false, .. } if asked == SecretRole::Own => format!(
                "check the value and the tags of secret {name}: a version has at most 25 KB and 15 tags, `az keyvault secret show --vault-name {vault} --name {name} --query tags`; also check the names of vault and secret in the configuration"
            ),
            Self::Rejected { .. } => format!(
                "check the names of vault and {object} in the configuration: `az keyvault {object} list --vault-name {vault}`"
            ),
        })
    }
}

/// What to do if Key Vault denies access.
fn allow(why: &Forbidden, asked: SecretRole, at: &SecretAddress) -> String {
    let (name, vault) = (at.name.as_str(), at.vault_name());
    match why {
        Forbidden::Rbac { caller, .. } => give_role(asked, at, caller.as_deref()),
        Forbidden::Other { .. } => format!(
            "{}; if the vault uses access policies, set the permissions there",
            give_role(asked, at, None)
        ),
        Forbidden::Perimeter => format!(
            "add an inbound access rule for this host to the network security perimeter of vault {vault}: Azure portal, Network security perimeters"
        ),
        Forbidden::Denied => format!(
            "find the deny assignment and exempt this identity: Azure portal, Key vaults, {vault}, Access control (IAM), Deny assignments"
        ),
        Forbidden::OfCertificate => format!(
            "set another secret name in the configuration: certificate {name} of vault {vault} manages the secret {name}"
        ),
        // An access policy applies to the whole vault, so the text also mentions rights for the token's own secret.
        Forbidden::Policy { caller } => {
            let (rights, in_words, more) = match asked {
                SecretRole::Own | SecretRole::RenewedSecret => {
                    ("--secret-permissions get list set", "secret permissions get, list and set", "")
                }
                SecretRole::Source => (
                    "--secret-permissions get",
                    "secret permission get",
                    "; if this vault also contains the token, add list and set to these permissions",
                ),
                SecretRole::SigningKey => (
                    "--certificate-permissions get list --key-permissions sign",
                    "certificate permissions get and list, and the key permission sign,",
                    "",
                ),
                SecretRole::RenewedCertificate => (
                    "--certificate-permissions get list create update --key-permissions sign",
                    "certificate permissions get, list, create and update, and the key permission sign,",
                    "",
                ),
            };
            match caller {
                Some(oid) => format!(
                    "give this identity the rights by an access policy: `az keyvault set-policy --name {vault} --object-id {oid} {rights}`{more}; the command replaces this identity's earlier permissions of the same kind, so add the permissions that other programs with this identity need"
                ),
                None => format!(
                    "give this identity the {in_words} by an access policy: Azure portal, Key vaults, {vault}, Access policies{more}"
                ),
            }
        }
        // A rule for an address accepts only public IPv4 addresses.
        Forbidden::Firewall { address: Some(address) } if !is_public_ipv4(address) => {
            format!(
                "add this host's subnet to the vault's firewall (Azure portal, Key vaults, {vault}, Networking, virtual networks), or connect through a private endpoint: {address} is no public IPv4 address"
            )
        }
        Forbidden::Firewall { address: Some(address) } => format!(
            "let this host through the vault's firewall: `az keyvault network-rule add --name {vault} --ip-address {address}`"
        ),
        Forbidden::Firewall { address: None } => format!(
            "let this host's public address through the vault's firewall: Azure portal, Key vaults, {vault}, Networking"
        ),
        Forbidden::Connection => format!(
            "connect through the vault's private endpoint (this host must resolve the vault's name to a private address), or allow public access: Azure portal, Key vaults, {vault}, Networking"
        ),
    }
}

fn is_public_ipv4(address: &str) -> bool {
    address.parse().is_ok_and(|address: Ipv4Addr| {
        !(address.is_private() || address.is_loopback() || address.is_link_local())
    })
}

/// The value of `[cloud] name` for the vault at this URL.
fn cloud_of(vault: &str) -> &'static str {
    if vault.ends_with(".usgovcloudapi.net") {
        "usgov"
    } else if vault.ends_with(".azure.cn") {
        "china"
    } else {
        "public"
    }
}

/// The text that says how to assign the missing role.
fn give_role(asked: SecretRole, at: &SecretAddress, caller: Option<&str>) -> String {
    let (name, vault) = (at.name.as_str(), at.vault_name());
    let (role, unless) = match asked {
        SecretRole::Own | SecretRole::RenewedSecret => (
            "Perennial Secret Rotator",
            "; if no role has this name, create it first (docs/getting-started.md)",
        ),
        SecretRole::Source => ("Key Vault Secrets User", ""),
        SecretRole::SigningKey => {
            ("Perennial Key Signer", "; if no role has this name, create it first (docs/app-credentials.md)")
        }
        SecretRole::RenewedCertificate => ("Key Vault Certificates Officer", ""),
    };
    // A certificate and its key are two objects, so the role is assigned on the vault.
    let (object, page) = match asked {
        SecretRole::SigningKey | SecretRole::RenewedCertificate => (String::new(), String::new()),
        SecretRole::Own | SecretRole::Source | SecretRole::RenewedSecret => {
            (format!("/secrets/{name}"), format!(", Secrets, {name}"))
        }
    };
    let on = if object.is_empty() { "the vault".to_owned() } else { format!("secret {name}") };
    match caller {
        Some(oid) => format!(
            "give this identity a role: `az role assignment create --role \"{role}\" --assignee {oid} --scope \"$(az keyvault show --name {vault} --query id --output tsv){object}\"` (this can take ten minutes to take effect){unless}"
        ),
        None => format!(
            "give this identity the role {role:?} on {on}: Azure portal, Key vaults, {vault}{page}, Access control (IAM) (this can take ten minutes to take effect){unless}"
        ),
    }
}

#[cfg(test)]
mod tests;
