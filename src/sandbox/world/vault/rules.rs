//! The simulated vault's limits, and its rules for secrets that are stored, deleted or restored.

use chrono::TimeDelta;
use secrecy::ExposeSecret as _;
use secrecy::SecretString;

use super::super::Inner;
use super::super::ledger::{Operation, Write};
use super::{
    Action, DeletedSecret, ListPage, MAX_PAGE, RETENTION, SecretState, SecretVersion, SetRequest,
    UpdateRequest, VaultRefusal, VaultState, key, seconds,
};
use crate::process::clock::Timestamp;
use crate::token::RefreshToken;
use crate::token::secret::SecretAddress;
use crate::token::tags::Tags;
use crate::token::version::{MAX_TAGS, VersionId};

/// The largest value that Key Vault accepts, in bytes (docs/azure-facts.md F207).
const MAX_VALUE_BYTES: usize = 25 * 1024;

/// The largest number of characters in a tag's name or in a tag's value (docs/azure-facts.md F207).
const MAX_TAG_CHARS: usize = 512;

/// The largest number of versions in a backup (docs/azure-facts.md F223).
const MAX_BACKUP: usize = 500;

/// The maximum number of new versions that a vault accepts in `LIMITS_SPAN` (docs/azure-facts.md F216).
const NEW_VERSIONS: usize = 300;
/// The maximum number of other calls that a vault accepts in `LIMITS_SPAN`.
const OTHER_CALLS: usize = 4_000;
/// The span in which a vault counts new versions and other calls.
const LIMITS_SPAN: TimeDelta = TimeDelta::seconds(10);

type Ruling<T> = Result<T, VaultRefusal>;

impl VaultState {
    pub(super) fn admit(&self) -> Ruling<()> {
        self.firewall_refuses.clone().map_or(Ok(()), |address| Err(VaultRefusal::firewall(address)))
    }

    /// Counts a call. Rejects the call if it exceeds the limit for `LIMITS_SPAN`.
    pub(super) fn count(&mut self, operation: Operation, now: Timestamp) -> Ruling<()> {
        let (lately, most) = match operation {
            Operation::Set | Operation::ImportCertificate => (&mut self.lately.0, NEW_VERSIONS),
            _ => (&mut self.lately.1, OTHER_CALLS),
        };
        while lately.front().is_some_and(|at| *at + LIMITS_SPAN <= now) {
            lately.pop_front();
        }
        if lately.len() >= most {
            return Err(VaultRefusal::throttled());
        }
        lately.push_back(now);
        Ok(())
    }

    pub(super) fn allow(&self, action: Action) -> Ruling<()> {
        if self.allowed.contains(&action) { Ok(()) } else { Err(VaultRefusal::no_role(action)) }
    }

    /// Completes recoveries that are due. Issues certificates that are due. Purges deleted secrets whose retention is
    /// over.
    pub(super) fn settle(&mut self, now: Timestamp) {
        self.secrets.retain(|_, secret| secret.deleted.is_none_or(|at| now < at + RETENTION));
        for secret in self.secrets.values_mut() {
            secret.recovering_until = secret.recovering_until.filter(|until| now < *until);
        }
        self.issue_certificates(now);
    }

    pub(in crate::sandbox::world) fn live(&self, at: &SecretAddress) -> Ruling<&SecretState> {
        let secret = self.secrets.get(&key(at)).filter(|secret| secret.deleted.is_none());
        let secret = secret.ok_or_else(|| VaultRefusal::not_found(at.name.as_str()))?;
        match secret.recovering_until {
            Some(_) => Err(VaultRefusal::being_recovered(at.name.as_str())),
            None => Ok(secret),
        }
    }

    pub(in crate::sandbox::world) fn live_mut(&mut self, at: &SecretAddress) -> Ruling<&mut SecretState> {
        self.live(at)?;
        self.secrets.get_mut(&key(at)).ok_or_else(|| VaultRefusal::not_found(at.name.as_str()))
    }

    /// Returns a deleted secret if its deletion is complete.
    pub(super) fn deleted(&mut self, at: &SecretAddress, now: Timestamp) -> Ruling<&mut SecretState> {
        let transition = self.transition;
        let secret = self.secrets.get_mut(&key(at));
        let done = secret.filter(|secret| secret.deleted.is_some_and(|since| now >= since + transition));
        done.ok_or_else(|| VaultRefusal::not_deleted(at.name.as_str()))
    }

    /// Returns all secrets whose deletion is complete.
    pub(super) fn all_deleted(&self, now: Timestamp) -> Vec<DeletedSecret> {
        let done = self.secrets.values().filter_map(|secret| secret.as_deleted().ok());
        done.filter(|secret| now >= secret.deleted_at + self.transition).collect()
    }

    /// Restores a secret from a backup. Rejects the backup if the vault has a secret or a deleted secret with this
    /// name.
    pub(super) fn restore(
        &mut self,
        at: &SecretAddress,
        versions: &[SecretVersion],
    ) -> Ruling<SecretVersion> {
        let newest = versions.last().ok_or_else(VaultRefusal::malformed_backup)?;
        if self.secrets.contains_key(&key(at)) {
            return Err(VaultRefusal::restore_conflict(at, &newest.id));
        }
        for version in versions {
            self.push(at, version.clone());
        }
        Ok(newest.clone())
    }

    pub(super) fn check_writable(&self, at: &SecretAddress, now: Timestamp) -> Ruling<()> {
        let Some(secret) = self.secrets.get(&key(at)) else { return Ok(()) };
        let name = at.name.as_str();
        match (secret.deleted, secret.recovering_until) {
            (Some(since), _) if now < since + self.transition => Err(VaultRefusal::being_deleted(name)),
            (Some(_), _) => Err(VaultRefusal::deleted(name)),
            (None, Some(_)) => Err(VaultRefusal::being_recovered(name)),
            (None, None) => Ok(()),
        }
    }

    pub(super) fn push(&mut self, at: &SecretAddress, version: SecretVersion) {
        let secret = self.secrets.entry(key(at)).or_insert_with(|| SecretState {
            name: at.name.as_str().to_owned(),
            versions: Vec::new(),
            deleted: None,
            recovering_until: None,
            backing: None,
        });
        secret.versions.push(version);
    }

    pub(in crate::sandbox::world) fn mark_deleted(&mut self, at: &SecretAddress, since: Option<Timestamp>) {
        if let Some(secret) = self.secrets.get_mut(&key(at)) {
            secret.deleted = since;
        }
    }

    pub(in crate::sandbox::world) fn drop_deleted(&mut self, at: &SecretAddress) {
        self.secrets.retain(|name, secret| *name != key(at) || secret.deleted.is_none());
    }

    /// Returns the names of the secrets that are not deleted.
    pub(in crate::sandbox::world) fn names(&self) -> impl Iterator<Item = &str> {
        self.secrets.values().filter(|secret| secret.deleted.is_none()).map(|secret| secret.name.as_str())
    }

    /// Returns the values of all versions of all secrets, including deleted secrets.
    pub(in crate::sandbox::world) fn values(&self) -> impl Iterator<Item = &SecretString> {
        self.secrets.values().flat_map(|secret| &secret.versions).map(|version| &version.value)
    }

    pub(in crate::sandbox::world) fn newest(&self, at: &SecretAddress) -> Option<&SecretVersion> {
        self.secrets.get(&key(at)).filter(|secret| secret.deleted.is_none())?.versions.last()
    }
}

impl SecretState {
    pub(super) fn pick(&self, version: Option<&str>) -> Ruling<&SecretVersion> {
        let found = match version {
            Some(id) => self.versions.iter().find(|version| version.id == id),
            None => self.versions.last(),
        };
        found.ok_or_else(|| VaultRefusal::not_found(&self.name))
    }

    pub(in crate::sandbox::world) fn pick_mut(
        &mut self,
        version: Option<&str>,
    ) -> Ruling<&mut SecretVersion> {
        let found = match version {
            Some(id) => self.versions.iter_mut().find(|version| version.id == id),
            None => self.versions.last_mut(),
        };
        found.ok_or_else(|| VaultRefusal::not_found(&self.name))
    }

    /// Returns all versions, oldest first.
    pub(in crate::sandbox::world) fn all(&self) -> &[SecretVersion] {
        &self.versions
    }

    pub(super) fn as_deleted(&self) -> Ruling<DeletedSecret> {
        let newest = self.pick(None)?.clone();
        let deleted_at = self.deleted.ok_or_else(|| VaultRefusal::not_deleted(&self.name))?;
        Ok(DeletedSecret { newest, deleted_at, purged_at: deleted_at + RETENTION })
    }
}

impl Inner {
    pub(in crate::sandbox::world) fn make_version(
        &mut self,
        vault: &mut VaultState,
        at: &SecretAddress,
        new: SetRequest,
    ) -> Ruling<SecretVersion> {
        let now = self.time.now();
        vault.check_writable(at, now)?;
        vault.check_unmanaged(at)?;
        let version = SecretVersion {
            name: vault.newest(at).map_or_else(|| at.name.as_str().to_owned(), |known| known.name.clone()),
            id: format!("{:032x}", self.rng.u128(..)),
            value: new.value,
            created: seconds(now),
            updated: seconds(now),
            attributes: new.attributes,
            content_type: new.content_type,
            tags: new.tags,
            managed: false,
        };
        vault.push(at, version.clone());
        Ok(version)
    }

    pub(in crate::sandbox::world) fn note_write(
        &mut self,
        writer: &str,
        at: &SecretAddress,
        version: &SecretVersion,
    ) {
        self.ledger.writes.push(Write {
            at: self.time.now(),
            writer: writer.to_owned(),
            secret: at.clone(),
            version: VersionId(version.id.as_str().into()),
            value: RefreshToken::new(version.value.expose_secret()),
        });
    }
}

pub(super) fn check_new(new: &SetRequest) -> Ruling<()> {
    if new.value.expose_secret().len() > MAX_VALUE_BYTES {
        return Err(VaultRefusal::bad_parameter("The secret value is larger than the supported 25k bytes."));
    }
    check_tags(Some(&new.tags))
}

pub(super) fn check_tags(tags: Option<&Tags>) -> Ruling<()> {
    let Some(tags) = tags else { return Ok(()) };
    if tags.len() > MAX_TAGS {
        return Err(VaultRefusal::bad_parameter("The number of tags exceeds the maximum allowed 15."));
    }
    let too_long = |text: &str| text.chars().count() > MAX_TAG_CHARS;
    if tags.iter().any(|(name, value)| too_long(name) || too_long(value)) {
        return Err(VaultRefusal::bad_parameter("A tag's name or value is longer than 512 characters."));
    }
    Ok(())
}

pub(super) fn check_backup(versions: &[SecretVersion]) -> Ruling<()> {
    if versions.len() > MAX_BACKUP {
        let text = format!(
            "A backup contains at most {MAX_BACKUP} versions, but the secret has {}.",
            versions.len()
        );
        return Err(VaultRefusal::bad_parameter(text));
    }
    Ok(())
}

pub(super) fn apply(version: &mut SecretVersion, change: UpdateRequest, now: Timestamp) {
    let attributes = &mut version.attributes;
    attributes.enabled = change.enabled.unwrap_or(attributes.enabled);
    attributes.expires = change.expires.or(attributes.expires);
    attributes.not_before = change.not_before.or(attributes.not_before);
    version.content_type = change.content_type.or(version.content_type.take());
    if let Some(tags) = change.tags {
        version.tags = tags;
    }
    version.updated = now;
}

pub(super) fn page<T: Clone>(all: &[&T], skip: usize, most: usize) -> ListPage<T> {
    let most = most.clamp(1, MAX_PAGE);
    let next = (skip + most < all.len()).then_some(skip + most);
    ListPage { items: all.iter().skip(skip).take(most).copied().cloned().collect(), next }
}
