//! A vault's content: secrets, versions, attributes; and requests to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::TimeDelta;
use secrecy::SecretString;

use crate::process::clock::Timestamp;
use crate::token::tags::Tags;

/// The rights of a role (Key Vault, built-in roles for data plane).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Reading values.
    GetSecret,
    /// Listing, without values.
    ReadMetadata,
    /// Writing new versions.
    SetSecret,
    /// Changing attributes and tags.
    Update,
    /// Deleting, softly.
    Delete,
    /// Recovering.
    Recover,
    /// Purging.
    Purge,
    /// Reading all versions as a backup.
    Backup,
    /// Writing a backup's versions.
    Restore,
}

impl Action {
    /// All of them, as Key Vault Secrets Officer has.
    pub const ALL: [Self; 9] = [
        Self::GetSecret,
        Self::ReadMetadata,
        Self::SetSecret,
        Self::Update,
        Self::Delete,
        Self::Recover,
        Self::Purge,
        Self::Backup,
        Self::Restore,
    ];

    /// Its name in a rejection.
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
        }
    }
}

/// A vault.
#[derive(Clone, Debug)]
pub struct VaultState {
    /// The rights of the caller's role.
    pub allowed: BTreeSet<Action>,
    /// The caller's address, if the firewall rejects it.
    pub firewall_refuses: Option<String>,
    /// How long a deletion or a recovery takes.
    pub transition: TimeDelta,
    pub(super) secrets: BTreeMap<String, SecretState>,
    /// The times of recent new versions, and of other recent calls.
    pub(super) lately: (VecDeque<Timestamp>, VecDeque<Timestamp>),
}

impl Default for VaultState {
    fn default() -> Self {
        Self {
            allowed: Action::ALL.into(),
            firewall_refuses: None,
            transition: TimeDelta::zero(),
            secrets: BTreeMap::new(),
            lately: (VecDeque::new(), VecDeque::new()),
        }
    }
}

#[derive(Clone, Debug)]
pub(in crate::sandbox::world) struct SecretState {
    /// As first written: names are compared ignoring case.
    pub(super) name: String,
    /// Oldest first.
    pub(super) versions: Vec<SecretVersion>,
    pub(super) deleted: Option<Timestamp>,
    /// A recovery is in progress until then.
    pub(super) recovering_until: Option<Timestamp>,
}

/// One version of a secret.
#[derive(Clone, Debug)]
pub struct SecretVersion {
    /// The secret's name, as first written.
    pub name: String,
    /// 32 hex digits.
    pub id: String,
    /// What it holds.
    pub value: SecretString,
    /// When it was written.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
    /// Switches and dates.
    pub attributes: Attributes,
    /// MIME type, or anything.
    pub content_type: Option<String>,
    /// Its tags.
    pub tags: Tags,
}

/// The attributes a caller may set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// A disabled version cannot be read.
    pub enabled: bool,
    /// Informational only.
    pub expires: Option<Timestamp>,
    /// Informational only.
    pub not_before: Option<Timestamp>,
}

impl Default for Attributes {
    fn default() -> Self {
        Self { enabled: true, expires: None, not_before: None }
    }
}

/// A new version.
#[derive(Clone, Debug)]
pub struct SetRequest {
    /// The value.
    pub value: SecretString,
    /// Switches and dates; none is copied from the previous version.
    pub attributes: Attributes,
    /// MIME type.
    pub content_type: Option<String>,
    /// All its tags.
    pub tags: Tags,
}

/// A change to a version. `None` leaves a part unchanged.
#[derive(Clone, Debug, Default)]
pub struct UpdateRequest {
    /// Whether the version is enabled.
    pub enabled: Option<bool>,
    /// The new expiry.
    pub expires: Option<Timestamp>,
    /// The new start.
    pub not_before: Option<Timestamp>,
    /// MIME type.
    pub content_type: Option<String>,
    /// All its tags.
    pub tags: Option<Tags>,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct ListPage<T> {
    /// In no particular order. For a list of secrets, each one's newest version.
    pub items: Vec<T>,
    /// The offset of the next page; `None` on the last.
    pub next: Option<usize>,
}

/// A deleted secret.
#[derive(Clone, Debug)]
pub struct DeletedSecret {
    /// Its newest version.
    pub newest: SecretVersion,
    /// When it was deleted.
    pub deleted_at: Timestamp,
    /// When the vault purges it.
    pub purged_at: Timestamp,
}
