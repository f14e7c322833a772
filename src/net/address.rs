//! Which addresses something may be sent to, and whose certificates are trusted there.
//!
//! Owns the rule that every peer is reached over HTTPS, and what may be sent without it: to this machine only.

use std::path::PathBuf;

use reqwest::Url;

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
    pub(crate) fn of_host(text: &str) -> Option<Self> {
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

/// Whether something may be sent there: over HTTPS, or without it to this machine itself.
pub fn may_send_to(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.host().is_some(),
        "http" => is_loopback(url.host_str().unwrap_or_default().trim_matches(['[', ']'])),
        _ => false,
    }
}

/// Whether a host is this machine, whatever a resolver says.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn nothing_is_sent_in_the_clear_but_to_this_machine() {
        for (url, may) in [
            ("https://hooks.example/x?sig=1", true),
            ("http://127.0.0.1:9/x", true),
            ("http://[::1]:9/x", true),
            ("http://localhost/x", true),
            ("http://hooks.example/x", false),
            ("http://localhost.example/x", false),
            ("ftp://localhost/x", false),
        ] {
            assert_eq!(may_send_to(&url.parse().expect("a URL")), may, "{url}");
        }
    }
}
