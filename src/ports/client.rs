//! How an app authenticates to Entra: the proof in a request, and what an answer says about the credential behind it.
//!
//! Pure.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::IssuerError;
use crate::ports::advice::Advice;
use crate::ports::failure::Remedy;
use crate::process::clock::Timestamp;
use crate::token::version::Version;

/// How a request names an assertion (RFC 7523, 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a request proves the app with. An assertion is made anew for each request.
#[derive(Clone)]
pub enum ClientProof {
    /// The client secret.
    Secret(SecretString),
    /// A signed assertion: our own, or another issuer's.
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
    /// The text that is sent, for the request and for the search for echoes.
    pub fn expose(&self) -> &str {
        match self {
            Self::Secret(text) | Self::Assertion(text) => text.expose_secret(),
        }
    }

    /// The fields of a token request.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let (key, kind) = match self {
            Self::Secret(_) => ("client_secret", None),
            Self::Assertion(_) => ("client_assertion", Some(("client_assertion_type", ASSERTION_TYPE))),
        };
        kind.into_iter().chain([(key, self.expose())])
    }
}

/// A request for a token of the app itself, which tests a credential and redeems nothing.
#[derive(Debug)]
pub struct AppSignIn<'a> {
    /// The app's home tenant: GUID or verified domain.
    pub tenant: &'a str,
    /// App.
    pub client_id: &'a str,
    /// The credential.
    pub proof: &'a ClientProof,
    /// As `https://graph.microsoft.com/.default`.
    pub scope: &'a str,
    /// Sent as the client request id.
    pub id: Uuid,
}

/// What an answer says about the app's credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialVerdict {
    /// Entra authenticated the app.
    Accepted,
    /// Entra rejected the credential, perhaps because it does not know it yet.
    Rejected,
    /// Entra did not look at the credential: the app or the tenant is unknown there, or the app is disabled.
    Untested,
    /// No answer, or one that may pass.
    NoAnswer,
}

impl CredentialVerdict {
    /// The verdict of an answer. An error from after the authentication, about a scope or a policy for example, accepts
    /// the credential.
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
    /// Its version.
    pub version: Version,
    /// The certificate in DER form.
    pub der: Vec<u8>,
    /// Whether its private key can be read; `None` if the answer does not say.
    pub is_exportable: Option<bool>,
    /// The vault's time of the answer.
    pub read_at: Option<Timestamp>,
}
