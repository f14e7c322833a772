//! Interfaces to the three services: the issuer, the vault, and the resource that accepts the access token. Each
//! interface has two implementations in this program: one for Azure and one for the simulated world.
//!
//! This module owns the traits. The errors of Entra are in `issuer_error`, and the errors of Key Vault are in `vault`.
//! If a caller must treat two errors differently, these errors are separate variants. Errors never contain a secret or
//! a body.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use thiserror::Error;
use uuid::Uuid;

use crate::net::no_response::NoResponse;
use crate::ports::client::{AppSignIn, ClientProof, VaultCertificate};
use crate::ports::failure::Kind;
use crate::process::clock::Timestamp;
use crate::token::claims::Claims;
use crate::token::secret::SecretAddress;
use crate::token::tags::Tags;
use crate::token::version::{NewVersion, Stored, Version, VersionId};
use crate::token::{AccessToken, RefreshToken};

pub mod advice;
pub mod answer;
pub mod certificate_store;
pub mod client;
pub mod diagnosis;
pub mod directory;
pub mod failure;
mod issuer_error;
pub mod oauth_error;
mod shared;
mod vault;

pub use self::issuer_error::IssuerError;
pub use self::vault::{Forbidden, VaultError};

/// The parameters of a redemption.
#[derive(Debug)]
pub struct RefreshRequest<'a> {
    /// The tenant: a GUID or a verified domain.
    pub tenant: &'a str,
    /// The app's client id.
    pub client_id: &'a str,
    /// The app's credential.
    pub proof: &'a ClientProof,
    /// The requested scope.
    pub scope: &'a str,
    /// The refresh token that is redeemed.
    pub token: &'a RefreshToken,
    /// The rotation's id, which is sent as the client request id.
    pub rotation_id: Uuid,
}

/// The issuer's successful response.
#[derive(Clone, Debug)]
pub struct RefreshResponse {
    /// The access token for the resource.
    pub access_token: AccessToken,
    /// The successor of the redeemed refresh token.
    pub refresh_token: RefreshToken,
    /// The access token's lifetime.
    pub expires_in: Duration,
    /// The granted scopes, as named in the response.
    pub scope: Option<String>,
    /// The refresh token's lifetime, if the response contains this lifetime. Entra's responses usually do not
    /// (docs/azure-facts.md F107).
    pub refresh_expires_in: Option<Duration>,
    /// The claims of the ID token, if the response has an ID token that can be parsed.
    pub id_claims: Option<Claims>,
}

/// The authorization server's token endpoint.
pub trait Issuer {
    /// Exchanges a refresh token for an access token and a new refresh token (the successor).
    ///
    /// Not idempotent: if the response is lost, an unknown successor may exist. Entra keeps the redeemed token valid
    /// (docs/azure-facts.md F109). An issuer with strict rotation invalidates the redeemed token (`rotation::strict`).
    ///
    /// # Errors
    /// Without a usable response, the error has the remedy Retry. For an OAuth error, `diagnosis` chooses the remedy. A
    /// successful response without a successor is an error with the remedy Operator.
    fn redeem(
        &self,
        what: &RefreshRequest<'_>,
    ) -> impl Future<Output = Result<RefreshResponse, IssuerError>> + Send;

    /// Requests a token for the app itself, without redeeming a refresh token. Idempotent.
    ///
    /// # Errors
    /// Returns the same errors as `redeem`. `CredentialVerdict::of` says what an error means for the credential.
    fn authenticate(&self, what: &AppSignIn<'_>) -> impl Future<Output = Result<(), IssuerError>> + Send;

    /// Returns the audience of a client assertion, which is the URL of the tenant's token endpoint. `tenant` is a GUID
    /// or a verified domain.
    fn assertion_audience(&self, tenant: &str) -> String;

    /// Returns a token of the managed identity with this client id. An app uses the token as its client assertion.
    ///
    /// # Errors
    /// `NoIdentity` if this host issues no tokens for managed identities.
    fn host_assertion(
        &self,
        client_id: &str,
    ) -> impl Future<Output = Result<SecretString, VaultError>> + Send;
}

/// A change to a version in the vault. If a field is `None`, that part of the version stays unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretUpdate {
    /// `true` enables the version, and `false` disables it.
    pub enabled: Option<bool>,
    /// The complete new set of tags, because the vault replaces all tags at once (docs/azure-facts.md F210).
    pub tags: Option<Tags>,
}

/// The expiry of the credential with which this process authenticates to Key Vault, and what to do before that date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityExpiry {
    /// The expiry time.
    pub at: Timestamp,
    /// What to do, with the command to type.
    pub action: Arc<str>,
}

/// The secrets of Key Vault. The argument `id` of a method becomes the client request id of each request.
pub trait Vault: Certificates {
    /// Returns the expiry of the secret or certificate of this process's own identity. Returns `None` if the identity
    /// has neither, or if the expiry is unknown.
    fn identity_expiry(&self) -> Option<Arc<IdentityExpiry>> {
        None
    }

    /// Reads the newest version of a secret.
    ///
    /// # Errors
    /// `VaultError::failure` gives the remedy of each error. The error is `Disabled` if the newest version is disabled.
    fn newest(&self, at: &SecretAddress, id: Uuid)
    -> impl Future<Output = Result<Stored, VaultError>> + Send;

    /// Reads one version.
    ///
    /// # Errors
    /// `VaultError::failure` gives the remedy of each error.
    fn read(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        id: Uuid,
    ) -> impl Future<Output = Result<Stored, VaultError>> + Send;

    /// Lists all versions without their values, in no particular order. The implementation sends one request per 25
    /// versions.
    ///
    /// # Errors
    /// `VaultError::failure` gives the remedy of each error.
    fn versions(
        &self,
        at: &SecretAddress,
        id: Uuid,
    ) -> impl Future<Output = Result<Vec<Version>, VaultError>> + Send;

    /// Creates a new version, which becomes the newest version. Not idempotent: if the response is lost, the version
    /// may exist.
    ///
    /// # Errors
    /// `VaultError::failure` gives the remedy of each error.
    fn write(
        &self,
        at: &SecretAddress,
        new: &NewVersion,
        id: Uuid,
    ) -> impl Future<Output = Result<Version, VaultError>> + Send;

    /// Changes the attributes or tags of a version, but never its value. Idempotent.
    ///
    /// # Errors
    /// `VaultError::failure` gives the remedy of each error.
    fn update(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        change: &SecretUpdate,
        id: Uuid,
    ) -> impl Future<Output = Result<(), VaultError>> + Send;
}

/// Key Vault's certificates, for apps whose private key stays in the vault. The argument `id` of a method becomes the
/// client request id of each request.
pub trait Certificates {
    /// Reads the public part of a certificate's version. Without a version id, reads the newest version.
    ///
    /// # Errors
    /// `VaultError::failure` gives the remedy of each error. The error is `Disabled` if the version is disabled.
    fn certificate(
        &self,
        at: &SecretAddress,
        version: Option<&VersionId>,
        id: Uuid,
    ) -> impl Future<Output = Result<VaultCertificate, VaultError>> + Send;

    /// Lists all versions of a certificate, in no particular order. The implementation sends one request per 25
    /// versions.
    ///
    /// # Errors
    /// `VaultError::failure` gives the remedy of each error.
    fn certificate_versions(
        &self,
        at: &SecretAddress,
        id: Uuid,
    ) -> impl Future<Output = Result<Vec<Version>, VaultError>> + Send;

    /// Signs a SHA-256 digest with PS256 and the private key of a version.
    ///
    /// # Errors
    /// `VaultError::failure` gives the remedy of each error.
    fn sign(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        digest: &[u8; 32],
        id: Uuid,
    ) -> impl Future<Output = Result<Vec<u8>, VaultError>> + Send;
}

/// The role of a secret, key or certificate in a vault call. The role decides what an error means. For example, if the
/// token's own secret is missing, a user must sign in. If another secret is missing, an operator must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretRole {
    /// The secret in which Perennial stores the token.
    Own,
    /// A secret or certificate from which Perennial reads the app's id or credential.
    Source,
    /// A key in the vault that signs for the app.
    SigningKey,
    /// The app's client secret, of which Perennial writes new versions.
    RenewedSecret,
    /// A certificate of which Perennial creates new versions.
    RenewedCertificate,
}

impl SecretRole {
    /// Whether the vault object in this role is a certificate with its key. In all other roles, Perennial treats the
    /// object as a secret.
    pub(crate) fn is_certificate(self) -> bool {
        matches!(self, Self::SigningKey | Self::RenewedCertificate)
    }
}

/// What the resource says about an access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// Whether the resource accepted the access token.
    pub accepted: bool,
    /// Whether the sign-in behind the access token used MFA. `None` if the resource does not say.
    pub mfa: Option<bool>,
    /// The tenant of the access token, according to the resource.
    pub tenant_id: Option<String>,
    /// The company's name, which is only displayed.
    pub company: Option<String>,
    /// Whether the resource rejected the audience of the access token. The configured scope sets the audience, so an
    /// operator must correct the scope.
    pub is_audience: bool,
    /// The HTTP status of the response.
    pub status: u16,
}

/// The text for `Kind::MfaRequired`. The text names two causes, because Partner Center can require a new sign-in even
/// after a sign-in with MFA.
pub const SECOND_FACTOR: &str =
    "Partner Center requires a new sign-in with MFA: the last sign-in had no second factor, or is too old";

impl Acceptance {
    /// Why the token cannot be used: the kind of the condition to report. `None` if the token can be used.
    pub fn objection(&self) -> Option<Kind> {
        match (self.mfa, self.accepted) {
            (Some(false), _) => Some(Kind::MfaRequired),
            (_, false) => Some(Kind::PartnerCenterRefused),
            (_, true) => None,
        }
    }
}

/// Partner Center, the service that receives the access token.
pub trait Resource {
    /// Asks the resource whether it accepts the token, and whether the sign-in used MFA. Idempotent. The implementation
    /// limits how long a check takes.
    ///
    /// # Errors
    /// An error means that the resource gave no verdict. Rotation continues after such an error.
    fn accepts(
        &self,
        token: &AccessToken,
        id: Uuid,
    ) -> impl Future<Output = Result<Acceptance, ResourceError>> + Send;
}

fn unavailable_text(status: u16) -> String {
    match status {
        429 | 500.. if status != 511 => format!("Partner Center answered with status {status}"),
        _ => format!("another server answered in place of Partner Center, with status {status}"),
    }
}

/// Why the resource gave no verdict.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ResourceError {
    /// There was no response.
    #[error("no answer from Partner Center: {0}")]
    Unreachable(NoResponse),
    /// The resource throttled the request, the resource had an internal error, or another server answered instead.
    #[error("{}", unavailable_text(*.status))]
    Unavailable {
        /// The HTTP status.
        status: u16,
    },
}
