//! Simulates Key Vault: secrets with versions, attributes, tags, soft delete and data actions, and certificates with
//! their keys.
//!
//! Invariants: Only a purge, or the end of a deleted secret's retention, removes versions. The times of a version are
//! whole seconds.

mod certificates;
mod model;
mod refusal;
mod rules;

use chrono::DurationRound as _;
use chrono::TimeDelta;

pub use self::certificates::{
    CertificateImport, CertificatePolicy, CertificateRequest, CertificateVersion, ContentType, KeySignature,
};
pub(super) use self::model::SecretState;
pub use self::model::{
    Action, Attributes, DeletedSecret, ListPage, SecretVersion, SetRequest, UpdateRequest, VaultState,
};
pub use self::refusal::VaultRefusal;
use super::ledger::{Operation, Peer};
use super::{About, Inner, Trouble, World};
use crate::process::clock::Timestamp;
use crate::token::secret::SecretAddress;

/// How long the world's vaults keep deleted secrets.
pub(super) const RETENTION: TimeDelta = TimeDelta::days(90);

/// The largest number of items on a page of a list (docs/azure-facts.md F209).
pub(super) const MAX_PAGE: usize = 25;

/// The result of an operation on a vault.
type VaultAnswer<T> = Result<T, Trouble<VaultRefusal>>;

impl World {
    /// Adds an empty vault, on which callers have all rights.
    pub fn add_vault(&self, url: &str) {
        self.lock().vaults.insert(url.trim_end_matches('/').to_owned(), VaultState::default());
    }

    /// Removes a vault, so that its name no longer resolves.
    pub fn remove_vault(&self, url: &str) {
        self.lock().vaults.remove(url);
    }

    /// Whether the world has a vault with this URL.
    pub fn has_vault(&self, url: &str) -> bool {
        self.lock().vaults.contains_key(url)
    }

    /// Changes a vault's settings: the rights, the firewall, and how long operations take.
    pub fn change_vault(&self, url: &str, change: impl FnOnce(&mut VaultState)) {
        if let Some(vault) = self.lock().vaults.get_mut(url) {
            change(vault);
        }
    }

    /// Reads a version. Without a version id, reads the newest version.
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn get_secret(
        &self,
        actor: &str,
        at: &SecretAddress,
        version: Option<&str>,
    ) -> VaultAnswer<SecretVersion> {
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

    /// Writes a new version, which becomes the newest one.
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn set_secret(&self, actor: &str, at: &SecretAddress, new: SetRequest) -> VaultAnswer<SecretVersion> {
        self.vault_call(actor, Operation::Set, at, |vault, inner| {
            vault.allow(Action::SetSecret)?;
            rules::check_new(&new)?;
            let version = inner.make_version(vault, at, new)?;
            inner.note_write(actor, at, &version);
            Ok(version)
        })
    }

    /// Changes the attributes, content type or tags of a version. Without a version id, changes the newest version.
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn update_secret(
        &self,
        actor: &str,
        at: &SecretAddress,
        version: Option<&str>,
        change: UpdateRequest,
    ) -> VaultAnswer<SecretVersion> {
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
    /// Returns an injected fault, or the vault's rejection.
    pub fn list_versions(
        &self,
        actor: &str,
        at: &SecretAddress,
        skip: usize,
        most: usize,
    ) -> VaultAnswer<ListPage<SecretVersion>> {
        self.vault_call(actor, Operation::List, at, |vault, _| {
            vault.allow(Action::ReadMetadata)?;
            let mut versions: Vec<&SecretVersion> = vault.live(at)?.versions.iter().collect();
            // All pages of the list need the same order. The ids are random, so the order says nothing about age.
            versions.sort_unstable_by(|a, b| a.id.cmp(&b.id));
            Ok(rules::page(&versions, skip, most))
        })
    }

    /// Lists a page of a vault's secrets.
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn list_secrets(
        &self,
        actor: &str,
        url: &str,
        skip: usize,
        most: usize,
    ) -> VaultAnswer<ListPage<SecretVersion>> {
        self.vault_call_on(actor, Operation::ListSecrets, url, "", |vault, _| {
            vault.allow(Action::ReadMetadata)?;
            let live = vault.secrets.values().filter(|secret| secret.deleted.is_none());
            let newest: Vec<&SecretVersion> = live.filter_map(|secret| secret.versions.last()).collect();
            Ok(rules::page(&newest, skip, most))
        })
    }

    /// Deletes a secret. The vault keeps the deleted secret (soft delete).
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn delete_secret(&self, actor: &str, at: &SecretAddress) -> VaultAnswer<DeletedSecret> {
        self.vault_call(actor, Operation::Delete, at, |vault, inner| {
            vault.allow(Action::Delete)?;
            let now = seconds(inner.time.now());
            vault.check_unmanaged(at)?;
            let secret = vault.live_mut(at)?;
            secret.deleted = Some(now);
            secret.as_deleted()
        })
    }

    /// Reads a deleted secret.
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn deleted_secret(&self, actor: &str, at: &SecretAddress) -> VaultAnswer<DeletedSecret> {
        self.vault_call(actor, Operation::GetDeleted, at, |vault, inner| {
            vault.allow(Action::ReadMetadata)?;
            vault.deleted(at, inner.time.now())?.as_deleted()
        })
    }

    /// Lists a page of a vault's deleted secrets.
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn list_deleted_secrets(
        &self,
        actor: &str,
        url: &str,
        skip: usize,
        most: usize,
    ) -> VaultAnswer<ListPage<DeletedSecret>> {
        self.vault_call_on(actor, Operation::ListDeleted, url, "", |vault, inner| {
            vault.allow(Action::ReadMetadata)?;
            let deleted = vault.all_deleted(inner.time.now());
            Ok(rules::page(&deleted.iter().collect::<Vec<_>>(), skip, most))
        })
    }

    /// Recovers a deleted secret.
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn recover_secret(&self, actor: &str, at: &SecretAddress) -> VaultAnswer<SecretVersion> {
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
    /// Returns an injected fault, or the vault's rejection.
    pub fn purge_secret(&self, actor: &str, at: &SecretAddress) -> VaultAnswer<()> {
        self.vault_call(actor, Operation::Purge, at, |vault, inner| {
            vault.allow(Action::Purge)?;
            vault.deleted(at, inner.time.now())?;
            vault.secrets.remove(&key(at));
            vault.requested.remove(&key(at));
            Ok(())
        })
    }

    /// Reads all versions of a secret, oldest first. Includes disabled versions.
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn backup_secret(&self, actor: &str, at: &SecretAddress) -> VaultAnswer<Vec<SecretVersion>> {
        self.vault_call(actor, Operation::Backup, at, |vault, _| {
            vault.allow(Action::Backup)?;
            vault.check_unmanaged(at)?;
            let versions = vault.live(at)?.all();
            rules::check_backup(versions)?;
            Ok(versions.to_vec())
        })
    }

    /// Writes the versions of a backup. The versions keep their ids and dates. Returns the newest version.
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn restore_secret(
        &self,
        actor: &str,
        at: &SecretAddress,
        versions: &[SecretVersion],
    ) -> VaultAnswer<SecretVersion> {
        self.vault_call(actor, Operation::Restore, at, |vault, inner| {
            vault.allow(Action::Restore)?;
            let newest = vault.restore(at, versions)?;
            for version in versions {
                inner.note_write(actor, at, version);
            }
            Ok(newest)
        })
    }

    fn vault_call<T>(
        &self,
        actor: &str,
        operation: Operation,
        at: &SecretAddress,
        effect: impl FnOnce(&mut VaultState, &mut Inner) -> Result<T, VaultRefusal>,
    ) -> VaultAnswer<T> {
        self.vault_call_on(actor, operation, &at.vault, at.name.as_str(), effect)
    }

    fn vault_call_on<T>(
        &self,
        actor: &str,
        operation: Operation,
        url: &str,
        name: &str,
        effect: impl FnOnce(&mut VaultState, &mut Inner) -> Result<T, VaultRefusal>,
    ) -> VaultAnswer<T> {
        self.call(
            |_| About { peer: Peer::KeyVault, operation, actor, subject: name.to_owned(), grant: None },
            |inner, _| {
                // `effect` borrows both the vault and the rest of the world mutably. So the vault leaves the map until
                // the operation ends.
                let mut vault = inner.vaults.remove(url).ok_or_else(VaultRefusal::no_vault)?;
                let now = inner.time.now();
                vault.settle(now);
                let admitted = vault.admit().and_then(|()| vault.count(operation, now));
                let result = admitted.and_then(|()| effect(&mut vault, inner));
                inner.vaults.insert(url.to_owned(), vault);
                result
            },
        )
    }
}

fn key(at: &SecretAddress) -> String {
    at.name.as_str().to_ascii_lowercase()
}

/// Rounds a time down to whole seconds, as Key Vault does (docs/azure-facts.md F208).
fn seconds(at: Timestamp) -> Timestamp {
    at.duration_trunc(TimeDelta::seconds(1)).unwrap_or(at)
}
