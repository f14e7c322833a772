//! An adapter for Microsoft Graph. The adapter implements the port `Directory`.
//!
//! This module owns the requests about one app registration, and the access token for each request. `answers` parses
//! the answers, and `ports::diagnosis::graph` decides what a rejection means.
//!
//! Invariant: A request is repeated only after a 401, because a request that gets a 401 has had no effect.

mod answers;
mod key_list;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use chrono::SecondsFormat;
use reqwest::{Method, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::azure::cloud::Cloud;
use crate::azure::credential;
use crate::azure::entra::Entra;
use crate::azure::identity::Identity;
use crate::net::calls::{CallTarget, Calls};
use crate::net::http::{Answer, Http, exchange};
use crate::net::no_response::NoResponse;
use crate::ports::VaultError;
use crate::ports::client::AppSignIn;
use crate::ports::directory::{
    Caller, CreatedSecret, Directory, DirectoryError, KeyChange, KeyRegistration, NewKey, Registration,
};
use crate::process::clock::Timestamp;

/// The time limit of one request to Graph. The request for an access token has the same limit.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long the credential of the vault's identity is used. After this time, Perennial reads the identity's secret
/// again and replaces the credential.
const FRESH_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest time between two replacements of the credential. Within this time, a rejected access token does not
/// lead to another replacement.
const KEPT_FOR: Duration = Duration::from_secs(60);

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

/// The credential of the vault's identity, and when the credential was created.
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

/// An answer, and the access token with which the request was sent.
struct Answered {
    answer: Answer,
    token: SecretString,
}

impl Graph {
    /// Creates the client. `identity` is the identity that reads the vault. Nothing is read or sent before the first
    /// call.
    pub fn new(
        cloud: Cloud,
        identity: Identity,
        entra: Arc<Entra>,
        http: Arc<Http>,
        calls: Arc<Calls>,
    ) -> Self {
        Self { cloud, identity, entra, http, calls, made: Mutex::default() }
    }

    /// Sends a request and returns the successful answer. If Graph rejects the access token of the vault's identity,
    /// replaces the credential and repeats the request. The new credential reads the identity's secret again, because
    /// the secret may have been replaced.
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
            // The identity lacks a permission. An administrator may grant the permission later, but an old access
            // token never gets the permission (docs/azure-facts.md F603). So `renew` drops the credential, which
            // caches the old token.
            Err(DirectoryError::Refused { status: 403, .. }) => {
                self.renew(&used);
                first
            }
            first => first,
        }
    }

    /// Sends a request once. A returned error never contains a value of `secrets` or the access token.
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
        // If the token is not a valid header value, the request cannot be built.
        let built = built.build().map_err(|_| DirectoryError::Unreachable(NoResponse::Connect))?;
        let answer = exchange(&self.http, &self.calls, (CallTarget::Graph, operation), built)
            .await
            .map_err(DirectoryError::Unreachable)?;
        if (200..=299).contains(&answer.status) {
            return Ok(Answered { answer, token });
        }
        let proof = body.as_ref().and_then(|body| body["proof"].as_str());
        let secrets: Vec<&str> =
            secrets.iter().copied().chain([token.expose_secret()]).chain(proof).collect();
        Err(answers::refused(&answer, &secrets))
    }

    /// Returns the credential of the vault's identity. Creates the credential if none exists or if it is older than
    /// `FRESH_FOR`.
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

    /// Drops the rejected credential, unless it is younger than `KEPT_FOR`. Returns whether another credential can be
    /// tried now.
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

    /// The scope of Graph's access tokens. The scope always contains Microsoft's address of Graph in this cloud, even
    /// if `[cloud] graph` sets another address.
    fn scope(&self) -> String {
        self.cloud.name.graph().with_path(&[".default"]).into()
    }

    /// Reads an app registration with its secrets or its certificates. `list` is the property that contains the secrets
    /// or certificates, such as `passwordCredentials`.
    async fn application(
        &self,
        caller: &Caller<'_>,
        client_id: &str,
        list: &str,
        id: Uuid,
    ) -> Result<Answered, DirectoryError> {
        let app = format!("applications(appId='{client_id}')");
        let mut url = self.cloud.graph.with_path(&["v1.0", &app]);
        url.set_query(Some(&format!("$select=id,appId,displayName,{list}")));
        let request = GraphRequest { operation: "application", method: Method::GET, url, body: None };
        self.call(caller, &request, id).await
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
        // `keyCredentials` is not requested, because requests for `keyCredentials` have a lower rate limit
        // (docs/azure-facts.md F601).
        let answered = self.application(caller, client_id, "passwordCredentials", id).await?;
        answers::registration(&answered.answer, &answered.secrets(caller), client_id)
    }

    async fn add_secret(
        &self,
        caller: &Caller<'_>,
        object_id: Uuid,
        name: &str,
        ends: Timestamp,
        id: Uuid,
    ) -> Result<CreatedSecret, DirectoryError> {
        let ends = dated(ends);
        let request = GraphRequest {
            operation: "add_password",
            method: Method::POST,
            url: self.action(object_id, "addPassword"),
            body: Some(json!({"passwordCredential": {"displayName": name, "endDateTime": ends}})),
        };
        let answered = self.call(caller, &request, id).await?;
        answers::created(&answered.answer, &answered.secrets(caller))
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
            // The secret or its app registration no longer exists, so the removal counts as done (docs/azure-facts.md
            // F602).
            Ok(_) | Err(DirectoryError::Refused { status: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn keys(
        &self,
        caller: &Caller<'_>,
        client_id: &str,
        id: Uuid,
    ) -> Result<KeyRegistration, DirectoryError> {
        let answered = self.application(caller, client_id, "keyCredentials", id).await?;
        answers::keys(&answered.answer, &answered.secrets(caller), client_id)
    }

    async fn add_key(
        &self,
        caller: &Caller<'_>,
        object_id: Uuid,
        key: &NewKey<'_>,
        change: KeyChange<'_>,
        id: Uuid,
    ) -> Result<Uuid, DirectoryError> {
        let proof = match change {
            KeyChange::Proof(proof) => proof.expose_secret(),
            KeyChange::Permission { known } => {
                let key_id = Uuid::new_v4();
                let mut entry = key_list::entry(key);
                entry["keyId"] = json!(key_id);
                entry["startDateTime"] = json!(dated(key.begins));
                entry["endDateTime"] = json!(dated(key.ends));
                let add = |keys: &mut Vec<Value>| {
                    keys.push(entry);
                    true
                };
                return self.replace_keys(caller, object_id, known, add, id).await.map(|()| key_id);
            }
        };
        let credential = key_list::entry(key);
        let request = GraphRequest {
            operation: "add_key",
            method: Method::POST,
            url: self.action(object_id, "addKey"),
            body: Some(json!({"keyCredential": credential, "passwordCredential": null, "proof": proof})),
        };
        let answered = self.call(caller, &request, id).await?;
        answers::registered(&answered.answer)
    }

    async fn remove_key(
        &self,
        caller: &Caller<'_>,
        object_id: Uuid,
        key_id: Uuid,
        change: KeyChange<'_>,
        id: Uuid,
    ) -> Result<(), DirectoryError> {
        let proof = match change {
            KeyChange::Proof(proof) => proof,
            KeyChange::Permission { known } => {
                let remove = |keys: &mut Vec<Value>| {
                    let before = keys.len();
                    keys.retain(|key| !answers::is_key(key, key_id));
                    keys.len() < before
                };
                return self.replace_keys(caller, object_id, known, remove, id).await;
            }
        };
        let request = GraphRequest {
            operation: "remove_key",
            method: Method::POST,
            url: self.action(object_id, "removeKey"),
            body: Some(json!({"keyId": key_id.to_string(), "proof": proof.expose_secret()})),
        };
        match self.call(caller, &request, id).await {
            Ok(_) | Err(DirectoryError::Refused { status: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A time in the form that Graph's requests have.
fn dated(time: Timestamp) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

impl Answered {
    /// Returns the secret values that Perennial has sent: the access token and the app's credential. Perennial drops
    /// each text in the answer that contains one of these values.
    fn secrets<'a>(&'a self, caller: &Caller<'a>) -> Vec<&'a str> {
        let token = self.token.expose_secret();
        match caller {
            Caller::VaultIdentity => vec![token],
            Caller::App { proof, .. } => vec![token, proof.expose()],
        }
    }
}

#[cfg(test)]
mod tests;
