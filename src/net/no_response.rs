//! Reasons why a request got no response.
//!
//! Callers get one of these reasons, not the HTTP client's error text, because that text may contain a URL.

use thiserror::Error;

/// Why a request got no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoResponse {
    /// The host name does not exist in DNS.
    #[error("the host name does not exist")]
    NameUnknown,
    /// The DNS resolver failed or did not respond.
    #[error("the host name could not be resolved")]
    Lookup,
    /// The peer refused the connection, or connecting failed for another reason.
    #[error("the connection was refused or failed")]
    Connect,
    /// The TLS connection failed.
    #[error("{0}")]
    Tls(TlsFault),
    /// The proxy rejected the request.
    #[error("the proxy refused to connect")]
    Proxy,
    /// The response did not arrive before the timeout.
    #[error("no answer in time")]
    TimedOut,
    /// The connection ended before the response was complete. The peer may have carried out the request.
    #[error("the connection was cut before the answer was complete")]
    Cut,
}

/// Why a TLS connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TlsFault {
    /// The peer does not use TLS, this host does not support the peer's kind of TLS, or the network interrupted the
    /// handshake.
    #[error("the TLS handshake failed")]
    Handshake,
    /// No trusted root certificate signed the server's certificate.
    #[error("the issuer of the TLS certificate is not trusted")]
    UnknownIssuer,
    /// The certificate is for other host names.
    #[error("the TLS certificate is for another host name")]
    OtherName,
    /// The server uses a CA certificate as its TLS certificate. curl accepts such a certificate if it is trusted, but
    /// rustls always rejects it.
    #[error("the server uses a CA certificate as its TLS certificate, which is not allowed")]
    Authority,
    /// According to this host's clock, the certificate has expired or is not valid yet. The clock may be wrong.
    #[error(
        "the TLS certificate has expired or is not valid yet, according to this host's clock: check the clock first"
    )]
    NotInTime,
    /// The certificate was rejected for another reason.
    #[error("the TLS certificate was not accepted")]
    Certificate,
}
