//! Conditions about two credentials: the app's credential, and the credential of the identity for Key Vault. Pure.

use std::sync::Arc;

use chrono::TimeDelta;

use super::{Cause, Symptom};
use crate::ports::failure::{Kind, Remedy, Trace};
use crate::process::clock::{Timestamp, rfc3339};
use crate::rotation::state::OlderCredential;
use crate::status::snapshot::Snapshot;

/// The warning comes this long before a credential expires, which leaves time for a maintenance window.
const EXPIRY_WARNING: TimeDelta = TimeDelta::days(30);

/// The time that a new credential may take to reach all of Entra's servers.
const SETTLES: TimeDelta = TimeDelta::minutes(15);

/// Returns the conditions of the app's credential, each with its start and its summary.
pub(super) fn reported(of: &Snapshot, now: Timestamp) -> Vec<(Kind, Timestamp, String)> {
    let credential = &of.grant.app.credential;
    let noun = credential.noun();
    let mut found = Vec::new();
    match of.app_secret_expires {
        Some(at) if at - EXPIRY_WARNING <= now => {
            let summary = format!("the app's {noun} expires at {}", rfc3339(at));
            found.push((Kind::AppSecretExpiring, at - EXPIRY_WARNING, summary));
        }
        None if credential.has_unknown_end() => found.extend(of.credential_read_at.map(|at| {
            let summary =
                "neither the vault nor the configuration says when the app's secret expires".to_owned();
            (Kind::AppSecretExpiryUnknown, at, summary)
        })),
        _ => {}
    }
    let settled = |older: &&OlderCredential| older.created + SETTLES <= older.tried_at;
    found.extend(of.older_credential.as_deref().filter(settled).map(|older| {
        let until = older.expires.map_or_else(String::new, |at| format!(" until {}", rfc3339(at)));
        let summary = format!(
            "Entra rejects version {} of the app's {noun}; version {} is in use{until}",
            older.newest, older.used
        );
        (Kind::AppCertificateUnregistered, older.created + SETTLES, summary)
    }));
    found
}

/// Returns the condition of an identity for Key Vault whose credential expires soon. All tokens share one incident.
pub(super) fn identity_expiring(of: &Snapshot, now: Timestamp) -> Option<Symptom> {
    let expiry = of.identity_expiry.as_ref().filter(|expiry| expiry.at - EXPIRY_WARNING <= now)?;
    Some(Symptom {
        kind: Kind::AppSecretExpiring,
        cause: Cause::identity(of),
        remedy: Remedy::Operator,
        since: expiry.at - EXPIRY_WARNING,
        summary: format!("the credential of [vault] expires at {}", rfc3339(expiry.at)),
        action: Some(Arc::clone(&expiry.action)),
        trace: Trace::default(),
    })
}

#[cfg(test)]
mod tests;
