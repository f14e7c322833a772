//! Interface to the directory: the requests to Microsoft Graph about the credentials of an app registration.
//!
//! This module owns the trait and its errors. The meaning of Microsoft Graph's codes is in `diagnosis::graph`. An error
//! never contains a secret or a body.

use std::time::Duration;

use secrecy::SecretString;
use thiserror::Error;
use uuid::Uuid;

use crate::net::no_response::NoResponse;
use crate::ports::client::ClientProof;
use crate::ports::failure::Failure;
use crate::process::clock::Timestamp;
use crate::token::certificate::Thumbprint;

/// The identity that sends a request to the directory.
#[derive(Clone, Copy, Debug)]
pub enum Caller<'a> {
    /// The identity with which this process reads the vault.
    VaultIdentity,
    /// The app itself, in its home tenant.
    App {
        /// The app's home tenant: a GUID or a verified domain.
        tenant: &'a str,
        /// The app's id.
        client_id: &'a str,
        /// The client secret or assertion that authenticates the app. Entra must still accept this credential.
        proof: &'a ClientProof,
    },
}

/// An app registration, as the directory lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The object id of the app registration. The object id is not the app's client id.
    pub object_id: Uuid,
    /// The client secrets, without their values, in no particular order.
    pub secrets: Vec<ListedSecret>,
}

/// A client secret, as the directory lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSecret {
    /// Entra's id of the secret.
    pub key_id: Uuid,
    /// The display name, which the creator chose.
    pub name: Option<String>,
    /// The first three characters of the value (docs/azure-facts.md F602). Some old secrets have no hint.
    pub hint: Option<String>,
    /// The beginning of the secret's validity. This is the time of the creation, unless the creator chose another time.
    pub starts: Option<Timestamp>,
    /// The end of the secret's validity.
    pub ends: Option<Timestamp>,
}

/// A newly created client secret. The directory returns the secret's value only once.
#[derive(Clone, Debug)]
pub struct CreatedSecret {
    /// Entra's id of the secret.
    pub key_id: Uuid,
    /// The value.
    pub value: SecretString,
    /// The end of the secret's validity.
    pub ends: Timestamp,
}

/// An app registration, with its certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRegistration {
    /// The object id of the app registration.
    pub object_id: Uuid,
    /// The certificates, in no particular order.
    pub keys: Vec<ListedKey>,
}

/// A certificate, as the directory lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedKey {
    /// Entra's id of the certificate.
    pub key_id: Uuid,
    /// The display name, which the creator chose.
    pub name: Option<String>,
    /// The hash of the certificate. `None` if the certificate's identifier in the directory is not a hash.
    pub thumbprint: Option<Thumbprint>,
    /// The beginning of the certificate's validity.
    pub starts: Option<Timestamp>,
    /// The end of the certificate's validity.
    pub ends: Option<Timestamp>,
}

/// A certificate to register.
#[derive(Clone, Debug)]
pub struct NewKey<'a> {
    /// The certificate in DER form, without a private key.
    pub der: &'a [u8],
    /// The display name.
    pub name: &'a str,
    /// The beginning of the certificate's validity.
    pub begins: Timestamp,
    /// The end of the certificate's validity.
    pub ends: Timestamp,
}

/// The authorization to change an app's certificates.
#[derive(Clone, Copy, Debug)]
pub enum KeyChange<'a> {
    /// A proof (`certificate::KeyProof`), signed with the private key of a certificate that is registered for the app.
    /// According to Microsoft's documentation, an app that sends a proof needs no permission.
    Proof(&'a SecretString),
    /// The caller's permission. With this permission, Perennial reads the whole list of certificates and then replaces
    /// the list. If another program registers a certificate between these two requests, this certificate is lost.
    Permission {
        /// The certificates that the list must contain. If the list lacks one of them, the list is outdated, and
        /// Perennial does not replace the list.
        known: &'a [Uuid],
    },
}

/// The credentials of app registrations. Each request carries the argument `id` as its client request id.
pub trait Directory {
    /// Finds an app registration by the app's client id, and lists the registration's client secrets. Idempotent.
    ///
    /// # Errors
    /// `Refused` with the status 404 if the caller's tenant has no such registration.
    fn registration(
        &self,
        caller: &Caller<'_>,
        client_id: &str,
        id: Uuid,
    ) -> impl Future<Output = Result<Registration, DirectoryError>> + Send;

    /// Creates a client secret. Not idempotent: if the response is lost, a client secret may exist whose value is
    /// unknown. The next call of `registration` lists this secret under its display name.
    ///
    /// # Errors
    /// `diagnosis::graph` gives the meaning of a refusal.
    fn add_secret(
        &self,
        caller: &Caller<'_>,
        object_id: Uuid,
        name: &str,
        ends: Timestamp,
        id: Uuid,
    ) -> impl Future<Output = Result<CreatedSecret, DirectoryError>> + Send;

    /// Removes a client secret. The call also succeeds if the secret no longer exists.
    ///
    /// # Errors
    /// `diagnosis::graph` gives the meaning of a refusal.
    fn remove_secret(
        &self,
        caller: &Caller<'_>,
        object_id: Uuid,
        key_id: Uuid,
        id: Uuid,
    ) -> impl Future<Output = Result<(), DirectoryError>> + Send;

    /// Finds an app registration by the app's client id, and lists its certificates. Idempotent.
    ///
    /// # Errors
    /// `Refused` with the status 404 if the caller's tenant has no such registration.
    fn keys(
        &self,
        caller: &Caller<'_>,
        client_id: &str,
        id: Uuid,
    ) -> impl Future<Output = Result<KeyRegistration, DirectoryError>> + Send;

    /// Registers a certificate, and returns Entra's id of the certificate. Not idempotent: a repeated request may
    /// register the certificate twice.
    ///
    /// # Errors
    /// `diagnosis::graph` gives the meaning of a refusal.
    fn add_key(
        &self,
        caller: &Caller<'_>,
        object_id: Uuid,
        key: &NewKey<'_>,
        change: KeyChange<'_>,
        id: Uuid,
    ) -> impl Future<Output = Result<Uuid, DirectoryError>> + Send;

    /// Removes a certificate. The call also succeeds if the certificate no longer exists.
    ///
    /// # Errors
    /// `diagnosis::graph` gives the meaning of a refusal.
    fn remove_key(
        &self,
        caller: &Caller<'_>,
        object_id: Uuid,
        key_id: Uuid,
        change: KeyChange<'_>,
        id: Uuid,
    ) -> impl Future<Output = Result<(), DirectoryError>> + Send;
}

/// Why a request to the directory failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DirectoryError {
    /// There was no response.
    #[error("no answer from Microsoft Graph: {0}")]
    Unreachable(NoResponse),
    /// Microsoft Graph is throttling or failing, or another server answered in its place.
    #[error("Microsoft Graph answered with status {status}")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// The wait that the service requested in `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The response has a 2xx status but is not a valid answer.
    #[error("Microsoft Graph's answer could not be read: {0}")]
    NotUnderstood(&'static str),
    /// The caller got no access token for Microsoft Graph.
    #[error("no access token for Microsoft Graph: {}", .0.summary)]
    NoToken(Box<Failure>),
    /// Microsoft Graph refused the request.
    #[error("Microsoft Graph refused the request with status {status}: {code}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Microsoft Graph's code, such as `Authorization_RequestDenied`. The code has only letters, digits, `_`, `.`
        /// and `-`.
        code: String,
    },
    /// Perennial could not read the list of certificates before the change, so nothing was changed.
    #[error("{0}")]
    Unchanged(Box<Self>),
}

impl DirectoryError {
    /// Whether the request may have taken effect although it failed.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::NotUnderstood(_) => true,
            Self::Unavailable { status, .. } => *status != 429,
            Self::NoToken(_) | Self::Refused { .. } | Self::Unchanged(_) => false,
        }
    }
}
