//! The three peers as the loop sees them: issuer, vault, and the resource that accepts the access
//! token. Each has two implementors that ship: Azure's, and the in-memory world.
//!
//! Owns the traits, their errors and the one exhaustive match from each error to its remedy. Errors are
//! told apart by what a caller can do, and never carry a secret or a body.

use std::time::Duration;

use secrecy::SecretString;
use thiserror::Error;
use uuid::Uuid;

use crate::net::no_response::NoResponse;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy, Trace};
use crate::ports::oauth_error::OAuthError;
use crate::token::claims::Claims;
use crate::token::secret::SecretAddress;
use crate::token::tags::Tags;
use crate::token::version::{NewVersion, Stored, Version, VersionId};
use crate::token::{AccessToken, RefreshToken};

pub mod answer;
pub mod failure;
pub mod oauth_error;
mod shared;
mod vault;

/// What is redeemed, and as whom.
#[derive(Debug)]
pub struct RefreshRequest<'a> {
    /// Tenant: GUID or verified domain.
    pub tenant: &'a str,
    /// App.
    pub client_id: &'a str,
    /// The app's secret.
    pub client_secret: &'a SecretString,
    /// What for.
    pub scope: &'a str,
    /// The token.
    pub token: &'a RefreshToken,
    /// Sent as the client request id.
    pub rotation_id: Uuid,
}

/// The issuer's good answer.
#[derive(Clone, Debug)]
pub struct RefreshResponse {
    /// For the resource.
    pub access_token: AccessToken,
    /// The successor.
    pub refresh_token: RefreshToken,
    /// How long the access token lives.
    pub expires_in: Duration,
    /// The scopes granted, as answered.
    pub scope: Option<String>,
    /// How long the refresh token lives, where the answer says: Entra's usually does not (docs/azure-facts.md F107).
    pub refresh_expires_in: Option<Duration>,
    /// What the ID token says, where there is one that can be read.
    pub id_claims: Option<Claims>,
}

/// The authorization server's token endpoint.
pub trait Issuer {
    /// Exchanges a refresh token for an access token and its successor.
    ///
    /// Not idempotent: when the answer is lost, a successor may exist that nobody knows. Entra leaves
    /// the redeemed token alive (docs/azure-facts.md F109); an issuer that rotates strictly does not.
    ///
    /// # Errors
    /// Retry for no answer, 5xx and 429; Login, Operator or Retry for a refusal, by `OAuthError::remedy`;
    /// Operator for a good answer without a successor.
    fn redeem(
        &self,
        what: &RefreshRequest<'_>,
    ) -> impl Future<Output = Result<RefreshResponse, IssuerError>> + Send;
}

/// Why a redemption brought no successor.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IssuerError {
    /// No answer.
    #[error("no answer from the issuer: {0}")]
    Unreachable(NoResponse),
    /// An answer without an OAuth body: a gateway, a proxy, a throttle (docs/azure-facts.md F127).
    #[error("the issuer answered with status {status}")]
    Unavailable {
        /// HTTP status.
        status: u16,
        /// What the peer asked for.
        retry_after: Option<Duration>,
    },
    /// A 2xx that is not a token answer.
    #[error("the issuer's answer could not be read: {0}")]
    NotUnderstood(&'static str),
    /// A good answer without a refresh token: the old one stays.
    #[error("the issuer's answer held no refresh token")]
    NoRefreshToken,
    /// An OAuth error.
    #[error("the issuer refused: {}", refusal_text(.0))]
    Refused(Box<OAuthError>),
}

fn refusal_text(refusal: &OAuthError) -> String {
    match refusal.trace.code {
        Some(code) => format!("{} (AADSTS{code})", refusal.error),
        None => refusal.error.clone(),
    }
}

impl IssuerError {
    /// Who can fix it, and what to show.
    pub fn failure(&self) -> Failure {
        let plain = |kind, remedy| Failure::new(kind, remedy, FailureSubject::Grant, self.to_string());
        match self {
            Self::Unreachable(_) | Self::NotUnderstood(_) => plain(Kind::EntraUnreachable, Remedy::Retry),
            Self::Unavailable { status, retry_after } => Failure {
                retry_after: *retry_after,
                trace: Trace::of(u32::from(*status)),
                ..plain(Kind::EntraUnreachable, Remedy::Retry)
            },
            Self::NoRefreshToken => plain(Kind::NoRefreshToken, Remedy::Operator),
            Self::Refused(refusal) => Failure {
                about: match refusal.kind() {
                    Kind::AppCredentialRefused => FailureSubject::AppCredential,
                    _ => FailureSubject::Grant,
                },
                retry_after: refusal.wait(),
                trace: refusal.trace.clone(),
                token_condemned: refusal.condemns_token(),
                never_was_a_token: refusal.never_was_a_token(),
                ..plain(refusal.kind(), refusal.remedy())
            },
        }
    }
}

/// A change to a version that is already in the vault. What is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretUpdate {
    /// Whether it can be read.
    pub enabled: Option<bool>,
    /// All its tags: the vault replaces the set as a whole (docs/azure-facts.md F210).
    pub tags: Option<Tags>,
}

/// Key Vault's secrets. `id` goes out as the client request id.
pub trait Vault {
    /// Reads the newest version.
    ///
    /// # Errors
    /// By `VaultError::failure`; `Disabled` when the newest version is switched off.
    fn newest(&self, at: &SecretAddress, id: Uuid)
    -> impl Future<Output = Result<Stored, VaultError>> + Send;

    /// Reads one version.
    ///
    /// # Errors
    /// By `VaultError::failure`.
    fn read(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        id: Uuid,
    ) -> impl Future<Output = Result<Stored, VaultError>> + Send;

    /// Lists all versions without their values, in no promised order. One request per 25 versions.
    ///
    /// # Errors
    /// By `VaultError::failure`.
    fn versions(
        &self,
        at: &SecretAddress,
        id: Uuid,
    ) -> impl Future<Output = Result<Vec<Version>, VaultError>> + Send;

    /// Makes a new version, which becomes the newest. Not idempotent: when the answer is lost, the
    /// version may exist.
    ///
    /// # Errors
    /// By `VaultError::failure`.
    fn write(
        &self,
        at: &SecretAddress,
        new: &NewVersion,
        id: Uuid,
    ) -> impl Future<Output = Result<Version, VaultError>> + Send;

    /// Changes a version's attributes or tags, never its value. Idempotent.
    ///
    /// # Errors
    /// By `VaultError::failure`.
    fn update(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        change: &SecretUpdate,
        id: Uuid,
    ) -> impl Future<Output = Result<(), VaultError>> + Send;
}

/// Why the vault says 403.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// No role with the data action, where the answer names it.
    Rbac {
        /// As `Microsoft.KeyVault/vaults/secrets/setSecret/action`.
        action: Option<String>,
    },
    /// An access-policy vault lacks the right.
    Policy,
    /// The client's address is not allowed.
    Firewall {
        /// Our address as the vault saw it.
        address: Option<String>,
    },
    /// Only private endpoints may connect.
    Connection,
    /// Another reason.
    Other,
}

/// Why the vault did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VaultError {
    /// No answer.
    #[error("no answer from the vault: {0}")]
    Unreachable(NoResponse),
    /// A fault or a throttle on the other side.
    #[error("the vault answered with status {status}")]
    Unavailable {
        /// HTTP status.
        status: u16,
        /// What the peer asked for.
        retry_after: Option<Duration>,
    },
    /// This process could not get a token for the vault.
    #[error("no access token for the vault: {why}")]
    NoIdentity {
        /// What the credential said, without a secret.
        why: String,
        /// Whether it may pass by itself.
        transient: bool,
    },
    /// The vault does not accept the token of this process.
    #[error("the vault does not accept this process's access token (status 401)")]
    Unauthorized,
    /// The vault knows us and says no.
    #[error("the vault refuses: {}", forbidden_text(.0))]
    Forbidden(Forbidden),
    /// The version asked for is disabled.
    #[error("the version is disabled")]
    Disabled,
    /// There is no such secret or version.
    #[error("there is no such secret")]
    NotFound,
    /// The secret is deleted and can be recovered.
    #[error("the secret is deleted and can still be recovered")]
    Deleted,
    /// The secret is being deleted or recovered right now.
    #[error("the secret is being deleted or recovered")]
    InTransition,
    /// The vault does not take the request: our mistake, or a limit.
    #[error("the vault rejected the request (status {status}, {code})")]
    Rejected {
        /// HTTP status.
        status: u16,
        /// Key Vault's code, reduced to letters and digits.
        code: String,
    },
    /// A 2xx that cannot be read.
    #[error("the vault's answer could not be read")]
    NotUnderstood,
}

fn forbidden_text(why: &Forbidden) -> String {
    match why {
        Forbidden::Rbac { action: Some(action) } => format!("no role grants {action}"),
        Forbidden::Rbac { action: None } => "no role grants it".into(),
        Forbidden::Policy => "the access policy lacks the right".into(),
        Forbidden::Firewall { address: Some(address) } => format!("its firewall does not allow {address}"),
        Forbidden::Firewall { address: None } => "its firewall does not allow this address".into(),
        Forbidden::Connection => "it takes connections from private endpoints only".into(),
        Forbidden::Other => "forbidden".into(),
    }
}

/// Which secret a vault call was about: the token's own, which may not exist yet, or a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretRole {
    /// The secret that Perennial owns.
    Own,
    /// A secret that the app's id or secret is read from.
    Source,
}

/// The resource's view of an access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// Whether the resource took it.
    pub accepted: bool,
    /// What it says about the second factor, where it says anything.
    pub mfa: Option<bool>,
    /// The tenant it belongs to, as the resource sees it.
    pub tenant_id: Option<String>,
    /// The company's name, for people.
    pub company: Option<String>,
    /// HTTP status of the answer.
    pub status: u16,
}

impl Acceptance {
    /// What it means against the token: nothing where it may be used.
    pub fn objection(&self) -> Option<Kind> {
        match (self.mfa, self.accepted) {
            (Some(false), _) => Some(Kind::MfaRequired),
            (_, false) => Some(Kind::PartnerCenterRefused),
            (_, true) => None,
        }
    }
}

/// The service that accepts the access token: Partner Center.
pub trait Resource {
    /// Asks whether the token is accepted, second factor and all. Idempotent, and bounded in time by
    /// the implementor.
    ///
    /// # Errors
    /// Only when there is no verdict: no answer, throttled, 5xx. Never a reason to stop rotating.
    fn accepts(
        &self,
        token: &AccessToken,
        id: Uuid,
    ) -> impl Future<Output = Result<Acceptance, ResourceError>> + Send;
}

/// Why there is no verdict.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ResourceError {
    /// No answer.
    #[error("no answer from Partner Center: {0}")]
    Unreachable(NoResponse),
    /// Throttled or at fault.
    #[error("Partner Center answered with status {status}")]
    Unavailable {
        /// HTTP status.
        status: u16,
    },
}
