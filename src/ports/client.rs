//! How an app authenticates to Entra. The main types are `ClientProof` (the client secret or assertion in a request)
//! and `CredentialVerdict` (Entra's verdict on the app's credential).
//!
//! This module is pure.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::IssuerError;
use crate::ports::advice::Advice;
use crate::ports::failure::Remedy;
use crate::process::clock::Timestamp;
use crate::token::version::Version;

/// The value of `client_assertion_type` in a request with an assertion (RFC 7523, 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The client secret or assertion with which a request authenticates the app. Each request needs a new assertion.
#[derive(Clone)]
pub enum ClientProof {
    /// The client secret.
    Secret(SecretString),
    /// An assertion that Perennial or another issuer signed.
    Assertion(SecretString),
}

impl fmt::Debug for ClientProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret([REDACTED])",
            Self::Assertion(_) => "Assertion([REDACTED])",
        })
    }
}

impl ClientProof {
    /// Returns the client secret or assertion as text, for a request. Perennial also searches each answer for this
    /// text, because Perennial must not show a secret that an answer repeats.
    pub fn expose(&self) -> &str {
        match self {
            Self::Secret(text) | Self::Assertion(text) => text.expose_secret(),
        }
    }

    /// Returns the names and values of the form fields that authenticate the app in a token request.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let (key, kind) = match self {
            Self::Secret(_) => ("client_secret", None),
            Self::Assertion(_) => ("client_assertion", Some(("client_assertion_type", ASSERTION_TYPE))),
        };
        kind.into_iter().chain([(key, self.expose())])
    }
}

/// A request for an access token of the app itself, without a user. The request tests the app's credential and redeems
/// no refresh token.
#[derive(Debug)]
pub struct AppSignIn<'a> {
    /// The app's home tenant: a GUID or a verified domain.
    pub tenant: &'a str,
    /// The app's client id.
    pub client_id: &'a str,
    /// The credential.
    pub proof: &'a ClientProof,
    /// The scope, such as `https://graph.microsoft.com/.default`.
    pub scope: &'a str,
    /// The id that is sent as the client request id.
    pub id: Uuid,
}

/// What an answer of Entra says about the app's credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialVerdict {
    /// Entra authenticated the app.
    Accepted,
    /// Entra rejected the credential, perhaps because not all of Entra's servers know the credential yet.
    Rejected,
    /// Entra probably did not check the credential. For example, the app is unknown or disabled, or Perennial does not
    /// know the error.
    Untested,
    /// Entra did not answer, or the failure may be temporary.
    NoAnswer,
}

impl CredentialVerdict {
    /// Finds out what an answer says about the app's credential. Entra returns some errors, such as an error about a
    /// scope or a policy, only after the app's authentication. Such an error means that Entra accepted the credential.
    pub fn of<T>(answer: &Result<T, IssuerError>) -> Self {
        let Err(error) = answer else { return Self::Accepted };
        let failure = error.failure();
        match failure.advice {
            Some(
                Advice::ClientSecret
                | Advice::NoClientSecret
                | Advice::Assertion
                | Advice::FederatedCredential
                | Advice::Clock,
            ) => Self::Rejected,
            Some(
                Advice::AppId
                | Advice::EnableApp
                | Advice::ServicePrincipal
                | Advice::AppPlatform
                | Advice::Tenant
                | Advice::Cloud
                | Advice::Request
                | Advice::LookUp,
            ) => Self::Untested,
            _ if failure.remedy == Remedy::Retry => Self::NoAnswer,
            _ => Self::Accepted,
        }
    }
}

/// The public part of a certificate in Key Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultCertificate {
    /// The version of the certificate in Key Vault.
    pub version: Version,
    /// The certificate in DER form.
    pub der: Vec<u8>,
    /// Whether the private key can be read from the vault. `None` if Key Vault's answer does not say.
    pub is_exportable: Option<bool>,
    /// The time of the answer, by the vault's clock.
    pub read_at: Option<Timestamp>,
}
