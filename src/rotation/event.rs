//! The events of a step, for the log, the counters and the status board.
//!
//! This module owns the events and, for each event, the level, name and fields of its log line. It does not own the
//! metrics.

use tracing::{debug, error, info, warn};
use uuid::Uuid;

use crate::ports::Acceptance;
use crate::ports::answer::Unverified;
use crate::ports::failure::{Failure, Remedy, Trace};
use crate::rotation::state::State;
use crate::token::managed::TokenName;
use crate::token::version::VersionId;

/// The state after a step, together with the events of the step.
#[derive(Debug)]
#[must_use]
pub struct Stepped {
    pub state: State,
    /// The events in the order in which they happened.
    pub events: Vec<Event>,
}

impl Stepped {
    /// Logs the events and returns the state. Only commands use this function. The daemon needs the events for its
    /// counters too.
    pub fn logged(self, token: &TokenName) -> State {
        for event in &self.events {
            event.log(token);
        }
        self.state
    }
}

/// An event of one token.
#[derive(Clone, Debug)]
pub enum Event {
    /// This version is the newest one at the first read, or has become the newest one since the last read.
    VersionSeen(VersionId),
    /// The issuer redeemed the token in this version. The `Uuid` is the step's id, which the log calls `rotation_id`.
    Proved(VersionId, Uuid),
    /// A rotation is saved. The first version was redeemed. The second version contains the successor, and the vault
    /// shows the second version. The `Uuid` is the rotation's id.
    Rotated(VersionId, VersionId, Uuid),
    /// Another writer has written a newer version. This version works, so Perennial keeps it and drops the held
    /// successor.
    YieldedToNewerVersion(VersionId),
    /// An attempt failed.
    Failed {
        failure: Box<Failure>,
        /// Whether the failure is new: no failure of this kind was open before.
        is_new: bool,
        /// The number of failed attempts in a row, if the failure is transient.
        attempts: Option<u32>,
        /// Whether the failure blocked the save of a successor.
        saving: bool,
    },
    /// A person has disabled the newest version, so Perennial no longer uses the token.
    TurnedOff,
    /// A check found a change that may end a failure, so the next attempt is due now.
    VersionChanged,
    /// Partner Center rejects the access token.
    PartnerCenterRefused(Box<Acceptance>),
    /// Partner Center did not say whether it accepts the access token. The text is the reason.
    PartnerCenterUnknown(String),
    /// The tenant, app or user of the token could not be verified. The value says which of them.
    IdentityUnverified(Unverified),
    /// The token in this version does not belong to the user that the version's tag names.
    UserChanged(VersionId),
    /// The first version is a sign-in. Just after the sign-in, a rotation wrote the second version, which buries the
    /// sign-in. The sign-in works, so Perennial writes the sign-in's successor as the newest version.
    BuriedSignIn(VersionId, VersionId),
    /// A rotation buried a sign-in, as in `BuriedSignIn`. The issuer rejects the sign-in now, but may accept it later.
    /// So Perennial tries the sign-in again in a day.
    BuriedSignInRefused(VersionId, VersionId),
    /// The second version is not a usable token. The first version is older and works. So Perennial writes the
    /// successor of the first version as the newest version.
    Rescued(VersionId, VersionId),
    /// The versions could not be listed, so the step continued without a list. The text is the reason.
    HistoryUnread(String),
    /// The tags of a version could not be updated. The text is the reason.
    TagsNotUpdated(VersionId, String),
    /// These tags of other programs were not copied to the new version, because there was no room for them.
    TagsDropped(String),
    /// A replaced version could not be disabled. The text is the reason.
    RetireFailed(VersionId, String),
}

impl Event {
    /// Writes the event to the log.
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
                warn!(event = "turned_off", %token, "the newest version is disabled, so Perennial does not redeem the token");
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
                    "Entra's answer does not name the token's tenant, app or user, so the configuration is not verified");
            }
            Self::UserChanged(version) => {
                warn!(event = "user_changed", %token, %version,
                    "the token does not belong to the user in the version's tag; Perennial corrects the tag");
            }
            Self::BuriedSignIn(version, under) => {
                warn!(event = "buried_sign_in", %token, %version, %under,
                    "a rotation overwrote a newer sign-in; the sign-in works and is restored as the newest version");
            }
            Self::BuriedSignInRefused(version, under) => {
                warn!(event = "buried_sign_in_refused", %token, %version, %under,
                    "a rotation overwrote a newer sign-in; Entra rejects that sign-in for now, so Perennial \
                     retries it in a day");
            }
            Self::Rescued(version, useless) => {
                warn!(event = "rescued", %token, %version, %useless,
                    "the newest version is not a usable token; its predecessor works and is restored as the newest version");
            }
            Self::HistoryUnread(reason) => {
                warn!(event = "history_unread", %token, reason,
                    "the versions could not be listed, so an overwritten sign-in would go unnoticed");
            }
            Self::TagsNotUpdated(version, reason) => {
                warn!(event = "mark_failed", %token, %version, reason,
                    "could not update the version's tags");
            }
            Self::TagsDropped(tags) => {
                warn!(event = "tags_dropped", %token, tags,
                    "the new version lacks these tags, because Key Vault limits the number of tags");
            }
            Self::RetireFailed(version, reason) => {
                warn!(event = "retire_failed", %token, %version, reason,
                    "an old version could not be disabled; the next rotation tries again");
            }
        }
    }
}

/// Logs a failure. A new failure that a person must fix is an error. A repeated or transient failure is a warning.
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

#[cfg(test)]
mod tests {
    use super::*;

    use tracing_subscriber::layer::SubscriberExt as _;

    use crate::ports::failure::{FailureSubject, Kind};
    use crate::process::telemetry::Captured;

    #[test]
    fn the_events_of_a_command_are_logged_by_name() {
        let kept = Captured::default();
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(kept.clone());
        let failure = Failure::new(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant, "x");
        let failed = Event::Failed { failure: failure.into(), is_new: true, attempts: None, saving: false };
        let now = crate::process::clock::Timestamp::UNIX_EPOCH;
        let mut state = State::unknown(now);
        state.listed = 7;
        let stepped = Stepped { state, events: vec![Event::TurnedOff, Event::VersionChanged, failed] };

        let subscriber = tracing_subscriber::registry().with(lines);
        let state = tracing::subscriber::with_default(subscriber, || stepped.logged(&TokenName::new("a")));

        assert_eq!(state.listed, 7);
        let text = kept.take();
        for name in ["turned_off", "version_changed", "attempt_failed"] {
            assert!(text.contains(&format!("event=\"{name}\"")), "{name}: {text}");
        }
    }

    #[test]
    fn an_error_is_logged_only_for_a_new_failure_that_somebody_must_fix() {
        let token = TokenName::new("a");
        for (remedy, is_new, level) in [
            (Remedy::Login, true, "ERROR"),
            (Remedy::Login, false, "WARN"),
            (Remedy::Retry, true, "WARN"),
            (Remedy::Retry, false, "WARN"),
        ] {
            let kept = Captured::default();
            let lines = tracing_subscriber::fmt::layer().with_writer(kept.clone());
            let failure = Failure::new(Kind::LoginRequired, remedy, FailureSubject::Grant, "x");

            tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
                log_failure(&token, &failure, is_new, None);
            });

            assert!(kept.take().contains(level), "{remedy:?} {is_new}");
        }
    }
}
