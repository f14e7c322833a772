//! The issuer: Entra's token endpoint (v2).
//!
//! Owns the form of the request and the reading of the answer. What a refusal means is `refusal`'s. No
//! description that Entra sends is kept: it can name the user, and a hostile peer could put the request
//! into it.
//!
//! Invariant: nothing kept from an error body can hold a token or a secret: it is a GUID, a number, or a
//! short word in lower case; or it was searched for what was sent.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::Request;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::Value;

use crate::azure::Answer;
use crate::azure::Http;
use crate::azure::exchange;
use crate::azure::guid;
use crate::azure::peers::BaseUrl;
use crate::calls::Calls;
use crate::calls::Peer;
use crate::ports::Issuer;
use crate::ports::IssuerError;
use crate::ports::Redeemed;
use crate::ports::Redemption;
use crate::refusal::Refusal;
use crate::token::AccessToken;
use crate::token::RefreshToken;

/// Where the answer does not say how long the access token lives: the least that a policy can set
/// (configurable-token-lifetimes).
const LEAST_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// The most that continuous access evaluation allows (app-resilience-continuous-access-evaluation).
const MOST_LIFETIME: Duration = Duration::from_secs(28 * 60 * 60);

/// OAuth errors and suberrors are words; the longest known is `device_authentication_failed`.
const MAX_WORD_CHARS: usize = 48;

/// What is shorter is no secret, and may well be part of an honest word.
const LEAST_SECRET_BYTES: usize = 8;

/// Claims challenges and scopes are a few hundred bytes.
const MAX_TEXT_BYTES: usize = 2048;

/// Entra's token endpoint.
#[derive(Clone, Debug)]
pub struct Entra {
    authority: BaseUrl,
    http: Arc<Http>,
    calls: Arc<Calls>,
}

impl Entra {
    /// Takes the authority, as `https://login.microsoftonline.com`.
    pub fn new(authority: BaseUrl, http: Arc<Http>, calls: Arc<Calls>) -> Self {
        Self { authority, http, calls }
    }

    fn request(&self, what: &Redemption<'_>) -> Result<Request, IssuerError> {
        let url = self.authority.with_path(&[what.tenant, "oauth2", "v2.0", "token"]);
        let scope = with_offline_access(what.scope);
        // No `Origin`: with it Entra refuses confidential clients in every flow.
        self.http
            .client()
            .request(Method::POST, url)
            .header("accept", "application/json")
            .header("client-request-id", what.rotation_id.to_string())
            .header("return-client-request-id", "true")
            .form(&[
                ("grant_type", "refresh_token"),
                ("client_id", what.client_id),
                ("client_secret", what.client_secret.expose_secret()),
                ("refresh_token", what.token.expose()),
                ("scope", scope.as_str()),
            ])
            .build()
            .map_err(|_| IssuerError::NotUnderstood("the request could not be made"))
    }
}

impl Issuer for Entra {
    async fn redeem(&self, what: &Redemption<'_>) -> Result<Redeemed, IssuerError> {
        let request = self.request(what)?;
        let answer = exchange(&self.http, &self.calls, (Peer::Entra, "redeem"), request)
            .await
            .map_err(IssuerError::Unreachable)?;
        match answer.status {
            200..=299 => redeemed(&answer),
            status => {
                let secrets = [what.token.expose(), what.client_secret.expose_secret()];
                let body = answer.body.as_deref().map_or(&[][..], Vec::as_slice);
                Err(refused(status, body, answer.retry_after(), &secrets))
            }
        }
    }
}

fn with_offline_access(scope: &str) -> String {
    if scope.split_ascii_whitespace().any(|word| word == "offline_access") {
        scope.to_owned()
    } else {
        format!("{scope} offline_access")
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<String>,
    refresh_token: Option<String>,
    #[serde(default)]
    expires_in: Value,
    #[serde(default)]
    scope: Value,
}

fn redeemed(answer: &Answer) -> Result<Redeemed, IssuerError> {
    let body = answer.body.as_deref().ok_or(IssuerError::NotUnderstood("it is too long"))?;
    let parsed: TokenAnswer =
        serde_json::from_slice(body).map_err(|_| IssuerError::NotUnderstood("it is not a token answer"))?;
    // Wrapped first, so that the one is wiped also where the other is missing.
    let access_token = parsed.access_token.map(AccessToken::new);
    let refresh_token = parsed.refresh_token.map(RefreshToken::new);
    let access_token = access_token
        .filter(|token| !token.expose().is_empty() && printable_token(token.expose()))
        .ok_or(IssuerError::NotUnderstood("it holds no access token"))?;
    let refresh_token =
        refresh_token.filter(|token| !token.expose().trim().is_empty()).ok_or(IssuerError::NoRefreshToken)?;
    if !refresh_token.is_plausible() {
        return Err(IssuerError::NotUnderstood("its refresh token is not one word"));
    }
    Ok(Redeemed {
        access_token,
        refresh_token,
        expires_in: lifetime(&parsed.expires_in),
        scope: parsed.scope.as_str().and_then(printable).map(str::to_owned),
    })
}

/// v2 answers with an integer, v1 with a string.
fn lifetime(expires_in: &Value) -> Duration {
    let seconds = expires_in.as_u64().or_else(|| expires_in.as_str()?.trim().parse().ok());
    seconds.map_or(LEAST_LIFETIME, |seconds| Duration::from_secs(seconds).min(MOST_LIFETIME))
}

/// Reads an answer that is not a success. `secrets` is what was sent and must not come back.
pub(super) fn refused(
    status: u16,
    body: &[u8],
    retry_after: Option<Duration>,
    secrets: &[&str],
) -> IssuerError {
    let unavailable = IssuerError::Unavailable { status, retry_after };
    let Ok(Value::Object(body)) = serde_json::from_slice(body) else { return unavailable };
    let text = |member: &str| body.get(member).and_then(Value::as_str);
    let Some(error) = text("error") else { return unavailable };
    let telling = |secret: &&&str| secret.len() >= LEAST_SECRET_BYTES;
    let unspoken = |text: &&str| !secrets.iter().filter(telling).any(|secret| text.contains(secret));
    IssuerError::Refused(Box::new(Refusal {
        status,
        error: word(error).filter(|word| unspoken(&word.as_str())).unwrap_or_else(|| "unreadable".into()),
        code: code(text("error_description"), body.get("error_codes")),
        suberror: text("suberror").and_then(word).filter(|word| unspoken(&word.as_str())),
        trace_id: text("trace_id").filter(unspoken).and_then(guid),
        correlation_id: text("correlation_id").filter(unspoken).and_then(guid),
        claims: text("claims").filter(unspoken).and_then(challenge),
        retry_after,
    }))
}

/// The number in the description; else the first of `error_codes`, which can hold several.
fn code(description: Option<&str>, codes: Option<&Value>) -> Option<u32> {
    let described = description.and_then(|text| {
        let (_, rest) = text.split_once("AADSTS")?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    });
    let listed = || {
        let first = codes?.as_array()?.first()?;
        first.as_u64().and_then(|code| u32::try_from(code).ok()).or_else(|| first.as_str()?.parse().ok())
    };
    described.or_else(listed)
}

/// An OAuth error is a word in lower case. A refresh token or a secret is not.
fn word(text: &str) -> Option<String> {
    let fits = (1..=MAX_WORD_CHARS).contains(&text.len());
    let clean = text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    (fits && clean).then(|| text.to_owned())
}

/// A claims challenge, to be passed to the next sign-in as it came: a JSON object.
fn challenge(text: &str) -> Option<String> {
    let text = printable(text)?;
    let object = serde_json::from_str(text).is_ok_and(|value: Value| value.is_object());
    object.then(|| text.to_owned())
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
