//! Key Vault: secrets with versions, attributes, tags, soft delete and data actions.
//!
//! Invariants: versions are only ever added, and only a purge takes them away; times are whole seconds.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use chrono::DurationRound as _;
use chrono::TimeDelta;
use secrecy::SecretString;

mod refusal;
mod rules;

pub use self::refusal::VaultRefusal;
use super::About;
use super::Inner;
use super::Trouble;
use super::World;
use super::ledger::Operation;
use super::ledger::Peer;
use crate::token::SecretAddress;
use crate::token::Timestamp;
use crate::version::Tags;

/// What a role allows (Key Vault, built-in roles for data plane).
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
}

impl Action {
    /// All of them, as Key Vault Secrets Officer has.
    pub const ALL: [Self; 7] = [
        Self::GetSecret,
        Self::ReadMetadata,
        Self::SetSecret,
        Self::Update,
        Self::Delete,
        Self::Recover,
        Self::Purge,
    ];

    /// As a refusal names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GetSecret => "Microsoft.KeyVault/vaults/secrets/getSecret/action",
            Self::ReadMetadata => "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
            Self::SetSecret => "Microsoft.KeyVault/vaults/secrets/setSecret/action",
            Self::Update => "Microsoft.KeyVault/vaults/secrets/update/action",
            Self::Delete => "Microsoft.KeyVault/vaults/secrets/delete",
            Self::Recover => "Microsoft.KeyVault/vaults/secrets/recover/action",
            Self::Purge => "Microsoft.KeyVault/vaults/secrets/purge/action",
        }
    }
}

/// A vault.
#[derive(Clone, Debug)]
pub struct VaultState {
    /// What the caller's role allows.
    pub allowed: BTreeSet<Action>,
    /// The caller's address, where the firewall does not allow it.
    pub firewall_refuses: Option<String>,
    /// How long a deletion or a recovery takes.
    pub transition: TimeDelta,
    secrets: BTreeMap<String, SecretState>,
}

impl Default for VaultState {
    fn default() -> Self {
        Self {
            allowed: Action::ALL.into(),
            firewall_refuses: None,
            transition: TimeDelta::zero(),
            secrets: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct SecretState {
    /// As it was first written: names are compared without regard to case.
    name: String,
    /// Oldest first.
    versions: Vec<SecretVersion>,
    deleted: Option<Timestamp>,
    /// A recovery is under way until then.
    recovering_until: Option<Timestamp>,
}

/// One version of a secret.
#[derive(Clone, Debug)]
pub struct SecretVersion {
    /// The secret's name, as it was first written.
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
    /// What it is to hold.
    pub value: SecretString,
    /// Switches and dates; nothing is taken over from the version before.
    pub attributes: Attributes,
    /// MIME type.
    pub content_type: Option<String>,
    /// All its tags.
    pub tags: Tags,
}

/// A change to a version. What is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct UpdateRequest {
    /// Whether it can be read.
    pub enabled: Option<bool>,
    /// When it says it ends.
    pub expires: Option<Timestamp>,
    /// When it says it starts.
    pub not_before: Option<Timestamp>,
    /// MIME type.
    pub content_type: Option<String>,
    /// All its tags.
    pub tags: Option<Tags>,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// In no promised order. For a list of secrets, each one's newest version.
    pub items: Vec<SecretVersion>,
    /// How many to skip for the next page; none on the last.
    pub next: Option<usize>,
}

/// A deleted secret.
#[derive(Clone, Debug)]
pub struct DeletedSecret {
    /// Its newest version.
    pub newest: SecretVersion,
    /// When it was deleted.
    pub deleted_at: Timestamp,
    /// When the vault purges it by itself.
    pub purged_at: Timestamp,
}

/// What the world's vaults keep deleted secrets for.
pub(super) const RETENTION: TimeDelta = TimeDelta::days(90);

/// Key Vault's bound on a page (get-secret-versions).
pub(super) const MAX_PAGE: usize = 25;

/// The result of an operation on a vault.
type Answer<T> = Result<T, Trouble<VaultRefusal>>;

impl World {
    /// Adds an empty vault whose caller may do everything.
    pub fn add_vault(&self, url: &str) {
        self.lock().vaults.insert(url.trim_end_matches('/').to_owned(), VaultState::default());
    }

    /// Takes a vault away: its name no longer resolves.
    pub fn remove_vault(&self, url: &str) {
        self.lock().vaults.remove(url);
    }

    /// Whether there is such a vault.
    pub fn has_vault(&self, url: &str) -> bool {
        self.lock().vaults.contains_key(url)
    }

    /// Changes what a vault allows.
    pub fn change_vault(&self, url: &str, change: impl FnOnce(&mut VaultState)) {
        if let Some(vault) = self.lock().vaults.get_mut(url) {
            change(vault);
        }
    }

    /// Reads a version, or the newest.
    ///
    /// # Errors
    /// A fault, or the vault's refusal.
    pub fn get_secret(
        &self,
        actor: &str,
        at: &SecretAddress,
        version: Option<&str>,
    ) -> Answer<SecretVersion> {
        let operation = if version.is_some() { Operation::GetVersion } else { Operation::Get };
        self.vault_call(actor, operation, at, |vault, _| {
            vault.allow(Action::GetSecret)?;
            let found = vault.live(at)?.pick(version)?;
            if !found.attributes.enabled {
                return Err(VaultRefusal::disabled());
            }
            Ok(found.clone())
        })
    }

    /// Writes a new version, which becomes the newest.
    ///
    /// # Errors
    /// A fault, or the vault's refusal.
    pub fn set_secret(&self, actor: &str, at: &SecretAddress, new: SetRequest) -> Answer<SecretVersion> {
        self.vault_call(actor, Operation::Set, at, |vault, inner| {
            vault.allow(Action::SetSecret)?;
            rules::check_new(&new)?;
            let version = inner.make_version(vault, at, new)?;
            inner.note_write(actor, at, &version);
            Ok(version)
        })
    }

    /// Changes a version's attributes, content type or tags; the newest's where none is named.
    ///
    /// # Errors
    /// A fault, or the vault's refusal.
    pub fn update_secret(
        &self,
        actor: &str,
        at: &SecretAddress,
        version: Option<&str>,
        change: UpdateRequest,
    ) -> Answer<SecretVersion> {
        self.vault_call(actor, Operation::Update, at, |vault, inner| {
            vault.allow(Action::Update)?;
            rules::check_tags(change.tags.as_ref())?;
            let now = seconds(inner.time.now());
            let found = vault.live_mut(at)?.pick_mut(version)?;
            rules::apply(found, change, now);
            Ok(found.clone())
        })
    }

    /// Lists a page of a secret's versions.
    ///
    /// # Errors
    /// A fault, or the vault's refusal.
    pub fn list_versions(&self, actor: &str, at: &SecretAddress, skip: usize, most: usize) -> Answer<Page> {
        self.vault_call(actor, Operation::List, at, |vault, _| {
            vault.allow(Action::ReadMetadata)?;
            let mut versions = vault.live(at)?.versions.clone();
            // Ids are random: their order is arbitrary, and the same on every page.
            versions.sort_by(|a, b| a.id.cmp(&b.id));
            Ok(rules::page(versions, skip, most))
        })
    }

    /// Lists a page of a vault's secrets.
    ///
    /// # Errors
    /// A fault, or the vault's refusal.
    pub fn list_secrets(&self, actor: &str, url: &str, skip: usize, most: usize) -> Answer<Page> {
        self.vault_call_on(actor, Operation::ListSecrets, url, "", |vault, _| {
            vault.allow(Action::ReadMetadata)?;
            let live = vault.secrets.values().filter(|secret| secret.deleted.is_none());
            let newest = live.filter_map(|secret| secret.versions.last().cloned()).collect();
            Ok(rules::page(newest, skip, most))
        })
    }

    /// Deletes a secret, softly.
    ///
    /// # Errors
    /// A fault, or the vault's refusal.
    pub fn delete_secret(&self, actor: &str, at: &SecretAddress) -> Answer<DeletedSecret> {
        self.vault_call(actor, Operation::Delete, at, |vault, inner| {
            vault.allow(Action::Delete)?;
            let now = seconds(inner.time.now());
            let secret = vault.live_mut(at)?;
            secret.deleted = Some(now);
            secret.as_deleted()
        })
    }

    /// Looks at a deleted secret.
    ///
    /// # Errors
    /// A fault, or the vault's refusal.
    pub fn deleted_secret(&self, actor: &str, at: &SecretAddress) -> Answer<DeletedSecret> {
        self.vault_call(actor, Operation::GetDeleted, at, |vault, inner| {
            vault.allow(Action::ReadMetadata)?;
            vault.deleted(at, inner.time.now())?.as_deleted()
        })
    }

    /// Recovers a deleted secret.
    ///
    /// # Errors
    /// A fault, or the vault's refusal.
    pub fn recover_secret(&self, actor: &str, at: &SecretAddress) -> Answer<SecretVersion> {
        self.vault_call(actor, Operation::Recover, at, |vault, inner| {
            vault.allow(Action::Recover)?;
            let now = inner.time.now();
            let until = now + vault.transition;
            let secret = vault.deleted(at, now)?;
            secret.deleted = None;
            secret.recovering_until = (until > now).then_some(until);
            secret.pick(None).cloned()
        })
    }

    /// Purges a deleted secret.
    ///
    /// # Errors
    /// A fault, or the vault's refusal.
    pub fn purge_secret(&self, actor: &str, at: &SecretAddress) -> Answer<()> {
        self.vault_call(actor, Operation::Purge, at, |vault, inner| {
            vault.allow(Action::Purge)?;
            vault.deleted(at, inner.time.now())?;
            vault.secrets.remove(&key(at));
            Ok(())
        })
    }

    fn vault_call<T>(
        &self,
        actor: &str,
        operation: Operation,
        at: &SecretAddress,
        effect: impl FnOnce(&mut VaultState, &mut Inner) -> Result<T, VaultRefusal>,
    ) -> Answer<T> {
        self.vault_call_on(actor, operation, &at.vault, at.name.as_str(), effect)
    }

    fn vault_call_on<T>(
        &self,
        actor: &str,
        operation: Operation,
        url: &str,
        name: &str,
        effect: impl FnOnce(&mut VaultState, &mut Inner) -> Result<T, VaultRefusal>,
    ) -> Answer<T> {
        self.call(
            |_| About { peer: Peer::KeyVault, operation, actor, subject: name.to_owned(), grant: None },
            |inner, _| {
                // Taken out while it is worked on, so that the effect can use the rest of the world.
                let mut vault = inner.vaults.remove(url).ok_or_else(VaultRefusal::no_vault)?;
                vault.settle(inner.time.now());
                let result = vault.admit().and_then(|()| effect(&mut vault, inner));
                inner.vaults.insert(url.to_owned(), vault);
                result
            },
        )
    }
}

fn key(at: &SecretAddress) -> String {
    at.name.as_str().to_ascii_lowercase()
}

/// Key Vault keeps whole seconds.
fn seconds(at: Timestamp) -> Timestamp {
    at.duration_trunc(TimeDelta::seconds(1)).unwrap_or(at)
}
