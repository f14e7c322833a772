//! The public view of one token, drawn from the state after each step.
//!
//! Pure. Holds no secret. Small, since every token has one as long as the process lives.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::ports::answer::Unverified;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use crate::process::clock::{Timestamp, delta};
use crate::process::text;
use crate::rotation::schedule::{Next, Timing};
use crate::rotation::state::{Blocked, ForeignWriter, Inherited, Noted, Outage, Phase, State};
use crate::token::managed::{ManagedToken, Verify};
use crate::token::secret::ConfigValue;
use crate::token::version::{Version, VersionId, tag};

mod heard;

use self::heard::Heard;

/// A token's state in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// Redeemed, and its access token accepted, within twice `prove_every`, without a later failure.
    Current,
    /// A successor is held that is not in the vault yet.
    Unsaved,
    /// A user must sign in.
    NeedsLogin,
    /// An operator must act.
    NeedsOperator,
    /// Entra redeems it, and Partner Center rejects its access token.
    PartnerCenterRefused,
    /// Past its expiry, and not redeemed since: a user must sign in.
    Expired,
    /// Switched off in the vault.
    Off,
    /// Unknown; never shown as green.
    Unknown,
}

impl TokenState {
    /// All states, for metrics that count each.
    pub const ALL: [Self; 8] = [
        Self::Current,
        Self::Unsaved,
        Self::NeedsLogin,
        Self::NeedsOperator,
        Self::PartnerCenterRefused,
        Self::Expired,
        Self::Off,
        Self::Unknown,
    ];

    /// Its name in a status and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Unsaved => "unsaved",
            Self::NeedsLogin => "needs_login",
            Self::NeedsOperator => "needs_operator",
            Self::PartnerCenterRefused => "partner_center_refused",
            Self::Expired => "expired",
            Self::Off => "off",
            Self::Unknown => "unknown",
        }
    }
}

/// The public view of one token.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The token, as configured.
    pub grant: Arc<ManagedToken>,
    /// Its state after the last step.
    phase: TokenState,
    /// The newest version, when last read.
    pub version: Option<VersionId>,
    /// What the previous process left in the vault.
    pub inherited: Option<Inherited>,
    /// When its token was issued.
    pub issued_at: Option<Timestamp>,
    /// When the user signed in.
    pub signed_in_at: Option<Timestamp>,
    /// Its user, while their account causes the failure.
    pub user_oid: Option<Box<str>>,
    /// Its computed expiry; unknown once it was redeemed after that.
    pub expires_at: Option<Timestamp>,
    /// When it is due for rotation.
    pub rotate_at: Option<Timestamp>,
    /// When the issuer last redeemed it, by this process or by one before it.
    pub proved_at: Option<Timestamp>,
    /// When the first proof of the newest version was due, if no process has proved it.
    pub first_proof_due_at: Option<Timestamp>,
    /// Whether the previous process recorded a rejection after that proof.
    refused_since: bool,
    /// When a successor was last saved.
    pub last_rotation_at: Option<Timestamp>,
    /// When the next step is due. `None` after a command, which has no next step.
    pub next_step_at: Option<Timestamp>,
    /// Whether that step is due and waits for its turn behind other tokens.
    pub in_line: bool,
    /// Partner Center's verdict, to this process or an earlier one.
    heard: Heard,
    /// When the app's secret expires, if known.
    pub app_secret_expires: Option<Timestamp>,
    /// When the app's credential was first read: only then an unknown expiry counts as unknown.
    pub credential_read_at: Option<Timestamp>,
    /// The failure that a person must fix.
    pub blocked: Option<Box<Blocked>>,
    /// The failure that may pass.
    pub outage: Option<Box<Outage>>,
    /// The identity facts of the last proof that could not be compared, and since when.
    pub unverified: Option<(Unverified, Timestamp)>,
    /// Another program that keeps writing the secret.
    pub foreign_writer: Option<ForeignWriter>,
    /// When a buried sign-in was last restored.
    pub unburied_at: Option<Timestamp>,
    /// Since when the issuer returns the token that it received.
    pub same_token_at: Option<Timestamp>,
    /// Its times by the policy.
    periods: Periods,
}

/// A policy's times for one token, with its spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Periods {
    /// The age at which it is rotated.
    pub rotate_after: TimeDelta,
    /// How often it is proved.
    pub prove_every: Duration,
}

impl Periods {
    /// The periods of a token's timing.
    pub fn of(timing: &Timing) -> Self {
        Self { rotate_after: timing.rotate_after(), prove_every: timing.policy().prove_every }
    }

    /// How long a proof, or an acceptance by Partner Center, is valid (promise 9, docs/promises.md).
    fn counts_for(self) -> TimeDelta {
        delta(2 * self.prove_every)
    }
}

impl Snapshot {
    /// Draws a token after a step. `next` is the following step, if any.
    pub fn of(
        grant: &Arc<ManagedToken>,
        periods: Periods,
        state: &State,
        next: Option<&Next>,
        now: Timestamp,
    ) -> Self {
        let newest = state.newest.as_ref();
        let is_past = |at: &Timestamp| *at <= now + TimeDelta::minutes(5);
        let noted_proof = newest.and_then(Version::proved_at);
        let proved_at = state.proved_at().max(noted_proof).filter(is_past);
        let noted = newest.and_then(Noted::on).filter(|noted| is_past(&noted.at));
        let was_blocked = noted.is_some_and(|noted| !noted.is_partner_centers());
        let was_refused = was_blocked || newest.is_some_and(Version::is_refused);
        let issued_at = newest.map(Version::issued_at);
        // The expiry is computed. A later redemption disproves it: then it is unknown.
        let end = issued_at.map(|at| at + delta(grant.policy.lifetime));
        let is_disabled =
            state.blocked.as_ref().is_some_and(|blocked| blocked.failure.kind == Kind::AccountDisabled);
        let facts = state.known();
        let heard = match grant.verify {
            Verify::PartnerCenter => Heard::of(
                facts.and_then(|facts| facts.verdict.as_ref()),
                noted.filter(|noted| noted.is_partner_centers()),
                now - periods.counts_for(),
            ),
            Verify::Nothing => Heard::default(),
        };
        Self {
            grant: grant.clone(),
            phase: standing(state),
            version: newest.map(|version| version.id.clone()),
            inherited: state.inherited.clone(),
            issued_at,
            signed_in_at: newest.map(Version::signed_in_at),
            user_oid: is_disabled.then(|| user(grant, state)).flatten(),
            expires_at: end.filter(|end| proved_at.is_none_or(|proved| proved < *end)),
            rotate_at: issued_at.map(|at| at + periods.rotate_after),
            proved_at,
            first_proof_due_at: match state.phase {
                Phase::Unproved { due_at } if newest.is_some() && proved_at.is_none() => Some(due_at),
                Phase::Unproved { .. } | Phase::Current | Phase::Unsaved(_) => None,
            },
            refused_since: state.proved_at().is_none() && was_refused,
            last_rotation_at: state.last_rotation_at,
            next_step_at: next.map(|next| match next {
                Next::Wait(at) => *at,
                Next::Prove | Next::Save | Next::CheckVault | Next::UpdateTags(_) => now,
            }),
            in_line: state.in_line,
            heard,
            app_secret_expires: state.app_secret_expires.or(grant.app_secret_expires),
            credential_read_at: state.credential_read_at,
            blocked: state.blocked.clone(),
            outage: state.outage.clone(),
            unverified: facts.and_then(|facts| facts.unverified),
            foreign_writer: state.foreign_writer,
            unburied_at: state.unburied_at,
            same_token_at: facts.and_then(|facts| facts.same_token_at),
            periods,
        }
    }

    /// Draws it again after a further step. Returns the previous view.
    #[must_use]
    pub fn redraw(&mut self, state: &State, next: &Next, now: Timestamp) -> Self {
        std::mem::replace(self, Self::of(&self.grant, self.periods, state, Some(next), now))
    }

    /// Whether Partner Center accepts the access token; unknown until asked.
    pub fn accepted(&self) -> Option<bool> {
        self.heard.accepted
    }

    /// Whether the grant carries MFA, if known.
    pub fn mfa(&self) -> Option<bool> {
        self.heard.mfa
    }

    /// Since when this verdict has been given.
    pub fn verdict_since(&self) -> Option<Timestamp> {
        self.heard.since
    }

    /// When Partner Center's last verdict expires. `None` without a verdict, or with `verify = "nothing"`.
    pub fn verdict_expires_at(&self) -> Option<Timestamp> {
        self.heard.at.map(|at| at + self.periods.counts_for())
    }

    /// How often it is proved.
    pub fn prove_every(&self) -> Duration {
        self.periods.prove_every
    }

    /// Its failures; the one that a person must fix is first.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        let blocked = self.blocked.iter().map(|blocked| &blocked.failure);
        blocked.chain(self.outage.iter().map(|outage| &outage.failure))
    }

    /// Its failure; of two, the graver one.
    pub fn failure(&self) -> Option<&Failure> {
        self.failures().next()
    }

    /// Its failure of this kind.
    pub fn failure_of(&self, kind: Kind) -> Option<&Failure> {
        self.failures().find(|failure| failure.kind == kind)
    }

    /// The app, if the configuration names its id.
    pub fn client_id(&self) -> Option<&str> {
        match &self.grant.client_id {
            ConfigValue::Plain(id) => Some(id),
            ConfigValue::From(_) => None,
        }
    }

    /// The lifetime of its tokens.
    pub fn lifetime(&self) -> TimeDelta {
        delta(self.grant.policy.lifetime)
    }

    /// Its state now: a proof or an acceptance that is too old no longer counts. An outage of Partner Center makes a
    /// token unknown and opens no condition, since no operator can end it. A token that Partner Center never accepted
    /// is unknown, too.
    pub fn standing(&self, now: Timestamp) -> TokenState {
        let fresh = self.proved_at.is_some_and(|at| at + self.periods.counts_for() >= now)
            && (self.grant.verify == Verify::Nothing
                || self.verdict_expires_at().is_some_and(|at| at >= now))
            && !self.refused_since;
        match self.phase {
            TokenState::Unsaved | TokenState::Off => self.phase,
            _ if self.expired_at(now).is_some() => TokenState::Expired,
            TokenState::Current | TokenState::Unknown if self.lacks_mfa() => TokenState::NeedsLogin,
            TokenState::Current | TokenState::Unknown if self.accepted() == Some(false) => {
                TokenState::PartnerCenterRefused
            }
            TokenState::Current | TokenState::Unknown if fresh => TokenState::Current,
            TokenState::Current => TokenState::Unknown,
            other => other,
        }
    }

    /// When the token expired, if it has. A token that is off does not count, nor does one whose successor is held.
    pub fn expired_at(&self, now: Timestamp) -> Option<Timestamp> {
        let counts = !matches!(self.phase, TokenState::Unsaved | TokenState::Off);
        self.expires_at.filter(|end| counts && *end <= now)
    }

    /// Time until the token or the app secret expires, whichever is first. Zero while no usable access token can be
    /// obtained; unknown if the token's own expiry is.
    pub fn runway(&self, now: Timestamp) -> Option<TimeDelta> {
        let refused = self.blocked.as_ref().is_some_and(|blocked| {
            let of_the_app = blocked.failure.about == FailureSubject::AppCredential;
            let is_gone = matches!(blocked.failure.kind, Kind::NeverSignedIn | Kind::SecretDeleted);
            blocked.is_confirmed && (blocked.failure.token_refused() || of_the_app || is_gone)
        });
        // The strict token in the vault is spent while this process or another one holds the successor.
        let is_held = self.holds_successor() || self.failure_of(Kind::Unsaved).is_some();
        let is_spent = self.grant.strict && is_held;
        if refused || is_spent || self.lacks_mfa() || self.accepted() == Some(false) {
            return Some(TimeDelta::zero());
        }
        let ends = self.app_secret_expires.into_iter().fold(self.expires_at?, Timestamp::min);
        Some((ends - now).max(TimeDelta::zero()))
    }

    /// Whether the current facts show that a condition of this kind has ended, whichever process reported it. Only a
    /// success does.
    pub fn shows_the_end_of(&self, kind: Kind) -> bool {
        let works = self.phase == TokenState::Current && self.outage.is_none();
        let is_asked = self.grant.verify == Verify::PartnerCenter;
        match kind {
            Kind::PartnerCenterRefused | Kind::MfaRequired if is_asked => {
                works && self.accepted() == Some(true) && !self.lacks_mfa()
            }
            _ => works,
        }
    }

    /// Whether a successor is held that is not in the vault yet.
    pub fn holds_successor(&self) -> bool {
        self.phase == TokenState::Unsaved
    }

    /// Whether a step has been tried: the vault was read, or reading failed.
    pub fn was_tried(&self) -> bool {
        self.version.is_some() || self.failure().is_some()
    }

    /// Whether MFA is known to be missing.
    pub fn lacks_mfa(&self) -> bool {
        self.mfa() == Some(false)
    }
}

fn standing(state: &State) -> TokenState {
    // Until a rejection is confirmed, the state is unknown.
    let blocked = state.blocked.as_ref().filter(|blocked| blocked.is_confirmed);
    let remedy = blocked.map(|blocked| blocked.failure.remedy);
    match (&state.phase, remedy) {
        (Phase::Unsaved(_), _) => TokenState::Unsaved,
        _ if state.is_off() => TokenState::Off,
        (_, Some(Remedy::Login)) => TokenState::NeedsLogin,
        (_, Some(Remedy::Operator)) => TokenState::NeedsOperator,
        (Phase::Current, _) => TokenState::Current,
        (Phase::Unproved { .. }, _) => TokenState::Unknown,
    }
}

/// The token's user. A tag can hold anything: only an object id may appear in a command.
fn user(grant: &ManagedToken, state: &State) -> Option<Box<str>> {
    let noted = state.newest.as_ref().and_then(|version| version.tags.get(tag::USER_OID));
    let proved = state.known().and_then(|facts| facts.user_oid.as_deref());
    [noted, proved, grant.user_oid.as_deref()].into_iter().flatten().find_map(text::guid).map(Into::into)
}
