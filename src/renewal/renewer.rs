//! Carries out the steps of a renewal through the ports.
//!
//! This module owns the order of the calls in a step. `schedule` decides when a step is due, and `look` interprets the
//! lists of the vault and of Entra.

use std::sync::Arc;

use secrecy::ExposeSecret as _;
use tracing::{info, warn};
use uuid::Uuid;

use crate::ports::client::{AppSignIn, ClientProof, CredentialVerdict};
use crate::ports::diagnosis::GraphSubject;
use crate::ports::directory::{Caller, Directory, DirectoryError};
use crate::ports::failure::Failure;
use crate::ports::{Issuer, SecretRole, SecretUpdate, Vault, VaultError};
use crate::process::clock::{Clock, rfc3339};
use crate::renewal::health::Part;
use crate::renewal::look::{CredentialLook, Reason, prefix};
use crate::renewal::schedule::{RenewalStep, Target};
use crate::renewal::state::{NewSecret, RenewalAttempt, RenewalState, Trial};
use crate::rotation::pace::{Limited, hash};
use crate::rotation::paced::Paced;
use crate::rotation::rotate::read_client_id;
use crate::rotation::turns::Turns;
use crate::token::app::{ManagedApp, RenewIdentity};
use crate::token::version::{ClientSecretOrigin, NewVersion, Stored};

/// Renews the client secret of one app.
#[derive(Clone, Debug)]
pub struct Renewer<I, V, D> {
    /// The authorization server, which accepts or rejects a secret.
    pub issuer: I,
    /// The vaults.
    pub vault: V,
    /// The directory with the app registration.
    pub directory: D,
    pub clock: Clock,
    /// The configuration of the app.
    pub app: Arc<ManagedApp>,
    /// The app's name, or the token's name if the app has none.
    pub name: Arc<str>,
    /// The vault secret that stores the app's credential, and the rules for its renewal.
    pub target: Target,
    /// The app's home tenant: a GUID or a verified domain.
    pub tenant: String,
    /// The base address of Microsoft Graph, for messages.
    pub graph: String,
    /// The client id of the identity that reads the vault, for messages. `None` if the configuration does not name it.
    pub vault_client_id: Option<Arc<str>>,
    /// The scope of the request that tries a secret, such as `https://graph.microsoft.com/.default`.
    pub scope: String,
    /// The name of the running command, for the `managed-by` tag.
    pub command: &'static str,
    /// The limits on calls, which this renewal shares with the tokens.
    pub turns: Turns,
}

/// The held secret's value, its version in the vault, and the client id of the app.
struct HeldSecret {
    stored: Stored,
    client_id: String,
}

impl<I: Issuer + Sync, V: Vault + Sync, D: Directory + Sync> Renewer<I, V, D> {
    /// Carries out one step. A failure is recorded in the state.
    pub async fn step(&self, state: &mut RenewalState, next: &RenewalStep) {
        let id = Uuid::new_v4();
        let (part, done) = match next {
            RenewalStep::Wait(_) => return,
            RenewalStep::Look => {
                let looked = self.look(id).await;
                (Part::Looking, looked.map(|(_, look)| state.learn(look, &self.target)))
            }
            RenewalStep::Create => (Part::Renewing, self.create(state, id).await),
            RenewalStep::Probe => (Part::Renewing, self.probe(state, id).await),
            RenewalStep::Save => (Part::Renewing, self.save(state, id).await),
            RenewalStep::TryHeld => (Part::Removing, self.try_held(state, id).await),
            RenewalStep::Remove(key_id, reason) => {
                (Part::Removing, self.remove(state, *key_id, *reason, id).await)
            }
        };
        if let Err(failure) = done {
            warn!(event = "renewal_step_failed", app = %self.name, reason = failure.summary);
            state.health.failed(part, failure, self.clock.now(), self.clock.uptime());
        }
    }

    pub(super) fn vaults(&self) -> Paced<'_, V> {
        Paced { vault: &self.vault, turns: &self.turns, urgent: false }
    }

    async fn held(&self, id: Uuid) -> Result<HeldSecret, Failure> {
        let at = &self.target.at;
        let stored = self.vaults().newest(at, id).await;
        let stored = stored.map_err(|error| error.failure(SecretRole::RenewedSecret, at))?;
        let (client_id, _) = read_client_id(&self.vaults(), &self.app, &self.name, id).await?;
        Ok(HeldSecret { stored, client_id })
    }

    /// Reads the vault and the app registration. Also returns the app's client id.
    ///
    /// # Errors
    /// Returns why the vault or the app registration could not be read.
    pub async fn look(&self, id: Uuid) -> Result<(String, CredentialLook), Failure> {
        let (held, look) = self.look_with_held(id).await?;
        Ok((held.client_id, look))
    }

    async fn look_with_held(&self, id: Uuid) -> Result<(HeldSecret, CredentialLook), Failure> {
        let (up, at) = (self.clock.uptime(), &self.target.at);
        let held = self.held(id).await?;
        let newest = held.stored.version.clone();
        let versions = self.vaults().versions(at, id).await;
        let versions = versions.map_err(|error| error.failure(SecretRole::RenewedSecret, at))?;
        let proof = ClientProof::Secret(held.stored.value.clone());
        let caller = self.caller(&held.client_id, &proof);
        let registration = self.directory.registration(&caller, &held.client_id, id).await;
        let registration = registration.map_err(|error| error.failure(&self.subject(&held.client_id)))?;
        let now = self.clock.now();
        // Perennial must never remove a secret too early. So the earlier of two times is used: the time in the vault's
        // response and the time of this process's clock.
        let now = held.stored.read_at.map_or(now, |told| told.min(now));
        let value = held.stored.value.expose_secret();
        let look = CredentialLook::of((up, now), newest, versions, value, registration);
        Ok((held, look))
    }

    /// Tests whether a renewal could succeed, and changes no secret. Reads the vault and the app registration. If
    /// `writes` is set, also writes the newest version's tags again, unchanged. At the end, asks Microsoft Graph to
    /// remove a secret that does not exist. Graph's error shows whether the caller may manage the app's secrets.
    ///
    /// # Errors
    /// Returns why a renewal would fail.
    pub async fn rehearse(&self, writes: bool, id: Uuid) -> Result<CredentialLook, Failure> {
        let (HeldSecret { stored, client_id }, look) = self.look_with_held(id).await?;
        if writes {
            let (at, version) = (&self.target.at, &stored.version);
            let change = SecretUpdate { enabled: None, tags: Some(version.tags.clone()) };
            let written = self.vaults().update(at, &version.id, &change, id).await;
            written.map_err(|error| error.failure(SecretRole::RenewedSecret, at))?;
        }
        let proof = ClientProof::Secret(stored.value);
        let caller = self.caller(&client_id, &proof);
        match self.directory.remove_secret(&caller, look.object_id, id, id).await {
            Ok(()) | Err(DirectoryError::Refused { status: 400, .. }) => Ok(look),
            Err(error) => Err(error.failure(&self.subject(&client_id))),
        }
    }

    /// Returns the names and ids that a message about the app contains.
    pub(super) fn subject<'a>(&'a self, client_id: &'a str) -> GraphSubject<'a> {
        GraphSubject {
            name: &self.name,
            client_id,
            tenant: &self.tenant,
            graph: &self.graph,
            is_certificate: self.app.credential.is_certificate(),
            identity: self.target.policy.identity,
            vault_client_id: self.vault_client_id.as_deref(),
        }
    }

    pub(super) fn caller<'a>(&'a self, client_id: &'a str, proof: &'a ClientProof) -> Caller<'a> {
        match self.target.policy.identity {
            RenewIdentity::Vault => Caller::VaultIdentity,
            RenewIdentity::App => Caller::App { tenant: &self.tenant, client_id, proof },
        }
    }

    async fn create(&self, state: &mut RenewalState, id: Uuid) -> Result<(), Failure> {
        let held = self.held(id).await?;
        let Some(look) = &state.look else { return Ok(()) };
        let up = self.clock.uptime();
        let name = format!("{}{:08x}", prefix(&self.target.at), id.as_fields().0);
        let ends = look.at + self.target.policy.lifetime;
        let proof = ClientProof::Secret(held.stored.value);
        let caller = self.caller(&held.client_id, &proof);
        let created = self.directory.add_secret(&caller, look.object_id, &name, ends, id).await;
        match created {
            Ok(created) => {
                info!(event = "client_secret_created", app = %self.name, key_id = %created.key_id, name, ends = rfc3339(created.ends));
                state.created.push(up);
                state.attempt = Some(RenewalAttempt::New(Box::new(NewSecret {
                    key_id: created.key_id,
                    value: created.value,
                    ends: created.ends,
                    up,
                    since: look.at,
                    trial: Trial::default(),
                    was_sent: false,
                })));
                Ok(())
            }
            Err(error) => {
                if error.may_have_happened() {
                    state.created.push(up);
                    state.attempt = Some(RenewalAttempt::Lost { name, up });
                    state.must_look = true;
                }
                Err(error.failure(&self.subject(&held.client_id)))
            }
        }
    }

    /// Tries a credential: requests an access token for the app itself, without a user's refresh token. Returns the
    /// verdict, and the failure if the request failed.
    pub(super) async fn verdict(
        &self,
        client_id: &str,
        proof: &ClientProof,
        id: Uuid,
    ) -> (CredentialVerdict, Option<Failure>) {
        let (tenant, scope) = (&*self.tenant, &*self.scope);
        let answer = self.issuer.authenticate(&AppSignIn { tenant, client_id, proof, scope, id }).await;
        (CredentialVerdict::of(&answer), answer.err().map(|error| error.failure()))
    }

    async fn probe(&self, state: &mut RenewalState, id: Uuid) -> Result<(), Failure> {
        let (client_id, _) = read_client_id(&self.vaults(), &self.app, &self.name, id).await?;
        let Some(RenewalAttempt::New(new)) = &mut state.attempt else { return Ok(()) };
        let (verdict, refusal) = self.verdict(&client_id, &ClientProof::Secret(new.value.clone()), id).await;
        new.trial.note(verdict, self.clock.uptime());
        if new.trial.is_settled() {
            state.must_look = true;
            info!(event = "client_secret_settled", app = %self.name, key_id = %new.key_id);
        }
        match refusal {
            Some(refusal) if verdict == CredentialVerdict::Untested => {
                state.attempt =
                    Some(RenewalAttempt::Unwanted { key_id: new.key_id, reason: Reason::NotTried });
                Err(refusal)
            }
            _ => Ok(()),
        }
    }

    async fn save(&self, state: &mut RenewalState, id: Uuid) -> Result<(), Failure> {
        let (Some(RenewalAttempt::New(new)), Some(look)) = (&mut state.attempt, &state.look) else {
            return Ok(());
        };
        let at = &self.target.at;
        let origin = ClientSecretOrigin {
            command: self.command,
            issued_at: new.since,
            key_id: new.key_id,
            replaces: look.likely_held().map(|one| one.key_id),
            before: &look.newest.tags,
        };
        let version = NewVersion::of_client_secret(new.value.clone(), new.ends, &origin);
        let mut permit = self.turns.take(Limited::NewVersions(hash(&at.vault)), false).await;
        if let Some(permit) = &mut permit {
            permit.begin();
        }
        let was_sent = std::mem::replace(&mut new.was_sent, true);
        state.must_look = true;
        let saved = self.vaults().write(at, &version, id).await;
        // After one of these errors, this save cannot store the secret. But an earlier save may still store the secret
        // if the vault's answer to the earlier save was lost. So `was_sent` gets its earlier value back.
        let is_rejected = matches!(
            saved,
            Err(VaultError::Forbidden(_)
                | VaultError::Rejected { .. }
                | VaultError::Deleted
                | VaultError::Unauthorized { .. }
                | VaultError::NoIdentity { .. })
        );
        if is_rejected {
            new.was_sent = was_sent;
        }
        let version = saved.map_err(|error| error.failure(SecretRole::RenewedSecret, at))?;
        info!(event = "client_secret_saved", app = %self.name, key_id = %new.key_id, version = %version.id, expires = rfc3339(new.ends));
        state.attempt = None;
        state.health.succeeded(Part::Renewing);
        Ok(())
    }

    async fn try_held(&self, state: &mut RenewalState, id: Uuid) -> Result<(), Failure> {
        let held = self.held(id).await?;
        let (verdict, _) = self.verdict(&held.client_id, &ClientProof::Secret(held.stored.value), id).await;
        if let Some(look) = &mut state.look {
            let is_same = held.stored.version.id == look.newest.id;
            look.held_is_accepted = Some(is_same && verdict == CredentialVerdict::Accepted);
        }
        Ok(())
    }

    async fn remove(
        &self,
        state: &mut RenewalState,
        key_id: Uuid,
        reason: Reason,
        id: Uuid,
    ) -> Result<(), Failure> {
        if matches!(&state.attempt, Some(RenewalAttempt::New(new)) if new.key_id == key_id) {
            state.attempt = Some(RenewalAttempt::Unwanted { key_id, reason });
        }
        let held = self.held(id).await?;
        let Some(look) = &state.look else { return Ok(()) };
        // If the vault has a newer version than at the last look, a person may have stored this secret again in the
        // newer version. The secret is then in use, so Perennial does not remove it before another look.
        if !reason.is_of_attempt() && held.stored.version.id != look.newest.id {
            state.must_look = true;
            return Ok(());
        }
        // The newest version may carry the secret, even if the vault's answer to the save was an error. The secret is
        // then in use and must not be removed.
        if CredentialLook::key_of(&held.stored.version) == Some(key_id) {
            state.attempt.take_if(|attempt| attempt.is_of(key_id));
            state.must_look = true;
            return Ok(());
        }
        let object_id = look.object_id;
        let proof = ClientProof::Secret(held.stored.value);
        let caller = self.caller(&held.client_id, &proof);
        // If the removal fails, the next look shows whether the secret is gone.
        state.must_look = true;
        let removed = self.directory.remove_secret(&caller, object_id, key_id, id).await;
        removed.map_err(|error| error.failure(&self.subject(&held.client_id)))?;
        info!(event = "client_secret_removed", app = %self.name, %key_id, reason = reason.text());
        if let Some(look) = &mut state.look {
            look.listed.remove(&key_id);
        }
        state.must_look = false;
        state.health.succeeded(Part::Removing);
        if let Some(RenewalAttempt::Unwanted { .. }) = state.attempt.take_if(|attempt| attempt.is_of(key_id))
            && reason.is_failure()
        {
            state.gave_up(reason, self.clock.now(), self.clock.uptime());
        }
        Ok(())
    }
}
