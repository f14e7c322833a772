//! The report about an app's renewal, for the status page, `/status`, alerts and `perennial credential`.
//!
//! This module is pure. A report contains no secret.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ports::certificate_store::ListedCertificate;
use crate::ports::directory::{ListedKey, ListedSecret};
use crate::process::clock::Timestamp;
use crate::renewal::certificate::look::CertificateLook;
use crate::renewal::certificate::state::CertificateState;
use crate::renewal::health::RenewalTrouble;
use crate::renewal::look::{CredentialLook, HeldEnd};
use crate::renewal::schedule::Target;
use crate::renewal::state::{RenewalAttempt, RenewalState};
use crate::renewal::times::REPORTED_AFTER;
use crate::token::version::VersionId;

/// Perennial reports a failure that may be temporary only after the failure has lasted this long.
const TOLD_AFTER: TimeDelta = TimeDelta::hours(24);

/// The current stage of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenewalStage {
    /// The vault and the app registration have not been read yet.
    Starting,
    /// No renewal is due.
    Waiting,
    /// A renewal is due, but no new secret exists yet.
    Due,
    /// A new secret is tried until Entra accepts it reliably.
    Trying,
    /// A new secret is being saved in the vault.
    Saving,
    /// A secret is being removed at Entra.
    Removing,
}

/// What is known about the renewal of an app's client secret or certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalReport {
    pub stage: RenewalStage,
    /// Entra's id of the secret or certificate in use, if known.
    pub key_id: Option<Uuid>,
    /// When the secret or certificate in use expires, if known.
    pub ends: Option<Timestamp>,
    /// When the next renewal begins, if known.
    pub renews_at: Option<Timestamp>,
    /// The failure that is reported, if any.
    pub trouble: Option<RenewalTrouble>,
    /// The app's secrets or certificates of unknown origin.
    pub strangers: Vec<ListedSecret>,
    /// The newest version of the certificate, if Entra takes unusually long to accept it.
    pub unaccepted: Option<UnacceptedVersion>,
}

/// A new version of a certificate that Entra does not accept yet. Until Entra accepts the new version, programs that
/// use it cannot authenticate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnacceptedVersion {
    pub newest: VersionId,
    /// The version that the tokens use.
    pub used: VersionId,
    /// The creation time of the newest version plus `REPORTED_AFTER`.
    pub since: Timestamp,
}

impl RenewalReport {
    /// Creates the report about a client secret's renewal at `now`.
    pub fn of(state: &RenewalState, target: &Target, now: Timestamp) -> Self {
        let look = state.look.as_ref();
        let ends = look.and_then(|look| match look.held_end() {
            HeldEnd::At(end) => end,
            HeldEnd::NotListed => None,
        });
        let none = BTreeSet::new();
        let first_seen = state.first_seen.as_ref().unwrap_or(&none);
        let strangers =
            look.map(|look| look.strangers(&target.at, &target.policy, first_seen).cloned().collect());
        Self {
            stage: stage(state, look, target),
            key_id: look.and_then(CredentialLook::likely_held).map(|one| one.key_id),
            ends,
            renews_at: ends.map(|end| end - target.policy.before),
            trouble: state.health.troubles.values().find(|trouble| is_told(trouble, now)).cloned(),
            strangers: strangers.unwrap_or_default(),
            unaccepted: None,
        }
    }

    /// Creates the report about a certificate's renewal at `now`.
    pub fn of_certificate(state: &CertificateState, target: &Target, now: Timestamp) -> Self {
        let look = state.look.as_ref();
        let in_use = look.map(CertificateLook::in_use);
        let ends = in_use.and_then(|one| one.version.expires);
        let none = BTreeSet::new();
        let first_seen = state.first_seen.as_ref().unwrap_or(&none);
        let strangers = look.map(|look| look.strangers(&target.policy, first_seen).map(stranger).collect());
        Self {
            stage: stage_of_certificate(state, target, look),
            key_id: look.zip(in_use).and_then(|(look, one)| look.key_of(one)),
            ends,
            renews_at: ends.map(|end| end - target.policy.before),
            trouble: state.health.troubles.values().find(|trouble| is_told(trouble, now)).cloned(),
            strangers: strangers.unwrap_or_default(),
            unaccepted: look.and_then(|look| unaccepted(look, now)),
        }
    }
}

fn unaccepted(look: &CertificateLook, now: Timestamp) -> Option<UnacceptedVersion> {
    let (newest, used) = (&look.newest.version, &look.in_use().version);
    let since = newest.created + REPORTED_AFTER;
    (newest.id != used.id && since <= now).then(|| UnacceptedVersion {
        newest: newest.id.clone(),
        used: used.id.clone(),
        since,
    })
}

/// Converts a listed certificate of unknown origin to a `ListedSecret`. A certificate has no hint, so `hint` is `None`.
fn stranger(key: &ListedKey) -> ListedSecret {
    let ListedKey { key_id, name, starts, ends, .. } = key.clone();
    ListedSecret { key_id, name, hint: None, starts, ends }
}

fn stage_of_certificate(
    state: &CertificateState,
    target: &Target,
    look: Option<&CertificateLook>,
) -> RenewalStage {
    let Some(look) = look else { return RenewalStage::Starting };
    let newest = &look.newest.version;
    match newest.accepted_at() {
        None if state.trial_of(&newest.id).is_some_and(|trial| trial.probes.is_settled()) => {
            RenewalStage::Saving
        }
        None => RenewalStage::Trying,
        Some(_) if look.is_due(&target.policy, look.at) => RenewalStage::Due,
        Some(_) if look.removable(&target.at).is_some() => RenewalStage::Removing,
        Some(_) => RenewalStage::Waiting,
    }
}

fn stage(state: &RenewalState, look: Option<&CredentialLook>, target: &Target) -> RenewalStage {
    match (&state.attempt, look) {
        (Some(RenewalAttempt::New(new)), _) if new.trial.is_settled() => RenewalStage::Saving,
        (Some(RenewalAttempt::New(_) | RenewalAttempt::Lost { .. }), _) => RenewalStage::Trying,
        (Some(RenewalAttempt::Unwanted { .. }), _) => RenewalStage::Removing,
        (None, None) => RenewalStage::Starting,
        (None, Some(look)) if target.is_due(look, look.at) => RenewalStage::Due,
        (None, Some(_)) => RenewalStage::Waiting,
    }
}

/// Whether a failure is to be reported at `now`.
fn is_told(trouble: &RenewalTrouble, now: Timestamp) -> bool {
    trouble.is_told_at_once || trouble.since + TOLD_AFTER <= now
}

/// How Perennial classifies one client secret or certificate of the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The secret or certificate is in use.
    Held,
    /// The newest version may contain the secret. Neither the version's tags nor the secret's hint show which secret
    /// the version contains.
    MayBeHeld,
    /// An older version contains the secret. Perennial removes the secret at Entra after the grace period (`GRACE`).
    Superseded,
    /// Perennial created the secret, but no version contains it. An instance may still be testing the secret. If no
    /// version contains the secret a day after its creation, Perennial removes the secret.
    NotSaved,
    /// The newest version of the certificate. Perennial tests this version until Entra accepts it reliably.
    Trying,
    /// The secret or certificate is new on the app, and its origin is unknown.
    Unknown,
    /// The secret belongs to other programs or people. Perennial does not change it.
    Other,
}

impl Standing {
    /// Classifies a listed secret. `strangers` are the ids of secrets of unknown origin (`CredentialLook::strangers`).
    pub fn of(
        one: &ListedSecret,
        look: &CredentialLook,
        target: &Target,
        strangers: &BTreeSet<Uuid>,
    ) -> Self {
        match look.likely_held() {
            Some(held) if held.key_id == one.key_id => Self::Held,
            None if look.may_be_held.contains(&one.key_id) => Self::MayBeHeld,
            _ if look.carries(one.key_id) => Self::Superseded,
            _ if CredentialLook::is_ours(one, &target.at) => Self::NotSaved,
            _ if strangers.contains(&one.key_id) => Self::Unknown,
            _ => Self::Other,
        }
    }

    /// Classifies a listed certificate. `strangers` are the ids of certificates of unknown origin
    /// (`CertificateLook::strangers`).
    pub fn of_key(one: &ListedKey, look: &CertificateLook, strangers: &BTreeSet<Uuid>) -> Self {
        let is = |known: &ListedCertificate| one.thumbprint == Some(known.thumbprint);
        if is(look.in_use()) {
            Self::Held
        } else if is(&look.newest) {
            Self::Trying
        } else if look.older.iter().any(is) {
            Self::Superseded
        } else if strangers.contains(&one.key_id) {
            Self::Unknown
        } else {
            Self::Other
        }
    }

    /// Returns the classification in words for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Held => "in use",
            Self::MayBeHeld => "may be in use",
            Self::Superseded => "replaced",
            Self::NotSaved => "not saved",
            Self::Trying => "being tried",
            Self::Unknown => "unknown",
            Self::Other => "not Perennial's",
        }
    }
}

#[cfg(test)]
mod tests;
