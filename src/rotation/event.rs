//! What a step did, for the log, the counters and the status board.
//!
//! Owns the events and their lines in the log, with level, name and fields. Knows nothing of metrics.

use tracing::{debug, error, info, warn};
use uuid::Uuid;

use crate::ports::Acceptance;
use crate::ports::answer::Unverified;
use crate::ports::failure::{Failure, Remedy, Trace};
use crate::rotation::state::State;
use crate::token::managed::TokenName;
use crate::token::version::VersionId;

/// A state after a step, and what happened on the way.
#[derive(Debug)]
#[must_use]
pub struct Stepped {
    /// The state.
    pub state: State,
    /// In the order in which it happened.
    pub events: Vec<Event>,
}

impl Stepped {
    /// The state, with the events written to the log: for commands, which count nothing.
    pub fn logged(self, token: &TokenName) -> State {
        for event in &self.events {
            event.log(token);
        }
        self.state
    }
}

/// Something that happened to one token.
#[derive(Clone, Debug)]
pub enum Event {
    /// The newest version is another one than before.
    VersionSeen(VersionId),
    /// The issuer redeemed the stored token.
    Proved(VersionId, Uuid),
    /// The vault shows the successor of one version as another one.
    Rotated(VersionId, VersionId, Uuid),
    /// Somebody else's newer version works and is kept; the held successor is let go.
    YieldedToNewerVersion(VersionId),
    /// An attempt failed.
    Failed {
        /// How.
        failure: Box<Failure>,
        /// Whether nothing of this kind was wrong before.
        is_new: bool,
        /// How many attempts have failed in a row, where it may pass.
        attempts: Option<u32>,
        /// Whether it kept a successor from being saved.
        saving: bool,
    },
    /// The newest version was disabled, which means off.
    TurnedOff,
    /// A check found that somebody has acted.
    VersionChanged,
    /// Partner Center rejects the access token.
    PartnerCenterRefused(Box<Acceptance>),
    /// Partner Center gave no verdict, for this reason.
    PartnerCenterUnknown(String),
    /// What the issuer does not say of the token's identity.
    IdentityUnverified(Unverified),
    /// A version is another user's than its tag says.
    UserChanged(VersionId),
    /// A sign-in was written over by a rotation in flight, by the second of these versions; it works and goes on top.
    BuriedSignIn(VersionId, VersionId),
    /// The same, where the issuer refuses the sign-in for now.
    BuriedSignInRefused(VersionId, VersionId),
    /// A version works that lies below the second of these, which is no usable token.
    Rescued(VersionId, VersionId),
    /// The versions could not be listed, for this reason, and the step went on without.
    HistoryUnread(String),
    /// The tags of a version could not be updated, for this reason.
    TagsNotUpdated(VersionId, String),
    /// These foreign tags do not fit into a new version.
    TagsDropped(String),
    /// A version that has served could not be disabled, for this reason.
    RetireFailed(VersionId, String),
}

impl Event {
    /// Writes it to the log.
    pub fn log(&self, token: &TokenName) {
        match self {
            Self::VersionSeen(version) => {
                debug!(event = "version_seen", %token, %version);
            }
            Self::Proved(version, rotation_id) => {
                info!(event = "proved", %token, %version, %rotation_id);
            }
            Self::Rotated(from, to, rotation_id) => {
                info!(event = "rotated", %token, %from, %to, %rotation_id);
            }
            Self::YieldedToNewerVersion(version) => {
                info!(event = "yielded_to_newer_version", %token, %version,
                    "another writer's newer version works and is kept");
            }
            Self::Failed { failure, is_new, attempts, .. } => log_failure(token, failure, *is_new, *attempts),
            Self::TurnedOff => {
                warn!(event = "turned_off", %token, "the newest version is disabled: nothing is redeemed");
            }
            Self::VersionChanged => {
                info!(event = "version_changed", %token);
            }
            Self::PartnerCenterRefused(said) => {
                warn!(event = "partner_center_refused", %token, status = said.status, mfa = said.mfa,
                    "Partner Center rejected the access token");
            }
            Self::PartnerCenterUnknown(reason) => {
                debug!(event = "partner_center_unknown", %token, reason);
            }
            Self::IdentityUnverified(what) => {
                warn!(event = "identity_unverified", %token, %what,
                    "the issuer does not say whose the token is: that could not be compared with the configuration");
            }
            Self::UserChanged(version) => {
                warn!(event = "user_changed", %token, %version,
                    "the token belongs to another user than its tag says; the tag is corrected");
            }
            Self::BuriedSignIn(version, under) => {
                warn!(event = "buried_sign_in", %token, %version, %under,
                    "a rotation in flight wrote over a newer sign-in; the sign-in works and is put back on top");
            }
            Self::BuriedSignInRefused(version, under) => {
                warn!(event = "buried_sign_in_refused", %token, %version, %under,
                    "a rotation in flight wrote over a newer sign-in; the issuer refuses that sign-in for now, so it is \
                     tried again in a day");
            }
            Self::Rescued(version, useless) => {
                warn!(event = "rescued", %token, %version, %useless,
                    "the newest version is no usable token; its predecessor works and is put on top");
            }
            Self::HistoryUnread(reason) => {
                warn!(event = "history_unread", %token, reason,
                    "the versions could not be listed, so a sign-in that was written over would not be noticed");
            }
            Self::TagsNotUpdated(version, reason) => {
                warn!(event = "mark_failed", %token, %version, reason,
                    "could not update the version's tags");
            }
            Self::TagsDropped(tags) => {
                warn!(event = "tags_dropped", %token, tags,
                    "these tags do not fit beside Perennial's and are left out of the new version");
            }
            Self::RetireFailed(version, reason) => {
                warn!(event = "retire_failed", %token, %version, reason,
                    "an old version could not be disabled; the next rotation tries again");
            }
        }
    }
}

/// The first time is news to a person who must act; that it still holds is not.
fn log_failure(token: &TokenName, failure: &Failure, is_new: bool, attempts: Option<u32>) {
    let Failure { kind, remedy, summary, trace: Trace { code, trace_id, correlation_id }, .. } = failure;
    let (kind, remedy_name) = (kind.as_str(), remedy.as_str());
    let (trace_id, correlation_id) = (trace_id.as_deref(), correlation_id.as_deref());
    if is_new && *remedy != Remedy::Retry {
        error!(event = "attempt_failed", %token, kind, remedy = remedy_name, attempts, code, trace_id, correlation_id, "{summary}");
    } else {
        warn!(event = "attempt_failed", %token, kind, remedy = remedy_name, attempts, code, trace_id, correlation_id, "{summary}");
    }
}
