//! Interface to Key Vault's certificates, for an app whose certificate Perennial renews.

use uuid::Uuid;

use crate::ports::VaultError;
use crate::token::certificate::Thumbprint;
use crate::token::secret::SecretAddress;
use crate::token::tags::Tags;
use crate::token::version::{Version, VersionId};

/// An entry in the list of a certificate's versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedCertificate {
    /// The version, with its tags.
    pub version: Version,
    /// The hash by which the app registration identifies the certificate.
    pub thumbprint: Thumbprint,
}

/// The result of a request for a new version of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateCreation {
    /// The vault is creating the version. The creation may take a minute.
    Begun,
    /// The certificate's policy names an issuer that is not the vault itself. Nothing was created.
    OtherIssuer,
}

/// Key Vault's certificates. Each `id` is sent as the client request id.
pub trait CertificateStore {
    /// Lists all versions, in no particular order. Sends one request per 25 versions.
    ///
    /// # Errors
    /// `VaultError::failure` gives the remedy of each error.
    fn listed_certificates(
        &self,
        at: &SecretAddress,
        id: Uuid,
    ) -> impl Future<Output = Result<Vec<ListedCertificate>, VaultError>> + Send;

    /// Reads the certificate's policy, and requests a new version from the vault according to this policy. Not
    /// idempotent: if the response is lost, the version may exist.
    ///
    /// # Errors
    /// `VaultError::failure` gives the remedy of each error.
    fn create_certificate(
        &self,
        at: &SecretAddress,
        id: Uuid,
    ) -> impl Future<Output = Result<CertificateCreation, VaultError>> + Send;

    /// Replaces the tags of a version. Idempotent.
    ///
    /// # Errors
    /// `VaultError::failure` gives the remedy of each error.
    fn tag_certificate(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        tags: &Tags,
        id: Uuid,
    ) -> impl Future<Output = Result<(), VaultError>> + Send;

    /// Signs a SHA-256 digest with RS256 and the private key of a version. Microsoft Graph requires RS256 for the proof
    /// in `addKey` and `removeKey` (docs/azure-facts.md F608).
    ///
    /// # Errors
    /// `VaultError::failure` gives the remedy of each error.
    fn sign_proof(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        digest: &[u8; 32],
        id: Uuid,
    ) -> impl Future<Output = Result<Vec<u8>, VaultError>> + Send;
}
