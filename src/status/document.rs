//! The published status document. The endpoints `/status` and `/health`, the status page and the command `status` use
//! this document.
//!
//! This module is pure: it builds documents from snapshots. A document contains no secrets. The field names are a
//! public contract.

use std::borrow::Cow;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::ports::failure::Kind;
use crate::process::clock::{Timestamp, rfc3339};
use crate::process::text;
use crate::renewal::report::{RenewalReport, RenewalStage};
use crate::status::condition::{Condition, Severity, conditions, kinds_by_token};
use crate::status::snapshot::{Snapshot, TokenState};
use crate::token::version::VersionId;

/// The version of the document's format. An incompatible change increases the version.
const SCHEMA: u32 = 2;

/// The origin of a status document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusSource {
    /// The document comes from a running daemon.
    Daemon,
    /// The document is built only from the vault. Values that only a running daemon knows are null.
    Vault,
}

/// The status of all tokens at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    schema: u32,
    /// True unless a condition is critical.
    pub healthy: bool,
    /// The version of the program.
    pub version: Cow<'static, str>,
    /// The time at which the document was built.
    #[serde(serialize_with = "time")]
    pub now: Timestamp,
    /// The origin of the document.
    pub source: StatusSource,
    /// The tokens, in the order of the configuration.
    pub tokens: Vec<TokenStatus>,
    /// The current conditions, the most severe first.
    pub conditions: Vec<Condition>,
}

/// The status of one token at one moment. Unknown values are null.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenStatus {
    /// The token's name in the configuration.
    pub name: String,
    /// The vault secret in which the token is stored.
    pub stored_in: String,
    /// The token's state.
    pub state: TokenState,
    /// The newest version of the vault secret.
    pub version: Option<VersionId>,
    /// When the issuer returned the token.
    #[serde(serialize_with = "maybe_time")]
    pub issued_at: Option<Timestamp>,
    /// When the user signed in.
    #[serde(serialize_with = "maybe_time")]
    pub signed_in_at: Option<Timestamp>,
    /// When the token expires.
    #[serde(serialize_with = "maybe_time")]
    pub expires_at: Option<Timestamp>,
    /// When the issuer last redeemed the token.
    #[serde(serialize_with = "maybe_time")]
    pub proved_at: Option<Timestamp>,
    /// Seconds until the token or the app's secret expires, whichever is first. The value is zero while no usable
    /// access token can be obtained.
    pub runway_seconds: Option<i64>,
    /// When this process last saved a new refresh token.
    #[serde(serialize_with = "maybe_time")]
    pub last_rotation_at: Option<Timestamp>,
    /// When the token is due for rotation.
    #[serde(serialize_with = "maybe_time")]
    pub rotate_at: Option<Timestamp>,
    /// When the token's next step is due.
    #[serde(serialize_with = "maybe_time")]
    pub next_step_at: Option<Timestamp>,
    /// Whether the next step is due but must wait for its turn, because other tokens use up the shared limits
    /// (`rotation::pace`). A waiting step is not overdue.
    pub waits_for_turn: bool,
    /// Whether Partner Center accepts the token's access tokens. Null if unknown, or if the last acceptance is too old.
    pub partner_center_accepts: Option<bool>,
    /// The renewal of the app's credential. Null if Perennial does not renew the app's credential, or if the document
    /// does not come from a daemon.
    #[serde(default)]
    pub renewal: Option<RenewalStatus>,
    /// The kinds of the token's conditions.
    pub conditions: Vec<Kind>,
}

/// The renewal of an app's credential at one moment. Unknown values are null.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenewalStatus {
    /// What the renewal is doing.
    pub stage: RenewalStage,
    /// Entra's id of the credential in use.
    pub key_id: Option<Uuid>,
    /// When the credential in use expires.
    #[serde(serialize_with = "maybe_time")]
    pub ends_at: Option<Timestamp>,
    /// When the next renewal begins.
    #[serde(serialize_with = "maybe_time")]
    pub renews_at: Option<Timestamp>,
}

impl RenewalStatus {
    fn of(report: &RenewalReport) -> Self {
        let RenewalReport { stage, key_id, ends, renews_at, .. } = *report;
        Self { stage, key_id, ends_at: ends, renews_at }
    }
}

impl Status {
    /// Builds the status from snapshots and derives the conditions from them.
    pub fn of(snapshots: &[Snapshot], clock_skew: TimeDelta, now: Timestamp, source: StatusSource) -> Self {
        Self::with(snapshots, conditions(snapshots, clock_skew, now), now, source)
    }

    /// Builds the status from snapshots and the given conditions.
    pub fn with(
        snapshots: &[Snapshot],
        conditions: Vec<Condition>,
        now: Timestamp,
        source: StatusSource,
    ) -> Self {
        let kinds = kinds_by_token(&conditions);
        let tokens = snapshots.iter().map(|snapshot| {
            let kinds = kinds.get(snapshot.grant.name.as_str()).cloned();
            token(snapshot, kinds.unwrap_or_default(), now)
        });
        Self {
            schema: SCHEMA,
            healthy: !conditions.iter().any(|condition| condition.severity == Severity::Critical),
            version: env!("CARGO_PKG_VERSION").into(),
            now,
            source,
            tokens: tokens.collect(),
            conditions,
        }
    }

    /// Parses a document that a daemon served. Returns `None` for a document that is built from the vault, for another
    /// format version, and for content that is not a status document. Makes the document's texts safe for a terminal.
    pub fn parse(served: &[u8]) -> Option<Self> {
        let mut value: Value = serde_json::from_slice(served).ok()?;
        defuse(&mut value);
        let status: Self = serde_json::from_value(value).ok()?;
        (status.schema == SCHEMA && status.source == StatusSource::Daemon).then_some(status)
    }

    /// The conditions that affect one token. For `None`, returns all conditions.
    pub fn touching(&self, token: Option<&str>) -> impl Iterator<Item = &Condition> {
        self.conditions.iter().filter(move |condition| {
            token.is_none_or(|name| condition.tokens.iter().any(|affected| affected == name))
        })
    }

    /// The highest severity of the conditions of one token. For `None`, considers all conditions.
    pub fn gravest(&self, token: Option<&str>) -> Option<Severity> {
        self.touching(token).map(|condition| condition.severity).max()
    }
}

fn token(of: &Snapshot, conditions: Vec<Kind>, now: Timestamp) -> TokenStatus {
    TokenStatus {
        name: of.grant.name.to_string(),
        stored_in: of.grant.secret.to_string(),
        state: of.standing(now),
        version: of.version.clone(),
        issued_at: of.issued_at,
        signed_in_at: of.signed_in_at,
        expires_at: of.expires_at,
        proved_at: of.proved_at,
        runway_seconds: of.runway(now).map(|runway| runway.num_seconds()),
        last_rotation_at: of.last_rotation_at,
        rotate_at: of.rotate_at,
        next_step_at: of.next_step_at,
        waits_for_turn: of.in_line,
        partner_center_accepts: of.accepted(),
        renewal: of.renewal.as_deref().map(RenewalStatus::of),
        conditions,
    }
}

fn defuse(value: &mut Value) {
    match value {
        Value::String(foreign) => *foreign = text::defused(foreign),
        Value::Array(values) => values.iter_mut().for_each(defuse),
        Value::Object(fields) => fields.values_mut().for_each(defuse),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn time<S: serde::Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&rfc3339(*at))
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn maybe_time<S: serde::Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => time(at, to),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests;
