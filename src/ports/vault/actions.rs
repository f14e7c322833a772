//! What to do about each failed call to Key Vault, with the Azure CLI command that fixes the failure
//! (docs/azure-facts.md F204, F214). This module is pure.

use std::net::Ipv4Addr;

use super::{Forbidden, NO_SIGNING_KEY, VaultError};
use crate::ports::{SecretRole, diagnosis};
use crate::token::secret::SecretAddress;

impl VaultError {
    /// What to do. Includes the command that fixes the failure, if such a command exists. `None` if a user must sign
    /// in.
    pub(super) fn action(&self, asked: SecretRole, at: &SecretAddress) -> Option<String> {
        let (name, vault) = (at.name.as_str(), at.vault_name());
        let object = if asked.is_certificate() { "certificate" } else { "secret" };
        Some(match self {
            Self::Unauthorized { akv: Some(NO_SIGNING_KEY) } => wait(&at.vault),
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
            Self::Unavailable { .. } => wait(&at.vault),
            Self::NoIdentity { action: Some(action), .. } => action.clone().into(),
            Self::NoIdentity { transient: true, .. } => {
                "wait: Perennial retries automatically; if the problem lasts, check this host's identity service, and find other programs that request tokens from this service"
                    .into()
            }
            Self::NoIdentity { .. } => {
                "check which credential [vault] configures; `perennial check` tests this credential".into()
            }
            Self::Unauthorized { akv: Some(10022) } => format!(
                "set name of [cloud] to {}, the cloud of vault {vault}; if name already has this value, this host's identity service issues tokens for another audience: restart that service, or set another credential in [vault]",
                cloud_of(&at.vault)
            ),
            Self::Unauthorized { akv: Some(10000) } => format!(
                "if only some requests fail, wait: Perennial retries automatically; if every request fails, exempt vault {vault} from the proxy between this host and the vault, because the proxy removes the header Authorization"
            ),
            Self::Unauthorized { akv: Some(10032) } => format!(
                "set tenant_id of [vault] to the tenant of vault {vault}: `az keyvault show --name {vault} --query properties.tenantId`"
            ),
            Self::Unauthorized { .. } => format!(
                "check this host's clock (`timedatectl set-ntp true` sets it) and the credential that [vault] configures (`perennial check` tests it); if vault {vault} has an outage (see https://azure.status.microsoft), wait"
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
                "check the value of secret {name} (at most 25 KB) and its tags (at most 15): `az keyvault secret show --vault-name {vault} --name {name} --query tags`; also check the names of vault and secret in the configuration"
            ),
            Self::Rejected { .. } => format!(
                "check the names of vault and {object} in the configuration; this command lists the names in the vault: `az keyvault {object} list --vault-name {vault}`"
            ),
        })
    }
}

fn wait(vault: &str) -> String {
    format!(
        "wait: Perennial retries automatically; if the problem lasts, see https://azure.status.microsoft, and check the proxy between this host and {vault}"
    )
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
        Forbidden::ReadOnly => wait(&at.vault),
        Forbidden::Perimeter => format!(
            "add an inbound access rule for this host to the network security perimeter of vault {vault}: Azure portal, Network security perimeters"
        ),
        Forbidden::Denied => format!(
            "find the deny assignment and exempt this identity: Azure portal, Key vaults, {vault}, Access control (IAM), Deny assignments"
        ),
        Forbidden::OfCertificate => format!(
            "set another secret name in the configuration: certificate {name} of vault {vault} manages the secret {name}"
        ),
        // An access policy applies to the whole vault, and the vault may also contain the token. So the text for
        // `SecretRole::Source` also names the permissions for the token.
        Forbidden::Policy { caller } => {
            let (rights, in_words, more) = match asked {
                SecretRole::Own | SecretRole::RenewedSecret => {
                    ("--secret-permissions get list set", "secret permissions get, list and set", "")
                }
                SecretRole::Source => (
                    "--secret-permissions get",
                    "secret permission get",
                    "; if this vault also contains the token, also give the secret permissions list and set",
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
        // A firewall rule for an IP address accepts only public IPv4 addresses.
        Forbidden::Firewall { address: Some(address) } if !is_public_ipv4(address) => {
            format!(
                "add this host's subnet to the vault's firewall (Azure portal, Key vaults, {vault}, Networking, virtual networks), or connect through a private endpoint: {address} is not a public IPv4 address"
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
            "; if this role does not exist, create the role first (docs/getting-started.md)",
        ),
        SecretRole::Source => ("Key Vault Secrets User", ""),
        SecretRole::SigningKey => (
            "Perennial Key Signer",
            "; if this role does not exist, create the role first (docs/app-credentials.md)",
        ),
        SecretRole::RenewedCertificate => ("Key Vault Certificates Officer", ""),
    };
    // A certificate and its key are two objects, so the role must cover the whole vault.
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
