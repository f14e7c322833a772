//! Conditions about two credentials: the app's credential, and the credential of the identity for Key Vault. This
//! module is pure.

use std::sync::Arc;

use chrono::TimeDelta;

use super::{Cause, Symptom};
use crate::ports::failure::{Kind, Remedy, Trace};
use crate::process::clock::{Timestamp, rfc3339};
use crate::process::text;
use crate::rotation::state::OlderCredential;
use crate::status::snapshot::Snapshot;
use crate::token::app::ManagedApp;
use crate::token::version::VersionId;

/// Perennial warns this long before a credential expires, so that there is time for a maintenance window.
const EXPIRY_WARNING: TimeDelta = TimeDelta::days(30);

/// The largest number of secrets or certificates of unknown origin that a message names.
const NAMED: usize = 3;

/// The time that a new credential may take to reach all of Entra's servers.
const SETTLES: TimeDelta = TimeDelta::minutes(15);

/// Returns the conditions of the app's credential, each with its start and its summary.
pub(super) fn reported(of: &Snapshot, now: Timestamp) -> Vec<(Kind, Timestamp, String)> {
    let credential = &of.grant.app.credential;
    let noun = credential.noun();
    let mut found = Vec::new();
    match of.app_secret_expires {
        // If Perennial renews the credential, only a failed renewal is reported (`renewal`), not the expiry.
        _ if of.grant.app.renew.is_some() => {}
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
        let summary = unaccepted(&older.newest, &older.used, &of.grant.app, older.expires);
        (Kind::AppCertificateUnregistered, older.created + SETTLES, summary)
    }));
    found
}

/// Says which version of a credential Entra does not accept, and which version is in use.
fn unaccepted(newest: &VersionId, used: &VersionId, app: &ManagedApp, ends: Option<Timestamp>) -> String {
    let until = ends.map_or_else(String::new, |at| format!(" and expires at {}", rfc3339(at)));
    let noun = app.credential.noun();
    format!("Entra rejects version {newest} of the app's {noun}; version {used} is in use{until}")
}

/// Returns the conditions of the renewal of the app's credential.
pub(super) fn renewal(of: &Snapshot) -> Vec<Symptom> {
    let Some(report) = of.renewal.as_deref() else { return Vec::new() };
    let symptom = |kind, remedy, since, summary| Symptom::own(kind, remedy, since, of, summary);
    let failed = report.trouble.as_ref().map(|trouble| {
        let failure = &trouble.failure;
        let noun = of.grant.app.credential.noun();
        let until = |at| format!("; the {noun} in use expires at {}", rfc3339(at));
        let until = report.ends.map_or_else(String::new, until);
        let (kind, summary) = (Kind::AppCredentialRenewalFailed, format!("{}{until}", failure.summary));
        let action = failure.action.as_deref().map(Arc::from);
        Symptom {
            action,
            trace: failure.trace.clone(),
            ..symptom(kind, failure.remedy, trouble.since, summary)
        }
    });
    let unknown = report.strangers.iter().filter_map(|one| one.starts).min().map(|since| {
        let noun = if of.grant.app.credential.is_certificate() { "certificate" } else { "client secret" };
        let names = report.strangers.iter().take(NAMED).map(|one| {
            let name =
                one.name.as_deref().map_or_else(String::new, |name| format!(" ({})", text::shown(name)));
            format!("{}{name}", one.key_id)
        });
        let names = names.collect::<Vec<_>>().join(", ");
        let more = match report.strangers.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let summary = format!("the app has a {noun} that Perennial did not create: {names}{more}");
        symptom(Kind::AppCredentialUnknown, Remedy::Operator, since, summary)
    });
    let unaccepted = report.unaccepted.as_ref().map(|found| {
        let summary = unaccepted(&found.newest, &found.used, &of.grant.app, report.ends);
        symptom(Kind::AppCertificateUnregistered, Remedy::Operator, found.since, summary)
    });
    failed.into_iter().chain(unknown).chain(unaccepted).collect()
}

/// Returns a symptom if the credential of Perennial's identity for Key Vault expires soon. All tokens share one
/// incident.
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
