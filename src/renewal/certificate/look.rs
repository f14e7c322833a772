//! A *look* at an app's certificates: the versions in the vault and the certificates that Entra lists, at one time. The
//! *mark* of a version is its tag `accepted-at`.
//!
//! This module is pure. A look contains no private key.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use uuid::Uuid;

use crate::ports::certificate_store::ListedCertificate;
use crate::ports::directory::{KeyRegistration, ListedKey};
use crate::process::clock::Timestamp;
use crate::renewal::look::prefix;
use crate::renewal::times::{ATTEMPTS_A_DAY, GRACE};
use crate::token::app::RenewPolicy;
use crate::token::certificate::Thumbprint;
use crate::token::secret::SecretAddress;
use crate::token::version::VersionId;

/// What the vault and Entra showed at one time.
#[derive(Clone, Debug)]
pub struct CertificateLook {
    /// `Clock::uptime` when the look began.
    pub up: TimeDelta,
    /// The time of the look: the time in the vault's response or the time of this process's clock, whichever is
    /// earlier.
    pub at: Timestamp,
    /// The newest enabled version in the vault.
    pub newest: ListedCertificate,
    /// All other versions, newest first.
    pub older: Vec<ListedCertificate>,
    /// The object id of the app registration.
    pub object_id: Uuid,
    /// The certificates that Entra lists, by Entra's id.
    pub listed: BTreeMap<Uuid, ListedKey>,
    /// Whether Entra accepted the newest version when Perennial tried this version after the look. `None` if Perennial
    /// has not tried this version since the look.
    pub newest_is_accepted: Option<bool>,
}

impl CertificateLook {
    /// Creates a look from the answers of the vault and of Entra.
    pub fn of(
        (up, at): (TimeDelta, Timestamp),
        newest: ListedCertificate,
        versions: Vec<ListedCertificate>,
        registration: KeyRegistration,
    ) -> Self {
        let mut older = versions;
        older.retain(|one| one.version.id != newest.version.id);
        older.sort_by_key(|one| std::cmp::Reverse(one.version.created));
        let listed = registration.keys.into_iter().map(|one| (one.key_id, one)).collect();
        Self { up, at, newest, older, object_id: registration.object_id, listed, newest_is_accepted: None }
    }

    /// Returns all versions, newest first.
    pub fn versions(&self) -> impl Iterator<Item = &ListedCertificate> {
        std::iter::once(&self.newest).chain(&self.older)
    }

    /// Whether Entra lists the certificate with this thumbprint.
    pub fn is_registered(&self, thumbprint: &Thumbprint) -> bool {
        self.listed.values().any(|one| one.thumbprint.as_ref() == Some(thumbprint))
    }

    /// Returns the version that the tokens use: the newest usable version with the tag `accepted-at`. If there is no
    /// such version, the tokens use the newest version.
    pub fn in_use(&self) -> &ListedCertificate {
        self.versions().find(|one| one.version.is_accepted(self.at)).unwrap_or(&self.newest)
    }

    /// Returns the version that signs the proof for a change at Entra. This is the version in use if it is registered
    /// at Entra, or else the newest registered version.
    pub fn signer(&self) -> Option<&ListedCertificate> {
        let signs = |one: &&ListedCertificate| self.is_usable(one) && self.is_registered(&one.thumbprint);
        let in_use = Some(self.in_use()).filter(signs);
        in_use.or_else(|| self.versions().find(signs))
    }

    fn is_usable(&self, one: &ListedCertificate) -> bool {
        one.version.enabled && self.end_of(one).is_none_or(|end| end > self.at)
    }

    /// Whether a new version must be created at `now`.
    pub fn is_due(&self, policy: &RenewPolicy, now: Timestamp) -> bool {
        self.end_of(&self.newest).is_some_and(|end| end - policy.before <= now)
    }

    /// The expiry of a version: in the vault or at Entra, whichever is earlier. Entra may list an earlier expiry than
    /// the certificate itself has.
    fn end_of(&self, one: &ListedCertificate) -> Option<Timestamp> {
        let same = self.listed.values().filter(|key| key.thumbprint == Some(one.thumbprint));
        // The certificate may be registered twice. In that case, the later expiry applies.
        let at_entra = same.map(|key| key.ends).max_by_key(|end| end.unwrap_or(Timestamp::MAX_UTC)).flatten();
        at_entra.into_iter().chain(one.version.expires).min()
    }

    /// Returns the next certificate to remove at Entra. A certificate can be removed only if a newer version has had
    /// the tag `accepted-at` for the grace period (`GRACE`). Perennial removes only certificates that it used or
    /// registered. Before the removal, the caller must also check that Entra accepts the newest version
    /// (`CertificateLook::newest_is_accepted`).
    pub fn removable(&self, at: &SecretAddress) -> Option<Uuid> {
        let mut replaced_at = self.newest.version.accepted_at()?;
        self.is_registered(&self.newest.thumbprint).then_some(())?;
        // A newer version may contain the same certificate as an older version. Such a certificate must stay at Entra.
        let mut kept: BTreeSet<&Thumbprint> = [&self.newest.thumbprint].into();
        let mut replaced = BTreeMap::new();
        let older = self.older.iter().filter(|one| one.version.created <= self.newest.version.created);
        for one in older {
            if replaced_at + GRACE > self.at {
                kept.insert(&one.thumbprint);
            } else if !kept.contains(&one.thumbprint) {
                replaced.insert(&one.thumbprint, one.version.accepted_at().is_some());
            }
            replaced_at = one.version.accepted_at().map_or(replaced_at, |at| at.min(replaced_at));
        }
        let prefix = prefix(at);
        let is_ours = |one: &ListedKey| one.name.as_deref().is_some_and(|name| name.starts_with(&prefix));
        let is_replaced = |one: &&ListedKey| {
            let was_used = one.thumbprint.as_ref().and_then(|hash| replaced.get(hash));
            was_used.is_some_and(|was_used| *was_used || is_ours(one))
        };
        self.listed.values().find(is_replaced).map(|one| one.key_id)
    }

    /// Whether the daily limit of new versions (`ATTEMPTS_A_DAY`) is reached. The limit includes the versions that a
    /// person or Key Vault created.
    pub fn is_spent(&self, by_this_process: usize) -> bool {
        let is_recent = |one: &&ListedCertificate| one.version.created + TimeDelta::days(1) > self.at;
        self.versions().filter(is_recent).count().max(by_this_process) >= ATTEMPTS_A_DAY
    }

    /// Returns the app's certificates of unknown origin. No version in the vault contains them, and they appeared after
    /// Perennial had begun to watch the app. `first_seen` contains the ids of the certificates that the first look of
    /// this process found.
    pub fn strangers<'a>(
        &'a self,
        policy: &'a RenewPolicy,
        first_seen: &'a BTreeSet<Uuid>,
    ) -> impl Iterator<Item = &'a ListedKey> {
        let ours: BTreeSet<Thumbprint> = self.versions().map(|one| one.thumbprint).collect();
        let watched_since = self.versions().filter_map(|one| one.version.accepted_at()).min();
        let is_new = move |one: &ListedKey| {
            let began_later = watched_since.zip(one.starts).is_some_and(|(since, starts)| starts > since);
            began_later || !first_seen.contains(&one.key_id)
        };
        self.listed.values().filter(move |one| {
            let is_ours = one.thumbprint.is_some_and(|hash| ours.contains(&hash));
            let (key_id, name) = (one.key_id.to_string(), one.name.as_deref().unwrap_or_default());
            !is_ours && !policy.knows(&key_id, name) && is_new(one)
        })
    }

    /// Returns the id under which Entra lists the certificate of this version.
    pub fn key_of(&self, one: &ListedCertificate) -> Option<Uuid> {
        let listed = self.listed.values().find(|key| key.thumbprint == Some(one.thumbprint));
        listed.map(|key| key.key_id)
    }

    pub fn version(&self, id: &VersionId) -> Option<&ListedCertificate> {
        self.versions().find(|one| one.version.id == *id)
    }
}

#[cfg(test)]
mod tests;
