//! The vault's rules for certificates and for the secrets that belong to them.

use super::super::model::{SecretState, VaultState};
use super::super::{VaultRefusal, key};
use super::{Backing, CertificateVersion, PendingVersion};
use crate::process::clock::Timestamp;
use crate::token::secret::SecretAddress;

type Kept<T> = Result<T, VaultRefusal>;

impl VaultState {
    /// Rejects a write, a deletion or a backup of a secret that belongs to a certificate.
    pub(in crate::sandbox::world::vault) fn check_unmanaged(&self, at: &SecretAddress) -> Kept<()> {
        let managed = self.secrets.get(&key(at)).is_some_and(|secret| secret.backing.is_some());
        if managed { Err(VaultRefusal::managed(at.name.as_str())) } else { Ok(()) }
    }

    /// Checks whether a certificate with this name can be created or imported.
    pub(super) fn check_certificate(&self, at: &SecretAddress, now: Timestamp) -> Kept<()> {
        self.check_writable(at, now)?;
        let plain = self.secrets.get(&key(at)).is_some_and(|secret| secret.backing.is_none());
        if plain { Err(VaultRefusal::name_in_use(at.name.as_str())) } else { Ok(()) }
    }

    /// Completes all due requests for certificates.
    pub(in crate::sandbox::world::vault) fn issue_certificates(&mut self, now: Timestamp) {
        let due = self.requested.values_mut().filter(|request| request.due <= now);
        let made = due.filter_map(|request| {
            request.complete = true;
            request.pending.take()
        });
        for version in made.collect::<Vec<_>>() {
            self.complete(*version);
        }
    }

    pub(super) fn complete(&mut self, pending: PendingVersion) {
        let PendingVersion { at, version, policy, key: of_version } = pending;
        let id = version.id.clone();
        self.push(&at, version);
        if let Some(secret) = self.secrets.get_mut(&key(&at)) {
            let keys = secret.backing.take().map(|backing| backing.keys).unwrap_or_default();
            let backing = secret.backing.insert(Backing { policy, keys });
            backing.keys.insert(id, of_version);
        }
    }

    pub(super) fn managed_secret(
        &self,
        at: &SecretAddress,
        code: &'static str,
        kind: &str,
    ) -> Kept<&SecretState> {
        let absent = || VaultRefusal::absent(code, kind, at.name.as_str());
        match self.live(at) {
            Ok(secret) if secret.backing.is_some() => Ok(secret),
            Err(refusal) if refusal.status != 404 => Err(refusal),
            Ok(_) | Err(_) => Err(absent()),
        }
    }

    pub(in crate::sandbox::world) fn certificate(
        &self,
        at: &SecretAddress,
        version: Option<&str>,
    ) -> Kept<CertificateVersion> {
        self.managed_secret(at, "CertificateNotFound", "certificate")?.certificate(version)
    }
}

impl SecretState {
    /// Returns a version of the certificate to which this secret belongs.
    pub(super) fn certificate(&self, version: Option<&str>) -> Kept<CertificateVersion> {
        let absent = || VaultRefusal::absent("CertificateNotFound", "certificate", &self.name);
        let backing = self.backing.as_ref().ok_or_else(absent)?;
        let secret = self.pick(version).map_err(|_| absent())?;
        let key = backing.keys.get(&secret.id).ok_or_else(absent)?;
        Ok(CertificateVersion {
            name: self.name.clone(),
            id: secret.id.clone(),
            certificate: key.certificate.clone(),
            policy: backing.policy.clone(),
            created: secret.created,
            updated: secret.updated,
            attributes: secret.attributes.clone(),
            tags: secret.tags.clone(),
        })
    }
}
