//! Decides the next step of a certificate's renewal, and how a look changes the renewal's state.
//!
//! This module is pure, and reads no clock. It calculates with the uptime that the caller passes and with the time of
//! the last look (`CertificateLook::at`).

use chrono::TimeDelta;
use uuid::Uuid;

use crate::ports::failure::Remedy;
use crate::process::clock::Timestamp;
use crate::renewal::certificate::look::CertificateLook;
use crate::renewal::certificate::state::CertificateState;
use crate::renewal::health::{Part, failure};
use crate::renewal::schedule::Target;
use crate::renewal::times::{
    ATTEMPTS_A_DAY, CERTIFICATE_LOOK_EVERY, GIVE_UP_AFTER, LOOK_IS_FRESH, PROBE_EVERY, SETTLED_AFTER,
};

/// The next step of a certificate's renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateStep {
    /// Read the vault and the app registration.
    Look,
    /// Let the vault create a new version.
    Create,
    /// Register the newest version at Entra.
    Register,
    /// Try the newest version at Entra before this version gets the tag `accepted-at`.
    Probe,
    /// Add the tag `accepted-at` to the newest version.
    Mark,
    /// Try the newest version at Entra before the certificate of an older version is removed.
    TryNewest,
    /// Remove the certificate of an older version at Entra.
    Remove(Uuid),
    /// Wait until this uptime.
    Wait(TimeDelta),
}

/// Decides the next step at the uptime `up`.
pub fn next(target: &Target, state: &CertificateState, up: TimeDelta) -> CertificateStep {
    if let Some(backoff) = state.health.backoff.filter(|backoff| backoff.until > up) {
        return CertificateStep::Wait(backoff.until);
    }
    let is_usable = |look: &&CertificateLook| up - look.up < CERTIFICATE_LOOK_EVERY && !state.must_look;
    let Some(look) = state.look.as_ref().filter(is_usable) else { return CertificateStep::Look };
    let is_fresh = up - look.up <= LOOK_IS_FRESH;
    let when_fresh = |step| if is_fresh { step } else { CertificateStep::Look };
    let newest = &look.newest.version;
    // Entra's list may show a registration late. So Perennial trusts its own registration for `SETTLED_AFTER`.
    let was_registered = state
        .registered
        .as_ref()
        .is_some_and(|(version, at)| *version == newest.id && *at + SETTLED_AFTER > up);
    if !look.is_registered(&look.newest.thumbprint) && !was_registered {
        return when_fresh(CertificateStep::Register);
    }
    if newest.accepted_at().is_none() {
        return next_of_new(state, look, up, when_fresh);
    }
    if let Some(key_id) = look.removable(&target.at) {
        match look.newest_is_accepted {
            Some(false) => {}
            None => return when_fresh(CertificateStep::TryNewest),
            Some(true) => return when_fresh(CertificateStep::Remove(key_id)),
        }
    }
    let now = look.at + (up - look.up);
    if is_due(target, state, look, now) && !look.is_spent(state.created_today(up)) {
        // The vault may still be creating the version that this process requested. So no second version is requested
        // yet.
        return match state.created.last().filter(|at| **at + SETTLED_AFTER > up) {
            Some(_) if look.up + PROBE_EVERY > up => CertificateStep::Wait(look.up + PROBE_EVERY),
            Some(_) => CertificateStep::Look,
            None => when_fresh(CertificateStep::Create),
        };
    }
    CertificateStep::Wait(look.up + CERTIFICATE_LOOK_EVERY)
}

/// Decides the next step if the newest version is registered but does not have the tag `accepted-at` yet.
fn next_of_new(
    state: &CertificateState,
    look: &CertificateLook,
    up: TimeDelta,
    when_fresh: impl Fn(CertificateStep) -> CertificateStep,
) -> CertificateStep {
    let probes = state.trial_of(&look.newest.version.id).map(|trial| trial.probes).unwrap_or_default();
    if probes.is_settled() {
        return when_fresh(CertificateStep::Mark);
    }
    match probes.probed.map(|probed| probed + PROBE_EVERY) {
        Some(at) if at > up => CertificateStep::Wait(at),
        _ => CertificateStep::Probe,
    }
}

/// Whether a new version must be created at `now`. If a person has requested a new version, one version is created even
/// if none is due.
fn is_due(target: &Target, state: &CertificateState, look: &CertificateLook, now: Timestamp) -> bool {
    (target.is_forced && state.created.is_empty()) || look.is_due(&target.policy, now)
}

impl CertificateState {
    /// Updates the state after a look.
    pub fn learn(&mut self, look: CertificateLook, target: &Target) {
        self.first_seen.get_or_insert_with(|| look.listed.keys().copied().collect());
        self.health.succeeded(Part::Looking);
        let newest = &look.newest;
        self.trial
            .take_if(|trial| trial.version != newest.version.id || newest.version.accepted_at().is_some());
        let is_marked = newest.version.accepted_at().is_some();
        let is_due = is_due(target, self, &look, look.at);
        let was_registered =
            self.look.as_ref().is_some_and(|before| before.is_registered(&look.newest.thumbprint));
        if is_marked && !is_due || look.is_registered(&newest.thumbprint) && !was_registered {
            self.health.succeeded(Part::Renewing);
        }
        if is_marked && is_due && look.is_spent(self.created_today(look.up)) {
            let summary = format!(
                "the vault created {ATTEMPTS_A_DAY} versions of the certificate within a day, and the newest version still expires soon, so Perennial creates no further version for now"
            );
            self.health.trouble_since(Part::Renewing, failure(Remedy::Operator, summary), look.at);
        }
        if look.removable(&target.at).is_none() {
            self.health.succeeded(Part::Removing);
        }
        self.look = Some(look);
        self.must_look = false;
    }

    /// If Entra does not accept the newest version reliably within `GIVE_UP_AFTER`, reports a failure. Repeats the
    /// report after each further `GIVE_UP_AFTER`. The probes continue.
    pub fn report_slow_trial(&mut self, now: Timestamp, up: TimeDelta) {
        let Some(trial) = self.trial.as_mut().filter(|trial| up - trial.since >= GIVE_UP_AFTER) else {
            return;
        };
        if trial.probes.is_settled() {
            return;
        }
        trial.since = up;
        let summary = format!(
            "for an hour, Entra has rejected version {} of the certificate in some or all tests; the previous version stays in use",
            trial.version
        );
        self.health.failed(Part::Renewing, failure(Remedy::Operator, summary), now, up);
    }
}

#[cfg(test)]
mod tests;
