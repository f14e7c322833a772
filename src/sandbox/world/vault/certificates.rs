//! Key Vault's certificates. Each certificate comes with a key and a secret that have the same name, versions and
//! attributes.
//!
//! `SecretState` stores the data that the three objects share: the attributes and tags of each version, and the time of
//! a deletion. This module stores the certificate and the key of each version. Invariant: each version of a managed
//! secret (a secret of a certificate) has a key. Keys, certificates and signatures differ in each run, even if the
//! world has the same seed.

mod content;
mod keeping;
mod making;
mod signing;

pub use self::signing::KeySignature;
use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::TimeDelta;
use secrecy::{SecretSlice, SecretString};

use super::super::certificate::PublicCertificate;
use super::super::ledger::Operation;
use super::super::{Inner, World};
use super::{
    Action, Attributes, ListPage, SecretVersion, UpdateRequest, VaultAnswer, VaultRefusal, VaultState, key,
    rules, seconds,
};
use crate::process::clock::Timestamp;
use crate::token::secret::SecretAddress;
use crate::token::tags::Tags;

/// The policy of a certificate: how the vault creates the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePolicy {
    /// Whether the secret contains the private key.
    pub exportable: bool,
    /// The content type of the secret.
    pub content_type: ContentType,
    /// The size of the key in bits: 2048, 3072 or 4096.
    pub key_size: u32,
    /// The certificate's lifetime.
    pub lifetime: TimeDelta,
    /// The subject, such as `CN=partner`. `None` stands for `CN=` and the certificate's name.
    pub subject: Option<String>,
}

impl Default for CertificatePolicy {
    /// Returns Key Vault's own default policy.
    fn default() -> Self {
        Self {
            exportable: true,
            content_type: ContentType::Pkcs12,
            key_size: 2048,
            lifetime: TimeDelta::days(365),
            subject: None,
        }
    }
}

/// The form of a certificate's secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// PKCS#12 with an empty password, in base64.
    Pkcs12,
    /// PEM: the key in PKCS#8, then the certificate.
    Pem,
}

impl ContentType {
    /// Both forms.
    pub const ALL: [Self; 2] = [Self::Pkcs12, Self::Pem];

    /// The MIME type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pkcs12 => "application/x-pkcs12",
            Self::Pem => "application/x-pem-file",
        }
    }
}

/// A certificate that was created outside the vault.
#[derive(Clone, Debug)]
pub struct CertificateImport {
    /// The certificate with its key, as PKCS#12 in base64 or as PEM.
    pub value: SecretString,
    /// The password of a PKCS#12 value.
    pub password: SecretString,
    /// Whether the secret contains the private key.
    pub exportable: bool,
    /// The content type of the secret. With `None`, the secret has the same type as the imported value.
    pub content_type: Option<ContentType>,
    /// Whether the version is enabled.
    pub enabled: bool,
    /// All tags of the version.
    pub tags: Tags,
}

/// One version of a certificate, without its private key.
#[derive(Clone, Debug)]
pub struct CertificateVersion {
    /// The certificate's name as it was first written.
    pub name: String,
    /// The id of the version: 32 hex digits. The secret's version and the key's version have the same id.
    pub id: String,
    /// The certificate and the key's public half.
    pub certificate: PublicCertificate,
    /// The certificate's newest policy, which applies to all versions.
    pub policy: CertificatePolicy,
    /// When the version was created.
    pub created: Timestamp,
    /// When the version was last changed.
    pub updated: Timestamp,
    /// The attributes. The secret's version has the same attributes.
    pub attributes: Attributes,
    /// The tags of the version.
    pub tags: Tags,
}

/// A request to create a certificate, with its state.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    /// The certificate's name, spelled as in the request.
    pub name: String,
    /// The id of the request.
    pub id: String,
    /// The id of the version that this request creates. Before the certificate is complete, the version does not exist.
    pub version: String,
    /// The signing request (PKCS#10, DER).
    pub csr: Vec<u8>,
    /// When the certificate becomes complete.
    pub due: Timestamp,
    /// Whether the certificate is complete.
    pub complete: bool,
    pending: Option<Box<PendingVersion>>,
}

#[derive(Clone, Debug)]
struct PendingVersion {
    at: SecretAddress,
    version: SecretVersion,
    policy: CertificatePolicy,
    key: VersionKey,
}

/// A certificate's policy, and for each version the X.509 certificate and the private key.
#[derive(Clone, Debug)]
pub(super) struct Backing {
    policy: CertificatePolicy,
    /// The certificate and the private key of each version, by the version's id.
    keys: BTreeMap<String, VersionKey>,
}

#[derive(Clone, Debug)]
struct VersionKey {
    certificate: PublicCertificate,
    /// The private key, as PKCS#8 in DER form.
    private: Arc<SecretSlice<u8>>,
}

impl World {
    /// Reads a version of a certificate. Without a version id, reads the newest version.
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn get_certificate(
        &self,
        actor: &str,
        at: &SecretAddress,
        version: Option<&str>,
    ) -> VaultAnswer<CertificateVersion> {
        self.vault_call(actor, Operation::GetCertificate, at, |vault, _| {
            vault.allow(Action::ReadCertificate)?;
            let found = vault.certificate(at, version)?;
            if !found.attributes.enabled {
                return Err(VaultRefusal::disabled_object("get", "certificate", "CertificateDisabled"));
            }
            Ok(found)
        })
    }

    /// Lists a page of a certificate's versions.
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn list_certificate_versions(
        &self,
        actor: &str,
        at: &SecretAddress,
        skip: usize,
        most: usize,
    ) -> VaultAnswer<ListPage<CertificateVersion>> {
        self.vault_call(actor, Operation::ListCertificateVersions, at, |vault, _| {
            vault.allow(Action::ReadCertificate)?;
            let secret = vault.managed_secret(at, "CertificateNotFound", "certificate")?;
            // The map sorts the versions by id, so all pages of the list have the same order. The ids are random, so
            // the order says nothing about age.
            let ids = secret.backing.iter().flat_map(|backing| backing.keys.keys());
            let all = ids.map(|id| secret.certificate(Some(id))).collect::<Result<Vec<_>, _>>()?;
            Ok(rules::page(&all.iter().collect::<Vec<_>>(), skip, most))
        })
    }

    /// Lists a page of a vault's certificates.
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn list_certificates(
        &self,
        actor: &str,
        url: &str,
        skip: usize,
        most: usize,
    ) -> VaultAnswer<ListPage<CertificateVersion>> {
        self.vault_call_on(actor, Operation::ListCertificates, url, "", |vault, _| {
            vault.allow(Action::ReadCertificate)?;
            let live = vault.secrets.values().filter(|secret| secret.deleted.is_none());
            let newest: Vec<CertificateVersion> =
                live.filter_map(|secret| secret.certificate(None).ok()).collect();
            Ok(rules::page(&newest.iter().collect::<Vec<_>>(), skip, most))
        })
    }

    /// Reads the policy of a certificate.
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn certificate_policy(&self, actor: &str, at: &SecretAddress) -> VaultAnswer<CertificateVersion> {
        self.vault_call(actor, Operation::GetCertificate, at, |vault, _| {
            vault.allow(Action::ReadCertificate)?;
            vault.certificate(at, None)
        })
    }

    /// Reads the newest request for a certificate.
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn certificate_request(&self, actor: &str, at: &SecretAddress) -> VaultAnswer<CertificateRequest> {
        self.vault_call(actor, Operation::GetCertificate, at, |vault, _| {
            vault.allow(Action::ReadCertificate)?;
            let found = vault.requested.get(&key(at));
            found.cloned().ok_or_else(|| VaultRefusal::nothing_pending(at.name.as_str()))
        })
    }

    /// Creates a self-signed certificate with a new key in the vault. The creation takes the time `issuance` of the
    /// vault, which is zero by default.
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn create_certificate(
        &self,
        actor: &str,
        at: &SecretAddress,
        policy: CertificatePolicy,
        tags: Tags,
    ) -> VaultAnswer<CertificateRequest> {
        self.vault_call(actor, Operation::CreateCertificate, at, |vault, inner| {
            vault.allow(Action::CreateCertificate)?;
            rules::check_tags(Some(&tags))?;
            inner.request_certificate(vault, actor, at, (policy, tags))
        })
    }

    /// Replaces the tags of a certificate version. The secret's version and the key's version get the same tags.
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn update_certificate(
        &self,
        actor: &str,
        at: &SecretAddress,
        version: &str,
        tags: Tags,
    ) -> VaultAnswer<CertificateVersion> {
        self.vault_call(actor, Operation::UpdateCertificate, at, |vault, inner| {
            vault.allow(Action::UpdateCertificate)?;
            rules::check_tags(Some(&tags))?;
            vault.certificate(at, Some(version))?;
            let now = seconds(inner.time.now());
            let found = vault.live_mut(at)?.pick_mut(Some(version))?;
            let change = UpdateRequest { tags: Some(tags), ..UpdateRequest::default() };
            rules::apply(found, change, now);
            vault.certificate(at, Some(version))
        })
    }

    /// Imports a certificate with its key. The imported version becomes the newest one.
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn import_certificate(
        &self,
        actor: &str,
        at: &SecretAddress,
        import: CertificateImport,
    ) -> VaultAnswer<CertificateVersion> {
        self.vault_call(actor, Operation::ImportCertificate, at, |vault, inner| {
            vault.allow(Action::ImportCertificate)?;
            rules::check_tags(Some(&import.tags))?;
            let now = inner.time.now();
            vault.check_certificate(at, now)?;
            let (imported, form) = content::read(&import.value, &import.password)?;
            let certificate = &imported.certificate;
            let policy = CertificatePolicy {
                exportable: import.exportable,
                content_type: import.content_type.unwrap_or(form),
                key_size: u32::try_from(certificate.key_size()).unwrap_or(u32::MAX),
                lifetime: certificate.not_after - certificate.not_before,
                subject: Some(certificate.subject.clone()),
            };
            let about = (now, import.enabled, import.tags);
            let pending = inner.pending_version(vault, at, imported, policy, about)?;
            inner.note_write(actor, at, &pending.version);
            let id = pending.version.id.clone();
            vault.complete(pending);
            vault.certificate(at, Some(&id))
        })
    }
}

impl Inner {
    pub(in crate::sandbox::world) fn request_certificate(
        &mut self,
        vault: &mut VaultState,
        writer: &str,
        at: &SecretAddress,
        (policy, tags): (CertificatePolicy, Tags),
    ) -> Result<CertificateRequest, VaultRefusal> {
        let now = self.time.now();
        vault.check_certificate(at, now)?;
        if vault.requested.get(&key(at)).is_some_and(|request| !request.complete) {
            return Err(VaultRefusal::is_pending(at.name.as_str()));
        }
        let due = now + vault.issuance;
        let serial = self.rng.u128(..);
        let (key_of_it, csr) =
            making::self_signed(at.name.as_str(), &policy, seconds(due), serial, self.shares_keys)?;
        let pending = self.pending_version(vault, at, key_of_it, policy, (due, true, tags))?;
        self.note_write(writer, at, &pending.version);
        let request = CertificateRequest {
            name: at.name.as_str().to_owned(),
            id: format!("{:032x}", self.rng.u128(..)),
            version: pending.version.id.clone(),
            csr,
            due,
            complete: false,
            pending: Some(Box::new(pending)),
        };
        vault.requested.insert(key(at), request);
        vault.issue_certificates(now);
        Ok(vault.requested[&key(at)].clone())
    }

    /// Builds a new version of a certificate and its secret, but does not add the version to the vault.
    /// `VaultState::complete` adds the version.
    fn pending_version(
        &mut self,
        vault: &VaultState,
        at: &SecretAddress,
        key: VersionKey,
        policy: CertificatePolicy,
        (time, enabled, tags): (Timestamp, bool, Tags),
    ) -> Result<PendingVersion, VaultRefusal> {
        let certificate = &key.certificate;
        let attributes = Attributes {
            enabled,
            expires: Some(certificate.not_after),
            not_before: Some(certificate.not_before),
        };
        let version = SecretVersion {
            name: vault.newest(at).map_or_else(|| at.name.as_str().to_owned(), |known| known.name.clone()),
            id: format!("{:032x}", self.rng.u128(..)),
            value: content::write(&key, &policy)?,
            created: seconds(time),
            updated: seconds(time),
            attributes,
            content_type: Some(policy.content_type.as_str().to_owned()),
            tags,
            managed: true,
        };
        Ok(PendingVersion { at: at.clone(), version, policy, key })
    }
}
