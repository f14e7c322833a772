//! Where something may be sent, and whose certificates are trusted there.
//!
//! Owns both kinds of address. To have one is to be allowed to send there: the rules of TLS are asked when an address
//! is parsed and nowhere else.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use reqwest::Url;

/// The base URL of a peer: HTTPS, a host, perhaps a port and a path; no user, no query, no slash after the path. The
/// host's own identity service is the one exception (`of_host`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// Why a text is no base URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseUrlError {
    /// It is no URL, or names no host.
    NotAUrl,
    /// Its scheme is another than `https`.
    NotHttps,
    /// It holds a user name or a password.
    UserInfo,
    /// It goes on after the path.
    Query,
}

impl BaseUrl {
    /// Admits a URL that can be a peer's.
    ///
    /// # Errors
    /// The first of the rules that it breaks.
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
        Ok(Self(url))
    }

    /// Admits the address of a host's own identity service, which speaks plain HTTP and is not left for any
    /// other machine (docs/azure-facts.md F401, F402).
    pub(crate) fn of_host(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(Self(url))
    }

    /// As text, with a slash at the end where there is no path.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The host, without a port.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Whether more than a host and a port is named.
    pub fn has_path(&self) -> bool {
        self.0.path() != "/"
    }

    /// This URL with a path added. Each segment is escaped.
    pub fn with_path(&self, segments: &[&str]) -> Url {
        joined(&self.0, segments)
    }

    /// Whether `url` is on the same server.
    pub fn is_origin_of(&self, url: &Url) -> bool {
        self.0.origin() == url.origin()
    }

    /// Whether it never leaves this machine: an emulator or the sandbox.
    pub fn is_loopback(&self) -> bool {
        leads_to_this_machine(&self.0)
    }
}

/// Where a message may be sent: over HTTPS, or without TLS to this machine itself. It may hold a path and a query.
/// All of it may be secret, so `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct TargetUrl(Url);

impl TargetUrl {
    /// Admits a URL that nobody on the way can read along.
    ///
    /// # Errors
    /// The rule that it breaks.
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
        // The HTTP client would drop them silently.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetUrlError::UserInfo);
        }
        Ok(Self(url))
    }

    /// This URL with a path added. Each segment is escaped.
    #[must_use]
    pub fn with_path(&self, segments: &[&str]) -> Self {
        Self(joined(&self.0, segments))
    }
}

/// Why nothing is sent to a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetUrlError {
    /// It is no URL, or somebody on the way could read what is sent.
    NotPrivate,
    /// It holds a user name or a password.
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

/// Whether a host is this machine, whatever a resolver says. An IPv6 address stands without brackets.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether a URL leads to this machine.
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
    fn nothing_is_sent_in_the_clear_but_to_this_machine() {
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
