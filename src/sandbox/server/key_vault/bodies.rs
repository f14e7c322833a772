//! Key Vault's JSON: what is sent and what is shown.

use axum::Json;
use axum::response::IntoResponse as _;
use axum::response::Response;
use chrono::DateTime;
use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::process::clock::Timestamp;
use crate::sandbox::world::{
    Attributes, DeletedSecret, SecretVersion, SetRequest, UpdateRequest, VersionsPage,
};
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

/// A version as reading and writing show it.
pub(super) fn with_value(vault: &str, version: &SecretVersion) -> Response {
    let mut body = bundle(vault, version, true);
    body["value"] = json!(version.value.expose_secret());
    Json(body).into_response()
}

/// A version without its value.
pub(super) fn bare(vault: &str, version: &SecretVersion) -> Response {
    Json(bundle(vault, version, true)).into_response()
}

/// A deleted secret.
pub(super) fn deleted(vault: &str, secret: &DeletedSecret) -> Response {
    let mut body = bundle(vault, &secret.newest, true);
    body["recoveryId"] = json!(format!("{vault}/deletedsecrets/{}", secret.newest.name));
    body["deletedDate"] = json!(secret.deleted_at.timestamp());
    body["scheduledPurgeDate"] = json!(secret.purged_at.timestamp());
    Json(body).into_response()
}

/// A page: of versions, or of secrets, whose ids name no version.
pub(super) fn list(vault: &str, page: &VersionsPage, of_versions: bool, next: Option<&str>) -> Value {
    let items: Vec<Value> = page.items.iter().map(|item| bundle(vault, item, of_versions)).collect();
    json!({"value": items, "nextLink": next})
}

fn bundle(vault: &str, version: &SecretVersion, with_version: bool) -> Value {
    let SecretVersion { name, id, created, updated, attributes, .. } = version;
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
    let id =
        if with_version { format!("{vault}/secrets/{name}/{id}") } else { format!("{vault}/secrets/{name}") };
    let mut body = json!({"id": id, "attributes": shown});
    if let Some(content_type) = &version.content_type {
        body["contentType"] = json!(content_type);
    }
    if !version.tags.is_empty() {
        body["tags"] = json!(version.tags);
    }
    body
}
