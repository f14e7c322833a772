//! Implements the port `CertificateStore` with the world's Key Vault.

use uuid::Uuid;

use super::super::CertificateVersion;
use super::super::ledger::Operation;
use super::errors::vault_error;
use super::{Actor, public};
use crate::ports::VaultError;
use crate::ports::certificate_store::{CertificateCreation, CertificateStore, ListedCertificate};
use crate::token::certificate::thumbprint_of;
use crate::token::secret::SecretAddress;
use crate::token::tags::Tags;
use crate::token::version::VersionId;

impl Actor {
    /// Reads all pages of the list of a certificate's versions.
    pub(super) async fn all_certificates(
        &self,
        at: &SecretAddress,
    ) -> Result<Vec<CertificateVersion>, VaultError> {
        self.enter_vault(Operation::ListCertificateVersions, at).await?;
        let mut all = Vec::new();
        let mut next = Some(0);
        while let Some(skip) = next {
            let page = self.world.list_certificate_versions(&self.name, at, skip, usize::MAX);
            let page = page.map_err(vault_error)?;
            all.extend(page.items);
            next = page.next;
        }
        Ok(all)
    }
}

impl CertificateStore for Actor {
    async fn listed_certificates(
        &self,
        at: &SecretAddress,
        _id: Uuid,
    ) -> Result<Vec<ListedCertificate>, VaultError> {
        let all = self.all_certificates(at).await?;
        let listed = all.iter().map(|found| ListedCertificate {
            version: public(found),
            thumbprint: thumbprint_of(&found.certificate.der),
        });
        Ok(listed.collect())
    }

    async fn create_certificate(
        &self,
        at: &SecretAddress,
        _id: Uuid,
    ) -> Result<CertificateCreation, VaultError> {
        self.enter_vault(Operation::GetCertificate, at).await?;
        let found = self.world.certificate_policy(&self.name, at).map_err(vault_error)?;
        self.enter_vault(Operation::CreateCertificate, at).await?;
        let made = self.world.create_certificate(&self.name, at, found.policy, Tags::new());
        made.map(|_| CertificateCreation::Begun).map_err(vault_error)
    }

    async fn tag_certificate(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        tags: &Tags,
        _id: Uuid,
    ) -> Result<(), VaultError> {
        self.enter_vault(Operation::UpdateCertificate, at).await?;
        let changed = self.world.update_certificate(&self.name, at, &version.0, tags.clone());
        changed.map(drop).map_err(vault_error)
    }

    async fn sign_proof(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        digest: &[u8; 32],
        _id: Uuid,
    ) -> Result<Vec<u8>, VaultError> {
        self.enter_vault(Operation::Sign, at).await?;
        let signed = self.world.sign(&self.name, at, Some(&version.0), "RS256", digest);
        signed.map(|signature| signature.bytes).map_err(vault_error)
    }
}
