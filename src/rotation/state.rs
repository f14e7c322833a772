//! A process's knowledge of one token between two steps.
//!
//! Owns the state and the counters behind the daily limits. Pure data: `schedule` decides on it, `rotate` changes it.
//!
//! Invariant: a successor that the vault does not hold yet is in `Phase::Unsaved` and nowhere else.

use chrono::TimeDelta;
use uuid::Uuid;

use crate::ports::Acceptance;
use crate::ports::answer::Unverified;
use crate::ports::failure::{Failure, FailureSubject, Kind};
use crate::process::clock::Timestamp;
use crate::rotation::holds::Stake;
use crate::rotation::strict;
use crate::rotation::strict::Mark;
use crate::rotation::told::Marks;
use crate::token::version::{Version, VersionId};

mod foreign;
mod inherited;
mod limits;
mod pending;
mod recent;
mod verdict;

pub use self::foreign::ForeignWriter;
pub use self::inherited::Inherited;
pub use self::limits::{Limits, VAULT_CALLS_A_STEP};
pub use self::pending::{PendingSave, Successor};
pub use self::recent::{DAY, Recent, WatchRoom};
pub use self::verdict::Noted;

/// Versions on one page of a list: Key Vault's maximum (docs/azure-facts.md F209).
pub const LISTED_A_PAGE: usize = 25;

/// One token, as this process knows it.
#[derive(Clone, Debug)]
pub struct State {
    /// Its phase.
    pub phase: Phase,
    /// A failure that a person must fix. Only a success or a new version clears it.
    pub blocked: Option<Box<Blocked>>,
    /// A failure that may pass. Any answer clears it.
    pub outage: Option<Box<Outage>>,
    /// The newest version at the last read.
    pub newest: Option<Version>,
    /// Facts about one version, which do not apply to another.
    pub facts: Option<Box<Facts>>,
    /// What the previous process left, by the first version that this one read.
    pub inherited: Option<Inherited>,
    /// Marks of delivered alerts that belong on the newest version; `None` without sinks.
    pub told: Option<Marks>,
    /// The newest version at the last search of its history for a buried sign-in.
    pub searched: Option<VersionId>,
    /// Versions that were rejected lately and may be redeemed again.
    pub refused: Vec<RefusedVersion>,
    /// The length of the last list of versions.
    pub listed: usize,
    /// When this process last saved a successor.
    pub last_rotation_at: Option<Timestamp>,
    /// When a foreign version was last rotated: at most once a day.
    pub foreign_rotated_at: Option<Timestamp>,
    /// Another writer that keeps writing the secret.
    pub foreign_writer: Option<ForeignWriter>,
    /// The invalid version whose predecessors have been tried.
    pub rescued: Option<VersionId>,
    /// When a buried sign-in was last found and restored.
    pub unburied_at: Option<Timestamp>,
    /// When the app's secret expires, if the vault says.
    pub app_secret_expires: Option<Timestamp>,
    /// When the app's credential was first read.
    pub credential_read_at: Option<Timestamp>,
    /// A fingerprint of the app credential last used, to notice a replacement.
    pub credential_used: Option<u64>,
    /// This process's unfinished redemption, as marked on the version (`strict`).
    pub claim: Option<Uuid>,
    /// The mark of another process at the last read, and since when it is unchanged.
    pub sighted: Option<Box<(Mark, Timestamp)>>,
    /// Whether its next step is due and waits for its turn: other tokens share its limits (`pace`).
    pub in_line: bool,
    /// The earliest next update of tags.
    pub mark_after: Option<Timestamp>,
    /// Redemptions of the last day.
    pub redemptions: Recent,
    /// Requests to Partner Center of the last day.
    pub partner_center_calls: Recent,
    /// Vault calls of the last day, without the checks for a person's action.
    pub vault_calls: Recent,
    /// Vault calls of these checks.
    pub watch: WatchRoom,
}

/// The phase of a token.
#[derive(Clone, Debug)]
pub enum Phase {
    /// Not proved by this process: it has just started, the version is new to it, or the last proof was rejected.
    Unproved {
        /// When to begin, unless something blocks it.
        due_at: Timestamp,
    },
    /// The newest version was redeemed; only time brings the next step.
    Current,
    /// The issuer returned a successor that the vault does not show yet.
    Unsaved(Box<PendingSave>),
}

/// A failure that a person must fix.
#[derive(Clone, Debug, PartialEq)]
pub struct Blocked {
    /// What failed.
    pub failure: Failure,
    /// Its beginning.
    pub since: Timestamp,
    /// The newest version at that time.
    pub version: Option<VersionId>,
    /// The next check for a person's action.
    pub next_check_at: Timestamp,
    /// The next attempt without any change: to redeem, or to save the held successor.
    pub again_at: Timestamp,
    /// The number of these checks.
    pub checks: u32,
    /// Whether it is certain, by its kind or by a repetition. Until then no alert is sent.
    pub is_confirmed: bool,
}

/// A failure that may pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Outage {
    /// The last failure.
    pub failure: Failure,
    /// The beginning of failures of this kind.
    pub since: Timestamp,
    /// Failed attempts in a row.
    pub attempts: u32,
    /// The next attempt.
    pub retry_at: Timestamp,
}

/// What this process knows about one version.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The version.
    pub version: VersionId,
    /// When the issuer last redeemed it.
    pub proved_at: Option<Timestamp>,
    /// Its user, if the issuer names one.
    pub user_oid: Option<String>,
    /// The identity facts that could not be compared, and since when.
    pub unverified: Option<(Unverified, Timestamp)>,
    /// Partner Center's verdict on its access token.
    pub verdict: Option<Verdict>,
    /// Since when the issuer returns this same token.
    pub same_token_at: Option<Timestamp>,
}

/// Partner Center's verdict.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Its answer.
    pub acceptance: Acceptance,
    /// The time of its last repetition.
    pub at: Timestamp,
    /// The time at which it began.
    pub since: Timestamp,
}

impl Facts {
    /// No facts yet.
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

/// A version that was rejected and may be redeemed again.
#[derive(Clone, Debug)]
pub struct RefusedVersion {
    /// The version.
    pub id: VersionId,
    /// When it was last redeemed.
    pub at: Timestamp,
    /// The answer.
    pub failure: Failure,
    /// Whether it was found below a version of ours, not on top. Only then it may be the later of two sign-ins of one
    /// second: a version read on top came last.
    pub is_buried: bool,
}

impl State {
    /// A token without any knowledge, to be proved at `due_at`.
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

    /// The facts about the newest version.
    pub fn known(&self) -> Option<&Facts> {
        let newest = &self.newest.as_ref()?.id;
        self.facts.as_deref().filter(|facts| facts.version == *newest)
    }

    /// When the issuer last redeemed the newest version.
    pub fn proved_at(&self) -> Option<Timestamp> {
        self.known()?.proved_at
    }

    /// The facts about a version, to be extended. Facts about another one are dropped.
    pub fn facts_of(&mut self, version: &VersionId) -> &mut Facts {
        let known = self.facts.take().filter(|facts| facts.version == *version);
        self.facts.insert(known.unwrap_or_else(|| Box::new(Facts::of(version.clone()))))
    }

    /// Applies the facts about one version to this one too: it was redeemed from it, or holds the same value.
    pub fn carry_facts(&mut self, from: &VersionId, to: &VersionId) {
        if let Some(facts) = self.facts.as_mut().filter(|facts| facts.version == *from) {
            facts.version = to.clone();
        }
    }

    /// The open failure; of two, the graver one.
    pub fn failure(&self) -> Option<&Failure> {
        let blocked = self.blocked.as_ref().map(|blocked| &blocked.failure);
        blocked.or(self.outage.as_ref().map(|outage| &outage.failure))
    }

    /// Whether the vault has nothing to update, or does not answer.
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

    /// Clears all failures.
    pub fn clear_failures(&mut self) {
        (self.blocked, self.outage) = (None, None);
    }

    /// Clears failures about this subject only.
    pub fn clear_failures_about(&mut self, about: FailureSubject) {
        self.blocked.take_if(|blocked| blocked.failure.about == about);
        self.outage.take_if(|outage| outage.failure.about == about);
    }

    /// Moves all waits after failures to this time.
    pub fn try_again_at(&mut self, at: Timestamp) {
        if let Some(blocked) = &mut self.blocked {
            (blocked.next_check_at, blocked.again_at) = (at, at);
        }
        if let Some(outage) = &mut self.outage {
            outage.retry_at = at;
        }
    }

    /// Keeps the length of waits after failures when the clock is corrected: promise 1 relies on the wait that an
    /// outage has reached.
    pub fn shift_waits(&mut self, by: TimeDelta) {
        if let Some(blocked) = &mut self.blocked {
            blocked.next_check_at += by;
            blocked.again_at += by;
        }
        if let Some(outage) = &mut self.outage {
            outage.retry_at += by;
        }
    }

    /// Counts a vault call. Checks for a person's action have a limit of their own, so that they do not use up the
    /// normal one.
    pub fn note_vault_call(&mut self, now: Timestamp) {
        if self.is_watching() {
            self.watch.note(now);
        } else {
            self.vault_calls.note(now);
        }
    }

    /// Counts several.
    pub fn note_vault_calls(&mut self, calls: usize, now: Timestamp) {
        (0..calls).for_each(|_| self.note_vault_call(now));
    }

    /// Vault calls of a list: one per page.
    pub fn calls_of_a_list(&self) -> usize {
        1 + self.listed / LISTED_A_PAGE
    }

    /// Vault calls without which continuing a save is pointless: the write is followed by a list, and replaced
    /// versions are disabled.
    pub fn calls_of_a_save(&self) -> usize {
        match &self.phase {
            Phase::Unsaved(pending) if pending.written.is_some() => self.calls_of_a_list() + 2,
            _ => 1,
        }
    }

    /// Vault calls that a rotation may need.
    ///
    /// A rotation makes up to 7 calls for a secret of 25 versions, and one more for each further page of its list.
    /// Versions cannot be deleted (docs/azure-facts.md F211), so with weekly rotations it is 8 after half a year and 9
    /// after a year. With daily rotations a year's list has 18 pages. Steps that can wait are postponed to a day with
    /// room for all calls: a rotation before its redemption, the search of a history until a later proof, the list
    /// after a write with the successor held. Two instances that rotated in one second made 70 calls before this rule
    /// (simulation, seed 2407).
    pub fn calls_of_a_rotation(&self) -> usize {
        VAULT_CALLS_A_STEP - 1 + self.calls_of_a_list()
    }

    /// Whether a successor is held that the vault does not show.
    pub fn is_unsaved(&self) -> bool {
        matches!(self.phase, Phase::Unsaved(_))
    }

    /// Whether that successor is the only copy of the token: the issuer has invalidated the version in the vault.
    pub fn holds_only_copy(&self) -> bool {
        matches!(&self.phase, Phase::Unsaved(pending) if pending.successor.is_only_copy)
    }

    /// The held successor on its way to the vault.
    pub fn pending(&mut self) -> Option<&mut PendingSave> {
        match &mut self.phase {
            Phase::Unsaved(pending) => Some(pending),
            Phase::Unproved { .. } | Phase::Current => None,
        }
    }

    /// What the end of the process would lose between two steps.
    pub fn stake(&self) -> Stake {
        if self.is_unsaved() { Stake::Successor } else { Stake::Nothing }
    }

    /// Whether the vault is checked every minute: for a person's action, to save the only copy of a token, or until
    /// another process has saved it.
    pub fn is_watching(&self) -> bool {
        let elsewhere = self.outage.as_ref().is_some_and(|outage| strict::is_elsewhere(&outage.failure));
        self.awaits_person() || self.holds_only_copy() || elsewhere
    }

    /// Whether a person must act.
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
