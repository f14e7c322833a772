//! What the process knows about one token between two steps.
//!
//! Owns the state and the counters behind the daily limits. Pure data: `schedule` decides on it, `rotate`
//! moves it.
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

/// Versions on one page of a list: Key Vault gives no more (docs/azure-facts.md F209).
pub const LISTED_A_PAGE: usize = 25;

/// One token, as far as this process knows.
#[derive(Clone, Debug)]
pub struct State {
    /// Where it stands.
    pub phase: Phase,
    /// What a person has to settle. Only a success or a new version clears it.
    pub blocked: Option<Box<Blocked>>,
    /// What passes by itself. Any answer clears it.
    pub outage: Option<Box<Outage>>,
    /// The newest version when it was last read.
    pub newest: Option<Version>,
    /// What is known of one version: of another it says nothing.
    pub facts: Option<Box<Facts>>,
    /// What the process before left, by the first version that this one read.
    pub inherited: Option<Inherited>,
    /// What the sinks have been told, as it is to be noted on the newest version; none where there are no sinks.
    pub told: Option<Marks>,
    /// The newest version when its history was last searched for a buried sign-in.
    pub searched: Option<VersionId>,
    /// Versions that were refused lately, and may be redeemed again later.
    pub refused: Vec<RefusedVersion>,
    /// How many versions the last list had.
    pub listed: usize,
    /// When a successor was last saved by this process.
    pub last_rotation_at: Option<Timestamp>,
    /// When a version written by somebody else was last rotated: at most once a day.
    pub foreign_rotated_at: Option<Timestamp>,
    /// Who else keeps writing the secret.
    pub foreign_writer: Option<ForeignWriter>,
    /// The useless version for which predecessors have been tried already.
    pub rescued: Option<VersionId>,
    /// When the last buried sign-in was found and put back on top.
    pub unburied_at: Option<Timestamp>,
    /// When the app's secret ends, where the vault says.
    pub app_secret_expires: Option<Timestamp>,
    /// When the app's credential was first read.
    pub credential_read_at: Option<Timestamp>,
    /// A fingerprint of the app credential last used, to notice that it was replaced.
    pub credential_used: Option<u64>,
    /// The redemption that this process has marked on a version and that is not settled (`strict`).
    pub claim: Option<Uuid>,
    /// The mark of another process as it was last read, and since when it is the same.
    pub sighted: Option<Box<(Mark, Timestamp)>>,
    /// Whether its next step is due and waits for its turn: other tokens share its limits (`pace`).
    pub in_line: bool,
    /// Tags are not updated again before this.
    pub mark_after: Option<Timestamp>,
    /// Redemptions of the last day.
    pub redemptions: Recent,
    /// Requests to Partner Center of the last day.
    pub partner_center_calls: Recent,
    /// Vault calls of the last day, those of the watch left out.
    pub vault_calls: Recent,
    /// Vault calls of the watch.
    pub watch: WatchRoom,
}

/// Where a token stands.
#[derive(Clone, Debug)]
pub enum Phase {
    /// Not proved by this process: at start, when a version appears that it has not seen, and when a proof was refused.
    Unproved {
        /// When to begin, where nothing is in the way.
        due_at: Timestamp,
    },
    /// The newest version was redeemed; the next step is a matter of time.
    Current,
    /// The issuer has handed out a successor that the vault does not show yet.
    Unsaved(Box<PendingSave>),
}

/// A failure that a person has to settle.
#[derive(Clone, Debug, PartialEq)]
pub struct Blocked {
    /// What failed.
    pub failure: Failure,
    /// Since when.
    pub since: Timestamp,
    /// The newest version when it was found.
    pub version: Option<VersionId>,
    /// When to check whether a person has acted.
    pub next_check_at: Timestamp,
    /// When to try again whatever was found: to redeem, or to save what is held.
    pub again_at: Timestamp,
    /// How often it was checked whether a person has acted.
    pub checks: u32,
    /// Whether it is certain: by what was said, or because it was said twice. Else nobody is told yet.
    pub is_confirmed: bool,
}

/// A failure that passes by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Outage {
    /// What failed last.
    pub failure: Failure,
    /// Since when attempts fail in this way.
    pub since: Timestamp,
    /// How many attempts have failed in a row.
    pub attempts: u32,
    /// When to try again.
    pub retry_at: Timestamp,
}

/// What this process has found out about one version.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Which one.
    pub version: VersionId,
    /// When the issuer last redeemed it.
    pub proved_at: Option<Timestamp>,
    /// The user it was issued to, where the issuer says.
    pub user_oid: Option<String>,
    /// What of its identity could not be compared, and since when.
    pub unverified: Option<(Unverified, Timestamp)>,
    /// What Partner Center said of its access token.
    pub verdict: Option<Verdict>,
    /// Since when the issuer hands out this very token for itself.
    pub same_token_at: Option<Timestamp>,
}

/// What Partner Center said.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Its answer.
    pub acceptance: Acceptance,
    /// When it last said so.
    pub at: Timestamp,
    /// Since when it has been saying so.
    pub since: Timestamp,
}

impl Facts {
    /// Nothing yet.
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

/// A version that was refused and that may be redeemed again later.
#[derive(Clone, Debug)]
pub struct RefusedVersion {
    /// Which one.
    pub id: VersionId,
    /// When it was last redeemed.
    pub at: Timestamp,
    /// What was said.
    pub failure: Failure,
    /// Whether it was met below a version of ours, and not on top. Only then it may be the later one of two sign-ins of one
    /// second: what is read on top came last.
    pub is_buried: bool,
}

impl State {
    /// A token nothing is known about, to be proved at `due_at`.
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

    /// What is known of the newest version.
    pub fn known(&self) -> Option<&Facts> {
        let newest = &self.newest.as_ref()?.id;
        self.facts.as_deref().filter(|facts| facts.version == *newest)
    }

    /// When the issuer last redeemed the newest version.
    pub fn proved_at(&self) -> Option<Timestamp> {
        self.known()?.proved_at
    }

    /// What is known of a version, to be added to. What was known of another is forgotten.
    pub fn facts_of(&mut self, version: &VersionId) -> &mut Facts {
        let known = self.facts.take().filter(|facts| facts.version == *version);
        self.facts.insert(known.unwrap_or_else(|| Box::new(Facts::of(version.clone()))))
    }

    /// What is known of one version holds for this one, too: it was redeemed from it, or holds the same value.
    pub fn carry_facts(&mut self, from: &VersionId, to: &VersionId) {
        if let Some(facts) = self.facts.as_mut().filter(|facts| facts.version == *from) {
            facts.version = to.clone();
        }
    }

    /// What is wrong, the graver of the two where both are.
    pub fn failure(&self) -> Option<&Failure> {
        let blocked = self.blocked.as_ref().map(|blocked| &blocked.failure);
        blocked.or(self.outage.as_ref().map(|outage| &outage.failure))
    }

    /// Whether there is nothing in the vault that could be updated, or no vault that answers.
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

    /// Everything works.
    pub fn clear_failures(&mut self) {
        (self.blocked, self.outage) = (None, None);
    }

    /// This very thing works: what failed about it is over, and nothing else is.
    pub fn clear_failures_about(&mut self, about: FailureSubject) {
        self.blocked.take_if(|blocked| blocked.failure.about == about);
        self.outage.take_if(|outage| outage.failure.about == about);
    }

    /// Whatever is waited for after a failure is tried then.
    pub fn try_again_at(&mut self, at: Timestamp) {
        if let Some(blocked) = &mut self.blocked {
            (blocked.next_check_at, blocked.again_at) = (at, at);
        }
        if let Some(outage) = &mut self.outage {
            outage.retry_at = at;
        }
    }

    /// Keeps the waits after failures as long as they are where the clock was corrected by so much: a promise counts
    /// on the wait that an outage has reached (promise 1).
    pub fn shift_waits(&mut self, by: TimeDelta) {
        if let Some(blocked) = &mut self.blocked {
            blocked.next_check_at += by;
            blocked.again_at += by;
        }
        if let Some(outage) = &mut self.outage {
            outage.retry_at += by;
        }
    }

    /// Counts a vault call. A vault that is watched has a limit of its own, which must not use up the usual one.
    pub fn note_vault_call(&mut self, now: Timestamp) {
        if self.is_watching() {
            self.watch.note(now);
        } else {
            self.vault_calls.note(now);
        }
    }

    /// Counts some of them.
    pub fn note_vault_calls(&mut self, calls: usize, now: Timestamp) {
        (0..calls).for_each(|_| self.note_vault_call(now));
    }

    /// Vault calls that a list takes: one for each page.
    pub fn calls_of_a_list(&self) -> usize {
        1 + self.listed / LISTED_A_PAGE
    }

    /// Vault calls without which going on with a save leads nowhere: what was written is listed, and what has served
    /// is disabled.
    pub fn calls_of_a_save(&self) -> usize {
        match &self.phase {
            Phase::Unsaved(pending) if pending.written.is_some() => self.calls_of_a_list() + 2,
            _ => 1,
        }
    }

    /// Vault calls that a rotation may need.
    ///
    /// A rotation makes up to 7 calls for a secret of 25 versions, and one more for each further page of its list. Versions
    /// cannot be deleted (docs/azure-facts.md F211), so with weekly rotations it is 8 after half a year and 9 after a year.
    /// With daily rotations a year's list has 18 pages. What can wait, waits for a day with room for all of them: a rotation
    /// before its redemption, the search of a history until a later proof, the list after a write with the successor held.
    /// Two instances that rotated in one second made 70 calls before this rule (simulation, seed 2407).
    pub fn calls_of_a_rotation(&self) -> usize {
        VAULT_CALLS_A_STEP - 1 + self.calls_of_a_list()
    }

    /// Whether a successor is held that the vault does not show.
    pub fn is_unsaved(&self) -> bool {
        matches!(self.phase, Phase::Unsaved(_))
    }

    /// Whether that successor is the only copy of the token: the issuer has ended what the vault shows.
    pub fn holds_only_copy(&self) -> bool {
        matches!(&self.phase, Phase::Unsaved(pending) if pending.successor.is_only_copy)
    }

    /// The successor that is held, on its way into the vault.
    pub fn pending(&mut self) -> Option<&mut PendingSave> {
        match &mut self.phase {
            Phase::Unsaved(pending) => Some(pending),
            Phase::Unproved { .. } | Phase::Current => None,
        }
    }

    /// What the end of the process would lose, between two steps.
    pub fn stake(&self) -> Stake {
        if self.is_unsaved() { Stake::Successor } else { Stake::Nothing }
    }

    /// Whether the vault is watched: for what a person does, or to save the only copy of a token, or until another process
    /// has saved it.
    pub fn is_watching(&self) -> bool {
        let elsewhere = self.outage.as_ref().is_some_and(|outage| strict::is_elsewhere(&outage.failure));
        self.awaits_person() || self.holds_only_copy() || elsewhere
    }

    /// Whether a person is expected to act.
    pub fn awaits_person(&self) -> bool {
        self.blocked.is_some()
    }

    /// Whether the newest version is disabled, which means off.
    pub fn is_off(&self) -> bool {
        self.blocked.as_ref().is_some_and(|blocked| blocked.failure.kind == Kind::TurnedOff)
    }
}

#[cfg(test)]
mod tests;
