//! Microsoft's clouds and the addresses of their services.

use std::path::PathBuf;
use std::sync::Arc;

use crate::net::address::BaseUrl;

/// A cloud and the addresses of its services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    /// Its name.
    pub name: CloudName,
    /// Entra's token endpoints.
    pub authority: BaseUrl,
    /// Partner Center's API.
    pub partner_center: BaseUrl,
    /// Additional trusted root certificates, PEM.
    pub ca_file: Option<PathBuf>,
}

/// A national cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudName {
    /// Azure public, GCC included.
    Public,
    /// US Government, GCC High and `DoD`.
    UsGov,
    /// China, run by 21Vianet.
    China,
}

impl CloudName {
    /// Entra's address (docs/azure-facts.md F139).
    pub fn authority(self) -> BaseUrl {
        known(match self {
            Self::Public => "https://login.microsoftonline.com",
            Self::UsGov => "https://login.microsoftonline.us",
            Self::China => "https://login.partner.microsoftonline.cn",
        })
    }

    /// What a token for the vault is issued for (docs/azure-facts.md F202).
    pub fn vault_audience(self) -> BaseUrl {
        known(match self {
            Self::Public => "https://vault.azure.net",
            Self::UsGov => "https://vault.usgovcloudapi.net",
            Self::China => "https://vault.azure.cn",
        })
    }

    /// Partner Center's API, which is also its tokens' audience. US Government partners use the public one
    /// (docs/azure-facts.md F301).
    pub fn partner_center(self) -> BaseUrl {
        known(match self {
            Self::Public | Self::UsGov => "https://api.partnercenter.microsoft.com",
            Self::China => "https://partner.partnercenterapi.microsoftonline.cn",
        })
    }

    /// The scope that is requested when a token for Partner Center is redeemed.
    pub fn usual_scope(self) -> Arc<str> {
        String::from(self.partner_center().with_path(&["user_impersonation"])).into()
    }
}

/// One of the addresses above.
fn known(address: &'static str) -> BaseUrl {
    BaseUrl::parse(address).expect("a test parses every address of every cloud")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cloud_has_addresses() {
        for name in [CloudName::Public, CloudName::UsGov, CloudName::China] {
            for address in [name.authority(), name.vault_audience(), name.partner_center()] {
                assert!(!address.has_path(), "{name:?}");
            }
        }
    }
}
