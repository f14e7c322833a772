//! Key Vault's JSON bodies for requests and answers.

use axum::Json;
use axum::response::IntoResponse as _;
use axum::response::Response;
use chrono::DateTime;
use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::process::clock::Timestamp;
use crate::sandbox::world::{Attributes, DeletedSecret, ListPage, SecretVersion, SetRequest, UpdateRequest};
use crate::token::tags::Tags;

#[derive(Deserialize)]
pub(super) struct SetBody {
    value: String,
    #[serde(rename = "contentType")]
    content_type: Option<String>,
    #[serde(default)]
    attributes: AttributesBody,
    #[serde(default)]
    tags: Tags,
}

#[derive(Deserialize)]
pub(super) struct UpdateBody {
    #[serde(rename = "contentType")]
    content_type: Option<String>,
    #[serde(default)]
    attributes: AttributesBody,
    tags: Option<Tags>,
}

#[derive(Deserialize)]
pub(super) struct RestoreBody {
    pub(super) value: String,
}

#[derive(Default, Deserialize)]
struct AttributesBody {
    enabled: Option<bool>,
    exp: Option<i64>,
    nbf: Option<i64>,
}

impl SetBody {
    pub(super) fn into_request(self) -> SetRequest {
        SetRequest {
            value: SecretString::from(self.value),
            attributes: Attributes {
                enabled: self.attributes.enabled.unwrap_or(true),
                expires: self.attributes.exp.and_then(at),
                not_before: self.attributes.nbf.and_then(at),
            },
            content_type: self.content_type,
            tags: self.tags,
        }
    }
}

impl UpdateBody {
    pub(super) fn into_request(self) -> UpdateRequest {
        UpdateRequest {
            enabled: self.attributes.enabled,
            expires: self.attributes.exp.and_then(at),
            not_before: self.attributes.nbf.and_then(at),
            content_type: self.content_type,
            tags: self.tags,
        }
    }
}

fn at(seconds: i64) -> Option<Timestamp> {
    DateTime::from_timestamp(seconds, 0)
}

/// Returns the answer with a version of a secret, including the value.
pub(super) fn with_value(vault: &str, version: &SecretVersion) -> Response {
    let mut body = bundle(vault, version, true);
    body["value"] = json!(version.value.expose_secret());
    Json(body).into_response()
}

/// Returns the answer with a version of a secret, without the value.
pub(super) fn bare(vault: &str, version: &SecretVersion) -> Response {
    Json(bundle(vault, version, true)).into_response()
}

/// Returns the answer to a request for a backup.
pub(super) fn backup(blob: &str) -> Response {
    Json(json!({"value": blob})).into_response()
}

/// Returns the answer with a deleted secret.
pub(super) fn deleted(vault: &str, secret: &DeletedSecret) -> Response {
    Json(deleted_bundle(vault, secret, true)).into_response()
}

/// Returns a deleted secret as JSON. The secret's id ends with the newest version if `with_version` is set. A list does
/// not set `with_version`.
pub(super) fn deleted_bundle(vault: &str, secret: &DeletedSecret, with_version: bool) -> Value {
    let mut body = bundle(vault, &secret.newest, with_version);
    body["recoveryId"] = json!(format!("{vault}/deletedsecrets/{}", secret.newest.name));
    body["deletedDate"] = json!(secret.deleted_at.timestamp());
    body["scheduledPurgeDate"] = json!(secret.purged_at.timestamp());
    body
}

/// Returns the answer with a page of a list.
pub(super) fn list<T>(page: &ListPage<T>, next: Option<&str>, item: impl FnMut(&T) -> Value) -> Response {
    let items: Vec<Value> = page.items.iter().map(item).collect();
    Json(json!({"value": items, "nextLink": next})).into_response()
}

/// Returns a version's attributes as JSON. Secrets, certificates and keys have the same kinds of attributes.
pub(super) fn attributes(attributes: &Attributes, created: Timestamp, updated: Timestamp) -> Value {
    let mut shown = json!({
        "enabled": attributes.enabled,
        "created": created.timestamp(),
        "updated": updated.timestamp(),
        "recoveryLevel": "Recoverable+Purgeable",
        "recoverableDays": 90,
    });
    for (member, time) in [("exp", attributes.expires), ("nbf", attributes.not_before)] {
        if let Some(time) = time {
            shown[member] = json!(time.timestamp());
        }
    }
    shown
}

/// Returns a version as JSON, without its value. The secret's id ends with the version if `with_version` is set. A list
/// of secrets does not set `with_version`.
pub(super) fn bundle(vault: &str, version: &SecretVersion, with_version: bool) -> Value {
    let SecretVersion { name, id, .. } = version;
    let base = format!("{vault}/secrets/{name}");
    let full = if with_version { format!("{base}/{id}") } else { base };
    let shown = attributes(&version.attributes, version.created, version.updated);
    let mut body = json!({"id": full, "attributes": shown});
    if version.managed {
        body["managed"] = json!(true);
    }
    if version.managed && with_version {
        body["kid"] = json!(format!("{vault}/keys/{name}/{id}"));
    }
    if let Some(content_type) = &version.content_type {
        body["contentType"] = json!(content_type);
    }
    if !version.tags.is_empty() {
        body["tags"] = json!(version.tags);
    }
    body
}
