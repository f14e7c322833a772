//! The public view of one token, built from the token's state after each step.
//!
//! This module is pure. A snapshot contains no secrets. The process always holds one snapshot for each token. Snapshots
//! must therefore be small.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::ports::IdentityExpiry;
use crate::ports::answer::Unverified;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use crate::process::clock::{Timestamp, delta};
use crate::process::text;
use crate::renewal::report::RenewalReport;
use crate::rotation::schedule::{Next, Timing};
use crate::rotation::state::{
    Blocked, ForeignWriter, Inherited, Noted, OlderCredential, Outage, Phase, State,
};
use crate::token::managed::{ManagedToken, Verify};
use crate::token::secret::ConfigValue;
use crate::token::version::{Version, VersionId, tag};

mod heard;

use self::heard::Heard;

/// The state of a token, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// The last proof is at most twice `prove_every` old, and no rejection followed. If Perennial asks Partner Center,
    /// Partner Center's last acceptance is also at most twice `prove_every` old. An outage of Entra or Key Vault does
    /// not change this state at once.
    Current,
    /// Perennial holds a new refresh token that is not saved in the vault yet.
    Unsaved,
    /// A user must sign in.
    NeedsLogin,
    /// An operator must act.
    NeedsOperator,
    /// Entra redeems the token, but Partner Center rejects its access token.
    PartnerCenterRefused,
    /// The token's expiry has passed, and the token has not been redeemed since. A user must sign in.
    Expired,
    /// The token's newest version is disabled in the vault.
    Off,
    /// Perennial does not know whether the token works. This state is never shown in green.
    Unknown,
}

impl TokenState {
    /// All states, for metrics with one series per state.
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

    /// The state's name in the status document and in metrics.
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
    /// The token's configuration.
    pub grant: Arc<ManagedToken>,
    /// The state right after the last step. `standing` also considers the time since this step.
    phase: TokenState,
    /// The newest version, as last read from the vault.
    pub version: Option<VersionId>,
    /// The previous process's record in the vault, such as the delivered alerts.
    pub inherited: Option<Inherited>,
    /// When the issuer returned the token.
    pub issued_at: Option<Timestamp>,
    /// When the user signed in.
    pub signed_in_at: Option<Timestamp>,
    /// The user's object id, set only while a disabled account causes the failure.
    pub user_oid: Option<Box<str>>,
    /// The computed expiry. `None` if the token was redeemed after the computed expiry.
    pub expires_at: Option<Timestamp>,
    /// When the token is due for rotation.
    pub rotate_at: Option<Timestamp>,
    /// When the issuer last redeemed the token, for this process or an earlier one.
    pub proved_at: Option<Timestamp>,
    /// When the first proof of the newest version was due. `None` if the version has been proved.
    pub first_proof_due_at: Option<Timestamp>,
    /// Whether the version's tags record a rejection, and this process has not proved the version yet.
    refused_since: bool,
    /// When this process last saved a new refresh token.
    pub last_rotation_at: Option<Timestamp>,
    /// When the next step is due. `None` in a one-time command, which takes no further step.
    pub next_step_at: Option<Timestamp>,
    /// Whether the next step is due but must wait for its turn, because other tokens use up the shared limits.
    pub in_line: bool,
    /// Partner Center's last verdict, received by this process or an earlier one.
    heard: Heard,
    /// When the app's secret expires, if known.
    pub app_secret_expires: Option<Timestamp>,
    /// The expiry of the credential with which this process authenticates to Key Vault, if known.
    pub identity_expiry: Option<Arc<IdentityExpiry>>,
    /// The older version of the app's credential that Perennial uses while Entra rejects the newest version.
    pub older_credential: Option<Box<OlderCredential>>,
    /// When this process first read the app's secret. Before this read, Perennial does not report that the secret's
    /// expiry is unknown.
    pub credential_read_at: Option<Timestamp>,
    /// The current failure that a person must fix.
    pub blocked: Option<Box<Blocked>>,
    /// The current failure that may be temporary.
    pub outage: Option<Box<Outage>>,
    /// Which facts (tenant, app or user) the last proof could not verify, and since when.
    pub unverified: Option<(Unverified, Timestamp)>,
    /// Another program that keeps writing to the token's vault secret.
    pub foreign_writer: Option<ForeignWriter>,
    /// When Perennial last restored a sign-in that a rotation had overwritten.
    pub unburied_at: Option<Timestamp>,
    /// When the issuer first returned the same refresh token instead of a new one.
    pub same_token_at: Option<Timestamp>,
    /// The renewal of the app's credential, if Perennial renews it.
    pub renewal: Option<Arc<RenewalReport>>,
    /// The token's intervals for rotations and proofs.
    periods: Periods,
}

/// The intervals of one token. `rotate_after` differs a little from the policy, so that not all tokens rotate at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Periods {
    /// The age at which the token is rotated.
    pub rotate_after: TimeDelta,
    /// The interval between proofs.
    pub prove_every: Duration,
}

impl Periods {
    /// Takes the intervals from a token's timing.
    pub fn of(timing: &Timing) -> Self {
        Self { rotate_after: timing.rotate_after(), prove_every: timing.policy().prove_every }
    }

    /// For how long a proof or an acceptance by Partner Center is valid (promise 9, docs/promises.md).
    fn counts_for(self) -> TimeDelta {
        delta(2 * self.prove_every)
    }
}

impl Snapshot {
    /// Builds the snapshot of a token after a step. `next` is the following step, if any.
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
        // The expiry is computed from the configured lifetime. If the token is redeemed after the computed expiry, the
        // configured lifetime is wrong, and the expiry is unknown.
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
            identity_expiry: state.identity_expiry.clone(),
            older_credential: state.older_credential.clone(),
            blocked: state.blocked.clone(),
            outage: state.outage.clone(),
            unverified: facts.and_then(|facts| facts.unverified),
            foreign_writer: state.foreign_writer,
            unburied_at: state.unburied_at,
            same_token_at: facts.and_then(|facts| facts.same_token_at),
            renewal: None,
            periods,
        }
    }

    /// Replaces this snapshot after a further step of the token. Returns the replaced snapshot.
    #[must_use]
    pub fn redraw(&mut self, state: &State, next: &Next, now: Timestamp) -> Self {
        let renewal = self.renewal.clone();
        let drawn = Self::of(&self.grant, self.periods, state, Some(next), now);
        std::mem::replace(self, Self { renewal, ..drawn })
    }

    /// Whether Partner Center accepts the access token. `None` if unknown.
    pub fn accepted(&self) -> Option<bool> {
        self.heard.accepted
    }

    /// Whether the user's sign-in meets Partner Center's MFA requirement. `None` if unknown.
    pub fn mfa(&self) -> Option<bool> {
        self.heard.mfa
    }

    /// Whether Partner Center rejects the audience of the access token.
    pub fn is_audience_rejected(&self) -> bool {
        self.heard.is_audience
    }

    /// When Partner Center first gave its current verdict.
    pub fn verdict_since(&self) -> Option<Timestamp> {
        self.heard.since
    }

    /// When Partner Center's last verdict expires. Valid only for an acceptance, because a rejection does not expire.
    /// `None` if there is no verdict or if Perennial does not ask Partner Center (`verify = "none"`).
    pub fn verdict_expires_at(&self) -> Option<Timestamp> {
        self.heard.at.map(|at| at + self.periods.counts_for())
    }

    /// The interval between proofs.
    pub fn prove_every(&self) -> Duration {
        self.periods.prove_every
    }

    /// The token's failures. The failure that a person must fix comes first.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        let blocked = self.blocked.iter().map(|blocked| &blocked.failure);
        blocked.chain(self.outage.iter().map(|outage| &outage.failure))
    }

    /// The token's most important failure.
    pub fn failure(&self) -> Option<&Failure> {
        self.failures().next()
    }

    /// The token's failure of this kind, if any.
    pub fn failure_of(&self, kind: Kind) -> Option<&Failure> {
        self.failures().find(|failure| failure.kind == kind)
    }

    /// The app's client id, if the configuration contains it.
    pub fn client_id(&self) -> Option<&str> {
        match &self.grant.app.client_id {
            ConfigValue::Plain(id) => Some(id),
            ConfigValue::From(_) => None,
        }
    }

    /// The configured lifetime of each refresh token.
    pub fn lifetime(&self) -> TimeDelta {
        delta(self.grant.policy.lifetime)
    }

    /// The token's state at `now`. Expired proofs and expired acceptances do not count. If Perennial asks Partner
    /// Center, the state is unknown before the first acceptance, and during a long outage of Partner Center. Such an
    /// outage opens no condition, because no operator can end the outage.
    pub fn standing(&self, now: Timestamp) -> TokenState {
        let fresh = self.proved_at.is_some_and(|at| at + self.periods.counts_for() >= now)
            && (self.grant.verify == Verify::Nothing
                || self.verdict_expires_at().is_some_and(|at| at >= now))
            && !self.refused_since;
        match self.phase {
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

    /// When the token expired. `None` if the token has not expired or its expiry is unknown. Also `None` if the token's
    /// newest version is disabled, or if a new refresh token is not saved yet.
    pub fn expired_at(&self, now: Timestamp) -> Option<Timestamp> {
        let counts = !matches!(self.phase, TokenState::Unsaved | TokenState::Off);
        self.expires_at.filter(|end| counts && *end <= now)
    }

    /// Time until the token or the app's secret expires, whichever is first. The time is zero while no usable access
    /// token can be obtained. `None` if the token's expiry is unknown.
    pub fn runway(&self, now: Timestamp) -> Option<TimeDelta> {
        let refused = self.blocked.as_ref().is_some_and(|blocked| {
            let of_the_app = blocked.failure.about == FailureSubject::AppCredential;
            let is_gone = matches!(blocked.failure.kind, Kind::NeverSignedIn | Kind::SecretDeleted);
            blocked.is_confirmed && (blocked.failure.token_refused() || of_the_app || is_gone)
        });
        // A strict issuer revokes the old refresh token. While the new token is not saved, the vault holds only the
        // revoked token.
        let is_held = self.holds_successor() || self.failure_of(Kind::Unsaved).is_some();
        let is_spent = self.grant.strict && is_held;
        if refused || is_spent || self.lacks_mfa() || self.accepted() == Some(false) {
            return Some(TimeDelta::zero());
        }
        let ends = self.app_secret_expires.into_iter().fold(self.expires_at?, Timestamp::min);
        Some((ends - now).max(TimeDelta::zero()))
    }

    /// Whether this snapshot shows a success that ends a condition of this kind. The condition may have been reported
    /// by another process.
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

    /// Whether Perennial holds a new refresh token that is not saved in the vault yet.
    pub fn holds_successor(&self) -> bool {
        self.phase == TokenState::Unsaved
    }

    /// Whether Perennial has tried to read the token from the vault, with or without success.
    pub fn was_tried(&self) -> bool {
        self.version.is_some() || self.failure().is_some()
    }

    /// Whether the user's sign-in is known not to meet Partner Center's MFA requirement.
    pub fn lacks_mfa(&self) -> bool {
        self.mfa() == Some(false)
    }
}

fn standing(state: &State) -> TokenState {
    // Only a confirmed rejection determines the state.
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

/// The object id of the token's user, for a command in a message. A tag can contain any text. Only GUIDs are accepted.
fn user(grant: &ManagedToken, state: &State) -> Option<Box<str>> {
    let noted = state.newest.as_ref().and_then(|version| version.tags.get(tag::USER_OID));
    let proved = state.known().and_then(|facts| facts.user_oid.as_deref());
    [noted, proved, grant.user_oid.as_deref()].into_iter().flatten().find_map(text::guid).map(Into::into)
}

#[cfg(test)]
mod tests;
