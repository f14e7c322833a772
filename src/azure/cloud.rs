//! Microsoft's clouds and the addresses of their services.

use std::path::PathBuf;
use std::sync::Arc;

use crate::net::address::BaseUrl;

/// A cloud and the addresses of its services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    pub name: CloudName,
    /// The base address of Entra's token endpoints.
    pub authority: BaseUrl,
    /// The base address of Partner Center's API.
    pub partner_center: BaseUrl,
    /// The base address of Microsoft Graph.
    pub graph: BaseUrl,
    /// A PEM file with additional trusted root certificates.
    pub ca_file: Option<PathBuf>,
}

/// Azure public or a national cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudName {
    /// Azure public, which includes GCC.
    Public,
    /// Azure US Government, which includes GCC High and `DoD`.
    UsGov,
    /// Azure China, which 21Vianet operates.
    China,
}

impl CloudName {
    /// Returns Entra's address (docs/azure-facts.md F139).
    pub fn authority(self) -> BaseUrl {
        known(match self {
            Self::Public => "https://login.microsoftonline.com",
            Self::UsGov => "https://login.microsoftonline.us",
            Self::China => "https://login.partner.microsoftonline.cn",
        })
    }

    /// Returns the audience of access tokens for the vault (docs/azure-facts.md F202).
    pub fn vault_audience(self) -> BaseUrl {
        known(match self {
            Self::Public => "https://vault.azure.net",
            Self::UsGov => "https://vault.usgovcloudapi.net",
            Self::China => "https://vault.azure.cn",
        })
    }

    /// Returns the audience that a managed identity's token must have. With such a token, an app can authenticate to
    /// Entra (docs/azure-facts.md F141).
    pub fn assertion_audience(self) -> &'static str {
        match self {
            Self::Public => "api://AzureADTokenExchange",
            Self::UsGov => "api://AzureADTokenExchangeUSGov",
            Self::China => "api://AzureADTokenExchangeChina",
        }
    }

    /// Returns the address of Partner Center's API. This address is also the audience of access tokens for the API. US
    /// Government partners use the public address (docs/azure-facts.md F301).
    pub fn partner_center(self) -> BaseUrl {
        known(match self {
            Self::Public | Self::UsGov => "https://api.partnercenter.microsoft.com",
            Self::China => "https://partner.partnercenterapi.microsoftonline.cn",
        })
    }

    /// Returns the address of Microsoft Graph. This address is also the audience of access tokens for Graph
    /// (docs/azure-facts.md F601).
    pub fn graph(self) -> BaseUrl {
        known(match self {
            Self::Public => "https://graph.microsoft.com",
            Self::UsGov => "https://graph.microsoft.us",
            Self::China => "https://microsoftgraph.chinacloudapi.cn",
        })
    }

    /// Returns the default scope of a redemption for a Partner Center access token.
    pub fn usual_scope(self) -> Arc<str> {
        String::from(self.partner_center().with_path(&["user_impersonation"])).into()
    }
}

/// Parses an address that this file contains.
fn known(address: &'static str) -> BaseUrl {
    BaseUrl::parse(address).expect("a test parses every address of every cloud")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cloud_has_addresses() {
        for name in [CloudName::Public, CloudName::UsGov, CloudName::China] {
            let all = [name.authority(), name.vault_audience(), name.partner_center(), name.graph()];
            for address in all {
                assert!(!address.has_path(), "{name:?}");
            }
        }
    }

    #[test]
    fn an_identitys_assertion_has_the_audience_of_its_cloud() {
        for (name, audience) in [
            (CloudName::Public, "api://AzureADTokenExchange"),
            (CloudName::UsGov, "api://AzureADTokenExchangeUSGov"),
            (CloudName::China, "api://AzureADTokenExchangeChina"),
        ] {
            assert_eq!(name.assertion_audience(), audience, "{name:?}");
        }
    }
}
