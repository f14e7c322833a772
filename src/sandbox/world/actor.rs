//! Implements the ports over the world, for the simulation.
//!
//! Owns the conversion of the world's answers to the ports' errors. The adapters convert the same answers on the
//! network in the same way.
//!
//! Invariant: a call yields exactly once before it takes effect. A call waits at no other point, except for a requested
//! latency. So a test that polls two actors' futures by hand decides the order of effects.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use uuid::Uuid;

use super::entra::{EntraRefusal, RedeemRequest};
use super::fault::FaultEffect;
use super::ledger::{Operation, Peer};
use super::people::bare;
use super::vault::{Attributes, SecretVersion, SetRequest, UpdateRequest, VaultRefusal};
use super::{Trouble, World};
use crate::login;
use crate::net::no_response::NoResponse;
use crate::ports::failure::Trace;
use crate::ports::oauth_error::OAuthError;
use crate::ports::{
    Acceptance, Forbidden, Issuer, IssuerError, RefreshRequest, RefreshResponse, Resource, ResourceError,
    SecretUpdate, Vault, VaultError,
};
use crate::token::AccessToken;
use crate::token::claims::Claims;
use crate::token::secret::SecretAddress;
use crate::token::version::{CONTENT_TYPE, NewVersion, Stored, Version, VersionId};

/// One instance of a program. Each call is recorded with its name.
#[derive(Clone)]
pub struct Actor {
    world: World,
    name: String,
}

impl Actor {
    pub(super) fn new(world: World, name: &str) -> Self {
        Self { world, name: name.to_owned() }
    }

    /// Returns the world of this actor.
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

/// Yields once to the executor.
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
                client_secret: what.client_secret.expose_secret(),
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
}

fn issuer_error(trouble: Trouble<EntraRefusal>, correlation_id: &str) -> IssuerError {
    let what = match trouble {
        Trouble::Refused(refused) => return IssuerError::Refused(refused.refusal),
        Trouble::Fault(what) => what,
    };
    match what {
        FaultEffect::Transport(transport) => IssuerError::Unreachable(transport),
        FaultEffect::Status { status, retry_after } | FaultEffect::Coded { status, retry_after, .. } => {
            IssuerError::Unavailable { status, retry_after }
        }
        FaultEffect::Verbatim { status, .. } | FaultEffect::Hostile { status, .. } if status >= 300 => {
            IssuerError::Unavailable { status, retry_after: None }
        }
        FaultEffect::OAuth { status, error, code, suberror } => IssuerError::Refused(Box::new(OAuthError {
            status,
            error,
            suberror,
            trace: Trace { correlation_id: Some(correlation_id.to_owned()), ..Trace::of(code) },
            ..OAuthError::default()
        })),
        FaultEffect::Garbage
        | FaultEffect::Verbatim { .. }
        | FaultEffect::Hostile { .. }
        | FaultEffect::Distort(_)
        | FaultEffect::Delay(_) => IssuerError::NotUnderstood("not a token answer"),
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
            value: new.value.expose().into(),
            attributes: Attributes { expires: Some(new.expires), ..Attributes::default() },
            content_type: Some(CONTENT_TYPE.to_owned()),
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

fn no_identity(what: &FaultEffect) -> VaultError {
    let (why, transient) = match what {
        FaultEffect::Transport(transport) => (transport.to_string(), true),
        FaultEffect::Status { status, .. }
        | FaultEffect::Coded { status, .. }
        | FaultEffect::Verbatim { status, .. }
        | FaultEffect::Hostile { status, .. } => {
            (format!("status {status}"), *status == 429 || *status >= 500)
        }
        FaultEffect::OAuth { error, code, .. } => (format!("{error} {}", code.unwrap_or_default()), false),
        FaultEffect::Garbage | FaultEffect::Distort(_) | FaultEffect::Delay(_) => {
            ("not a token answer".to_owned(), true)
        }
    };
    VaultError::no_identity(why, transient)
}

fn vault_error(trouble: Trouble<VaultRefusal>) -> VaultError {
    match trouble {
        Trouble::Refused(refused) if refused.status == 0 => VaultError::Unreachable(NoResponse::NameUnknown),
        Trouble::Refused(refused) => {
            let action = refused.action.map(|action| action.as_str().to_owned());
            match coded(refused.status, refused.inner.unwrap_or(refused.code), None) {
                VaultError::Forbidden(Forbidden::Rbac { .. }) => {
                    VaultError::Forbidden(Forbidden::Rbac { action, caller: None })
                }
                VaultError::Forbidden(Forbidden::Firewall { .. }) => {
                    VaultError::Forbidden(Forbidden::Firewall { address: refused.address })
                }
                error => error,
            }
        }
        Trouble::Fault(FaultEffect::Transport(transport)) => VaultError::Unreachable(transport),
        Trouble::Fault(FaultEffect::Status { status, retry_after }) => bare_status(status, retry_after),
        Trouble::Fault(
            FaultEffect::Verbatim { status: 200..=299, .. } | FaultEffect::Hostile { status: 200..=299, .. },
        ) => VaultError::NotUnderstood,
        Trouble::Fault(
            FaultEffect::OAuth { status, .. }
            | FaultEffect::Verbatim { status, .. }
            | FaultEffect::Hostile { status, .. },
        ) => bare_status(status, None),
        Trouble::Fault(FaultEffect::Coded { status, code, inner, retry_after }) => {
            coded(status, inner.as_deref().unwrap_or(&code), retry_after)
        }
        Trouble::Fault(FaultEffect::Garbage | FaultEffect::Distort(_) | FaultEffect::Delay(_)) => {
            VaultError::NotUnderstood
        }
    }
}

/// Converts an answer without Key Vault's body. A gateway sends such an answer, which says nothing about secrets.
fn bare_status(status: u16, retry_after: Option<Duration>) -> VaultError {
    match status {
        401 => VaultError::Unauthorized { akv: None },
        403 => VaultError::Forbidden(Forbidden::Other),
        409 => VaultError::InTransition,
        400 => VaultError::Rejected { status, code: String::new() },
        _ => VaultError::Unavailable { status, retry_after },
    }
}

fn coded(status: u16, code: &str, retry_after: Option<Duration>) -> VaultError {
    match (status, code) {
        (403, "SecretDisabled") => VaultError::Disabled,
        (403, "ForbiddenByRbac") => VaultError::Forbidden(Forbidden::Rbac { action: None, caller: None }),
        (403, "ForbiddenByPolicy") => VaultError::Forbidden(Forbidden::Policy { caller: None }),
        (403, "ForbiddenByFirewall") => VaultError::Forbidden(Forbidden::Firewall { address: None }),
        (403, "ForbiddenByConnection") => VaultError::Forbidden(Forbidden::Connection),
        (404, _) => VaultError::NotFound,
        (409, "ObjectIsDeletedButRecoverable") => VaultError::Deleted,
        (401 | 403 | 408 | 409 | 429, _) => bare_status(status, retry_after),
        (400..=499, code) => VaultError::Rejected { status, code: code.to_owned() },
        _ => VaultError::Unavailable { status, retry_after },
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
            status,
        };
        match self.world.profile(&self.name, token.expose()) {
            Ok(profile) => Ok(Acceptance {
                accepted: true,
                mfa: profile.mfa_compliant,
                tenant_id: Some(profile.tenant_id),
                company: Some(profile.company),
                status: 200,
            }),
            Err(Trouble::Refused(no)) => Ok(refused(no.status, no.code)),
            Err(Trouble::Fault(FaultEffect::Transport(transport))) => {
                Err(ResourceError::Unreachable(transport))
            }
            // Only these two statuses are a verdict.
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

fn status_of(what: &FaultEffect) -> u16 {
    match what {
        FaultEffect::Status { status, .. }
        | FaultEffect::OAuth { status, .. }
        | FaultEffect::Coded { status, .. }
        | FaultEffect::Verbatim { status, .. }
        | FaultEffect::Hostile { status, .. } => *status,
        FaultEffect::Garbage
        | FaultEffect::Distort(_)
        | FaultEffect::Delay(_)
        | FaultEffect::Transport(_) => 200,
    }
}
