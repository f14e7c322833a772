//! Microsoft Graph over HTTPS: reads an app registration, and adds or removes its client secrets and certificates.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::wire::{HttpCaller, graph_error, set};
use super::{Routes, shown};
use crate::process::clock::Timestamp;
use crate::sandbox::world::{
    App, AppCertificate, AppSecret, GraphRefusal, KeyEntry, KeyRequest, Operation, PasswordRequest, Peer,
    Trouble,
};

/// The beginning of the `@odata.context` URLs in answers.
const METADATA: &str = "https://graph.microsoft.com/v1.0/$metadata#";

pub(super) fn routes() -> Routes {
    Router::new()
        .route("/v1.0/{resource}", get(application))
        .route("/v1.0/applications/{id}", get(application_by_id).patch(replace_keys))
        .route("/v1.0/applications/{id}/addPassword", post(add_password))
        .route("/v1.0/applications/{id}/removePassword", post(remove_password))
        .route("/v1.0/applications/{id}/addKey", post(add_key))
        .route("/v1.0/applications/{id}/removeKey", post(remove_key))
}

#[derive(Deserialize)]
struct AddPasswordBody {
    #[serde(rename = "passwordCredential", default)]
    credential: PasswordBody,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PasswordBody {
    display_name: Option<String>,
    start_date_time: Option<Timestamp>,
    end_date_time: Option<Timestamp>,
}

#[derive(Deserialize)]
struct RemovePasswordBody {
    #[serde(rename = "keyId")]
    key_id: Uuid,
}

#[derive(Deserialize)]
struct AddKeyBody {
    #[serde(rename = "keyCredential")]
    credential: NewKeyBody,
    proof: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewKeyBody {
    display_name: Option<String>,
    start_date_time: Option<Timestamp>,
    end_date_time: Option<Timestamp>,
    /// The certificate in base64.
    key: String,
}

#[derive(Deserialize)]
struct ReplaceKeysBody {
    #[serde(rename = "keyCredentials")]
    keys: Vec<KeyEntryBody>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyEntryBody {
    key_id: Uuid,
    display_name: Option<String>,
    start_date_time: Option<Timestamp>,
    end_date_time: Option<Timestamp>,
    /// The certificate in base64. `None` keeps the certificate that has this `key_id`.
    key: Option<String>,
}

#[derive(Deserialize)]
struct RemoveKeyBody {
    #[serde(rename = "keyId")]
    key_id: Uuid,
    proof: String,
}

/// Answers `GET /v1.0/applications(appId='ID')`. The router's patterns do not support such parentheses, so this
/// function parses the path.
async fn application(
    caller: HttpCaller,
    Path(resource): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let named = resource.strip_prefix("applications(appId='").and_then(|rest| rest.strip_suffix("')"));
    let Some(client_id) = named else {
        let text = format!("Resource not found for the segment '{resource}'.");
        return refused(&caller, &GraphRefusal::new(400, "BadRequest", text));
    };
    show(&caller, client_id, &query).await
}

async fn application_by_id(
    caller: HttpCaller,
    Path(id): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let client_id = id.parse().ok().and_then(|object_id| caller.world().app_with(object_id)).unwrap_or(id);
    show(&caller, &client_id, &query).await
}

async fn show(caller: &HttpCaller, client_id: &str, query: &BTreeMap<String, String>) -> Response {
    caller.enter(Peer::Graph, Operation::GetApplication, client_id).await;
    let answer = caller.world().registration(caller.actor(), token(caller), client_id);
    let selected = query.get("$select").map(String::as_str);
    answered(caller, answer, |app| Json(described(app, selected)).into_response()).await
}

async fn add_password(caller: HttpCaller, Path(id): Path<String>, body: Bytes) -> Response {
    let (object_id, body) = match asked::<AddPasswordBody>(&id, &body) {
        Ok(asked) => asked,
        Err(refusal) => return refused(&caller, &refusal),
    };
    let PasswordBody { display_name, start_date_time, end_date_time } = body.credential;
    let request = PasswordRequest { name: display_name, starts: start_date_time, ends: end_date_time };
    enter(&caller, Operation::AddPassword, object_id).await;
    let answer = caller.world().add_secret(caller.actor(), token(&caller), object_id, &request);
    answered(&caller, answer, |added| {
        let mut body = described_secret(added);
        body["@odata.context"] = json!(format!("{METADATA}microsoft.graph.passwordCredential"));
        body["secretText"] = json!(added.value.expose_secret());
        Json(body).into_response()
    })
    .await
}

async fn remove_password(caller: HttpCaller, Path(id): Path<String>, body: Bytes) -> Response {
    let (object_id, RemovePasswordBody { key_id }) = match asked(&id, &body) {
        Ok(asked) => asked,
        Err(refusal) => return refused(&caller, &refusal),
    };
    enter(&caller, Operation::RemovePassword, object_id).await;
    let answer = caller.world().remove_secret(caller.actor(), token(&caller), object_id, key_id);
    answered(&caller, answer, |()| StatusCode::NO_CONTENT.into_response()).await
}

async fn add_key(caller: HttpCaller, Path(id): Path<String>, body: Bytes) -> Response {
    let (object_id, AddKeyBody { credential, proof }) = match asked::<AddKeyBody>(&id, &body) {
        Ok(asked) => asked,
        Err(refusal) => return refused(&caller, &refusal),
    };
    // A key that is not base64 becomes an empty certificate, which the world rejects.
    let der = STANDARD.decode(&credential.key).unwrap_or_default();
    let NewKeyBody { display_name: name, start_date_time: starts, end_date_time: ends, .. } = credential;
    let request = KeyRequest { der, name, starts, ends };
    enter(&caller, Operation::AddKey, object_id).await;
    let answer = caller.world().add_key(caller.actor(), token(&caller), object_id, &request, &proof);
    answered(&caller, answer, |added| {
        let mut body = described_certificate(added, false);
        body["@odata.context"] = json!(format!("{METADATA}microsoft.graph.keyCredential"));
        Json(body).into_response()
    })
    .await
}

async fn remove_key(caller: HttpCaller, Path(id): Path<String>, body: Bytes) -> Response {
    let (object_id, RemoveKeyBody { key_id, proof }) = match asked(&id, &body) {
        Ok(asked) => asked,
        Err(refusal) => return refused(&caller, &refusal),
    };
    enter(&caller, Operation::RemoveKey, object_id).await;
    let answer = caller.world().remove_key(caller.actor(), token(&caller), object_id, key_id, &proof);
    answered(&caller, answer, |()| StatusCode::NO_CONTENT.into_response()).await
}

/// Answers a `PATCH` of the app registration. The request can change only one property of the registration: the list of
/// certificates.
async fn replace_keys(caller: HttpCaller, Path(id): Path<String>, body: Bytes) -> Response {
    let (object_id, ReplaceKeysBody { keys }) = match asked(&id, &body) {
        Ok(asked) => asked,
        Err(refusal) => return refused(&caller, &refusal),
    };
    let entry = |body: KeyEntryBody| match &body.key {
        None => KeyEntry::Kept(body.key_id),
        Some(key) => {
            let der = STANDARD.decode(key).unwrap_or_default();
            let KeyEntryBody {
                key_id, display_name: name, start_date_time: starts, end_date_time: ends, ..
            } = body;
            KeyEntry::New(key_id, KeyRequest { der, name, starts, ends })
        }
    };
    let entries: Vec<KeyEntry> = keys.into_iter().map(entry).collect();
    enter(&caller, Operation::ReplaceKeys, object_id).await;
    let answer = caller.world().replace_keys(caller.actor(), token(&caller), object_id, &entries);
    answered(&caller, answer, |()| StatusCode::NO_CONTENT.into_response()).await
}

/// Parses the object id from the path. Also parses the request's body.
fn asked<T: DeserializeOwned>(id: &str, body: &[u8]) -> Result<(Uuid, T), GraphRefusal> {
    let refuse = |text: String| GraphRefusal::new(400, "Request_BadRequest", text);
    let object_id = id.parse().map_err(|_| refuse(format!("Invalid object identifier '{id}'.")))?;
    let body = serde_json::from_slice(body);
    Ok((object_id, body.map_err(|why| refuse(format!("Unable to read JSON request payload. {why}")))?))
}

async fn enter(caller: &HttpCaller, operation: Operation, object_id: Uuid) {
    let app = caller.world().app_with(object_id);
    caller.enter(Peer::Graph, operation, app.as_deref().unwrap_or("unknown")).await;
}

fn token(caller: &HttpCaller) -> &str {
    caller.bearer().unwrap_or_default()
}

async fn answered<T>(
    caller: &HttpCaller,
    answer: Result<T, Trouble<GraphRefusal>>,
    body: impl FnOnce(&T) -> Response,
) -> Response {
    let response = match answer {
        Ok(answer) => body(&answer),
        Err(Trouble::Refused(refusal)) => return refused(caller, &refusal),
        Err(Trouble::Fault(what)) => caller.faulted(Peer::Graph, what).await,
    };
    with_ids(caller, response)
}

fn refused(caller: &HttpCaller, refusal: &GraphRefusal) -> Response {
    with_ids(caller, graph_error(caller, refusal.status, refusal.code, &refusal.text))
}

/// Adds the request ids that every answer of Graph has.
fn with_ids(caller: &HttpCaller, mut response: Response) -> Response {
    if !response.headers().contains_key("request-id") {
        set(&mut response, "request-id", &caller.world().fresh_id().to_string());
    }
    if let Some(id) = caller.header("client-request-id") {
        set(&mut response, "client-request-id", id);
    }
    response
}

/// Returns an app registration as Graph's JSON. `selected` contains the names of the requested properties.
fn described(app: &App, selected: Option<&str>) -> Value {
    let is_selected =
        |name: &str| selected.is_none_or(|names| names.split(',').any(|one| one.trim() == name));
    // The answer contains the certificates' bytes only if the request selects `keyCredentials` by name.
    let with_key = selected.is_some() && is_selected("keyCredentials");
    let secrets: Vec<Value> = app.secrets.iter().map(described_secret).collect();
    let certificates: Vec<Value> =
        app.certificates.iter().map(|known| described_certificate(known, with_key)).collect();
    let mut body = json!({
        "id": app.object_id,
        "appId": app.client_id,
        "displayName": format!("App {}", app.client_id),
        "passwordCredentials": secrets,
        "keyCredentials": certificates,
    });
    if let Some(properties) = body.as_object_mut() {
        properties.retain(|name, _| is_selected(name));
    }
    let context = match selected {
        Some(names) => format!("{METADATA}applications({names})/$entity"),
        None => format!("{METADATA}applications/$entity"),
    };
    body["@odata.context"] = json!(context);
    body
}

fn described_secret(secret: &AppSecret) -> Value {
    json!({
        "customKeyIdentifier": null,
        "displayName": secret.name,
        "endDateTime": secret.expires.map(shown),
        "hint": secret.hint(),
        "keyId": secret.key_id,
        "secretText": null,
        "startDateTime": shown(secret.starts),
    })
}

fn described_certificate(known: &AppCertificate, with_key: bool) -> Value {
    let certificate = &known.certificate;
    json!({
        "customKeyIdentifier": certificate.thumbprint(),
        "displayName": known.name,
        "endDateTime": shown(known.ends),
        "key": with_key.then(|| STANDARD.encode(&certificate.der)),
        "keyId": known.key_id,
        "startDateTime": shown(known.starts),
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
    })
}
