//! Implements the port traits for `Arc<T>`, so that several tasks can share one adapter.

use std::sync::Arc;

use secrecy::SecretString;
use uuid::Uuid;

use super::certificate_store::{CertificateCreation, CertificateStore, ListedCertificate};
use super::client::{AppSignIn, VaultCertificate};
use super::directory::{
    Caller, CreatedSecret, Directory, DirectoryError, KeyChange, KeyRegistration, NewKey, Registration,
};
use super::{
    Acceptance, Certificates, IdentityExpiry, Issuer, IssuerError, RefreshRequest, RefreshResponse, Resource,
    ResourceError, SecretUpdate, Vault, VaultError,
};
use crate::process::clock::Timestamp;
use crate::token::AccessToken;
use crate::token::secret::SecretAddress;
use crate::token::tags::Tags;
use crate::token::version::{NewVersion, Stored, Version, VersionId};

impl<T: Issuer + Send + Sync> Issuer for Arc<T> {
    async fn redeem(&self, what: &RefreshRequest<'_>) -> Result<RefreshResponse, IssuerError> {
        (**self).redeem(what).await
    }

    async fn authenticate(&self, what: &AppSignIn<'_>) -> Result<(), IssuerError> {
        (**self).authenticate(what).await
    }

    fn assertion_audience(&self, tenant: &str) -> String {
        (**self).assertion_audience(tenant)
    }

    async fn host_assertion(&self, client_id: &str) -> Result<SecretString, VaultError> {
        (**self).host_assertion(client_id).await
    }
}

impl<T: Certificates + Send + Sync> Certificates for Arc<T> {
    async fn certificate(
        &self,
        at: &SecretAddress,
        version: Option<&VersionId>,
        id: Uuid,
    ) -> Result<VaultCertificate, VaultError> {
        (**self).certificate(at, version, id).await
    }

    async fn certificate_versions(&self, at: &SecretAddress, id: Uuid) -> Result<Vec<Version>, VaultError> {
        (**self).certificate_versions(at, id).await
    }

    async fn sign(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        digest: &[u8; 32],
        id: Uuid,
    ) -> Result<Vec<u8>, VaultError> {
        (**self).sign(at, version, digest, id).await
    }
}

impl<T: CertificateStore + Send + Sync> CertificateStore for Arc<T> {
    async fn listed_certificates(
        &self,
        at: &SecretAddress,
        id: Uuid,
    ) -> Result<Vec<ListedCertificate>, VaultError> {
        (**self).listed_certificates(at, id).await
    }

    async fn create_certificate(
        &self,
        at: &SecretAddress,
        id: Uuid,
    ) -> Result<CertificateCreation, VaultError> {
        (**self).create_certificate(at, id).await
    }

    async fn tag_certificate(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        tags: &Tags,
        id: Uuid,
    ) -> Result<(), VaultError> {
        (**self).tag_certificate(at, version, tags, id).await
    }

    async fn sign_proof(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        digest: &[u8; 32],
        id: Uuid,
    ) -> Result<Vec<u8>, VaultError> {
        (**self).sign_proof(at, version, digest, id).await
    }
}

impl<T: Vault + Send + Sync> Vault for Arc<T> {
    fn identity_expiry(&self) -> Option<Arc<IdentityExpiry>> {
        (**self).identity_expiry()
    }

    async fn newest(&self, at: &SecretAddress, id: Uuid) -> Result<Stored, VaultError> {
        (**self).newest(at, id).await
    }

    async fn read(&self, at: &SecretAddress, version: &VersionId, id: Uuid) -> Result<Stored, VaultError> {
        (**self).read(at, version, id).await
    }

    async fn versions(&self, at: &SecretAddress, id: Uuid) -> Result<Vec<Version>, VaultError> {
        (**self).versions(at, id).await
    }

    async fn write(&self, at: &SecretAddress, new: &NewVersion, id: Uuid) -> Result<Version, VaultError> {
        (**self).write(at, new, id).await
    }

    async fn update(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        change: &SecretUpdate,
        id: Uuid,
    ) -> Result<(), VaultError> {
        (**self).update(at, version, change, id).await
    }
}

impl<T: Directory + Send + Sync> Directory for Arc<T> {
    async fn registration(
        &self,
        caller: &Caller<'_>,
        client_id: &str,
        id: Uuid,
    ) -> Result<Registration, DirectoryError> {
        (**self).registration(caller, client_id, id).await
    }

    async fn add_secret(
        &self,
        caller: &Caller<'_>,
        object_id: Uuid,
        name: &str,
        ends: Timestamp,
        id: Uuid,
    ) -> Result<CreatedSecret, DirectoryError> {
        (**self).add_secret(caller, object_id, name, ends, id).await
    }

    async fn remove_secret(
        &self,
        caller: &Caller<'_>,
        object_id: Uuid,
        key_id: Uuid,
        id: Uuid,
    ) -> Result<(), DirectoryError> {
        (**self).remove_secret(caller, object_id, key_id, id).await
    }

    async fn keys(
        &self,
        caller: &Caller<'_>,
        client_id: &str,
        id: Uuid,
    ) -> Result<KeyRegistration, DirectoryError> {
        (**self).keys(caller, client_id, id).await
    }

    async fn add_key(
        &self,
        caller: &Caller<'_>,
        object_id: Uuid,
        key: &NewKey<'_>,
        change: KeyChange<'_>,
        id: Uuid,
    ) -> Result<Uuid, DirectoryError> {
        (**self).add_key(caller, object_id, key, change, id).await
    }

    async fn remove_key(
        &self,
        caller: &Caller<'_>,
        object_id: Uuid,
        key_id: Uuid,
        change: KeyChange<'_>,
        id: Uuid,
    ) -> Result<(), DirectoryError> {
        (**self).remove_key(caller, object_id, key_id, change, id).await
    }
}

impl<T: Resource + Send + Sync> Resource for Arc<T> {
    async fn accepts(&self, token: &AccessToken, id: Uuid) -> Result<Acceptance, ResourceError> {
        (**self).accepts(token, id).await
    }
}
