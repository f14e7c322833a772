//! Versions of a vault secret and the metadata that Perennial stores with them (promise 7, docs/promises.md).
//!
//! This module owns the tag names and the rules for reading tags. Tags are hints. A tag can make Perennial act earlier,
//! wait or check more closely. A tag never permits a write. Only the configuration permits writes.
//!
//! Invariant: tags contain no secrets.

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

/// The content type of versions that contain a refresh token.
pub const CONTENT_TYPE: &str = "application/vnd.oauth.refresh-token";

/// Key Vault's limit on tags per version (docs/azure-facts.md F207).
pub const MAX_TAGS: usize = 15;

/// Key Vault's older documentation limits a tag's value to 256 characters, and its newer documentation to 512
/// (docs/azure-facts.md F207). This constant is below both limits.
pub const MAX_TAG_CHARS: usize = 255;

/// A proof in a version's tags counts only if the proof is at most this much older than the version. A tool may have
/// copied an older proof from the previous version's tags. The next proof replaces the copy.
const WRITTEN_WITHIN: TimeDelta = TimeDelta::minutes(5);

/// The names of Perennial's tags in Key Vault.
pub mod tag {
    /// The program's name and release number, and the command that wrote this version.
    pub const MANAGED_BY: &str = "managed-by";
    /// When the issuer returned the token.
    pub const ISSUED_AT: &str = "issued-at";
    /// When the user signed in. Each rotation copies this time to the new version.
    pub const SIGNED_IN_AT: &str = "signed-in-at";
    /// The token's tenant.
    pub const TENANT_ID: &str = "tenant-id";
    /// The token's app.
    pub const CLIENT_ID: &str = "client-id";
    /// The object id of the token's user.
    pub const USER_OID: &str = "user-oid";
    /// The older version whose token was redeemed to get this token.
    pub const REDEEMED_FROM: &str = "redeemed-from";
    /// The id that connects all records of one rotation.
    pub const ROTATION_ID: &str = "rotation-id";
    /// When the token was last redeemed. If nothing else changes, Perennial writes this tag at most once a day.
    pub const PROVED_AT: &str = "proved-at";
    /// When the issuer first rejected the token.
    pub const REFUSED_AT: &str = "refused-at";
    /// The kind of the issuer's rejection.
    pub const REFUSED_KIND: &str = "refused-kind";
    /// The last verdict on the token: `usable` with the time of the verdict, or the kind of a condition with the start
    /// of the condition (`Version::verdict`). Rejections by the issuer have their own tags.
    pub const VERDICT: &str = "verdict";
    /// The code of a final rejection. A rejection without this tag is not final.
    pub const REFUSED_CODE: &str = "refused-code";
    /// A mark for each active alert that was delivered (`rotation::told`).
    pub const TOLD: &str = "told";

    /// Shows that a redemption of a `strict` token is in progress. The tag contains the start, the id and the command
    /// of the redemption, and the time of the tag's last renewal.
    pub const REDEEMING: &str = "redeeming";

    /// Entra's id of the client secret that this version contains. Only versions with a client secret that Perennial
    /// created have this tag.
    pub const KEY_ID: &str = "key-id";
    /// Entra's id of the older client secret that this version's client secret replaces.
    pub const REPLACES: &str = "replaces";

    /// When Perennial concluded that Entra accepts this version of a certificate. During the 15 minutes before this
    /// time, Entra accepted each test request.
    pub const ACCEPTED_AT: &str = "accepted-at";

    /// All tags that Perennial writes on a renewed client secret.
    pub const OF_CLIENT_SECRETS: [&str; 4] = [MANAGED_BY, ISSUED_AT, KEY_ID, REPLACES];

    /// All tags that Perennial writes on a refresh token. All other tags are foreign. Perennial copies foreign tags to
    /// the next version while there is room.
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

/// The verdict for a working token: the issuer redeemed the token, and the resource accepted the access token.
pub const USABLE: &str = "usable";

/// The id of a version: 32 hex digits, chosen by the vault. Clones share the text, because many parts of the program
/// keep the id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VersionId(pub Arc<str>);

impl std::fmt::Display for VersionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A version without its secret value, as in a list of versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub id: VersionId,
    /// When the vault stored this version, in whole seconds. Two versions can have the same time.
    pub created: Timestamp,
    /// Whether this version is enabled. A disabled version cannot be read (docs/azure-facts.md F212).
    pub enabled: bool,
    /// The expiry time in the version's attributes. The vault returns an expired version, too.
    pub expires: Option<Timestamp>,
    pub tags: Tags,
}

impl Version {
    /// Whether a Perennial command wrote this version.
    pub fn is_ours(&self) -> bool {
        self.tags.get(tag::MANAGED_BY).is_some_and(|by| by.starts_with("perennial"))
    }

    /// The older version whose token was redeemed to get this version's token. `None` for a sign-in.
    pub fn redeemed_from(&self) -> Option<VersionId> {
        let from = self.tags.get(tag::REDEEMED_FROM).filter(|_| self.is_ours())?;
        Some(VersionId(from.into()))
    }

    /// Returns when Perennial found that Entra accepts this certificate version (tag `accepted-at`). Key Vault may copy
    /// the tags of the previous version. So a time before the creation of this version does not count.
    pub fn accepted_at(&self) -> Option<Timestamp> {
        self.tags.get(tag::ACCEPTED_AT).and_then(parsed).filter(|at| *at >= self.created)
    }

    /// Whether this certificate version can be used at `now` and has the tag `accepted-at`.
    pub fn is_accepted(&self, now: Timestamp) -> bool {
        self.enabled && self.expires.is_none_or(|end| end > now) && self.accepted_at().is_some()
    }

    /// Whether this version's tags record a rejection by the issuer. The rejection can be temporary or final
    /// (`schedule::is_known_dead`).
    pub fn is_refused(&self) -> bool {
        self.tags.contains(tag::REFUSED_AT)
    }

    /// The recorded verdict and its time. The verdict is `usable` or a kind of condition.
    pub fn verdict(&self) -> Option<(&str, Timestamp)> {
        let (word, at) = self.tags.get(tag::VERDICT)?.split_once(' ')?;
        Some((word, parsed(at)?))
    }

    /// When this version's token was last redeemed, according to its tags.
    pub fn proved_at(&self) -> Option<Timestamp> {
        self.time(tag::PROVED_AT).filter(|at| self.is_noted_on_it(*at))
    }

    /// Whether a proof at the time `at` can be about this version. If the proof is much older than this version, a tool
    /// may have copied the proof from the previous version's tags.
    pub fn is_noted_on_it(&self, at: Timestamp) -> bool {
        at + WRITTEN_WITHIN >= self.created
    }

    /// Whether the tags record a redemption of this version's token. In the tags of a new version, `proved-at` has the
    /// same time as `issued-at`. This first record is not about a redemption of the new token, and does not count.
    pub fn is_proved_since(&self) -> bool {
        let noted = self.proved_at();
        noted.is_some_and(|at| Some(at) != self.time(tag::ISSUED_AT))
    }

    /// Reads a tag as a time. `None` if the tag is missing, invalid or unrealistic.
    pub fn time(&self, tag: &str) -> Option<Timestamp> {
        parsed(self.tags.get(tag)?)
    }

    /// When the token was issued: the time in the tag `issued-at` or the creation of this version, whichever is
    /// earlier. So a tag can make a rotation earlier but not later.
    pub fn issued_at(&self) -> Timestamp {
        self.time(tag::ISSUED_AT).map_or(self.created, |at| at.min(self.created))
    }

    /// When the user signed in: the time in the tag `signed-in-at` or the creation of this version, whichever is
    /// earlier.
    pub fn signed_in_at(&self) -> Timestamp {
        self.time(tag::SIGNED_IN_AT).map_or(self.created, |at| at.min(self.created))
    }
}

/// A version with its secret value.
#[derive(Clone, Debug)]
pub struct Stored {
    pub version: Version,
    /// The secret value without surrounding white space. The `Debug` output of `SecretString` does not contain the
    /// value.
    pub value: SecretString,
    /// The vault's time, from the `Date` header of the response (docs/azure-facts.md F218).
    pub read_at: Option<Timestamp>,
}

impl Stored {
    pub fn refresh_token(&self) -> RefreshToken {
        RefreshToken::new(self.value.expose_secret())
    }

    pub fn has_value(&self, value: &SecretString) -> bool {
        self.value.expose_secret() == value.expose_secret()
    }
}

/// A version to write to the vault.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// The value: a refresh token or an app's client secret.
    pub value: SecretString,
    /// The content type, which tells people what the value is. `None` for a client secret, because the other programs
    /// that read the client secret do not expect a content type.
    pub content_type: Option<&'static str>,
    /// When the value expires.
    pub expires: Timestamp,
    pub tags: Tags,
}

/// Facts about a token that Perennial is about to write.
#[derive(Clone, Debug)]
pub struct Provenance<'a> {
    /// The command that writes the token: `run`, `rotate`, `login` or `check`.
    pub command: &'static str,
    /// When the issuer returned the token.
    pub issued_at: Timestamp,
    /// When the user signed in.
    pub signed_in_at: Timestamp,
    /// The tenant as written in the configuration.
    pub tenant_id: &'a str,
    /// The app's client id.
    pub client_id: &'a str,
    /// The user's object id, if the response names the user.
    pub user_oid: Option<&'a str>,
    /// The version whose token was redeemed to get this token. `None` for a sign-in.
    pub redeemed_from: Option<&'a VersionId>,
    /// The word and the time of the token's verdict, if already known.
    pub verdict: Option<(&'static str, Timestamp)>,
    /// The previous version's tags. Only foreign tags and the tag `told` are copied to the new version.
    pub foreign: Tags,
    /// The id that connects all records of the rotation.
    pub rotation_id: Uuid,
}

impl NewVersion {
    /// Creates a version from a token and facts about it. Also returns the names of foreign tags that did not fit,
    /// escaped for display.
    pub fn compose(value: &RefreshToken, lifetime: Duration, from: &Provenance<'_>) -> (Self, Vec<String>) {
        let mut tags: Vec<(&str, String)> = Vec::with_capacity(MAX_TAGS);
        let mut put = |name, value| tags.push((name, value));
        put(tag::MANAGED_BY, managed_by(from.command));
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
        // A rotation does not end an alert, so the marks of delivered alerts are kept.
        if let Some(told) = from.foreign.get(tag::TOLD).filter(|_| tags.len() < MAX_TAGS) {
            tags.push((tag::TOLD, told.to_owned()));
        }
        let new = Self {
            value: SecretString::from(value.expose()),
            content_type: Some(CONTENT_TYPE),
            expires: from.issued_at + lifetime,
            tags: tags.into_iter().collect(),
        };
        (new, dropped)
    }

    /// Creates a version for an app's client secret that was created at Entra. Foreign tags of the previous version are
    /// copied while there is room.
    pub fn of_client_secret(value: SecretString, expires: Timestamp, from: &ClientSecretOrigin<'_>) -> Self {
        let mut tags = vec![
            (tag::MANAGED_BY, managed_by(from.command)),
            (tag::ISSUED_AT, rfc3339(from.issued_at)),
            (tag::KEY_ID, from.key_id.to_string()),
        ];
        tags.extend(from.replaces.map(|key_id| (tag::REPLACES, key_id.to_string())));
        let foreign = from.before.iter().filter(|(name, _)| !tag::OF_CLIENT_SECRETS.contains(name));
        tags.extend(foreign.map(|(name, value)| (name, value.to_owned())).take(MAX_TAGS - tags.len()));
        Self { value, content_type: None, expires, tags: tags.into_iter().collect() }
    }
}

/// Facts about a client secret that Perennial is about to write.
#[derive(Clone, Copy, Debug)]
pub struct ClientSecretOrigin<'a> {
    /// The command that writes the client secret.
    pub command: &'static str,
    /// When Entra created the client secret.
    pub issued_at: Timestamp,
    /// Entra's id of the client secret.
    pub key_id: Uuid,
    /// Entra's id of the older client secret that this client secret replaces, if known.
    pub replaces: Option<Uuid>,
    /// The tags of the previous version.
    pub before: &'a Tags,
}

/// How many of the 15 tags Perennial reserves for its own records.
///
/// Four of Perennial's tags have no reserved place:
///
/// - `verdict` uses a place that is reserved for a rejection. A recorded rejection replaces the verdict.
/// - Without room for `refused-code`, Perennial does not record a rejection as final.
/// - Without room for `told`, a restart sends the alerts again.
/// - `redeeming` may replace another tag (`rotation::strict`).
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

/// Returns the text of the tag `managed-by` for a command.
pub fn managed_by(command: &str) -> String {
    format!("perennial/{} {command}", env!("CARGO_PKG_VERSION"))
}

/// Formats a verdict as the text of its tag.
pub fn verdict(word: &str, at: Timestamp) -> String {
    format!("{word} {}", rfc3339(at))
}

fn parsed(text: &str) -> Option<Timestamp> {
    meant(chrono::DateTime::parse_from_rfc3339(text).ok()?.to_utc())
}

#[cfg(test)]
mod tests;
