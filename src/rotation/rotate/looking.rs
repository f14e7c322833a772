//! Looking whether a person has acted: a new sign-in, a new credential, a role that was given.
//!
//! Owns what is read for that and what of it is news. Redeems nothing.

use tracing::info;
use uuid::Uuid;

use super::Rotator;
use crate::ports::failure::{About, Failure, Remedy};
use crate::ports::{Issuer, Resource, Vault, VaultError};
use crate::rotation::schedule;
use crate::rotation::state::{Phase, State};
use crate::token::rotation_id;
use crate::token::secret::{Setting, Source};
use crate::token::version::Stored;

impl<I: Issuer + Sync, V: Vault + Sync, R: Resource + Sync> Rotator<I, V, R> {
    /// Looks whether a person has acted: one vault call, one for each secret of the app's, or a local read.
    pub async fn look(&mut self, mut state: State) -> State {
        let now = self.clock.now();
        let id = rotation_id();
        let failing = state.failing.clone();
        let about = failing.as_ref().map_or(About::Token, |failing| failing.failure.about);
        // The credential is what was refused, but a person may as well sign in anew: every tenth look.
        let turn = failing.as_ref().map_or(0, |failing| failing.attempts % 10);
        let changed = match about {
            About::AppCredential | About::CredentialSource if turn != 0 => {
                self.credential_changed(&mut state, about, id).await
            }
            // Whoever may list again is no more likely than a new sign-in: they take turns.
            About::History if !turn.is_multiple_of(2) => self.history_changed(&mut state, id).await,
            About::AppCredential | About::CredentialSource | About::History | About::Token | About::Grant => {
                self.token_changed(&mut state, id).await
            }
        };
        if let Some(failing) = &mut state.failing {
            failing.attempts = failing.attempts.wrapping_add(1);
        }
        // A credential of two secrets takes two calls: then it is looked for half as often.
        let calls = match about {
            About::Token | About::History | About::Grant => 1,
            About::AppCredential | About::CredentialSource => self.credential_secrets(),
        };
        let look_at = now + schedule::WATCH_EVERY * calls;
        match &mut state.phase {
            _ if changed => {
                info!(event = "change_noticed", token = %self.grant.name);
                if let Some(failing) = &mut state.failing {
                    (failing.retry_at, failing.attempts) = (now, 0);
                }
                state.phase = Phase::Unproved { due_at: now };
            }
            Phase::Waiting { look_at: at, .. } | Phase::Off { look_at: at } => *at = look_at,
            Phase::Unproved { .. } | Phase::Current | Phase::Unsaved(_) => {}
        }
        state
    }

    /// In how many secrets of a vault the app's credential is kept, one at least.
    fn credential_secrets(&self) -> i32 {
        let id = matches!(self.grant.client_id, Setting::From(Source::Secret(_)));
        let secret = matches!(self.grant.client_secret, Source::Secret(_));
        (i32::from(id) + i32::from(secret)).max(1)
    }

    async fn token_changed(&self, state: &mut State, id: Uuid) -> bool {
        let unread = state.failing.as_ref().is_some_and(|failing| failing.failure.about == About::Token);
        match self.vault.newest(&self.grant.secret, id).await {
            // After a refusal a new version is news, and so is that another process has proved the same one and taken
            // the mark off; after a vault that refused, any answer is.
            Ok(Stored { version, .. }) => {
                let known = state.newest.as_ref().filter(|known| known.id == version.id);
                unread || known.is_none_or(|known| known.is_refused() && !version.is_refused())
            }
            Err(VaultError::Disabled) => !matches!(state.phase, Phase::Off { .. }),
            Err(error) => is_unread_otherwise(state, self.own(&error)),
        }
    }

    async fn credential_changed(&self, state: &mut State, about: About, id: Uuid) -> bool {
        let unread = about == About::CredentialSource;
        match self.read_credential(id).await {
            Ok((credential, _)) => unread || Some(credential.fingerprint) != state.credential_used,
            Err(failure) => is_unread_otherwise(state, failure),
        }
    }

    /// Whether the versions can be listed now, or are refused for another reason.
    async fn history_changed(&self, state: &mut State, id: Uuid) -> bool {
        match self.vault.versions(&self.grant.secret, id).await {
            Ok(_) => true,
            Err(error) => is_unread_otherwise(state, self.unlisted(&error)),
        }
    }
}

/// Whether what could not be read now cannot be read for another kind of reason, which is news; where only the words are
/// others, as after a role was given and a firewall is left, they are taken over.
fn is_unread_otherwise(state: &mut State, failure: Failure) -> bool {
    let Some(known) = &mut state.failing else { return false };
    if matches!(failure.remedy, Remedy::Retry) || failure.about != known.failure.about {
        return false;
    }
    let is_other = failure.kind != known.failure.kind;
    if !is_other {
        known.failure = failure;
    }
    is_other
}
