//! The state of an app's renewal in memory. A restart loses it: what was created and not saved is an orphan then, and
//! is removed a day later.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use secrecy::SecretString;
use uuid::Uuid;

use crate::ports::client::CredentialVerdict;
use crate::ports::failure::Failure;
use crate::process::clock::Timestamp;
use crate::renewal::look::{CredentialLook, Reason};
use crate::renewal::times::{SETTLED_AFTER, SETTLED_PROBES};

/// The state of one app's renewal.
#[derive(Debug, Default)]
pub struct RenewalState {
    /// The last look that succeeded.
    pub look: Option<CredentialLook>,
    /// Whether the next step must be a look, because something changed.
    pub must_look: bool,
    /// The secret that is being created, tried or removed.
    pub attempt: Option<RenewalAttempt>,
    /// The uptimes at which this process created secrets.
    pub created: Vec<TimeDelta>,
    /// The secrets of the first look.
    pub first_seen: Option<BTreeSet<Uuid>>,
    /// The parts that fail, until they work again.
    pub troubles: BTreeMap<Part, RenewalTrouble>,
    /// The wait after failed steps.
    pub backoff: Option<Backoff>,
}

/// A secret that is not in the vault yet.
#[derive(Debug)]
pub enum RenewalAttempt {
    /// Its creation was requested, and the answer was lost.
    Lost {
        /// The display name.
        name: String,
        /// The uptime of the request.
        up: TimeDelta,
    },
    /// It is tried, and then saved.
    New(Box<NewSecret>),
    /// It must be removed.
    Unwanted {
        /// Entra's id of the secret.
        key_id: Uuid,
        /// Why it is not wanted.
        reason: Reason,
    },
}

/// A new secret, whose value exists only here until it is saved.
#[derive(Debug)]
pub struct NewSecret {
    /// Entra's id of the secret.
    pub key_id: Uuid,
    /// Its value.
    pub value: SecretString,
    /// Its end.
    pub ends: Timestamp,
    /// The uptime of its creation.
    pub up: TimeDelta,
    /// The vault's time of the look before its creation.
    pub since: Timestamp,
    /// The accepted probes since the last rejection.
    pub accepted: Option<Accepted>,
    /// The uptime of the last probe.
    pub probed: Option<TimeDelta>,
    /// Whether it was sent to the vault, and the answer was lost.
    pub was_sent: bool,
}

/// The parts of a renewal that can fail. The first one that fails is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Creating, trying or saving a new secret.
    Renewing,
    /// Reading the vault or the app registration.
    Looking,
    /// Removing an old secret.
    Removing,
}

/// A failure that lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalTrouble {
    pub failure: Failure,
    /// Whether it is told at once. Other failures are told when they last.
    pub is_told_at_once: bool,
    /// When this part first failed.
    pub since: Timestamp,
}

/// The wait after failed steps.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The uptime of the next step.
    pub until: TimeDelta,
    /// The failed steps in a row.
    pub failures: usize,
}

/// Accepted probes in a row.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// The uptime of the first one.
    pub first: TimeDelta,
    /// The uptime of the last one.
    pub last: TimeDelta,
    /// Their number.
    pub count: u32,
}

impl RenewalAttempt {
    /// Whether the attempt is about this secret.
    pub fn is_of(&self, key: Uuid) -> bool {
        match self {
            Self::Lost { .. } => false,
            Self::New(new) => new.key_id == key,
            Self::Unwanted { key_id, .. } => *key_id == key,
        }
    }
}

impl NewSecret {
    /// Whether the secret was accepted for long enough.
    pub fn is_settled(&self) -> bool {
        self.accepted.is_some_and(|all| all.count >= SETTLED_PROBES && all.last - all.first >= SETTLED_AFTER)
    }

    /// Records the verdict of a probe at an uptime. A missing answer says nothing about the secret.
    pub fn note(&mut self, verdict: CredentialVerdict, up: TimeDelta) {
        self.probed = Some(up);
        match verdict {
            CredentialVerdict::Accepted => {
                let before = self.accepted.unwrap_or(Accepted { first: up, last: up, count: 0 });
                self.accepted = Some(Accepted { last: up, count: before.count + 1, ..before });
            }
            CredentialVerdict::Rejected => self.accepted = None,
            CredentialVerdict::NoAnswer | CredentialVerdict::Untested => {}
        }
    }
}
