//! The state of one token between two steps, as this process knows it.
//!
//! This module owns the state and the daily counters. `schedule` decides the next step. `rotate` changes the state.
//!
//! Invariant: a successor that must be saved is in `Phase::Unsaved` and in no other place.

use std::sync::Arc;

use chrono::TimeDelta;
use uuid::Uuid;

use crate::ports::answer::Unverified;
use crate::ports::failure::{Failure, FailureSubject, Kind};
use crate::ports::{Acceptance, IdentityExpiry};
use crate::process::clock::Timestamp;
use crate::rotation::holds::Stake;
use crate::rotation::strict;
use crate::rotation::strict::Mark;
use crate::rotation::told::Marks;
use crate::token::version::{Version, VersionId};

mod foreign;
mod inherited;
mod limits;
mod older;
mod pending;
mod recent;
mod verdict;

pub use self::foreign::ForeignWriter;
pub use self::inherited::Inherited;
pub use self::limits::{Limits, VAULT_CALLS_A_STEP};
pub use self::older::OlderCredential;
pub use self::pending::{PendingSave, Successor};
pub use self::recent::{DAY, Recent, WatchRoom};
pub use self::verdict::Noted;

/// The number of versions on one page of a list: Key Vault's maximum (docs/azure-facts.md F209).
const LISTED_A_PAGE: usize = 25;

/// Returns the number of further vault calls, after the first call, for a list with this many versions.
pub fn further_pages(versions: usize) -> usize {
    versions / LISTED_A_PAGE
}

/// The state of one token, as this process knows it.
#[derive(Clone, Debug)]
pub struct State {
    pub phase: Phase,
    /// A failure that a person must fix. Only a success or a new version clears this failure.
    pub blocked: Option<Box<Blocked>>,
    /// A transient failure. This failure ends when the failed service answers.
    pub outage: Option<Box<Outage>>,
    /// The newest version at the last read.
    pub newest: Option<Version>,
    /// The facts about one version. Facts about other versions are dropped.
    pub facts: Option<Box<Facts>>,
    /// The record of alerts and rejections that the previous process left in the vault, as read at start-up.
    pub inherited: Option<Inherited>,
    /// The marks of delivered alerts that the newest version's tags should have. `None` if no sink is configured.
    pub told: Option<Marks>,
    /// The newest version at the time of the last search for a buried sign-in.
    pub searched: Option<VersionId>,
    /// Versions with a recent rejection that is not final.
    pub refused: Vec<RefusedVersion>,
    /// The number of versions in the last list.
    pub listed: usize,
    /// The time at which this process last saved a successor.
    pub last_rotation_at: Option<Timestamp>,
    /// The time of the last rotation of a foreign version. Perennial rotates foreign versions at most once a day.
    pub foreign_rotated_at: Option<Timestamp>,
    /// Another writer that keeps writing to the secret.
    pub foreign_writer: Option<ForeignWriter>,
    /// The invalid version whose predecessors have already been tried without success.
    pub rescued: Option<VersionId>,
    /// The time at which a buried sign-in was last found and restored.
    pub unburied_at: Option<Timestamp>,
    /// The expiry of the app's credential, if the vault, the certificate or the configuration names it.
    pub app_secret_expires: Option<Timestamp>,
    /// The time at which the app's credential was first read.
    pub credential_read_at: Option<Timestamp>,
    /// A fingerprint of the app credential in the last redemption. A change shows that the credential was replaced.
    pub credential_used: Option<u64>,
    /// The expiry of this process's own identity, if known.
    pub identity_expiry: Option<Arc<IdentityExpiry>>,
    /// The older version of the app's credential that is in use, if Entra rejects the newest one.
    pub older_credential: Option<Box<OlderCredential>>,
    /// The rejected newest version of the app's credential, and the time of a search in which Entra accepted no older
    /// version.
    pub older_tried: Option<Box<(VersionId, Timestamp)>>,
    /// For a `strict` token: the id of this process's unfinished redemption. The mark on the version contains this id.
    pub claim: Option<Uuid>,
    /// For a `strict` token: a mark on the newest version, and the time since which this process has seen the mark
    /// unchanged. The mark must stay unchanged for some minutes before the next redemption.
    pub sighted: Option<Box<(Mark, Timestamp)>>,
    /// Whether the next step is due but must wait for its turn, because other tokens use up the shared limits (`pace`).
    pub in_line: bool,
    /// After a failed update of tags: the earliest time of the next update.
    pub mark_after: Option<Timestamp>,
    /// The redemptions of the last day.
    pub redemptions: Recent,
    /// The requests to Partner Center of the last day.
    pub partner_center_calls: Recent,
    /// The vault calls of the last day, without the calls in `watch`.
    pub vault_calls: Recent,
    /// The vault calls while the vault is checked every minute (`is_watching`).
    pub watch: WatchRoom,
}

/// The phase of a token between two steps.
#[derive(Clone, Debug)]
pub enum Phase {
    /// This process has not proved the newest version. The process has just started, the version is new, or the last
    /// proof was rejected.
    Unproved {
        /// The time of the first proof, unless a failure delays the proof.
        due_at: Timestamp,
    },
    /// The newest version was redeemed. The next proof or rotation is due later.
    Current,
    /// The issuer returned a successor that the vault does not show yet.
    Unsaved(Box<PendingSave>),
}

/// A failure that a person must fix.
#[derive(Clone, Debug, PartialEq)]
pub struct Blocked {
    pub failure: Failure,
    /// The start of the failure.
    pub since: Timestamp,
    /// The version that was the newest one at the last failed attempt.
    pub version: Option<VersionId>,
    /// The time of the next check for a person's action.
    pub next_check_at: Timestamp,
    /// When the next attempt to redeem or to save is due, if no check finds a change.
    pub again_at: Timestamp,
    /// The number of checks for a person's action so far.
    pub checks: u32,
    /// Whether the failure is confirmed, by its kind or by a repetition. An alert is sent only for a confirmed failure.
    pub is_confirmed: bool,
}

/// A transient failure: it may end by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Outage {
    pub failure: Failure,
    /// When the failures of this kind began.
    pub since: Timestamp,
    /// The number of failed attempts in a row.
    pub attempts: u32,
    /// The time of the next attempt.
    pub retry_at: Timestamp,
}

/// What this process knows about one version.
#[derive(Clone, Debug)]
pub struct Facts {
    pub version: VersionId,
    /// When the issuer last redeemed the version's token.
    pub proved_at: Option<Timestamp>,
    /// The version's user, if the issuer names one.
    pub user_oid: Option<String>,
    /// The facts that the issuer's answers do not confirm, and the time of the first of these answers.
    pub unverified: Option<(Unverified, Timestamp)>,
    /// Partner Center's verdict on the version's access token.
    pub verdict: Option<Verdict>,
    /// When the issuer began to return the redeemed token itself instead of a new token.
    pub same_token_at: Option<Timestamp>,
}

/// Partner Center's verdict on an access token.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub acceptance: Acceptance,
    /// The time of the last answer with this verdict.
    pub at: Timestamp,
    /// The time of the first answer with this verdict.
    pub since: Timestamp,
}

impl Facts {
    pub fn of(version: VersionId) -> Self {
        Self {
            version,
            proved_at: None,
            user_oid: None,
            unverified: None,
            verdict: None,
            same_token_at: None,
        }
    }
}

/// A version whose last rejection is not final. Perennial may redeem this version again later.
#[derive(Clone, Debug)]
pub struct RefusedVersion {
    pub id: VersionId,
    /// The time of the last redemption.
    pub at: Timestamp,
    /// The issuer's answer.
    pub failure: Failure,
    /// Whether another version was the newest one when this version was rejected. If so, and if the sign-ins of both
    /// versions have the same second, Perennial treats this version's sign-in as the newer one (`save::Ties`).
    pub is_buried: bool,
}

impl State {
    /// Creates the state of a token about which nothing is known. The first proof is due at `due_at`.
    pub fn unknown(due_at: Timestamp) -> Self {
        Self {
            phase: Phase::Unproved { due_at },
            blocked: None,
            outage: None,
            newest: None,
            facts: None,
            inherited: None,
            told: None,
            searched: None,
            refused: Vec::new(),
            listed: 0,
            last_rotation_at: None,
            foreign_rotated_at: None,
            foreign_writer: None,
            rescued: None,
            unburied_at: None,
            app_secret_expires: None,
            credential_read_at: None,
            credential_used: None,
            identity_expiry: None,
            older_credential: None,
            older_tried: None,
            claim: None,
            sighted: None,
            in_line: false,
            mark_after: None,
            redemptions: Recent::default(),
            partner_center_calls: Recent::default(),
            vault_calls: Recent::default(),
            watch: WatchRoom::default(),
        }
    }

    /// Returns the facts about the newest version.
    pub fn known(&self) -> Option<&Facts> {
        let newest = &self.newest.as_ref()?.id;
        self.facts.as_deref().filter(|facts| facts.version == *newest)
    }

    /// Returns the time at which the issuer last redeemed the newest version.
    pub fn proved_at(&self) -> Option<Timestamp> {
        self.known()?.proved_at
    }

    /// Returns the facts about a version, so that the caller can change them. Drops facts about any other version.
    pub fn facts_of(&mut self, version: &VersionId) -> &mut Facts {
        let known = self.facts.take().filter(|facts| facts.version == *version);
        self.facts.insert(known.unwrap_or_else(|| Box::new(Facts::of(version.clone()))))
    }

    /// Applies the facts about one version to another version. The other version has the same value or is a successor.
    pub fn carry_facts(&mut self, from: &VersionId, to: &VersionId) {
        if let Some(facts) = self.facts.as_mut().filter(|facts| facts.version == *from) {
            facts.version = to.clone();
        }
    }

    /// Returns the open failure. If two are open, returns the one that a person must fix.
    pub fn failure(&self) -> Option<&Failure> {
        let blocked = self.blocked.as_ref().map(|blocked| &blocked.failure);
        blocked.or(self.outage.as_ref().map(|outage| &outage.failure))
    }

    /// Whether Perennial cannot update any version now, because the vault does not answer, does not authenticate this
    /// process, or does not contain the secret.
    pub fn vault_is_away(&self) -> bool {
        let blocked = self.blocked.as_ref().map(|blocked| blocked.failure.kind);
        let outage = self.outage.as_ref().map(|outage| outage.failure.kind);
        blocked.into_iter().chain(outage).any(|kind| {
            matches!(
                kind,
                Kind::VaultUnreachable | Kind::VaultIdentity | Kind::SecretDeleted | Kind::NeverSignedIn
            )
        })
    }

    pub fn clear_failures(&mut self) {
        (self.blocked, self.outage) = (None, None);
    }

    pub fn clear_failures_about(&mut self, about: FailureSubject) {
        self.blocked.take_if(|blocked| blocked.failure.about == about);
        self.outage.take_if(|outage| outage.failure.about == about);
    }

    /// After a failure, makes the next check and the next attempt due at this time.
    pub fn try_again_at(&mut self, at: Timestamp) {
        if let Some(blocked) = &mut self.blocked {
            (blocked.next_check_at, blocked.again_at) = (at, at);
        }
        if let Some(outage) = &mut self.outage {
            outage.retry_at = at;
        }
    }

    /// When the clock is corrected, moves the end of each wait that follows a failure, so that the wait keeps its
    /// length. Promise 1 relies on these lengths.
    pub fn shift_waits(&mut self, by: TimeDelta) {
        if let Some(blocked) = &mut self.blocked {
            blocked.next_check_at += by;
            blocked.again_at += by;
        }
        if let Some(outage) = &mut self.outage {
            outage.retry_at += by;
        }
    }

    /// Counts a vault call. While the vault is checked every minute, calls have a limit of their own, so that they do
    /// not use up the normal limit.
    pub fn note_vault_call(&mut self, now: Timestamp) {
        if self.is_watching() {
            self.watch.note(now);
        } else {
            self.vault_calls.note(now);
        }
    }

    pub fn note_vault_calls(&mut self, calls: usize, now: Timestamp) {
        (0..calls).for_each(|_| self.note_vault_call(now));
    }

    /// Returns the number of vault calls that a list needs: one per page.
    pub fn calls_of_a_list(&self) -> usize {
        1 + further_pages(self.listed)
    }

    /// Returns the minimum number of vault calls for the next attempt to save. If the successor is already written, the
    /// attempt lists the versions and disables replaced versions.
    pub fn calls_of_a_save(&self) -> usize {
        match &self.phase {
            Phase::Unsaved(pending) if pending.written.is_some() => self.calls_of_a_list() + 2,
            _ => 1,
        }
    }

    /// Returns the number of vault calls that a rotation may need.
    ///
    /// A rotation usually makes 7 calls if the list has one page, and one more call for each further page. Versions
    /// cannot be deleted (docs/azure-facts.md F211). So with weekly rotations, a rotation makes 8 calls after half a
    /// year and 9 after a year. If the daily limit leaves too few calls, Perennial postpones the whole rotation,
    /// including the redemption. Perennial also postpones the search for a buried sign-in, and the list after a write.
    /// Until that list, Perennial keeps the written successor in memory. Without this rule, two instances that rotated
    /// in the same second made 70 calls in a day (simulation, seed 2407).
    pub fn calls_of_a_rotation(&self) -> usize {
        VAULT_CALLS_A_STEP - 1 + self.calls_of_a_list()
    }

    /// Whether this process holds a successor that the vault does not show.
    pub fn is_unsaved(&self) -> bool {
        matches!(self.phase, Phase::Unsaved(_))
    }

    /// Whether the held successor is the only copy of the token. This is so if the issuer has invalidated the version
    /// in the vault.
    pub fn holds_only_copy(&self) -> bool {
        matches!(&self.phase, Phase::Unsaved(pending) if pending.successor.is_only_copy)
    }

    /// Returns the unsaved successor that this process holds.
    pub fn pending(&mut self) -> Option<&mut PendingSave> {
        match &mut self.phase {
            Phase::Unsaved(pending) => Some(pending),
            Phase::Unproved { .. } | Phase::Current => None,
        }
    }

    /// Returns what would be lost if the process ended now, between two steps.
    pub fn stake(&self) -> Stake {
        if self.is_unsaved() { Stake::Successor } else { Stake::Nothing }
    }

    /// Whether the vault is checked every minute. This is the case if a person must act, if this process holds the only
    /// copy of a token, or if another process must save the token.
    pub fn is_watching(&self) -> bool {
        let elsewhere = self.outage.as_ref().is_some_and(|outage| strict::is_elsewhere(&outage.failure));
        self.awaits_person() || self.holds_only_copy() || elsewhere
    }

    pub fn awaits_person(&self) -> bool {
        self.blocked.is_some()
    }

    /// Whether the newest version is disabled, which switches the token off.
    pub fn is_off(&self) -> bool {
        self.blocked.as_ref().is_some_and(|blocked| blocked.failure.kind == Kind::TurnedOff)
    }
}

#[cfg(test)]
mod tests;
