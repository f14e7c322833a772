//! The three services as the loop sees them: issuer, vault, and the resource that accepts the access token. Each has
//! two shipped implementations: Azure's, and the simulated world.
//!
//! Owns the traits, their errors and what each error of Entra means (the vault's: `vault`). Errors differ by what a
//! caller can do, and never hold a secret or a body.

use std::time::Duration;

use secrecy::SecretString;
use thiserror::Error;
use uuid::Uuid;

use crate::net::no_response::NoResponse;
use crate::ports::advice::Advice;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy, Trace};
use crate::ports::oauth_error::OAuthError;
use crate::token::claims::Claims;
use crate::token::secret::SecretAddress;
use crate::token::tags::Tags;
use crate::token::version::{NewVersion, Stored, Version, VersionId};
use crate::token::{AccessToken, RefreshToken};

pub mod advice;
pub mod answer;
pub mod diagnosis;
pub mod failure;
pub mod oauth_error;
mod shared;
mod vault;

pub use self::vault::{Forbidden, VaultError};

/// The parameters of a redemption.
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

/// The issuer's successful answer.
#[derive(Clone, Debug)]
pub struct RefreshResponse {
    /// The access token for the resource.
    pub access_token: AccessToken,
    /// The successor.
    pub refresh_token: RefreshToken,
    /// The access token's lifetime.
    pub expires_in: Duration,
    /// The scopes granted, as answered.
    pub scope: Option<String>,
    /// The refresh token's lifetime, if the answer names it: Entra's usually does not (docs/azure-facts.md F107).
    pub refresh_expires_in: Option<Duration>,
    /// The ID token's claims, if there is one that can be parsed.
    pub id_claims: Option<Claims>,
}

/// The authorization server's token endpoint.
pub trait Issuer {
    /// Exchanges a refresh token for an access token and its successor.
    ///
    /// Not idempotent: if the answer is lost, an unknown successor may exist. Entra keeps the redeemed token valid
    /// (docs/azure-facts.md F109); an issuer that rotates strictly does not (`rotation::strict`).
    ///
    /// # Errors
    /// Retry for no answer, 5xx and 429; Login, Operator or Retry for a rejection, by `OAuthError::remedy`; Operator
    /// for a success without a successor.
    fn redeem(
        &self,
        what: &RefreshRequest<'_>,
    ) -> impl Future<Output = Result<RefreshResponse, IssuerError>> + Send;
}

/// Why a redemption returned no successor.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IssuerError {
    /// No answer.
    #[error("no answer from Entra: {0}")]
    Unreachable(NoResponse),
    /// An answer without an OAuth body: a gateway, a proxy, a throttle (docs/azure-facts.md F127).
    #[error("Entra answered with status {status}")]
    Unavailable {
        /// HTTP status.
        status: u16,
        /// The wait that the peer asks for.
        retry_after: Option<Duration>,
    },
    /// A 2xx that is no token answer.
    #[error("Entra's answer could not be read: {0}")]
    NotUnderstood(&'static str),
    /// A success without a refresh token: the old one stays.
    #[error("Entra returned no refresh token")]
    NoRefreshToken,
    /// An OAuth error.
    #[error("Entra refused: {}", refusal_text(.0))]
    Refused(Box<OAuthError>),
}

/// The error and its number, with a few words of meaning.
fn refusal_text(refusal: &OAuthError) -> String {
    let meaning = diagnosis::diagnose(refusal).meaning;
    match refusal.trace.code {
        Some(code) if meaning.is_empty() => {
            format!("{}, AADSTS{code} (a code that this version does not know)", refusal.error)
        }
        Some(code) => format!("{}, AADSTS{code} ({meaning})", refusal.error),
        None => match refusal.b2c_code {
            Some(code) => format!("{}, AADB2C{code}", refusal.error),
            None => refusal.error.clone(),
        },
    }
}

impl IssuerError {
    /// The remedy and the text.
    pub fn failure(&self) -> Failure {
        let retry = |kind, advice| Failure {
            advice: Some(advice),
            ..Failure::new(kind, Remedy::Retry, FailureSubject::Grant, self.to_string())
        };
        match self {
            Self::Unreachable(why) => retry(Kind::EntraUnreachable, Advice::Network(*why)),
            Self::NotUnderstood(_) => retry(Kind::EntraUnreachable, Advice::Intercepted),
            Self::Unavailable { status, retry_after } => {
                let (kind, advice) = match status {
                    429 => (Kind::EntraThrottled, Advice::Throttled),
                    500.. => (Kind::EntraUnreachable, Advice::Outage),
                    _ => (Kind::EntraUnreachable, Advice::Intercepted),
                };
                Failure {
                    retry_after: *retry_after,
                    trace: Trace::of(u32::from(*status)),
                    ..retry(kind, advice)
                }
            }
            Self::NoRefreshToken => {
                let summary = self.to_string();
                Failure::new(Kind::NoRefreshToken, Remedy::Operator, FailureSubject::Grant, summary)
            }
            Self::Refused(refusal) => {
                let found = diagnosis::diagnose(refusal);
                let about = match found.kind {
                    Kind::AppCredentialRefused => FailureSubject::AppCredential,
                    _ => FailureSubject::Grant,
                };
                Failure {
                    advice: Some(found.advice),
                    is_definite: found.is_definite,
                    retry_after: refusal.wait(),
                    trace: refusal.trace.clone(),
                    token_condemned: refusal.condemns_token(),
                    never_was_a_token: refusal.never_was_a_token(),
                    ..Failure::new(found.kind, found.remedy, about, self.to_string())
                }
            }
        }
    }
}

/// A change to a version in the vault. `None` leaves a part unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretUpdate {
    /// Whether the version is enabled.
    pub enabled: Option<bool>,
    /// All its tags: the vault replaces the set as a whole (docs/azure-facts.md F210).
    pub tags: Option<Tags>,
}

/// Key Vault's secrets. `id` is sent as the client request id.
pub trait Vault {
    /// Reads the newest version.
    ///
    /// # Errors
    /// By `VaultError::failure`; `Disabled` if the newest version is disabled.
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

    /// Lists all versions without their values, in no particular order. One request per 25 versions.
    ///
    /// # Errors
    /// By `VaultError::failure`.
    fn versions(
        &self,
        at: &SecretAddress,
        id: Uuid,
    ) -> impl Future<Output = Result<Vec<Version>, VaultError>> + Send;

    /// Creates a new version, which becomes the newest. Not idempotent: if the answer is lost, the version may exist.
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

/// The role of a secret in a call: the token's own, which may not exist yet, or a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretRole {
    /// The secret that Perennial owns.
    Own,
    /// A secret that the app's id or secret is read from.
    Source,
}

/// The resource's verdict on an access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// Whether the resource accepted it.
    pub accepted: bool,
    /// Whether the token carries MFA, if the resource says so.
    pub mfa: Option<bool>,
    /// The tenant it belongs to, as the resource sees it.
    pub tenant_id: Option<String>,
    /// The company's name, for people.
    pub company: Option<String>,
    /// HTTP status of the answer.
    pub status: u16,
}

/// The objection for `Kind::MfaRequired`: the access token itself may still name a second factor.
pub const SECOND_FACTOR: &str =
    "Partner Center wants a fresh second factor: the one of the sign-in is missing or too old";

impl Acceptance {
    /// The objection to the token; `None` if it may be used.
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
    /// Asks whether the token is accepted, including MFA. Idempotent. The implementation bounds its time.
    ///
    /// # Errors
    /// Only if there is no verdict: no answer, throttled, 5xx. Never a reason to stop rotating.
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
    /// Throttled, or an error of the service.
    #[error("Partner Center answered with status {status}")]
    Unavailable {
        /// HTTP status.
        status: u16,
    },
}
