//! Implements the traits of `crate::ports` for the simulation. Each call goes directly to the simulated world, without
//! HTTPS.
//!
//! This module owns the conversion of the world's answers to the ports' errors. The adapters convert the same answers
//! in the same way when the answers come over HTTPS.
//!
//! Invariant: a call yields exactly once for each operation, before the operation takes effect. Apart from this, a call
//! waits only for a latency that the test sets. So a test that polls the futures of two actors by hand decides the
//! order of their effects.

mod certificates;
mod directory;
mod errors;

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use uuid::Uuid;

use self::errors::{issuer_error, no_identity, status_of, vault_error};
use super::entra::{AppProof, IdentityRequest, RedeemRequest};
use super::fault::FaultEffect;
use super::ledger::{Operation, Peer};
use super::people::bare;
use super::vault::{Attributes, CertificateVersion, SecretVersion, SetRequest, UpdateRequest};
use super::{Trouble, World};
use crate::azure::cloud::CloudName;
use crate::login;
use crate::ports::client::{AppSignIn, ClientProof, VaultCertificate};
use crate::ports::{
    Acceptance, Certificates, Issuer, IssuerError, RefreshRequest, RefreshResponse, Resource, ResourceError,
    SecretUpdate, Vault, VaultError,
};
use crate::token::AccessToken;
use crate::token::claims::Claims;
use crate::token::secret::SecretAddress;
use crate::token::version::{NewVersion, Stored, Version, VersionId};

/// One instance of a program that calls the world. Each call is recorded with the actor's name.
#[derive(Clone)]
pub struct Actor {
    world: World,
    name: String,
}

impl Actor {
    pub(super) fn new(world: World, name: &str) -> Self {
        Self { world, name: name.to_owned() }
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    async fn enter(&self, peer: Peer, operation: Operation, subject: &str) {
        yield_once().await;
        let delay = self.world.delay(peer, operation, subject);
        if delay > Duration::ZERO {
            tokio::time::sleep(delay).await;
        }
    }

    async fn enter_vault(&self, operation: Operation, at: &SecretAddress) -> Result<(), VaultError> {
        self.enter(Peer::KeyVault, operation, at.name.as_str()).await;
        match self.world.identity_fault(&self.name) {
            Some(what) => Err(no_identity(&what)),
            None => Ok(()),
        }
    }

    fn stored(&self, version: &SecretVersion) -> Stored {
        Stored {
            version: bare(version),
            value: SecretString::from(version.value.expose_secret().trim()),
            read_at: chrono::DateTime::from_timestamp(self.world.now().timestamp(), 0),
        }
    }
}

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Issuer for Actor {
    async fn redeem(&self, what: &RefreshRequest<'_>) -> Result<RefreshResponse, IssuerError> {
        let subject = self.world.owner_of(what.token.expose()).map(|owner| owner.user);
        self.enter(Peer::Entra, Operation::Redeem, subject.as_deref().unwrap_or("unknown")).await;
        let correlation_id = what.rotation_id.to_string();
        let answer = self.world.redeem(
            &self.name,
            &RedeemRequest {
                tenant: what.tenant,
                client_id: what.client_id,
                proof: proof(what.proof),
                scope: &login::scopes(what.scope),
                token: what.token.expose(),
                correlation_id: Some(&correlation_id),
            },
        );
        let answer = answer.map_err(|trouble| issuer_error(trouble, &correlation_id))?;
        Ok(RefreshResponse {
            access_token: answer.access_token,
            refresh_token: answer
                .refresh_token
                .filter(|token| !token.expose().is_empty())
                .ok_or(IssuerError::NoRefreshToken)?,
            expires_in: answer.expires_in,
            scope: Some(answer.scope),
            refresh_expires_in: answer.refresh_expires_in,
            id_claims: answer.id_claims.and_then(Claims::of),
        })
    }

    async fn authenticate(&self, what: &AppSignIn<'_>) -> Result<(), IssuerError> {
        self.enter(Peer::Entra, Operation::Identity, what.client_id).await;
        let correlation_id = what.id.to_string();
        let request = IdentityRequest {
            tenant: what.tenant,
            client_id: what.client_id,
            proof: proof(what.proof),
            scope: what.scope,
            correlation_id: Some(&correlation_id),
        };
        let answer = self.world.identity_token(&self.name, &request);
        answer.map(|_| ()).map_err(|trouble| issuer_error(trouble, &correlation_id))
    }

    fn assertion_audience(&self, tenant: &str) -> String {
        format!("{}/{tenant}/oauth2/v2.0/token", self.world.authority())
    }

    async fn host_assertion(&self, client_id: &str) -> Result<SecretString, VaultError> {
        self.enter(Peer::Entra, Operation::ManagedIdentity, client_id).await;
        let resource = CloudName::Public.assertion_audience();
        match self.world.managed_identity_token(&self.name, Some(client_id), resource) {
            Ok(token) => Ok(SecretString::from(token.access_token.expose())),
            Err(Trouble::Refused(refused)) => Err(VaultError::no_identity(refused.to_string(), false)),
            Err(Trouble::Fault(what)) => Err(no_identity(&what)),
        }
    }
}

fn proof(proof: &ClientProof) -> AppProof<'_> {
    match proof {
        ClientProof::Secret(_) => AppProof::Secret(proof.expose()),
        ClientProof::Assertion(_) => AppProof::Assertion(proof.expose()),
    }
}

impl Certificates for Actor {
    async fn certificate(
        &self,
        at: &SecretAddress,
        version: Option<&VersionId>,
        _id: Uuid,
    ) -> Result<VaultCertificate, VaultError> {
        self.enter_vault(Operation::GetCertificate, at).await?;
        let version = version.map(|version| &*version.0);
        let found = self.world.get_certificate(&self.name, at, version).map_err(vault_error)?;
        Ok(VaultCertificate {
            version: public(&found),
            is_exportable: Some(found.policy.exportable),
            der: found.certificate.der,
            read_at: chrono::DateTime::from_timestamp(self.world.now().timestamp(), 0),
        })
    }

    async fn certificate_versions(&self, at: &SecretAddress, _id: Uuid) -> Result<Vec<Version>, VaultError> {
        Ok(self.all_certificates(at).await?.iter().map(public).collect())
    }

    async fn sign(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        digest: &[u8; 32],
        _id: Uuid,
    ) -> Result<Vec<u8>, VaultError> {
        self.enter_vault(Operation::Sign, at).await?;
        let signed = self.world.sign(&self.name, at, Some(&version.0), "PS256", digest);
        signed.map(|signature| signature.bytes).map_err(vault_error)
    }
}

fn public(found: &CertificateVersion) -> Version {
    Version {
        id: VersionId(found.id.as_str().into()),
        created: found.created,
        enabled: found.attributes.enabled,
        expires: found.attributes.expires,
        tags: found.tags.clone(),
    }
}

impl Vault for Actor {
    async fn newest(&self, at: &SecretAddress, _id: Uuid) -> Result<Stored, VaultError> {
        self.enter_vault(Operation::Get, at).await?;
        let version = self.world.get_secret(&self.name, at, None).map_err(vault_error)?;
        Ok(self.stored(&version))
    }

    async fn read(&self, at: &SecretAddress, version: &VersionId, _id: Uuid) -> Result<Stored, VaultError> {
        self.enter_vault(Operation::GetVersion, at).await?;
        let version = self.world.get_secret(&self.name, at, Some(&version.0)).map_err(vault_error)?;
        Ok(self.stored(&version))
    }

    async fn versions(&self, at: &SecretAddress, _id: Uuid) -> Result<Vec<Version>, VaultError> {
        self.enter_vault(Operation::List, at).await?;
        let mut all = Vec::new();
        let mut next = Some(0);
        while let Some(skip) = next {
            let page = self.world.list_versions(&self.name, at, skip, usize::MAX).map_err(vault_error)?;
            all.extend(page.items.iter().map(bare));
            next = page.next;
        }
        Ok(all)
    }

    async fn write(&self, at: &SecretAddress, new: &NewVersion, _id: Uuid) -> Result<Version, VaultError> {
        self.enter_vault(Operation::Set, at).await?;
        let new = SetRequest {
            value: new.value.clone(),
            attributes: Attributes { expires: Some(new.expires), ..Attributes::default() },
            content_type: new.content_type.map(str::to_owned),
            tags: new.tags.clone(),
        };
        Ok(bare(&self.world.set_secret(&self.name, at, new).map_err(vault_error)?))
    }

    async fn update(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        change: &SecretUpdate,
        _id: Uuid,
    ) -> Result<(), VaultError> {
        self.enter_vault(Operation::Update, at).await?;
        let change =
            UpdateRequest { enabled: change.enabled, tags: change.tags.clone(), ..UpdateRequest::default() };
        self.world.update_secret(&self.name, at, Some(&version.0), change).map_err(vault_error)?;
        Ok(())
    }
}

impl Resource for Actor {
    async fn accepts(&self, token: &AccessToken, _id: Uuid) -> Result<Acceptance, ResourceError> {
        self.enter(Peer::PartnerCenter, Operation::Profile, "").await;
        let refused = |status, code: &str| Acceptance {
            accepted: false,
            mfa: (code == "900421").then_some(false),
            tenant_id: None,
            company: None,
            is_audience: code == "900420",
            status,
        };
        match self.world.profile(&self.name, token.expose()) {
            Ok(profile) => Ok(Acceptance {
                accepted: true,
                mfa: profile.mfa_compliant,
                tenant_id: Some(profile.tenant_id),
                company: Some(profile.company),
                is_audience: false,
                status: 200,
            }),
            Err(Trouble::Refused(no)) => Ok(refused(no.status, no.code)),
            Err(Trouble::Fault(FaultEffect::Transport(transport))) => {
                Err(ResourceError::Unreachable(transport))
            }
            // Partner Center rejects a token only with these two statuses.
            Err(Trouble::Fault(FaultEffect::Coded { status: status @ (401 | 403), code, .. })) => {
                Ok(refused(status, &code))
            }
            Err(Trouble::Fault(
                FaultEffect::Status { status: status @ (401 | 403), .. }
                | FaultEffect::Verbatim { status: status @ (401 | 403), .. }
                | FaultEffect::Hostile { status: status @ (401 | 403), .. },
            )) => Ok(refused(status, "")),
            Err(Trouble::Fault(what)) => Err(ResourceError::Unavailable { status: status_of(&what) }),
        }
    }
}
