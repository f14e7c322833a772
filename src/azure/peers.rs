//! Where Microsoft's servers are: those of one cloud, as configured.

use crate::azure::cloud::Cloud;
use crate::net::address::BaseUrl;

/// The servers of one cloud.
#[derive(Clone, Debug)]
pub struct Peers {
    /// Entra's token endpoints.
    pub authority: BaseUrl,
    /// Partner Center's API.
    pub partner_center: BaseUrl,
    /// What the vaults of this cloud take tokens for.
    pub vault_audience: BaseUrl,
}

impl Peers {
    /// As configured; nothing where an address cannot be one, which the configuration does not admit.
    pub fn of(cloud: &Cloud) -> Option<Self> {
        Some(Self {
            authority: BaseUrl::parse(&cloud.authority)?,
            partner_center: BaseUrl::parse(&cloud.partner_center)?,
            vault_audience: BaseUrl::parse(cloud.name.vault_audience())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::azure::cloud::CloudName;

    #[test]
    fn every_cloud_has_addresses() {
        for name in [CloudName::Public, CloudName::UsGov, CloudName::China] {
            let cloud = Cloud {
                name,
                authority: name.authority().to_owned(),
                partner_center: name.partner_center().to_owned(),
                ca_file: None,
            };

            assert!(Peers::of(&cloud).is_some(), "{name:?}");
        }
    }
}
