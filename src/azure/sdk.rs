//! The transport below the Azure SDK: Perennial's HTTP client with its limits.
//!
//! This module owns the checks that the SDK lacks. The transport limits the size of an answer, converts errors to
//! `SdkError`, and counts the calls. The transport does not follow a `nextLink` to another server. The transport does
//! not retry.
//!
//! Invariant: a transport sends requests only to its own server. So an access token, too, goes only to this server.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, Headers};
use azure_core::http::response::AsyncResponseBody;
use azure_core::http::{AsyncRawResponse, HttpClient, Method, Request, Transport as SdkTransport};
use futures::StreamExt as _;
use thiserror::Error;

use crate::azure::entra;
use crate::net::address::BaseUrl;
use crate::net::calls::{CallTarget, Calls};
use crate::net::classify::classify;
use crate::net::http::{Http, retry_after};
use crate::net::no_response::NoResponse;
use crate::ports::IssuerError;

/// The largest answer that is accepted. A usual page of versions is much smaller: it has at most 25 versions with at
/// most 15 tags each (docs/azure-facts.md F207).
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// The time limit of the token request, which is part of a call to the vault. The limit of the whole call is longer. So
/// if Entra does not answer, the error names Entra and not the vault.
const TOKEN_WITHIN: Duration = Duration::from_secs(15);

/// A failure that the transport or a credential reports through the SDK.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum SdkError {
    #[error("{0}")]
    Unreachable(NoResponse),
    /// The answer exceeded `MAX_ANSWER_BYTES`. The number is the HTTP status of the answer.
    #[error("the answer to the token request is too long")]
    TooLong(u16),
    /// The SDK addressed the request to a server that is not this transport's server.
    #[error(
        "Perennial did not send the token request, because the request is addressed to a server other than the configured one"
    )]
    Astray,
    /// The vault asked for a token whose audience is not the audience of this cloud's vaults.
    #[error("the vault requests an access token for a cloud other than the cloud in [cloud]")]
    OtherAudience,
    /// Entra rejected the token request. Perennial parses the error itself, because the SDK loses the error's codes if
    /// the JSON body has escapes.
    #[error("{0}")]
    NoToken(IssuerError),
    /// The host's identity service rejected the token request. The fields are the HTTP status and the reason in the
    /// body.
    #[error("{}", said_by_host(*.0, *.1))]
    NoTokenOfHost(u16, HostReason),
    /// The host's identity service did not answer.
    #[error(
        "no managed identity endpoint answers on this host ({0}); if the host is not in Azure, set credential of [vault] to another value"
    )]
    NoHost(NoResponse),
    /// The client assertion cannot be read or signed. The text gives the reason.
    #[error("{0}")]
    NoAssertion(String),
}

/// The reason that a host's identity service gives in the body of its answer (docs/azure-facts.md F401).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostReason {
    /// The host has several identities, and the request names none of them.
    Several,
    /// The host does not have the identity.
    NoIdentity,
    /// The service issues no tokens for the requested audience.
    Audience,
    /// The request arrived without the header that the service requires.
    NoHeader,
    /// Another program answered the request, because no identity service of Azure can be reached from this host.
    NoService,
    /// The body gives none of these reasons.
    Other,
}

impl HostReason {
    fn of(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body).to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
        if says(&["multiple user assigned identities"]) {
            Self::Several
        } else if says(&[
            "audiencenotsupported",
            "audience is not supported",
            "not a supported msi token audience",
        ]) {
            Self::Audience
        } else if says(&["managedidentitynotfound"]) {
            Self::NoIdentity
        } else if says(&["bad_request_102", "required metadata header", "secret token header"]) {
            Self::NoHeader
        } else if says(&[
            "unreachable network",
            "unreachable host",
            "connection refused",
            "restricted from accessing",
        ]) {
            Self::NoService
        } else {
            Self::Other
        }
    }
}

/// Returns the meaning of an answer of a host's identity service (docs/azure-facts.md F401).
fn said_by_host(status: u16, reason: HostReason) -> &'static str {
    match (status, reason) {
        (_, HostReason::Several) => "this host has several managed identities",
        (_, HostReason::NoHeader) => {
            "the request reached this host's identity service without the header that the service requires"
        }
        (_, HostReason::NoService) => "no identity service of Azure answers on this host",
        (_, HostReason::Audience) => {
            "this host's identity service issues no tokens for the requested audience"
        }
        (_, HostReason::NoIdentity) => by_status_of_host(400),
        (status, HostReason::Other) => by_status_of_host(status),
    }
}

fn by_status_of_host(status: u16) -> &'static str {
    match status {
        400 => "this host has no managed identity, or none with the configured client_id",
        401 | 403 => "this host refuses to issue a token for its managed identity",
        405 => "this host's identity service does not support token requests",
        429 => "this host's identity service throttles requests",
        _ => "this host's identity service is not ready",
    }
}

impl SdkError {
    /// Finds the `SdkError` in an error of the SDK, at any depth.
    pub(super) fn in_error(error: &azure_core::Error) -> Option<&Self> {
        let mut link: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(error) = link {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            link = error.source();
        }
        None
    }

    pub(super) fn into_sdk(self, kind: ErrorKind) -> azure_core::Error {
        azure_core::Error::new(kind, self)
    }
}

/// A transport to one server.
#[derive(Debug)]
pub(super) struct CountingTransport {
    http: Arc<Http>,
    calls: Arc<Calls>,
    peer: CallTarget,
    server: BaseUrl,
}

impl CountingTransport {
    pub(super) fn new(http: Arc<Http>, calls: Arc<Calls>, peer: CallTarget, server: BaseUrl) -> Self {
        Self { http, calls, peer, server }
    }

    /// Wraps the transport for the SDK.
    pub(super) fn into_transport(self) -> SdkTransport {
        SdkTransport::new(Arc::new(self))
    }

    async fn exchange(&self, request: &Request) -> Result<AsyncRawResponse, SdkError> {
        if self.peer == CallTarget::KeyVault {
            return self.ask(request).await;
        }
        let answer = tokio::time::timeout(TOKEN_WITHIN, self.ask(request)).await;
        answer.unwrap_or_else(|_| Err(self.silent(NoResponse::TimedOut)))
    }

    async fn ask(&self, request: &Request) -> Result<AsyncRawResponse, SdkError> {
        let response = self.http.client().execute_request(request).await;
        let (status, headers, body) = response.map_err(|error| self.silent(classify(&error)))?.deconstruct();
        let body = self.read(u16::from(status), body).await?;
        if self.peer == CallTarget::Entra && !status.is_success() {
            let date = header(&headers, "date");
            let wait = header(&headers, "retry-after").and_then(|value| retry_after(value, date));
            let refused = entra::refused(u16::from(status), &body, wait, &[]);
            return Err(SdkError::NoToken(refused));
        }
        if self.peer == CallTarget::IdentityHost && !status.is_success() {
            // An error with an AADSTS number comes from Entra. The host's identity service only forwards this error.
            return Err(match entra::refused(u16::from(status), &body, None, &[]) {
                refused @ IssuerError::Refused(_) if has_number(&refused) => SdkError::NoToken(refused),
                _ => SdkError::NoTokenOfHost(u16::from(status), HostReason::of(&body)),
            });
        }
        let body = if self.peer == CallTarget::IdentityHost { with_texts(body) } else { body };
        Ok(AsyncRawResponse::from_bytes(status, headers, body))
    }

    async fn read(&self, status: u16, mut stream: AsyncResponseBody) -> Result<Vec<u8>, SdkError> {
        let mut body = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| self.silent(classify(&error)))?;
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(SdkError::TooLong(status));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn silent(&self, why: NoResponse) -> SdkError {
        match self.peer {
            CallTarget::IdentityHost => SdkError::NoHost(why),
            _ => SdkError::Unreachable(why),
        }
    }
}

#[async_trait]
impl HttpClient for CountingTransport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        if !self.server.is_origin_of(request.url()) {
            return Err(SdkError::Astray.into_sdk(ErrorKind::Other));
        }
        let running = self.calls.begin(self.peer, operation(self.peer, request));
        let answer = self.exchange(request).await;
        running.end(outcome(&answer));
        if matches!(answer, Err(SdkError::Unreachable(NoResponse::Tls(_)))) {
            self.http.distrust();
        }
        // After an error of the kind `Io`, the SDK retries a request for a managed identity's token for more than a
        // minute. No setting turns off these retries, but the SDK does not retry after the kind `Credential`. In
        // Perennial, only the loop of each token retries.
        let kind = if self.peer == CallTarget::IdentityHost { ErrorKind::Credential } else { ErrorKind::Io };
        answer.map_err(|error| error.into_sdk(kind))
    }
}

fn has_number(error: &IssuerError) -> bool {
    matches!(error, IssuerError::Refused(refusal) if refusal.trace.code.is_some())
}

/// Converts the answer of a host's identity service into the form that the SDK parses. The SDK expects `expires_on` as
/// a text, but some services send a number (azure-sdk-for-rust 2390).
fn with_texts(body: Vec<u8>) -> Vec<u8> {
    let Ok(serde_json::Value::Object(mut members)) = serde_json::from_slice(&body) else { return body };
    match members.get_mut("expires_on") {
        Some(expires_on) if expires_on.is_number() => {
            *expires_on = expires_on.to_string().into();
            serde_json::to_vec(&members).unwrap_or(body)
        }
        _ => body,
    }
}

pub(super) fn header<'a>(headers: &'a Headers, name: &'static str) -> Option<&'a str> {
    headers.get_optional_str(&HeaderName::from_static(name))
}

fn operation(peer: CallTarget, request: &Request) -> &'static str {
    match (peer, request.method()) {
        (CallTarget::Entra | CallTarget::PartnerCenter | CallTarget::Graph | CallTarget::IdentityHost, _) => {
            "vault_token"
        }
        (CallTarget::KeyVault, Method::Put) => "set",
        (CallTarget::KeyVault, Method::Patch) => "update",
        (CallTarget::KeyVault, _) if request.url().path().ends_with("/versions") => "list",
        (CallTarget::KeyVault | CallTarget::AlertSink | CallTarget::Heartbeat, _) => "get",
    }
}

fn outcome(answer: &Result<AsyncRawResponse, SdkError>) -> Result<u16, NoResponse> {
    match answer {
        Ok(response) => Ok(u16::from(response.status())),
        Err(SdkError::Unreachable(why) | SdkError::NoHost(why)) => Err(*why),
        Err(SdkError::NoToken(IssuerError::Refused(refusal))) => Ok(refusal.status),
        Err(
            SdkError::NoToken(IssuerError::Unavailable { status, .. })
            | SdkError::TooLong(status)
            | SdkError::NoTokenOfHost(status, _),
        ) => Ok(*status),
        // `exchange` returns none of these errors. The label is only a fallback.
        Err(SdkError::Astray | SdkError::OtherAudience | SdkError::NoAssertion(_) | SdkError::NoToken(_)) => {
            Err(NoResponse::Cut)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The HTTP status alone does not show the reason for a rejection. Each reason needs a different action.
    #[test]
    fn the_body_of_a_hosts_identity_service_names_the_reason() {
        for (body, reason) in [
            (
                r#"{"error_description":"Multiple user assigned identities exist, please specify the clientId"}"#,
                HostReason::Several,
            ),
            (r#"{"error":"bad_request_102","error_description":"x"}"#, HostReason::NoHeader),
            (r#"{"message":"Invalid secret token header"}"#, HostReason::NoHeader),
            (r#"{"error":{"code":"AudienceNotSupported"}}"#, HostReason::Audience),
            (r#"{"error":{"code":"ManagedIdentityNotFound"}}"#, HostReason::NoIdentity),
            (
                "connecting to 169.254.169.254:80: connectex: A socket operation was attempted to an unreachable network.",
                HostReason::NoService,
            ),
            ("pod is restricted from accessing IMDS", HostReason::NoService),
            (r#"{"error":"invalid_request","error_description":"Identity not found"}"#, HostReason::Other),
            ("", HostReason::Other),
        ] {
            assert_eq!(HostReason::of(body.as_bytes()), reason, "{body}");
        }
    }
}
