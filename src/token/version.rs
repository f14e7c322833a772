//! One version of a vault secret, and Perennial's metadata beside the value (promise 7, docs/promises.md).
//!
//! Owns the names of tags and the rules for reading them. Tags are hints, never permission: they can make Perennial
//! act earlier or check more closely, but only the configuration permits a write.
//!
//! Invariant: tags hold no secret.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::process::clock::{Timestamp, rfc3339};
use crate::process::text;
use crate::token::tags::Tags;
use crate::token::{RefreshToken, meant};

/// Content type of a version by Perennial.
pub const CONTENT_TYPE: &str = "application/vnd.oauth.refresh-token";

/// Key Vault's limit on tags per version (docs/azure-facts.md F207).
pub const MAX_TAGS: usize = 15;

/// Key Vault's older pages limit a tag's value to 256 characters; the newer to 512 (docs/azure-facts.md F207). This
/// stays below both.
pub const MAX_TAG_CHARS: usize = 255;

/// A successor is issued, recorded as proved and then written. If that takes longer, the record is not trusted and the
/// next proof renews it.
const WRITTEN_WITHIN: TimeDelta = TimeDelta::minutes(5);

/// The names of Perennial's tags.
pub mod tag {
    /// Program, version and command that wrote the version.
    pub const MANAGED_BY: &str = "managed-by";
    /// When the issuer returned the token.
    pub const ISSUED_AT: &str = "issued-at";
    /// The sign-in that the token descends from.
    pub const SIGNED_IN_AT: &str = "signed-in-at";
    /// Tenant of the token.
    pub const TENANT_ID: &str = "tenant-id";
    /// App of the token.
    pub const CLIENT_ID: &str = "client-id";
    /// User of the token, by object id.
    pub const USER_OID: &str = "user-oid";
    /// The version whose redemption produced it.
    pub const REDEEMED_FROM: &str = "redeemed-from";
    /// Connects the records of one rotation.
    pub const ROTATION_ID: &str = "rotation-id";
    /// When it was last redeemed; written at most daily.
    pub const PROVED_AT: &str = "proved-at";
    /// Since when the issuer rejects it.
    pub const REFUSED_AT: &str = "refused-at";
    /// The kind of the rejection.
    pub const REFUSED_KIND: &str = "refused-kind";
    /// Except for a rejection by the issuer: when the token was last known to be usable, or the failure that blocks it
    /// and since when (`Version::verdict`).
    pub const VERDICT: &str = "verdict";
    /// The code of a final rejection; a mark without it is not final.
    pub const REFUSED_CODE: &str = "refused-code";
    /// The delivered alerts that have not ended, as marks (`rotation::told`).
    pub const TOLD: &str = "told";

    /// A redemption of a `strict` token in progress: its beginning, the last renewal, its id, and the command.
    pub const REDEEMING: &str = "redeeming";

    /// All of them. Every other tag is foreign and is carried over.
    pub const OURS: [&str; 15] = [
        MANAGED_BY,
        ISSUED_AT,
        SIGNED_IN_AT,
        TENANT_ID,
        CLIENT_ID,
        USER_OID,
        REDEEMED_FROM,
        ROTATION_ID,
        PROVED_AT,
        REFUSED_AT,
        REFUSED_KIND,
        VERDICT,
        REFUSED_CODE,
        TOLD,
        REDEEMING,
    ];
}

/// The verdict for a token that the issuer redeemed and whose access token was accepted.
pub const USABLE: &str = "usable";

/// A version's id: 32 hex digits, chosen by the vault. Shared, since many places hold it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VersionId(pub Arc<str>);

impl std::fmt::Display for VersionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A version without its value, as in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its id.
    pub id: VersionId,
    /// When the vault stored it. Whole seconds: two versions may have the same.
    pub created: Timestamp,
    /// A disabled version cannot be read (docs/azure-facts.md F212).
    pub enabled: bool,
    /// Its declared expiry; the vault does not enforce it.
    pub expires: Option<Timestamp>,
    /// Its tags.
    pub tags: Tags,
}

impl Version {
    /// Whether any of Perennial's commands wrote it.
    pub fn is_ours(&self) -> bool {
        self.tags.get(tag::MANAGED_BY).is_some_and(|by| by.starts_with("perennial"))
    }

    /// The version whose redemption produced this one; `None` for a sign-in.
    pub fn redeemed_from(&self) -> Option<VersionId> {
        let from = self.tags.get(tag::REDEEMED_FROM).filter(|_| self.is_ours())?;
        Some(VersionId(from.into()))
    }

    /// Whether its tags record a rejection by the issuer: for now, or for good (`schedule::is_known_dead`).
    pub fn is_refused(&self) -> bool {
        self.tags.contains(tag::REFUSED_AT)
    }

    /// The recorded verdict: `usable` or a kind of condition, and its time.
    pub fn verdict(&self) -> Option<(&str, Timestamp)> {
        let (word, at) = self.tags.get(tag::VERDICT)?.split_once(' ')?;
        Some((word, parsed(at)?))
    }

    /// The recorded time of its last redemption.
    pub fn proved_at(&self) -> Option<Timestamp> {
        self.time(tag::PROVED_AT).filter(|at| self.is_noted_on_it(*at))
    }

    /// Whether a record of that time can be about this version. An older one was copied from the previous version, by
    /// a tool that copies tags.
    pub fn is_noted_on_it(&self, at: Timestamp) -> bool {
        at + WRITTEN_WITHIN >= self.created
    }

    /// Whether it was redeemed after it was written: `login` records its own redemption on the version that it writes.
    pub fn is_proved_since(&self) -> bool {
        let noted = self.proved_at();
        noted.is_some_and(|at| Some(at) != self.time(tag::ISSUED_AT))
    }

    /// A tag's instant, if it is valid and realistic.
    pub fn time(&self, tag: &str) -> Option<Timestamp> {
        parsed(self.tags.get(tag)?)
    }

    /// When its token was issued: the earlier of tag and vault, so that a tag can advance a rotation but never delay
    /// it.
    pub fn issued_at(&self) -> Timestamp {
        self.time(tag::ISSUED_AT).map_or(self.created, |at| at.min(self.created))
    }

    /// When the user signed in: the tag of the sign-in that it descends from, else its own creation.
    pub fn signed_in_at(&self) -> Timestamp {
        self.time(tag::SIGNED_IN_AT).map_or(self.created, |at| at.min(self.created))
    }
}

/// A version with its value.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The version.
    pub version: Version,
    /// The value, without surrounding whitespace. `Debug` of `SecretString` shows nothing.
    pub value: SecretString,
    /// The vault's own time of the answer (`Date` header; docs/azure-facts.md F218).
    pub read_at: Option<Timestamp>,
}

impl Stored {
    /// The value as a refresh token.
    pub fn refresh_token(&self) -> RefreshToken {
        RefreshToken::new(self.value.expose_secret())
    }
}

/// A version to write.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// The value.
    pub value: RefreshToken,
    /// When the token expires.
    pub expires: Timestamp,
    /// Its tags.
    pub tags: Tags,
}

/// The facts about a token that is about to be written.
#[derive(Clone, Debug)]
pub struct Provenance<'a> {
    /// `run`, `rotate`, `login` or `check`.
    pub command: &'static str,
    /// When the issuer returned the token.
    pub issued_at: Timestamp,
    /// When the user signed in.
    pub signed_in_at: Timestamp,
    /// The tenant, as configured.
    pub tenant_id: &'a str,
    /// The app.
    pub client_id: &'a str,
    /// The user, if the access token names one.
    pub user_oid: Option<&'a str>,
    /// The version it was redeemed from; `None` for a sign-in.
    pub redeemed_from: Option<&'a VersionId>,
    /// Its verdict, if there is one already.
    pub verdict: Option<(&'static str, Timestamp)>,
    /// Tags of the versions before it: those that are not Perennial's are carried over.
    pub foreign: Tags,
    /// Connects the records of the rotation.
    pub rotation_id: Uuid,
}

impl NewVersion {
    /// Makes a version from a token and the facts about it. Returns also the foreign tags that did not fit, in
    /// displayable form.
    pub fn compose(value: RefreshToken, lifetime: Duration, from: &Provenance<'_>) -> (Self, Vec<String>) {
        let mut tags: Vec<(&str, String)> = Vec::with_capacity(MAX_TAGS);
        let mut put = |name, value| tags.push((name, value));
        put(tag::MANAGED_BY, format!("perennial/{} {}", env!("CARGO_PKG_VERSION"), from.command));
        put(tag::ISSUED_AT, rfc3339(from.issued_at));
        put(tag::SIGNED_IN_AT, rfc3339(from.signed_in_at));
        put(tag::TENANT_ID, from.tenant_id.to_owned());
        put(tag::CLIENT_ID, from.client_id.to_owned());
        put(tag::ROTATION_ID, from.rotation_id.to_string());
        put(tag::PROVED_AT, rfc3339(from.issued_at));
        if let Some(oid) = from.user_oid {
            put(tag::USER_OID, oid.to_owned());
        }
        if let Some(version) = from.redeemed_from {
            put(tag::REDEEMED_FROM, version.to_string());
        }
        if let Some((word, at)) = from.verdict {
            put(tag::VERDICT, verdict(word, at));
        }
        let dropped = carry_over(&from.foreign, &mut tags);
        // A rotation does not end an incident.
        if let Some(told) = from.foreign.get(tag::TOLD).filter(|_| tags.len() < MAX_TAGS) {
            tags.push((tag::TOLD, told.to_owned()));
        }
        (Self { value, expires: from.issued_at + lifetime, tags: tags.into_iter().collect() }, dropped)
    }
}

/// The number of the 15 tags that Perennial reserves for records that it may add later. A rejection replaces the
/// verdict, so they never exist together. No tag is reserved for a rejection's code: if it does not fit, the rejection
/// is not recorded as final, and no foreign tag is dropped to make room. Nor have the marks of delivered alerts: without them a restart sends the
/// alerts again. Nor has the mark of a redemption, which may replace another tag (`rotation::strict`).
const RESERVED: usize = tag::OURS.len() - 4;

fn carry_over<'a>(foreign: &'a Tags, tags: &mut Vec<(&'a str, String)>) -> Vec<String> {
    let mut dropped = Vec::new();
    let mut room = MAX_TAGS - RESERVED;
    for (name, value) in foreign.iter().filter(|(name, _)| !tag::OURS.contains(name)) {
        if room == 0 {
            dropped.push(text::shown(name));
        } else {
            tags.push((name, value.to_owned()));
            room -= 1;
        }
    }
    dropped
}

/// A verdict as the text of its tag.
pub fn verdict(word: &str, at: Timestamp) -> String {
    format!("{word} {}", rfc3339(at))
}

fn parsed(text: &str) -> Option<Timestamp> {
    meant(chrono::DateTime::parse_from_rfc3339(text).ok()?.to_utc())
}

#[cfg(test)]
mod tests;
