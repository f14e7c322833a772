//! The report about an app's renewal, for the status page, `/status`, alerts and `perennial credential`.
//!
//! This module is pure. A report contains no secret.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ports::directory::ListedSecret;
use crate::process::clock::Timestamp;
use crate::renewal::look::{CredentialLook, HeldEnd};
use crate::renewal::schedule::Target;
use crate::renewal::state::{RenewalAttempt, RenewalState, RenewalTrouble};

/// A failure that may be temporary is reported if it lasts longer than this.
const TOLD_AFTER: TimeDelta = TimeDelta::hours(24);

/// The current stage of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenewalStage {
    /// The vault and the app registration have not been read yet.
    Starting,
    /// No renewal is due.
    Waiting,
    /// A renewal is due, but its new secret is not created yet.
    Due,
    /// A new secret is tried until every server of Entra accepts it.
    Trying,
    /// A new secret is being saved in the vault.
    Saving,
    /// A secret is being removed at Entra.
    Removing,
}

/// What is known about an app's renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalReport {
    pub stage: RenewalStage,
    /// Entra's id of the secret in use, if known.
    pub key_id: Option<Uuid>,
    /// When the secret in use expires, if known.
    pub ends: Option<Timestamp>,
    /// When the next renewal begins, if known.
    pub renews_at: Option<Timestamp>,
    /// The failure to report, if any.
    pub trouble: Option<RenewalTrouble>,
    /// Secrets of unknown origin on the app.
    pub strangers: Vec<ListedSecret>,
}

impl RenewalReport {
    /// Creates the report about a state at `now`.
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
            trouble: state.troubles.values().find(|trouble| is_told(trouble, now)).cloned(),
            strangers: strangers.unwrap_or_default(),
        }
    }
}

fn stage(state: &RenewalState, look: Option<&CredentialLook>, target: &Target) -> RenewalStage {
    match (&state.attempt, look) {
        (Some(RenewalAttempt::New(new)), _) if new.is_settled() => RenewalStage::Saving,
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

/// How Perennial classifies one client secret on the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The newest version in the vault contains the secret.
    Held,
    /// The newest version may contain the secret. The version carries no secret id, and several secrets fit.
    MayBeHeld,
    /// An older version contains the secret. Perennial removes the secret after the grace period.
    Superseded,
    /// Perennial created the secret, but no version contains it. Either an instance is trying the secret now, or
    /// Perennial removes the secret a day after its creation.
    NotSaved,
    /// The secret appeared on the app, and its origin is unknown.
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

    /// Returns the word for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Held => "in use",
            Self::MayBeHeld => "may be in use",
            Self::Superseded => "replaced",
            Self::NotSaved => "not saved",
            Self::Unknown => "unknown",
            Self::Other => "not Perennial's",
        }
    }
}
