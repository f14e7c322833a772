//! Decides the next step of a renewal, and how a look changes the renewal's state. A *look* is what the vault and Entra
//! showed at one time (`CredentialLook`).
//!
//! This module is pure and reads no clock. It uses the times that the caller passes, and the time of the last look
//! (`CredentialLook::at`).

use chrono::TimeDelta;
use uuid::Uuid;

use crate::ports::failure::{Failure, Remedy};
use crate::process::clock::Timestamp;
use crate::renewal::health::{Part, failure};
use crate::renewal::look::{CredentialLook, Reason};
use crate::renewal::state::{NewSecret, RenewalAttempt, RenewalState};
use crate::renewal::times::{
    ATTEMPTS_A_DAY, GIVE_UP_AFTER, LOOK_EVERY, LOOK_IS_FRESH, PROBE_EVERY, SAVED_WITHIN, SETTLED_AFTER,
};
use crate::token::app::RenewPolicy;
use crate::token::secret::SecretAddress;
use crate::token::version::Version;

/// The next step of a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenewalStep {
    /// Read the vault and the app registration.
    Look,
    /// Create a secret at Entra.
    Create,
    /// Try the new secret at Entra.
    Probe,
    /// Save the new secret in the vault.
    Save,
    /// Test whether Entra accepts the secret in the newest version, before Perennial removes an older secret.
    TryHeld,
    /// Remove a secret at Entra.
    Remove(Uuid, Reason),
    /// Wait until this uptime.
    Wait(TimeDelta),
}

/// The vault secret or certificate that is renewed, and the rules for its renewal.
#[derive(Clone, Debug)]
pub struct Target {
    /// The address of the vault secret or certificate.
    pub at: SecretAddress,
    pub policy: RenewPolicy,
    /// Whether a person has requested a renewal, so that it begins even if it is not due.
    pub is_forced: bool,
}

impl Target {
    /// Whether the renewal is due at `now`.
    pub fn is_due(&self, look: &CredentialLook, now: Timestamp) -> bool {
        self.is_forced || look.is_due(&self.policy, now)
    }

    /// If another writer has replaced Perennial's version, returns Perennial's version (`CredentialLook::overwritten`).
    /// If a person has requested the renewal, returns `None`, because other writers do not stop such a renewal.
    fn overwritten<'a>(&self, look: &'a CredentialLook, now: Timestamp) -> Option<&'a Version> {
        look.overwritten(&self.policy, now).filter(|_| !self.is_forced)
    }

    /// Decides the next step at the uptime `up`.
    pub fn next(&self, state: &RenewalState, up: TimeDelta) -> RenewalStep {
        if let Some(backoff) = state.health.backoff
            && backoff.until > up
        {
            return RenewalStep::Wait(backoff.until);
        }
        match &state.attempt {
            Some(RenewalAttempt::Lost { up: asked, .. }) => {
                let again = *asked + SETTLED_AFTER;
                if state.must_look || again <= up { RenewalStep::Look } else { RenewalStep::Wait(again) }
            }
            Some(RenewalAttempt::Unwanted { .. }) if state.must_look || state.look.is_none() => {
                RenewalStep::Look
            }
            Some(RenewalAttempt::Unwanted { key_id, reason }) => RenewalStep::Remove(*key_id, *reason),
            Some(RenewalAttempt::New(new)) => {
                self.next_of_new(new, state.look.as_ref().filter(|_| !state.must_look), up)
            }
            None => self.next_at_rest(state, up),
        }
    }

    fn next_of_new(&self, new: &NewSecret, look: Option<&CredentialLook>, up: TimeDelta) -> RenewalStep {
        let age = up - new.up;
        if !new.trial.is_settled() {
            if age >= GIVE_UP_AFTER {
                return RenewalStep::Remove(new.key_id, Reason::NotSettled);
            }
            return match new.trial.probed.map(|probed| probed + PROBE_EVERY) {
                Some(at) if at > up => RenewalStep::Wait(at),
                _ => RenewalStep::Probe,
            };
        }
        let Some(look) = look.filter(|look| up - look.up <= LOOK_IS_FRESH) else {
            return RenewalStep::Look;
        };
        if look.at - new.since >= SAVED_WITHIN {
            return RenewalStep::Remove(new.key_id, Reason::NotSaved);
        }
        if self.is_due(look, look.at) {
            RenewalStep::Save
        } else {
            RenewalStep::Remove(new.key_id, Reason::NotNeeded)
        }
    }

    fn next_at_rest(&self, state: &RenewalState, up: TimeDelta) -> RenewalStep {
        let is_usable = |look: &&CredentialLook| up - look.up < LOOK_EVERY && !state.must_look;
        let Some(look) = state.look.as_ref().filter(is_usable) else {
            return RenewalStep::Look;
        };
        let is_fresh = up - look.up <= LOOK_IS_FRESH;
        let now = look.at + (up - look.up);
        if let Some((key_id, reason)) = look.removable(&self.at) {
            match (is_fresh, reason, look.held_is_accepted) {
                (_, Reason::Superseded, Some(false)) => {}
                (false, ..) => return RenewalStep::Look,
                (_, Reason::Superseded, None) => return RenewalStep::TryHeld,
                _ => return RenewalStep::Remove(key_id, reason),
            }
        }
        let may_create =
            !look.is_spent(&self.at, state.created_today(up)) && self.overwritten(look, now).is_none();
        match self.is_due(look, now) && may_create {
            true if is_fresh => RenewalStep::Create,
            true => RenewalStep::Look,
            false => RenewalStep::Wait(look.up + LOOK_EVERY),
        }
    }
}

impl RenewalState {
    /// Returns the number of secrets that this process created within a day before the uptime `up`.
    pub fn created_today(&self, up: TimeDelta) -> usize {
        self.created.iter().filter(|at| **at + TimeDelta::days(1) > up).count()
    }

    /// Updates the state after a look. If the answer to a request was lost, the look can show that Entra created the
    /// secret or that the vault saved the version. The look can also show that a person has removed a new secret.
    pub fn learn(&mut self, look: CredentialLook, target: &Target) {
        self.first_seen.get_or_insert_with(|| look.listed.keys().copied().collect());
        self.health.succeeded(Part::Looking);
        self.attempt = match self.attempt.take() {
            Some(RenewalAttempt::Lost { name, up }) => {
                match look.listed.values().find(|one| one.name.as_deref() == Some(&*name)) {
                    Some(found) => {
                        Some(RenewalAttempt::Unwanted { key_id: found.key_id, reason: Reason::AnswerLost })
                    }
                    // Entra's list may show a created secret late. If the secret appears more than `SETTLED_AFTER`
                    // after the request, it is treated as an orphan.
                    None if look.up < up + SETTLED_AFTER => Some(RenewalAttempt::Lost { name, up }),
                    None => None,
                }
            }
            // The secret is not listed, so it counts as removed. If a later list shows the secret, Perennial treats it
            // as an orphan.
            Some(RenewalAttempt::Unwanted { key_id, .. }) if look.listed(key_id).is_none() => None,
            Some(RenewalAttempt::New(new)) if look.carries(new.key_id) => {
                self.health.succeeded(Part::Renewing);
                None
            }
            Some(RenewalAttempt::New(new)) if new.trial.is_settled() && look.listed(new.key_id).is_none() => {
                let summary = "the new client secret was removed at Entra before it could be saved";
                self.health.failed(Part::Renewing, failure(Remedy::Operator, summary), look.at, look.up);
                None
            }
            // If the vault's answer was lost, the vault may still save the secret. So this attempt may end, but
            // Perennial does not remove the secret yet. If no version carries the secret a day after its creation,
            // Perennial removes the secret as an orphan.
            Some(RenewalAttempt::New(new)) if new.was_sent => {
                let is_late = look.at - new.since >= SAVED_WITHIN;
                (target.is_due(&look, look.at) && !is_late).then_some(RenewalAttempt::New(new))
            }
            other => other,
        };
        let is_done = self.attempt.is_none() && !target.is_due(&look, look.at);
        if is_done {
            self.health.succeeded(Part::Renewing);
        } else if self.attempt.is_none() {
            self.blocked(&look, target);
        }
        if look.removable(&target.at).is_none() {
            self.health.succeeded(Part::Removing);
        }
        self.look = Some(look);
        self.must_look = false;
    }

    /// Records the reason if a renewal is due but cannot begin.
    fn blocked(&mut self, look: &CredentialLook, target: &Target) {
        if self.health.troubles.contains_key(&Part::Renewing) {
            return;
        }
        if look.is_spent(&target.at, self.created_today(look.up)) {
            let summary =
                format!("{ATTEMPTS_A_DAY} client secrets were created within a day, and none could be used");
            self.health.trouble_since(Part::Renewing, failure(Remedy::Operator, summary), look.at);
        } else if let Some(version) = target.overwritten(look, look.at) {
            let summary = format!(
                "another writer replaced the renewed client secret (version {} of {}) with a secret that expires soon",
                version.id, target.at
            );
            let action = format!(
                "stop the other writer of {}, then store the value of version {} again; or turn `renew` off",
                target.at, version.id
            );
            let failure = Failure { action: Some(action.into()), ..failure(Remedy::Operator, summary) };
            self.health.trouble_since(Part::Renewing, failure, look.at);
        }
    }

    /// Records that Perennial has removed a new secret without using it. This failure is reported immediately.
    pub fn gave_up(&mut self, reason: Reason, now: Timestamp, up: TimeDelta) {
        let summary = format!("Perennial removed the new client secret without using it: {}", reason.text());
        self.health.failed(Part::Renewing, failure(Remedy::Retry, summary), now, up);
        self.health.troubles.entry(Part::Renewing).and_modify(|trouble| trouble.is_told_at_once = true);
    }

    /// Ends the wait after a failure and requests a new look.
    pub fn hurry(&mut self) {
        self.health.backoff = None;
        self.must_look = true;
    }
}

#[cfg(test)]
mod tests;
