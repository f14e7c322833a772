//! The content of a vault (secrets, versions, attributes), and the requests to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::TimeDelta;
use secrecy::SecretString;

use super::certificates::{Backing, CertificateRequest};
use crate::process::clock::Timestamp;
use crate::token::tags::Tags;

/// A data action that a role of Key Vault can allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The right to read values.
    GetSecret,
    /// The right to list secrets and versions without their values.
    ReadMetadata,
    /// The right to write new versions.
    SetSecret,
    /// The right to change attributes and tags.
    Update,
    /// The right to delete a secret (soft delete).
    Delete,
    /// The right to recover a deleted secret.
    Recover,
    /// The right to purge a deleted secret.
    Purge,
    /// The right to back up a secret with all its versions.
    Backup,
    /// The right to restore all versions of a secret from a backup.
    Restore,
    /// The right to read and list certificates, without their private keys.
    ReadCertificate,
    /// The right to create certificates.
    CreateCertificate,
    /// The right to import certificates.
    ImportCertificate,
    /// The right to change the tags of certificates.
    UpdateCertificate,
    /// The right to read the public halves of keys.
    ReadKey,
    /// The right to sign with keys.
    SignWithKey,
}

impl Action {
    /// All rights. The role Key Vault Administrator has these rights.
    pub const ALL: [Self; 15] = [
        Self::GetSecret,
        Self::ReadMetadata,
        Self::SetSecret,
        Self::Update,
        Self::Delete,
        Self::Recover,
        Self::Purge,
        Self::Backup,
        Self::Restore,
        Self::ReadCertificate,
        Self::CreateCertificate,
        Self::ImportCertificate,
        Self::UpdateCertificate,
        Self::ReadKey,
        Self::SignWithKey,
    ];

    /// Returns Azure's name of the data action.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GetSecret => "Microsoft.KeyVault/vaults/secrets/getSecret/action",
            Self::ReadMetadata => "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
            Self::SetSecret => "Microsoft.KeyVault/vaults/secrets/setSecret/action",
            Self::Update => "Microsoft.KeyVault/vaults/secrets/update/action",
            Self::Delete => "Microsoft.KeyVault/vaults/secrets/delete",
            Self::Recover => "Microsoft.KeyVault/vaults/secrets/recover/action",
            Self::Purge => "Microsoft.KeyVault/vaults/secrets/purge/action",
            Self::Backup => "Microsoft.KeyVault/vaults/secrets/backup/action",
            Self::Restore => "Microsoft.KeyVault/vaults/secrets/restore/action",
            Self::ReadCertificate => "Microsoft.KeyVault/vaults/certificates/read",
            Self::CreateCertificate => "Microsoft.KeyVault/vaults/certificates/create/action",
            Self::ImportCertificate => "Microsoft.KeyVault/vaults/certificates/import/action",
            Self::UpdateCertificate => "Microsoft.KeyVault/vaults/certificates/update/action",
            Self::ReadKey => "Microsoft.KeyVault/vaults/keys/read",
            Self::SignWithKey => "Microsoft.KeyVault/vaults/keys/sign/action",
        }
    }
}

/// The state of one vault.
#[derive(Clone, Debug)]
pub struct VaultState {
    /// The rights that all callers have.
    pub allowed: BTreeSet<Action>,
    /// If set, the firewall blocks all callers, and each rejection names this IP address as the caller's address.
    pub firewall_refuses: Option<String>,
    /// The time that a deletion or a recovery takes.
    pub transition: TimeDelta,
    /// The time that the creation of a certificate takes.
    pub issuance: TimeDelta,
    pub(super) secrets: BTreeMap<String, SecretState>,
    /// The newest request for each certificate, by the certificate's name. A complete request stays in the map.
    pub(super) requested: BTreeMap<String, CertificateRequest>,
    /// The times of recent calls, for the limits on calls. The first queue has the writes of secrets and the imports of
    /// certificates. The second queue has all other calls.
    pub(super) lately: (VecDeque<Timestamp>, VecDeque<Timestamp>),
}

impl Default for VaultState {
    fn default() -> Self {
        Self {
            allowed: Action::ALL.into(),
            firewall_refuses: None,
            transition: TimeDelta::zero(),
            issuance: TimeDelta::zero(),
            secrets: BTreeMap::new(),
            requested: BTreeMap::new(),
            lately: (VecDeque::new(), VecDeque::new()),
        }
    }
}

#[derive(Clone, Debug)]
pub(in crate::sandbox::world) struct SecretState {
    /// The name as it was first written. Key Vault ignores case when it compares names.
    pub(super) name: String,
    /// The versions, oldest first.
    pub(super) versions: Vec<SecretVersion>,
    pub(super) deleted: Option<Timestamp>,
    /// The end of a recovery that is in progress.
    pub(super) recovering_until: Option<Timestamp>,
    /// The certificate and the key of each version, if the secret belongs to a certificate.
    pub(super) backing: Option<Backing>,
}

/// One version of a secret.
#[derive(Clone, Debug)]
pub struct SecretVersion {
    /// The secret's name as it was first written.
    pub name: String,
    /// The id of the version: 32 hex digits.
    pub id: String,
    /// The value of the version.
    pub value: SecretString,
    /// The time at which the version was written.
    pub created: Timestamp,
    /// The time of the last change.
    pub updated: Timestamp,
    /// Whether the version is enabled, and the dates of its validity.
    pub attributes: Attributes,
    /// The content type: a MIME type or any other text.
    pub content_type: Option<String>,
    pub tags: Tags,
    /// Whether the secret belongs to a certificate. If it does, the certificate has a version with the same id.
    pub managed: bool,
}

/// The attributes that a caller may set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Whether the version is enabled. A disabled version cannot be read.
    pub enabled: bool,
    /// The expiry date, which the vault does not enforce.
    pub expires: Option<Timestamp>,
    /// The start date of the validity, which the vault does not enforce.
    pub not_before: Option<Timestamp>,
}

impl Default for Attributes {
    fn default() -> Self {
        Self { enabled: true, expires: None, not_before: None }
    }
}

/// A request to write a new version.
#[derive(Clone, Debug)]
pub struct SetRequest {
    /// The value of the new version.
    pub value: SecretString,
    /// Whether the version is enabled, and the dates of its validity. No attribute is copied from the previous version.
    pub attributes: Attributes,
    /// The content type of the new version.
    pub content_type: Option<String>,
    /// All tags of the new version.
    pub tags: Tags,
}

/// A change to a version. A field that is `None` changes nothing.
#[derive(Clone, Debug, Default)]
pub struct UpdateRequest {
    /// Whether the version is enabled.
    pub enabled: Option<bool>,
    /// The new expiry of the version.
    pub expires: Option<Timestamp>,
    /// The new start of validity.
    pub not_before: Option<Timestamp>,
    /// The new content type of the version.
    pub content_type: Option<String>,
    /// The new set of all tags of the version.
    pub tags: Option<Tags>,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct ListPage<T> {
    /// The items in no particular order. In a list of secrets, an item is the newest version of a secret.
    pub items: Vec<T>,
    /// The offset of the next page. `None` on the last page.
    pub next: Option<usize>,
}

/// A secret that was deleted and is not purged yet.
#[derive(Clone, Debug)]
pub struct DeletedSecret {
    /// The newest version of the secret.
    pub newest: SecretVersion,
    /// The time of the deletion.
    pub deleted_at: Timestamp,
    /// The time at which the vault purges the secret.
    pub purged_at: Timestamp,
}
