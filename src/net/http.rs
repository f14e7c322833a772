//! The HTTP client of all adapters.
//!
//! The only place that makes HTTP clients. Owns limits on time and size, fresh root certificates, and `Retry-After`.
//! It does not retry; the loop does.
//!
//! HTTP/1.1 only (`Cargo.toml` leaves `http2` out). HTTP/2 made the program half a megabyte larger, and no test
//! reached it, since the simulated services do not speak it. A few kept connections are enough for proofs that go in
//! turn. Answers are requested uncompressed, and the Azure SDK is built without gzip and deflate.
//!
//! Invariants: no redirect is followed; no body is read beyond its limit; no text of a peer is kept unchecked.

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

/// A peer that needs longer to accept a connection is useless anyway.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bounds one request, including the answer's body.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Bounds an answer of Entra or Partner Center; real ones are a tenth of it.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Root certificates change: a process that runs for years must read them again.
const CLIENT_FRESH_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// A client is not rebuilt sooner, however often TLS fails.
const CLIENT_KEPT_FOR: Duration = Duration::from_secs(60);

/// A longer `Retry-After` is ignored; the loop limits it further.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// All public roots together have a tenth of it.
const MAX_CA_FILE_BYTES: usize = 4 * 1024 * 1024;

/// Why no HTTP client can be made. An operator must act.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The configured CA file.
    #[error("the file of root certificates {0}")]
    CaFile(#[source] FileError),
    /// Its content.
    #[error("the file of root certificates holds no certificate in PEM")]
    CaPem,
    /// Usually a container image without ca-certificates.
    #[error("no HTTPS client can be made, are root certificates installed?")]
    Client(#[source] reqwest::Error),
}

/// Makes an HTTP client: the only place that does. It trusts the system's roots and those of `ca_pem`, and uses a
/// proxy of the environment if `proxy` is set.
///
/// # Errors
/// Operator: unreadable or missing root certificates.
pub fn http_client(ca_pem: Option<&[u8]>, proxy: bool) -> Result<reqwest::Client, HttpError> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that makes clients")]
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("perennial/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TOTAL_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        // A small compressed body can expand to a large one before the size limit applies.
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

/// A client that is rebuilt daily, and after a TLS failure. Shared by all adapters.
#[derive(Debug)]
pub struct Http {
    roots: Roots,
    proxy: bool,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    client: reqwest::Client,
    /// The same without a proxy, for loopback. Made at its first use.
    direct: Option<reqwest::Client>,
    built_at: Instant,
    distrusted: bool,
}

impl Http {
    /// Makes the first client.
    ///
    /// # Errors
    /// Operator: see `http_client`.
    pub fn new(roots: Roots, proxy: bool) -> Result<Self, HttpError> {
        let client = build(&roots, proxy)?;
        let held = Mutex::new(Held { client, direct: None, built_at: Instant::now(), distrusted: false });
        Ok(Self { roots, proxy, held })
    }

    /// The same without a proxy.
    fn direct_client(&self) -> reqwest::Client {
        let shared = self.client();
        if !self.proxy {
            return shared;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.direct.is_none() {
            // This build has just succeeded once; if it fails now, nothing can be sent.
            held.direct = build(&self.roots, false).ok();
        }
        held.direct.clone().unwrap_or(shared)
    }

    /// The current client. If a new one cannot be made, the old one stays.
    pub fn client(&self) -> reqwest::Client {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let due = if held.distrusted { CLIENT_KEPT_FOR } else { CLIENT_FRESH_FOR };
        if held.built_at.elapsed() >= due {
            held.built_at = Instant::now();
            match build(&self.roots, self.proxy) {
                Ok(client) => (held.client, held.direct, held.distrusted) = (client, None, false),
                Err(error) => {
                    held.distrusted = true;
                    tracing::warn!(error = &error as &dyn StdError, "the old HTTPS client stays in use");
                }
            }
        }
        held.client.clone()
    }

    /// The additional trusted roots, freshly read, in PEM.
    ///
    /// # Errors
    /// Operator: they cannot be read.
    pub fn own_roots(&self) -> Result<Option<Vec<u8>>, HttpError> {
        pem(&self.roots)
    }

    /// Requests a new client, after a TLS failure or a 401.
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

/// An answer, read completely or up to its limit.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    pub(crate) headers: HeaderMap,
    /// Wiped when dropped; `None` if it exceeded its limit.
    pub(crate) body: Option<Zeroizing<Vec<u8>>>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The wait that the peer asks for.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(self.header("retry-after")?, self.header("date"))
    }
}

/// Sends a request and reads the answer. Counted in `calls`.
///
/// # Errors
/// No answer.
pub async fn exchange(
    http: &Http,
    calls: &Calls,
    (peer, operation): (CallTarget, &'static str),
    request: reqwest::Request,
) -> Result<Answer, NoResponse> {
    let client = http.client();
    counted(http, &client, calls.begin(peer, operation), request).await
}

/// The same for an address that is secret: on loopback it bypasses the proxy.
///
/// # Errors
/// No answer.
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

/// Why a body could not be read completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// It exceeds the limit.
    #[error("the answer is too long")]
    NotUnderstood,
    /// It did not arrive.
    #[error("{0}")]
    Unreachable(NoResponse),
}

/// Reads a body of at most `limit` bytes, and stops reading a longer one.
///
/// # Errors
/// Retry, by the caller's port.
pub async fn read_bounded(
    response: &mut reqwest::Response,
    limit: usize,
) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    let announced = response.content_length().map(usize::try_from);
    if announced.is_some_and(|length| length.map_or(true, |length| length > limit)) {
        return Err(ReadError::NotUnderstood);
    }
    // Allocated at full size: growing would leave copies that are not wiped.
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

/// The wait of a `Retry-After`: seconds, or a date, which is compared with the peer's own `Date`.
pub(crate) fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    let wait = match value.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => (http_date(value)? - http_date(date?)?).to_std().unwrap_or(Duration::ZERO),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// An instant of a header, as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
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
