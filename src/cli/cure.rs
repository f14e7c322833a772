//! What cures a vault that does not do what is needed: the data action by name, and the line to type.
//!
//! Pure. Owns the words of the Azure CLI for each refusal of Key Vault (`reference/azure.md` §4.4, §4.6).

use crate::login::Refused;
use crate::ports::Asked;
use crate::ports::Forbidden;
use crate::ports::VaultError;
use crate::token::SecretAddress;

/// What Perennial needs to be allowed in a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// Reading values.
    GetSecret,
    /// Listing versions, without values.
    ReadMetadata,
    /// Writing new versions.
    SetSecret,
    /// Changing tags and attributes.
    Update,
}

impl Right {
    /// As a role names it.
    fn data_action(self) -> &'static str {
        match self {
            Self::GetSecret => "Microsoft.KeyVault/vaults/secrets/getSecret/action",
            Self::ReadMetadata => "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
            Self::SetSecret => "Microsoft.KeyVault/vaults/secrets/setSecret/action",
            Self::Update => "Microsoft.KeyVault/vaults/secrets/update/action",
        }
    }

    /// As an access policy names it.
    fn permission(self) -> &'static str {
        match self {
            Self::GetSecret => "get",
            Self::ReadMetadata => "list",
            Self::SetSecret | Self::Update => "set",
        }
    }
}

/// Says why a call for `right` failed, and what to do about it.
pub(super) fn vault(
    error: &VaultError,
    asked: Asked,
    at: &SecretAddress,
    right: Right,
    token: &str,
) -> Refused {
    let failure = error.failure(asked, at);
    let (name, vault) = (at.name.as_str(), vault_name(&at.vault));
    let cure = match error {
        VaultError::Forbidden(Forbidden::Rbac { .. } | Forbidden::Other) => missing_role(at, right),
        VaultError::Forbidden(Forbidden::Policy) => format!(
            "az keyvault set-policy --name {vault} --object-id \"$IDENTITY_OBJECT_ID\" --secret-permissions {} (it needs get, list and set in all)",
            right.permission()
        ),
        VaultError::Forbidden(Forbidden::Firewall { address }) => format!(
            "let this host through the vault's firewall: az keyvault network-rule add --name {vault} --ip-address {}",
            address.as_deref().unwrap_or("ADDRESS")
        ),
        VaultError::Forbidden(Forbidden::Connection) => {
            "connect by the vault's private endpoint (its name must resolve to a private address here), or allow public access".into()
        }
        VaultError::Unreachable(_) | VaultError::Unavailable { .. } | VaultError::NotUnderstood => {
            format!("check the vault's name ({}), DNS, and the network and proxy on the way", at.vault)
        }
        VaultError::NoIdentity { .. } | VaultError::Unauthorized => {
            "check [vault] credential in the configuration, or who is signed in: az account show".into()
        }
        VaultError::Disabled => {
            format!("enable its newest version: az keyvault secret set-attributes --vault-name {vault} --name {name} --enabled true")
        }
        VaultError::NotFound => match asked {
            Asked::Own => format!("perennial login {token}"),
            Asked::Source => format!(
                "store it: az keyvault secret set --vault-name {vault} --name {name} --file FILE; or correct its name in the configuration"
            ),
        },
        VaultError::Deleted => {
            format!("az keyvault secret recover --vault-name {vault} --name {name}")
        }
        VaultError::InTransition => "try again in a minute".into(),
        VaultError::Rejected { .. } => "check the names of vault and secret in the configuration".into(),
    };
    Refused::new(failure.remedy, failure.summary, cure)
}

/// The line that gives a right which no role grants.
pub(super) fn missing_role(at: &SecretAddress, right: Right) -> String {
    format!(
        "give this identity {}: az role assignment create --role \"Perennial Secret Rotator\" --assignee \"$IDENTITY_OBJECT_ID\" --scope \"$(az keyvault show --name {} --query id --output tsv)/secrets/{}\" (the role is deploy/azure/role.json; it takes up to ten minutes to work)",
        right.data_action(),
        vault_name(&at.vault),
        at.name.as_str()
    )
}

/// `contoso` of `https://contoso.vault.azure.net`.
pub(super) fn vault_name(url: &str) -> &str {
    let host = url.trim_start_matches("https://");
    host.split(['.', ':', '/']).next().unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::failure::Remedy;
    use crate::token::SecretName;

    fn told(error: &VaultError, asked: Asked) -> Refused {
        let name = SecretName::parse("pc-token").expect("a name");
        let at = SecretAddress { vault: "https://contoso.vault.azure.net".into(), name };
        vault(error, asked, &at, Right::SetSecret, "partner-center")
    }

    #[test]
    fn a_vault_is_named_as_its_commands_want_it() {
        assert_eq!(vault_name("https://contoso.vault.azure.net"), "contoso");
        assert_eq!(vault_name("https://localhost:8443"), "localhost");
    }

    #[test]
    fn every_refusal_names_what_to_type() {
        for (error, cure) in [
            (
                VaultError::Forbidden(Forbidden::Rbac { action: None }),
                "Microsoft.KeyVault/vaults/secrets/setSecret/action: az role assignment create",
            ),
            (VaultError::Forbidden(Forbidden::Policy), "--secret-permissions set "),
            (
                VaultError::Forbidden(Forbidden::Firewall { address: Some("192.0.2.7".into()) }),
                "network-rule add --name contoso --ip-address 192.0.2.7",
            ),
            (VaultError::Forbidden(Forbidden::Connection), "private endpoint"),
            (VaultError::Deleted, "secret recover --vault-name contoso --name pc-token"),
            (VaultError::Disabled, "--enabled true"),
            (VaultError::NotFound, "perennial login partner-center"),
        ] {
            assert!(told(&error, Asked::Own).cure.contains(cure), "{error}");
        }
        let missing = told(&VaultError::NotFound, Asked::Source);
        assert!(missing.cure.starts_with("store it: az keyvault secret set"), "{}", missing.cure);
        assert_eq!(missing.remedy, Remedy::Operator);
    }
}
