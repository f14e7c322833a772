//! The issuer: an adapter for Entra's token endpoint (v2).
//!
//! This module owns the form of the request and the parsing of the answer. This file has the requests for redemptions,
//! and `sign_in` has the requests for sign-ins. `ports::oauth_error` decides what a rejection means. Entra's error
//! descriptions are not kept. A description can name the user, and a hostile peer could copy the request into the
//! description.
//!
//! Invariant: the parts of an error body that are kept contain no token and no secret. Each part is a GUID, a number, a
//! short lower-case word, or a text that contains no secret of the request.

mod refusal;
mod sign_in;

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

pub use self::refusal::refused;
pub use self::sign_in::{CodeExchange, DevicePoll};
use crate::azure::echoes::{LEAST_SECRET_BYTES, echoes};
use crate::azure::host_assertions::HostAssertions;
use crate::login;
use crate::net::address::BaseUrl;
use crate::net::calls::{CallTarget, Calls};
use crate::net::http::{Answer, Http, exchange};
use crate::ports::client::AppSignIn;
use crate::ports::{Issuer, IssuerError, RefreshRequest, RefreshResponse, VaultError};
use crate::token::claims::Claims;
use crate::token::{AccessToken, RefreshToken};

/// The lifetime of an access token if the answer names no lifetime. This is the shortest lifetime that a policy can set
/// (docs/azure-facts.md F105).
const LEAST_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// The longest lifetime of an access token, which Entra gives to clients with continuous access evaluation
/// (docs/azure-facts.md F105).
const MOST_LIFETIME: Duration = Duration::from_secs(28 * 60 * 60);

/// The maximum size in bytes of a text that is kept from an answer, such as a claims challenge or a scope. Such texts
/// usually have a few hundred bytes.
const MAX_TEXT_BYTES: usize = 2048;

/// The client of Entra's token endpoint.
#[derive(Clone, Debug)]
pub struct Entra {
    authority: BaseUrl,
    host: Arc<HostAssertions>,
    http: Arc<Http>,
    calls: Arc<Calls>,
}

impl Entra {
    /// Creates the client. `authority` is Entra's address, such as `https://login.microsoftonline.com`. `host` requests
    /// the tokens of this host's managed identities.
    pub fn new(authority: BaseUrl, host: HostAssertions, http: Arc<Http>, calls: Arc<Calls>) -> Self {
        Self { authority, host: Arc::new(host), http, calls }
    }

    /// Posts a form to one of a tenant's endpoints below `oauth2/v2.0`.
    async fn post(
        &self,
        (tenant, endpoint): (&str, &str),
        operation: &'static str,
        id: Uuid,
        form: &[(&str, &str)],
    ) -> Result<Answer, IssuerError> {
        let url = self.authority.with_path(&[tenant, "oauth2", "v2.0", endpoint]);
        // The request has no `Origin` header. With this header, Entra rejects confidential clients in every flow
        // (docs/azure-facts.md F103).
        let request = self
            .http
            .client()
            .request(Method::POST, url)
            .header("accept", "application/json")
            .header("client-request-id", id.to_string())
            .header("return-client-request-id", "true")
            .form(form)
            .build()
            .map_err(|_| {
                IssuerError::NotUnderstood(
                    "there is no answer, because Perennial could not build the request",
                )
            })?;
        exchange(&self.http, &self.calls, (CallTarget::Entra, operation), request)
            .await
            .map_err(IssuerError::Unreachable)
    }
}

impl Entra {
    /// Requests an access token of the app itself.
    ///
    /// # Errors
    /// Returns the same errors as `redeem`.
    pub(super) async fn app_token(&self, what: &AppSignIn<'_>) -> Result<AccessToken, IssuerError> {
        let answer = self.client_credentials(what, "app_token").await?;
        let secrets = [what.proof.expose()];
        let parsed = token_body(success(&answer, &secrets)?)?;
        usable(parsed.access_token.map(AccessToken::new), &secrets)
    }

    async fn client_credentials(
        &self,
        what: &AppSignIn<'_>,
        operation: &'static str,
    ) -> Result<Answer, IssuerError> {
        let mut form =
            vec![("grant_type", "client_credentials"), ("client_id", what.client_id), ("scope", what.scope)];
        form.extend(what.proof.fields());
        self.post((what.tenant, "token"), operation, what.id, &form).await
    }
}

impl Issuer for Entra {
    async fn redeem(&self, what: &RefreshRequest<'_>) -> Result<RefreshResponse, IssuerError> {
        let scope = login::scopes(what.scope);
        let mut form = vec![
            ("grant_type", "refresh_token"),
            ("client_id", what.client_id),
            ("refresh_token", what.token.expose()),
            ("scope", scope.as_str()),
        ];
        form.extend(what.proof.fields());
        let answer = self.post((what.tenant, "token"), "redeem", what.rotation_id, &form).await?;
        let secrets = [what.token.expose(), what.proof.expose()];
        redeemed(success(&answer, &secrets)?, &secrets)
    }

    async fn authenticate(&self, what: &AppSignIn<'_>) -> Result<(), IssuerError> {
        let answer = self.client_credentials(what, "authenticate").await?;
        success(&answer, &[what.proof.expose()]).map(|_| ())
    }

    fn assertion_audience(&self, tenant: &str) -> String {
        self.authority.with_path(&[tenant, "oauth2", "v2.0", "token"]).into()
    }

    async fn host_assertion(&self, client_id: &str) -> Result<SecretString, VaultError> {
        self.host.token(client_id).await
    }
}

/// Returns the body of a successful answer, or the error. `secrets` are the secrets of the request.
fn success<'a>(answer: &'a Answer, secrets: &[&str]) -> Result<&'a [u8], IssuerError> {
    let body = answer.body.as_deref().map(Vec::as_slice);
    match answer.status {
        200..=299 => {
            let body = body.ok_or(IssuerError::NotUnderstood("it is too long"))?;
            if !has_error(body) {
                return Ok(body);
            }
            match refused(answer.status, body, answer.retry_after(), secrets) {
                refusal @ IssuerError::Refused(_) => Err(refusal),
                _ => Ok(body),
            }
        }
        status => Err(refused(status, body.unwrap_or_default(), answer.retry_after(), secrets)),
    }
}

/// Whether a body can be an error that a gateway sent with the status 200. The body may also be a token response. So
/// the body is not parsed here: the parser would leave copies of the tokens in memory.
fn has_error(body: &[u8]) -> bool {
    body.windows(7).any(|seven| seven == b"\"error\"" || seven.starts_with(b"AADSTS"))
}

#[derive(Deserialize)]
struct TokenBody {
    access_token: Option<String>,
    refresh_token: Option<String>,
    #[serde(default)]
    expires_in: Value,
    #[serde(default)]
    scope: Value,
    #[serde(default)]
    refresh_token_expires_in: Value,
    #[serde(default)]
    id_token: Value,
}

fn token_body(body: &[u8]) -> Result<TokenBody, IssuerError> {
    serde_json::from_slice(body).map_err(|_| IssuerError::NotUnderstood("it is not a token response"))
}

/// Checks that the access token is printable, because the command `access-token` prints the token. Checks that the
/// token contains none of `secrets` (the secrets of the request), because a resource receives the token.
fn usable(token: Option<AccessToken>, secrets: &[&str]) -> Result<AccessToken, IssuerError> {
    token
        .filter(|token| !token.expose().is_empty() && printable_token(token.expose()))
        .filter(|token| {
            !secrets.iter().any(|sent| sent.len() >= LEAST_SECRET_BYTES && token.expose().contains(sent))
        })
        .ok_or(IssuerError::NotUnderstood("it has no access token"))
}

/// Parses the body of a successful answer. `secrets` are the secrets of the request. Texts that Perennial displays must
/// not contain these secrets.
///
/// # Errors
/// The error has the remedy `Retry` if the body is not a token response, and the remedy `Operator` if only the refresh
/// token is missing.
pub fn redeemed(body: &[u8], secrets: &[&str]) -> Result<RefreshResponse, IssuerError> {
    let parsed = token_body(body)?;
    // The access token and the refresh token are wrapped before any check. So each of them is wiped from memory even if
    // a check fails.
    let access_token = parsed.access_token.map(AccessToken::new);
    let refresh_token = parsed.refresh_token.map(RefreshToken::new);
    // If the ID token is not a JSON string, it is ignored, since the rest of the answer can still be used.
    let id_token = match parsed.id_token {
        Value::String(text) => Some(Zeroizing::new(text)),
        _ => None,
    };
    let access_token = usable(access_token, secrets)?;
    let refresh_token =
        refresh_token.filter(|token| !token.expose().trim().is_empty()).ok_or(IssuerError::NoRefreshToken)?;
    if !refresh_token.is_plausible() {
        return Err(IssuerError::NotUnderstood("its refresh token contains spaces or line breaks"));
    }
    let known = [secrets, &[access_token.expose(), refresh_token.expose()]].concat();
    let scope = parsed.scope.as_str().and_then(printable).filter(|scope| !echoes(&[scope], &known));
    let id_claims = id_token.and_then(|text| Claims::of_jwt(&text));
    Ok(RefreshResponse {
        expires_in: lifetime(&parsed.expires_in),
        scope: scope.map(str::to_owned),
        refresh_expires_in: seconds(&parsed.refresh_token_expires_in).map(Duration::from_secs),
        id_claims: id_claims.map(|claims| claims.without(|texts| echoes(texts, &known))),
        access_token,
        refresh_token,
    })
}

/// Reads a lifetime. Entra's v2 endpoint answers with an integer, and the v1 endpoint with a string.
fn lifetime(expires_in: &Value) -> Duration {
    seconds(expires_in).map_or(LEAST_LIFETIME, |seconds| Duration::from_secs(seconds).min(MOST_LIFETIME))
}

fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn printable_token(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

fn printable(text: &str) -> Option<&str> {
    let clean = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    (text.len() <= MAX_TEXT_BYTES && clean).then_some(text)
}

#[cfg(test)]
mod tests;
