//! A *look* at an app's client secrets: the versions in the vault and the secrets that Entra lists, at one time. The
//! *held* secret is the secret whose value is in the newest version. A version *carries* a secret if the version's tag
//! `key-id` contains the secret's id at Entra. This module decides which of the listed secrets belong to Perennial.
//!
//! This module is pure. A look contains no secret value.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use uuid::Uuid;

use crate::ports::directory::{ListedSecret, Registration};
use crate::process::clock::Timestamp;
use crate::renewal::times::{ATTEMPTS_A_DAY, GRACE, ORPHAN_AGE};
use crate::token::app::RenewPolicy;
use crate::token::secret::SecretAddress;
use crate::token::version::{Version, tag};

/// What the vault and Entra showed at one time.
#[derive(Clone, Debug)]
pub struct CredentialLook {
    /// `Clock::uptime` when the look began.
    pub up: TimeDelta,
    /// The time of the look: the time in the vault's response or the time of this process's clock, whichever is
    /// earlier.
    pub at: Timestamp,
    /// The newest version in the vault. Its value is the held secret.
    pub newest: Version,
    /// The versions that carry a secret, by Entra's id of this secret.
    pub(super) carried: BTreeMap<Uuid, Version>,
    /// Entra's ids of earlier held secrets, from the tag `replaces` of the versions that replaced these secrets.
    pub(super) replaced: BTreeSet<Uuid>,
    /// When the vault stored the first version with a secret that Perennial created.
    pub(super) watched_since: Option<Timestamp>,
    /// The object id of the app registration.
    pub object_id: Uuid,
    /// The secrets that Entra lists, by Entra's id.
    pub listed: BTreeMap<Uuid, ListedSecret>,
    /// The ids of the listed secrets that may be the held secret. Entra can give a hint: the secret's first characters.
    /// A listed secret may be the held secret if it has no hint, or if the value in the newest version begins with the
    /// hint. All other listed secrets are certainly not the held secret.
    pub may_be_held: BTreeSet<Uuid>,
    /// Whether Entra accepted the held secret when Perennial tried this secret after the look. `None` if Perennial has
    /// not tried this secret since the look.
    pub held_is_accepted: Option<bool>,
}

/// When the held secret expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldEnd {
    /// Entra lists no secret that can be the held secret.
    NotListed,
    /// The expiry of the held secret. If several listed secrets can be the held secret, this is their earliest expiry.
    /// `None` if no expiry is known.
    At(Option<Timestamp>),
}

/// Why Perennial removes a secret at Entra.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A newer secret has been in the vault for the grace period.
    Superseded,
    /// No version in the vault carries the secret.
    Orphaned,
    /// The answer to the secret's creation was lost, so the value is unknown.
    AnswerLost,
    /// Entra did not accept the secret in time.
    NotSettled,
    /// The secret could not be saved in time.
    NotSaved,
    /// Another instance or a person stored a new secret first.
    NotNeeded,
    /// The secret cannot be tried, because Entra rejects the app or the tenant before it checks a secret.
    NotTried,
}

impl Reason {
    /// Returns the text that messages and logs show for the reason.
    pub fn text(self) -> &'static str {
        match self {
            Self::Superseded => "a newer client secret has been in the vault for a week",
            Self::Orphaned => "no version in the vault contains the secret",
            Self::AnswerLost => "the answer to the secret's creation was lost",
            Self::NotSettled => "after an hour, Entra still rejected the secret in some or all tests",
            Self::NotSaved => "the secret could not be saved in the vault in time",
            Self::NotNeeded => "another client secret was stored first",
            Self::NotTried => "Entra rejects the app or its tenant, so the secret cannot be tested",
        }
    }

    /// Whether this reason applies to a new secret of this process. As far as this process knows, such a secret was
    /// never in the vault.
    pub fn is_of_attempt(self) -> bool {
        !matches!(self, Self::Superseded | Self::Orphaned)
    }

    /// Whether a removal for this reason means that a renewal failed.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::NotSettled | Self::NotSaved)
    }
}

impl CredentialLook {
    /// Creates a look from the answers of the vault and of Entra. `value` is the value of the newest version.
    pub fn of(
        (up, at): (TimeDelta, Timestamp),
        newest: Version,
        versions: impl IntoIterator<Item = Version>,
        value: &str,
        registration: Registration,
    ) -> Self {
        let fits = |one: &&ListedSecret| one.hint.as_deref().is_none_or(|hint| value.starts_with(hint));
        let may_be_held = registration.secrets.iter().filter(fits).map(|one| one.key_id).collect();
        let (mut carried, mut replaced) = (BTreeMap::new(), BTreeSet::new());
        // The list of versions was read separately and may lack the newest version, so the newest version is added.
        for version in versions.into_iter().chain([newest.clone()]) {
            replaced.extend(key_in(&version, tag::REPLACES));
            if let Some(key_id) = Self::key_of(&version) {
                carried.insert(key_id, version);
            }
        }
        Self {
            up,
            at,
            newest,
            watched_since: carried.values().map(|version| version.created).min(),
            carried,
            replaced,
            object_id: registration.object_id,
            listed: registration.secrets.into_iter().map(|one| (one.key_id, one)).collect(),
            may_be_held,
            held_is_accepted: None,
        }
    }

    /// Returns Entra's id of the secret that a version carries, if the version carries one.
    pub fn key_of(version: &Version) -> Option<Uuid> {
        key_in(version, tag::KEY_ID)
    }

    pub fn listed(&self, key_id: Uuid) -> Option<&ListedSecret> {
        self.listed.get(&key_id)
    }

    /// Returns the held secret: the secret that the newest version carries. Returns `None` if Entra does not list this
    /// secret, or if its hint does not fit the version's value.
    pub fn held(&self) -> Option<&ListedSecret> {
        let key_id = Self::key_of(&self.newest)?;
        self.listed(key_id).filter(|_| self.may_be_held.contains(&key_id))
    }

    /// Returns the listed secret that is most likely the held one, for display and for the next version's tags.
    pub fn likely_held(&self) -> Option<&ListedSecret> {
        self.held().or_else(|| {
            let only = self.may_be_held.first().filter(|_| self.may_be_held.len() == 1)?;
            self.listed(*only).filter(|one| one.hint.is_some())
        })
    }

    /// Returns when the held secret expires. If the expiry of the newest version in the vault is earlier, returns that
    /// expiry.
    pub fn held_end(&self) -> HeldEnd {
        let candidates: Vec<_> = match self.held() {
            Some(held) => vec![held],
            // If the newest version carries a secret that Entra does not list, this secret was removed at Entra.
            None if Self::key_of(&self.newest).is_some_and(|key_id| self.listed(key_id).is_none()) => vec![],
            None => self.may_be_held.iter().filter_map(|key_id| self.listed(*key_id)).collect(),
        };
        if candidates.is_empty() {
            return HeldEnd::NotListed;
        }
        HeldEnd::At(candidates.iter().filter_map(|one| one.ends).chain(self.newest.expires).min())
    }

    /// Whether the renewal of the held secret is due at `now`.
    pub fn is_due(&self, policy: &RenewPolicy, now: Timestamp) -> bool {
        match self.held_end() {
            HeldEnd::NotListed => true,
            HeldEnd::At(end) => end.is_some_and(|end| end - policy.before <= now),
        }
    }

    /// Whether a version in the vault carries this secret.
    pub fn carries(&self, key_id: Uuid) -> bool {
        self.carried.contains_key(&key_id)
    }

    /// Returns an older version that carries a secret whose renewal is not due yet. The caller uses the result only if
    /// the renewal of the held secret is due. In this case, Perennial wrote the returned version, and another writer
    /// has replaced it. The other writer would replace a further new secret too.
    ///
    /// If the newest version also carries a secret, a person may have deliberately restored an older secret. In this
    /// case, a version is returned only if there are at least `ATTEMPTS_A_DAY` such older versions. That many versions
    /// show that another writer replaces the secrets repeatedly.
    pub fn overwritten(&self, policy: &RenewPolicy, now: Timestamp) -> Option<&Version> {
        let lasts = |key_id: &Uuid| {
            let ends = self.listed(*key_id).and_then(|one| one.ends);
            ends.is_some_and(|end| end - policy.before > now)
        };
        let others =
            self.carried.iter().filter(|(_, version)| version.id != self.newest.id && version.enabled);
        let enough = if Self::key_of(&self.newest).is_some() { ATTEMPTS_A_DAY } else { 1 };
        others.filter(|(key_id, _)| lasts(key_id)).nth(enough - 1).map(|(_, version)| version)
    }

    /// Whether the name of a listed secret shows that Perennial created the listed secret for the vault secret `at`.
    pub(super) fn is_ours(one: &ListedSecret, at: &SecretAddress) -> bool {
        begins_with(one, &prefix(at))
    }

    /// Whether a listed secret can be the held secret. If `held` is known, only that secret can be the held secret.
    fn is_in_doubt(&self, one: &ListedSecret, held: Option<Uuid>) -> bool {
        match held {
            Some(held) => held == one.key_id,
            None => self.may_be_held.contains(&one.key_id),
        }
    }

    /// Returns the next secret to remove, and why. Before the caller removes a superseded secret, it must also check
    /// that Entra accepts the held secret (`CredentialLook::held_is_accepted`).
    pub fn removable(&self, at: &SecretAddress) -> Option<(Uuid, Reason)> {
        let (held, prefix) = (self.held().map(|held| held.key_id), prefix(at));
        let held_since = held.map(|_| self.newest.created);
        let is_superseded = |one: &&ListedSecret| {
            self.carries(one.key_id) && held_since.is_some_and(|since| since + GRACE <= self.at)
        };
        let is_orphaned = |one: &&ListedSecret| {
            !self.carries(one.key_id) && one.starts.is_some_and(|starts| starts + ORPHAN_AGE <= self.at)
        };
        let ours = || {
            let ours =
                self.listed.values().filter(|one| begins_with(one, &prefix) || self.carries(one.key_id));
            ours.filter(|one| !self.is_in_doubt(one, held))
        };
        let orphan = ours().find(is_orphaned).map(|one| (one.key_id, Reason::Orphaned));
        orphan.or_else(|| ours().find(is_superseded).map(|one| (one.key_id, Reason::Superseded)))
    }

    /// Returns the number of secrets that all instances have created in the last day. Secrets that Entra no longer
    /// lists are not counted.
    pub fn attempts_today(&self, at: &SecretAddress) -> usize {
        let is_recent =
            |one: &&ListedSecret| one.starts.is_none_or(|starts| starts + TimeDelta::days(1) > self.at);
        let prefix = prefix(at);
        self.listed.values().filter(|one| begins_with(one, &prefix)).filter(is_recent).count()
    }

    /// Whether the daily limit of new secrets (`ATTEMPTS_A_DAY`) is reached.
    pub fn is_spent(&self, at: &SecretAddress, by_this_process: usize) -> bool {
        self.attempts_today(at).max(by_this_process) >= ATTEMPTS_A_DAY
    }

    /// Returns the app's secrets of unknown origin. Perennial did not create them, no version carries them, and they
    /// appeared after Perennial had created its first secret for the app. `first_seen` contains the ids of the secrets
    /// that the first look of this process found. If a secret's start time or the time of Perennial's first secret is
    /// unknown, only `first_seen` decides whether the secret is new.
    pub fn strangers<'a>(
        &'a self,
        at: &SecretAddress,
        policy: &'a RenewPolicy,
        first_seen: &'a BTreeSet<Uuid>,
    ) -> impl Iterator<Item = &'a ListedSecret> {
        let (held, prefix) = (self.held().map(|held| held.key_id), prefix(at));
        let was_there = move |one: &ListedSecret| match (self.watched_since, one.starts) {
            (Some(since), Some(starts)) => starts <= since,
            _ => first_seen.contains(&one.key_id),
        };
        let was_held = |one: &ListedSecret| self.carries(one.key_id) || self.replaced.contains(&one.key_id);
        let is_known = |one: &ListedSecret| {
            let (key_id, name) = (one.key_id.to_string(), one.name.as_deref().unwrap_or_default());
            policy.knows(&key_id, name)
        };
        self.listed.values().filter(move |one| {
            !(begins_with(one, &prefix)
                || self.is_in_doubt(one, held)
                || was_held(one)
                || was_there(one)
                || is_known(one))
        })
    }
}

/// Returns the id in a tag of a version.
fn key_in(version: &Version, tag: &str) -> Option<Uuid> {
    version.tags.get(tag)?.parse().ok()
}

fn begins_with(one: &ListedSecret, prefix: &str) -> bool {
    one.name.as_deref().is_some_and(|name| name.starts_with(prefix))
}

/// Returns the prefix of the display name of each secret or certificate that Perennial adds at Entra for `at`.
pub fn prefix(at: &SecretAddress) -> String {
    format!("perennial {}/{} ", at.vault_name(), at.name.as_str())
}

#[cfg(test)]
mod tests;
