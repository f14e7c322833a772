//! What an error of the vault means: the condition, who can fix it, and the command that does.
//!
//! Pure. Owns the words of the Azure CLI for each refusal of Key Vault (docs/azure-facts.md F204, F214).

use super::{Forbidden, SecretRole, VaultError};
use crate::net::no_response::NoResponse;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy, Trace};
use crate::token::secret::SecretAddress;

impl VaultError {
    /// Who can fix it, and what to show.
    pub fn failure(&self, asked: SecretRole, at: &SecretAddress) -> Failure {
        let about = match asked {
            SecretRole::Own => FailureSubject::Token,
            SecretRole::Source => FailureSubject::CredentialSource,
        };
        let plain = |kind, remedy| Failure {
            action: self.action(asked, at).map(Into::into),
            ..Failure::new(kind, remedy, about, format!("{self} ({at})"))
        };
        match self {
            // The name resolves only while the vault exists (docs/azure-facts.md F215).
            Self::Unreachable(NoResponse::NameUnknown) => plain(Kind::VaultRefused, Remedy::Operator),
            Self::Unreachable(_) | Self::NotUnderstood => plain(Kind::VaultUnreachable, Remedy::Retry),
            Self::Unavailable { status, retry_after } => Failure {
                retry_after: *retry_after,
                trace: Trace::of(u32::from(*status)),
                ..plain(Kind::VaultUnreachable, Remedy::Retry)
            },
            Self::NoIdentity { transient: true, .. } => plain(Kind::VaultIdentity, Remedy::Retry),
            Self::NoIdentity { transient: false, .. } | Self::Unauthorized => {
                plain(Kind::VaultIdentity, Remedy::Operator)
            }
            Self::Forbidden(_) | Self::Deleted | Self::Rejected { .. } => {
                plain(Kind::VaultRefused, Remedy::Operator)
            }
            Self::Disabled => match asked {
                SecretRole::Own => plain(Kind::TurnedOff, Remedy::Operator),
                SecretRole::Source => plain(Kind::VaultRefused, Remedy::Operator),
            },
            // A soft-deleted secret too: a read of it gets 404, and only a write gets 409 (docs/azure-facts.md F213).
            // To tell them apart needs a right on deleted secrets that nothing else here needs.
            Self::NotFound => match asked {
                SecretRole::Own => plain(Kind::NeverSignedIn, Remedy::Login),
                SecretRole::Source => plain(Kind::VaultRefused, Remedy::Operator),
            },
            Self::InTransition => plain(Kind::VaultUnreachable, Remedy::Retry),
        }
    }

    /// What to type; none where somebody has to sign in.
    fn action(&self, asked: SecretRole, at: &SecretAddress) -> Option<String> {
        let (name, vault) = (at.name.as_str(), at.vault_name());
        Some(match self {
            Self::Forbidden(Forbidden::Rbac { .. } | Forbidden::Other) => {
                let (role, from) = match asked {
                    SecretRole::Own => ("Perennial Secret Rotator", "the role is deploy/azure/role.json; it"),
                    SecretRole::Source => ("Key Vault Secrets User", "it"),
                };
                format!(
                    "give this identity a role: `az role assignment create --role \"{role}\" --assignee \"$IDENTITY_OBJECT_ID\" --scope \"$(az keyvault show --name {vault} --query id --output tsv)/secrets/{name}\"` ({from} takes up to ten minutes to work)"
                )
            }
            // It replaces what was there, and holds for all secrets of the vault.
            Self::Forbidden(Forbidden::Policy) => {
                let (rights, more) = match asked {
                    SecretRole::Own => ("get list set", ""),
                    SecretRole::Source => ("get", "; with list and set where the token is kept there too"),
                };
                format!(
                    "let this identity in: `az keyvault set-policy --name {vault} --object-id \"$IDENTITY_OBJECT_ID\" --secret-permissions {rights}`{more}"
                )
            }
            Self::Forbidden(Forbidden::Firewall { address }) => format!(
                "let this host through the vault's firewall: `az keyvault network-rule add --name {vault} --ip-address {}`",
                address.as_deref().unwrap_or("ADDRESS")
            ),
            Self::Forbidden(Forbidden::Connection) => format!(
                "connect by the vault's private endpoint (its name must resolve to a private address here), or allow public access: Azure portal, Key vaults, {vault}, Networking"
            ),
            Self::Unreachable(_) | Self::Unavailable { .. } | Self::NotUnderstood => format!(
                "check DNS, the network and the proxy on the way to {}, and its name: `az keyvault show --name {vault}`",
                at.vault
            ),
            Self::NoIdentity { .. } | Self::Unauthorized => {
                "check [vault] credential in the configuration, or who is signed in: `az account show`".into()
            }
            Self::Disabled => format!(
                "enable its newest version: `az keyvault secret set-attributes --vault-name {vault} --name {name} --enabled true`"
            ),
            Self::NotFound if asked == SecretRole::Own => return None,
            Self::NotFound => format!(
                "store it: `az keyvault secret set --vault-name {vault} --name {name} --file FILE`; or correct its name in the configuration"
            ),
            Self::Deleted => {
                format!("recover it: `az keyvault secret recover --vault-name {vault} --name {name}`")
            }
            Self::InTransition => "try again in a minute".into(),
            Self::Rejected { .. } => format!(
                "check the names of vault and secret in the configuration: `az keyvault secret list --vault-name {vault}`"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::token::secret::SecretName;

    fn told(error: &VaultError, asked: SecretRole) -> String {
        let name = SecretName::parse("pc-token").expect("a name");
        let at = SecretAddress { vault: "https://contoso.vault.azure.net".into(), name };
        error.failure(asked, &at).action.map(String::from).unwrap_or_default()
    }

    #[test]
    fn every_refusal_names_what_to_type() {
        for (error, action) in [
            (VaultError::Forbidden(Forbidden::Rbac { action: None }), "--role \"Perennial Secret Rotator\" "),
            (VaultError::Forbidden(Forbidden::Other), "--query id --output tsv)/secrets/pc-token\"` "),
            (VaultError::Forbidden(Forbidden::Policy), "--secret-permissions get list set`"),
            (
                VaultError::Forbidden(Forbidden::Firewall { address: Some("192.0.2.7".into()) }),
                "network-rule add --name contoso --ip-address 192.0.2.7`",
            ),
            (VaultError::Forbidden(Forbidden::Connection), "private endpoint"),
            (VaultError::Deleted, "secret recover --vault-name contoso --name pc-token`"),
            (VaultError::Disabled, "--enabled true`"),
            (VaultError::Unreachable(NoResponse::NameUnknown), "https://contoso.vault.azure.net"),
        ] {
            let told = told(&error, SecretRole::Own);
            assert!(told.contains(action), "{error}: {told}");
        }
        assert_eq!(told(&VaultError::NotFound, SecretRole::Own), "", "a sign-in");
    }

    #[test]
    fn a_source_is_only_to_be_read() {
        for (error, action) in [
            (VaultError::Forbidden(Forbidden::Rbac { action: None }), "--role \"Key Vault Secrets User\" "),
            (VaultError::Forbidden(Forbidden::Policy), "--secret-permissions get`"),
            (VaultError::NotFound, "store it: `az keyvault secret set --vault-name contoso --name pc-token "),
        ] {
            let told = told(&error, SecretRole::Source);
            assert!(told.contains(action) && !told.contains("Rotator"), "{error}: {told}");
        }
    }
}
