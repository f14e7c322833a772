//! The directory: an adapter for Microsoft Graph.
//!
//! Owns three requests about one app registration, the access token for each, and the parsing of the answers.
//! `ports::diagnosis::graph` decides what a rejection means. Graph's messages are not kept, since they can quote the
//! request.
//!
//! Invariants: The value of a client secret is wrapped before any check. A text from Graph is kept only if it holds no
//! part of the access token or of the app's credential. A request is repeated only after a 401, which has no effect.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use chrono::{DateTime, SecondsFormat};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::azure::cloud::Cloud;
use crate::azure::credential;
use crate::azure::echoes::echoes;
use crate::azure::entra::Entra;
use crate::azure::identity::Identity;
use crate::net::calls::{CallTarget, Calls};
use crate::net::http::{Answer, Http, exchange};
use crate::net::no_response::NoResponse;
use crate::ports::VaultError;
use crate::ports::client::AppSignIn;
use crate::ports::directory::{Caller, CreatedSecret, Directory, DirectoryError, ListedSecret, Registration};
use crate::process::clock::Timestamp;
use crate::process::text;
use crate::token::meant;

/// The time limit of one request, and of the request for its access token.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The time that the credential and its secret are used.
const FRESH_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest time between two replacements, however often Graph rejects the access token.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// The largest length of a code. The longest known code is `CredentialInvalidLifetimeAsPerAppPolicy`.
const MAX_CODE_CHARS: usize = 64;

/// The largest length of a display name that is kept. Perennial's own names have at most 199 characters.
const MAX_NAME_CHARS: usize = 256;

/// The length of a hint (docs/azure-facts.md F602).
const HINT_CHARS: usize = 3;

/// The largest length of a client secret. Documented secrets have 16 to 64 characters (docs/azure-facts.md F602).
const MAX_SECRET_CHARS: usize = 256;

/// The client of Microsoft Graph.
#[derive(Debug)]
pub struct Graph {
    cloud: Cloud,
    identity: Identity,
    entra: Arc<Entra>,
    http: Arc<Http>,
    calls: Arc<Calls>,
    made: Mutex<Option<MadeCredential>>,
}

/// The credential of the vault's identity, and when it was made.
#[derive(Clone, Debug)]
struct MadeCredential {
    at: Instant,
    credential: Arc<dyn TokenCredential>,
}

/// A request without its access token.
struct GraphRequest {
    operation: &'static str,
    method: Method,
    url: Url,
    body: Option<Value>,
}

/// An answer, and the access token of its request.
struct Answered {
    answer: Answer,
    token: SecretString,
}

impl Graph {
    /// Takes the identity that reads the vault. Reads and sends nothing before the first call.
    pub fn new(
        cloud: Cloud,
        identity: Identity,
        entra: Arc<Entra>,
        http: Arc<Http>,
        calls: Arc<Calls>,
    ) -> Self {
        Self { cloud, identity, entra, http, calls, made: Mutex::default() }
    }

    /// Sends a request and returns the body of its success. If Graph rejects the access token of the vault's identity,
    /// replaces the credential and repeats the request. The identity's secret may have been replaced.
    async fn call(
        &self,
        caller: &Caller<'_>,
        request: &GraphRequest,
        id: Uuid,
    ) -> Result<Answered, DirectoryError> {
        let used = match caller {
            Caller::VaultIdentity => self.credential()?,
            Caller::App { tenant, client_id, proof } => {
                let scope = self.scope();
                let sign_in = AppSignIn { tenant, client_id, proof, scope: &scope, id };
                let token = self.entra.app_token(&sign_in).await;
                let token = token.map_err(|error| DirectoryError::NoToken(Box::new(error.failure())))?;
                return self.send(SecretString::from(token.expose()), &[proof.expose()], request, id).await;
            }
        };
        let first = self.send(self.token_of(&used).await?, &[], request, id).await;
        match first {
            Err(DirectoryError::Refused { status: 401, .. }) if self.renew(&used) => {
                let token = self.token_of(&self.credential()?).await?;
                self.send(token, &[], request, id).await
            }
            // An access token lists the caller's permissions (docs/azure-facts.md F603). The next call gets a new
            // token, since an administrator may give the permission meanwhile.
            Err(DirectoryError::Refused { status: 403, .. }) => {
                self.renew(&used);
                first
            }
            first => first,
        }
    }

    /// Sends a request once. `secrets` are further values that the answer must not repeat.
    async fn send(
        &self,
        token: SecretString,
        secrets: &[&str],
        request: &GraphRequest,
        id: Uuid,
    ) -> Result<Answered, DirectoryError> {
        let GraphRequest { operation, method, url, body } = request;
        let mut built = self
            .http
            .client()
            .request(method.clone(), url.clone())
            .timeout(TIMEOUT)
            .bearer_auth(token.expose_secret())
            .header("accept", "application/json")
            .header("client-request-id", id.to_string());
        if let Some(body) = body {
            built = built.json(body);
        }
        // A token that is no valid header value cannot be sent.
        let built = built.build().map_err(|_| DirectoryError::Unreachable(NoResponse::Connect))?;
        let answer = exchange(&self.http, &self.calls, (CallTarget::Graph, operation), built)
            .await
            .map_err(DirectoryError::Unreachable)?;
        if (200..=299).contains(&answer.status) {
            return Ok(Answered { answer, token });
        }
        let secrets = [&[token.expose_secret()], secrets].concat();
        Err(refused(&answer, &secrets))
    }

    /// Returns the credential of the vault's identity. The first call of the day makes it.
    fn credential(&self) -> Result<Arc<dyn TokenCredential>, DirectoryError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = made.as_ref().filter(|made| made.at.elapsed() < FRESH_FOR) {
            return Ok(Arc::clone(&known.credential));
        }
        let credential = credential::make(&self.identity, &self.cloud.authority, &self.http, &self.calls)
            .map_err(|error| self.no_token(error))?;
        *made = Some(MadeCredential { at: Instant::now(), credential: Arc::clone(&credential) });
        Ok(credential)
    }

    /// Drops the rejected credential. Returns whether another one can be tried now.
    fn renew(&self, refused: &Arc<dyn TokenCredential>) -> bool {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.as_ref().is_none_or(|made| !Arc::ptr_eq(&made.credential, refused)) {
            return true;
        }
        let due = made.as_ref().is_some_and(|made| made.at.elapsed() >= KEPT_FOR);
        if due {
            *made = None;
            self.http.distrust();
        }
        due
    }

    async fn token_of(&self, credential: &Arc<dyn TokenCredential>) -> Result<SecretString, DirectoryError> {
        let scope = self.scope();
        let token = match tokio::time::timeout(TIMEOUT, credential.get_token(&[&scope], None)).await {
            Ok(Ok(token)) => Ok(SecretString::from(token.token.secret())),
            Ok(Err(error)) => Err(credential::no_identity(&error)),
            Err(_) => Err(VaultError::no_identity(NoResponse::TimedOut.to_string(), true)),
        };
        token.map_err(|error| self.no_token(error))
    }

    fn no_token(&self, error: VaultError) -> DirectoryError {
        let error = credential::with_advice(error, &self.identity, &self.cloud.authority);
        DirectoryError::NoToken(Box::new(error.identity_failure()))
    }

    /// The scope of Graph's access tokens. It names the cloud's Graph, even if `[cloud] graph` sets another address.
    fn scope(&self) -> String {
        self.cloud.name.graph().with_path(&[".default"]).into()
    }

    /// The URL of an action on an app registration, such as `addPassword`.
    fn action(&self, object_id: Uuid, action: &str) -> Url {
        self.cloud.graph.with_path(&["v1.0", "applications", &object_id.to_string(), action])
    }
}

impl Directory for Graph {
    async fn registration(
        &self,
        caller: &Caller<'_>,
        client_id: &str,
        id: Uuid,
    ) -> Result<Registration, DirectoryError> {
        let app = format!("applications(appId='{client_id}')");
        let mut url = self.cloud.graph.with_path(&["v1.0", &app]);
        // `keyCredentials` is not requested: it has a lower limit of requests (docs/azure-facts.md F601).
        url.set_query(Some("$select=id,appId,displayName,passwordCredentials"));
        let request = GraphRequest { operation: "application", method: Method::GET, url, body: None };
        let answered = self.call(caller, &request, id).await?;
        registration(&answered, secret_of(caller), client_id)
    }

    async fn add_secret(
        &self,
        caller: &Caller<'_>,
        object_id: Uuid,
        name: &str,
        ends: Timestamp,
        id: Uuid,
    ) -> Result<CreatedSecret, DirectoryError> {
        let ends = ends.to_rfc3339_opts(SecondsFormat::Secs, true);
        let request = GraphRequest {
            operation: "add_password",
            method: Method::POST,
            url: self.action(object_id, "addPassword"),
            body: Some(json!({"passwordCredential": {"displayName": name, "endDateTime": ends}})),
        };
        let answered = self.call(caller, &request, id).await?;
        created(&answered, secret_of(caller))
    }

    async fn remove_secret(
        &self,
        caller: &Caller<'_>,
        object_id: Uuid,
        key_id: Uuid,
        id: Uuid,
    ) -> Result<(), DirectoryError> {
        let request = GraphRequest {
            operation: "remove_password",
            method: Method::POST,
            url: self.action(object_id, "removePassword"),
            body: Some(json!({"keyId": key_id.to_string()})),
        };
        match self.call(caller, &request, id).await {
            // The secret or its app registration is already gone (docs/azure-facts.md F602).
            Ok(_) | Err(DirectoryError::Refused { status: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The secret that the caller sent to Entra, which no answer may repeat.
fn secret_of<'a>(caller: &Caller<'a>) -> &'a str {
    match caller {
        Caller::VaultIdentity => "",
        Caller::App { proof, .. } => proof.expose(),
    }
}

#[derive(Default, Deserialize)]
struct RefusalBody {
    error: Option<RefusalError>,
}

#[derive(Default, Deserialize)]
struct RefusalError {
    code: Option<String>,
}

/// Reads an answer that is not a success (docs/azure-facts.md F606). An answer without Graph's error comes from a
/// gateway or a captive portal.
fn refused(answer: &Answer, secrets: &[&str]) -> DirectoryError {
    let status = answer.status;
    let unavailable = DirectoryError::Unavailable { status, retry_after: answer.retry_after() };
    if !(400..=499).contains(&status) || matches!(status, 408 | 429) {
        return unavailable;
    }
    let body: RefusalBody =
        answer.body.as_deref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
    let clean = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    match body.error.and_then(|error| error.code) {
        Some(code)
            if (1..=MAX_CODE_CHARS).contains(&code.len())
                && code.bytes().all(clean)
                && !echoes(&[&code], secrets) =>
        {
            DirectoryError::Refused { status, code }
        }
        _ => unavailable,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApplicationBody {
    id: Option<String>,
    app_id: Option<String>,
    password_credentials: Option<Vec<CredentialBody>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CredentialBody {
    key_id: Option<String>,
    display_name: Option<String>,
    hint: Option<String>,
    secret_text: Option<String>,
    start_date_time: Option<String>,
    end_date_time: Option<String>,
}

fn parsed<'a, T: Deserialize<'a>>(answer: &'a Answer, wrong: &'static str) -> Result<T, DirectoryError> {
    let body = answer.body.as_deref().ok_or(DirectoryError::NotUnderstood("it is too long"))?;
    serde_json::from_slice(body).map_err(|_| DirectoryError::NotUnderstood(wrong))
}

/// Reads an app registration. If one of its secrets cannot be read, the whole list is invalid: a missing entry would
/// look like a removed secret.
fn registration(answered: &Answered, secret: &str, client_id: &str) -> Result<Registration, DirectoryError> {
    let wrong = DirectoryError::NotUnderstood;
    let body: ApplicationBody = parsed(&answered.answer, "it is not an app registration")?;
    if !body.app_id.is_some_and(|id| id.eq_ignore_ascii_case(client_id)) {
        return Err(wrong("it is about another app"));
    }
    let object_id = body.id.as_deref().and_then(guid).ok_or(wrong("it has no object id"))?;
    let secrets = [answered.token.expose_secret(), secret];
    let listed = body.password_credentials.ok_or(wrong("it has no list of secrets"))?;
    let listed: Option<Vec<ListedSecret>> =
        listed.into_iter().map(|credential| credential.listed(&secrets)).collect();
    Ok(Registration { object_id, secrets: listed.ok_or(wrong("a secret has no key id"))? })
}

/// Reads the answer about a new client secret.
fn created(answered: &Answered, secret: &str) -> Result<CreatedSecret, DirectoryError> {
    let wrong = DirectoryError::NotUnderstood;
    let mut body: CredentialBody = parsed(&answered.answer, "it is not a client secret")?;
    let value = body.secret_text.take().map(SecretString::from);
    let plausible = |value: &SecretString| {
        let text = value.expose_secret();
        (1..=MAX_SECRET_CHARS).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic())
            && !echoes(&[text], &[answered.token.expose_secret(), secret])
    };
    Ok(CreatedSecret {
        key_id: body.key_id.as_deref().and_then(guid).ok_or(wrong("it has no key id"))?,
        value: value.filter(plausible).ok_or(wrong("it has no secret"))?,
        ends: body.end_date_time.as_deref().and_then(time).ok_or(wrong("it has no end"))?,
    })
}

impl CredentialBody {
    /// Returns `None` if the key id is missing.
    fn listed(self, secrets: &[&str]) -> Option<ListedSecret> {
        // A list holds no values. If one does, it is wiped from memory.
        drop(self.secret_text.map(SecretString::from));
        let unspoken = |text: &String| !echoes(&[text], secrets);
        Some(ListedSecret {
            key_id: self.key_id.as_deref().and_then(guid)?,
            name: self.display_name.filter(unspoken).map(|name| shown(&name)),
            hint: self.hint.map(|hint| hint.chars().take(HINT_CHARS).collect()).filter(is_hint),
            starts: self.start_date_time.as_deref().and_then(time),
            ends: self.end_date_time.as_deref().and_then(time),
        })
    }
}

/// Shortens a display name and escapes its control characters.
fn shown(name: &str) -> String {
    let end = name.char_indices().nth(MAX_NAME_CHARS).map_or(name.len(), |(end, _)| end);
    text::defused(&name[..end])
}

fn is_hint(hint: &String) -> bool {
    !hint.is_empty() && hint.bytes().all(|b| b.is_ascii_graphic())
}

fn guid(text: &str) -> Option<Uuid> {
    text::guid(text)?.parse().ok()
}

/// Parses a time. Some old secrets end in the year 2299, which counts as no end.
fn time(text: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc()).and_then(meant)
}

#[cfg(test)]
mod tests;
