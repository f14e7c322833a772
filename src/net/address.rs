//! URLs that Perennial may contact, and the root certificates that it trusts.
//!
//! This module owns the types `BaseUrl` and `TargetUrl`. The TLS rules are checked once, when a URL is parsed. So a
//! value of these two types is always a URL that Perennial may contact.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use reqwest::Url;

/// The base URL of a peer. The URL uses HTTPS and may have a port and a path. The URL has no user, no query, and no
/// slash after the path. Only the URL of this machine's identity endpoint may use plain HTTP (`of_host`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// Why a text is not a valid base URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseUrlError {
    /// The text is not a URL, or the URL has no host.
    NotAUrl,
    /// The URL's scheme is not `https`.
    NotHttps,
    /// The URL contains a user name or a password.
    UserInfo,
    /// The URL has a query or a fragment.
    Query,
}

impl BaseUrl {
    /// Parses the URL of a peer.
    ///
    /// # Errors
    /// Returns the first rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, BaseUrlError> {
        let mut url = Url::parse(text).map_err(|_| BaseUrlError::NotAUrl)?;
        if url.scheme() != "https" {
            return Err(BaseUrlError::NotHttps);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BaseUrlError::UserInfo);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(BaseUrlError::Query);
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        // A host name may end with the dot of the DNS root. Certificates never include that dot, so the dot is removed.
        if let Some(host) = url.host_str().and_then(|host| host.strip_suffix('.')).map(str::to_owned) {
            url.set_host(Some(&host)).map_err(|_| BaseUrlError::NotAUrl)?;
        }
        Ok(Self(url))
    }

    /// Accepts the URL of this machine's identity endpoint. The endpoint uses plain HTTP at a local or link-local
    /// address (docs/azure-facts.md F401, F402).
    pub(crate) fn of_host(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(Self(url))
    }

    /// The URL as text. If the URL has no path, the text ends with a slash.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The host without the port.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Whether the URL has a path.
    pub fn has_path(&self) -> bool {
        self.0.path() != "/"
    }

    /// Returns this URL with path segments added. Each segment is escaped.
    pub fn with_path(&self, segments: &[&str]) -> Url {
        joined(&self.0, segments)
    }

    /// Whether `url` has the same origin as this URL.
    pub fn is_origin_of(&self, url: &Url) -> bool {
        self.0.origin() == url.origin()
    }

    /// Whether the URL's host is loopback, as for an emulator or the sandbox.
    pub fn is_loopback(&self) -> bool {
        leads_to_this_machine(&self.0)
    }
}

/// The URL of an alert receiver: either HTTPS, or plain HTTP to loopback. The URL may have a path and a query. Any part
/// of the URL may be secret, so `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct TargetUrl(Url);

impl TargetUrl {
    /// Parses a URL. Accepts HTTPS, and plain HTTP to loopback, so that other machines cannot read the requests.
    ///
    /// # Errors
    /// Returns the rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, TargetUrlError> {
        let url = Url::parse(text).map_err(|_| TargetUrlError::NotPrivate)?;
        let is_private = match url.scheme() {
            "https" => url.has_host(),
            "http" => leads_to_this_machine(&url),
            _ => false,
        };
        if !is_private {
            return Err(TargetUrlError::NotPrivate);
        }
        // The HTTP client would silently ignore the user name and password.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetUrlError::UserInfo);
        }
        Ok(Self(url))
    }

    /// Returns this URL with path segments added. Each segment is escaped.
    #[must_use]
    pub fn with_path(&self, segments: &[&str]) -> Self {
        Self(joined(&self.0, segments))
    }
}

/// Why the URL of an alert receiver is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetUrlError {
    /// The text is not a URL, or the URL is neither HTTPS nor plain HTTP to loopback.
    NotPrivate,
    /// The URL contains a user name or a password.
    UserInfo,
}

impl fmt::Debug for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TargetUrl(..)")
    }
}

impl From<BaseUrl> for TargetUrl {
    fn from(BaseUrl(url): BaseUrl) -> Self {
        Self(url)
    }
}

impl From<TargetUrl> for Url {
    fn from(TargetUrl(url): TargetUrl) -> Self {
        url
    }
}

/// The root certificates that Perennial trusts.
#[derive(Clone, Debug)]
pub enum Roots {
    /// The system's root certificates.
    System,
    /// The system's root certificates and the certificates in this PEM text.
    Pem(Vec<u8>),
    /// The system's root certificates and the certificates in this file. The file is read again whenever the HTTP
    /// client is rebuilt.
    File(PathBuf),
}

/// Whether a host is loopback. This check does not use DNS. An IPv6 address in `host` must not have brackets.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether a URL's host is loopback.
pub(crate) fn leads_to_this_machine(url: &Url) -> bool {
    is_loopback(url.host_str().unwrap_or_default().trim_matches(['[', ']']))
}

fn joined(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_reached_over_https_and_nothing_is_hidden_in_its_url() {
        for (bad, error) in [
            ("x", BaseUrlError::NotAUrl),
            ("https://", BaseUrlError::NotAUrl),
            ("http://x", BaseUrlError::NotHttps),
            ("http://localhost", BaseUrlError::NotHttps),
            ("file:///x", BaseUrlError::NotHttps),
            ("https://u@x", BaseUrlError::UserInfo),
            ("https://u:p@x", BaseUrlError::UserInfo),
            ("https://x?sig=1", BaseUrlError::Query),
            ("https://x#y", BaseUrlError::Query),
        ] {
            assert_eq!(BaseUrl::parse(bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn a_slash_at_the_end_makes_no_difference() {
        for (text, shown) in [
            ("https://Host.Example", "https://host.example/"),
            ("https://host.example/", "https://host.example/"),
            ("https://host.example:443//", "https://host.example/"),
            ("https://host.example/entra//", "https://host.example/entra"),
        ] {
            let base = BaseUrl::parse(text).expect(text);

            assert_eq!(base.as_str(), shown, "{text}");
            assert_eq!(base.has_path(), shown.ends_with("entra"), "{text}");
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

    #[test]
    fn only_loopback_is_reached_without_tls() {
        for (url, may) in [
            ("https://hooks.example/x?sig=1", true),
            ("http://127.0.0.1:9/x", true),
            ("http://[::1]:9/x", true),
            ("http://localhost/x", true),
            ("http://hooks.example/x", false),
            ("http://localhost.example/x", false),
            ("http://user@localhost@hooks.example/x", false),
            ("ftp://localhost/x", false),
            ("localhost", false),
        ] {
            assert_eq!(TargetUrl::parse(url).is_ok(), may, "{url}");
        }
        for url in ["https://user:password@hooks.example/x", "http://user@127.0.0.1/x"] {
            assert_eq!(TargetUrl::parse(url), Err(TargetUrlError::UserInfo), "{url}");
        }
    }

    #[test]
    fn an_address_that_may_hold_a_secret_is_never_shown() {
        let url = TargetUrl::parse("https://hooks.example/x?sig=canary").expect("a URL");

        assert!(!format!("{url:?}").contains("canary"));
        assert_eq!(Url::from(url.with_path(&["y"])).as_str(), "https://hooks.example/x/y?sig=canary");
    }
}
