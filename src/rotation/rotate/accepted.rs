//! Chooses the version of the app's credential for one step: the newest one, or an older one if Entra rejects the
//! newest one.

use chrono::TimeDelta;
use uuid::Uuid;

use super::{AppCredential, Attempt, Rotator};
use crate::ports::client::{ClientProof, CredentialVerdict};
use crate::ports::failure::Failure;
use crate::ports::{Issuer, Resource, Vault};
use crate::process::clock::Timestamp;
use crate::rotation::state::{OlderCredential, State};
use crate::token::version::VersionId;

/// How long to wait before trying the older versions again, if Entra accepted none of them.
const OLDER_TRIED_EVERY: TimeDelta = TimeDelta::hours(6);

impl<I: Issuer + Sync, V: Vault + Sync, R: Resource + Sync> Rotator<I, V, R> {
    /// Returns the newest version of the credential, for a command. If Entra rejects the newest version, returns an
    /// older version that Entra accepts. If Entra accepts no older version either, returns the newest version, so that
    /// the next request reports the rejection.
    pub(crate) async fn accepted_credential(&self, id: Uuid) -> Result<AppCredential, Failure> {
        let (newest, _) = self.read_credential(id).await?;
        let Some(version) = &newest.version else { return Ok(newest) };
        if self.try_credential(&newest, id).await != CredentialVerdict::Rejected {
            return Ok(newest);
        }
        let search = self.older_credential(&newest.client_id, &version.id, id).await;
        Ok(search.found.unwrap_or(newest))
    }

    /// Reads the credential for one step. If Entra rejected the newest version in an earlier step, tests this version
    /// again with a request that redeems nothing. If the test fails, switches to an older version that Entra accepts.
    pub(super) async fn take_credential(
        &self,
        state: &mut State,
        attempt: &mut Attempt,
    ) -> Result<(), Failure> {
        let read = self.read_credential(attempt.id).await;
        let calls = read.as_ref().map_or(1, |(_, calls)| *calls);
        state.note_vault_calls(calls, self.clock.now());
        let (newest, _) = read?;
        state.credential_read_at.get_or_insert(self.clock.now());
        state.identity_expiry = self.vaults().identity_expiry();
        state.credential_used = Some(newest.fingerprint);
        let was_rejected = state
            .older_credential
            .as_ref()
            .is_some_and(|older| newest.version.as_ref().is_some_and(|version| version.id == older.newest));
        self.take(state, attempt, newest);
        if was_rejected {
            let newest = attempt.credential.as_ref().expect("taken just now");
            if self.try_credential(newest, attempt.id).await != CredentialVerdict::Accepted {
                self.fall_back(state, attempt).await;
                return Ok(());
            }
        }
        state.older_credential = None;
        Ok(())
    }

    fn take(&self, state: &mut State, attempt: &mut Attempt, credential: AppCredential) {
        state.app_secret_expires = credential.expires.or(self.grant.app_secret_expires);
        attempt.credential = Some(credential);
    }

    /// Returns the secret or the assertion that authenticates the app in the next request (`ClientProof`). If the
    /// newest version cannot sign an assertion, for example because its certificate has expired, this function uses an
    /// older version.
    pub(super) async fn prove_client(
        &self,
        state: &mut State,
        attempt: &mut Attempt,
    ) -> Result<ClientProof, Failure> {
        let credential = attempt.credential.as_ref().expect("read before");
        state.note_vault_calls(credential.calls_to_prove(), self.clock.now());
        let proved = self.client_proof(credential, &self.grant.tenant_id, attempt.id).await;
        match proved {
            Err(failure) if failure.is_of_certificate() && self.fall_back(state, attempt).await => {
                let credential = attempt.credential.as_ref().expect("fell back to it");
                state.note_vault_calls(credential.calls_to_prove(), self.clock.now());
                self.client_proof(credential, &self.grant.tenant_id, attempt.id).await
            }
            proved => proved,
        }
    }

    /// Switches to an older version that Entra accepts, at most once in a step. Returns whether it switched.
    pub(super) async fn fall_back(&self, state: &mut State, attempt: &mut Attempt) -> bool {
        if std::mem::replace(&mut attempt.fell_back, true) {
            return false;
        }
        let Some(rejected) = &attempt.credential else { return false };
        let Some(newest) = rejected.version.clone() else { return false };
        let now = self.clock.now();
        let is_tried =
            |tried: &(VersionId, Timestamp)| tried.0 == newest.id && tried.1 + OLDER_TRIED_EVERY > now;
        if state.older_tried.as_deref().is_some_and(is_tried) {
            return false;
        }
        let client_id = rejected.client_id.clone();
        let search = self.older_credential(&client_id, &newest.id, attempt.id).await;
        state.note_vault_calls(search.calls, self.clock.now());
        let Some(older) = search.found else {
            // An outage may have interrupted the search before all older versions were tried. So only a complete search
            // is remembered.
            if search.is_certain {
                state.older_credential = None;
                state.older_tried = Some(Box::new((newest.id, now)));
            }
            return false;
        };
        state.older_tried = None;
        let used = older.version.as_ref().map_or_else(|| newest.id.clone(), |version| version.id.clone());
        let known = OlderCredential {
            newest: newest.id,
            created: newest.created,
            tried_at: now,
            used,
            expires: older.expires,
        };
        state.older_credential = Some(Box::new(known));
        self.take(state, attempt, older);
        true
    }
}

#[cfg(test)]
mod tests;
