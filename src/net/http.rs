//! The HTTP client for all calls to other services.
//!
//! Only this module creates HTTP clients. The module owns time and size limits, reloading of root certificates, and
//! `Retry-After`. The client does not retry; the rotation loop does.
//!
//! The client uses only HTTP/1.1, because `Cargo.toml` omits the feature `http2`. HTTP/2 would make the program half a
//! megabyte larger. No test would cover HTTP/2, because the simulated services do not support it. At most 64 requests
//! for tokens run at the same time (`rotation::pace`), so HTTP/1.1 needs few connections. Requests have no
//! `Accept-Encoding`, so responses are uncompressed. The Azure SDK is built without gzip and deflate.
//!
//! Invariants: Redirects are not followed. No response body is read beyond its limit. Text from a peer is checked
//! before it is kept.

use std::error::Error as StdError;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use reqwest::header::HeaderMap;
use secrecy::zeroize::Zeroizing;
use thiserror::Error;
use tokio::time::Instant;

use crate::net::address::{Roots, leads_to_this_machine};
use crate::net::calls::{CallTarget, Calls, Running};
use crate::net::classify::classify;
use crate::net::no_response::NoResponse;
use crate::process::clock::Timestamp;
use crate::process::file;
use crate::process::file::FileError;

/// The maximum time for connecting. Normally connecting takes much less than a second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum time of one request, including the response's body.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);

/// The maximum size of a response's body, except for calls of the Azure SDK (`azure::sdk`). Real responses are about a
/// tenth of this size.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The maximum age of an HTTP client. Root certificates change, so a process that runs for years must reload them.
const CLIENT_FRESH_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The minimum age of an HTTP client. A younger client is not rebuilt, even if TLS fails often.
const CLIENT_KEPT_FOR: Duration = Duration::from_secs(60);

/// The maximum `Retry-After`. If a peer asks for a longer wait, this maximum is used instead. Callers limit the wait
/// further (`backoff::heed`).
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The maximum size of a CA file. All public root certificates together are a tenth of this size.
const MAX_CA_FILE_BYTES: usize = 4 * 1024 * 1024;

/// Why an HTTP client could not be created. An operator must fix the cause.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The configured CA file cannot be read.
    #[error("the root certificate file {0}")]
    CaFile(#[source] FileError),
    /// The CA file has no certificate in PEM format.
    #[error("the root certificate file has no PEM certificate")]
    CaPem,
    /// The HTTP library failed. The usual cause is a container image without ca-certificates.
    #[error("cannot create an HTTPS client: check that this host has root certificates")]
    Client(#[source] reqwest::Error),
}

/// Creates an HTTP client. No other function creates HTTP clients. The client trusts the system's root certificates and
/// the certificates in `ca_pem`. If `proxy` is true, the client uses the proxy from the environment.
///
/// # Errors
/// Root certificates are missing or unreadable. An operator must fix the cause.
pub fn http_client(ca_pem: Option<&[u8]>, proxy: bool) -> Result<reqwest::Client, HttpError> {
    #[expect(clippy::disallowed_methods, reason = "only this function creates HTTP clients")]
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("perennial/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TOTAL_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        // Compression is off, because the client would decompress a body before this module checks the size.
        .no_gzip()
        .no_deflate();
    if let Some(pem) = ca_pem {
        let own = reqwest::Certificate::from_pem_bundle(pem).map_err(|_| HttpError::CaPem)?;
        if own.is_empty() {
            return Err(HttpError::CaPem);
        }
        builder = builder.tls_certs_merge(own);
    }
    if !proxy {
        builder = builder.no_proxy();
    }
    builder.build().map_err(HttpError::Client)
}

/// An HTTP client that is rebuilt daily, after a TLS failure, and after an HTTP status 401. All modules that call other
/// services share this client.
#[derive(Debug)]
pub struct Http {
    roots: Roots,
    proxy: bool,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    client: reqwest::Client,
    /// A client that bypasses the proxy, for requests to loopback. This client is created for the first such request.
    direct: Option<reqwest::Client>,
    built_at: Instant,
    distrusted: bool,
}

impl Http {
    /// Creates the HTTP client. The method `client` rebuilds it later.
    ///
    /// # Errors
    /// The client cannot be created (see `HttpError`), and an operator must fix the cause.
    pub fn new(roots: Roots, proxy: bool) -> Result<Self, HttpError> {
        let client = build(&roots, proxy)?;
        let held = Mutex::new(Held { client, direct: None, built_at: Instant::now(), distrusted: false });
        Ok(Self { roots, proxy, held })
    }

    /// Returns a client that does not use the proxy.
    fn direct_client(&self) -> reqwest::Client {
        let shared = self.client();
        if !self.proxy {
            return shared;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.direct.is_none() {
            // A failure is unlikely, because the shared client was created in the same way. After a failure, the shared
            // client is used instead.
            held.direct = build(&self.roots, false).ok();
        }
        held.direct.clone().unwrap_or(shared)
    }

    /// Returns the client. If a rebuild is due, rebuilds the client first. If rebuilding fails, the old client stays in
    /// use.
    pub fn client(&self) -> reqwest::Client {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let due = if held.distrusted { CLIENT_KEPT_FOR } else { CLIENT_FRESH_FOR };
        if held.built_at.elapsed() >= due {
            held.built_at = Instant::now();
            match build(&self.roots, self.proxy) {
                Ok(client) => (held.client, held.direct, held.distrusted) = (client, None, false),
                Err(error) => {
                    held.distrusted = true;
                    tracing::warn!(
                        error = &error as &dyn StdError,
                        "could not rebuild the HTTPS client; the old one stays in use"
                    );
                }
            }
        }
        held.client.clone()
    }

    /// Reads the additional trusted root certificates again and returns them in PEM format. Returns `None` if the
    /// client trusts only the system's root certificates.
    ///
    /// # Errors
    /// The root certificates cannot be read. An operator must fix the cause.
    pub fn own_roots(&self) -> Result<Option<Vec<u8>>, HttpError> {
        pem(&self.roots)
    }

    /// Marks the client for a rebuild after a TLS failure or an HTTP status 401.
    pub fn distrust(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).distrusted = true;
    }
}

fn build(roots: &Roots, proxy: bool) -> Result<reqwest::Client, HttpError> {
    http_client(pem(roots)?.as_deref(), proxy)
}

fn pem(roots: &Roots) -> Result<Option<Vec<u8>>, HttpError> {
    match roots {
        Roots::System => Ok(None),
        Roots::Pem(pem) => Ok(Some(pem.clone())),
        Roots::File(path) => file::read(path, MAX_CA_FILE_BYTES).map(Some).map_err(HttpError::CaFile),
    }
}

/// A response and its body.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    pub(crate) headers: HeaderMap,
    /// The body, which is wiped from memory when dropped. `None` if the body exceeded its limit.
    pub(crate) body: Option<Zeroizing<Vec<u8>>>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The wait that the peer requests in `Retry-After`.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(self.header("retry-after")?, self.header("date"))
    }
}

/// Sends a request and reads the response. Counts the call in `calls`.
///
/// # Errors
/// There was no response.
pub async fn exchange(
    http: &Http,
    calls: &Calls,
    (peer, operation): (CallTarget, &'static str),
    request: reqwest::Request,
) -> Result<Answer, NoResponse> {
    let client = http.client();
    counted(http, &client, calls.begin(peer, operation), request).await
}

/// Sends a request to a receiver of alerts or heartbeats, and reads the response. Unlike with `exchange`, a request to
/// loopback bypasses the proxy.
///
/// # Errors
/// There was no response.
pub async fn exchange_unseen(
    http: &Http,
    calls: &Calls,
    (peer, operation): (CallTarget, &'static str),
    request: reqwest::Request,
) -> Result<Answer, NoResponse> {
    let client = if leads_to_this_machine(request.url()) { http.direct_client() } else { http.client() };
    counted(http, &client, calls.begin(peer, operation), request).await
}

async fn counted(
    http: &Http,
    client: &reqwest::Client,
    running: Running<'_>,
    request: reqwest::Request,
) -> Result<Answer, NoResponse> {
    let answer = send(client, request).await;
    if matches!(answer, Err(NoResponse::Tls(_))) {
        http.distrust();
    }
    running.end(answer.as_ref().map(|answer| answer.status).map_err(|why| *why));
    answer
}

async fn send(client: &reqwest::Client, request: reqwest::Request) -> Result<Answer, NoResponse> {
    let mut response = client.execute(request).await.map_err(|error| classify(&error))?;
    let body = match read_bounded(&mut response, MAX_ANSWER_BYTES).await {
        Ok(body) => Some(body),
        Err(ReadError::NotUnderstood) => None,
        Err(ReadError::Unreachable(why)) => return Err(why),
    };
    Ok(Answer { status: response.status().as_u16(), headers: std::mem::take(response.headers_mut()), body })
}

/// Why a response body could not be read completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The body exceeds the limit.
    #[error("the answer is too long")]
    NotUnderstood,
    /// The body did not arrive completely.
    #[error("{0}")]
    Unreachable(NoResponse),
}

/// Reads a body of at most `limit` bytes. Stops reading if the body is longer.
///
/// # Errors
/// The body is longer than `limit`, or the connection failed. The caller decides when to retry.
pub async fn read_bounded(
    response: &mut reqwest::Response,
    limit: usize,
) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    let announced = response.content_length().map(usize::try_from);
    if announced.is_some_and(|length| length.map_or(true, |length| length > limit)) {
        return Err(ReadError::NotUnderstood);
    }
    // The vector is allocated at its full size. If the vector grew, copies of the body would stay in memory without
    // being wiped.
    let mut body = Zeroizing::new(Vec::with_capacity(announced.and_then(Result::ok).unwrap_or(limit)));
    let unreachable = |error: reqwest::Error| ReadError::Unreachable(classify(&error));
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > limit {
            return Err(ReadError::NotUnderstood);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Parses `Retry-After`: a number of seconds, or a date. If the value is a date, the wait is counted from the peer's
/// own `Date` header.
pub(crate) fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    let wait = match value.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => (http_date(value)? - http_date(date?)?).to_std().unwrap_or(Duration::ZERO),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// Parses a date from a header, such as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
pub(crate) fn http_date(text: &str) -> Option<Timestamp> {
    Some(DateTime::parse_from_rfc2822(text.trim()).ok()?.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_by_the_peers_own_clock() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        for (value, date, wait) in [
            ("120", None, Some(120)),
            (" 0 ", None, Some(0)),
            ("99999999999", None, Some(86_400)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", date, Some(60)),
            ("Sun, 06 Nov 1994 08:40:00 GMT", date, Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", None, None),
            ("soon", date, None),
            ("-1", date, None),
            ("", date, None),
        ] {
            assert_eq!(retry_after(value, date), wait.map(Duration::from_secs), "{value:?}");
        }
    }

    #[test]
    fn a_file_of_roots_without_a_certificate_is_refused() {
        for pem in ["", "not a certificate"] {
            assert!(matches!(http_client(Some(pem.as_bytes()), true), Err(HttpError::CaPem)), "{pem:?}");
        }
        let missing = Roots::File("/nonexistent/ca.pem".into());
        assert!(matches!(Http::new(missing, true), Err(HttpError::CaFile(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_replaced_daily_and_soon_after_it_was_distrusted() {
        let http = Http::new(Roots::System, true).expect("a client");
        let built_at = || http.held.lock().expect("nobody panicked").built_at;
        let first = built_at();

        http.distrust();
        http.client();
        assert_eq!(built_at(), first, "not at once: a failure that stays would rebuild at each call");

        tokio::time::advance(CLIENT_KEPT_FOR).await;
        http.client();
        let second = built_at();
        assert!(second > first);

        tokio::time::advance(CLIENT_KEPT_FOR).await;
        http.client();
        assert_eq!(built_at(), second);

        tokio::time::advance(CLIENT_FRESH_FOR).await;
        http.client();
        assert!(built_at() > second);
    }
}
