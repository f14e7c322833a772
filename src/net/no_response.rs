//! Why a request got no answer.
//!
//! Owns the cases that callers distinguish. Keeps no text of an error, which may hold a URL.

use thiserror::Error;

/// Why a request got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoResponse {
    /// The name does not resolve: it does not exist.
    #[error("the host name does not exist")]
    NameUnknown,
    /// The resolver did not answer.
    #[error("the host name could not be looked up")]
    Lookup,
    /// The connection was refused or could not be made.
    #[error("the connection was refused or could not be made")]
    Connect,
    /// No TLS connection could be made.
    #[error("{0}")]
    Tls(TlsFault),
    /// The proxy rejected the request.
    #[error("the proxy refused to connect")]
    Proxy,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The connection ended before the answer was complete: the request may have had its effect.
    #[error("the connection was cut before the answer was complete")]
    Cut,
}

/// Why no TLS connection could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TlsFault {
    /// The peer does not speak TLS as this host does, or something on the way cut the handshake.
    #[error("the TLS handshake failed")]
    Handshake,
    /// No trusted root signed the certificate.
    #[error("the issuer of the TLS certificate is not trusted")]
    UnknownIssuer,
    /// The certificate names other hosts.
    #[error("the TLS certificate is for another host name")]
    OtherName,
    /// The server shows the certificate of a certificate authority. curl accepts one that is trusted; rustls does not.
    #[error("the TLS certificate is a certificate authority's own, which a server must not use")]
    Authority,
    /// The certificate has expired or is not valid yet, by this host's clock, which may be wrong.
    #[error("the TLS certificate has expired or is not valid yet by this host's clock: check that first")]
    NotInTime,
    /// The certificate was rejected for another reason.
    #[error("the TLS certificate was not accepted")]
    Certificate,
}
