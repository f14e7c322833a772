//! One token as it is shown: what a reader may know, drawn from the state after each step.
//!
//! Pure. Holds no secret; small, since there is one per token for as long as the process lives.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use serde::Serialize;

use crate::ports::answer::Unverified;
use crate::ports::failure::{Kind, Remedy};
use crate::process::clock::{Timestamp, delta};
use crate::process::text;
use crate::rotation::schedule::{Next, Timing};
use crate::rotation::state::{Failing, Found, Noted, Phase, State};
use crate::token::managed::{Grant, Verify};
use crate::token::secret::Setting;
use crate::token::version::{Version, VersionId, tag};

/// Where a token stands, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Redeemed, and its access token accepted, within twice `prove_every`; and nothing says otherwise.
    Current,
    /// A successor is held that the vault does not have yet.
    Unsaved,
    /// Somebody must sign in.
    NeedsLogin,
    /// An operator must act.
    NeedsOperator,
    /// Past its end, and not redeemed since: somebody must sign in.
    Expired,
    /// Switched off in the vault.
    Off,
    /// Not known; never shown as green.
    Unknown,
}

impl Standing {
    /// All, for metrics that count each.
    pub const ALL: [Self; 7] = [
        Self::Current,
        Self::Unsaved,
        Self::NeedsLogin,
        Self::NeedsOperator,
        Self::Expired,
        Self::Off,
        Self::Unknown,
    ];

    /// The word in a status and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Unsaved => "unsaved",
            Self::NeedsLogin => "needs_login",
            Self::NeedsOperator => "needs_operator",
            Self::Expired => "expired",
            Self::Off => "off",
            Self::Unknown => "unknown",
        }
    }
}

/// One token as it is shown.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The token, as configured.
    pub grant: Arc<Grant>,
    /// Where it stood after the last step.
    phase: Standing,
    /// The newest version, when last read.
    pub version: Option<VersionId>,
    /// What the process before left.
    pub found: Option<Found>,
    /// When its token was issued.
    pub issued_at: Option<Timestamp>,
    /// When the user signed in.
    pub signed_in_at: Option<Timestamp>,
    /// Whose it is, while their account is what stands in the way.
    pub user_oid: Option<Box<str>>,
    /// When its token ends, by its age; unknown once it was redeemed after that.
    pub expires_at: Option<Timestamp>,
    /// When it is to be replaced.
    pub rotate_at: Option<Timestamp>,
    /// When the issuer last redeemed it, by this process or by one before it.
    pub proved_at: Option<Timestamp>,
    /// Whether the process before noted that it was refused after that proof.
    refused_since: bool,
    /// When a successor was last saved.
    pub last_rotation_at: Option<Timestamp>,
    /// When the next step is due.
    pub next_step_at: Option<Timestamp>,
    /// Whether Partner Center accepts the access token; unknown until asked.
    pub accepted: Option<bool>,
    /// When Partner Center last gave a verdict, to this process or to one before it.
    heard_at: Option<Timestamp>,
    /// Whether the grant carries a second factor, where anybody says.
    pub mfa: Option<bool>,
    /// When the app's secret ends, where anybody says.
    pub app_secret_expires: Option<Timestamp>,
    /// Since when Partner Center has been saying so, to this process or to one before it.
    pub verdict_since: Option<Timestamp>,
    /// When the app's credential was first read, so that not knowing its end means something.
    pub credential_read_at: Option<Timestamp>,
    /// What is wrong.
    pub failing: Option<Box<Failing>>,
    /// What of the last proof's identity could not be compared, and since when.
    pub unverified: Option<(Unverified, Timestamp)>,
    /// When a version written by somebody else was last rotated.
    pub foreign_rotated_at: Option<Timestamp>,
    /// Whether the newest version was written by somebody else.
    pub is_foreign: bool,
    /// When a buried sign-in was last put back on top.
    pub unburied_at: Option<Timestamp>,
    /// How old it may become.
    rotate_after: TimeDelta,
    /// How often it is proved.
    pub prove_every: Duration,
}

impl Snapshot {
    /// Draws it after a step.
    pub fn of(grant: &Arc<Grant>, timing: &Timing, state: &State, next: &Next, now: Timestamp) -> Self {
        let mut drawn = Self {
            grant: grant.clone(),
            rotate_after: timing.rotate_after(),
            prove_every: timing.policy().prove_every,
            phase: Standing::Unknown,
            version: None,
            found: None,
            issued_at: None,
            signed_in_at: None,
            user_oid: None,
            expires_at: None,
            rotate_at: None,
            proved_at: None,
            refused_since: false,
            last_rotation_at: None,
            next_step_at: None,
            accepted: None,
            heard_at: None,
            mfa: None,
            app_secret_expires: None,
            verdict_since: None,
            credential_read_at: None,
            failing: None,
            unverified: None,
            foreign_rotated_at: None,
            is_foreign: false,
            unburied_at: None,
        };
        drawn.redraw(state, next, now);
        drawn
    }

    /// Draws it again after a further step: what comes from the configuration stays.
    pub fn redraw(&mut self, state: &State, next: &Next, now: Timestamp) {
        let newest = state.newest.as_ref();
        let is_past = |at: &Timestamp| *at <= now + TimeDelta::minutes(5);
        let noted = newest.and_then(|version| version.time(tag::PROVED_AT));
        self.phase = standing(state);
        self.version = newest.map(|version| version.id.clone());
        self.found = state.found;
        self.issued_at = newest.map(Version::issued_at);
        self.signed_in_at = newest.map(Version::signed_in_at);
        let disabled = |failing: &Failing| failing.failure.kind == Kind::AccountDisabled;
        self.user_oid = state.failing.as_deref().filter(|it| disabled(it)).and_then(|_| self.user(state));
        self.rotate_at = self.issued_at.map(|at| at + self.rotate_after);
        self.proved_at = state.proved_at.max(noted).filter(is_past);
        // An end is worked out; that the issuer redeemed it after that is known.
        let end = self.issued_at.map(|at| at + self.lifetime());
        self.expires_at = end.filter(|end| self.proved_at.is_none_or(|proved| proved < *end));
        let noted = newest.and_then(Noted::on).filter(|noted| is_past(&noted.at));
        let blocked = noted.is_some_and(|noted| !noted.is_partner_centers());
        let refused = blocked || newest.is_some_and(Version::is_refused);
        self.refused_since = state.proved_at.is_none() && refused;
        self.last_rotation_at = state.last_rotation_at;
        self.next_step_at = match next {
            Next::Wait(at) => Some(*at),
            Next::Prove | Next::Save | Next::Look | Next::Mark(_) => Some(now),
        };
        self.app_secret_expires = state.app_secret_expires.or(self.grant.app_secret_expires);
        (self.heard_at, self.accepted, self.mfa, self.verdict_since) = (None, None, None, None);
        if self.grant.verify == Verify::PartnerCenter {
            self.hear(state, noted.filter(|noted| noted.is_partner_centers()), now);
        }
        self.credential_read_at = state.credential_read_at;
        self.failing.clone_from(&state.failing);
        self.unverified = state.unverified;
        self.foreign_rotated_at = state.foreign_rotated_at;
        self.is_foreign = newest.is_some_and(|version| !version.is_ours());
        self.unburied_at = state.unburied_at;
    }

    /// What Partner Center said, to this process or, as noted, to the one before. An acceptance counts for as long as a
    /// proof does; a rejection stands until it accepts the token.
    fn hear(&mut self, state: &State, noted: Option<Noted>, now: Timestamp) {
        if let Some(said) = &state.acceptance {
            self.heard_at = state.verdict_at;
            if said.objection().is_some() || self.has_heard(now) {
                (self.accepted, self.mfa) = (Some(said.accepted), said.mfa);
            }
            self.verdict_since = state.verdict_since;
        } else if let Some(noted) = noted {
            self.heard_at = Some(noted.at);
            (self.accepted, self.mfa) = match noted.kind {
                None => (self.has_heard(now).then_some(true), None),
                Some(Kind::MfaRequired) => (None, Some(false)),
                Some(_) => (Some(false), None),
            };
            self.verdict_since = Some(noted.at);
        }
    }

    /// Whether Partner Center's last word is as young as a proof has to be.
    fn has_heard(&self, now: Timestamp) -> bool {
        self.heard_at.is_some_and(|at| at + delta(2 * self.prove_every) >= now)
    }

    /// Whose token it is. A tag can say anything: only an object id is fit for a command.
    fn user(&self, state: &State) -> Option<Box<str>> {
        let noted = state.newest.as_ref().and_then(|version| version.tags.get(tag::USER_OID));
        let users = [noted, state.user_oid.as_deref(), self.grant.user_oid.as_deref()];
        users.into_iter().flatten().find_map(text::guid).map(Into::into)
    }

    /// The app, where the configuration names it.
    pub fn client_id(&self) -> Option<&str> {
        match &self.grant.client_id {
            Setting::Plain(id) => Some(id),
            Setting::From(_) => None,
        }
    }

    /// How long such a token lives.
    pub fn lifetime(&self) -> TimeDelta {
        delta(self.grant.policy.lifetime)
    }

    /// Where it stands now: what was proved or accepted too long ago is no longer known.
    pub fn standing(&self, now: Timestamp) -> Standing {
        let fresh = self.proved_at.is_some_and(|at| at + delta(2 * self.prove_every) >= now)
            && (self.grant.verify == Verify::Nothing || self.has_heard(now))
            && !self.refused_since;
        match self.phase {
            Standing::Unsaved | Standing::Off => self.phase,
            _ if self.expired_at(now).is_some() => Standing::Expired,
            Standing::Current | Standing::Unknown if self.lacks_mfa() => Standing::NeedsLogin,
            Standing::Current | Standing::Unknown if self.accepted == Some(false) => Standing::NeedsOperator,
            Standing::Current | Standing::Unknown if fresh => Standing::Current,
            Standing::Current => Standing::Unknown,
            other => other,
        }
    }

    /// When the token ended, if it has. What is off is nobody's to renew, and a successor that is held is not past its
    /// end.
    pub fn expired_at(&self, now: Timestamp) -> Option<Timestamp> {
        let counts = !matches!(self.phase, Standing::Unsaved | Standing::Off);
        self.expires_at.filter(|end| counts && *end <= now)
    }

    /// Time until the first of the token's and the app secret's expiry; zero once refused.
    pub fn runway(&self, now: Timestamp) -> Option<TimeDelta> {
        let refused = self.failing.as_ref().is_some_and(|failing| failing.failure.token_refused());
        if refused {
            return Some(TimeDelta::zero());
        }
        let ends = self.expires_at.into_iter().chain(self.app_secret_expires).min()?;
        Some((ends - now).max(TimeDelta::zero()))
    }

    /// Whether a step has been tried: the vault was read, or could not be.
    pub fn was_tried(&self) -> bool {
        self.version.is_some() || self.failing.is_some()
    }

    /// Whether the second factor is known to be missing.
    pub fn lacks_mfa(&self) -> bool {
        self.mfa == Some(false)
    }
}

fn standing(state: &State) -> Standing {
    let failing = state.failing.as_ref().map(|failing| (&failing.failure.kind, failing.failure.remedy));
    match (&state.phase, failing) {
        (Phase::Unsaved(_), _) => Standing::Unsaved,
        (Phase::Off { .. }, _) | (_, Some((Kind::TurnedOff, _))) => Standing::Off,
        (_, Some((_, Remedy::Login))) => Standing::NeedsLogin,
        (_, Some((_, Remedy::Operator))) => Standing::NeedsOperator,
        (Phase::Current, _) => Standing::Current,
        (Phase::Unproved { .. } | Phase::Waiting { .. }, _) => Standing::Unknown,
    }
}
