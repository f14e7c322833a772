//! Where Microsoft's servers are.
//!
//! Owns what a base URL can do, and the rule that every peer is reached over HTTPS. Which cloud has which
//! addresses is `config`'s.

use std::path::PathBuf;

use reqwest::Url;

use crate::config::Cloud;

/// The base URL of a peer: HTTPS, a host, perhaps a port and a path; no user, no query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// Admits a URL that can be a peer's.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let plain = url.username().is_empty() && url.password().is_none();
        let bare = url.query().is_none() && url.fragment().is_none();
        (url.scheme() == "https" && url.host().is_some() && plain && bare).then_some(Self(url))
    }

    /// Admits the address of a host's own identity service, which speaks plain HTTP and is not left for any
    /// other machine (docs/azure-facts.md F401, F402).
    pub(super) fn of_host(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        (matches!(url.scheme(), "http" | "https") && url.host().is_some()).then_some(Self(url))
    }

    /// As text, with a slash at the end where there is no path.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The host, without a port.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// This URL with a path added. Each segment is escaped.
    pub fn with_path(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Whether `url` is on the same server.
    pub fn is_origin_of(&self, url: &Url) -> bool {
        self.0.origin() == url.origin()
    }

    /// Whether it never leaves this machine: an emulator or the sandbox.
    pub fn is_loopback(&self) -> bool {
        let host = self.host().trim_matches(['[', ']']);
        host.eq_ignore_ascii_case("localhost")
            || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    }
}

/// Which root certificates are trusted.
#[derive(Clone, Debug)]
pub enum Roots {
    /// The system's.
    System,
    /// Those in this PEM text as well.
    Pem(Vec<u8>),
    /// Those in this file as well. Read again whenever the client is rebuilt.
    File(PathBuf),
}

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

    use crate::config::CloudName;

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

    #[test]
    fn a_peer_is_reached_over_https_and_nothing_is_hidden_in_its_url() {
        for bad in
            ["http://x", "x", "https://", "https://u:p@x", "https://x?sig=1", "https://x#y", "file:///x"]
        {
            assert_eq!(BaseUrl::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn segments_cannot_climb_out_of_the_path() {
        let base = BaseUrl::parse("https://proxy.example/entra/").expect("a base");

        assert_eq!(
            base.with_path(&["a/../b", "oauth2"]).as_str(),
            "https://proxy.example/entra/a%2F..%2Fb/oauth2"
        );
        assert!(base.is_origin_of(&"https://proxy.example:443/x".parse().expect("a url")));
        assert!(!base.is_origin_of(&"https://proxy.example.org/x".parse().expect("a url")));
    }

    #[test]
    fn loopback_hosts_are_known_by_name_and_address() {
        for (text, loopback) in [
            ("https://localhost:8443", true),
            ("https://127.0.0.7", true),
            ("https://[::1]:8443", true),
            ("https://localhost.example", false),
            ("https://contoso.vault.azure.net", false),
        ] {
            assert_eq!(BaseUrl::parse(text).expect(text).is_loopback(), loopback, "{text}");
        }
    }
}
