//! Looking whether a person has acted: a new sign-in, a new credential, a role that was given.
//!
//! Owns what is read for that and what of it is news. Redeems nothing.
//!
//! It reads the newest version and does not list the versions. A list costs one request for each 25 versions, has no order
//! and has ties. The newest version is what other programs read too. It always costs one request, and it needs no right that
//! a proof does not need. What keeps a `strict` token from being redeemed is tried instead.

use uuid::Uuid;

use super::Rotator;
use crate::ports::failure::{Failure, FailureSubject, Remedy};
use crate::ports::{Issuer, Resource, Vault, VaultError};
use crate::rotation::event::{Event, Stepped};
use crate::rotation::schedule;
use crate::rotation::state::State;
use crate::token::rotation_id;
use crate::token::secret::{ConfigValue, Source};
use crate::token::version::Stored;

impl<I: Issuer + Sync, V: Vault + Sync, R: Resource + Sync> Rotator<I, V, R> {
    /// Checks whether a person has acted: one vault call, one for each secret of the app's, or a local read.
    pub async fn check_vault(&mut self, mut state: State) -> Stepped {
        let Some(blocked) = &state.blocked else { return Stepped { state, events: Vec::new() } };
        let (about, checks) = (blocked.failure.about, blocked.checks);
        let (now, id) = (self.clock.now(), rotation_id());
        // A credential of two secrets takes two calls: then it is checked half as often.
        let is_credential = matches!(about, FailureSubject::AppCredential | FailureSubject::CredentialSource);
        let mut calls = if is_credential { self.credential_secrets() } else { 1 };
        let changed = match about {
            // The user may as well have signed in again: some checks read the token too.
            FailureSubject::AppCredential | FailureSubject::CredentialSource => {
                self.credential_changed(&mut state, about, id).await
                    || (checks % schedule::TOKEN_READ_EACH == 0 && self.token_changed(&mut state, id).await)
            }
            // A right to list is no more likely than a new sign-in: they take turns.
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
        // What may hinder a save is tried by steps that count themselves.
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

    /// In how many secrets of a vault the app's credential is kept, one at least.
    fn credential_secrets(&self) -> i32 {
        let id = matches!(self.grant.client_id, ConfigValue::From(Source::Secret(_)));
        let secret = matches!(self.grant.client_secret, Source::Secret(_));
        (i32::from(id) + i32::from(secret)).max(1)
    }

    async fn token_changed(&self, state: &mut State, id: Uuid) -> bool {
        let unread =
            state.blocked.as_ref().is_some_and(|blocked| blocked.failure.about == FailureSubject::Token);
        match self.vaults().newest(&self.grant.secret, id).await {
            // After a refusal a new version is news, and so is that another process has proved the same one and taken
            // the mark off; after a vault that refused, any answer is.
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

    async fn credential_changed(&self, state: &mut State, about: FailureSubject, id: Uuid) -> bool {
        let unread = about == FailureSubject::CredentialSource;
        match self.read_credential(id).await {
            Ok((credential, _)) => unread || Some(credential.fingerprint) != state.credential_used,
            Err(failure) => is_unread_otherwise(state, failure),
        }
    }

    /// Whether the versions can be listed now, or are refused for another reason.
    async fn history_changed(&self, state: &mut State, id: Uuid) -> bool {
        match self.vaults().versions(&self.grant.secret, id).await {
            Ok(_) => true,
            Err(error) => is_unread_otherwise(state, self.unlisted(state, &error)),
        }
    }
}

/// Whether this read failure differs in kind from the one already reported, which is news. Where only its words differ,
/// as after a role was given and a firewall is left, they are taken over. A refused token that cannot be read any more, or
/// is deleted, is news too: no sign-in would be seen.
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
