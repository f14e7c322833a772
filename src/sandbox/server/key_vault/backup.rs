//! The blob of a backup: all versions of one secret as an encoded text. Unlike this blob, a blob of the real Key Vault
//! is encrypted (docs/azure-facts.md F223).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use crate::process::clock::Timestamp;
use crate::sandbox::world::{Attributes, SecretVersion};
use crate::token::secret::SecretName;
use crate::token::tags::Tags;

/// The start of each blob: the name and version of the blob's format. A blob of the real Key Vault has a different
/// start.
const MARK: &str = "(PerennialSandboxSecretBackupV1.";

/// A version in a blob, with times in Unix seconds.
#[derive(Deserialize, Serialize)]
struct SavedVersion {
    name: String,
    id: String,
    value: String,
    created: i64,
    updated: i64,
    enabled: bool,
    expires: Option<i64>,
    not_before: Option<i64>,
    content_type: Option<String>,
    tags: Tags,
}

/// Returns the blob of a secret's versions.
pub(super) fn encode(versions: &[SecretVersion]) -> String {
    let saved: Vec<SavedVersion> = versions.iter().map(SavedVersion::of).collect();
    let body = serde_json::to_vec(&saved).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(format!("{MARK}{}", URL_SAFE_NO_PAD.encode(body)))
}

/// Returns the versions in a blob, oldest first. Returns `None` if the text is not a blob, or is damaged.
pub(super) fn decode(blob: &str) -> Option<Vec<SecretVersion>> {
    let bytes = URL_SAFE_NO_PAD.decode(blob.trim_end_matches('=')).ok()?;
    let body = URL_SAFE_NO_PAD.decode(bytes.strip_prefix(MARK.as_bytes())?).ok()?;
    let saved: Vec<SavedVersion> = serde_json::from_slice(&body).ok()?;
    let name = &saved.first()?.name;
    SecretName::parse(name)?;
    if saved.iter().any(|version| version.name != *name) {
        return None;
    }
    saved.into_iter().map(SavedVersion::into_version).collect()
}

impl SavedVersion {
    fn of(version: &SecretVersion) -> Self {
        let SecretVersion { name, id, value, created, updated, attributes, content_type, tags, managed: _ } =
            version.clone();
        Self {
            name,
            id,
            value: value.expose_secret().to_owned(),
            created: created.timestamp(),
            updated: updated.timestamp(),
            enabled: attributes.enabled,
            expires: attributes.expires.map(|at| at.timestamp()),
            not_before: attributes.not_before.map(|at| at.timestamp()),
            content_type,
            tags,
        }
    }

    fn into_version(self) -> Option<SecretVersion> {
        let at = |seconds| -> Option<Timestamp> { DateTime::from_timestamp(seconds, 0) };
        Some(SecretVersion {
            name: self.name,
            id: self.id,
            value: self.value.into(),
            created: at(self.created)?,
            updated: at(self.updated)?,
            attributes: Attributes {
                enabled: self.enabled,
                expires: self.expires.and_then(at),
                not_before: self.not_before.and_then(at),
            },
            content_type: self.content_type,
            tags: self.tags,
            managed: false,
        })
    }
}
