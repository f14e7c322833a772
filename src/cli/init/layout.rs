//! The names that other programs give to their secrets in a vault (docs/azure-facts.md F222, F225).
//!
//! The programs store four secrets: the app's id, the app's secret, the tenant's id and the refresh token. This module
//! owns the names of these secrets, and the remarks about a vault in which a secret is missing. This module is pure.

use clap::ValueEnum;

use crate::azure::key_vault::Listed;
use crate::process::text;

/// The program that named the secrets of a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// CIPP
    Cipp,
    /// PowerShell scripts that keep the usual four secrets
    Powershell,
}

/// The names of the secrets in both layouts. Key Vault ignores case when it compares names.
pub(super) const APP_ID: &str = "ApplicationID";
pub(super) const APP_SECRET: &str = "ApplicationSecret";
pub(super) const TENANT: &str = "TenantID";
pub(super) const REFRESH_TOKEN: &str = "RefreshToken";
/// The secret with this name contains a refresh token for Exchange Online. Partner Center does not accept this token.
const EXCHANGE: &str = "ExchangeRefreshToken";

impl Layout {
    /// Returns remarks about missing secrets and about secrets that Perennial does not use. Each remark is one line.
    pub(super) fn remarks(self, listed: &[Listed]) -> Vec<String> {
        let has = |name: &str| listed.iter().any(|secret| secret.name.as_str().eq_ignore_ascii_case(name));
        let missing = [
            (APP_ID, "store the app's client id under this name, or pass --client-id instead of --from"),
            (APP_SECRET, "store the app's client secret under this name"),
            (TENANT, "pass --tenant"),
            (REFRESH_TOKEN, "sign in after `init`: `perennial login`"),
        ];
        let missing = missing.into_iter().filter(|(name, _)| !has(name));
        let mut remarks: Vec<String> =
            missing.map(|(name, action)| format!("The vault has no secret {name}: {action}.")).collect();
        let customers = listed.iter().filter(|secret| text::guid(secret.name.as_str()).is_some()).count();
        match self {
            Self::Cipp if customers > 0 => remarks.push(format!(
                "Number of secrets whose name is a tenant id: {customers}. In each of these secrets, CIPP stores the refresh token of a direct tenant. Add a [[token]] for each token that Perennial should renew."
            )),
            Self::Powershell if has(EXCHANGE) => remarks.push(format!(
                "{EXCHANGE} is ignored: it is for Exchange Online, not for Partner Center."
            )),
            Self::Cipp | Self::Powershell => {}
        }
        remarks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::token::secret::SecretName;

    fn vault(names: &[&str]) -> Vec<Listed> {
        let one = |name: &&str| Listed {
            name: SecretName::parse(name).expect("a name"),
            content_type: None,
            tags: std::iter::empty::<(String, String)>().collect(),
        };
        names.iter().map(one).collect()
    }

    #[test]
    fn what_a_vault_lacks_is_said_with_what_to_do() {
        let customer = "0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab";
        let whole = ["applicationid", "ApplicationSecret", "TenantID", "RefreshToken"];
        assert_eq!(Layout::Cipp.remarks(&vault(&whole)), Vec::<String>::new());

        let cipp = Layout::Cipp.remarks(&vault(&["ApplicationID", "TenantID", customer]));
        assert_eq!(cipp.len(), 3, "{cipp:?}");
        assert!(cipp[0].contains("no secret ApplicationSecret") && cipp[1].contains("`perennial login`"));
        assert!(cipp[2].starts_with("Number of secrets whose name is a tenant id: 1."), "{cipp:?}");

        let scripts = Layout::Powershell.remarks(&vault(&[&whole[..], &[EXCHANGE]].concat()));
        assert_eq!(
            scripts,
            ["ExchangeRefreshToken is ignored: it is for Exchange Online, not for Partner Center."]
        );
    }
}
