//! What the process knows about one token between two steps.
//!
//! Owns the state and the counts that keep it polite. Pure data: `schedule` decides on it, `rotate`
//! moves it.
//!
//! Invariant: a successor that the vault does not hold yet is in `Phase::Unsaved` and nowhere else.

use uuid::Uuid;

use crate::ports::Acceptance;
use crate::ports::answer::Unverified;
use crate::ports::failure::{Failure, Kind, Remedy};
use crate::process::clock::Timestamp;
use crate::rotation::holds::Stake;
use crate::token::RefreshToken;
use crate::token::managed::Policy;
use crate::token::version::{Version, VersionId, tag};

mod recent;
mod verdict;

pub use self::recent::{DAY, Recent};
pub use self::verdict::Noted;

/// What no state may exceed, per token and day (promise 6, docs/promises.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Redemptions.
    pub redemptions: usize,
    /// Questions to Partner Center.
    pub questions: usize,
    /// Vault calls while nobody is waited for.
    pub vault_calls: usize,
}

impl Limits {
    /// What is polite under any policy.
    const POLITE: Self = Self { redemptions: 24, questions: 12, vault_calls: 60 };

    /// The polite limits; more only where the operator asks for more proofs than fit under them.
    pub fn of(policy: &Policy) -> Self {
        const DAY_SECONDS: u64 = 86_400;
        let proofs = usize::try_from(DAY_SECONDS / policy.prove_every.as_secs().max(1)).unwrap_or(usize::MAX);
        let rotations =
            usize::try_from(DAY_SECONDS / policy.rotate_after.as_secs().max(1)).unwrap_or(usize::MAX);
        let steps = proofs.saturating_add(rotations);
        if steps < Self::POLITE.questions {
            return Self::POLITE;
        }
        Self {
            redemptions: Self::POLITE.redemptions.max(2 * steps),
            questions: Self::POLITE.questions.max(2 * steps),
            vault_calls: Self::POLITE.vault_calls.max(VAULT_CALLS_A_STEP * steps),
        }
    }
}

/// What a step may need at once, so that none is begun that politeness would stop half-way.
pub const VAULT_CALLS_A_STEP: usize = 8;
/// Versions on one page of a list: Key Vault gives no more (docs/azure-facts.md F209).
const LISTED_A_PAGE: usize = 25;

/// One token, as far as this process knows.
#[derive(Clone, Debug)]
pub struct State {
    /// Where it stands.
    pub phase: Phase,
    /// The newest version when it was last read.
    pub newest: Option<Version>,
    /// What the process before left, by the first version that this one read.
    pub found: Option<Found>,
    /// The newest version when its history was last searched for a buried sign-in.
    pub searched: Option<VersionId>,
    /// Versions that were refused lately, and may be redeemed again later.
    pub refused: Vec<RefusedVersion>,
    /// How many versions the last list had.
    pub listed: usize,
    /// When the issuer last redeemed the stored token.
    pub proved_at: Option<Timestamp>,
    /// When a successor was last saved by this process.
    pub last_rotation_at: Option<Timestamp>,
    /// What is wrong, while something is.
    pub failing: Option<Box<Failing>>,
    /// What the resource last said.
    pub acceptance: Option<Acceptance>,
    /// When it said so.
    pub verdict_at: Option<Timestamp>,
    /// Since when it has been saying so.
    pub verdict_since: Option<Timestamp>,
    /// When a version written by somebody else was last rotated: at most once a day.
    pub foreign_rotated_at: Option<Timestamp>,
    /// The useless version for which predecessors have been tried already.
    pub rescued: Option<VersionId>,
    /// When the last buried sign-in was found and put back on top.
    pub unburied_at: Option<Timestamp>,
    /// The user of the last proof, where the answer says.
    pub user_oid: Option<String>,
    /// Whose the last proof was, as far as that could not be compared; and since when.
    pub unverified: Option<(Unverified, Timestamp)>,
    /// When the app's secret ends, where the vault says.
    pub app_secret_expires: Option<Timestamp>,
    /// When the app's credential was first read.
    pub credential_read_at: Option<Timestamp>,
    /// A fingerprint of the app credential last used, to notice that it was replaced.
    pub credential_used: Option<u64>,
    /// Marks are not tried again before this.
    pub mark_after: Option<Timestamp>,
    /// Redemptions of the last day.
    pub redemptions: Recent,
    /// Questions to the resource of the last day.
    pub questions: Recent,
    /// Vault calls of the last day, those of the watch left out.
    pub vault_calls: Recent,
}

/// What a process finds at its start of what happened while none was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The newest version is a sign-in that no daemon has proved yet; a list tells what it ended.
    SignIn,
    /// The first sign-in there is.
    FirstSignIn,
    /// What was on top before was noted to be refused, for this reason.
    Refused(Kind),
}

impl Found {
    /// By the notes on the first version that is read.
    pub fn on(version: &Version) -> Option<Self> {
        if version.is_refused() {
            return refused_kind(version).map(Self::Refused);
        }
        if let Some(kind) = not_accepted(version) {
            return Some(Self::Refused(kind));
        }
        let is_sign_in = version.redeemed_from().is_none();
        (is_sign_in && !version.is_proved_since()).then_some(Self::SignIn)
    }

    /// What a sign-in ended, by the version before it.
    pub fn before(sign_in: &Version, versions: &[Version]) -> Option<Self> {
        let older =
            versions.iter().filter(|other| other.id != sign_in.id && other.created <= sign_in.created);
        match older.max_by_key(|other| other.created) {
            Some(version) => refused_kind(version).or(not_accepted(version)).map(Self::Refused),
            None => Some(Self::FirstSignIn),
        }
    }
}

fn refused_kind(version: &Version) -> Option<Kind> {
    version.tags.get(tag::REFUSED_KIND).and_then(Kind::parse)
}

/// What Partner Center was noted to hold against it.
fn not_accepted(version: &Version) -> Option<Kind> {
    Noted::on(version).filter(|noted| noted.is_partner_centers())?.kind
}

/// Where a token stands.
#[derive(Clone, Debug)]
pub enum Phase {
    /// Not proved by this process: at start, and when a version appears that it has not seen.
    Unproved {
        /// When to begin.
        due_at: Timestamp,
    },
    /// The newest version was redeemed; the next step is a matter of time.
    Current,
    /// The issuer has handed out a successor that the vault does not show yet.
    Unsaved(Box<Held>),
    /// A person is expected to act; the vault is watched.
    Waiting {
        /// When to look whether something changed.
        look_at: Timestamp,
        /// When to redeem the same version again.
        again_at: Timestamp,
    },
    /// The newest version is disabled: nothing is redeemed.
    Off {
        /// When to look whether that changed.
        look_at: Timestamp,
    },
}

/// A successor on its way into the vault.
#[derive(Clone, Debug)]
pub struct Held {
    /// The successor.
    pub successor: RefreshToken,
    /// When the issuer handed it out.
    pub issued_at: Timestamp,
    /// The version that was redeemed.
    pub from: Version,
    /// That version's value.
    pub from_value: RefreshToken,
    /// A version that may be written over although its value is not the one redeemed: it is settled to
    /// be of no use, or it buries the sign-in that was redeemed.
    pub over: Option<VersionId>,
    /// The vault's time at the last read before the write: what was there then is not buried by it.
    pub read_at: Option<Timestamp>,
    /// Our version, once the vault has acknowledged it.
    pub written: Option<VersionId>,
    /// Versions that were found while this was held to be dead for good: they may be written over.
    pub dead: Vec<VersionId>,
    /// Versions that need no further look within this save: a sign-in whose chain was on top, and a buried one
    /// that was refused.
    pub seen: Vec<VersionId>,
    /// The app it was issued to.
    pub client_id: String,
    /// The user it was issued to, where the access token says.
    pub user_oid: Option<String>,
    /// Ties the records of this rotation together.
    pub rotation_id: Uuid,
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
}

/// Something that is wrong, and since when.
#[derive(Clone, Debug)]
pub struct Failing {
    /// What.
    pub failure: Failure,
    /// Since when.
    pub since: Timestamp,
    /// How many attempts have failed in a row.
    pub attempts: u32,
    /// When to try again.
    pub retry_at: Timestamp,
    /// The newest version when it was found.
    pub version: Option<VersionId>,
}

impl State {
    /// A token nothing is known about, to be proved at `due_at`.
    pub fn unknown(due_at: Timestamp) -> Self {
        Self {
            phase: Phase::Unproved { due_at },
            newest: None,
            found: None,
            searched: None,
            refused: Vec::new(),
            listed: 0,
            proved_at: None,
            last_rotation_at: None,
            failing: None,
            acceptance: None,
            verdict_at: None,
            verdict_since: None,
            foreign_rotated_at: None,
            rescued: None,
            unburied_at: None,
            user_oid: None,
            unverified: None,
            app_secret_expires: None,
            credential_read_at: None,
            credential_used: None,
            mark_after: None,
            redemptions: Recent::default(),
            questions: Recent::default(),
            vault_calls: Recent::default(),
        }
    }

    /// Counts a vault call, unless a person is waited for: then the vault is watched, which has a limit
    /// of its own and must not use up this one.
    pub fn note_vault_call(&mut self, now: Timestamp) {
        if !self.awaits_person() {
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
            Phase::Unsaved(held) if held.written.is_some() => self.calls_of_a_list() + 2,
            _ => 1,
        }
    }

    /// Vault calls that a rotation may need.
    pub fn calls_of_a_rotation(&self) -> usize {
        VAULT_CALLS_A_STEP - 1 + self.calls_of_a_list()
    }

    /// Whether a successor is held that the vault does not show.
    pub fn is_unsaved(&self) -> bool {
        matches!(self.phase, Phase::Unsaved(_))
    }

    /// What the end of the process would lose, between two steps.
    pub fn stake(&self) -> Stake {
        if self.is_unsaved() { Stake::Successor } else { Stake::Nothing }
    }

    /// Whether a person is expected to act.
    pub fn awaits_person(&self) -> bool {
        let remedy = self.failing.as_ref().map(|failing| failing.failure.remedy);
        matches!(remedy, Some(Remedy::Login | Remedy::Operator))
    }
}
