//! Key Vault's certificates and keys over HTTPS.

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse as _;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};

use super::certificate_bodies::{self as bodies, CreateBody, ImportBody, SignBody, TagsBody};
use super::unserved;
use super::{Admitted, Routes, set};
use crate::sandbox::world::{CertificateVersion, Operation, Peer};
use crate::token::secret::SecretAddress;

pub(super) fn routes() -> Routes {
    Router::new()
        .route("/certificates", get(list_certificates))
        .route("/certificates/", get(list_certificates))
        .route("/certificates/{name}", get(get_newest))
        .route("/certificates/{name}/", get(get_newest))
        .route("/certificates/{name}/versions", get(list_versions))
        .route("/certificates/{name}/policy", get(get_policy))
        .route("/certificates/{name}/pending", get(get_request))
        .route("/certificates/{name}/create", post(create))
        .route("/certificates/{name}/import", post(import))
        .route("/certificates/{name}/{version}", get(get_version).patch(update_version))
        .route("/keys/{name}", get(get_newest_key))
        .route("/keys/{name}/", get(get_newest_key))
        .route("/keys/{name}/{version}", get(get_key_version))
        .route("/keys/{name}/{version}/sign", post(sign))
}

async fn get_newest(by: Admitted, Path(name): Path<String>) -> Response {
    // At Key Vault, these two words are paths of their own, not names of certificates.
    if ["contacts", "issuers"].contains(&name.as_str()) {
        return by.refused(&unserved::refusal(&Method::GET, &format!("/certificates/{name}")));
    }
    read(&by, &name, None).await
}

async fn get_version(by: Admitted, Path((name, version)): Path<(String, String)>) -> Response {
    read(&by, &name, Some(&version)).await
}

async fn read(by: &Admitted, name: &str, version: Option<&str>) -> Response {
    let effect = |at: &SecretAddress| by.caller.world().get_certificate(by.caller.actor(), at, version);
    by.call(name, Operation::GetCertificate, effect, |found| shown(by, &found)).await
}

fn shown(by: &Admitted, found: &CertificateVersion) -> Response {
    Json(bodies::certificate(&by.vault, found)).into_response()
}

async fn update_version(
    by: Admitted,
    Path((name, version)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let tags = match Admitted::read::<TagsBody>(&body) {
        Ok(TagsBody { tags }) => tags,
        Err(refusal) => return by.refused(&refusal),
    };
    let effect =
        |at: &SecretAddress| by.caller.world().update_certificate(by.caller.actor(), at, &version, tags);
    by.call(&name, Operation::UpdateCertificate, effect, |changed| shown(&by, &changed)).await
}

async fn list_certificates(by: Admitted) -> Response {
    let (skip, most) = by.window();
    by.caller.enter(Peer::KeyVault, Operation::ListCertificates, "").await;
    let answer = by.caller.world().list_certificates(by.caller.actor(), &by.vault, skip, most);
    let item = |newest: &_| bodies::item(&by.vault, newest, false);
    by.answer(answer, |page| by.list("/certificates", &page, item)).await
}

async fn list_versions(by: Admitted, Path(name): Path<String>) -> Response {
    let (skip, most) = by.window();
    let effect =
        |at: &SecretAddress| by.caller.world().list_certificate_versions(by.caller.actor(), at, skip, most);
    let path = format!("/certificates/{name}/versions");
    let item = |version: &_| bodies::item(&by.vault, version, true);
    by.call(&name, Operation::ListCertificateVersions, effect, |page| by.list(&path, &page, item)).await
}

async fn get_policy(by: Admitted, Path(name): Path<String>) -> Response {
    let effect = |at: &SecretAddress| by.caller.world().certificate_policy(by.caller.actor(), at);
    let shown = |found| Json(bodies::policy(&by.vault, &found)).into_response();
    by.call(&name, Operation::GetCertificate, effect, shown).await
}

async fn get_request(by: Admitted, Path(name): Path<String>) -> Response {
    let effect = |at: &SecretAddress| by.caller.world().certificate_request(by.caller.actor(), at);
    let shown = |found| Json(bodies::request(&by.vault, &found, false)).into_response();
    by.call(&name, Operation::GetCertificate, effect, shown).await
}

/// Creates a certificate. As in Key Vault, the answer always says that the creation is in progress, even if the
/// certificate is already complete.
async fn create(by: Admitted, Path(name): Path<String>, body: Bytes) -> Response {
    let (policy, tags) = match Admitted::read::<CreateBody>(&body).and_then(CreateBody::into_request) {
        Ok(asked) => asked,
        Err(refusal) => return by.refused(&refusal),
    };
    let effect =
        |at: &SecretAddress| by.caller.world().create_certificate(by.caller.actor(), at, policy, tags);
    by.call(&name, Operation::CreateCertificate, effect, |made| {
        let body = bodies::request(&by.vault, &made, true);
        let version = by.query.api_version.as_deref().unwrap_or("7.4");
        let location = format!(
            "{}/certificates/{}/pending?api-version={version}&request_id={}",
            by.vault, made.name, made.id
        );
        let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
        set(&mut response, "location", &location);
        response
    })
    .await
}

async fn import(by: Admitted, Path(name): Path<String>, body: Bytes) -> Response {
    let asked = match Admitted::read::<ImportBody>(&body).and_then(ImportBody::into_request) {
        Ok(asked) => asked,
        Err(refusal) => return by.refused(&refusal),
    };
    let effect = |at: &SecretAddress| by.caller.world().import_certificate(by.caller.actor(), at, asked);
    by.call(&name, Operation::ImportCertificate, effect, |imported| shown(&by, &imported)).await
}

async fn get_newest_key(by: Admitted, Path(name): Path<String>) -> Response {
    read_key(&by, &name, None).await
}

async fn get_key_version(by: Admitted, Path((name, version)): Path<(String, String)>) -> Response {
    read_key(&by, &name, Some(&version)).await
}

async fn read_key(by: &Admitted, name: &str, version: Option<&str>) -> Response {
    let effect = |at: &SecretAddress| by.caller.world().get_key(by.caller.actor(), at, version);
    let shown = |found| Json(bodies::key(&by.vault, &found)).into_response();
    by.call(name, Operation::GetKey, effect, shown).await
}

async fn sign(by: Admitted, Path((name, version)): Path<(String, String)>, body: Bytes) -> Response {
    // Key Vault checks whether the key exists before it rejects an unreadable body. So an unreadable body becomes an
    // empty body here, and `World::sign` rejects the empty body later.
    let asked = Admitted::read::<SignBody>(&body).unwrap_or_default();
    let digest = asked.digest();
    let effect = |at: &SecretAddress| {
        by.caller.world().sign(by.caller.actor(), at, Some(&version), &asked.alg, &digest)
    };
    let shown = |signed| Json(bodies::signature(&by.vault, &name, &signed)).into_response();
    by.call(&name, Operation::Sign, effect, shown).await
}
