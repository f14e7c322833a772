//! Carries out the steps of a certificate's renewal through the ports.
//!
//! This module owns the order of the calls in a step. `schedule` decides when a step is due, and `look` interprets the
//! lists of the vault and of Entra. If the private key must stay in the vault, the vault creates the signatures.

use secrecy::{ExposeSecret as _, SecretString};
use tracing::{info, warn};
use uuid::Uuid;

use crate::ports::certificate_store::{CertificateCreation, CertificateStore, ListedCertificate};
use crate::ports::client::{ClientProof, CredentialVerdict};
use crate::ports::diagnosis::{GraphProblem, register_of_vault};
use crate::ports::directory::{Directory, DirectoryError, KeyChange, KeyRegistration, NewKey};
use crate::ports::failure::{Failure, Remedy};
use crate::ports::{Certificates as _, Issuer, SecretRole, Vault, VaultError};
use crate::process::clock::rfc3339;
use crate::renewal::certificate::failures::{cannot_sign, is_about_proof, other_issuer, unusable};
use crate::renewal::certificate::look::CertificateLook;
use crate::renewal::certificate::schedule::CertificateStep;
use crate::renewal::certificate::state::{CertificateState, CertificateTrial};
use crate::renewal::health::{Part, failure};
use crate::renewal::look::prefix;
use crate::renewal::renewer::Renewer;
use crate::renewal::state::Trial;
use crate::rotation::rotate::read_client_id;
use crate::token::app::{CredentialSource, RenewIdentity};
use crate::token::certificate::{
    self, Assertion, CertificateFacts, KeyProof, SigningCertificate, thumbprint_of,
};
use crate::token::tags::Tags;
use crate::token::version::{VersionId, managed_by, tag};

/// Renews the certificate of one app.
#[derive(Clone, Debug)]
pub struct CertificateRenewer<I, V, D>(pub Renewer<I, V, D>);

/// A version of the certificate. Includes the private key if the key can be read from the vault.
struct LoadedCertificate {
    version: VersionId,
    der: Vec<u8>,
    key: Option<Box<SigningCertificate>>,
}

impl<I: Issuer + Sync, V: Vault + CertificateStore + Sync, D: Directory + Sync> CertificateRenewer<I, V, D> {
    /// Carries out one step. A failure is recorded in the state.
    pub async fn step(&self, state: &mut CertificateState, next: &CertificateStep) {
        let id = Uuid::new_v4();
        let (part, done) = match next {
            CertificateStep::Wait(_) => return,
            CertificateStep::Look => {
                let looked = self.look(id).await;
                (Part::Looking, looked.map(|(_, look)| state.learn(look, &self.0.target)))
            }
            CertificateStep::Create => (Part::Renewing, self.create(state, id).await),
            CertificateStep::Register => (Part::Renewing, self.register(state, id).await),
            CertificateStep::Probe => (Part::Renewing, self.probe(state, id).await),
            CertificateStep::Mark => (Part::Renewing, self.mark(state, id).await),
            CertificateStep::TryNewest => (Part::Removing, self.try_newest(state, id).await),
            CertificateStep::Remove(key_id) => (Part::Removing, self.remove(state, *key_id, id).await),
        };
        if let Err(failure) = done {
            warn!(event = "renewal_step_failed", app = %self.0.name, reason = failure.summary);
            state.health.failed(part, failure, self.0.clock.now(), self.0.clock.uptime());
        }
    }

    /// Reads the vault and the app registration. Also returns the app's client id.
    /// # Errors
    /// Returns why the vault or the app registration could not be read.
    pub async fn look(&self, id: Uuid) -> Result<(String, CertificateLook), Failure> {
        let (up, at) = (self.0.clock.uptime(), &self.0.target.at);
        let client_id = self.client_id(id).await?;
        let newest = self.0.vaults().certificate(at, None, id).await;
        let versions =
            self.0.vaults().listed_certificates(at, id).await.map_err(|error| self.vault(&error))?;
        let now = self.0.clock.now();
        let (newest, told) = match newest {
            Ok(found) => {
                let thumbprint = thumbprint_of(&found.der);
                (ListedCertificate { version: found.version, thumbprint }, found.read_at)
            }
            // A person may disable the newest version to return to an older one. So the newest enabled version is used
            // here.
            Err(VaultError::Disabled) => {
                let enabled = versions.iter().filter(|one| one.version.enabled);
                let newest = enabled.max_by_key(|one| one.version.created).cloned();
                (newest.ok_or_else(|| self.vault(&VaultError::Disabled))?, None)
            }
            Err(error) => return Err(self.vault(&error)),
        };
        // Perennial must never remove a certificate too early. So the earlier of two times is used: the time in the
        // vault's response and the time of this process's clock.
        let now = told.map_or(now, |told| told.min(now));
        // At first, the look contains no list of Entra's certificates. To request this list, the app itself may have to
        // authenticate with the version in use. `CertificateLook::in_use` returns this version.
        let unregistered = KeyRegistration { object_id: Uuid::nil(), keys: Vec::new() };
        let mut look = CertificateLook::of((up, now), newest, versions, unregistered);
        let proof = self.own_proof(&look, &client_id, id).await?;
        let listed = self.0.directory.keys(&self.0.caller(&client_id, &proof), &client_id, id).await;
        let listed = listed.map_err(|error| error.failure(&self.0.subject(&client_id)))?;
        look.object_id = listed.object_id;
        look.listed = listed.keys.into_iter().map(|one| (one.key_id, one)).collect();
        Ok((client_id, look))
    }

    async fn client_id(&self, id: Uuid) -> Result<String, Failure> {
        Ok(read_client_id(&self.0.vaults(), &self.0.app, &self.0.name, id).await?.0)
    }

    pub(super) fn vault(&self, error: &VaultError) -> Failure {
        error.failure(SecretRole::RenewedCertificate, &self.0.target.at)
    }

    /// Reads a version. Also reads the private key if the configuration says that the key can be read.
    async fn load(&self, version: &VersionId, id: Uuid) -> Result<LoadedCertificate, Failure> {
        let at = &self.0.target.at;
        let found = self.0.vaults().certificate(at, Some(version), id).await;
        let der = found.map_err(|error| self.vault(&error))?.der;
        let key = match &self.0.app.credential {
            CredentialSource::Certificate(_) => {
                let stored = self.0.vaults().read(at, version, id).await;
                let stored = stored.map_err(|error| error.failure(SecretRole::Source, at))?;
                let parsed = SigningCertificate::parse(stored.value.expose_secret().as_bytes());
                Some(Box::new(
                    parsed.map_err(|error| unusable(format!("version {version} of {at} {error}")))?,
                ))
            }
            _ => None,
        };
        Ok(LoadedCertificate { version: version.clone(), der, key })
    }

    fn facts(&self, of: &LoadedCertificate) -> Result<CertificateFacts, Failure> {
        CertificateFacts::of_der(&of.der).ok_or_else(|| {
            unusable(format!("{} contains no certificate that Perennial can parse", self.0.target.at))
        })
    }

    /// Signs the assertion with which the app authenticates in its home tenant. Each request needs a new assertion.
    async fn assertion(
        &self,
        with: &LoadedCertificate,
        client_id: &str,
        id: Uuid,
    ) -> Result<ClientProof, Failure> {
        let public = self.facts(with)?;
        let audience = self.0.issuer.assertion_audience(&self.0.tenant);
        let (thumbprint, now) = (&public.thumbprint, self.0.clock.now());
        let claims = Assertion { thumbprint, audience: &audience, client_id, now, id: Uuid::new_v4() };
        let input = claims.signing_input();
        let signature = if let Some(key) = &with.key {
            key.sign(&input).ok_or_else(cannot_sign)?
        } else {
            let digest = certificate::digest_of(&input);
            let signed = self.0.vaults().sign(&self.0.target.at, &with.version, &digest, id).await;
            signed.map_err(|error| self.vault(&error))?
        };
        Ok(ClientProof::Assertion(certificate::signed(&input, &signature)))
    }

    /// Returns the assertion that authenticates the app. The certificate version in use signs this assertion. If the
    /// app does not manage its own credentials, the assertion is empty.
    pub(super) async fn own_proof(
        &self,
        look: &CertificateLook,
        client_id: &str,
        id: Uuid,
    ) -> Result<ClientProof, Failure> {
        match self.0.target.policy.identity {
            // The identity that reads the vault sends the requests. These requests need no assertion of the app.
            RenewIdentity::Vault => Ok(ClientProof::Assertion(SecretString::default())),
            RenewIdentity::App => {
                let loaded = self.load(&look.in_use().version.id, id).await?;
                self.assertion(&loaded, client_id, id).await
            }
        }
    }

    /// Signs the proof for a change of the app's certificates.
    pub(super) async fn key_proof(
        &self,
        look: &CertificateLook,
        signer: &ListedCertificate,
        id: Uuid,
    ) -> Result<SecretString, Failure> {
        let loaded = self.load(&signer.version.id, id).await?;
        let proof =
            KeyProof { thumbprint: &signer.thumbprint, object_id: look.object_id, now: self.0.clock.now() };
        let input = proof.signing_input();
        let signature = if let Some(key) = &loaded.key {
            key.sign_proof(&input).ok_or_else(cannot_sign)?
        } else {
            let digest = certificate::digest_of(&input);
            let answer = self.0.vaults().sign_proof(&self.0.target.at, &loaded.version, &digest, id).await;
            answer.map_err(|error| self.vault(&error))?
        };
        Ok(certificate::signed(&input, &signature))
    }

    async fn create(&self, state: &mut CertificateState, id: Uuid) -> Result<(), Failure> {
        let at = &self.0.target.at;
        state.must_look = true;
        let created = self.0.vaults().create_certificate(at, id).await;
        match created {
            Ok(CertificateCreation::OtherIssuer) => Err(other_issuer(at.vault_name(), at.name.as_str())),
            // If the answer was lost, the vault may create the version nevertheless.
            Ok(CertificateCreation::Begun)
            | Err(VaultError::Unreachable(_) | VaultError::Unavailable { .. }) => {
                state.created.push(self.0.clock.uptime());
                info!(event = "certificate_requested", app = %self.0.name, certificate = %at);
                created.map(drop).map_err(|error| self.vault(&error))
            }
            Err(error) => Err(self.vault(&error)),
        }
    }

    async fn register(&self, state: &mut CertificateState, id: Uuid) -> Result<(), Failure> {
        let Some(look) = &state.look else { return Ok(()) };
        let client_id = self.client_id(id).await?;
        let new = &look.newest;
        let loaded = self.load(&new.version.id, id).await?;
        let own = self.own_proof(look, &client_id, id).await?;
        let short: String = new.version.id.0.chars().take(8).collect();
        let name = format!("{}{short}", prefix(&self.0.target.at));
        let CertificateFacts { begins, ends, .. } = self.facts(&loaded)?;
        let key = NewKey { der: &loaded.der, name: &name, begins, ends };
        let caller = self.0.caller(&client_id, &own);
        let known: Vec<Uuid> = look.listed.keys().copied().collect();
        let by_list = KeyChange::Permission { known: &known };
        let add = async |change| self.0.directory.add_key(&caller, look.object_id, &key, change, id).await;
        let (added, refusal) = match look.signer() {
            // Entra accepted this version before, but does not list it now. A person may have removed its certificate
            // from the app registration, so Perennial does not register the certificate again.
            None if new.version.accepted_at().is_some() => return Err(self.no_signer(&client_id, new)),
            None => (add(by_list).await, Some(self.no_signer(&client_id, new))),
            Some(signer) => {
                let proof = self.key_proof(look, signer, id).await?;
                match add(KeyChange::Proof(&proof)).await {
                    Err(error) if is_about_proof(&error) => {
                        self.warn_of(&error);
                        (add(by_list).await, Some(self.unregistered(&client_id, &error)))
                    }
                    added => (added, None),
                }
            }
        };
        if added.is_ok() || added.as_ref().is_err_and(DirectoryError::may_have_happened) {
            state.registered = Some((new.version.id.clone(), self.0.clock.uptime()));
            state.must_look = true;
        }
        let key_id = added.map_err(|error| match refusal {
            Some(refusal) => self.unless_permitted(refusal, &error, &client_id),
            None => error.failure(&self.0.subject(&client_id)),
        })?;
        info!(event = "certificate_registered", app = %self.0.name, %key_id, version = %new.version.id, name);
        state.health.succeeded(Part::Renewing);
        Ok(())
    }

    async fn probe(&self, state: &mut CertificateState, id: Uuid) -> Result<(), Failure> {
        let Some(look) = &state.look else { return Ok(()) };
        let version = look.newest.version.id.clone();
        let client_id = self.client_id(id).await?;
        let loaded = self.load(&version, id).await?;
        let proof = self.assertion(&loaded, &client_id, id).await?;
        let (verdict, refusal) = self.0.verdict(&client_id, &proof, id).await;
        let (now, up) = (self.0.clock.now(), self.0.clock.uptime());
        let trial = match state.trial.take().filter(|trial| trial.version == version) {
            Some(trial) => state.trial.insert(trial),
            None => state.trial.insert(CertificateTrial { version, since: up, probes: Trial::default() }),
        };
        trial.probes.note(verdict, up);
        if trial.probes.is_settled() {
            state.must_look = true;
            info!(event = "certificate_settled", app = %self.0.name, version = %trial.version);
        }
        state.report_slow_trial(now, up);
        match refusal {
            Some(refusal) if verdict == CredentialVerdict::Untested => Err(refusal),
            _ => Ok(()),
        }
    }

    async fn mark(&self, state: &mut CertificateState, id: Uuid) -> Result<(), Failure> {
        let Some(look) = &state.look else { return Ok(()) };
        let (at, version) = (&self.0.target.at, &look.newest.version);
        let mut tags: Tags = version.tags.clone();
        tags.insert(tag::ACCEPTED_AT, &rfc3339(look.at));
        tags.insert(tag::MANAGED_BY, &managed_by(self.0.command));
        state.must_look = true;
        let marked = self.0.vaults().tag_certificate(at, &version.id, &tags, id).await;
        marked.map_err(|error| self.vault(&error))?;
        info!(event = "certificate_accepted", app = %self.0.name, version = %version.id);
        state.trial = None;
        state.health.succeeded(Part::Renewing);
        Ok(())
    }

    async fn try_newest(&self, state: &mut CertificateState, id: Uuid) -> Result<(), Failure> {
        let Some(look) = &mut state.look else { return Ok(()) };
        let client_id = self.client_id(id).await?;
        let loaded = self.load(&look.newest.version.id, id).await?;
        let proof = self.assertion(&loaded, &client_id, id).await?;
        let (verdict, _) = self.0.verdict(&client_id, &proof, id).await;
        look.newest_is_accepted = Some(verdict == CredentialVerdict::Accepted);
        Ok(())
    }

    async fn remove(&self, state: &mut CertificateState, key_id: Uuid, id: Uuid) -> Result<(), Failure> {
        let Some(look) = &state.look else { return Ok(()) };
        let client_id = self.client_id(id).await?;
        let newest = self.0.vaults().certificate(&self.0.target.at, None, id).await;
        let newest = newest.map_err(|error| self.vault(&error))?.version;
        // The newest version may have changed since the look.
        if newest.id != look.newest.version.id {
            state.must_look = true;
            return Ok(());
        }
        let proof = self.key_proof(look, &look.newest, id).await?;
        let own = self.own_proof(look, &client_id, id).await?;
        state.must_look = true;
        let caller = self.0.caller(&client_id, &own);
        let known: Vec<Uuid> = look.listed.keys().copied().filter(|known| *known != key_id).collect();
        let remove =
            async |change| self.0.directory.remove_key(&caller, look.object_id, key_id, change, id).await;
        let removed = match remove(KeyChange::Proof(&proof)).await {
            Err(error) if error.problem() == Some(GraphProblem::Token) => {
                self.warn_of(&error);
                remove(KeyChange::Permission { known: &known }).await
            }
            removed => removed,
        };
        removed.map_err(|error| error.failure(&self.0.subject(&client_id)))?;
        info!(event = "certificate_removed", app = %self.0.name, %key_id);
        state.health.succeeded(Part::Removing);
        Ok(())
    }

    /// Returns the failure of a change that was requested without a proof. If the caller lacks the permission for this
    /// change, returns `refusal`, which tells a person to register the version.
    pub(super) fn unless_permitted(
        &self,
        refusal: Failure,
        error: &DirectoryError,
        client_id: &str,
    ) -> Failure {
        match error.problem() {
            Some(GraphProblem::MissingRight) => refusal,
            _ => error.failure(&self.0.subject(client_id)),
        }
    }

    fn warn_of(&self, error: &DirectoryError) {
        warn!(event = "proof_rejected", app = %self.0.name, reason = %error);
    }

    /// Returns the failure for this case: Entra rejected the proof for the registration of a new version. The action
    /// tells a person to register the version.
    pub(super) fn unregistered(&self, client_id: &str, error: &DirectoryError) -> Failure {
        Failure {
            action: Some(register_of_vault(client_id, &self.0.target.at).into()),
            remedy: Remedy::Operator,
            ..error.failure(&self.0.subject(client_id))
        }
    }

    /// Returns the failure for this case: no version can sign the proof for a change. Without the permission to manage
    /// the app's credentials, a caller needs a proof that a registered certificate has signed.
    pub(super) fn no_signer(&self, client_id: &str, new: &ListedCertificate) -> Failure {
        let summary = format!(
            "no version of {} is both valid and registered at app {client_id}, so no version can sign the request to register version {}",
            self.0.target.at, new.version.id
        );
        Failure {
            action: Some(register_of_vault(client_id, &self.0.target.at).into()),
            ..failure(Remedy::Operator, summary)
        }
    }
}
