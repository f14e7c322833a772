//! Calls the vaults within the limits that all tokens and renewals of a process share.

use std::sync::Arc;

use uuid::Uuid;

use crate::ports::certificate_store::{CertificateCreation, CertificateStore, ListedCertificate};
use crate::ports::client::VaultCertificate;
use crate::ports::{Certificates, IdentityExpiry, SecretUpdate, Vault, VaultError};
use crate::rotation::pace::{Limited, hash};
use crate::rotation::schedule;
use crate::rotation::state::further_pages;
use crate::rotation::turns::Turns;
use crate::token::secret::SecretAddress;
use crate::token::tags::Tags;
use crate::token::version::{NewVersion, Stored, Version, VersionId};

/// A wrapper of the vault that takes a permit for each request and counts the request. For a new version, the caller
/// has already taken the permit.
#[derive(Debug)]
pub(crate) struct Paced<'a, V> {
    pub(crate) vault: &'a V,
    pub(crate) turns: &'a Turns,
    /// Whether these calls take precedence over those of other tokens.
    pub(crate) urgent: bool,
}

impl<V> Paced<'_, V> {
    async fn counted<T>(
        &self,
        at: &SecretAddress,
        call: impl Future<Output = Result<T, VaultError>>,
    ) -> Result<T, VaultError> {
        let mut permit = self.turns.take(Limited::Calls(hash(&at.vault)), self.urgent).await;
        if let Some(permit) = &mut permit {
            permit.begin();
        }
        self.heeded(at, call.await)
    }

    /// Counts the further pages of a list. Their number is known only after the answer.
    fn note_pages(&self, at: &SecretAddress, versions: usize) {
        self.turns.note(Limited::Calls(hash(&at.vault)), further_pages(versions));
    }

    /// Applies a pause that the vault requests. Until the pause ends, a token of that vault begins a step only if the
    /// token has a held successor.
    fn heeded<T>(&self, at: &SecretAddress, answer: Result<T, VaultError>) -> Result<T, VaultError> {
        if let Err(VaultError::Unavailable { retry_after: Some(after), .. }) = &answer {
            self.turns.pause(Limited::Vault(hash(&at.vault)), (*after).min(schedule::LONGEST));
        }
        answer
    }
}

impl<V: Vault + Sync> Certificates for Paced<'_, V> {
    async fn certificate(
        &self,
        at: &SecretAddress,
        version: Option<&VersionId>,
        id: Uuid,
    ) -> Result<VaultCertificate, VaultError> {
        self.counted(at, self.vault.certificate(at, version, id)).await
    }

    async fn certificate_versions(&self, at: &SecretAddress, id: Uuid) -> Result<Vec<Version>, VaultError> {
        let listed = self.counted(at, self.vault.certificate_versions(at, id)).await?;
        self.note_pages(at, listed.len());
        Ok(listed)
    }

    async fn sign(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        digest: &[u8; 32],
        id: Uuid,
    ) -> Result<Vec<u8>, VaultError> {
        self.counted(at, self.vault.sign(at, version, digest, id)).await
    }
}

impl<V: CertificateStore + Sync> CertificateStore for Paced<'_, V> {
    async fn listed_certificates(
        &self,
        at: &SecretAddress,
        id: Uuid,
    ) -> Result<Vec<ListedCertificate>, VaultError> {
        let listed = self.counted(at, self.vault.listed_certificates(at, id)).await?;
        self.note_pages(at, listed.len());
        Ok(listed)
    }

    async fn create_certificate(
        &self,
        at: &SecretAddress,
        id: Uuid,
    ) -> Result<CertificateCreation, VaultError> {
        self.counted(at, self.vault.create_certificate(at, id)).await
    }

    async fn tag_certificate(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        tags: &Tags,
        id: Uuid,
    ) -> Result<(), VaultError> {
        self.counted(at, self.vault.tag_certificate(at, version, tags, id)).await
    }

    async fn sign_proof(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        digest: &[u8; 32],
        id: Uuid,
    ) -> Result<Vec<u8>, VaultError> {
        self.counted(at, self.vault.sign_proof(at, version, digest, id)).await
    }
}

impl<V: Vault + Sync> Vault for Paced<'_, V> {
    fn identity_expiry(&self) -> Option<Arc<IdentityExpiry>> {
        self.vault.identity_expiry()
    }

    async fn newest(&self, at: &SecretAddress, id: Uuid) -> Result<Stored, VaultError> {
        self.counted(at, self.vault.newest(at, id)).await
    }

    async fn read(&self, at: &SecretAddress, version: &VersionId, id: Uuid) -> Result<Stored, VaultError> {
        self.counted(at, self.vault.read(at, version, id)).await
    }

    async fn versions(&self, at: &SecretAddress, id: Uuid) -> Result<Vec<Version>, VaultError> {
        let listed = self.counted(at, self.vault.versions(at, id)).await?;
        self.note_pages(at, listed.len());
        Ok(listed)
    }

    async fn write(&self, at: &SecretAddress, new: &NewVersion, id: Uuid) -> Result<Version, VaultError> {
        self.heeded(at, self.vault.write(at, new, id).await)
    }

    async fn update(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        change: &SecretUpdate,
        id: Uuid,
    ) -> Result<(), VaultError> {
        self.counted(at, self.vault.update(at, version, change, id)).await
    }
}

#[cfg(test)]
mod tests;
