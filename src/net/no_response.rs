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
    /// The certificate is not trusted, or the handshake failed.
    #[error("the TLS certificate or handshake was not accepted")]
    Tls,
    /// The certificate has expired or is not valid yet, by this host's clock, which may be wrong.
    #[error("the TLS certificate has expired or is not valid yet by this host's clock: check that first")]
    NotInTime,
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
