//! Rehearses a certificate's renewal, for `check`. Nothing is changed.

use uuid::Uuid;

use crate::ports::certificate_store::CertificateStore;
use crate::ports::directory::{Directory, DirectoryError, KeyChange};
use crate::ports::failure::Failure;
use crate::ports::{Issuer, Vault};
use crate::renewal::certificate::failures::is_about_proof;
use crate::renewal::certificate::look::CertificateLook;
use crate::renewal::certificate::renewer::CertificateRenewer;

impl<I: Issuer + Sync, V: Vault + CertificateStore + Sync, D: Directory + Sync> CertificateRenewer<I, V, D> {
    /// Reads the vault and the app registration. If `writes` is set, writes the tags of the newest version again,
    /// unchanged. Then requests the removal of a certificate or secret that does not exist. Entra's error shows whether
    /// this caller may manage the app's credentials, and the request changes nothing.
    ///
    /// # Errors
    /// Returns why a renewal would fail.
    pub async fn rehearse(&self, writes: bool, id: Uuid) -> Result<CertificateLook, Failure> {
        let (client_id, look) = self.look(id).await?;
        if writes {
            let version = &look.newest.version;
            let written =
                self.0.vaults().tag_certificate(&self.0.target.at, &version.id, &version.tags, id).await;
            written.map_err(|error| self.vault(&error))?;
        }
        let own = self.own_proof(&look, &client_id, id).await?;
        let caller = self.0.caller(&client_id, &own);
        let refusal = match look.signer() {
            None if look.newest.version.accepted_at().is_some() => {
                return Err(self.no_signer(&client_id, &look.newest));
            }
            None => self.no_signer(&client_id, &look.newest),
            Some(signer) => {
                let proof = self.key_proof(&look, signer, id).await?;
                let change = KeyChange::Proof(&proof);
                match self.0.directory.remove_key(&caller, look.object_id, id, change, id).await {
                    Ok(()) | Err(DirectoryError::Refused { status: 400, .. }) => return Ok(look),
                    Err(error) if is_about_proof(&error) => self.unregistered(&client_id, &error),
                    Err(error) => return Err(error.failure(&self.0.subject(&client_id))),
                }
            }
        };
        // A caller with the right permission can change the certificates without a proof. The removal of a secret needs
        // the same permission, so this request tests the permission.
        match self.0.directory.remove_secret(&caller, look.object_id, id, id).await {
            Ok(()) | Err(DirectoryError::Refused { status: 400, .. }) => Ok(look),
            Err(error) => Err(self.unless_permitted(refusal, &error, &client_id)),
        }
    }
}
