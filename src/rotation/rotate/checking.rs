//! Checks whether a person has acted: a new sign-in, a new credential, a new role assignment.
//!
//! This module decides which secrets a check reads, and which answers show a change. A check redeems nothing.
//!
//! To check the token, a check reads the newest version, which is also the version that other programs read. A read of
//! the newest version always costs one request and needs only permissions that a proof also needs. A check lists the
//! versions only if the last attempt to list them failed. A list has three disadvantages: it costs one request per 25
//! versions, has no order, and may contain several versions with the same creation time.
//!
//! Perennial redeems a `strict` token only if Perennial can write to the vault. If a write failed, a check tests
//! whether writes now succeed.

use uuid::Uuid;

use super::{AppCredential, Rotator};
use crate::ports::client::CredentialVerdict;
use crate::ports::failure::{Failure, FailureSubject, Remedy};
use crate::ports::{Issuer, Resource, Vault, VaultError};
use crate::rotation::event::{Event, Stepped};
use crate::rotation::schedule;
use crate::rotation::state::State;
use crate::token::app::CredentialSource;
use crate::token::rotation_id;
use crate::token::version::Stored;

impl<I: Issuer + Sync, V: Vault + Sync, R: Resource + Sync> Rotator<I, V, R> {
    /// Checks whether a person has acted. The more vault calls a check makes, the longer is the wait for the next
    /// check.
    pub async fn check_vault(&mut self, mut state: State) -> Stepped {
        let Some(blocked) = &state.blocked else { return Stepped { state, events: Vec::new() } };
        let (about, checks) = (blocked.failure.about, blocked.checks);
        let (now, id) = (self.clock.now(), rotation_id());
        // If the app's id and credential are in two vault secrets, a check makes two calls. The number of calls a day
        // stays the same, because such checks are half as frequent.
        let is_credential = matches!(about, FailureSubject::AppCredential | FailureSubject::CredentialSource);
        let mut calls = if is_credential { self.credential_secrets() } else { 1 };
        let changed = match about {
            // The user may have signed in again meanwhile. So some checks also read the token.
            FailureSubject::AppCredential | FailureSubject::CredentialSource => {
                self.credential_changed(&mut state, about, id).await
                    || (checks % schedule::TOKEN_READ_EACH == 0 && self.token_changed(&mut state, id).await)
            }
            // The operator may grant the permission to list the versions, or the user may sign in again. Every second
            // check tests whether the versions can be listed. The other checks look for a new version.
            FailureSubject::History if checks.is_multiple_of(2) => self.history_changed(&mut state, id).await,
            FailureSubject::Saving => {
                let (saving, costly) = self.may_save(&mut state).await;
                calls = if costly { 2 } else { 1 };
                saving.map_or_else(|failure| is_unread_otherwise(&mut state, failure), |()| true)
            }
            FailureSubject::History | FailureSubject::Token | FailureSubject::Grant => {
                self.token_changed(&mut state, id).await
            }
        };
        // `may_save` itself counts its writes, and does not count its read. So a check of `FailureSubject::Saving` adds
        // no calls here.
        if about != FailureSubject::Saving {
            state.note_vault_calls(calls.unsigned_abs() as usize, now);
        }
        if let Some(blocked) = &mut state.blocked {
            blocked.next_check_at = now + schedule::WATCH_EVERY * calls;
            blocked.checks = if changed { 0 } else { checks.wrapping_add(1) };
        }
        let mut events = Vec::new();
        if changed {
            events.push(Event::VersionChanged);
            state.try_again_at(now);
        }
        Stepped { state, events }
    }

    /// Returns the number of vault calls that a check of the app's credential makes. Returns 1 if the check makes none.
    fn credential_secrets(&self) -> i32 {
        let signs = matches!(self.grant.app.credential, CredentialSource::VaultKey(_));
        let calls = self.grant.app.in_vaults().count() + usize::from(signs);
        i32::try_from(calls).unwrap_or(i32::MAX).max(1)
    }

    async fn token_changed(&self, state: &mut State, id: Uuid) -> bool {
        let unread =
            state.blocked.as_ref().is_some_and(|blocked| blocked.failure.about == FailureSubject::Token);
        match self.vaults().newest(&self.grant.secret, id).await {
            // If the token was rejected, a new version is a change. If the tag `refused-at` is gone, this is also a
            // change: another process has proved the version and removed the tag. If the token could not be read
            // before, any successful read is a change.
            Ok(Stored { version, .. }) => {
                let known = state.newest.as_ref().filter(|known| known.id == version.id);
                unread || known.is_none_or(|known| known.is_refused() && !version.is_refused())
            }
            Err(VaultError::Disabled) => !state.is_off(),
            Err(error) => {
                let failure = self.own(state, &error);
                is_unread_otherwise(state, failure)
            }
        }
    }

    /// Whether Entra may accept the same credential later, as soon as an operator has registered the credential at
    /// Entra. Returns false for a client secret, because a wrong client secret stays wrong.
    fn ends_at_entra(&self) -> bool {
        !matches!(self.grant.app.credential, CredentialSource::Secret(_))
    }

    async fn is_accepted(&self, credential: &AppCredential, id: Uuid) -> bool {
        self.try_credential(credential, id).await == CredentialVerdict::Accepted
    }

    async fn credential_changed(&self, state: &mut State, about: FailureSubject, id: Uuid) -> bool {
        let unread = about == FailureSubject::CredentialSource;
        match self.read_credential(id).await {
            Ok((credential, _)) => {
                unread
                    || Some(credential.fingerprint) != state.credential_used
                    || (self.ends_at_entra() && self.is_accepted(&credential, id).await)
            }
            Err(failure) => is_unread_otherwise(state, failure),
        }
    }

    /// Returns true if the versions can be listed now, or if the reason for the failure has changed.
    async fn history_changed(&self, state: &mut State, id: Uuid) -> bool {
        match self.vaults().versions(&self.grant.secret, id).await {
            Ok(_) => true,
            Err(error) => is_unread_otherwise(state, self.unlisted(state, &error)),
        }
    }
}

/// Whether this read failure differs in kind from the failure already reported. For example, the vault denied access
/// before, and now the secret is deleted. If only the text differs, updates the text. The function also returns true if
/// a rejected token can no longer be read, because Perennial can no longer notice a sign-in.
fn is_unread_otherwise(state: &mut State, failure: Failure) -> bool {
    let Some(known) = &mut state.blocked else { return false };
    let hides_cure = known.failure.about == FailureSubject::Grant && failure.about == FailureSubject::Token;
    if failure.remedy == Remedy::Retry || (failure.about != known.failure.about && !hides_cure) {
        return false;
    }
    let is_other = failure.kind != known.failure.kind;
    if !is_other {
        known.failure = failure;
    }
    is_other
}

#[cfg(test)]
mod tests;
