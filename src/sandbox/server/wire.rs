//! The common parts of the simulated protocols: the caller, injected delays, error bodies and dates.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::IntoResponse as _;
use axum::response::Response;
use serde_json::{Value, json};

use super::SandboxState;
use crate::net::server::Connection;
use crate::process::clock::Timestamp;
use crate::sandbox::world::{EntraRefusal, Operation, Peer, World};

/// The largest size of a request's body. The largest request is a backup of 500 values of 25 KB (docs/azure-facts.md
/// F207, F223).
const MAX_SENT_BYTES: usize = 32 * 1024 * 1024;

/// A request's sender, connection, headers and body, for the handlers of the services.
pub(super) struct HttpCaller {
    pub(super) shared: Arc<SandboxState>,
    /// The address that the request came from.
    pub(super) peer: SocketAddr,
    pub(super) connection: Connection,
    pub(super) headers: HeaderMap,
    /// The copy of the request's body, or an empty body if `keep` has made no copy.
    pub(super) sent: Bytes,
}

/// A copy of a request's body. The request's handler reads the original body.
#[derive(Clone, Default)]
pub(super) struct Sent(Bytes);

/// Keeps a copy of a request's body, because an injected fault may send this body back.
pub(super) async fn keep(request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, MAX_SENT_BYTES).await else {
        let body =
            key_vault_error("RequestTooLarge", None, "The sandbox accepts requests of at most 32 MiB.");
        return (StatusCode::PAYLOAD_TOO_LARGE, Json(body)).into_response();
    };
    parts.extensions.insert(Sent(bytes.clone()));
    next.run(Request::from_parts(parts, Body::from(bytes))).await
}

impl FromRequestParts<Arc<SandboxState>> for HttpCaller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<SandboxState>) -> Result<Self, Infallible> {
        const GIVEN: &str = "the server adds this extension to every request";
        let ConnectInfo(peer) = *parts.extensions.get().expect(GIVEN);
        let connection = parts.extensions.get::<Connection>().expect(GIVEN).clone();
        let Sent(sent) = parts.extensions.get().cloned().unwrap_or_default();
        Ok(Self { shared: Arc::clone(shared), peer, connection, headers: parts.headers.clone(), sent })
    }
}

impl HttpCaller {
    pub(super) fn world(&self) -> &World {
        &self.shared.world
    }

    /// Returns the caller's name for the ledger: the first word of the header `User-Agent`.
    pub(super) fn actor(&self) -> &str {
        let agent = self.header("user-agent").unwrap_or("unnamed");
        agent.split_whitespace().next().unwrap_or("unnamed")
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    }

    /// Delays the call if a fault requires a delay.
    pub(super) async fn enter(&self, peer: Peer, operation: Operation, subject: &str) {
        let delay = self.world().delay(peer, operation, subject);
        if delay > Duration::ZERO {
            tokio::time::sleep(delay).await;
        }
    }

    /// Returns the caller's own id for the request, or a new id.
    pub(super) fn correlation_id(&self) -> String {
        let own = self.header("client-request-id").map(str::to_owned);
        own.unwrap_or_else(|| self.world().fresh_id().to_string())
    }
}

pub(super) fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Returns Entra's error body (docs/azure-facts.md F121). In `error_description`, a single space separates the parts,
/// as in recordings of 2026.
pub(super) fn oauth_error(refused: &EntraRefusal, now: Timestamp) -> Response {
    let refusal = &refused.refusal;
    let named = &refusal.trace;
    let timestamp = now.format("%Y-%m-%d %H:%M:%SZ").to_string();
    let (trace, correlation) =
        (named.trace_id.clone().unwrap_or_default(), named.correlation_id.clone().unwrap_or_default());
    let prefix = named.code.map(|code| format!("AADSTS{code}: ")).unwrap_or_default();
    let mut body = json!({
        "error": refusal.error,
        "error_description": format!(
            "{prefix}{} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}", refused.text
        ),
        "timestamp": timestamp,
        "trace_id": trace,
        "correlation_id": correlation,
    });
    if let Some(code) = named.code {
        body["error_codes"] = json!([code]);
        body["error_uri"] = json!(format!("https://login.microsoftonline.com/error?code={code}"));
    }
    if let Some(suberror) = &refusal.suberror {
        body["suberror"] = json!(suberror);
    }
    let mut response = (code(refusal.status), Json(body)).into_response();
    set(&mut response, "x-ms-request-id", &trace);
    let code = named.code.unwrap_or_default();
    set(&mut response, "x-ms-clitelem", &format!("1,{code},0,,"));
    response
}

/// Returns Key Vault's error body.
pub(super) fn key_vault_error(code: &str, inner: Option<&str>, message: &str) -> Value {
    let mut error = json!({"code": code, "message": message});
    if let Some(inner) = inner {
        error["innererror"] = json!({"code": inner});
    }
    json!({"error": error})
}

/// Returns Partner Center's error body.
pub(super) fn partner_center_error(code: &str, description: &str) -> Value {
    json!({"code": code, "description": description, "data": [], "source": "PartnerFD"})
}

/// Returns an error of Microsoft Graph.
pub(super) fn graph_error(caller: &HttpCaller, status: u16, word: &str, message: &str) -> Response {
    let request_id = caller.world().fresh_id().to_string();
    let inner = json!({
        "date": caller.world().now().format("%Y-%m-%dT%H:%M:%S").to_string(),
        "request-id": request_id,
        "client-request-id": caller.header("client-request-id").unwrap_or(&request_id),
    });
    let body = json!({"error": {"code": word, "message": message, "innerError": inner}});
    let mut response = (code(status), Json(body)).into_response();
    set(&mut response, "request-id", &request_id);
    response
}

/// Sets a header if the value is valid in a header.
pub(super) fn set(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}

/// Returns a time in the format of a `Date` header (RFC 9110, 5.6.7).
pub(super) fn http_date(at: Timestamp) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
