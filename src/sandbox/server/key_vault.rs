//! Key Vault over HTTPS: the authentication challenge and the requests for secrets. The module `certificates` serves
//! the requests for certificates and keys.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse as _;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

mod backup;
mod bodies;
mod certificate_bodies;
mod certificates;
mod unserved;

use self::bodies::{RestoreBody, SetBody, UpdateBody};
use super::wire::{HttpCaller, code, key_vault_error, set};
use super::{Routes, SandboxState};
use crate::sandbox::world::{ListPage, Operation, Peer, Trouble, VaultRefusal};
use crate::token::secret::{SecretAddress, SecretName};

/// The API versions that the sandbox supports (docs/azure-facts.md F203).
const API_VERSIONS: [&str; 10] =
    ["2016-10-01", "7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01", "2026-04-01"];

/// The number of items on a page. A request can ask for fewer items with `maxresults`.
const PAGE: usize = 25;

/// The header that tells a caller its own IP address, as the vault sees this address.
const NETWORK_INFO: &str = "x-ms-keyvault-network-info";

/// The world's answer: a value, a rejection by the vault, or an injected fault.
type SecretReply<T> = Result<T, Trouble<VaultRefusal>>;

pub(super) fn routes() -> Routes {
    let newest = get(get_newest).put(set_secret).patch(update_newest).delete(delete).post(restore);
    let deleted = get(get_deleted).delete(purge);
    Router::new()
        .route("/secrets", get(list_secrets))
        .route("/secrets/", get(list_secrets))
        .route("/secrets/{name}", newest.clone())
        .route("/secrets/{name}/", newest)
        .route("/secrets/{name}/versions", get(list_versions))
        .route("/secrets/{name}/{version}", get(get_version).patch(update_version))
        .route("/secrets/{name}/backup", post(backup))
        .route("/deletedsecrets", get(list_deleted))
        .route("/deletedsecrets/", get(list_deleted))
        .route("/deletedsecrets/{name}", deleted.clone())
        .route("/deletedsecrets/{name}/", deleted)
        .route("/deletedsecrets/{name}/recover", post(recover))
        .merge(certificates::routes())
        .method_not_allowed_fallback(not_served)
        // `wire::keep` has already limited the size of the body.
        .layer(DefaultBodyLimit::disable())
}

/// A caller whose request has a supported API version and a valid token for the vault.
struct Admitted {
    caller: HttpCaller,
    vault: Arc<str>,
    query: SecretRequest,
}

#[derive(Default, Deserialize)]
struct SecretRequest {
    #[serde(rename = "api-version")]
    api_version: Option<String>,
    maxresults: Option<usize>,
    #[serde(rename = "$skiptoken")]
    skip: Option<usize>,
}

impl FromRequestParts<Arc<SandboxState>> for Admitted {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<SandboxState>) -> Result<Self, Response> {
        let Ok(caller) = HttpCaller::from_request_parts(parts, shared).await;
        let admitted = match caller.bearer() {
            None => Err("AKV10000: Request is missing a Bearer or PoP token."),
            Some(token) if caller.world().opens_vault(token) => Ok(()),
            Some(_) => Err("AKV10022: Invalid audience or expired token. Expected https://vault.azure.net."),
        };
        if let Err(why) = admitted {
            return Err(challenge(&caller, why));
        }
        let query = Query::<SecretRequest>::from_request_parts(parts, shared).await;
        let query = query.map(|Query(query)| query).unwrap_or_default();
        let known = query.api_version.as_deref().is_some_and(|version| {
            API_VERSIONS.contains(&version.strip_suffix("-preview").unwrap_or(version))
        });
        if !known {
            let refusal =
                VaultRefusal::bad_parameter("The specified version (api-version) is not recognized.");
            return Err(dressed(&caller, refuse(&caller, &refusal)));
        }
        if query.maxresults.is_some_and(|most| !(1..=PAGE).contains(&most)) {
            let refusal = VaultRefusal::bad_parameter("maxresults must be between 1 and 25.");
            return Err(dressed(&caller, refuse(&caller, &refusal)));
        }
        let vault = shared.vault_at(caller.header("host"));
        Ok(Self { caller, vault, query })
    }
}

impl Admitted {
    /// Calls the world and returns the vault's answer. An injected fault can delay the call.
    async fn call<T>(
        &self,
        name: &str,
        operation: Operation,
        effect: impl FnOnce(&SecretAddress) -> SecretReply<T>,
        shown: impl FnOnce(T) -> Response,
    ) -> Response {
        let Some(parsed) = SecretName::parse(name) else {
            let text = format!("The request URI contains an invalid name: {name}");
            return self.refused(&VaultRefusal::bad_parameter(text));
        };
        self.caller.enter(Peer::KeyVault, operation, name).await;
        let answer = effect(&SecretAddress { vault: Arc::clone(&self.vault), name: parsed });
        self.answer(answer, shown).await
    }

    async fn answer<T>(&self, answer: SecretReply<T>, shown: impl FnOnce(T) -> Response) -> Response {
        let response = match answer {
            Ok(answer) => shown(answer),
            Err(Trouble::Refused(refused)) => refuse(&self.caller, &refused),
            Err(Trouble::Fault(what)) => self.caller.faulted(Peer::KeyVault, what).await,
        };
        dressed(&self.caller, response)
    }

    fn list<T>(&self, path: &str, page: &ListPage<T>, item: impl FnMut(&T) -> Value) -> Response {
        let next = page.next.map(|skip| {
            let version = self.query.api_version.as_deref().unwrap_or("7.4");
            let most = self.query.maxresults.unwrap_or(PAGE);
            format!("{}{path}?api-version={version}&$skiptoken={skip}&maxresults={most}", self.vault)
        });
        bodies::list(page, next.as_deref(), item)
    }

    fn window(&self) -> (usize, usize) {
        (self.query.skip.unwrap_or(0), self.query.maxresults.unwrap_or(PAGE))
    }

    /// Parses the body, or returns the rejection of an invalid body.
    fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, VaultRefusal> {
        serde_json::from_slice(body)
            .map_err(|_| VaultRefusal::bad_parameter("The request body cannot be read."))
    }

    fn refused(&self, refusal: &VaultRefusal) -> Response {
        dressed(&self.caller, refuse(&self.caller, refusal))
    }
}

async fn get_newest(by: Admitted, Path(name): Path<String>) -> Response {
    let effect = |at: &SecretAddress| by.caller.world().get_secret(by.caller.actor(), at, None);
    by.call(&name, Operation::Get, effect, |found| bodies::with_value(&by.vault, &found)).await
}

async fn get_version(by: Admitted, Path((name, version)): Path<(String, String)>) -> Response {
    if !is_version(&version) {
        return by.refused(&unserved::wrong_operation(&Method::GET, &version));
    }
    let effect = |at: &SecretAddress| by.caller.world().get_secret(by.caller.actor(), at, Some(&version));
    by.call(&name, Operation::GetVersion, effect, |found| bodies::with_value(&by.vault, &found)).await
}

async fn set_secret(by: Admitted, Path(name): Path<String>, body: Bytes) -> Response {
    let new = match Admitted::read::<SetBody>(&body) {
        Ok(body) => body.into_request(),
        Err(refusal) => return by.refused(&refusal),
    };
    let effect = |at: &SecretAddress| by.caller.world().set_secret(by.caller.actor(), at, new);
    by.call(&name, Operation::Set, effect, |written| bodies::with_value(&by.vault, &written)).await
}

async fn update_newest(by: Admitted, Path(name): Path<String>, body: Bytes) -> Response {
    update(&by, &name, None, &body).await
}

async fn update_version(
    by: Admitted,
    Path((name, version)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    if !is_version(&version) {
        return by.refused(&unserved::wrong_operation(&Method::PATCH, &version));
    }
    update(&by, &name, Some(&version), &body).await
}

async fn update(by: &Admitted, name: &str, version: Option<&str>, body: &Bytes) -> Response {
    let change = match Admitted::read::<UpdateBody>(body) {
        Ok(body) => body.into_request(),
        Err(refusal) => return by.refused(&refusal),
    };
    let effect = |at: &SecretAddress| by.caller.world().update_secret(by.caller.actor(), at, version, change);
    by.call(name, Operation::Update, effect, |changed| bodies::bare(&by.vault, &changed)).await
}

async fn list_versions(by: Admitted, Path(name): Path<String>) -> Response {
    let (skip, most) = by.window();
    let effect = |at: &SecretAddress| by.caller.world().list_versions(by.caller.actor(), at, skip, most);
    let path = format!("/secrets/{name}/versions");
    let item = |version: &_| bodies::bundle(&by.vault, version, true);
    by.call(&name, Operation::List, effect, |page| by.list(&path, &page, item)).await
}

async fn list_secrets(by: Admitted) -> Response {
    let (skip, most) = by.window();
    by.caller.enter(Peer::KeyVault, Operation::ListSecrets, "").await;
    let answer = by.caller.world().list_secrets(by.caller.actor(), &by.vault, skip, most);
    let item = |newest: &_| bodies::bundle(&by.vault, newest, false);
    by.answer(answer, |page| by.list("/secrets", &page, item)).await
}

async fn list_deleted(by: Admitted) -> Response {
    let (skip, most) = by.window();
    by.caller.enter(Peer::KeyVault, Operation::ListDeleted, "").await;
    let answer = by.caller.world().list_deleted_secrets(by.caller.actor(), &by.vault, skip, most);
    let item = |deleted: &_| bodies::deleted_bundle(&by.vault, deleted, false);
    by.answer(answer, |page| by.list("/deletedsecrets", &page, item)).await
}

async fn delete(by: Admitted, Path(name): Path<String>) -> Response {
    let effect = |at: &SecretAddress| by.caller.world().delete_secret(by.caller.actor(), at);
    by.call(&name, Operation::Delete, effect, |deleted| bodies::deleted(&by.vault, &deleted)).await
}

async fn get_deleted(by: Admitted, Path(name): Path<String>) -> Response {
    let effect = |at: &SecretAddress| by.caller.world().deleted_secret(by.caller.actor(), at);
    by.call(&name, Operation::GetDeleted, effect, |deleted| bodies::deleted(&by.vault, &deleted)).await
}

async fn recover(by: Admitted, Path(name): Path<String>) -> Response {
    let effect = |at: &SecretAddress| by.caller.world().recover_secret(by.caller.actor(), at);
    by.call(&name, Operation::Recover, effect, |newest| bodies::bare(&by.vault, &newest)).await
}

async fn purge(by: Admitted, Path(name): Path<String>) -> Response {
    let effect = |at: &SecretAddress| by.caller.world().purge_secret(by.caller.actor(), at);
    by.call(&name, Operation::Purge, effect, |()| StatusCode::NO_CONTENT.into_response()).await
}

async fn backup(by: Admitted, Path(name): Path<String>) -> Response {
    let effect = |at: &SecretAddress| by.caller.world().backup_secret(by.caller.actor(), at);
    by.call(&name, Operation::Backup, effect, |versions| bodies::backup(&backup::encode(&versions))).await
}

/// Serves `POST /secrets/restore`. Rejects `POST /secrets/NAME` for any other name.
async fn restore(by: Admitted, Path(name): Path<String>, body: Bytes) -> Response {
    if name != "restore" {
        return by.refused(&unserved::wrong_method(&Method::POST));
    }
    let versions = Admitted::read::<RestoreBody>(&body).map(|body| backup::decode(&body.value));
    let versions = match versions {
        Ok(Some(versions)) => versions,
        Ok(None) => return by.refused(&VaultRefusal::malformed_backup()),
        Err(refusal) => return by.refused(&refusal),
    };
    let name = versions.last().map(|newest| newest.name.clone()).unwrap_or_default();
    let effect = |at: &SecretAddress| by.caller.world().restore_secret(by.caller.actor(), at, &versions);
    by.call(&name, Operation::Restore, effect, |newest| bodies::bare(&by.vault, &newest)).await
}

/// Rejects a request for a path or a method that the sandbox does not serve. If the path belongs to a vault, the
/// sandbox checks the caller's token first, as Key Vault does.
pub(super) async fn not_served(State(shared): State<Arc<SandboxState>>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let refusal = unserved::refusal(&parts.method, parts.uri.path());
    if unserved::is_of_a_vault(parts.uri.path()) {
        return match Admitted::from_request_parts(&mut parts, &shared).await {
            Ok(by) => by.refused(&refusal),
            Err(rejection) => rejection,
        };
    }
    let Ok(caller) = HttpCaller::from_request_parts(&mut parts, &shared).await;
    dressed(&caller, refuse(&caller, &refusal))
}

/// Whether a text is the id of a version. An id has 32 hex digits (docs/azure-facts.md F206). In a path, Key Vault
/// takes any other text for the name of an operation.
fn is_version(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the challenge with which the vault requests authentication.
fn challenge(caller: &HttpCaller, why: &str) -> Response {
    let body = key_vault_error("Unauthorized", None, why);
    let mut response = (StatusCode::UNAUTHORIZED, Json(body)).into_response();
    let SandboxState { origin, .. } = &*caller.shared;
    let tenant = caller.shared.identity_tenant();
    let text = format!(r#"Bearer authorization="{origin}/{tenant}", resource="https://vault.azure.net""#);
    set(&mut response, "www-authenticate", &text);
    dressed(caller, response)
}

fn refuse(caller: &HttpCaller, refused: &VaultRefusal) -> Response {
    if refused.status == 0 {
        // Status 0 means that the simulated DNS does not know the vault's host name. The server simulates the failed
        // lookup by closing the connection without an answer.
        caller.connection.cut();
    }
    let body = key_vault_error(refused.code, refused.inner, &refused.text);
    let mut response = (code(refused.status), Json(body)).into_response();
    if let Some(address) = &refused.address {
        set(&mut response, NETWORK_INFO, &network_info(address));
    }
    response
}

/// Adds the headers that every answer of Key Vault has.
fn dressed(caller: &HttpCaller, mut response: Response) -> Response {
    set(&mut response, "x-ms-request-id", &caller.world().fresh_id().to_string());
    if let Some(id) = caller.header("x-ms-client-request-id") {
        set(&mut response, "x-ms-client-request-id", id);
    }
    // A rejection by the firewall already names the caller's address.
    if !response.headers().contains_key(NETWORK_INFO) {
        set(&mut response, NETWORK_INFO, &network_info(&caller.peer.ip().to_string()));
    }
    set(&mut response, "x-ms-keyvault-region", "sandbox");
    set(&mut response, "x-ms-keyvault-service-version", "1.9.0.0");
    response
}

fn network_info(address: &str) -> String {
    let family = if address.contains(':') { ("Ipv6", "InterNetworkV6") } else { ("Ipv4", "InterNetwork") };
    format!("conn_type={};addr={address};act_addr_fam={};", family.0, family.1)
}
